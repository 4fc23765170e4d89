//! Time as an argument. Nothing outside the runtime reads a clock; every step is handed a [`Now`].

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds on a clock that never goes back and has no meaning outside this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds since the clock's origin, rounded down.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The instant so many milliseconds after the origin.
    pub fn from_millis(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    /// Time passed since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(by.as_nanos() as u64))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, by: Duration) -> Mono {
        Mono(self.0.saturating_sub(by.as_nanos() as u64))
    }
}

/// The two clocks at the moment of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For timeouts and latencies.
    pub mono: Mono,
    /// Milliseconds since the Unix epoch; only ever stamped into transactions and shown to people.
    pub wall_ms: i64,
}
