//! check: demands a version inside a multi, and does nothing (`client-protocol` 2.5).

use std::borrow::Cow;

use model::{ErrorCode, Perms, Txn, path};

use crate::draft::{Caller, Draft};
use crate::op::{require_session, version_is};

/// Judges a check. The record carries the version after the one demanded, as ZooKeeper writes it.
pub(crate) fn plan<'a>(
    draft: &Draft,
    path: &'a [u8],
    version: i32,
    who: &Caller,
) -> Result<Txn<'a>, ErrorCode> {
    require_session(draft, who)?;
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let znode = draft.tree.view().get(path).ok_or(ErrorCode::NoNode)?;
    draft.demand(&znode, Perms::READ, who)?;
    version_is(znode.meta.version, version)?;
    let version = znode.meta.version.wrapping_add(1);
    Ok(Txn::Check { path: Cow::Borrowed(path), version })
}
