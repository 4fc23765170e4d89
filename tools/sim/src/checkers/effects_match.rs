//! What the feed says changed is what did change: from one version to the next, the effects lead
//! from the znodes that were to the znodes that are, and no further znode has new data.

use std::collections::BTreeMap;

use engine::{Change, Effects, Version};
use model::Zxid;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct EffectsMatch {
    nodes: BTreeMap<usize, Followed>,
}

/// What one node's shards have seen.
#[derive(Default)]
struct Followed {
    /// Znodes of the last version with their last change.
    before: BTreeMap<Vec<u8>, Zxid>,
    at: Zxid,
}

fn znodes(version: &Version) -> BTreeMap<Vec<u8>, Zxid> {
    version.view().iter().map(|(path, znode)| (path.to_vec(), znode.meta.mzxid)).collect()
}

impl Followed {
    fn begin(&mut self, version: &Version) {
        self.before = znodes(version);
        self.at = version.zxid();
    }

    fn follow(&mut self, version: &Version, effects: &Effects) -> Result<(), String> {
        for effect in &effects.list {
            let path = effects.path(&effect.path);
            let words = || {
                let path = path.escape_ascii();
                format!("{:?} of {path} at {:?}", effect.change, effect.zxid)
            };
            if effect.zxid <= self.at {
                return Err(format!("{} belongs to an earlier version", words()));
            }
            let was = match effect.change {
                Change::Created => self.before.insert(path.to_vec(), effect.zxid).is_none(),
                Change::Deleted => self.before.remove(path).is_some(),
                Change::DataChanged => self.before.insert(path.to_vec(), effect.zxid).is_some(),
            };
            if !was {
                return Err(format!("{} is impossible", words()));
            }
        }
        self.at = version.zxid();
        let now = znodes(version);
        if now != self.before {
            let odd = now.iter().find(|(path, zxid)| self.before.get(*path) != Some(zxid));
            let gone = self.before.keys().find(|path| !now.contains_key(*path));
            return Err(format!(
                "at {:?} the effects do not lead to the state: is {odd:?}, not there {gone:?}",
                version.zxid()
            ));
        }
        Ok(())
    }
}

impl Checker for EffectsMatch {
    fn name(&self) -> &'static str {
        "effects_match_difference"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Published { node, batch } => {
                let followed = self.nodes.entry(*node).or_default();
                for segment in &batch.segments {
                    // A member of an ensemble may take over a state as a whole while it serves
                    // nobody.
                    let told = !segment.effects.list.is_empty() || !segment.entries.is_empty();
                    if history.is_ensemble() && !told {
                        followed.begin(&segment.version);
                    } else {
                        followed.follow(&segment.version, &segment.effects)?;
                    }
                }
            }
            Seen::Recovered { node, first, .. } => {
                self.nodes.entry(*node).or_default().begin(first);
            }
            Seen::Attached { .. }
            | Seen::Dropped { .. }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;
    use model::{Op, SessionId};

    #[test]
    fn a_change_that_is_not_told_is_caught() {
        let mut maker = Maker::new();
        let before = maker.create("/p0");
        let op = Op::SetData { path: b"/p0", data: Some(b"y"), version: -1 };
        let (after, effects) = maker.run(&op, SessionId(1).0);
        let mut checker = Followed { before: znodes(&before), at: before.zxid() };
        assert_eq!(checker.follow(&after, &effects), Ok(()));
        let mut checker = Followed { before: znodes(&before), at: before.zxid() };
        assert!(checker.follow(&after, &Effects::default()).is_err());
        let mut checker = Followed { before: BTreeMap::new(), at: before.zxid() };
        assert!(checker.follow(&after, &effects).is_err(), "it was never created");
    }
}
