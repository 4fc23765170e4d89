//! A session ends only because its client closed it or was silent for its whole timeout. Time in
//! which the client had spoken and the server had not listened does not count. In an ensemble it is
//! the leader who must have heard of nothing, since it leads: a learner may be cut off from it.

use std::collections::{BTreeMap, BTreeSet};

use model::SessionId;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct SessionExpiry {
    /// Granted timeouts, ms; a re-attach changes them.
    timeouts: BTreeMap<SessionId, i32>,
    /// Timeouts that sessions were created with: what a new leader knows of them, ms.
    created: BTreeMap<SessionId, i32>,
    alive: BTreeSet<SessionId>,
}

/// How much faster than true time the server's clock may run, per million.
const CLOCK_FAST_PPM: u64 = 1000;

impl Checker for SessionExpiry {
    fn name(&self) -> &'static str {
        "session_expiry_not_early"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Attached { session, timeout_ms, .. } => {
                self.timeouts.insert(*session, *timeout_ms);
            }
            Seen::Published { .. } | Seen::Recovered { .. } => {
                if let Seen::Recovered { version, .. } = seen {
                    // Until it is touched again, a session has the timeout it was created with.
                    let stored = version.tables().sessions.iter();
                    self.timeouts.extend(stored.map(|(id, known)| (*id, known.timeout_ms)));
                }
                if history.is_ensemble() && matches!(seen, Seen::Recovered { .. }) {
                    return Ok(());
                }
                let Some(newest) = history.newest() else { return Ok(()) };
                let sessions = &newest.tables().sessions;
                let ended: Vec<SessionId> =
                    self.alive.iter().filter(|id| !sessions.contains_key(*id)).copied().collect();
                for session in ended {
                    self.alive.remove(&session);
                    let end = newest.zxid();
                    let ended_by = history.leaders.get(&end.epoch());
                    let (node, since) = match ended_by {
                        _ if !history.is_ensemble() => (0, 0),
                        Some(&leader) => leader,
                        None => continue,
                    };
                    self.judge(history, session, node, since)?;
                }
                for (session, stored) in sessions {
                    if self.alive.insert(*session) {
                        self.created.insert(*session, stored.timeout_ms);
                        self.timeouts.entry(*session).or_insert(stored.timeout_ms);
                    }
                }
            }
            Seen::Dropped { .. }
            | Seen::Replied { .. }
            | Seen::Event { .. }
            | Seen::Rebuilt { .. }
            | Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Queues { .. } => {}
        }
        Ok(())
    }
}

impl SessionExpiry {
    /// `node` ended it, which has decided about sessions since then.
    fn judge(
        &self,
        history: &History,
        session: SessionId,
        node: usize,
        since: u64,
    ) -> Result<(), String> {
        let seat = &history.seats[node];
        let (Some(heard), Some(granted)) = (seat.heard.get(&session), self.timeouts.get(&session))
        else {
            return Ok(());
        };
        let heard = *heard.max(&since);
        // Somebody may have attached with less and never got the answer.
        let timeout_ms = history.asked_ms.get(&session).map_or(*granted, |ms| *ms.min(granted));
        let created = self.created.get(&session).filter(|_| history.is_ensemble());
        let timeout_ms = created.map_or(timeout_ms, |ms| timeout_ms.min(*ms));
        if history.closing.contains(&session) {
            return Ok(());
        }
        let before = seat.silences.get(&session).copied().unwrap_or(0);
        let silent = history.now.saturating_sub(heard).max(before);
        let least = timeout_ms as u64 * 1_000_000;
        if silent + silent / 1_000_000 * CLOCK_FAST_PPM >= least {
            return Ok(());
        }
        Err(format!(
            "session {session} ended after {} ms of silence; its timeout is {timeout_ms} ms",
            silent / 1_000_000
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;
    use model::{Op, SessionId};

    /// F-29a of the catalogue: its end was decided, the log stood still, and then it spoke.
    #[test]
    fn speaking_too_late_is_no_excuse() {
        for (silence_ms, fine) in [(3000, false), (5000, true)] {
            let mut maker = Maker::new();
            let mut checker = SessionExpiry::default();
            maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7);
            let batch = server::feed::CommitBatch::default();
            checker
                .see(&maker.history, &Seen::Published { node: 0, batch: &batch })
                .expect("nothing wrong");
            maker.history.now = silence_ms * 1_000_000;
            maker.history.hear(0, SessionId(7));
            maker.run(&Op::CloseSession, 7);
            assert_eq!(
                checker.see(&maker.history, &Seen::Published { node: 0, batch: &batch }).is_ok(),
                fine
            );
        }
    }

    /// What a learner heard and the leader did not is no reason; what the leader heard is, and a
    /// new leader gives everybody the whole timeout.
    #[test]
    fn the_leader_must_not_have_heard() {
        let session = SessionId(7);
        for (heard_ms, led_ms, fine) in [(3000, 0, false), (0, 3000, false), (0, 0, true)] {
            let mut maker = Maker::new();
            maker.history.seats.push(crate::history::Seat::default());
            let mut checker = SessionExpiry::default();
            maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7);
            maker.history.leaders.insert(model::Epoch(0), (0, led_ms * 1_000_000));
            let batch = server::feed::CommitBatch::default();
            let seen = Seen::Published { node: 0, batch: &batch };
            checker.see(&maker.history, &seen).expect("nothing wrong");
            maker.history.seats[0].heard.insert(session, heard_ms * 1_000_000);
            maker.history.seats[1].heard.insert(session, 4_500_000_000);
            maker.history.now = 5_000_000_000;
            maker.run(&Op::CloseSession, 7);
            assert_eq!(checker.see(&maker.history, &seen).is_ok(), fine);
        }
    }

    #[test]
    fn an_early_end_is_caught() {
        for (now_ms, fine) in [(3990, false), (4001, true)] {
            let mut maker = Maker::new();
            let mut checker = SessionExpiry::default();
            let session = SessionId(7);
            maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7);
            maker.history.seats[0].heard.insert(session, 0);
            let attached = Seen::Attached { client: 0, session, timeout_ms: 4000 };
            checker.see(&maker.history, &attached).expect("nothing wrong");
            let batch = server::feed::CommitBatch::default();
            checker
                .see(&maker.history, &Seen::Published { node: 0, batch: &batch })
                .expect("nothing wrong");
            maker.run(&Op::CloseSession, 7);
            maker.history.now = now_ms * 1_000_000;
            assert_eq!(
                checker.see(&maker.history, &Seen::Published { node: 0, batch: &batch }).is_ok(),
                fine
            );
        }
    }
}
