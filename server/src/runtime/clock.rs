//! The only clock of the process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::{Mono, Now};

/// Reads both clocks of the machine. Copies share one origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts one second after [`Mono`]'s zero, so that no caller can take "zero"
    /// for a moment that was.
    pub(crate) fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// The present.
    pub(crate) fn now(&self) -> Now {
        let mono = Mono(self.origin.elapsed().as_nanos() as u64 + 1_000_000_000);
        // A wall clock before 1970 is stamped as 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall_ms: wall.as_millis() as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.mono <= second.mono);
        assert!(first.mono.millis() >= 1000);
        assert!(first.wall_ms > 1_600_000_000_000);
    }
}
