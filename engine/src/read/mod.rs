//! One file per read: pure functions over a frozen [`Version`] and the reader's credentials
//! (`client-protocol` 2.5). They borrow from the version; the wire encoding is the caller's.
//!
//! A missing znode is found before a missing permission. Paths are not validated: a malformed one
//! is a path at which there is nothing. The empty path is the root.

mod acl;
mod children;
mod data;
mod ephemerals;
mod exists;
mod multi;
mod watches;

pub use acl::acl;
pub use children::{all_children_number, children};
pub use data::data;
pub use ephemerals::ephemerals;
pub use exists::exists;
pub use multi::{MultiRead, multi_read};
pub use watches::{CatchUp, Rewatch, catch_up};

use model::{ErrorCode, Perms, path};

use crate::access::Credentials;
use crate::state::Version;
use crate::tree::{AclRef, Znode};

/// The znode at a path, if the reader may do any of `need` with it.
#[inline]
fn open<'v>(
    version: &'v Version,
    path: &[u8],
    need: Perms,
    who: Credentials<'_>,
) -> Result<Znode<'v>, ErrorCode> {
    let znode = version.view().get(path::normalize(path)).ok_or(ErrorCode::NoNode)?;
    let acl = znode.meta.acl;
    // Nearly every znode is open to the world: no list to look at.
    if acl == AclRef::OPEN || who.permit(version.acl(acl), need) {
        Ok(znode)
    } else {
        Err(ErrorCode::NoAuth)
    }
}

#[cfg(test)]
mod tests;
