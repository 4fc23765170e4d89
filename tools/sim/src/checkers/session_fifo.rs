//! Answers come in the order of the requests (`client-protocol` 8.1).

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
pub(super) struct SessionFifo;

impl Checker for SessionFifo {
    fn name(&self) -> &'static str {
        "session_fifo"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Replied { client, pending, header, .. } = seen
            && pending.xid != header.xid
        {
            return Err(format!(
                "client {client} was owed an answer to {:?} and got one to {:?}",
                pending.xid, header.xid
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use crate::client::Asked;
    use model::{OpCode, SessionId};

    #[test]
    fn a_swapped_answer_is_caught() {
        let history = Maker::new().history;
        let pending = pending(OpCode::Ping, Asked::Ping, 0);
        let seen = |xid| Seen::Replied {
            client: 0,
            session: SessionId(1),
            pending: &pending,
            header: header(xid, 1, 0),
            answer: None,
        };
        assert_eq!(SessionFifo.see(&history, &seen(1)), Ok(()));
        assert!(SessionFifo.see(&history, &seen(2)).is_err());
    }
}
