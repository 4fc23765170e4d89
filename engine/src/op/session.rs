//! createSession and closeSession (`zab-wire` 3.4 and 4.2).

use std::borrow::Cow;

use model::{SessionId, Txn, TxnHeader};

use crate::draft::Draft;
use crate::effect::{Effects, Outcome};
use crate::op::delete;
use crate::state::Session;

/// Lists what a closing session leaves behind, in path order.
pub(crate) fn plan_close(draft: &Draft, session: SessionId) -> Txn<'static> {
    let owned = draft.tables.ephemerals.get(&session);
    let paths = owned.into_iter().flatten().map(|path| Cow::Owned(path.to_vec())).collect();
    Txn::CloseSession { paths: Some(paths) }
}

/// Makes the session known.
pub(crate) fn apply_create(draft: &mut Draft, session: SessionId, timeout_ms: i32) -> Outcome {
    draft.tables.sessions.insert(session, Session { timeout_ms });
    Outcome::Done
}

/// Forgets the session and deletes the listed znodes in order, then any other it still owns.
pub(crate) fn apply_close(
    draft: &mut Draft,
    header: &TxnHeader,
    listed: &[Cow<'_, [u8]>],
    effects: &mut Effects,
) -> Outcome {
    draft.tables.sessions.remove(&header.session);
    let owned = draft.tables.ephemerals.remove(&header.session);
    for path in listed {
        // One that is gone already is no fault.
        delete::apply(draft, header, path, effects);
    }
    for path in owned.iter().flatten() {
        let znode = draft.tree.view().get(path);
        if znode.is_some_and(|znode| znode.meta.owner == header.session.0) {
            delete::apply(draft, header, path, effects);
        }
    }
    Outcome::Done
}
