//! exists.

use model::{ErrorCode, Perms, Stat};

use crate::access::Credentials;
use crate::read::open;
use crate::state::Version;

/// Stat of a znode. [`ErrorCode::NoNode`] is the one error after which a requested watch is left
/// all the same.
pub fn exists(version: &Version, path: &[u8], who: Credentials<'_>) -> Result<Stat, ErrorCode> {
    if path.contains(&0) {
        return Err(ErrorCode::BadArguments);
    }
    open(version, path, Perms::READ, who).map(|znode| znode.stat())
}
