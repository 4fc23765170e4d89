//! No queue grows without bound, whatever clients and disks do.

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
pub(super) struct BoundedQueues;

/// Messages on a link; batches of one turn count as one.
const LINK_MAX: usize = 10_000;

impl Checker for BoundedQueues {
    fn name(&self) -> &'static str {
        "no_unbounded_queue"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Queues { to_core, to_shards, outbox } = seen else { return Ok(()) };
        let outbox_max = server::limits::OUTBOX_BYTES_MAX;
        for (what, length, limit) in [
            ("messages to the core", *to_core, LINK_MAX),
            ("messages to shards", *to_shards, LINK_MAX),
            ("bytes of an outbox", *outbox, outbox_max),
        ] {
            if length > limit {
                return Err(format!("{length} {what}, bound {limit}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_queue_is_caught() {
        let history = History::default();
        let see = |to_core, outbox| {
            BoundedQueues.see(&history, &Seen::Queues { to_core, to_shards: 0, outbox })
        };
        assert_eq!(see(5, 5), Ok(()));
        assert!(see(LINK_MAX + 1, 0).is_err());
        assert!(see(0, server::limits::OUTBOX_BYTES_MAX + 1).is_err());
    }
}
