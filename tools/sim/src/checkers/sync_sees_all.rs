//! After a sync a client sees everything that anybody had been shown, anywhere, before it asked.
//! A leader that has been replaced and does not know it yet can only vouch for its own epoch
//! (`zab-wire` F-24).

use super::{Checker, Seen};
use crate::client::Asked;
use crate::history::History;

/// See the module.
pub(super) struct SyncSeesAll;

impl Checker for SyncSeesAll {
    fn name(&self) -> &'static str {
        "sync_sees_all"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Replied { client, pending, header, .. } = seen else { return Ok(()) };
        let floor = pending.floor.anywhere;
        let replaced = header.zxid.epoch() < floor.epoch();
        if pending.asked != Asked::Sync || header.err != 0 || replaced || header.zxid >= floor {
            return Ok(());
        }
        Err(format!("client {client} synced up to {:?}; {floor:?} had been shown", header.zxid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{header, pending};
    use model::{Epoch, OpCode, SessionId, Zxid};

    #[test]
    fn a_sync_that_did_not_wait_is_caught() {
        let see = |at: Zxid, floor: Zxid| {
            let pending = pending(OpCode::Sync, Asked::Sync, floor.0);
            let (header, session) = (header(1, at.0, 0), SessionId(1));
            let seen =
                Seen::Replied { client: 0, session, pending: &pending, header, answer: None };
            SyncSeesAll.see(&History::of(3), &seen).is_ok()
        };
        let z = |epoch, counter| Zxid::new(Epoch(epoch), counter);
        assert!(see(z(2, 5), z(2, 5)));
        assert!(!see(z(2, 4), z(2, 5)));
        assert!(see(z(1, 9), z(2, 5)), "its leader was replaced");
    }
}
