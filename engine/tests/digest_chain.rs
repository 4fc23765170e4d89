//! A chain of log entries captured from Apache ZooKeeper 3.9.5, each with the tree digest after
//! it: replaying them must give the same digests, and executing the requests that made them must
//! give the same bytes.

use std::sync::Arc;

use engine::draft::{Caller, Draft, Settings, Stamp};
use engine::{Effects, digest};
use model::jute::Writer;
use model::op::Create;
use model::txn::{decode_entry, encode_entry};
use model::{AuthId, CreateMode, Op, OpCode, TxnDigest};

const CHAIN: &str = include_str!("../model/fixtures/digest_chain.txt");
const OPEN: Option<&[u8]> = Some(engine::access::OPEN_LIST);

fn entries() -> Vec<Vec<u8>> {
    let hex = |line: &str| {
        let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
        (0..line.len()).step_by(2).map(digit).collect()
    };
    CHAIN.lines().filter(|line| !line.starts_with('#')).map(hex).collect()
}

#[test]
fn replay_gives_the_recorded_digests() {
    let mut draft = Draft::new(Settings::default());
    let mut effects = Effects::default();
    assert_eq!(draft.tables().digest, 1_371_985_504);
    for entry in entries() {
        let (header, txn, digest) = decode_entry(&entry).expect("captured entries decode");
        draft.apply(&header, &txn, &mut effects);
        if let Some(TxnDigest(digest)) = digest {
            assert_eq!(draft.tables().digest, digest, "after {txn:?}");
        }
        assert_eq!(draft.tables().digest, digest::of_tree(draft.view()), "after {txn:?}");
        assert_eq!(draft.tables().zxid, header.zxid);
    }
    assert_eq!(draft.tables().digest, 11_894_613_560);
    assert!(draft.tables().sessions.is_empty());
    assert_eq!(draft.tables().ephemeral_count, 0);
}

fn create(path: &'static str, data: &'static [u8], ephemeral: bool) -> Op<'static> {
    let mode = if ephemeral { CreateMode::Ephemeral } else { CreateMode::Persistent };
    Op::Create(Create {
        opcode: OpCode::Create,
        path: path.as_bytes(),
        data: Some(data),
        acl: OPEN,
        mode,
        sequential: path.ends_with("seq-") || path.ends_with("es-"),
    })
}

fn delete(path: &'static str) -> Op<'static> {
    Op::Delete { path: path.as_bytes(), version: -1 }
}

fn set(path: &'static str, data: &'static [u8], version: i32) -> Op<'static> {
    Op::SetData { path: path.as_bytes(), data: Some(data), version }
}

/// The requests behind the chain, as the comments of the fixture tell them.
fn requests() -> Vec<Op<'static>> {
    const AUTH: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x04auth\0\0\0\0";
    vec![
        Op::CreateSession { timeout_ms: 4000 },
        create("/a", b"hello", false),
        create("/a/b", b"", false),
        create("/a/seq-", b"x", false),
        create("/a/eph", b"e", true),
        create("/a/es-", b"e", true),
        set("/a", b"world", 0),
        create("/a", b"again", false),
        delete("/a"),
        delete("/nope"),
        Op::SetAcl { path: b"/a/b", acl: Some(AUTH), version: -1 },
        set("/", b"rootdata", -1),
        set("/a", b"late", 7),
        Op::Multi(vec![
            create("/m1", b"1", false),
            create("/m1/c", b"2", false),
            set("/m1", b"3", 0),
            Op::Check { path: b"/a", version: 1 },
            delete("/m1/c"),
        ]),
        Op::Multi(vec![create("/m2", b"1", false), delete("/nope"), create("/m3", b"1", false)]),
        create("/zookeeper/quota/a", b"", false),
        create("/zookeeper/quota/a/zookeeper_limits", b"count=100,bytes=100000", false),
        create("/zookeeper/quota/a/zookeeper_stats", b"count=1,bytes=1", false),
        create("/a/q1", b"quotaquotaquotaquotaquotaquotaquotaquotaquotaquota", false),
        delete("/a/q1"),
        create("/\u{fc}n\u{ef}", b"\xff\0", false),
        Op::CloseSession,
    ]
}

#[test]
fn executing_the_requests_gives_the_recorded_bytes() {
    let mut draft = Draft::new(Settings::default());
    let mut effects = Effects::default();
    let requests = requests();
    let entries = entries();
    assert_eq!(requests.len(), entries.len());
    let identities: Arc<[AuthId]> = Arc::new([
        AuthId::new("ip", "127.0.0.1"),
        AuthId::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
    ]);
    for (op, entry) in requests.iter().zip(&entries) {
        let (header, recorded, digest) = decode_entry(entry).expect("captured entries decode");
        let who = Caller { session: header.session, identities: identities.clone() };
        let at = Stamp { zxid: header.zxid, cxid: header.cxid, time_ms: header.time_ms };
        let decided = draft.execute(op, &who, at, &mut effects);
        assert_eq!(decided.txn, recorded);
        assert_eq!(decided.digest, digest);
        let mut bytes = Vec::new();
        encode_entry(&decided.header, &decided.txn, decided.digest, &mut Writer::new(&mut bytes));
        assert_eq!(&bytes, entry, "{recorded:?}");
    }
}
