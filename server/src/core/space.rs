//! Protection from full disks: writes are refused while space is short, everything else goes on.

use std::time::Duration;

use engine::disk::DiskToken;
use model::Mono;

/// Between measurements when there is enough. A fast device fills the reserve in a second or two.
const PERIOD_CALM: Duration = Duration::from_millis(250);
/// Between measurements when there is not.
const PERIOD_SHORT: Duration = Duration::from_secs(2);

/// What is known of the volumes.
pub(super) struct Space {
    reserve: u64,
    /// Less than the reserve was left at the last measurement.
    low: bool,
    /// The log could not prepare a segment.
    log_full: bool,
    measuring: Option<DiskToken>,
    next: Mono,
}

impl Space {
    pub(super) fn new(reserve: u64, now: Mono) -> Space {
        Space { reserve, low: false, log_full: false, measuring: None, next: now }
    }

    /// True while clients' writes are refused.
    pub(super) fn refuses_writes(&self) -> bool {
        self.low || self.log_full
    }

    /// True while even what the server needs for itself may not fit.
    pub(super) fn is_exhausted(&self) -> bool {
        self.log_full
    }

    /// True if it is time to measure; then the measurement has this token.
    pub(super) fn measure(
        &mut self,
        now: Mono,
        token: impl FnOnce() -> DiskToken,
    ) -> Option<DiskToken> {
        if self.measuring.is_some() || now < self.next {
            return None;
        }
        let token = token();
        self.measuring = Some(token);
        Some(token)
    }

    /// Takes the end of a measurement; false if the token is another's. Writes are taken again
    /// only when an eighth more than the reserve is free, so that the verdict does not flicker.
    pub(super) fn measured(&mut self, token: DiskToken, free: Option<u64>, now: Mono) -> bool {
        if self.measuring != Some(token) {
            return false;
        }
        self.measuring = None;
        if let Some(free) = free {
            let wanted = if self.low { self.reserve + self.reserve / 8 } else { self.reserve };
            let low = free < wanted;
            if low != self.low {
                self.low = low;
                tracing::warn!(
                    free_bytes = free,
                    reserve_bytes = self.reserve,
                    "{}",
                    if low {
                        "disk space is short: writes are refused"
                    } else {
                        "disk space is back"
                    }
                );
            }
        }
        self.next = now + if self.refuses_writes() { PERIOD_SHORT } else { PERIOD_CALM };
        true
    }

    /// The log can or cannot grow.
    pub(super) fn log_full(&mut self, full: bool, now: Mono) {
        self.log_full = full;
        self.next = self.next.min(now + PERIOD_SHORT);
        if full {
            tracing::warn!("no space for the log to grow: writes are refused");
        } else {
            tracing::warn!("the log can grow again");
        }
    }
}
