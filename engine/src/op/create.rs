//! create, create2, createContainer, createTTL (`client-protocol` 2.5, `zab-wire` 4.2 and 4.3).

use std::borrow::Cow;

use model::op::Create;
use model::txn::CreateTxn;
use model::{CreateMode, ErrorCode, OpCode, Perms, TxnHeader, path};

use crate::access;
use crate::digest::{self, Prefix};
use crate::draft::{Caller, Draft};
use crate::effect::{Change, Effect, Effects, Outcome};
use crate::op::{require_session, shape};
use crate::quota;
use crate::tree::{AclRef, CONTAINER_OWNER, Meta, TTL_OWNER_BITS, Znode};

/// Longest life of a TTL znode, ms.
const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// Judges a create and settles everything about it.
pub(crate) fn plan<'a>(
    draft: &Draft,
    create: &Create<'a>,
    who: &Caller,
) -> Result<CreateTxn<'a>, ErrorCode> {
    let ttl_ms = time_to_live(draft, create)?;
    require_session(draft, who)?;
    // An ephemeral needs a session that everybody knows; container-ness overrides the flag.
    let ephemeral = create.mode == CreateMode::Ephemeral && !is_kept_by_leader(create.opcode);
    if ephemeral && !draft.tables.sessions.contains_key(&who.session) {
        return Err(ErrorCode::SessionExpired);
    }
    let (above, _) = shape(create.path)?;
    let acl = access::resolve(create.acl, &who.identities, &draft.settings)?;
    let parent = draft.tree.view().get(above).ok_or(ErrorCode::NoNode)?;
    draft.demand(&parent, Perms::CREATE, who)?;
    let path = full_path(create, &parent)?;
    path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
    if draft.tree.view().get(&path).is_some() {
        return Err(ErrorCode::NodeExists);
    }
    if parent.is_ephemeral() {
        return Err(ErrorCode::NoChildrenForEphemerals);
    }
    if quota::limits_target(&path) == Some(b"/") {
        // A quota on everything would kill every ZooKeeper server that replays it.
        return Err(ErrorCode::BadArguments);
    }
    quota::check(draft, &path, create.data.map_or(0, <[u8]>::len) as i64, 1)?;
    Ok(CreateTxn {
        opcode: create.opcode,
        path,
        data: create.data.map(Cow::Borrowed),
        acl,
        ephemeral,
        parent_cversion: parent.meta.cversion.wrapping_add(1),
        ttl_ms,
    })
}

fn is_kept_by_leader(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::CreateContainer | OpCode::CreateTtl)
}

/// The life of a TTL znode, 0 for all others. TTL modes belong to opcode 21 and to no other.
fn time_to_live(draft: &Draft, create: &Create<'_>) -> Result<i64, ErrorCode> {
    match (create.opcode, create.mode) {
        (OpCode::CreateTtl, CreateMode::Ttl(_)) if !draft.settings.extended_types => {
            Err(ErrorCode::Unimplemented)
        }
        (OpCode::CreateTtl, CreateMode::Ttl(ttl_ms)) if (1..=TTL_MS_MAX).contains(&ttl_ms) => {
            Ok(ttl_ms)
        }
        (OpCode::CreateTtl, _) | (_, CreateMode::Ttl(_)) => Err(ErrorCode::BadArguments),
        (_, CreateMode::Persistent | CreateMode::Ephemeral | CreateMode::Container) => Ok(0),
    }
}

/// The path with its sequence suffix, if it gets one.
fn full_path<'a>(create: &Create<'a>, parent: &Znode<'_>) -> Result<Cow<'a, [u8]>, ErrorCode> {
    if !create.sequential {
        return Ok(Cow::Borrowed(create.path));
    }
    let number = parent.meta.cversion;
    if number == i32::MAX {
        // The counter stands still from here on: a number could come twice.
        return Err(ErrorCode::NodeExists);
    }
    let mut path = create.path.to_vec();
    path.extend_from_slice(format!("{number:010}").as_bytes());
    Ok(Cow::Owned(path))
}

/// Carries out a create.
pub(crate) fn apply(
    draft: &mut Draft,
    header: &TxnHeader,
    txn: &CreateTxn<'_>,
    effects: &mut Effects,
) -> Outcome {
    let path = &*txn.path;
    let Some((above, name)) = path::split(path) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let view = draft.tree.view();
    let Some(parent) = view.get(above) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    if name.is_empty() || view.get(path).is_some() {
        return repair(draft, header, txn, above);
    }
    let parent_meta = grown(parent.meta, txn.parent_cversion, header);
    let parent_sum = Prefix::new(above, parent.data);
    let parent_change = parent_sum.with(&parent_meta).wrapping_sub(parent_sum.with(&parent.meta));
    let acl = draft.tables.acquire_acl(&txn.acl);
    let meta = Meta {
        czxid: header.zxid,
        mzxid: header.zxid,
        pzxid: header.zxid,
        ctime: header.time_ms,
        mtime: header.time_ms,
        version: 0,
        cversion: 0,
        aversion: 0,
        owner: owner(txn, header),
        acl,
    };
    let data = txn.data.as_deref();
    draft.tree.create(path, &meta, data, |above| *above = parent_meta);

    let length = data.map_or(0, <[u8]>::len);
    let tables = &mut draft.tables;
    tables.digest =
        tables.digest.wrapping_add(parent_change).wrapping_add(digest::of(path, data, &meta));
    tables.data_bytes += (path.len() + length) as u64;
    tables.register(path, meta.owner);
    quota::created(draft, path, length as i64);

    let path = effects.intern(path);
    effects.list.push(Effect {
        zxid: header.zxid,
        change: Change::Created,
        path: path.clone(),
        acl: draft.guard(acl),
        parent_acl: draft.guard(parent_meta.acl),
    });
    Outcome::Created { path, stat: Znode { meta, data, children: 0 }.stat() }
}

/// The parent after one more child.
fn grown(mut parent: Meta, cversion: i32, header: &TxnHeader) -> Meta {
    // At its end the counter stands still, but the change still shows in the parent's pzxid.
    let saturated = parent.cversion == i32::MAX && cversion == i32::MIN;
    raise(&mut parent, cversion, header);
    if saturated {
        parent.pzxid = header.zxid;
    }
    parent
}

/// Moves the counter up to the recorded value, never down: replays pass here too.
fn raise(parent: &mut Meta, cversion: i32, header: &TxnHeader) {
    // Records of very old leaders do not say.
    let cversion = if cversion == -1 { parent.cversion.wrapping_add(1) } else { cversion };
    if cversion > parent.cversion {
        parent.cversion = cversion;
        parent.pzxid = header.zxid;
    }
}

fn owner(txn: &CreateTxn<'_>, header: &TxnHeader) -> i64 {
    match txn.opcode {
        OpCode::CreateContainer => CONTAINER_OWNER,
        OpCode::CreateTtl => TTL_OWNER_BITS | txn.ttl_ms,
        _ if txn.ephemeral => header.session.0,
        _ => 0,
    }
}

/// The znode is there already, so this is a replay over a state that contains later changes: the
/// access list and (for a plain create) the parent's counter are what it still has to say.
fn repair(draft: &mut Draft, header: &TxnHeader, txn: &CreateTxn<'_>, above: &[u8]) -> Outcome {
    let path = &*txn.path;
    if let Some(znode) = draft.tree.view().get(path) {
        let old = znode.meta.acl;
        let acl = draft.tables.acquire_acl(&txn.acl);
        draft.tables.release_acl(old);
        set_acl_ref(draft, path, acl);
    }
    if txn.opcode == OpCode::Create {
        let parent = draft.tree.view().get(above).expect("the caller found the parent");
        let mut meta = parent.meta;
        raise(&mut meta, txn.parent_cversion, header);
        if meta != parent.meta {
            let sum = Prefix::new(above, parent.data);
            let change = sum.with(&meta).wrapping_sub(sum.with(&parent.meta));
            draft.tables.digest = draft.tables.digest.wrapping_add(change);
            draft.tree.update(above, None, |above| *above = meta);
        }
    }
    Outcome::Failed(ErrorCode::NodeExists)
}

fn set_acl_ref(draft: &mut Draft, path: &[u8], acl: AclRef) {
    draft.tree.update(path, None, |meta| meta.acl = acl);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::Settings;
    use crate::op::tests::*;
    use crate::state::Kind;
    use model::{Op, Stat, Zxid};

    #[test]
    fn the_first_fault_in_zookeepers_order_wins() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/locked"]);
        scene.ok(&ephemeral("/eph"));
        scene.ok(&set_acl("/locked", &only(3, "world", "anyone"), -1));
        let null_acl = |path| Op::Create(Create { acl: None, ..record(path) });
        for (op, expect) in [
            (create("noslash"), -8),
            (create(""), -8),
            (create("/a\0"), -8),
            (null_acl("noslash"), -8),
            (null_acl("/missing/x"), -114),
            (create("/missing/x"), -101),
            (create("/missing//"), -101),
            (create("a/b"), -101),
            (create("/locked/.."), -102),
            (create("/locked/x"), -102),
            (create("/a/.."), -8),
            (create("/a/"), -8),
            (create("/a/x\u{7f}"), -8),
            (create("//"), -8),
            (create("/"), -110),
            (create("/a"), -110),
            (create("/eph/x"), -108),
            (create("/zookeeper/config/x"), -102),
            (create("/zookeeper/quota/zookeeper_limits"), -8),
            (create("/zookeeper/x"), 0),
            (sequential("/a/"), 0),
        ] {
            assert_eq!(scene.code(&op), expect, "{op:?}");
        }
        assert!(scene.has("/a/0000000000"));
    }

    #[test]
    fn kinds_and_opcodes_must_agree() {
        let mut off = Scene::new();
        let mut on = Scene::with(Settings { extended_types: true, ..Settings::default() });
        assert_eq!(off.code(&ttl("/t", 5)), -6);
        assert_eq!(off.code(&ttl("/t", 0)), -6);
        for (ttl_ms, expect) in [(0, -8), (-1, -8), (1 << 40, -8), ((1 << 40) - 1, 0)] {
            assert_eq!(on.code(&ttl("/t", ttl_ms)), expect, "{ttl_ms}");
        }
        assert_eq!(on.znode("/t").ttl_ms(), Some((1 << 40) - 1));
        assert_eq!(on.stat("/t").ephemeral_owner, 0);
        let odd = |opcode, mode| Op::Create(Create { opcode, mode, ..record("/o") });
        assert_eq!(on.code(&odd(OpCode::CreateTtl, CreateMode::Persistent)), -8);
        assert_eq!(on.code(&odd(OpCode::Create, CreateMode::Ttl(5))), -8);
        assert_eq!(on.code(&odd(OpCode::CreateContainer, CreateMode::Ephemeral)), 0);
        assert_eq!(Kind::of(on.znode("/o").meta.owner), Kind::Container);
        assert_eq!(on.draft.tables().containers.len(), 1);
        assert_eq!(on.draft.tables().ttls.len(), 1);
    }

    #[test]
    fn a_new_znode_and_its_parent_get_their_facts() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        let data = Op::Create(Create { data: None, opcode: OpCode::Create2, ..record("/a/b") });
        let (zxid, now_ms) = (Zxid(scene.zxid), scene.now_ms);
        let outcome = scene.run(&data);
        let expect = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now_ms,
            mtime: now_ms,
            ..Stat::default()
        };
        assert_eq!(outcome, Outcome::Created { path: 0..4, stat: expect });
        assert_eq!(scene.stat("/a/b"), expect);
        assert_eq!(scene.znode("/a/b").data, None, "null data stays null");
        let above = scene.stat("/a");
        assert_eq!((above.pzxid, above.mzxid), (zxid, Zxid(zxid.0 - 1)));
        assert_eq!((above.cversion, above.num_children, above.version), (1, 1, 0));
        assert_eq!(scene.events(), "+/a/b");
        assert_eq!(scene.draft.tables().data_bytes, 44 + 3 + 4);
    }

    #[test]
    fn sequence_numbers_count_creates_of_any_kind() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/a/x"]);
        scene.ok(&sequential("/a/n-"));
        assert_eq!(scene.events(), "+/a/n-0000000001");
        scene.ok(&delete("/a/x", -1));
        assert_eq!(scene.code(&create("/a/n-0000000001")), -110);
        scene.ok(&sequential("/a/"));
        assert_eq!(scene.events(), "+/a/0000000002", "deletes and failures take no number");
        assert_eq!(scene.stat("/a").cversion, 4, "three creates and a delete");
    }

    #[test]
    fn at_its_end_the_counter_refuses_numbers_but_not_children() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        for draft in [&mut scene.draft, &mut scene.mirror] {
            // As if that many children had come and gone.
            let old = draft.tree.view().get(b"/a").expect("made").meta;
            let new = Meta { cversion: i32::MAX - 1, ..old };
            let change = digest::of(b"/a", Some(b"x"), &new).wrapping_sub(digest::of(
                b"/a",
                Some(b"x"),
                &old,
            ));
            draft.tables.digest = draft.tables.digest.wrapping_add(change);
            draft.tree.update(b"/a", None, |meta| *meta = new);
        }
        scene.ok(&sequential("/a/n-"));
        assert_eq!(scene.events(), "+/a/n-2147483646");
        assert_eq!(scene.code(&sequential("/a/n-")), -110);
        assert_eq!(scene.code(&sequential("/a/other-")), -110);
        scene.ok(&create("/a/plain"));
        assert_eq!(scene.stat("/a").pzxid, Zxid(scene.zxid - 1));
        assert_eq!(scene.znode("/a").meta.cversion, i32::MAX);
    }

    #[test]
    fn only_lists_that_hide_something_guard_events() {
        let mut scene = Scene::new();
        scene.prove("digest", "u:h");
        let with = |path, acl| Op::Create(Create { acl: Some(acl), ..record(path) });
        let (mine, readable) = (only(31, "digest", "u:h"), only(5, "world", "anyone"));
        scene.ok(&with("/mine", &mine));
        assert_eq!(scene.effects.list[0].acl.as_deref(), Some(&mine[..]));
        assert_eq!(scene.effects.list[0].parent_acl, None);
        scene.ok(&with("/mine/open", &readable));
        assert_eq!(scene.effects.list[0].acl, None);
        assert_eq!(scene.effects.list[0].parent_acl.as_deref(), Some(&mine[..]));
        scene.ok(&set("/mine", "y", -1));
        assert_eq!(scene.effects.list[0].acl.as_deref(), Some(&mine[..]));
        let mut skip = Scene::with(Settings { skip_acl: true, ..Settings::default() });
        skip.ok(&with("/mine", &mine));
        assert_eq!(skip.effects.list[0].acl, None);
        skip.ok(&set("/zookeeper/config", "any", -1));
    }

    /// A fuzzy snapshot may hold what a replayed create makes: only the access list and, for a
    /// plain create, the parent's counter are taken from it.
    #[test]
    fn replay_over_a_later_state_repairs_list_and_counter() {
        for (opcode, counter) in [(OpCode::Create, 9), (OpCode::Create2, 1)] {
            let mut scene = Scene::new();
            scene.make(&["/a", "/a/b"]);
            let list = only(1, "world", "anyone");
            let txn = CreateTxn {
                opcode,
                path: Cow::Borrowed(b"/a/b"),
                data: None,
                acl: Cow::Borrowed(&list),
                ephemeral: false,
                parent_cversion: 9,
                ttl_ms: 0,
            };
            let header = TxnHeader { zxid: Zxid(2), ..TxnHeader::default() };
            let draft = &mut scene.draft;
            let outcome = draft.apply(&header, &model::Txn::Create(txn), &mut scene.effects);
            assert_eq!(outcome, Outcome::Failed(ErrorCode::NodeExists));
            let tables = scene.draft.tables();
            assert_eq!(tables.zxid, Zxid(3), "never backwards");
            assert_eq!(tables.digest, digest::of_tree(scene.draft.view()));
            assert_eq!(tables.acl(scene.znode("/a/b").meta.acl), list);
            assert_eq!(scene.znode("/a").meta.cversion, counter);
            assert_eq!(scene.text("/a/b"), "x");
        }
    }

    #[test]
    fn records_without_a_counter_raise_it_by_one() {
        let mut scene = Scene::new();
        let txn = CreateTxn {
            opcode: OpCode::Create,
            path: Cow::Borrowed(b"/old"),
            data: None,
            acl: Cow::Borrowed(access::OPEN_LIST),
            ephemeral: true,
            parent_cversion: -1,
            ttl_ms: 0,
        };
        let header = TxnHeader { zxid: Zxid(2), session: SESSION, ..TxnHeader::default() };
        scene.draft.apply(&header, &model::Txn::Create(txn.clone()), &mut scene.effects);
        assert_eq!(scene.znode("/").meta.cversion, 1);
        assert_eq!(scene.stat("/old").ephemeral_owner, SESSION.0);
        let orphan = CreateTxn { path: Cow::Borrowed(b"/no/parent"), ..txn };
        let outcome = scene.draft.apply(&header, &model::Txn::Create(orphan), &mut scene.effects);
        assert_eq!(outcome, Outcome::Failed(ErrorCode::NoNode));
    }
}
