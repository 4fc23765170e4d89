//! A session reads its own earlier writes, and never a later pipelined write of its own
//! (guarantee G2 of the design).

use std::collections::BTreeMap;

use model::Zxid;

use super::{Checker, Seen};
use crate::client::Asked;
use crate::history::History;

/// A write refused for lack of space has no transaction.
const NO_SPACE: i32 = model::ErrorCode::SystemError as i32;

/// Per client: zxid of its last answered write, and of its reads since.
#[derive(Default)]
pub(super) struct OwnWrites {
    clients: BTreeMap<usize, (Zxid, Zxid)>,
}

impl Checker for OwnWrites {
    fn name(&self) -> &'static str {
        "pipelined_write_read_write"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Dropped { client } => {
                self.clients.remove(client);
            }
            Seen::Replied { client, pending, header, .. } => {
                let (written, read) = self.clients.entry(*client).or_default();
                match pending.asked {
                    // Refused for lack of space: no transaction.
                    _ if header.err == NO_SPACE => {}
                    // A learner refuses by itself what cannot be read.
                    Asked::Malformed if history.is_ensemble() => {}
                    Asked::Write(_) | Asked::Multi | Asked::Malformed => {
                        if header.zxid.0 > 0 && header.zxid <= *read {
                            return Err(format!(
                                "client {client}'s write took effect at {:?}, but its earlier \
                                 read was already answered at {read:?}",
                                header.zxid
                            ));
                        }
                        *written = header.zxid;
                    }
                    Asked::Exists(..)
                    | Asked::GetData(..)
                    | Asked::GetChildren(..)
                    | Asked::GetAcl(_)
                    | Asked::GetEphemerals
                    | Asked::CountAll(_)
                    | Asked::MultiRead(..) => {
                        if header.zxid < *written {
                            return Err(format!(
                                "client {client} wrote at {written:?} and then read at {:?}",
                                header.zxid
                            ));
                        }
                        *read = header.zxid;
                    }
                    Asked::Sync
                    | Asked::Ping
                    | Asked::AddWatch(..)
                    | Asked::RemoveWatches(_)
                    | Asked::SetWatches(..)
                    | Asked::CheckWatches(_)
                    | Asked::WhoAmI
                    | Asked::Auth
                    | Asked::Close => {}
                }
            }
            Seen::Published { .. }
            | Seen::Attached { .. }
            | Seen::Event { .. }
            | Seen::Recovered { .. }
            | Seen::Rebuilt { .. }
            | Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Queues { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use model::{OpCode, SessionId};

    #[test]
    fn reading_the_future_or_the_past_is_caught() {
        let history = Maker::new().history;
        let write = pending(OpCode::SetData, Asked::Write(b"/x".to_vec()), 0);
        let read = pending(OpCode::GetData, Asked::GetData(b"/x".to_vec(), false), 0);
        let run = |steps: &[(bool, i64)]| {
            let mut checker = OwnWrites::default();
            steps.iter().try_for_each(|(is_write, zxid)| {
                let pending = if *is_write { &write } else { &read };
                let header = header(1, *zxid, 0);
                let session = SessionId(1);
                let seen = Seen::Replied { client: 0, session, pending, header, answer: None };
                checker.see(&history, &seen)
            })
        };
        assert_eq!(run(&[(true, 1), (false, 1), (true, 2)]), Ok(()));
        assert!(run(&[(true, 2), (false, 1)]).is_err(), "its own write is missing");
        assert!(run(&[(true, 1), (false, 2), (true, 2)]).is_err(), "a later write was seen");
    }
}
