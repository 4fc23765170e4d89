//! Whatever was answered before a request was sent is visible to it: to writes, wherever it was
//! answered, so that they are linearizable; to reads, what any client of the same server had seen
//! (guarantee G8). Unanswered writes are unknown and constrain nothing.

use super::{Checker, Seen};
use crate::client::Asked;
use crate::history::History;

/// A write refused for lack of space has no transaction.
const NO_SPACE: i32 = model::ErrorCode::SystemError as i32;

/// See the module.
pub(super) struct RealTimeOrder;

impl Checker for RealTimeOrder {
    fn name(&self) -> &'static str {
        "same_server_recency_and_linearizable_writes"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Replied { client, pending, header, .. } = seen else { return Ok(()) };
        if header.zxid.0 <= 0 {
            return Ok(());
        }
        // A learner refuses by itself what cannot be read: without a transaction.
        let write = match pending.asked {
            Asked::Write(_) | Asked::Multi => header.err != NO_SPACE,
            Asked::Malformed => header.err != NO_SPACE && !history.is_ensemble(),
            _ => false,
        };
        let floor = if write { pending.floor.anywhere } else { pending.floor.here };
        let fine = if write { header.zxid > floor } else { header.zxid >= floor };
        if fine {
            return Ok(());
        }
        Err(format!(
            "{:?} of client {client} was answered at {:?}, though {floor:?} had been shown \
             before it was sent",
            pending.asked, header.zxid
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use model::{OpCode, SessionId};

    #[test]
    fn a_stale_read_and_a_reused_zxid_are_caught() {
        let history = Maker::new().history;
        let see = |opcode, asked, zxid| {
            let pending = pending(opcode, asked, 5);
            let header = header(1, zxid, 0);
            let session = SessionId(1);
            let seen =
                Seen::Replied { client: 0, session, pending: &pending, header, answer: None };
            RealTimeOrder.see(&history, &seen)
        };
        let read = || Asked::GetData(b"/x".to_vec(), false);
        assert_eq!(see(OpCode::GetData, read(), 5), Ok(()));
        assert!(see(OpCode::GetData, read(), 4).is_err());
        assert!(see(OpCode::SetData, Asked::Write(b"/x".to_vec()), 5).is_err());
    }
}
