//! A multi is seen whole or not at all: the workload only ever makes, changes and removes `/a<n>`
//! and `/b<n>` together.

use engine::Version;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
pub(super) struct MultiAtomic;

fn check(version: &Version) -> Result<(), String> {
    for pair in 0..4 {
        let part = |name: &str| {
            let path = format!("/{name}{pair}");
            version.view().get(path.as_bytes()).map(|znode| znode.data.map(<[u8]>::to_vec))
        };
        let (a, b) = (part("a"), part("b"));
        if a != b {
            return Err(format!("at {:?} /a{pair} is {a:?} and /b{pair} is {b:?}", version.zxid()));
        }
    }
    Ok(())
}

impl Checker for MultiAtomic {
    fn name(&self) -> &'static str {
        "multi_atomic"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Published { batch, .. } => {
                batch.segments.iter().try_for_each(|segment| check(&segment.version))
            }
            Seen::Recovered { version, .. } => check(version),
            Seen::Attached { .. }
            | Seen::Dropped { .. }
            | Seen::Replied { .. }
            | Seen::Event { .. }
            | Seen::Rebuilt { .. }
            | Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Queues { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;

    #[test]
    fn half_a_multi_is_caught() {
        let mut maker = Maker::new();
        assert!(check(&maker.create("/a1")).is_err());
        assert_eq!(check(&maker.create("/b1")), Ok(()));
    }
}
