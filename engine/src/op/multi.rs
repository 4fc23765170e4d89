//! multi: several operations under one zxid, all or none (`client-protocol` 2.6, `zab-wire` 4.3).

use model::op::Create;
use model::{CreateMode, ErrorCode, Op, OpCode, Txn, TxnHeader};

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
    for op in ops {
        match plan(draft, op, who) {
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
