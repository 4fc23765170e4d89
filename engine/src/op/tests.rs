//! A stage for tests of operations. Every request is executed on one draft, its entry is encoded,
//! decoded and applied on another, and both must agree in everything.

use std::sync::Arc;

use model::jute::Writer;
use model::op::Create;
use model::txn::{decode_entry, encode_entry};
use model::{AuthId, CreateMode, Op, OpCode, SessionId, Stat, Zxid};

use crate::access::OPEN_LIST;
use crate::digest;
use crate::draft::{Caller, Draft, Settings, Stamp};
use crate::effect::{Change, Effect, Effects, Outcome};
use crate::state::Tables;
use crate::tree::{TreeView, Znode};

pub(crate) const SESSION: SessionId = SessionId(0x0100_0000_0000_0007);

pub(crate) struct Scene {
    pub(crate) draft: Draft,
    pub(crate) mirror: Draft,
    pub(crate) effects: Effects,
    pub(crate) who: Caller,
    /// Of the next transaction.
    pub(crate) zxid: i64,
    pub(crate) now_ms: i64,
}

impl Scene {
    /// A fresh database with one session, whose creation took zxid 1.
    pub(crate) fn new() -> Scene {
        Scene::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Scene {
        let mut scene = Scene {
            draft: Draft::new(settings.clone()),
            mirror: Draft::new(settings),
            effects: Effects::default(),
            who: Caller { session: SESSION, identities: Arc::new([AuthId::new("ip", "10.0.0.1")]) },
            zxid: 1,
            now_ms: 1_000,
        };
        assert_eq!(scene.code(&Op::CreateSession { timeout_ms: 4000 }), 0);
        scene
    }

    /// Adds an identity to the caller's.
    pub(crate) fn prove(&mut self, scheme: &str, id: &str) {
        let mut all = self.who.identities.to_vec();
        all.push(AuthId::new(scheme, id));
        self.who.identities = all.into();
    }

    pub(crate) fn run(&mut self, op: &Op<'_>) -> Outcome {
        self.effects.clear();
        let before = self.draft.freeze();
        let at = Stamp { zxid: Zxid(self.zxid), cxid: 3, time_ms: self.now_ms };
        let decided = self.draft.execute(op, &self.who, at, &mut self.effects);
        self.zxid += 1;
        self.now_ms += 10;

        let mut entry = Vec::new();
        let mut out = Writer::new(&mut entry);
        encode_entry(&decided.header, &decided.txn, decided.digest, &mut out);
        let (header, txn, recorded) = decode_entry(&entry).expect("entries decode");
        assert_eq!((&txn, recorded), (&decided.txn, decided.digest));
        let mut effects = Effects::default();
        let outcome = self.mirror.apply(&header, &txn, &mut effects);
        assert_eq!(outcome, decided.outcome, "{op:?}");
        assert_eq!(effects, self.effects, "{op:?}");
        assert_eq!(self.mirror.tables(), self.draft.tables(), "{op:?}");
        assert_eq!(self.draft.tables().zxid, at.zxid);
        assert_eq!(digest::of_tree(self.draft.view()), self.draft.tables().digest, "{op:?}");
        let tree = contents(self.draft.view());
        assert_eq!(tree, contents(self.mirror.view()), "{op:?}");
        if let Outcome::Failed(_) | Outcome::MultiFailed(_) = outcome {
            let after = self.draft.tables().clone();
            let unchanged = Tables { zxid: before.zxid(), ..after };
            assert_eq!(&unchanged, before.tables(), "a failure changes nothing");
            assert_eq!(tree, contents(before.view()), "a failure changes nothing");
            assert_eq!(self.effects, Effects::default());
        }
        outcome
    }

    /// The code of the outcome, 0 for success.
    pub(crate) fn code(&mut self, op: &Op<'_>) -> i32 {
        match self.run(op) {
            Outcome::Failed(code) => code.code(),
            Outcome::Done
            | Outcome::Created { .. }
            | Outcome::Stat(_)
            | Outcome::Multi(_)
            | Outcome::MultiFailed(_) => 0,
        }
    }

    pub(crate) fn ok(&mut self, op: &Op<'_>) {
        assert_eq!(self.code(op), 0, "{op:?}");
    }

    pub(crate) fn make(&mut self, paths: &[&str]) {
        for path in paths {
            self.ok(&create(path));
        }
    }

    pub(crate) fn znode(&self, path: &str) -> Znode<'_> {
        self.draft.view().get(path.as_bytes()).expect("the znode exists")
    }

    pub(crate) fn stat(&self, path: &str) -> Stat {
        self.znode(path).stat()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(self.znode(path).data.unwrap_or_default()).into_owned()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.draft.view().get(path.as_bytes()).is_some()
    }

    /// What the last request did: `+` created, `-` deleted, `=` data changed.
    pub(crate) fn events(&self) -> String {
        let event = |effect: &Effect| {
            assert_eq!(effect.zxid, Zxid(self.zxid - 1));
            let sign = match effect.change {
                Change::Created => '+',
                Change::Deleted => '-',
                Change::DataChanged => '=',
            };
            format!("{sign}{}", String::from_utf8_lossy(self.effects.path(&effect.path)))
        };
        self.effects.list.iter().map(event).collect::<Vec<_>>().join(" ")
    }
}

pub(crate) fn contents(view: TreeView<'_>) -> Vec<(Vec<u8>, Znode<'_>)> {
    let mut all: Vec<_> = view.iter().map(|(path, znode)| (path.to_vec(), znode)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(crate) fn create(path: &str) -> Op<'_> {
    Op::Create(record(path))
}

pub(crate) fn record(path: &str) -> Create<'_> {
    Create {
        opcode: OpCode::Create,
        path: path.as_bytes(),
        data: Some(b"x"),
        acl: Some(OPEN_LIST),
        mode: CreateMode::Persistent,
        sequential: false,
    }
}

pub(crate) fn ephemeral(path: &str) -> Op<'_> {
    Op::Create(Create { mode: CreateMode::Ephemeral, ..record(path) })
}

pub(crate) fn container(path: &str) -> Op<'_> {
    let mode = CreateMode::Container;
    Op::Create(Create { opcode: OpCode::CreateContainer, mode, ..record(path) })
}

pub(crate) fn ttl(path: &str, ttl_ms: i64) -> Op<'_> {
    let mode = CreateMode::Ttl(ttl_ms);
    Op::Create(Create { opcode: OpCode::CreateTtl, mode, ..record(path) })
}

pub(crate) fn sequential(path: &str) -> Op<'_> {
    Op::Create(Create { sequential: true, ..record(path) })
}

pub(crate) fn delete(path: &str, version: i32) -> Op<'_> {
    Op::Delete { path: path.as_bytes(), version }
}

pub(crate) fn set<'a>(path: &'a str, data: &'a str, version: i32) -> Op<'a> {
    Op::SetData { path: path.as_bytes(), data: Some(data.as_bytes()), version }
}

pub(crate) fn set_acl<'a>(path: &'a str, acl: &'a [u8], version: i32) -> Op<'a> {
    Op::SetAcl { path: path.as_bytes(), acl: Some(acl), version }
}

pub(crate) fn check(path: &str, version: i32) -> Op<'_> {
    Op::Check { path: path.as_bytes(), version }
}

/// An encoded list of one entry.
pub(crate) fn only(perms: i32, scheme: &str, id: &str) -> Vec<u8> {
    let entry = model::Acl {
        perms: model::Perms(perms),
        scheme: Some(scheme.as_bytes()),
        id: Some(id.as_bytes()),
    };
    model::acl::encode_list([entry].into_iter())
}

#[test]
fn a_fresh_database_is_what_zookeeper_makes() {
    let mut draft = Draft::new(Settings::default());
    assert_eq!(draft.tables().digest, 1_371_985_504);
    assert_eq!(digest::of_tree(draft.view()), 1_371_985_504);
    let version = draft.freeze();
    assert_eq!((version.node_count(), version.data_bytes()), (5, 44));
    let view = version.view();
    let stat = |path: &[u8]| view.get(path).expect("predefined").stat();
    let blank = Stat { cversion: -1, num_children: 1, ..Stat::default() };
    assert_eq!(stat(b"/"), blank);
    assert_eq!(stat(b"/zookeeper"), Stat { cversion: -2, num_children: 2, ..blank });
    assert_eq!(stat(b"/zookeeper/quota"), Stat::default());
    assert_eq!(stat(b"/zookeeper/config"), Stat { aversion: -1, ..Stat::default() });
    let config = view.get(b"/zookeeper/config").expect("predefined");
    assert_eq!(config.data, Some(&b""[..]));
    assert_eq!(version.acl(config.meta.acl), only(1, "world", "anyone"));
}

#[test]
fn a_refused_request_keeps_its_place_in_the_order() {
    let mut scene = Scene::new();
    let code = model::ErrorCode::MarshallingError;
    assert_eq!(scene.run(&Op::Refused(code)), Outcome::Failed(code));
    assert_eq!(scene.draft.tables().zxid, Zxid(2));
    assert_eq!(scene.code(&check("/", -1)), -6, "a check alone is not an operation");
}

#[test]
fn a_session_that_is_gone_can_do_nothing() {
    let mut scene = Scene::new();
    scene.make(&["/a"]);
    scene.ok(&Op::CloseSession);
    for op in [create("/b"), delete("/a", -1), set("/a", "", -1), set_acl("/a", OPEN_LIST, -1)] {
        assert_eq!(scene.code(&op), -112, "{op:?}");
    }
    scene.who.session = SessionId::NONE;
    scene.ok(&set("/a", "by the server", -1));
    assert_eq!(scene.code(&ephemeral("/e")), -112);
}
