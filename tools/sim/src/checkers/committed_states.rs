//! Servers that have committed the same entries have the same state (`zab-wire` 9.0, A6): tree
//! digest and sessions at every position that two of them published, and the changes of every
//! transaction that two of them told.

use std::collections::BTreeMap;

use engine::{Change, Effects, Version};
use model::Zxid;

use super::{Checker, Seen};
use crate::history::History;

/// Changes of one transaction.
type Changes = Vec<(Change, Vec<u8>)>;

/// See the module.
#[derive(Default)]
pub(super) struct CommittedStates {
    /// What the first server that told any change of a transaction told, and who it was.
    changes: BTreeMap<Zxid, (usize, Changes)>,
}

fn states(first: &Version, second: &Version) -> Result<(), String> {
    if first.digest() != second.digest() {
        return Err(format!("digest {} and {}", first.digest(), second.digest()));
    }
    let (first, second) = (first.tables(), second.tables());
    if first.sessions != second.sessions {
        return Err(format!("sessions {:?} and {:?}", first.sessions, second.sessions));
    }
    if first.ephemerals != second.ephemerals {
        return Err(format!("ephemerals {:?} and {:?}", first.ephemerals, second.ephemerals));
    }
    Ok(())
}

impl CommittedStates {
    fn tell(&mut self, node: usize, effects: &Effects) -> Result<(), String> {
        let mut told: BTreeMap<Zxid, Changes> = BTreeMap::new();
        for effect in &effects.list {
            let change = (effect.change, effects.path(&effect.path).to_vec());
            told.entry(effect.zxid).or_default().push(change);
        }
        for (zxid, changes) in told {
            let (by, first) = self.changes.entry(zxid).or_insert_with(|| (node, changes.clone()));
            if *first != changes {
                return Err(format!(
                    "n{} tells of {zxid:?} {changes:?}, n{} told {first:?}",
                    node + 1,
                    *by + 1
                ));
            }
        }
        Ok(())
    }
}

impl Checker for CommittedStates {
    fn name(&self) -> &'static str {
        "committed_states_agree"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Published { node, batch } = seen else { return Ok(()) };
        if !history.is_ensemble() {
            return Ok(());
        }
        for segment in &batch.segments {
            let zxid = segment.version.zxid();
            let first = history.at(zxid)?;
            states(first, &segment.version)
                .map_err(|why| format!("n{} and another at {zxid:?}: {why}", node + 1))?;
            self.tell(*node, &segment.effects)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;
    use model::{Op, SessionId};
    use server::feed::{CommitBatch, Segment};

    fn publish(
        history: &mut History,
        checker: &mut CommittedStates,
        node: usize,
        (version, effects): (Version, Effects),
    ) -> bool {
        let segment = Segment { version, effects, entries: Vec::new() };
        let batch = CommitBatch { segments: vec![segment] };
        history.publish(node, &batch);
        checker.see(history, &Seen::Published { node, batch: &batch }).is_ok()
    }

    #[test]
    fn a_server_that_goes_its_own_way_is_caught() {
        let run = |other: &dyn Fn(&mut Maker) -> (Version, Effects)| {
            let op = Op::CreateSession { timeout_ms: 4000 };
            let first = Maker::new().run(&op, 7);
            let mut history = History::of(2);
            let mut checker = CommittedStates::default();
            assert!(publish(&mut history, &mut checker, 0, first));
            publish(&mut history, &mut checker, 1, other(&mut Maker::new()))
        };
        assert!(run(&|maker| maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7)));
        assert!(!run(&|maker| maker.run(&Op::CreateSession { timeout_ms: 4000 }, 8)));
        assert!(!run(&|maker| (maker.create("/p0"), Effects::default())));
        assert!(!run(&|maker| {
            let (version, effects) = maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7);
            let mut tables = version.tables().clone();
            tables.ephemerals.entry(SessionId(7)).or_default();
            (Version::new(version.tree().clone(), tables), effects)
        }));
    }

    #[test]
    fn changes_that_differ_are_caught() {
        let mut checker = CommittedStates::default();
        let mut maker = Maker::new();
        maker.create("/p0");
        let set = Op::SetData { path: b"/p0", data: Some(b"y"), version: -1 };
        let (_, effects) = maker.run(&set, 1);
        assert_eq!(checker.tell(0, &effects), Ok(()));
        assert_eq!(checker.tell(1, &effects), Ok(()));
        let mut other = effects.clone();
        other.list[0].change = Change::Deleted;
        assert!(checker.tell(2, &other).is_err());
    }
}
