//! setACL (`client-protocol` 2.5, `zab-wire` 4.2 and 4.3).

use std::borrow::Cow;

use model::{ErrorCode, Perms, Txn, path};

use crate::access;
use crate::digest::Prefix;
use crate::draft::{Caller, Draft};
use crate::effect::Outcome;
use crate::op::{require_session, version_is};

/// Judges a setACL. The expected version is compared with `aversion`.
pub(crate) fn plan<'a>(
    draft: &Draft,
    path: &'a [u8],
    acl: Option<&'a [u8]>,
    version: i32,
    who: &Caller,
) -> Result<Txn<'a>, ErrorCode> {
    require_session(draft, who)?;
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let acl = access::resolve(acl, &who.identities, &draft.settings)?;
    let znode = draft.tree.view().get(path).ok_or(ErrorCode::NoNode)?;
    draft.demand(&znode, Perms::ADMIN, who)?;
    version_is(znode.meta.aversion, version)?;
    let version = znode.meta.aversion.wrapping_add(1);
    Ok(Txn::SetAcl { path: Cow::Borrowed(path), acl, version })
}

/// Replaces the access list; nothing but `aversion` moves, and nobody is told.
pub(crate) fn apply(draft: &mut Draft, path: &[u8], acl: &[u8], version: i32) -> Outcome {
    let path = path::normalize(path);
    let Some(old) = draft.tree.view().get(path) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let mut znode = old;
    let sum = Prefix::new(path, old.data);
    znode.meta.aversion = version;
    let change = sum.with(&znode.meta).wrapping_sub(sum.with(&old.meta));
    // Acquired first, so that a list set anew keeps its place in the table.
    znode.meta.acl = draft.tables.acquire_acl(acl);
    draft.tables.release_acl(old.meta.acl);
    draft.tables.digest = draft.tables.digest.wrapping_add(change);
    let (stat, meta) = (znode.stat(), znode.meta);
    draft.tree.update(path, None, |znode| *znode = meta);
    Outcome::Stat(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::OPEN_LIST;
    use crate::op::tests::*;
    use model::{Op, Stat};

    #[test]
    fn the_first_fault_in_zookeepers_order_wins() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/locked"]);
        scene.ok(&set_acl("/locked", &only(15, "world", "anyone"), 0));
        for (op, expect) in [
            (Op::SetAcl { path: b"a", acl: None, version: -1 }, -8),
            (Op::SetAcl { path: b"/missing", acl: None, version: -1 }, -114),
            (set_acl("/missing", &only(1, "digest", "nocolon"), -1), -114),
            (set_acl("/missing", &only(1, "auth", ""), -1), -114),
            (set_acl("/missing", OPEN_LIST, 7), -101),
            (set_acl("/locked", OPEN_LIST, 7), -102),
            (set_acl("/a", OPEN_LIST, 7), -103),
            (set_acl("/a", OPEN_LIST, 0), 0),
            (set_acl("/a", OPEN_LIST, 0), -103),
        ] {
            assert_eq!(scene.code(&op), expect, "{op:?}");
        }
    }

    #[test]
    fn aversion_moves_and_nothing_else_and_nobody_is_told() {
        let mut scene = Scene::new();
        scene.prove("digest", "u:h");
        scene.make(&["/a", "/b"]);
        scene.ok(&set("/a", "y", -1));
        let before = scene.stat("/a");
        let outcome = scene.run(&set_acl("/a", &only(31, "auth", "ignored"), 0));
        assert_eq!(outcome, Outcome::Stat(Stat { aversion: 1, ..before }));
        assert_eq!(scene.events(), "");
        let list = only(31, "digest", "u:h");
        let acl = scene.znode("/a").meta.acl;
        assert_eq!(scene.draft.tables().acl(acl), list);
        scene.ok(&set_acl("/b", &list, -1));
        assert_eq!(scene.znode("/b").meta.acl, acl, "equal lists are stored once");
        assert_eq!(scene.draft.tables().acls[&acl.0].uses, 2);
        scene.ok(&set_acl("/b", &list, -1));
        scene.ok(&set_acl("/a", OPEN_LIST, -1));
        assert_eq!(scene.draft.tables().acls[&acl.0].uses, 1);
    }
}
