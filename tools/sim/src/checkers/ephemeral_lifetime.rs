//! An ephemeral znode exists exactly as long as its session: in every version each has a living
//! owner, and the table of ephemerals lists exactly the znodes that have one.

use engine::Version;
use model::SessionId;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
pub(super) struct EphemeralLifetime;

fn check(history: &History, version: &Version) -> Result<(), String> {
    let tables = version.tables();
    let mut listed = 0;
    for (owner, paths) in &tables.ephemerals {
        if !tables.sessions.contains_key(owner) && !history.gone_before.contains(owner) {
            return Err(format!("{paths:?} belong to {owner}, which is no more"));
        }
        for path in paths {
            listed += 1;
            let found = version.view().get(path);
            if found.is_none_or(|znode| SessionId(znode.meta.owner) != *owner) {
                return Err(format!("{owner} is said to own {path:?}, which is {found:?}"));
            }
        }
    }
    let real = version.view().iter().filter(|(_, znode)| znode.is_ephemeral()).count();
    if real == listed { Ok(()) } else { Err(format!("{real} ephemerals, {listed} listed")) }
}

impl Checker for EphemeralLifetime {
    fn name(&self) -> &'static str {
        "ephemeral_lifetime"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Published { batch, .. } => {
                batch.segments.iter().try_for_each(|segment| check(history, &segment.version))
            }
            Seen::Recovered { version, .. } => check(history, version),
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
    use model::{CreateMode, Op, OpCode, acl, op::Create};

    #[test]
    fn an_orphan_is_caught() {
        let mut maker = Maker::new();
        let open = acl::world(model::Perms::ALL);
        maker.run(&Op::CreateSession { timeout_ms: 4000 }, 7);
        let op = Op::Create(Create {
            opcode: OpCode::Create,
            path: b"/e",
            data: None,
            acl: Some(&open),
            mode: CreateMode::Ephemeral,
            sequential: false,
        });
        let (version, _) = maker.run(&op, 7);
        assert_eq!(check(&maker.history, &version), Ok(()));
        let mut tables = version.tables().clone();
        tables.sessions.remove(&SessionId(7));
        let orphaned = Version::new(version.tree().clone(), tables);
        assert!(check(&maker.history, &orphaned).is_err());
        maker.history.gone_before.insert(SessionId(7));
        assert_eq!(check(&maker.history, &orphaned), Ok(()));
        let mut tables = version.tables().clone();
        tables.ephemerals.remove(&SessionId(7));
        assert!(check(&maker.history, &Version::new(version.tree().clone(), tables)).is_err());
    }
}
