//! One file per write operation. `plan` judges it against the working copy and settles everything
//! about it; `apply` carries out what was settled, here and on every other server.
//!
//! **Invariant:** only `plan` refuses a client's request. `apply` fails only when a replay meets a
//! state that already holds later changes.

pub(crate) mod check;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod multi;
pub(crate) mod reconfig;
pub(crate) mod session;
pub(crate) mod set_acl;
pub(crate) mod set_data;

#[cfg(test)]
pub(crate) mod tests;

use model::{ErrorCode, Op, Txn, TxnHeader, path};

use crate::draft::{Caller, Draft, Judgement, Stamp};
use crate::effect::{Effects, Outcome};

/// Judges an operation and carries it out.
pub(crate) fn execute<'a>(
    draft: &mut Draft,
    op: &Op<'a>,
    who: &Caller,
    at: Stamp,
    header: &TxnHeader,
    effects: &mut Effects,
) -> (Txn<'a>, Outcome) {
    if let Op::Multi(ops) = op {
        return multi::execute(draft, ops, who, header, effects);
    }
    match plan(draft, op, who, at) {
        Ok(txn) => {
            let outcome = apply(draft, header, &txn, effects);
            debug_assert!(!matches!(outcome, Outcome::Failed(_)), "a plan fits its state");
            (txn, outcome)
        }
        Err(code) => (Txn::Error { code: code.code() }, Outcome::Failed(code)),
    }
}

fn plan<'a>(draft: &Draft, op: &Op<'a>, who: &Caller, at: Stamp) -> Judgement<'a> {
    match op {
        Op::CreateSession { timeout_ms } => Ok(Txn::CreateSession { timeout_ms: *timeout_ms }),
        Op::CloseSession => Ok(session::plan_close(draft, who.session)),
        Op::Create(create) => create::plan(draft, create, who).map(Txn::Create),
        Op::Delete { path, version } => delete::plan(draft, path, *version, who),
        Op::DeleteContainer { path } => container::plan(draft, path, at),
        Op::SetData { path, data, version } => set_data::plan(draft, path, *data, *version, who),
        Op::SetAcl { path, acl, version } => set_acl::plan(draft, path, *acl, *version, who),
        Op::Reconfig { .. } => reconfig::plan(draft, who),
        Op::Refused(code) => Err(*code),
        // A check on its own is not an operation; a multi does not come here.
        Op::Check { .. } | Op::Multi(_) => Err(ErrorCode::Unimplemented),
    }
}

/// Carries out a transaction.
pub(crate) fn apply(
    draft: &mut Draft,
    header: &TxnHeader,
    txn: &Txn<'_>,
    effects: &mut Effects,
) -> Outcome {
    match txn {
        Txn::CreateSession { timeout_ms } => {
            session::apply_create(draft, header.session, *timeout_ms)
        }
        Txn::CloseSession { paths } => {
            session::apply_close(draft, header, paths.as_deref().unwrap_or_default(), effects)
        }
        Txn::Error { code } => {
            Outcome::Failed(ErrorCode::from_code(*code).unwrap_or(ErrorCode::SystemError))
        }
        Txn::Create(create) => create::apply(draft, header, create, effects),
        Txn::Delete { path, .. } => delete::apply(draft, header, path, effects),
        Txn::SetData { path, data, version, .. } => {
            set_data::apply(draft, header, path, data.as_deref(), *version, effects)
        }
        Txn::SetAcl { path, acl, version } => set_acl::apply(draft, path, acl, *version),
        Txn::Check { .. } => Outcome::Done,
        Txn::Multi(txns) => multi::apply(draft, header, txns, effects),
    }
}

/// Refuses a session that is not, or no longer, alive; the server itself has none.
fn require_session(draft: &Draft, who: &Caller) -> Result<(), ErrorCode> {
    if who.session.is_none() || draft.tables.sessions.contains_key(&who.session) {
        Ok(())
    } else {
        Err(ErrorCode::SessionExpired)
    }
}

/// The first look at a path that need not be valid yet: it has a slash and no NUL. Gives parent
/// and name.
fn shape(path: &[u8]) -> Result<(&[u8], &[u8]), ErrorCode> {
    if path.contains(&0) {
        return Err(ErrorCode::BadArguments);
    }
    path::split(path).ok_or(ErrorCode::BadArguments)
}

/// Compares an expected version; -1 expects nothing.
fn version_is(have: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == have { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// The path of a child.
pub(crate) fn child_path(above: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(above.len() + 1 + name.len());
    if above != b"/" {
        path.extend_from_slice(above);
    }
    path.push(b'/');
    path.extend_from_slice(name);
    path
}
