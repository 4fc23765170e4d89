//! setData, and the write of the configuration by a reconfiguration (`client-protocol` 2.5,
//! `zab-wire` 4.2 and 4.3).

use std::borrow::Cow;

use model::{ErrorCode, Perms, Txn, TxnHeader, path};

use crate::digest::{self, Prefix};
use crate::draft::{Caller, Draft};
use crate::effect::{Change, Effect, Effects, Outcome};
use crate::op::{require_session, version_is};
use crate::quota;
use crate::tree::Znode;

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
    let Some(old) = draft.tree.view().get(path) else {
        return Outcome::Failed(ErrorCode::NoNode);
    };
    let mut meta = old.meta;
    meta.mzxid = header.zxid;
    meta.mtime = header.time_ms;
    meta.version = version;
    let children = old.children;
    let grown = data.map_or(0, <[u8]>::len) as i64 - old.data.map_or(0, <[u8]>::len) as i64;
    let tables = &mut draft.tables;
    tables.digest = tables
        .digest
        .wrapping_sub(digest::of(path, old.data, &old.meta))
        .wrapping_add(Prefix::new(path, data).with(&meta));
    tables.data_bytes = tables.data_bytes.wrapping_add_signed(grown);
    draft.tree.update(path, Some(data), |znode| *znode = meta);
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
