//! deleteContainer: the leader's removal of empty containers and expired TTL znodes
//! (`client-protocol` 4.4, `zab-wire` 4.9).

use std::borrow::Cow;

use model::{ErrorCode, Txn};

use crate::draft::{Draft, Stamp};
use crate::op::shape;
use crate::state::Kind;
use crate::tree::Znode;

/// Judges a removal anew: since it was asked for a child may have come, the znode may have been
/// replaced by one of another kind, or a setData may have restarted its time.
pub(crate) fn plan<'a>(draft: &Draft, path: &'a [u8], at: Stamp) -> Result<Txn<'a>, ErrorCode> {
    shape(path)?;
    let znode = draft.tree.view().get(path).ok_or(ErrorCode::NoNode)?;
    if znode.children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    match Kind::of(znode.meta.owner) {
        Kind::Container => {}
        Kind::Ttl if has_outlived(&znode, at.time_ms) => {}
        Kind::Ttl | Kind::Ephemeral(_) | Kind::Persistent => return Err(ErrorCode::BadVersion),
    }
    Ok(Txn::Delete { path: Cow::Borrowed(path), container: true })
}

fn has_outlived(znode: &Znode<'_>, now_ms: i64) -> bool {
    znode.ttl_ms().is_some_and(|ttl_ms| now_ms.saturating_sub(znode.meta.mtime) > ttl_ms)
}

/// Paths to remove now, in path order. `never_used_ms` is the age at which a container that
/// never had a child goes too; 0 keeps it forever.
pub(crate) fn expired(
    draft: &Draft,
    now_ms: i64,
    never_used_ms: i64,
    limit: usize,
) -> Vec<Vec<u8>> {
    let is_due = |path: &[u8]| {
        let Some(znode) = draft.tree.view().get(path) else { return false };
        let age_ms = now_ms.saturating_sub(znode.meta.mtime);
        let due = match Kind::of(znode.meta.owner) {
            Kind::Container => {
                znode.meta.cversion > 0 || (never_used_ms > 0 && age_ms > never_used_ms)
            }
            Kind::Ttl => has_outlived(&znode, now_ms),
            Kind::Persistent | Kind::Ephemeral(_) => false,
        };
        due && znode.children == 0
    };
    let mut containers = draft.tables.containers.iter().peekable();
    let mut ttls = draft.tables.ttls.iter().peekable();
    let in_order = std::iter::from_fn(|| match (containers.peek(), ttls.peek()) {
        (Some(a), Some(b)) if a <= b => containers.next(),
        (Some(_), None) => containers.next(),
        (_, _) => ttls.next(),
    });
    in_order.filter(|path| is_due(path)).take(limit).map(|path| path.to_vec()).collect()
}
