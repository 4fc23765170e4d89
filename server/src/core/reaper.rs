//! Removal of empty containers and outlived TTL znodes, paced (`client-protocol` 4.4,
//! `zab-wire` 4.9).

use std::collections::VecDeque;
use std::time::Duration;

use engine::Draft;
use model::{Mono, Now};

/// When to look, and what was found and not removed yet.
pub(super) struct Reaper {
    period: Duration,
    spacing: Duration,
    never_used_ms: i64,
    found_max: usize,
    found: VecDeque<Vec<u8>>,
    next_look: Mono,
    next_removal: Mono,
}

impl Reaper {
    /// The first look is one period from now.
    pub(super) fn new(period_ms: u64, per_minute: u32, never_used_ms: i64, now: Mono) -> Reaper {
        let period = Duration::from_millis(period_ms.max(1));
        let per_minute = u64::from(per_minute.max(1));
        let found_max = (per_minute * period_ms / 60_000).max(1) as usize;
        Reaper {
            period,
            spacing: Duration::from_nanos(60_000_000_000 / per_minute),
            never_used_ms,
            found_max,
            found: VecDeque::new(),
            next_look: now + period,
            next_removal: now,
        }
    }

    /// Looks for znodes to remove, if it is time and the last look's are gone.
    pub(super) fn tick(&mut self, now: Now, draft: &Draft) {
        if now.mono < self.next_look || !self.found.is_empty() {
            return;
        }
        self.next_look = now.mono + self.period;
        self.next_removal = now.mono;
        let found = draft.expired_containers(now.wall_ms, self.never_used_ms, self.found_max);
        self.found = found.into();
    }

    /// The next znode to remove now. Whether it is still to go is judged when it is executed.
    pub(super) fn next(&mut self, now: Mono) -> Option<Vec<u8>> {
        if now < self.next_removal {
            return None;
        }
        let path = self.found.pop_front()?;
        self.next_removal = self.next_removal + self.spacing;
        Some(path)
    }
}
