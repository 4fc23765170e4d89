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
