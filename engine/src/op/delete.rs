//! delete, and the removal that closing sessions and the leader's cleaning share
//! (`client-protocol` 2.5, `zab-wire` 4.2 and 4.3).

use std::borrow::Cow;

use model::{ErrorCode, Perms, Txn, TxnHeader, path};

use crate::digest::{self, Prefix};
use crate::draft::{Caller, Draft};
use crate::effect::{Change, Effect, Effects, Outcome};
use crate::op::{child_path, require_session, shape, version_is};
use crate::quota;

/// Judges a delete. The parent's permission comes before everything about the znode.
pub(crate) fn plan<'a>(
    draft: &Draft,
    path: &'a [u8],
    version: i32,
    who: &Caller,
) -> Result<Txn<'a>, ErrorCode> {
    require_session(draft, who)?;
    let (above, _) = shape(path)?;
    if matches!(path, b"/" | path::SYSTEM | path::QUOTA | path::CONFIG) {
        return Err(ErrorCode::BadArguments);
    }
    let view = draft.tree.view();
    let parent = view.get(above).ok_or(ErrorCode::NoNode)?;
    draft.demand(&parent, Perms::DELETE, who)?;
    let znode = view.get(path).ok_or(ErrorCode::NoNode)?;
    version_is(znode.meta.version, version)?;
    if znode.children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    Ok(Txn::Delete { path: Cow::Borrowed(path), container: false })
}

/// Removes one znode. The parent's pzxid moves even if the znode is gone already, which happens
/// when a replay meets a state that contains later changes.
pub(crate) fn apply(
    draft: &mut Draft,
    header: &TxnHeader,
    path: &[u8],
    effects: &mut Effects,
) -> Outcome {
    let Some((above, name)) = path::split(path) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let view = draft.tree.view();
    let Some(parent) = view.get(above).filter(|_| !name.is_empty()) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let mut parent_meta = parent.meta;
    parent_meta.pzxid = parent_meta.pzxid.max(header.zxid);
    let parent_sum = Prefix::new(above, parent.data);
    let parent_change = parent_sum.with(&parent_meta).wrapping_sub(parent_sum.with(&parent.meta));
    draft.tables.digest = draft.tables.digest.wrapping_add(parent_change);
    if view.get(path).is_some_and(|znode| znode.children > 0) {
        remove_descendants(draft, path);
    }
    let Some(znode) = draft.tree.view().get(path) else {
        draft.tree.update(above, None, |above| *above = parent_meta);
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let (meta, length) = (znode.meta, znode.data.map_or(0, <[u8]>::len));
    let guard = draft.guard(meta.acl);
    draft.tables.digest = draft.tables.digest.wrapping_sub(digest::of(path, znode.data, &meta));
    draft.tree.delete(path, |above| *above = parent_meta);
    draft.forget(path, &meta, length);
    quota::deleted(draft, path, length as i64);

    let path = effects.intern(path);
    effects.list.push(Effect {
        zxid: header.zxid,
        change: Change::Deleted,
        path,
        acl: guard,
        parent_acl: draft.guard(parent_meta.acl),
    });
    Outcome::Done
}

/// Children of a deleted znode exist only when a fuzzy snapshot was ahead of the replay; their own
/// creates come again.
fn remove_descendants(draft: &mut Draft, path: &[u8]) {
    let mut doomed = vec![path.to_vec()];
    let mut next = 0;
    while next < doomed.len() {
        let above = &doomed[next];
        let below: Vec<Vec<u8>> = draft
            .tree
            .view()
            .children(above)
            .into_iter()
            .flatten()
            .map(|name| child_path(above, name))
            .collect();
        doomed.extend(below);
        next += 1;
    }
    // Backwards, children precede their parents.
    for path in doomed[1..].iter().rev() {
        let znode = draft.tree.view().get(path).expect("listed children exist");
        let (meta, length) = (znode.meta, znode.data.map_or(0, <[u8]>::len));
        draft.tables.digest = draft.tables.digest.wrapping_sub(digest::of(path, znode.data, &meta));
        draft.tree.delete(path, |_| {});
        draft.forget(path, &meta, length);
        quota::deleted(draft, path, length as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::tests::*;
    use model::{Stat, Zxid};

    #[test]
    fn the_first_fault_in_zookeepers_order_wins() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/a/b", "/a/b/c", "/locked", "/locked/x"]);
        scene.ok(&set_acl("/locked", &only(23, "world", "anyone"), -1));
        for (op, expect) in [
            (delete("noslash", -1), -8),
            (delete("", -1), -8),
            (delete("/a\0", -1), -8),
            (delete("/", -1), -8),
            (delete("/zookeeper", -1), -8),
            (delete("/zookeeper/quota", -1), -8),
            (delete("/zookeeper/config", 7), -8),
            (delete("/missing/x", -1), -101),
            (delete("/locked/missing", -1), -102),
            (delete("/locked/x", 7), -102),
            (delete("/a/missing", -1), -101),
            (delete("/a//b", -1), -101),
            (delete("/a/b", 7), -103),
            (delete("/a/b", 0), -111),
            (delete("/a/b/c", 0), 0),
            (delete("/a/b", -1), 0),
        ] {
            assert_eq!(scene.code(&op), expect, "{op:?}");
        }
    }

    #[test]
    fn the_parent_shows_it_in_pzxid_and_cversion() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/a/b"]);
        let before = scene.stat("/a");
        let bytes = scene.draft.tables().data_bytes;
        scene.ok(&delete("/a/b", 0));
        assert_eq!(scene.events(), "-/a/b");
        let expect = Stat { cversion: 2, num_children: 0, pzxid: Zxid(scene.zxid - 1), ..before };
        assert_eq!(scene.stat("/a"), expect);
        assert_eq!(scene.draft.tables().data_bytes, bytes - 5);
    }

    #[test]
    fn the_guard_is_the_list_it_had() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        let list = only(2, "world", "anyone");
        scene.ok(&set_acl("/a", &list, -1));
        assert_eq!(scene.draft.tables().acls.len(), 2, "the configuration's and this one");
        scene.ok(&delete("/a", -1));
        assert_eq!(scene.effects.list[0].acl.as_deref(), Some(&list[..]));
        assert_eq!(scene.draft.tables().acls.len(), 1, "its last user is gone");
    }

    /// A fuzzy snapshot may lack what a replayed delete removes, or hold children that came with
    /// a later create of the same path.
    #[test]
    fn replay_over_a_later_state() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/b", "/b/c", "/b/c/d"]);
        scene.ok(&ephemeral("/b/c/e"));
        let mut apply = |path: &'static [u8], zxid| {
            let txn = Txn::Delete { path: Cow::Borrowed(path), container: false };
            let header = TxnHeader { zxid: Zxid(zxid), ..TxnHeader::default() };
            scene.draft.apply(&header, &txn, &mut scene.effects)
        };
        assert_eq!(apply(b"/a/gone", 90), Outcome::Failed(ErrorCode::NoNode));
        assert_eq!(apply(b"/a/gone", 80), Outcome::Failed(ErrorCode::NoNode));
        assert_eq!(apply(b"/no/parent", 91), Outcome::Failed(ErrorCode::NoNode));
        assert_eq!(apply(b"/", 92), Outcome::Failed(ErrorCode::NoNode));
        assert_eq!(apply(b"/b", 93), Outcome::Done);
        assert_eq!(scene.stat("/a").pzxid, Zxid(90), "moved, and never back");
        assert!(!scene.has("/b/c/d") && !scene.has("/b"));
        let tables = scene.draft.tables();
        assert_eq!(tables.digest, digest::of_tree(scene.draft.view()));
        assert_eq!((tables.ephemeral_count, tables.ephemerals.len()), (0, 0));
        assert_eq!(tables.data_bytes, 44 + 3);
    }
}
