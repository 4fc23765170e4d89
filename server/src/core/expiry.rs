//! Who was heard from when, and who is due to expire (`client-protocol` 7.1).
//!
//! Nobody expires by this server's fault. A session is due only when *every* shard has reported
//! up to its deadline, and when a shard or the core itself stood still for a while, all deadlines
//! move by that while: what clients sent meanwhile is still unread.

use std::collections::{BTreeSet, HashMap};

use model::{Mono, SessionId};

use crate::link::ShardId;

/// A gap between two reports, or two ticks, that counts as standing still, ms. Both come about
/// every 100 ms.
const STALL_MS: u64 = 500;

struct Tracked {
    timeout_ms: u64,
    /// Monotonic ms.
    deadline: u64,
}

/// Deadlines of all sessions.
pub(super) struct Expiry {
    tick_ms: u64,
    sessions: HashMap<SessionId, Tracked, ahash::RandomState>,
    /// In the order they are due.
    queue: BTreeSet<(u64, SessionId)>,
    /// End of the last report of each shard, monotonic ms.
    reported: Vec<u64>,
    last_tick: u64,
    /// Stalls up to here have been made good.
    excused: u64,
}

impl Expiry {
    pub(super) fn new(tick_ms: u64, shards: u16, now: Mono) -> Expiry {
        let now = now.millis();
        Expiry {
            tick_ms: tick_ms.max(1),
            // Only looked up, never walked.
            sessions: HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8)),
            queue: BTreeSet::new(),
            reported: vec![now; usize::from(shards)],
            last_tick: now,
            excused: now,
        }
    }

    fn deadline(&self, heard: u64, timeout_ms: u64) -> u64 {
        ((heard + timeout_ms) / self.tick_ms + 1) * self.tick_ms
    }

    /// Starts tracking a session, or changes its timeout; either is a sign of life.
    pub(super) fn track(&mut self, session: SessionId, timeout_ms: i32, now: Mono) {
        let timeout_ms = timeout_ms.max(0) as u64;
        let mut deadline = self.deadline(now.millis(), timeout_ms);
        if let Some(old) = self.sessions.get(&session) {
            self.queue.remove(&(old.deadline, session));
            if old.timeout_ms == timeout_ms {
                deadline = deadline.max(old.deadline);
            }
        }
        self.queue.insert((deadline, session));
        self.sessions.insert(session, Tracked { timeout_ms, deadline });
    }

    /// A session was heard from. Unknown ones are ignored.
    pub(super) fn touch(&mut self, session: SessionId, heard: Mono) {
        let tick_ms = self.tick_ms;
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let deadline = ((heard.millis() + tracked.timeout_ms) / tick_ms + 1) * tick_ms;
        if deadline > tracked.deadline {
            self.queue.remove(&(tracked.deadline, session));
            self.queue.insert((deadline, session));
            tracked.deadline = deadline;
        }
    }

    /// Stops tracking a session.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.queue.remove(&(tracked.deadline, session));
        }
    }

    /// Stops tracking everybody.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.queue.clear();
    }

    /// A shard has reported everything it heard up to `at`; the touches of the report first.
    pub(super) fn reported(&mut self, shard: ShardId, at: Mono) {
        let Some(last) = self.reported.get_mut(usize::from(shard.0)) else { return };
        let at = at.millis().max(*last);
        let before = std::mem::replace(last, at);
        self.excuse(before, at);
    }

    /// Time passed for the core.
    pub(super) fn tick(&mut self, now: Mono) {
        let now = now.millis().max(self.last_tick);
        let before = std::mem::replace(&mut self.last_tick, now);
        self.excuse(before, now);
    }

    /// Moves all deadlines by the part of a stall that was not made good yet.
    fn excuse(&mut self, from: u64, to: u64) {
        if to - from <= STALL_MS {
            return;
        }
        let from = from.max(self.excused);
        if to <= from {
            return;
        }
        self.excused = to;
        let by = to - from;
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|(at, session)| (at + by, session)).collect();
        for &(deadline, session) in &self.queue {
            if let Some(tracked) = self.sessions.get_mut(&session) {
                tracked.deadline = deadline;
            }
        }
    }

    /// A session whose deadline every shard has passed, if there is one; it is still tracked.
    pub(super) fn due(&self) -> Option<SessionId> {
        let horizon = self.reported.iter().copied().min().unwrap_or(0);
        let &(deadline, session) = self.queue.first()?;
        (deadline <= horizon).then_some(session)
    }

    /// Sessions with their deadlines, monotonic ms, in the order they are due.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = (u64, SessionId)> + '_ {
        self.queue.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SessionId = SessionId(7);

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn expiry(shards: u16) -> Expiry {
        Expiry::new(2000, shards, at(0))
    }

    /// Lets ticks and reports of all shards come every 100 ms.
    fn run(expiry: &mut Expiry, from: u64, to: u64) {
        for ms in (from..=to).step_by(100) {
            for shard in 0..expiry.reported.len() {
                expiry.reported(ShardId(shard as u16), at(ms));
            }
            expiry.tick(at(ms));
        }
    }

    #[test]
    fn a_silent_session_is_due_at_the_next_tick_after_its_timeout() {
        for (heard, deadline) in [(0, 6000), (1999, 6000), (2000, 8000)] {
            let mut expiry = expiry(1);
            expiry.track(S, 4000, at(heard));
            run(&mut expiry, 0, deadline - 100);
            assert_eq!(expiry.due(), None);
            run(&mut expiry, deadline - 100, deadline);
            assert_eq!(expiry.due(), Some(S));
        }
    }

    #[test]
    fn a_touch_moves_the_deadline() {
        let mut expiry = expiry(1);
        expiry.track(S, 4000, at(0));
        run(&mut expiry, 0, 3000);
        expiry.touch(S, at(3000));
        run(&mut expiry, 3000, 7900);
        assert_eq!(expiry.due(), None);
        run(&mut expiry, 7900, 8000);
        assert_eq!(expiry.due(), Some(S));
        expiry.remove(S);
        assert_eq!((expiry.due(), expiry.deadlines().count()), (None, 0));
    }

    #[test]
    fn the_slowest_shard_decides() {
        let mut expiry = expiry(2);
        expiry.track(S, 4000, at(0));
        for ms in (0..=9000).step_by(100) {
            expiry.reported(ShardId(0), at(ms));
            expiry.tick(at(ms));
        }
        assert_eq!(expiry.due(), None, "the other shard may have heard from it");
    }

    /// The machine slept for a minute. What clients sent meanwhile is in the sockets, and the
    /// first reports after waking know nothing of it yet.
    #[test]
    fn a_pause_of_the_whole_process_punishes_nobody() {
        let mut expiry = expiry(2);
        expiry.track(S, 4000, at(0));
        run(&mut expiry, 0, 1000);
        run(&mut expiry, 61_000, 65_900);
        assert_eq!(expiry.due(), None);
        run(&mut expiry, 65_900, 66_000);
        assert_eq!(expiry.due(), Some(S), "the pause is made good once, not once per shard");
    }

    #[test]
    fn short_gaps_are_not_pauses() {
        let mut expiry = expiry(1);
        expiry.track(S, 4000, at(0));
        for ms in (0..=6000).step_by(STALL_MS as usize) {
            expiry.reported(ShardId(0), at(ms));
            expiry.tick(at(ms));
        }
        assert_eq!(expiry.due(), Some(S));
    }

    #[test]
    fn a_new_timeout_counts_from_now() {
        let mut expiry = expiry(1);
        expiry.track(S, 40_000, at(0));
        expiry.track(S, 4000, at(0));
        assert_eq!(expiry.deadlines().collect::<Vec<_>>(), [(6000, S)]);
    }
}
