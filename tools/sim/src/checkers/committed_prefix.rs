//! Committed prefixes agree (`zab-wire` 9.0, PrefixConsistency): where one server goes on to the
//! next epoch, no other has ever committed anything in between.

use std::collections::BTreeMap;

use model::Zxid;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct CommittedPrefix {
    /// Where each server stands.
    at: BTreeMap<usize, Zxid>,
    /// Steps into another epoch: from, to.
    steps: BTreeMap<Zxid, Zxid>,
}

impl Checker for CommittedPrefix {
    fn name(&self) -> &'static str {
        "committed_prefix_agrees"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Recovered { node, .. } => {
                self.at.remove(node);
            }
            Seen::Published { node, batch } => {
                for segment in &batch.segments {
                    let next = segment.version.zxid();
                    let before = self.at.insert(*node, next);
                    self.fits(*node, next)?;
                    // A batch is of one epoch. A state that is taken over whole says nothing of
                    // how it came about.
                    let told = !segment.effects.list.is_empty() || !segment.entries.is_empty();
                    if let Some(before) = before.filter(|_| told || !history.is_ensemble()) {
                        self.step(history, *node, before, next)?;
                    }
                }
            }
            Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Attached { .. }
            | Seen::Dropped { .. }
            | Seen::Replied { .. }
            | Seen::Event { .. }
            | Seen::Rebuilt { .. }
            | Seen::Queues { .. } => {}
        }
        Ok(())
    }
}

impl CommittedPrefix {
    /// Nobody has gone past this position without it.
    fn fits(&self, node: usize, zxid: Zxid) -> Result<(), String> {
        let passed = self.steps.range(..zxid).next_back();
        match passed.filter(|(_, to)| zxid < **to) {
            Some((from, to)) => Err(format!(
                "n{} commits {zxid:?}, and another went from {from:?} to {to:?}",
                node + 1
            )),
            None => Ok(()),
        }
    }

    fn step(
        &mut self,
        history: &History,
        node: usize,
        before: Zxid,
        next: Zxid,
    ) -> Result<(), String> {
        if next < before {
            return Err(format!("n{} goes back from {before:?} to {next:?}", node + 1));
        }
        if next.epoch() == before.epoch() {
            return Ok(());
        }
        // The first entry of an epoch has number one.
        let first = Zxid::new(next.epoch(), 1);
        let skipped = history.versions.range(Zxid(before.0 + 1)..first).next();
        if let Some((skipped, _)) = skipped {
            return Err(format!(
                "n{} goes from {before:?} to {next:?} without {skipped:?}, which was committed",
                node + 1
            ));
        }
        self.steps.insert(before, first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;
    use engine::{Effects, Version};
    use model::Epoch;
    use server::feed::{CommitBatch, Segment};

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// Servers publish states at these positions; whether that is fine.
    fn run(steps: &[(usize, Zxid)]) -> bool {
        let mut maker = Maker::new();
        let made = maker.create("/p0");
        let (_, effects) = maker.run(&model::Op::Delete { path: b"/p0", version: -1 }, 1);
        let mut history = History::of(3);
        let mut checker = CommittedPrefix::default();
        for (node, zxid) in steps {
            let mut tables = made.tables().clone();
            tables.zxid = *zxid;
            let version = Version::new(made.tree().clone(), tables);
            let effects: Effects = effects.clone();
            let segment = Segment { version, effects, entries: Vec::new() };
            let batch = CommitBatch { segments: vec![segment] };
            history.publish(*node, &batch);
            let seen = Seen::Published { node: *node, batch: &batch };
            if checker.see(&history, &seen).is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_committed_entry_that_a_later_epoch_lacks_is_caught() {
        assert!(run(&[(0, z(1, 1)), (1, z(1, 1)), (0, z(1, 2)), (0, z(2, 1)), (1, z(1, 2))]));
        assert!(!run(&[(0, z(1, 1)), (0, z(1, 2)), (1, z(1, 1)), (1, z(2, 1))]), "1:2 is lost");
        assert!(!run(&[(1, z(1, 1)), (1, z(2, 1)), (0, z(1, 1)), (0, z(1, 2))]), "1:2 is late");
        assert!(!run(&[(0, z(1, 2)), (0, z(1, 1))]), "it goes back");
    }
}
