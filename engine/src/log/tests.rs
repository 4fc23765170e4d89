//! Stories of a log and what is written for it. Crashes are in `engine/tests/`.

use std::collections::BTreeMap;

use super::frame::Header;
use super::recover::Contents;
use super::*;
use crate::disk::{DiskFact, SegmentId};
use crate::recover::Inline;

const SETTINGS: LogSettings = LogSettings { segment_bytes: 64 << 10, writes_max: 2, log_id: 9 };

/// A log, its files, and the writes that are under way.
struct Story {
    log: Log,
    files: BTreeMap<SegmentId, Vec<u8>>,
    writes: Vec<(DiskToken, SegmentId, u64, Vec<u8>)>,
    removed: Vec<u64>,
}

impl Story {
    fn open(files: BTreeMap<SegmentId, Vec<u8>>) -> Story {
        let contents = Contents::read(files.iter().map(|(id, f)| (*id, &f[..])).collect(), &Inline)
            .expect("sound files");
        let position = contents.position();
        let log = contents.resume(SETTINGS, position, 0, &[]);
        let mut story = Story { log, files, writes: Vec::new(), removed: Vec::new() };
        let mut out = Vec::new();
        story.log.start(&mut out);
        assert_eq!(story.carry_out(out), []);
        story
    }

    /// Writes stay under way, everything else is done at once.
    fn carry_out(&mut self, mut out: Vec<DiskOp>) -> Vec<LogFact> {
        let mut facts = Vec::new();
        while !out.is_empty() {
            let op = out.remove(0);
            let token = match op {
                DiskOp::WriteSegment { token, segment, offset, data } => {
                    let write = (token, segment, offset, data.as_slice().to_vec());
                    self.writes.push(write);
                    continue;
                }
                DiskOp::PrepareSegment { token, segment, bytes } => {
                    self.files.insert(segment, vec![0; bytes as usize]);
                    token
                }
                DiskOp::RemoveSegment { token, segment } => {
                    self.files.remove(&segment);
                    self.removed.push(segment.0);
                    token
                }
                other => panic!("not the log's business: {other:?}"),
            };
            let done = DiskDone { token, result: Ok(DiskFact::Done) };
            self.log.done(&done, &mut out, &mut facts);
        }
        facts
    }

    fn append(&mut self, first: i64, count: usize, length: usize) {
        let ends: Vec<u32> = (1..=count).map(|i| (i * length) as u32).collect();
        let mut out = Vec::new();
        let batch = Batch::new(Zxid(first), vec![first as u8; count * length], ends);
        self.log.append(batch, &mut out);
        assert_eq!(self.carry_out(out), []);
    }

    /// The write at `index` among those under way completes.
    fn complete(&mut self, index: usize) -> Vec<LogFact> {
        let (token, segment, offset, data) = self.writes.remove(index);
        let file = self.files.get_mut(&segment).expect("prepared");
        file[offset as usize..][..data.len()].copy_from_slice(&data);
        let (mut out, mut facts) = (Vec::new(), Vec::new());
        let done = DiskDone { token, result: Ok(DiskFact::Done) };
        self.log.done(&done, &mut out, &mut facts);
        let more = self.carry_out(out);
        facts.extend(more);
        facts
    }

    fn settle(&mut self) -> Vec<LogFact> {
        let mut facts = Vec::new();
        while !self.writes.is_empty() {
            facts.extend(self.complete(0));
        }
        facts
    }

    /// First and last zxid of the frames under way.
    fn under_way(&self) -> Vec<(i64, i64)> {
        let header = |(_, _, _, data): &(_, _, _, Vec<u8>)| Header::decode(data).expect("sound").0;
        self.writes.iter().map(header).map(|h| (h.first.0, h.last.0)).collect()
    }

    /// All entries' zxids, as a recovery would find them.
    fn found(&self) -> Vec<i64> {
        let files = self.files.iter().map(|(id, file)| (*id, &file[..])).collect();
        let contents = Contents::read(files, &Inline).expect("sound files");
        let runs = contents.surviving().runs;
        runs.iter().flat_map(|run| run.after(Zxid::ZERO)).map(|(zxid, _)| zxid.0).collect()
    }
}

fn durable(upto: i64) -> LogFact {
    LogFact::Durable { upto: Zxid(upto) }
}

fn cut(end: i64) -> LogFact {
    LogFact::Cut { end: Zxid(end) }
}

#[test]
fn batches_that_wait_share_a_frame() {
    let mut story = Story::open(BTreeMap::new());
    for first in [1, 3, 5, 7] {
        story.append(first, 2, 100);
    }
    assert_eq!(story.under_way(), [(1, 2), (3, 4)], "written at once while slots are free");
    assert_eq!(story.complete(0), [durable(2)]);
    assert_eq!(story.under_way(), [(3, 4), (5, 8)], "the rest in one frame");
    assert_eq!(story.settle(), [durable(4), durable(8)]);
}

#[test]
fn a_new_epoch_begins_a_new_frame() {
    let mut story = Story::open(BTreeMap::new());
    let second = 1 << 32 | 1;
    for first in [1, 2, 3, second] {
        story.append(first, 1, 10);
    }
    story.complete(0);
    story.complete(0);
    assert_eq!(story.under_way(), [(3, 3), (second, second)]);
}

#[test]
fn acknowledged_in_order_however_the_disk_answers() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 1, 10);
    story.append(2, 1, 10);
    assert_eq!(story.complete(1), [], "2 is there, 1 is not");
    assert_eq!(story.log.durable(), Zxid::ZERO);
    assert_eq!(story.complete(0), [durable(2)]);
}

#[test]
fn a_batch_above_the_cap_is_split_and_an_entry_above_it_is_not() {
    let settings = LogSettings { segment_bytes: 8 << 20, ..SETTINGS };
    let contents = Contents::read(Vec::new(), &Inline).expect("fresh");
    let mut story = Story::open(BTreeMap::new());
    story.log = contents.resume(settings, Zxid::ZERO, 0, &[]);
    story.files.clear();
    let mut out = Vec::new();
    story.log.start(&mut out);
    story.carry_out(out);
    story.append(1, 3, 500_000);
    assert_eq!(story.under_way(), [(1, 2), (3, 3)]);
    story.settle();
    story.append(4, 2, 2_000_000);
    assert_eq!(story.under_way(), [(4, 4), (5, 5)]);
    story.settle();
    assert_eq!(story.found(), [1, 2, 3, 4, 5]);
}

#[test]
fn truncation_cuts_what_is_durable_under_way_and_waiting() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 4, 10);
    story.settle();
    story.append(5, 2, 10);
    story.append(7, 2, 10);
    story.append(9, 2, 10);
    let mut out = Vec::new();
    assert_eq!(story.log.truncate(Zxid(3), &mut out), Zxid(3));
    assert!(out.is_empty(), "no slot is free");
    assert_eq!((story.log.appended(), story.log.durable()), (Zxid(3), Zxid(3)));
    story.append(4, 1, 10);
    assert_eq!(story.complete(0), [], "what is forgotten is not reported");
    assert_eq!(story.complete(0), []);
    assert_eq!(story.complete(0), [cut(3)], "the truncation itself");
    assert_eq!(story.settle(), [durable(4)]);
    assert_eq!(story.found(), [1, 2, 3, 4]);
}

#[test]
fn a_reset_forgets_everything_and_goes_on_elsewhere() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 4, 10);
    story.settle();
    let mut out = Vec::new();
    story.log.reset(Zxid(100), &mut out);
    story.carry_out(out);
    assert_eq!(story.settle(), [cut(100)]);
    story.append(101, 2, 10);
    story.settle();
    assert_eq!(story.found(), [101, 102]);
    let reopened = Story::open(story.files);
    assert_eq!(reopened.log.appended(), Zxid(102));
}

#[test]
fn every_cut_is_reported_in_its_place() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 6, 10);
    story.settle();
    story.append(7, 1, 10);
    let mut out = Vec::new();
    story.log.truncate(Zxid(5), &mut out);
    story.log.truncate(Zxid(2), &mut out);
    story.carry_out(out);
    story.append(3, 1, 10);
    assert_eq!(story.settle(), [cut(5), cut(2), durable(3)]);
    assert_eq!(story.found(), [1, 2, 3]);
}

/// The leader's history and the own one may part between two epochs: the entry to cut at is then
/// not there, and the caller must learn where the log really ends.
#[test]
fn a_truncation_to_an_entry_that_is_not_there_ends_before_it() {
    let mut story = Story::open(BTreeMap::new());
    let second = 1 << 32 | 1;
    story.append(1, 5, 10);
    story.append(second, 3, 10);
    story.settle();
    let mut out = Vec::new();
    assert_eq!(story.log.truncate(Zxid(7), &mut out), Zxid(5));
    assert_eq!((story.log.appended(), story.log.durable()), (Zxid(5), Zxid(5)));
    story.carry_out(out);
    assert_eq!(story.settle(), [cut(5)]);
    assert_eq!(story.found(), [1, 2, 3, 4, 5]);
    let mut reopened = Story::open(story.files);
    assert_eq!(reopened.log.appended(), Zxid(5));
    assert_eq!(reopened.log.truncate(Zxid(0), &mut Vec::new()), Zxid(0), "all of it is there");
}

/// Without a state to go back to, cutting would lose what was acknowledged.
#[test]
fn a_truncation_to_before_the_oldest_snapshot_cuts_nothing() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 5, 10);
    story.settle();
    let mut out = Vec::new();
    story.log.release(Zxid(3), &mut out);
    assert_eq!(story.log.truncate(Zxid(2), &mut out), Zxid(5));
    story.carry_out(out);
    assert_eq!(story.settle(), [cut(5)]);
    assert_eq!(story.found(), [1, 2, 3, 4, 5]);
    let mut out = Vec::new();
    assert_eq!(story.log.truncate(Zxid(3), &mut out), Zxid(3));
    story.log.reset(Zxid(50), &mut out);
    assert_eq!(story.log.truncate(Zxid(40), &mut out), Zxid(50));
    story.carry_out(out);
    assert_eq!(story.settle(), [cut(3), cut(50), cut(50)]);
}

#[test]
fn covered_segments_go_and_the_live_one_stays() {
    let mut story = Story::open(BTreeMap::new());
    let mut out = Vec::new();
    let mut zxid = 0;
    while story.files.len() < 5 {
        zxid += 1;
        story.append(zxid, 1, 30_000);
        story.settle();
    }
    // Two frames of 32 KiB fill a segment: 1-2, 3-4, 5-6, and 7 is in the fourth.
    assert_eq!(zxid, 7);
    story.log.release(Zxid(3), &mut out);
    story.carry_out(std::mem::take(&mut out));
    assert_eq!(story.removed, [1]);
    story.log.release(Zxid(7), &mut out);
    story.carry_out(out);
    assert_eq!(story.removed, [1, 2, 3]);
    assert_eq!(story.found(), [7]);
    let reopened = Story::open(story.files);
    assert_eq!(reopened.log.appended(), Zxid(7));
}

#[test]
fn a_segment_stays_until_a_later_frame_is_durable() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 1, 60_000);
    story.settle();
    story.append(2, 1, 60_000);
    let mut out = Vec::new();
    story.log.release(Zxid(1), &mut out);
    assert!(out.is_empty(), "frame 2 is not durable: it may never have been written");
    story.settle();
    story.log.release(Zxid(1), &mut out);
    assert!(matches!(&out[..], [DiskOp::RemoveSegment { segment: SegmentId(1), .. }]));
}

#[test]
fn others_completions_are_ignored() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 1, 10);
    let token = DiskToken(story.writes[0].0.0 & !DiskToken::LOG_BIT);
    let (mut out, mut facts) = (Vec::new(), Vec::new());
    story.log.done(&DiskDone { token, result: Ok(DiskFact::Done) }, &mut out, &mut facts);
    assert!(out.is_empty() && facts.is_empty());
}

#[test]
fn new_bytes_are_counted_until_a_snapshot() {
    let mut story = Story::open(BTreeMap::new());
    story.append(1, 3, 100);
    assert_eq!(story.log.bytes_since_snapshot(), 300);
    story.log.release(Zxid(1), &mut Vec::new());
    assert_eq!(story.log.bytes_since_snapshot(), 0);
}
