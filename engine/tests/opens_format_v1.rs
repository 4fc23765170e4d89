//! Files of format version 1, kept in the repository, open and hold what they held when they were
//! written. They are never written again by a change that is meant to be compatible; a new format
//! gets new fixtures beside these.
//!
//! `REWRITE_FIXTURES=1` writes them anew, from the story in [`story`].

mod common;

use common::node::{Author, describe, settings};
use common::{MemoryDisk, batch, snapshot_bytes};
use engine::Draft;
use engine::disk::{DiskOp, SegmentId};
use engine::epochs::Epochs;
use engine::log::recover::Contents;
use engine::log::{Log, LogSettings};
use engine::recover::{DiskImage, Image, Inline, recover};
use model::op::Create;
use model::{CreateMode, Epoch, Op, OpCode, SessionId, Zxid};

const SETTINGS: LogSettings =
    LogSettings { segment_bytes: 16 << 10, writes_max: 2, log_id: 0x0123_4567_89ab_cdef };

/// As first published: frames do not say how large their segment is.
const LOG: [&[u8]; 3] = [
    include_bytes!("fixtures/v1/log.0000000000000001"),
    include_bytes!("fixtures/v1/log.0000000000000002"),
    include_bytes!("fixtures/v1/log.0000000000000003"),
];
/// As written now.
const LOG_WITH_SIZES: [&[u8]; 3] = [
    include_bytes!("fixtures/v1_sizes/log.0000000000000001"),
    include_bytes!("fixtures/v1_sizes/log.0000000000000002"),
    include_bytes!("fixtures/v1_sizes/log.0000000000000003"),
];
const SNAPSHOT: &[u8] = include_bytes!("fixtures/v1/snapshot.0000000100000003");
const EPOCHS: &[u8] = include_bytes!("fixtures/v1/epochs");

fn settle(log: &mut Log, disk: &mut MemoryDisk, out: &mut Vec<DiskOp>) {
    disk.submit(out);
    while !disk.pending.is_empty() {
        let done = disk.complete(0);
        log.done(&done, out, &mut Vec::new());
        disk.submit(out);
    }
}

/// A session, a few znodes of every kind, a snapshot, a restart, two entries that are forgotten
/// again, and a new epoch: frames of every kind but a reset, in three segments.
fn story() -> (MemoryDisk, Vec<String>) {
    let session = SessionId(0x0100_0000_0000_0001);
    let create = |path: &'static str, mode, acl| {
        let (opcode, data) = match mode {
            CreateMode::Persistent => (OpCode::Create, Some(&b"data"[..])),
            CreateMode::Ephemeral => (OpCode::Create2, Some(&b""[..])),
            CreateMode::Container => (OpCode::CreateContainer, None),
            CreateMode::Ttl(_) => (OpCode::CreateTtl, Some(&b"short"[..])),
        };
        let path = path.as_bytes();
        Op::Create(Create { opcode, path, data, acl, mode, sequential: false })
    };
    let open = Some(engine::access::OPEN_LIST);
    let read = model::acl::world(model::Perms::READ);
    let mut disk = MemoryDisk::default();
    let mut out = Vec::new();
    let mut author = Author::new(Draft::new(settings()));
    author.new_epoch();
    let before_restart = [
        Op::CreateSession { timeout_ms: 30_000 },
        create("/a", CreateMode::Persistent, open),
        create("/a/mine", CreateMode::Ephemeral, Some(&read)),
    ];
    let after_restart = [
        create("/box", CreateMode::Container, open),
        create("/brief", CreateMode::Ttl(60_000), open),
        create("/forgotten", CreateMode::Persistent, open),
        Op::SetData { path: b"/a", data: Some(b"forgotten"), version: 0 },
    ];

    let contents = Contents::read(disk.log(), &Inline).expect("fresh");
    let mut log = contents.resume(SETTINGS, Zxid::ZERO, 0, &[]);
    log.start(&mut out);
    for op in before_restart {
        let (zxid, entry) = author.decide(&op, session);
        log.append(batch(zxid, &[entry]), &mut out);
        settle(&mut log, &mut disk, &mut out);
    }
    let version = author.draft.freeze();
    disk.snapshots.insert(version.zxid(), snapshot_bytes(version));

    let recovered = recover(&disk.image(), settings(), SETTINGS, &Inline).expect("sound");
    let mut log = recovered.log;
    let mut kept = None;
    for (i, op) in after_restart.into_iter().enumerate() {
        let (zxid, entry) = author.decide(&op, session);
        log.append(batch(zxid, &[entry]), &mut out);
        settle(&mut log, &mut disk, &mut out);
        if i == 1 {
            kept = Some(author.draft.freeze());
        }
    }
    let kept = kept.expect("the loop passed it");
    log.truncate(kept.zxid(), &mut out);
    author.draft.reset(&kept);
    author.new_epoch();
    let missing = Op::Delete { path: b"/missing", version: -1 };
    let set = Op::SetData { path: b"/a", data: None, version: 0 };
    for op in [missing, set] {
        let (zxid, entry) = author.decide(&op, session);
        log.append(batch(zxid, &[entry]), &mut out);
    }
    settle(&mut log, &mut disk, &mut out);
    (disk, describe(&author.draft.freeze()))
}

fn epochs() -> Epochs {
    Epochs { revision: 12, accepted: Epoch(7), current: Epoch(6) }
}

#[test]
fn files_of_version_1_open() {
    let (disk, want) = story();
    if std::env::var_os("REWRITE_FIXTURES").is_some() {
        let write = |name: String, bytes: &[u8]| {
            let sizes = if name.starts_with("log") { "_sizes" } else { "" };
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1");
            std::fs::write(format!("{folder}{sizes}/{name}"), bytes).expect("it can be written");
        };
        for (id, bytes) in disk.segments.iter().filter(|(id, _)| id.0 <= 3) {
            write(format!("log.{:016x}", id.0), bytes);
        }
        for (zxid, bytes) in &disk.snapshots {
            write(format!("snapshot.{:016x}", zxid.0), bytes);
        }
        write("epochs".to_owned(), &epochs().encode());
        return;
    }

    for log in [LOG, LOG_WITH_SIZES] {
        opens(log, &want);
    }
    assert_eq!(Epochs::decode(EPOCHS), Ok(epochs()));
}

fn opens(log: [&'static [u8]; 3], want: &[String]) {
    let image = |bytes: &'static [u8]| -> Image { std::sync::Arc::new(bytes) };
    let mut files = DiskImage {
        snapshots: vec![(Zxid::new(Epoch(1), 3), image(SNAPSHOT))],
        segments: (1..).map(SegmentId).zip(log.map(image)).collect(),
        epochs: [None, Some(EPOCHS.to_vec())],
        ..DiskImage::default()
    };
    let mut with_snapshot = recover(&files, settings(), SETTINGS, &Inline).expect("it opens");
    assert_eq!(describe(&with_snapshot.draft.freeze()), want);
    let report = with_snapshot.report;
    assert_eq!((report.snapshot, report.replayed), (Zxid::new(Epoch(1), 3), 4));
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(with_snapshot.log.appended(), Zxid::new(Epoch(2), 2));

    files.snapshots.clear();
    let mut replayed = recover(&files, settings(), SETTINGS, &Inline).expect("it opens");
    assert_eq!(describe(&replayed.draft.freeze()), want);
    assert_eq!(replayed.report.replayed, 7);
}

#[test]
fn the_log_is_still_written_like_this() {
    let (disk, _) = story();
    let segment = |id| &disk.segments[&SegmentId(id)][..];
    for (number, segment_now) in (1..).zip(LOG_WITH_SIZES) {
        assert!(segment(number) == segment_now, "segment {number}");
    }
    assert_eq!(epochs().encode(), EPOCHS);
}
