//! A state that is made again from files is the same state: a snapshot that is read back, and the
//! log replayed without the newest snapshot.

use engine::Version;

use super::{Checker, Seen};
use crate::history::History;

/// Each member writes the ensemble's configuration here by itself, outside of any transaction
/// (`zab-wire` 4.8).
const CONFIG: &[u8] = b"/zookeeper/config";

/// Bytes of data that transactions have put there.
fn bytes(version: &Version) -> u64 {
    let own = version.view().get(CONFIG).and_then(|znode| znode.data.map(<[u8]>::len));
    version.tables().data_bytes - own.unwrap_or(0) as u64
}

/// See the module.
pub(super) struct SnapshotEqualsReplay;

impl Checker for SnapshotEqualsReplay {
    fn name(&self) -> &'static str {
        "snapshot_equals_replay"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Rebuilt { from, rebuilt, how } = seen else { return Ok(()) };
        difference(from, rebuilt).map_or(Ok(()), |what| {
            Err(format!("the state at {:?}, made {how}, differs: {what}", from.zxid()))
        })
    }
}

fn difference(a: &Version, b: &Version) -> Option<String> {
    if (a.zxid(), a.digest()) != (b.zxid(), b.digest()) {
        return Some(format!("{a:?} became {b:?}"));
    }
    let (left, right) = (a.tables(), b.tables());
    if left.sessions != right.sessions {
        return Some(format!("sessions {:?} became {:?}", left.sessions, right.sessions));
    }
    if left.ephemerals != right.ephemerals || left.containers != right.containers {
        return Some("the tables of ephemerals or containers".to_owned());
    }
    if left.ttls != right.ttls || bytes(a) != bytes(b) {
        return Some("the table of TTL znodes or the count of bytes".to_owned());
    }
    if a.view().len() != b.view().len() {
        return Some(format!("{} znodes became {}", a.view().len(), b.view().len()));
    }
    for (path, here) in a.view().iter().filter(|(path, _)| *path != CONFIG) {
        let there = b.view().get(path);
        let same = there.is_some_and(|there| {
            let lists = a.acl(here.meta.acl) == b.acl(there.meta.acl);
            lists
                && here.data == there.data
                && here.stat() == there.stat()
                && here.meta.owner == there.meta.owner
        });
        if !same {
            let path = path.escape_ascii();
            return Some(format!("{path}: {here:?} became {there:?}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;

    #[test]
    fn a_state_that_came_back_otherwise_is_caught() {
        let mut maker = Maker::new();
        let version = maker.create("/p0");
        assert_eq!(difference(&version, &version), None);
        let mut tables = version.tables().clone();
        tables.data_bytes += 1;
        let other = Version::new(version.tree().clone(), tables.clone());
        assert!(difference(&version, &other).is_some());
        let mut elsewhere = Maker::new();
        let stranger = elsewhere.create("/p1");
        let mixed = Version::new(stranger.tree().clone(), version.tables().clone());
        let seen = Seen::Rebuilt { from: &version, rebuilt: &mixed, how: "by hand" };
        assert!(SnapshotEqualsReplay.see(&maker.history, &seen).is_err());
    }
}
