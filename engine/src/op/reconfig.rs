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

#[cfg(test)]
mod tests {
    use crate::draft::Settings;
    use crate::op::tests::*;
    use model::{Op, SessionId};

    #[test]
    fn a_server_of_its_own_cannot_be_reconfigured() {
        let op = Op::Reconfig { joining: None, leaving: None, members: None, config_id: -1 };
        assert_eq!(Scene::new().code(&op), -123);
        let mut on = Scene::with(Settings { reconfig: true, ..Settings::default() });
        assert_eq!(on.code(&op), -6);
        on.who.session = SessionId(0x99);
        assert_eq!(on.code(&op), -112);
    }
}
