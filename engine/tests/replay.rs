//! Any sequence of requests: what a leader decides and logs gives every other server, and the
//! leader itself after a restart, the same state.

use std::sync::Arc;

use engine::draft::{Caller, Decided, Draft, Settings, Stamp};
use engine::effect::Effects;
use engine::restore::Census;
use engine::tree::{Tree, TreeView, Znode};
use engine::{access, digest};
use model::jute::Writer;
use model::op::Create;
use model::path;
use model::txn::{decode_entry, encode_entry};
use model::{Acl, AuthId, CreateMode, ErrorCode, Op, OpCode, Perms, SessionId, Zxid};
use proptest::prelude::*;

/// A request that owns its bytes.
#[derive(Clone, Debug)]
enum Request {
    Open,
    Close,
    Create {
        opcode: OpCode,
        path: String,
        data: Option<Vec<u8>>,
        acl: usize,
        mode: CreateMode,
        sequential: bool,
    },
    Delete {
        path: String,
        version: i32,
    },
    Clean {
        path: String,
    },
    Set {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: usize,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Request>),
    Refused,
}

fn lists() -> Vec<Option<Vec<u8>>> {
    let list = |all: &[(i32, &'static str, &'static str)]| {
        let entry = |&(perms, scheme, id): &(i32, &'static str, &'static str)| Acl {
            perms: Perms(perms),
            scheme: Some(scheme.as_bytes()),
            id: Some(id.as_bytes()),
        };
        Some(model::acl::encode_list(all.iter().map(entry)))
    };
    vec![
        Some(access::OPEN_LIST.to_vec()),
        list(&[(31, "auth", "")]),
        list(&[(1, "world", "anyone"), (30, "ip", "10.0.0.0/8")]),
        list(&[(13, "world", "anyone"), (13, "world", "anyone")]),
        list(&[(31, "digest", "bad")]),
        None,
    ]
}

impl Request {
    fn op<'a>(&'a self, lists: &'a [Option<Vec<u8>>]) -> Op<'a> {
        match self {
            Request::Open => Op::CreateSession { timeout_ms: 4000 },
            Request::Close => Op::CloseSession,
            Request::Create { opcode, path, data, acl, mode, sequential } => Op::Create(Create {
                opcode: *opcode,
                path: path.as_bytes(),
                data: data.as_deref(),
                acl: lists[*acl].as_deref(),
                mode: *mode,
                sequential: *sequential,
            }),
            Request::Delete { path, version } => {
                Op::Delete { path: path.as_bytes(), version: *version }
            }
            Request::Clean { path } => Op::DeleteContainer { path: path.as_bytes() },
            Request::Set { path, data, version } => {
                Op::SetData { path: path.as_bytes(), data: data.as_deref(), version: *version }
            }
            Request::SetAcl { path, acl, version } => {
                Op::SetAcl { path: path.as_bytes(), acl: lists[*acl].as_deref(), version: *version }
            }
            Request::Check { path, version } => {
                Op::Check { path: path.as_bytes(), version: *version }
            }
            Request::Multi(all) => Op::Multi(all.iter().map(|request| request.op(lists)).collect()),
            Request::Refused => Op::Refused(ErrorCode::ThrottledOp),
        }
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["a", "a", "a", "b", "b", "\u{fc}"]);
    let plain =
        prop::collection::vec(names, 1..4).prop_map(|names| format!("/{}", names.join("/")));
    let odd = vec![
        "/",
        "",
        "bad",
        "/a/",
        "/a//b",
        "/zookeeper",
        "/zookeeper/config",
        "/zookeeper/x",
        "/zookeeper/quota/zookeeper_limits",
    ];
    // Stats are only ever created, so that their text depends on the tree alone.
    let quota = vec![
        "/zookeeper/quota/a",
        "/zookeeper/quota/a/b",
        "/zookeeper/quota/a/zookeeper_limits",
        "/zookeeper/quota/a/b/zookeeper_limits",
    ];
    prop_oneof![
        8 => plain,
        1 => prop::sample::select(odd).prop_map(str::to_owned),
        3 => prop::sample::select(quota).prop_map(str::to_owned),
    ]
}

fn any_create() -> impl Strategy<Value = Request> {
    let stats = vec!["/zookeeper/quota/a/zookeeper_stats", "/zookeeper/quota/a/b/zookeeper_stats"];
    let path = prop_oneof![
        9 => any_path(),
        2 => prop::sample::select(stats).prop_map(str::to_owned),
    ];
    let kind = prop::sample::select(vec![
        (OpCode::Create, CreateMode::Persistent),
        (OpCode::Create2, CreateMode::Persistent),
        (OpCode::Create, CreateMode::Ephemeral),
        (OpCode::CreateContainer, CreateMode::Container),
        (OpCode::CreateTtl, CreateMode::Ttl(25)),
    ]);
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..4));
    let acl = prop_oneof![5 => Just(0usize), 2 => 1usize..4, 1 => 4usize..6];
    (path, kind, data, acl, prop::bool::weighted(0.2)).prop_map(
        |(path, (opcode, mode), data, acl, sequential)| Request::Create {
            opcode,
            path,
            data,
            acl,
            mode,
            sequential,
        },
    )
}

fn any_part() -> impl Strategy<Value = Request> {
    let version = || prop_oneof![4 => Just(-1), 1 => 0..3];
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        5 => any_create(),
        3 => (any_path(), version()).prop_map(|(path, version)| Request::Delete { path, version }),
        2 => (any_path(), data, version())
            .prop_map(|(path, data, version)| Request::Set { path, data, version }),
        1 => (any_path(), version()).prop_map(|(path, version)| Request::Check { path, version }),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        24 => any_part(),
        4 => prop::collection::vec(any_part(), 0..4).prop_map(Request::Multi),
        2 => (any_path(), 0usize..6, -1..2)
            .prop_map(|(path, acl, version)| Request::SetAcl { path, acl, version }),
        2 => any_path().prop_map(|path| Request::Clean { path }),
        2 => Just(Request::Open),
        1 => Just(Request::Close),
        1 => Just(Request::Refused),
    ]
}

fn settings(hash_seed: u64) -> Settings {
    Settings { extended_types: true, enforce_quota: true, hash_seed, ..Settings::default() }
}

fn contents(view: TreeView<'_>) -> Vec<(&[u8], Znode<'_>)> {
    let mut all: Vec<_> = view.iter().collect();
    all.sort_by_key(|(path, _)| *path);
    all
}

fn entry(decided: &Decided<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_entry(&decided.header, &decided.txn, decided.digest, &mut Writer::new(&mut bytes));
    bytes
}

/// Rebuilds a draft as a loader does: znodes in path order, the census in two pieces.
fn reload(draft: &mut Draft) -> Draft {
    let version = draft.freeze();
    let mut tree = Tree::new(77);
    let mut pieces = [Census::default(), Census::default()];
    for (at, (path, znode)) in contents(version.view()).into_iter().enumerate() {
        pieces[at % 2].note(path, &znode.meta, znode.data.map_or(0, <[u8]>::len));
        if path == b"/" {
            tree.update(path, Some(znode.data), |meta| *meta = znode.meta);
        } else {
            assert!(path::split(path).is_some());
            tree.create(path, &znode.meta, znode.data, |_| {});
        }
    }
    let [mut census, other] = pieces;
    census.merge(other);
    Draft::restore_counted(settings(77), tree, version.tables().stored(), census)
}

/// Two sessions and a place for quotas, so that later requests have something to meet.
fn opening() -> Vec<(bool, Request)> {
    let make = |path: &str| Request::Create {
        opcode: OpCode::Create,
        path: path.to_owned(),
        data: None,
        acl: 0,
        mode: CreateMode::Persistent,
        sequential: false,
    };
    let made = ["/a", "/a/b", "/zookeeper/quota/a", "/zookeeper/quota/a/b"].map(make);
    let opened = [(false, Request::Open), (true, Request::Open)];
    opened.into_iter().chain(made.into_iter().map(|request| (false, request))).collect()
}

fn check(requests: &[(bool, Request)]) {
    let lists = lists();
    let mut leader = Draft::new(settings(1));
    let mut again = Draft::new(settings(2));
    let mut follower = Draft::new(settings(3));
    for (number, (second, request)) in requests.iter().enumerate() {
        let op = request.op(&lists);
        let session = SessionId(0x0100_0000_0000_0001 + i64::from(*second));
        let mut identities = vec![AuthId::new("ip", "10.1.1.1")];
        if *second {
            identities.push(AuthId::new("digest", "u:h"));
        }
        let who = Caller { session, identities: Arc::from(identities) };
        let at = Stamp {
            zxid: Zxid((1 << 32) + number as i64 + 1),
            cxid: number as i32,
            time_ms: 10 * number as i64,
        };
        let before = leader.freeze();
        let mut effects = Effects::default();
        let decided = leader.execute(&op, &who, at, &mut effects);
        let bytes = entry(&decided);
        assert_eq!(entry(&again.execute(&op, &who, at, &mut Effects::default())), bytes);

        let (header, txn, _) = decode_entry(&bytes).expect("entries decode");
        let mut followed = Effects::default();
        let outcome = follower.apply(&header, &txn, &mut followed);
        assert_eq!(outcome, decided.outcome, "{op:?}");
        assert_eq!(followed, effects, "{op:?}");
        assert_eq!(follower.tables(), leader.tables(), "{op:?}");
        assert_eq!(contents(follower.view()), contents(leader.view()), "{op:?}");
        assert_eq!(digest::of_tree(leader.view()), leader.tables().digest, "{op:?}");
        if effects.list.is_empty() {
            assert_eq!(leader.tables().quotas, before.tables().quotas);
            assert_eq!(leader.tables().ephemerals, before.tables().ephemerals);
        }

        // Rolling back and applying again changes nothing.
        let after = leader.freeze();
        leader.reset(&before);
        let savepoint = leader.savepoint();
        leader.apply(&header, &txn, &mut Effects::default());
        leader.rollback(savepoint);
        assert_eq!(leader.tables(), before.tables(), "{op:?}");
        assert_eq!(contents(leader.view()), contents(before.view()), "{op:?}");
        leader.apply(&header, &txn, &mut Effects::default());
        assert_eq!(leader.tables(), after.tables(), "{op:?}");
        assert_eq!(contents(leader.view()), contents(after.view()), "{op:?}");
    }
    let reloaded = reload(&mut leader);
    let mut expect = leader.tables().clone();
    expect.acl_last = reloaded.tables().acl_last;
    assert_eq!(reloaded.tables(), &expect, "what is not stored is derived");
    assert_eq!(contents(reloaded.view()), contents(leader.view()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_server_reaches_the_same_state(
        mut requests in prop::collection::vec((any::<bool>(), any_request()), 1..120),
    ) {
        requests.splice(0..0, opening());
        check(&requests);
    }
}
