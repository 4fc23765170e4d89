//! getData.

use model::{ErrorCode, Perms, Stat};

use crate::access::Credentials;
use crate::read::open;
use crate::state::Version;

/// Data (null is not empty) and Stat. On an error no watch is left.
pub fn data<'v>(
    version: &'v Version,
    path: &[u8],
    who: Credentials<'_>,
) -> Result<(Option<&'v [u8]>, Stat), ErrorCode> {
    let znode = open(version, path, Perms::READ, who)?;
    Ok((znode.data, znode.stat()))
}
