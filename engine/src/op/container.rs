//! deleteContainer: the leader's removal of empty containers and expired TTL znodes
//! (`client-protocol` 4.4, `zab-wire` 4.9).

use std::borrow::Cow;

use model::{ErrorCode, Txn};

use crate::draft::{Draft, Stamp};
use crate::op::shape;
use crate::state::Kind;
use crate::tree::Znode;

/// Judges a removal anew: since it was asked for a child may have come, the znode may have been
/// replaced by one of another kind, or a setData may have restarted its time.
pub(crate) fn plan<'a>(draft: &Draft, path: &'a [u8], at: Stamp) -> Result<Txn<'a>, ErrorCode> {
    shape(path)?;
    let znode = draft.tree.view().get(path).ok_or(ErrorCode::NoNode)?;
    if znode.children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    match Kind::of(znode.meta.owner) {
        Kind::Container => {}
        Kind::Ttl if has_outlived(&znode, at.time_ms) => {}
        Kind::Ttl | Kind::Ephemeral(_) | Kind::Persistent => return Err(ErrorCode::BadVersion),
    }
    Ok(Txn::Delete { path: Cow::Borrowed(path), container: true })
}

fn has_outlived(znode: &Znode<'_>, now_ms: i64) -> bool {
    znode.ttl_ms().is_some_and(|ttl_ms| now_ms.saturating_sub(znode.meta.mtime) > ttl_ms)
}

/// Paths to remove now, in path order. `never_used_ms` is the age at which a container that
/// never had a child goes too; 0 keeps it forever.
pub(crate) fn expired(
    draft: &Draft,
    now_ms: i64,
    never_used_ms: i64,
    limit: usize,
) -> Vec<Vec<u8>> {
    let is_due = |path: &[u8]| {
        let Some(znode) = draft.tree.view().get(path) else { return false };
        let age_ms = now_ms.saturating_sub(znode.meta.mtime);
        let due = match Kind::of(znode.meta.owner) {
            Kind::Container => {
                znode.meta.cversion > 0 || (never_used_ms > 0 && age_ms > never_used_ms)
            }
            Kind::Ttl => has_outlived(&znode, now_ms),
            Kind::Persistent | Kind::Ephemeral(_) => false,
        };
        due && znode.children == 0
    };
    let mut containers = draft.tables.containers.iter().peekable();
    let mut ttls = draft.tables.ttls.iter().peekable();
    let in_order = std::iter::from_fn(|| match (containers.peek(), ttls.peek()) {
        (Some(a), Some(b)) if a <= b => containers.next(),
        (Some(_), None) => containers.next(),
        (_, _) => ttls.next(),
    });
    in_order.filter(|path| is_due(path)).take(limit).map(|path| path.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use crate::draft::Settings;
    use crate::op::tests::*;
    use model::{Op, SessionId};

    fn remove(scene: &mut Scene, path: &str) -> i32 {
        let asker = std::mem::replace(&mut scene.who.session, SessionId::NONE);
        let code = scene.code(&Op::DeleteContainer { path: path.as_bytes() });
        scene.who.session = asker;
        code
    }

    fn due(scene: &Scene, now_ms: i64, never_used_ms: i64) -> String {
        let paths = scene.draft.expired_containers(now_ms, never_used_ms, 10);
        String::from_utf8(paths.concat()).expect("ASCII")
    }

    #[test]
    fn a_container_goes_once_its_children_have_come_and_gone() {
        let mut scene = Scene::new();
        scene.ok(&container("/c"));
        assert_eq!(due(&scene, i64::MAX, 0), "", "never used");
        let born = scene.stat("/c").mtime;
        assert_eq!(due(&scene, born + 50, 50), "");
        assert_eq!(due(&scene, born + 51, 50), "/c");
        scene.make(&["/c/x"]);
        assert_eq!(due(&scene, i64::MAX, 50), "");
        assert_eq!(remove(&mut scene, "/c"), -111);
        scene.ok(&delete("/c/x", -1));
        assert_eq!(due(&scene, 0, 0), "/c");
        assert_eq!(remove(&mut scene, "/c"), 0);
        assert_eq!(scene.events(), "-/c");
        assert!(scene.draft.tables().containers.is_empty());
        assert_eq!(remove(&mut scene, "/c"), -101);
    }

    #[test]
    fn a_ttl_znode_goes_when_childless_and_unchanged_that_long() {
        let mut scene = Scene::with(Settings { extended_types: true, ..Settings::default() });
        scene.ok(&ttl("/t", 100));
        scene.ok(&container("/b"));
        scene.make(&["/b/x"]);
        scene.ok(&delete("/b/x", -1));
        let born = scene.stat("/t").mtime;
        assert_eq!(due(&scene, born + 100, 0), "/b");
        assert_eq!(due(&scene, born + 101, 0), "/b/t", "in path order");
        assert_eq!(scene.draft.expired_containers(born + 101, 0, 1), [b"/b"]);
        assert_eq!(remove(&mut scene, "/t"), -103, "asked for too early");
        scene.now_ms = born + 90;
        scene.ok(&set("/t", "again", -1));
        scene.now_ms = born + 101;
        assert_eq!(remove(&mut scene, "/t"), -103, "a setData restarts the time");
        scene.now_ms = born + 191;
        assert_eq!(remove(&mut scene, "/t"), 0);
        assert!(scene.draft.tables().ttls.is_empty());
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let mut scene = Scene::new();
        scene.make(&["/p"]);
        scene.ok(&ephemeral("/e"));
        assert_eq!(remove(&mut scene, "/p"), -103);
        assert_eq!(remove(&mut scene, "/e"), -103);
        assert_eq!(remove(&mut scene, "nowhere"), -8);
    }
}
