//! One acknowledgement or commit stands for several entries only on a connection whose two ends
//! agreed on that; on every other each entry has its own, in order, as ZooKeeper's servers insist.
//! In either case it is of something that was proposed there.

use std::collections::{BTreeMap, VecDeque};

use model::Zxid;
use replication::wire::handshake::WireOptions;
use replication::wire::packet::Packet;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct AgreedRuns {
    /// By leader and learner, since the leader last named its epoch there.
    lines: BTreeMap<(usize, usize), Line>,
}

/// What was proposed on one connection.
#[derive(Default)]
struct Line {
    runs: bool,
    /// And not committed.
    uncommitted: VecDeque<Zxid>,
    /// And not acknowledged. What comes before NEWLEADER is acknowledged with it.
    owed: VecDeque<Zxid>,
}

/// Takes an entry out of what waits, with those before it if that is allowed; false if it may not
/// be taken.
fn take(waiting: &mut VecDeque<Zxid>, zxid: Zxid, runs: bool) -> bool {
    match waiting.binary_search(&zxid) {
        Ok(at) if at == 0 || runs => {
            waiting.drain(..=at);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

impl AgreedRuns {
    fn said(&mut self, from: usize, to: usize, packet: &Packet<'_>) -> Result<(), String> {
        let (speaker, hearer) = (from + 1, to + 1);
        match *packet {
            Packet::LeaderInfo { options, .. } => {
                let runs = options.has(WireOptions::RUNS);
                self.lines.insert((from, to), Line { runs, ..Line::default() });
            }
            Packet::Proposal { zxid, .. } => {
                let line = self.lines.entry((from, to)).or_default();
                line.uncommitted.push_back(zxid);
                line.owed.push_back(zxid);
            }
            Packet::NewLeader { .. } => {
                self.lines.entry((from, to)).or_default().owed.clear();
            }
            Packet::Commit { zxid } => {
                let line = self.lines.entry((from, to)).or_default();
                if !take(&mut line.uncommitted, zxid, line.runs) {
                    return Err(format!(
                        "n{speaker} commits {zxid:?} to n{hearer}, where {:?} wait (runs: {})",
                        line.uncommitted, line.runs
                    ));
                }
            }
            Packet::Ack { zxid } if zxid.counter() > 0 => {
                let line = self.lines.entry((to, from)).or_default();
                if !take(&mut line.owed, zxid, line.runs) {
                    return Err(format!(
                        "n{speaker} acknowledges {zxid:?} to n{hearer} and owes {:?} (runs: {})",
                        line.owed, line.runs
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for AgreedRuns {
    fn name(&self) -> &'static str {
        "runs_only_as_agreed"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Said { from, to, packet } => self.said(*from, *to, packet),
            Seen::Acknowledged { .. }
            | Seen::Published { .. }
            | Seen::Recovered { .. }
            | Seen::Attached { .. }
            | Seen::Dropped { .. }
            | Seen::Replied { .. }
            | Seen::Event { .. }
            | Seen::Rebuilt { .. }
            | Seen::Queues { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Epoch;
    use replication::wire::packet::leader_info;

    fn z(counter: u32) -> Zxid {
        Zxid::new(Epoch(1), counter)
    }

    /// Server 0 leads server 1 with these options and three proposals behind NEWLEADER; whether
    /// what is said then is fine.
    fn run(options: WireOptions, said: &[(usize, Packet<'_>)]) -> bool {
        let mut checker = AgreedRuns::default();
        let proposals = [1, 2, 3].map(|at| Packet::Proposal { zxid: z(at), entry: b"" });
        let before =
            [leader_info(Epoch(1), options), Packet::NewLeader { zxid: z(0), config: None }];
        let before = before.into_iter().chain(proposals).map(|packet| (0, packet));
        before.chain(said.iter().copied()).all(|(from, packet)| {
            let seen = Seen::Said { from, to: 1 - from, packet: &packet };
            checker.see(&History::of(2), &seen).is_ok()
        })
    }

    #[test]
    fn a_run_without_agreement_is_caught() {
        let ack = |at| (1, Packet::Ack { zxid: z(at) });
        let commit = |at| (0, Packet::Commit { zxid: z(at) });
        let one_by_one = [ack(1), ack(2), commit(1), commit(2), ack(3), commit(3)];
        let runs = [ack(2), commit(2), ack(3), commit(3)];
        assert!(run(WireOptions::NONE, &one_by_one) && run(WireOptions::RUNS, &one_by_one));
        assert!(run(WireOptions::RUNS, &runs));
        assert!(!run(WireOptions::NONE, &runs[..1]) && !run(WireOptions::NONE, &runs[1..2]));
    }

    #[test]
    fn what_was_not_proposed_is_caught() {
        for options in [WireOptions::NONE, WireOptions::RUNS] {
            assert!(!run(options, &[(1, Packet::Ack { zxid: z(4) })]));
            assert!(!run(options, &[(0, Packet::Commit { zxid: z(4) })]));
            assert!(!run(options, &[1, 1].map(|at| (1, Packet::Ack { zxid: z(at) }))), "twice");
        }
    }
}
