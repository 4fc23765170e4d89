//! ZooKeeper's own serialization of a database, both ways: what goes out comes back as the same
//! state however it is cut, a stream that ZooKeeper made is read, transactions are replayed over a
//! fuzzy one, and no bytes are too odd.

mod common;

use std::borrow::Cow;

use common::node::{Author, Entries, describe, settings};
use common::{Dice, batch};
use engine::draft::Settings;
use engine::snapshot::zookeeper::{SnapshotIntake, SnapshotStream, StreamFault};
use engine::tree::Meta;
use engine::{Draft, Effects, Version, access, digest};
use model::jute::Writer;
use model::op::Create;
use model::txn::{CreateTxn, decode_entry, encode_entry};
use model::{CreateMode, Op, OpCode, Perms, SessionId, Txn, TxnHeader, Zxid};
use proptest::prelude::*;

const SESSION: SessionId = SessionId(0x0100_0000_0000_0007);

fn stream(version: &Version) -> Vec<u8> {
    let mut stream = SnapshotStream::new(version.clone());
    let (mut all, mut piece) = (Vec::new(), Vec::new());
    while stream.next(&mut piece) {
        assert!(!piece.is_empty(), "every piece brings something");
        all.append(&mut piece);
    }
    assert!(!stream.next(&mut piece) && piece.is_empty());
    all
}

fn intake(bytes: &[u8]) -> SnapshotIntake {
    let mut intake = SnapshotIntake::new(Settings { hash_seed: 5, ..settings() });
    intake.push(bytes).expect("a sound stream");
    intake.finish().expect("a whole stream");
    intake
}

/// Everything there is to a state, in words. By what numbers it refers to access lists is nobody's
/// business.
fn all_of(version: &Version) -> Vec<String> {
    let tables = version.tables();
    let mut lines = describe(version);
    lines.pop();
    let mut lists: Vec<_> = tables.acls.values().map(|entry| (&entry.list, entry.uses)).collect();
    lists.sort();
    lines.push(format!("{lists:?}"));
    lines.push(format!("{:?}", tables.quotas));
    lines
}

fn decide(author: &mut Author, op: &Op<'_>) {
    author.decide(op, SESSION);
}

fn create<'a>(path: &'a str, data: Option<&'a [u8]>) -> Create<'a> {
    Create {
        opcode: OpCode::Create,
        path: path.as_bytes(),
        data,
        acl: Some(access::OPEN_LIST),
        mode: CreateMode::Persistent,
        sequential: false,
    }
}

/// A state with something of everything.
fn rich(dice: &mut Dice) -> Version {
    let mut author = Author::new(Draft::new(settings()));
    decide(&mut author, &Op::CreateSession { timeout_ms: 4000 });
    if dice.one_in(2) {
        decide(&mut author, &Op::SetData { path: b"/", data: Some(b"root data"), version: -1 });
    }
    for path in ["/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits", "/a"] {
        decide(&mut author, &Op::Create(create(path, Some(b"count=9,bytes=-1"))));
    }
    for _ in 0..dice.below(300) {
        author.write(dice);
    }
    let mut deep = String::new();
    for level in 0..dice.below(200) {
        deep.push('/');
        deep.push_str(&level.to_string());
        decide(&mut author, &Op::Create(create(&deep, None)));
    }
    if dice.one_in(4) {
        let big = vec![7; 300_000];
        decide(&mut author, &Op::Create(create("/big", Some(&big))));
    }
    let name = "n".repeat(dice.below(60));
    for number in 0..[0, 3, 600, 3000][dice.below(4)] {
        decide(&mut author, &Op::Create(create(&format!("/wide{name}{number}"), Some(b""))));
    }
    author.draft.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_goes_out_comes_back_however_it_is_cut(seed: u64) {
        let mut dice = Dice(seed);
        let version = rich(&mut dice);
        let bytes = stream(&version);
        let mut intake = SnapshotIntake::new(Settings { hash_seed: 3, ..settings() });
        let longest = [1, 30, 5000, 200_000][dice.below(4)];
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((1 + dice.below(longest)).min(rest.len()));
            intake.push(piece).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
            rest = later;
        }
        intake.finish().map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        let mut draft = intake.into_draft(version.zxid());
        prop_assert_eq!(draft.tables().digest, digest::of_tree(draft.view()));
        let again = draft.freeze();
        prop_assert_eq!(all_of(&again), all_of(&version));
        prop_assert_eq!(stream(&again).len(), bytes.len());
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes: Vec<u8>, cut in 0usize..64) {
        let mut intake = SnapshotIntake::new(settings());
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let _ = intake.push(first).and_then(|()| intake.push(second));
        prop_assert!(intake.finish().is_err());
    }

    #[test]
    fn any_damage_is_judged_without_panic(seed: u64) {
        let mut dice = Dice(seed);
        let mut author = Author::new(Draft::new(settings()));
        for _ in 0..40 {
            author.write(&mut dice);
        }
        let mut bytes = stream(&author.draft.freeze());
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] = [0, 0xff, dice.next() as u8][dice.below(3)];
        }
        bytes.truncate(bytes.len() - dice.below(2) * dice.below(bytes.len()));
        let mut intake = SnapshotIntake::new(settings());
        if intake.push(&bytes).is_ok() && intake.finish().is_ok() {
            let draft = intake.into_draft(Zxid(1));
            prop_assert_eq!(draft.tables().digest, digest::of_tree(draft.view()));
            let _ = stream(&{draft}.freeze());
        }
    }

    /// The stream of a ZooKeeper leader is taken while it works, and all that it did meanwhile
    /// follows.
    #[test]
    fn replay_makes_a_fuzzy_stream_exact(seed: u64) {
        let mut dice = Dice(seed);
        let mut author = Author::new(Draft::new(settings()));
        for path in [
            "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
        ] {
            decide(&mut author, &Op::Create(create(path, Some(b"count=9,bytes=-1"))));
        }
        for _ in 0..dice.below(200) {
            author.write(&mut dice);
        }
        let mut moments = vec![author.draft.freeze()];
        let mut entries: Entries = Vec::new();
        for _ in 0..dice.below(80) {
            entries.push(author.write(&mut dice));
            moments.push(author.draft.freeze());
        }
        let last = author.draft.freeze();
        let mut intake = intake(&fuzzy(&moments, &mut dice));
        for (zxid, entry) in &entries {
            let replayed = intake.replay(&batch(*zxid, std::slice::from_ref(entry)));
            replayed.map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        }
        let recorded = entries.iter().rev().find_map(|(zxid, entry)| {
            let (_, _, digest) = decode_entry(entry).expect("just encoded");
            digest.map(|digest| (*zxid, digest.0))
        });
        prop_assert_eq!(intake.recorded_digest(), recorded);
        let mut draft = intake.into_draft(last.zxid());
        prop_assert_eq!(draft.tables().digest, digest::of_tree(draft.view()));
        prop_assert_eq!(all_of(&draft.freeze()), all_of(&last));
    }
}

/// What ZooKeeper sends if every znode is looked at a little later than the one before. Lists that
/// came into use after the table was sent are referred to all the same.
fn fuzzy(moments: &[Version], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    let tables = moments[0].tables();
    out.count(tables.sessions.len());
    for (id, session) in &tables.sessions {
        out.long(id.0);
        out.int(session.timeout_ms);
    }
    let mut lists: Vec<Vec<u8>> = tables.acls.values().map(|entry| entry.list.to_vec()).collect();
    out.count(lists.len());
    for (id, list) in lists.iter().enumerate() {
        out.long(id as i64 + 1);
        out.raw(list);
    }
    let mut open = vec![Vec::new()];
    let mut now = 0;
    let hurry = 1 + dice.below(40);
    while let Some(path) = open.pop() {
        if dice.one_in(hurry) {
            now = (now + 1 + dice.below(3)).min(moments.len() - 1);
        }
        let version = &moments[now];
        let own = model::path::normalize(&path);
        // Listed by its parent, and gone since.
        let Some(znode) = version.view().get(own) else { continue };
        let list = version.acl(znode.meta.acl);
        let id = if list == access::OPEN_LIST {
            -1
        } else {
            let known = lists.iter().position(|known| known == list);
            known.unwrap_or_else(|| {
                lists.push(list.to_vec());
                lists.len() - 1
            }) as i64
                + 1
        };
        write_znode(&mut out, &path, &znode.meta, znode.data, id);
        for name in version.view().children(own).expect("it is there") {
            open.push([&path[..], b"/", name].concat());
        }
    }
    end(&mut out);
    bytes
}

fn write_znode(out: &mut Writer<'_>, path: &[u8], meta: &Meta, data: Option<&[u8]>, acl: i64) {
    out.bytes(path);
    out.buffer(data);
    out.long(acl);
    out.long(meta.czxid.0);
    out.long(meta.mzxid.0);
    out.long(meta.ctime);
    out.long(meta.mtime);
    out.int(meta.version);
    out.int(meta.cversion);
    out.int(meta.aversion);
    out.long(meta.owner);
    out.long(meta.pzxid.0);
}

fn end(out: &mut Writer<'_>) {
    out.bytes(b"/");
    out.bytes(b"BenWasHere");
}

/// No sessions, no access lists, and blank znodes of these paths.
fn blank(paths: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let mut out = Writer::new(&mut bytes);
    for path in paths {
        write_znode(&mut out, path.as_bytes(), &Meta::default(), Some(b""), -1);
    }
    bytes
}

#[test]
fn a_stream_that_is_none_is_refused_in_words() {
    let good = ["", "/zookeeper"];
    let ended = |paths: &[&str]| {
        let mut bytes = blank(paths);
        end(&mut Writer::new(&mut bytes));
        bytes
    };
    let mut unsigned = ended(&good);
    *unsigned.last_mut().expect("not empty") ^= 1;
    let mut longer = ended(&good);
    longer.push(0);
    let mut negative = blank(&good);
    negative.extend((-2i32).to_be_bytes());
    let mut huge = blank(&good);
    huge.extend(i32::MAX.to_be_bytes());
    for (bytes, want) in [
        (ended(&["/zookeeper"]), "snapshot stream begins with /zookeeper instead of the root"),
        (ended(&["", "/a/b"]), "snapshot stream has /a/b, but not its parent"),
        (ended(&["", "/a", "/a"]), "snapshot stream has /a twice"),
        (ended(&["", ""]), "snapshot stream has / twice"),
        (ended(&["", "a"]), "snapshot stream has the malformed path a"),
        (ended(&["", "/a", "/a/"]), "snapshot stream has the malformed path /a/"),
        (ended(&["", "/a"]), "snapshot stream lacks /zookeeper"),
        (unsigned, "snapshot stream does not end in its signature"),
        (longer, "snapshot stream goes on after its end"),
        (negative, "snapshot stream has a path of length -2"),
        (huge, "snapshot stream has a path of length 2147483647"),
        (vec![0xff; 4], "snapshot stream has a list of sessions of length -1"),
        (blank(&good), "snapshot stream is incomplete after 170 bytes"),
        (Vec::new(), "snapshot stream is incomplete after 0 bytes"),
    ] {
        let mut intake = SnapshotIntake::new(settings());
        let fault = intake.push(&bytes).and_then(|()| intake.finish()).expect_err(want);
        assert_eq!(fault.to_string(), want);
        assert_eq!(intake.push(&[]), Err(fault.clone()), "it stays so");
        assert_eq!(intake.finish(), Err(fault));
    }
    intake(&ended(&good));
}

#[test]
fn only_a_complete_stream_takes_transactions_and_only_readable_ones() {
    let mut early = SnapshotIntake::new(settings());
    let entry = batch(Zxid(9), &[vec![1, 2, 3]]);
    assert_eq!(early.replay(&entry), Err(StreamFault::Incomplete { bytes: 0 }));
    let mut late = intake(&stream(&Draft::new(settings()).freeze()));
    assert!(matches!(late.replay(&entry), Err(StreamFault::Entry { zxid: Zxid(9), .. })));
    assert!(late.replay(&entry).is_err() && late.push(&[]).is_err(), "it stays so");
}

/// A database of ZooKeeper 3.4 has no configuration, and one with everything blank is a database.
#[test]
fn what_old_databases_lack_is_added() {
    let mut bytes = blank(&["", "/zookeeper"]);
    end(&mut Writer::new(&mut bytes));
    let mut draft = intake(&bytes).into_draft(Zxid(77));
    let want = {
        let mut fresh = Draft::new(settings());
        fresh.reset(&fresh_at(Zxid(77)));
        fresh.freeze()
    };
    assert_eq!(all_of(&draft.freeze()), all_of(&want));
}

fn fresh_at(zxid: Zxid) -> Version {
    let mut draft = Draft::new(settings());
    let header = TxnHeader { zxid, ..TxnHeader::default() };
    draft.apply(&header, &Txn::Error { code: -1 }, &mut Effects::default());
    draft.freeze()
}

/// `zab-wire` 4.2: the znode's list becomes that of the create; a plain create also raises its
/// parent's counter and zxid, others do not.
#[test]
fn a_create_of_what_is_there_repairs_list_and_parent() {
    for (opcode, raised) in [(OpCode::Create, true), (OpCode::Create2, false)] {
        let mut bytes = blank(&["", "/zookeeper", "/p"]);
        let mut out = Writer::new(&mut bytes);
        // Refers to a list that is not in the table.
        write_znode(&mut out, b"/p/c", &Meta { version: 8, ..Meta::default() }, None, 33);
        end(&mut out);
        let mut intake = intake(&bytes);
        let list = model::acl::world(Perms::READ);
        let txn = Txn::Create(CreateTxn {
            opcode,
            path: Cow::Borrowed(b"/p/c"),
            data: Some(Cow::Borrowed(b"older")),
            acl: Cow::Borrowed(&list),
            ephemeral: false,
            parent_cversion: 4,
            ttl_ms: 0,
        });
        let header = TxnHeader { zxid: Zxid(50), ..TxnHeader::default() };
        let mut entry = Vec::new();
        encode_entry(&header, &txn, None, &mut Writer::new(&mut entry));
        intake.replay(&batch(Zxid(50), &[entry])).expect("readable");
        let draft = intake.into_draft(Zxid(60));
        let (child, parent) = (draft.view().get(b"/p/c"), draft.view().get(b"/p"));
        let (child, parent) = (child.expect("there"), parent.expect("there"));
        assert_eq!((child.data, child.meta.version), (None, 8), "newer than the create");
        assert_eq!(draft.tables().acl(child.meta.acl), list);
        let want = if raised { (4, Zxid(50)) } else { (0, Zxid(0)) };
        assert_eq!((parent.meta.cversion, parent.meta.pzxid), want, "{opcode:?}");
        assert_eq!(draft.tables().digest, digest::of_tree(draft.view()));
        assert_eq!(draft.tables().zxid, Zxid(60));
    }
}

/// `zab-wire` 11, the start of a fresh database's snapshot, apart from the number of its one
/// access list, which is the sender's own affair.
#[test]
fn a_fresh_database_is_sent_as_zookeeper_sends_it() {
    let sent = stream(&Draft::new(settings()).freeze());
    let mut want = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    want.extend(model::acl::world(Perms::READ));
    want.extend([0; 8]);
    want.extend([0xff; 8]);
    want.extend([0; 60]);
    want.extend(b"\0\0\0\x0a/zookeeper");
    assert_eq!(sent[..want.len()], want);
    assert!(sent.ends_with(b"\0\0\0\x01/\0\0\0\x0aBenWasHere"));
}

/// Made by ZooKeeper 3.8.0, which had read 52 of these znodes from a stream of ours, made the
/// others itself, and gave the digest.
#[test]
fn a_stream_that_zookeeper_made_is_read() {
    let mut draft = intake(include_bytes!("fixtures/zookeeper-3.8.0.stream")).into_draft(Zxid(9));
    let version = draft.freeze();
    assert_eq!((version.digest(), version.node_count()), (121_635_428_453, 58));
    assert_eq!(version.digest(), digest::of_tree(version.view()));
    let znode = |path: &str| version.view().get(path.as_bytes()).expect("ZooKeeper made it");
    assert_eq!(znode("/zk").data, Some(&b"again"[..]));
    assert_eq!(
        (znode("/zk/eph").data, znode("/zk/\u{fc}n\u{ef}").data),
        (None, Some(&[255, 0][..]))
    );
    assert_eq!(znode("/zk/ttl").ttl_ms(), Some(5000));
    assert_eq!(version.acl(znode("/zk/cont").meta.acl), version.acl(znode("/zk").meta.acl));
    assert_eq!(version.acl(znode("/zk/ttl").meta.acl), model::acl::world(Perms::READ));
    let tables = version.tables();
    assert!(tables.containers.contains(&b"/zk/cont"[..]));
    assert!(tables.ephemerals[&SessionId(0x0100_0000_0000_0077)].contains(&b"/zk/eph"[..]));
    assert_eq!((tables.ephemeral_count, tables.sessions.len(), tables.ttls.len()), (11, 5, 18));
}

/// `zab-wire` 11: what ZooKeeper 3.9.5 logged, replayed over a received state.
#[test]
fn a_captured_chain_is_replayed_over_a_received_state() {
    let chain = include_str!("../model/fixtures/digest_chain.txt");
    let mut intake = intake(&stream(&Draft::new(settings()).freeze()));
    for line in chain.lines().filter(|line| !line.starts_with('#')) {
        let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
        let entry: Vec<u8> = (0..line.len()).step_by(2).map(digit).collect();
        let (header, ..) = decode_entry(&entry).expect("captured entries decode");
        intake.replay(&batch(header.zxid, &[entry])).expect("readable");
    }
    let last = Zxid(0x1_0000_0016);
    assert_eq!(intake.recorded_digest(), Some((last, 11_894_613_560)));
    assert_eq!(intake.digest_at(last), Some(11_894_613_560));
    assert_eq!(intake.digest_at(last.next()), None, "nothing is known of later states");
    let draft = intake.into_draft(last);
    assert_eq!((draft.tables().zxid, draft.tables().digest), (last, 11_894_613_560));
}
