//! reconfig (`client-protocol` 2.5).

use model::{ErrorCode, Txn};

use crate::draft::{Caller, Draft};
use crate::op::require_session;

/// Judges a reconfiguration. A server of its own has no membership to change.
pub(crate) fn plan(draft: &Draft, who: &Caller) -> Result<Txn<'static>, ErrorCode> {
    if !draft.settings.reconfig {
        return Err(ErrorCode::ReconfigDisabled);
    }
    require_session(draft, who)?;
    Err(ErrorCode::Unimplemented)
}
