//! The digest that is kept up to date equals the one computed from nothing, after every recovery
//! and now and then in between.

use engine::Version;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct DigestAgrees {
    batches: u64,
}

/// Batches between two computations from nothing.
const EVERY: u64 = 16;

fn check(version: &Version) -> Result<(), String> {
    let whole = engine::digest::of_tree(version.view());
    if whole == version.digest() {
        return Ok(());
    }
    Err(format!("at {:?} the digest is {}, kept as {}", version.zxid(), whole, version.digest()))
}

impl Checker for DigestAgrees {
    fn name(&self) -> &'static str {
        "digest_agrees"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Published { batch, .. } => {
                self.batches += 1;
                match batch.segments.last() {
                    Some(last) if self.batches.is_multiple_of(EVERY) => check(&last.version),
                    _ => Ok(()),
                }
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
    fn a_forgotten_change_is_caught() {
        let version = Maker::new().create("/p0");
        assert_eq!(check(&version), Ok(()));
        let mut tables = version.tables().clone();
        tables.digest += 1;
        assert!(check(&Version::new(version.tree().clone(), tables)).is_err());
    }
}
