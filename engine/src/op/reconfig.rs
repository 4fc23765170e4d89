//! reconfig (`client-protocol` 2.5).

use model::{ErrorCode, Txn, TxnHeader, Zxid, path};

use crate::draft::{Caller, Draft};
use crate::effect::Effects;
use crate::op::{require_session, set_data};

/// Judges a reconfiguration. A server of its own has no membership to change.
pub(crate) fn plan(draft: &Draft, who: &Caller) -> Result<Txn<'static>, ErrorCode> {
    if !draft.settings.reconfig {
        return Err(ErrorCode::ReconfigDisabled);
    }
    require_session(draft, who)?;
    Err(ErrorCode::Unimplemented)
}

/// Writes the configuration in force where clients read it. Every server does this for itself,
/// outside of any transaction (`zab-wire` 4.8); the digest does not cover it.
pub(crate) fn install(
    draft: &mut Draft,
    text: &[u8],
    config: Zxid,
    time_ms: i64,
    effects: &mut Effects,
) {
    let header = TxnHeader { zxid: config, time_ms, ..TxnHeader::default() };
    set_data::apply(draft, &header, path::CONFIG, Some(text), -1, effects);
    // The event belongs to the present, however old the configuration is.
    let effect = effects.list.last_mut().expect("the configuration znode always exists");
    effect.zxid = draft.tables.zxid;
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::draft::Settings;
    use crate::effect::Outcome;
    use crate::op::tests::*;
    use model::{Op, SessionId, Stat};

    #[test]
    fn installing_a_configuration_is_seen_but_not_summed() {
        let mut scene = Scene::new();
        let before = scene.stat("/zookeeper/config");
        let digest = scene.draft.tables().digest;
        let mut effects = Effects::default();
        scene.draft.install_config(b"version=5", Zxid(5), 77, &mut effects);
        let expect = Stat { version: -1, mzxid: Zxid(5), mtime: 77, data_length: 9, ..before };
        assert_eq!(scene.stat("/zookeeper/config"), expect);
        assert_eq!(effects.list[0].zxid, Zxid(1));
        assert_eq!(effects.bytes, b"/zookeeper/config");
        assert_eq!((scene.draft.tables().digest, scene.draft.tables().zxid), (digest, Zxid(1)));
    }

    /// What a follower makes of the record that a leader of an ensemble writes (`zab-wire` 3.2,
    /// type 16): the Stat for whoever asked, and an event, but no part of the digest.
    #[test]
    fn a_recorded_reconfiguration_is_carried_out() {
        let mut scene = Scene::new();
        let before = scene.stat("/zookeeper/config");
        let digest = scene.draft.tables().digest;
        let header = TxnHeader { zxid: Zxid(9), time_ms: 77, ..TxnHeader::default() };
        let txn = Txn::SetData {
            path: Cow::Borrowed(path::CONFIG),
            data: Some(Cow::Borrowed(b"version=9")),
            version: -1,
            reconfig: true,
        };
        let mut effects = Effects::default();
        let outcome = scene.draft.apply(&header, &txn, &mut effects);
        let after = Stat { version: -1, mzxid: Zxid(9), mtime: 77, data_length: 9, ..before };
        assert_eq!(outcome, Outcome::Stat(after));
        assert_eq!((effects.list.len(), &effects.bytes[..]), (1, path::CONFIG));
        assert_eq!(scene.draft.tables().digest, digest);
    }

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
