//! A failed write is never retried: it may have reached the disk or not, and the system forgets
//! that it failed. The log says so once, and from then on writes and acknowledges nothing.

mod common;

use common::{MemoryDisk, batch};
use engine::disk::{DiskOp, SegmentId};
use engine::log::recover::Contents;
use engine::log::{Log, LogFact, LogSettings};
use engine::recover::Inline;
use model::Zxid;

const SETTINGS: LogSettings = LogSettings { segment_bytes: 64 << 10, writes_max: 2, log_id: 3 };

/// A fresh log with its first two segments prepared.
fn prepared(disk: &mut MemoryDisk) -> Log {
    let contents = Contents::read(disk.log(), &Inline).expect("an empty disk is a fresh log");
    let mut log = contents.resume(SETTINGS, Zxid::ZERO, 0, &[]);
    let mut out = Vec::new();
    assert!(!log.is_ready(), "no segment yet");
    log.start(&mut out);
    while !out.is_empty() {
        disk.submit(&mut out);
        let done = disk.complete(0);
        log.done(&done, &mut out, &mut Vec::new());
    }
    assert!(log.is_ready());
    assert_eq!(disk.segments.keys().copied().collect::<Vec<_>>(), [SegmentId(1), SegmentId(2)]);
    log
}

fn append(log: &mut Log, zxid: i64, disk: &mut MemoryDisk) {
    let mut out = Vec::new();
    log.append(batch(Zxid(zxid), &[vec![7; 100]]), &mut out);
    disk.submit(&mut out);
}

fn writes(disk: &MemoryDisk) -> usize {
    disk.pending.iter().filter(|op| matches!(op, DiskOp::WriteSegment { .. })).count()
}

#[test]
fn nothing_is_acknowledged_after_a_failed_write() {
    let mut disk = MemoryDisk::default();
    let mut log = prepared(&mut disk);
    for zxid in 1..=5 {
        append(&mut log, zxid, &mut disk);
    }
    assert_eq!(writes(&disk), 2, "two in flight, the rest waits");

    let (mut out, mut facts) = (Vec::new(), Vec::new());
    let second = disk.complete(1);
    log.done(&second, &mut out, &mut facts);
    assert_eq!(facts, [], "the second waits for the first");
    let first = disk.fail(0, false);
    log.done(&first, &mut out, &mut facts);
    assert!(matches!(&facts[..], [LogFact::Poisoned(fault)] if fault.cause == "the test says so"));

    facts.clear();
    log.done(&second, &mut out, &mut facts);
    log.append(batch(Zxid(6), &[vec![1]]), &mut out);
    log.truncate(Zxid(4), &mut out);
    log.space_available(&mut out);
    assert!(out.is_empty() && facts.is_empty());
    assert_eq!(log.durable(), Zxid::ZERO);
    assert!(!log.is_ready());
}

#[test]
fn even_lack_of_space_in_a_write_is_fatal() {
    let mut disk = MemoryDisk::default();
    let mut log = prepared(&mut disk);
    append(&mut log, 1, &mut disk);
    let (mut out, mut facts) = (Vec::new(), Vec::new());
    let failed = disk.fail(0, true);
    log.done(&failed, &mut out, &mut facts);
    assert!(matches!(&facts[..], [LogFact::Poisoned(_)]));
}

#[test]
fn a_failed_preparation_other_than_for_space_is_fatal() {
    let mut disk = MemoryDisk::default();
    let contents = Contents::read(disk.log(), &Inline).expect("an empty disk is a fresh log");
    let mut log = contents.resume(SETTINGS, Zxid::ZERO, 0, &[]);
    let (mut out, mut facts) = (Vec::new(), Vec::new());
    log.start(&mut out);
    disk.submit(&mut out);
    let failed = disk.fail(0, false);
    log.done(&failed, &mut out, &mut facts);
    assert!(matches!(&facts[..], [LogFact::Poisoned(_)]));
    assert!(out.is_empty());
}

/// The volume fills up: the log says so while the last segment still has room for what is under
/// way, takes everything that comes nevertheless, and goes on where it stopped once there is space.
#[test]
fn a_full_volume_is_reported_in_time_and_survived() {
    let mut disk = MemoryDisk::default();
    let mut log = prepared(&mut disk);
    let mut told = Vec::new();
    let mut zxid = 0;
    let step = |log: &mut Log, disk: &mut MemoryDisk, full: bool, told: &mut Vec<_>| {
        while !disk.pending.is_empty() {
            let prepares = matches!(disk.pending[0], DiskOp::PrepareSegment { .. });
            let done = if prepares && full { disk.fail(0, true) } else { disk.complete(0) };
            let mut out = Vec::new();
            log.done(&done, &mut out, told);
            disk.submit(&mut out);
        }
    };
    while !told.contains(&LogFact::OutOfSpace) {
        zxid += 1;
        append(&mut log, zxid, &mut disk);
        step(&mut log, &mut disk, true, &mut told);
        assert_eq!(log.durable(), Zxid(zxid), "until then all is written");
    }
    assert_eq!(disk.segments.len(), 2);
    assert!(zxid > 16, "the spare segment was used, {zxid} frames");
    assert!(log.is_ready(), "what is under way still has a place");

    told.clear();
    let full = loop {
        zxid += 1;
        append(&mut log, zxid, &mut disk);
        step(&mut log, &mut disk, true, &mut told);
        if log.durable() < log.appended() {
            break zxid;
        }
    };
    assert!(!told.contains(&LogFact::OutOfSpace), "told once");
    assert_eq!(log.durable(), Zxid(full - 1));
    assert!(!log.is_ready());

    told.clear();
    let mut out = Vec::new();
    log.space_available(&mut out);
    disk.submit(&mut out);
    step(&mut log, &mut disk, true, &mut told);
    assert_eq!(told, [], "a false hope changes nothing");
    log.space_available(&mut out);
    disk.submit(&mut out);
    step(&mut log, &mut disk, false, &mut told);
    assert!(told.contains(&LogFact::SpaceBack));
    assert_eq!(log.durable(), Zxid(full));
    let contents = Contents::read(disk.log(), &Inline).expect("sound");
    assert_eq!(contents.position(), Zxid(full));
}
