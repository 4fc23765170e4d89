//! setWatches: what a reconnected client missed (`client-protocol` 6.5).

use model::{EventKind, Zxid, path};

use crate::state::Version;

/// Which list of a setWatches request a path stands in. The persistent lists need no decision:
/// they are registered whatever happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewatch {
    /// Left by getData, or by exists of a znode that was there.
    Data,
    /// Left by exists of a missing znode.
    Exist,
    /// Left by getChildren.
    Child,
}

/// What to do about one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CatchUp {
    /// Nothing was missed: register the watch again.
    Register,
    /// Send this event instead; access lists are not consulted.
    Fire(EventKind),
}

/// Compares a watch with the present. `seen` is the last zxid the client has seen.
pub fn catch_up(version: &Version, path: &[u8], list: Rewatch, seen: Zxid) -> CatchUp {
    let znode = version.view().get(path::normalize(path));
    match (list, znode) {
        (Rewatch::Exist, None) => CatchUp::Register,
        (Rewatch::Exist, Some(_)) => CatchUp::Fire(EventKind::NodeCreated),
        (Rewatch::Data | Rewatch::Child, None) => CatchUp::Fire(EventKind::NodeDeleted),
        (Rewatch::Data, Some(znode)) if znode.meta.mzxid > seen => {
            CatchUp::Fire(EventKind::NodeDataChanged)
        }
        (Rewatch::Child, Some(znode)) if znode.meta.pzxid > seen => {
            CatchUp::Fire(EventKind::NodeChildrenChanged)
        }
        (Rewatch::Data | Rewatch::Child, Some(_)) => CatchUp::Register,
    }
}
