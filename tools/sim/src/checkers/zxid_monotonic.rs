//! A session never goes back in time, across connections too (`client-protocol` 1.7).

use std::collections::BTreeMap;

use model::{SessionId, Zxid};

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct ZxidMonotonic {
    /// Two clients may hold one session: what the first is still owed is older.
    last: BTreeMap<(usize, SessionId), Zxid>,
}

impl Checker for ZxidMonotonic {
    fn name(&self) -> &'static str {
        "zxid_monotonic_per_session"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Replied { client, session, header, .. } = seen
            && header.zxid.0 > 0
        {
            let last = self.last.entry((*client, *session)).or_default();
            if header.zxid < *last {
                return Err(format!(
                    "client {client} saw {last:?} and then {:?} in session {session}",
                    header.zxid
                ));
            }
            *last = header.zxid;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use crate::client::Asked;
    use model::OpCode;

    #[test]
    fn going_back_is_caught() {
        let history = Maker::new().history;
        let pending = pending(OpCode::Ping, Asked::Ping, 0);
        let mut checker = ZxidMonotonic::default();
        let mut see = |zxid| {
            let header = header(1, zxid, 0);
            let session = SessionId(1);
            checker.see(
                &history,
                &Seen::Replied { client: 0, session, pending: &pending, header, answer: None },
            )
        };
        assert_eq!(see(5), Ok(()));
        assert_eq!(see(0), Ok(()), "auth replies carry zero");
        assert!(see(4).is_err());
    }
}
