//! getChildren, getChildren2 and getAllChildrenNumber.

use model::{ErrorCode, Perms, Stat, path};

use crate::access::Credentials;
use crate::read::open;
use crate::state::Version;

/// Names of the children in no promised order, and the Stat, which tells their number.
pub fn children<'v>(
    version: &'v Version,
    path: &[u8],
    who: Credentials<'_>,
) -> Result<(impl Iterator<Item = &'v [u8]> + use<'v>, Stat), ErrorCode> {
    let znode = open(version, path, Perms::READ, who)?;
    let names = version.view().children(path::normalize(path)).ok_or(ErrorCode::NoNode)?;
    Ok((names, znode.stat()))
}

/// Number of znodes below a path. Takes time in proportion to it, except for the root.
pub fn all_children_number(
    version: &Version,
    path: &[u8],
    who: Credentials<'_>,
) -> Result<i32, ErrorCode> {
    let path = path::normalize(path);
    let znode = open(version, path, Perms::READ, who)?;
    let view = version.view();
    if path == b"/" {
        return Ok((view.len() - 1) as i32);
    }
    let mut total = znode.children as usize;
    let mut inner = vec![path.to_vec()];
    while let Some(mut below) = inner.pop() {
        let names = view.children(&below).into_iter().flatten();
        below.push(b'/');
        let stem = below.len();
        for name in names {
            below.truncate(stem);
            below.extend_from_slice(name);
            let children = view.get(&below).map_or(0, |znode| znode.children);
            if children > 0 {
                total += children as usize;
                inner.push(below.clone());
            }
        }
    }
    Ok(total as i32)
}
