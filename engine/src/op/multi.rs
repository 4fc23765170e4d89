//! multi: several operations under one zxid, all or none (`client-protocol` 2.6, `zab-wire` 4.3).

use std::borrow::Cow;

use model::op::Create;
use model::{CreateMode, ErrorCode, Op, OpCode, Txn, TxnHeader};

use crate::access::EXPANDED_BYTES_MAX;
use crate::draft::{Caller, Draft};
use crate::effect::{Effects, Outcome};
use crate::op::{self, check, create, delete, set_data};

/// Judges and applies one operation after the other, so that each sees what those before it did.
/// If one fails, everything is taken back; the record then keeps the operations before it, its
/// code, and -2 for each one after it.
pub(crate) fn execute<'a>(
    draft: &mut Draft,
    ops: &[Op<'a>],
    who: &Caller,
    header: &TxnHeader,
    effects: &mut Effects,
) -> (Txn<'a>, Outcome) {
    if let Some(code) = ops.iter().find_map(misplaced) {
        return (Txn::Error { code: code.code() }, Outcome::Failed(code));
    }
    let before = draft.savepoint();
    let effects_before = (effects.bytes.len(), effects.list.len());
    let mut txns = Vec::with_capacity(ops.len());
    let mut results = Vec::with_capacity(ops.len());
    let mut expanded = 0;
    for op in ops {
        match plan(draft, op, who).and_then(|txn| bounded(txn, &mut expanded)) {
            Ok(txn) => {
                let outcome = op::apply(draft, header, &txn, effects);
                debug_assert!(!matches!(outcome, Outcome::Failed(_)), "a plan fits its state");
                results.push((result_code(&txn), outcome));
                txns.push(txn);
            }
            Err(code) => {
                draft.rollback(before);
                effects.bytes.truncate(effects_before.0);
                effects.list.truncate(effects_before.1);
                let mut codes = vec![0; txns.len()];
                txns.push(Txn::Error { code: code.code() });
                codes.push(code.code());
                let after = ErrorCode::RuntimeInconsistency.code();
                txns.resize_with(ops.len(), || Txn::Error { code: after });
                codes.resize(ops.len(), after);
                return (Txn::Multi(txns), Outcome::MultiFailed(codes));
            }
        }
    }
    (Txn::Multi(txns), Outcome::Multi(results))
}

/// Counts the access lists that `auth` has made longer than they came, over all operations.
fn bounded<'a>(txn: Txn<'a>, expanded: &mut usize) -> Result<Txn<'a>, ErrorCode> {
    if let Txn::Create(create) = &txn
        && let Cow::Owned(list) = &create.acl
    {
        *expanded += list.len();
        if *expanded > EXPANDED_BYTES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
    }
    Ok(txn)
}

/// Applies a recorded multi. One that failed has no effect; in one that did not, an operation
/// that cannot be repeated (over a state with later changes) does not stop the others.
pub(crate) fn apply(
    draft: &mut Draft,
    header: &TxnHeader,
    txns: &[Txn<'_>],
    effects: &mut Effects,
) -> Outcome {
    let error = |txn: &Txn<'_>| match txn {
        Txn::Error { code } => Some(*code),
        Txn::CreateSession { .. }
        | Txn::CloseSession { .. }
        | Txn::Create(_)
        | Txn::Delete { .. }
        | Txn::SetData { .. }
        | Txn::SetAcl { .. }
        | Txn::Check { .. }
        | Txn::Multi(_) => None,
    };
    if let Some(failed) = txns.iter().position(|txn| error(txn).is_some()) {
        let mut codes = vec![0; failed];
        let after = ErrorCode::RuntimeInconsistency.code();
        codes.extend(txns[failed..].iter().map(|txn| error(txn).unwrap_or(after)));
        return Outcome::MultiFailed(codes);
    }
    let results = txns.iter().map(|txn| {
        let outcome = op::apply(draft, header, txn, effects);
        let opcode =
            if let Outcome::Failed(_) = outcome { OpCode::Error } else { result_code(txn) };
        (opcode, outcome)
    });
    Outcome::Multi(results.collect())
}

/// The code that refuses a whole multi: operations that may not stand in one, or that could not
/// be read.
fn misplaced(op: &Op<'_>) -> Option<ErrorCode> {
    match op {
        Op::Create(_) | Op::Delete { .. } | Op::SetData { .. } | Op::Check { .. } => None,
        Op::Refused(code) => Some(*code),
        Op::CreateSession { .. }
        | Op::CloseSession
        | Op::DeleteContainer { .. }
        | Op::SetAcl { .. }
        | Op::Multi(_)
        | Op::Reconfig { .. } => Some(ErrorCode::MarshallingError),
    }
}

fn plan<'a>(draft: &Draft, op: &Op<'a>, who: &Caller) -> Result<Txn<'a>, ErrorCode> {
    match op {
        Op::Create(create) => create::plan(draft, &in_multi(create), who).map(Txn::Create),
        Op::Delete { path, version } => delete::plan(draft, path, *version, who),
        Op::SetData { path, data, version } => set_data::plan(draft, path, *data, *version, who),
        Op::Check { path, version } => check::plan(draft, path, *version, who),
        Op::CreateSession { .. }
        | Op::CloseSession
        | Op::DeleteContainer { .. }
        | Op::SetAcl { .. }
        | Op::Multi(_)
        | Op::Reconfig { .. }
        | Op::Refused(_) => Err(ErrorCode::MarshallingError),
    }
}

/// Inside a multi the flags decide the kind of create, whatever opcode it came by
/// (`client-protocol` 2.3).
fn in_multi<'a>(create: &Create<'a>) -> Create<'a> {
    let opcode = match (create.opcode, create.mode) {
        (OpCode::CreateContainer, _) | (_, CreateMode::Container) => OpCode::CreateContainer,
        (OpCode::CreateTtl, CreateMode::Persistent | CreateMode::Ephemeral) => OpCode::Create,
        (opcode, _) => opcode,
    };
    Create { opcode, ..*create }
}

/// The type of a result: every create but the plain one is answered as create2.
fn result_code(txn: &Txn<'_>) -> OpCode {
    match txn {
        Txn::Create(create) if create.opcode == OpCode::Create => OpCode::Create,
        Txn::Create(_) => OpCode::Create2,
        Txn::Delete { .. } => OpCode::Delete,
        Txn::SetData { .. } => OpCode::SetData,
        Txn::SetAcl { .. } => OpCode::SetAcl,
        Txn::Check { .. } => OpCode::Check,
        Txn::CreateSession { .. } => OpCode::CreateSession,
        Txn::CloseSession { .. } => OpCode::CloseSession,
        Txn::Multi(_) => OpCode::Multi,
        Txn::Error { .. } => OpCode::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::OPEN_LIST;
    use crate::draft::Settings;
    use crate::op::tests::*;
    use model::{Acl, Perms, Stat, Zxid};

    fn codes(outcome: &Outcome) -> Vec<i32> {
        match outcome {
            Outcome::Multi(results) => results.iter().map(|(opcode, _)| opcode.code()).collect(),
            Outcome::MultiFailed(codes) => codes.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_operation_sees_those_before_it() {
        let mut scene = Scene::new();
        let zxid = Zxid(scene.zxid);
        let outcome = scene.run(&Op::Multi(vec![
            create("/m"),
            sequential("/m/s-"),
            sequential("/m/s-"),
            set("/m", "two", 0),
            check("/m", 1),
            delete("/m/s-0000000000", 0),
        ]));
        assert_eq!(codes(&outcome), [1, 1, 1, 5, 13, 2]);
        assert_eq!(scene.events(), "+/m +/m/s-0000000000 +/m/s-0000000001 =/m -/m/s-0000000000");
        let Outcome::Multi(results) = outcome else { unreachable!() };
        let Outcome::Created { stat, .. } = &results[0].1 else { panic!("{results:?}") };
        assert_eq!(stat.num_children, 0, "each Stat is of the moment after its operation");
        let Outcome::Stat(stat) = &results[3].1 else { panic!("{results:?}") };
        assert_eq!((stat.num_children, stat.version, stat.czxid), (2, 1, zxid));
        assert_eq!(scene.stat("/m/s-0000000001").czxid, zxid);
    }

    #[test]
    fn one_failure_takes_everything_back() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        scene.ok(&ephemeral("/e"));
        let list = only(31, "ip", "10.0.0.1");
        let guarded = Create { acl: Some(&list), ..record("/a/guarded") };
        let outcome = scene.run(&Op::Multi(vec![
            Op::Create(guarded),
            ephemeral("/a/e"),
            container("/a/c"),
            delete("/e", -1),
            set("/a", "changed", 0),
            delete("/a", 0),
            create("/never"),
            Op::Check { path: b"bad", version: 0 },
        ]));
        assert_eq!(outcome, Outcome::MultiFailed(vec![0, 0, 0, 0, 0, -103, -2, -2]));
        // The stage has checked that tree, tables and effects are as before.
        assert_eq!(scene.stat("/a").version, 0);
    }

    /// Each `auth` entry stands for all that the caller has proven: a megabyte of creates would
    /// become a record of gigabytes, which no log can hold.
    #[test]
    fn a_multi_does_not_blow_up_access_lists() {
        let mut scene = Scene::new();
        scene.prove("digest", &format!("{}:h", "u".repeat(EXPANDED_BYTES_MAX / 4)));
        let auth = Acl { perms: Perms::ALL, scheme: Some(b"auth"), id: None };
        let list = model::acl::encode_list([auth].into_iter());
        let paths = ["/a", "/b", "/c", "/d"];
        let creates = |count: usize| {
            let each = paths[..count].iter();
            Op::Multi(each.map(|p| Op::Create(Create { acl: Some(&list), ..record(p) })).collect())
        };
        assert_eq!(scene.run(&creates(4)), Outcome::MultiFailed(vec![0, 0, 0, -114]));
        assert!(matches!(scene.run(&creates(3)), Outcome::Multi(_)));
    }

    #[test]
    fn an_empty_multi_succeeds() {
        let mut scene = Scene::new();
        assert_eq!(scene.run(&Op::Multi(vec![])), Outcome::Multi(vec![]));
    }

    #[test]
    fn flags_decide_the_kind_of_create_and_of_its_result() {
        let mut scene = Scene::with(Settings { extended_types: true, ..Settings::default() });
        let odd = |path, opcode, mode| Op::Create(Create { opcode, mode, ..record(path) });
        let outcome = scene.run(&Op::Multi(vec![
            odd("/a", OpCode::Create, CreateMode::Container),
            odd("/b", OpCode::Create2, CreateMode::Persistent),
            odd("/c", OpCode::CreateTtl, CreateMode::Ephemeral),
            ttl("/d", 5),
            container("/e"),
        ]));
        assert_eq!(codes(&outcome), [15, 15, 1, 15, 15]);
        let containers: Vec<_> = scene.draft.tables().containers.iter().cloned().collect();
        assert_eq!(containers, [(*b"/a").into(), (*b"/e").into()]);
        assert_eq!(scene.stat("/c").ephemeral_owner, SESSION.0);
        assert_eq!(scene.znode("/d").ttl_ms(), Some(5));
    }

    #[test]
    fn what_may_not_stand_in_a_multi_refuses_all_of_it() {
        let mut scene = Scene::new();
        for op in [
            set_acl("/", OPEN_LIST, -1),
            Op::CloseSession,
            Op::CreateSession { timeout_ms: 1 },
            Op::DeleteContainer { path: b"/a" },
            Op::Multi(vec![]),
            Op::Reconfig { joining: None, leaving: None, members: None, config_id: 0 },
            Op::Refused(ErrorCode::MarshallingError),
        ] {
            let outcome = scene.run(&Op::Multi(vec![create("/a"), op.clone()]));
            assert_eq!(outcome, Outcome::Failed(ErrorCode::MarshallingError), "{op:?}");
        }
    }

    /// Over a state with later changes a part may fail; the others still count.
    #[test]
    fn replayed_parts_do_not_stop_each_other() {
        let mut scene = Scene::new();
        scene.make(&["/a"]);
        let header = TxnHeader { zxid: Zxid(9), ..TxnHeader::default() };
        let set = |path: &'static [u8]| Txn::SetData {
            path: Cow::Borrowed(path),
            data: None,
            version: 4,
            reconfig: false,
        };
        let txn = Txn::Multi(vec![set(b"/gone"), set(b"/a")]);
        let before = scene.stat("/a");
        let outcome = scene.draft.apply(&header, &txn, &mut scene.effects);
        let after = Stat { mzxid: Zxid(9), mtime: 0, version: 4, data_length: 0, ..before };
        let failed = (OpCode::Error, Outcome::Failed(ErrorCode::NoNode));
        let expect = vec![failed, (OpCode::SetData, Outcome::Stat(after))];
        assert_eq!(outcome, Outcome::Multi(expect));
    }
}
