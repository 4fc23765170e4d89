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

#[cfg(test)]
mod tests {
    use crate::effect::Outcome;
    use crate::op::tests::*;
    use model::{Op, OpCode};

    #[test]
    fn the_first_fault_in_zookeepers_order_wins() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/locked"]);
        scene.ok(&set_acl("/locked", &only(30, "world", "anyone"), -1));
        for (op, expect) in [
            (check("/a/", 0), -8),
            (check("/missing", 7), -101),
            (check("/locked", 7), -102),
            (check("/a", 7), -103),
        ] {
            let outcome = scene.run(&Op::Multi(vec![op.clone()]));
            assert_eq!(outcome, Outcome::MultiFailed(vec![expect]), "{op:?}");
        }
        for version in [0, -1] {
            let outcome = scene.run(&Op::Multi(vec![check("/a", version)]));
            assert_eq!(outcome, Outcome::Multi(vec![(OpCode::Check, Outcome::Done)]));
        }
    }
}
