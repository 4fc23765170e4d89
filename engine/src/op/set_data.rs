//! setData, and the write of the configuration by a reconfiguration (`client-protocol` 2.5,
//! `zab-wire` 4.2 and 4.3).

use std::borrow::Cow;

use model::{ErrorCode, Perms, Txn, TxnHeader, path};

use crate::digest::{self, Prefix};
use crate::draft::{Caller, Draft};
use crate::effect::{Change, Effect, Effects, Outcome};
use crate::op::{require_session, version_is};
use crate::quota;
use crate::tree::{Meta, Znode};

/// Judges a setData and decides the version it gets.
pub(crate) fn plan<'a>(
    draft: &Draft,
    path: &'a [u8],
    data: Option<&'a [u8]>,
    version: i32,
    who: &Caller,
) -> Result<Txn<'a>, ErrorCode> {
    require_session(draft, who)?;
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let znode = draft.tree.view().get(path).ok_or(ErrorCode::NoNode)?;
    draft.demand(&znode, Perms::WRITE, who)?;
    let length = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len) as i64;
    quota::check(draft, path, length(data) - length(znode.data), 0)?;
    version_is(znode.meta.version, version)?;
    Ok(Txn::SetData {
        path: Cow::Borrowed(path),
        data: data.map(Cow::Borrowed),
        version: znode.meta.version.wrapping_add(1),
        reconfig: false,
    })
}

/// Replaces the data; the version is the recorded one.
pub(crate) fn apply(
    draft: &mut Draft,
    header: &TxnHeader,
    path: &[u8],
    data: Option<&[u8]>,
    version: i32,
    effects: &mut Effects,
) -> Outcome {
    let path = path::normalize(path);
    let Draft { tree, tables, .. } = draft;
    let done = tree.set_data(path, data, |old| {
        let meta = Meta { mzxid: header.zxid, mtime: header.time_ms, version, ..old.meta };
        let grown = data.map_or(0, <[u8]>::len) as i64 - old.data.map_or(0, <[u8]>::len) as i64;
        tables.digest = tables
            .digest
            .wrapping_sub(digest::of(path, old.data, &old.meta))
            .wrapping_add(Prefix::new(path, data).with(&meta));
        tables.data_bytes = tables.data_bytes.wrapping_add_signed(grown);
        (meta, (meta, grown, old.children))
    });
    let Some((meta, grown, children)) = done else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    quota::charge(draft, path, 0, grown);

    let path = effects.intern(path);
    effects.list.push(Effect {
        zxid: header.zxid,
        change: Change::DataChanged,
        path,
        acl: draft.guard(meta.acl),
        parent_acl: None,
    });
    Outcome::Stat(Znode { meta, data, children }.stat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::tests::*;
    use model::{Op, Stat, Zxid};

    #[test]
    fn the_first_fault_in_zookeepers_order_wins() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/locked"]);
        scene.ok(&set_acl("/locked", &only(29, "world", "anyone"), -1));
        for (op, expect) in [
            (set("", "", -1), -8),
            (set("a", "", -1), -8),
            (set("/a/", "", -1), -8),
            (set("/missing", "", 7), -101),
            (set("/locked", "", 7), -102),
            (set("/zookeeper/config", "", -1), -102),
            (set("/a", "", 7), -103),
            (set("/a", "", 0), 0),
            (set("/a", "", 0), -103),
            (set("/a", "", 1), 0),
            (set("/", "root", -1), 0),
        ] {
            assert_eq!(scene.code(&op), expect, "{op:?}");
        }
        scene.prove("super", "");
        scene.ok(&set("/locked", "", -1));
    }

    #[test]
    fn data_and_its_facts_change_and_nothing_else() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/a/b"]);
        let before = scene.stat("/a");
        let (zxid, now_ms) = (Zxid(scene.zxid), scene.now_ms);
        let outcome = scene.run(&set("/a", "hello", 0));
        let expect = Stat { mzxid: zxid, mtime: now_ms, version: 1, data_length: 5, ..before };
        assert_eq!(outcome, Outcome::Stat(expect));
        assert_eq!(scene.stat("/a"), expect);
        assert_eq!((scene.text("/a").as_str(), scene.events().as_str()), ("hello", "=/a"));
        assert_eq!(scene.draft.tables().data_bytes, 44 + 2 + 5 + 4 + 1);
        scene.ok(&Op::SetData { path: b"/a", data: None, version: -1 });
        assert_eq!(scene.znode("/a").data, None);
        assert_eq!(scene.draft.tables().data_bytes, 44 + 2 + 4 + 1);
    }

    #[test]
    fn versions_wrap_without_a_gap() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        let raise = |draft: &mut Draft, effects: &mut Effects| {
            let txn = Txn::SetData {
                path: Cow::Borrowed(b"/a"),
                data: None,
                version: i32::MAX,
                reconfig: false,
            };
            draft.apply(&TxnHeader::default(), &txn, effects);
        };
        raise(&mut scene.draft, &mut scene.effects);
        raise(&mut scene.mirror, &mut scene.effects);
        scene.ok(&set("/a", "", i32::MAX));
        assert_eq!(scene.stat("/a").version, i32::MIN);
        scene.ok(&set("/a", "", i32::MIN));
        let gone =
            Txn::SetData { path: Cow::Borrowed(b"/gone"), data: None, version: 3, reconfig: false };
        let outcome = scene.draft.apply(&TxnHeader::default(), &gone, &mut scene.effects);
        assert_eq!(outcome, Outcome::Failed(ErrorCode::NoNode));
    }
}
