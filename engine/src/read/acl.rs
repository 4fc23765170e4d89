//! getACL.

use std::borrow::Cow;

use model::{ErrorCode, Perms, Stat};

use crate::access::{self, Credentials};
use crate::read::open;
use crate::state::Version;

/// Encoded access list and Stat. Who may read but not administer sees digest ids without their
/// hash.
pub fn acl<'v>(
    version: &'v Version,
    path: &[u8],
    who: Credentials<'_>,
) -> Result<(Cow<'v, [u8]>, Stat), ErrorCode> {
    let znode = open(version, path, Perms::READ.or(Perms::ADMIN), who)?;
    let list = version.acl(znode.meta.acl);
    let shown =
        if who.permit(list, Perms::ADMIN) { Cow::Borrowed(list) } else { access::redact(list) };
    Ok((shown, znode.stat()))
}
