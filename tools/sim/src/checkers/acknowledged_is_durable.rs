//! What a learner acknowledges is on its disk (`zab-wire` 9.0, A1): a crash in the next moment
//! would find it. An acknowledgement of NEWLEADER covers the history that came before, and the
//! epoch. Any other covers every entry up to it, also where each entry has one of its own: what the
//! disk holds is read the way a start would, up to the first gap.

use std::collections::BTreeMap;

use model::Zxid;
use replication::wire::packet::Packet;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct AcknowledgedIsDurable {
    /// What the history reaches to that each learner is being sent: learner, end.
    sent: BTreeMap<usize, Zxid>,
    /// The same, once it was followed by NEWLEADER.
    promised: BTreeMap<usize, Zxid>,
}

impl Checker for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged_is_durable"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Said { to, packet, .. } => match packet {
                Packet::Diff { .. } | Packet::Trunc { .. } => {
                    self.sent.insert(*to, Zxid::ZERO);
                }
                Packet::Snap { zxid } | Packet::Commit { zxid } | Packet::Inform { zxid, .. } => {
                    self.sent.insert(*to, *zxid);
                }
                Packet::NewLeader { .. } => {
                    let sent = self.sent.remove(to).unwrap_or_default();
                    self.promised.insert(*to, sent);
                }
                _ => {}
            },
            Seen::Acknowledged { node, zxid, durable, epoch } => {
                let at = node + 1;
                if zxid.counter() > 0 {
                    return if durable < zxid {
                        Err(format!("n{at} acknowledges {zxid:?} and has {durable:?}"))
                    } else {
                        Ok(())
                    };
                }
                let promised = self.promised.get(node).copied().unwrap_or_default();
                if *durable < promised {
                    return Err(format!(
                        "n{at} acknowledges the history up to {promised:?} and has {durable:?}"
                    ));
                }
                if *epoch < zxid.epoch() {
                    return Err(format!("n{at} acknowledges {zxid:?} and has epoch {}", epoch.0));
                }
            }
            Seen::Published { .. }
            | Seen::Recovered { .. }
            | Seen::Attached { .. }
            | Seen::Dropped { .. }
            | Seen::Replied { .. }
            | Seen::Event { .. }
            | Seen::Rebuilt { .. }
            | Seen::Queues { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Epoch;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn acknowledge(
        checker: &mut AcknowledgedIsDurable,
        zxid: Zxid,
        durable: Zxid,
        epoch: u32,
    ) -> bool {
        let seen = Seen::Acknowledged { node: 1, zxid, durable, epoch: Epoch(epoch) };
        checker.see(&History::of(3), &seen).is_ok()
    }

    #[test]
    fn an_early_acknowledgement_is_caught() {
        let mut checker = AcknowledgedIsDurable::default();
        assert!(acknowledge(&mut checker, z(1, 2), z(1, 2), 1));
        assert!(!acknowledge(&mut checker, z(1, 3), z(1, 2), 1));
    }

    #[test]
    fn an_early_acknowledgement_of_the_history_is_caught() {
        let mut checker = AcknowledgedIsDurable::default();
        let history = [
            Packet::Diff { zxid: z(1, 5) },
            Packet::Proposal { zxid: z(1, 5), entry: b"" },
            Packet::Commit { zxid: z(1, 5) },
            Packet::NewLeader { zxid: z(2, 0), config: None },
            Packet::Commit { zxid: z(2, 1) },
        ];
        for packet in &history {
            let seen = Seen::Said { from: 0, to: 1, packet };
            checker.see(&History::of(3), &seen).expect("nothing wrong");
        }
        assert!(!acknowledge(&mut checker, z(2, 0), z(1, 4), 2), "the history is missing");
        assert!(!acknowledge(&mut checker, z(2, 0), z(1, 5), 1), "the epoch is missing");
        assert!(acknowledge(&mut checker, z(2, 0), z(1, 5), 2));
    }
}
