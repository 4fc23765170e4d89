//! Leadership (`zab-wire` 9.0): an epoch has one leader, and one reign of it. A server that starts
//! again and leads has a new epoch.

use std::collections::BTreeMap;

use model::Epoch;
use replication::wire::packet::Packet;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct OneLeaderPerEpoch {
    /// How often each server has started.
    lives: BTreeMap<usize, u64>,
    leaders: BTreeMap<Epoch, (usize, u64)>,
}

impl Checker for OneLeaderPerEpoch {
    fn name(&self) -> &'static str {
        "one_leader_per_epoch"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Recovered { node, .. } => *self.lives.entry(*node).or_default() += 1,
            Seen::Said { from, packet: Packet::NewLeader { zxid, .. }, .. } => {
                let life = self.lives.get(from).copied().unwrap_or_default();
                let leader = self.leaders.entry(zxid.epoch()).or_insert((*from, life));
                if *leader != (*from, life) {
                    return Err(format!(
                        "n{} in its life {life} leads epoch {}, which n{} led in its life {}",
                        from + 1,
                        zxid.epoch().0,
                        leader.0 + 1,
                        leader.1
                    ));
                }
            }
            Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Published { .. }
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
    use crate::checkers::doctored::Maker;
    use model::Zxid;

    #[test]
    fn a_second_reign_is_caught() {
        let mut maker = Maker::new();
        let version = maker.create("/p0");
        let mut checker = OneLeaderPerEpoch::default();
        let lead = |checker: &mut OneLeaderPerEpoch, from, epoch| {
            let packet = Packet::NewLeader { zxid: Zxid::new(Epoch(epoch), 0), config: None };
            checker.see(&maker.history, &Seen::Said { from, to: 2, packet: &packet })
        };
        assert_eq!(lead(&mut checker, 0, 1), Ok(()));
        assert_eq!(lead(&mut checker, 0, 1), Ok(()), "it tells every learner");
        assert_eq!(lead(&mut checker, 1, 2), Ok(()));
        assert!(lead(&mut checker, 1, 1).is_err(), "epoch 1 has its leader");
        let history = History::of(3);
        let seen = Seen::Recovered {
            node: 1,
            version: &version,
            first: &version,
            published_before: Zxid::ZERO,
        };
        checker.see(&history, &seen).expect("nothing wrong");
        assert!(lead(&mut checker, 1, 2).is_err(), "that was in another life");
    }
}
