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
