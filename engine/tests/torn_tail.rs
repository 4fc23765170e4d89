//! Where the log stops being readable: a torn tail is cut, a hole in what had been acknowledged is
//! refused, and whatever else is in the files, nothing panics.

mod common;

use common::node::{Author, settings};
use common::{Dice, MemoryDisk, batch, snapshot_bytes};
use engine::Draft;
use engine::disk::SegmentId;
use engine::log::recover::Contents;
use engine::log::{LogFact, LogSettings};
use engine::recover::{Inline, RecoverError, recover};
use model::Zxid;
use proptest::prelude::*;

const SETTINGS: LogSettings = LogSettings { segment_bytes: 128 << 10, writes_max: 1, log_id: 3 };
const BLOCK: usize = 4096;

/// A disk with entries 1 to `count`, a frame of one block each, every one acknowledged before the
/// next was made.
fn one_by_one(count: i64) -> MemoryDisk {
    let mut disk = MemoryDisk::default();
    let contents = Contents::read(disk.log(), &Inline).expect("an empty disk is a fresh log");
    let mut log = contents.resume(SETTINGS, Zxid::ZERO, 0, &[]);
    let (mut out, mut facts) = (Vec::new(), Vec::new());
    log.start(&mut out);
    for zxid in 1..=count {
        log.append(batch(Zxid(zxid), &[vec![zxid as u8; 3000]]), &mut out);
        disk.submit(&mut out);
        while !disk.pending.is_empty() {
            let done = disk.complete(0);
            log.done(&done, &mut out, &mut facts);
            disk.submit(&mut out);
        }
    }
    assert_eq!(facts.last(), Some(&LogFact::Durable { upto: Zxid(count) }));
    disk
}

fn position(disk: &MemoryDisk) -> Result<Zxid, RecoverError> {
    Contents::read(disk.log(), &Inline).map(|contents| contents.position())
}

/// Flips a bit of the frame of an entry.
fn damage(disk: &mut MemoryDisk, entry: usize, byte: usize) {
    let file = disk.segments.get_mut(&SegmentId(1)).expect("the first segment");
    file[(entry - 1) * BLOCK + byte] ^= 0x10;
}

#[test]
fn the_last_frame_torn_anywhere_is_cut() {
    for byte in [0, 50, 127, 128, 131, 132, 3000] {
        let mut disk = one_by_one(5);
        damage(&mut disk, 5, byte);
        let contents = Contents::read(disk.log(), &Inline).expect("a torn tail is no error");
        assert_eq!(contents.position(), Zxid(4), "byte {byte}");
        assert_eq!(contents.warnings().len(), 1, "byte {byte}");
        assert!(contents.warnings()[0].contains("cut after 0:4"), "{:?}", contents.warnings());
    }
    let contents = one_by_one(5);
    let contents = Contents::read(contents.log(), &Inline).expect("sound");
    assert_eq!((contents.position(), contents.warnings().len()), (Zxid(5), 0));
}

#[test]
fn damage_before_an_acknowledged_frame_is_refused() {
    // Frame 5 was made when 4 was durable, so it vouches for 1 to 4.
    for entry in 1..=4 {
        for byte in [0, 90, 200] {
            let mut disk = one_by_one(5);
            damage(&mut disk, entry, byte);
            let offset = ((entry - 1) * BLOCK) as u64;
            let want = RecoverError::LogDamaged { segment: SegmentId(1), offset };
            assert_eq!(position(&disk), Err(want), "entry {entry}, byte {byte}");
        }
    }
}

#[test]
fn a_hole_is_noticed_across_segments() {
    let mut disk = one_by_one(40);
    damage(&mut disk, 30, 0);
    let offset = 29 * BLOCK as u64;
    let want = RecoverError::LogDamaged { segment: SegmentId(1), offset };
    assert_eq!(position(&disk), Err(want));
    // A whole segment's content gone.
    let mut disk = one_by_one(40);
    disk.segments.get_mut(&SegmentId(1)).expect("there").fill(0);
    let want = RecoverError::LogDamaged { segment: SegmentId(1), offset: 0 };
    assert_eq!(position(&disk), Err(want));
}

/// Nothing behind the end proves that acknowledged frames were there: the file's own size does.
#[test]
fn a_segment_that_was_cut_off_is_refused() {
    let made = SETTINGS.segment_bytes;
    for bytes in [0, 100, 4096, 2 * 4096, 2 * 4096 + 1, 5 * 4096, made - 4096] {
        let mut disk = one_by_one(5);
        disk.segments.remove(&SegmentId(2));
        disk.segments.get_mut(&SegmentId(1)).expect("there").truncate(bytes as usize);
        let whole = bytes > 0 && bytes.is_multiple_of(4096);
        let made = whole.then_some(made);
        let want = RecoverError::SegmentCutOff { segment: SegmentId(1), bytes, made };
        assert_eq!(position(&disk), Err(want));
    }
}

#[test]
fn a_frame_in_the_wrong_place_is_not_accepted() {
    let mut disk = one_by_one(5);
    let file = disk.segments.get_mut(&SegmentId(1)).expect("there");
    file.copy_within(0..BLOCK, 5 * BLOCK);
    assert_eq!(position(&disk), Ok(Zxid(5)));
    let bytes = disk.segments[&SegmentId(1)].clone();
    disk.segments.insert(SegmentId(2), bytes);
    assert_eq!(position(&disk), Ok(Zxid(5)));
}

/// A client that knows the format puts a frame into its data. Without the log's id it is only
/// data, wherever a crash leaves it.
#[test]
fn data_that_looks_like_a_frame_proves_nothing() {
    let other = one_by_one(9);
    let forged = other.segments[&SegmentId(1)][8 * BLOCK..9 * BLOCK].to_vec();
    let mut disk = MemoryDisk::default();
    let contents = Contents::read(disk.log(), &Inline).expect("fresh");
    let mine = LogSettings { log_id: 0xfeed, ..SETTINGS };
    let mut log = contents.resume(mine, Zxid::ZERO, 0, &[]);
    let mut out = Vec::new();
    log.start(&mut out);
    for zxid in 1..=2 {
        let entry = if zxid == 1 { vec![1; 10] } else { forged.repeat(20) };
        log.append(batch(Zxid(zxid), &[entry]), &mut out);
        disk.submit(&mut out);
        while !disk.pending.is_empty() {
            let done = disk.complete(0);
            log.done(&done, &mut out, &mut Vec::new());
            disk.submit(&mut out);
        }
    }
    // Shift the payload so that forged blocks lie on block boundaries, at their own addresses.
    let file = disk.segments.get_mut(&SegmentId(1)).expect("there");
    for at in (2 * BLOCK..20 * BLOCK).step_by(BLOCK) {
        file[at..at + BLOCK].copy_from_slice(&forged);
    }
    assert_eq!(position(&disk), Ok(Zxid(1)));
}

#[test]
fn an_unknown_version_is_refused() {
    let mut disk = one_by_one(3);
    let file = disk.segments.get_mut(&SegmentId(1)).expect("there");
    let header = &mut file[2 * BLOCK..2 * BLOCK + 128];
    header[8] = 2;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..12]);
    crc.update(&header[16..]);
    let crc = crc.finalize().to_le_bytes();
    header[12..16].copy_from_slice(&crc);
    let refused = position(&disk).expect_err("not to be cut as if it were torn");
    assert!(matches!(&refused, RecoverError::UnknownFormat(_)), "{refused}");
    assert!(refused.to_string().contains("at byte 8192 a frame of version 2"), "{refused}");
}

/// A node's disk with a snapshot and a log behind it.
fn node(seed: u64) -> MemoryDisk {
    let mut dice = Dice(seed);
    let mut disk = MemoryDisk::default();
    let mut author = Author::new(Draft::new(settings()));
    let contents = Contents::read(disk.log(), &Inline).expect("fresh");
    let mut log = contents.resume(SETTINGS, Zxid::ZERO, 0, &[]);
    let mut out = Vec::new();
    log.start(&mut out);
    for step in 0..60 {
        let (zxid, entry) = author.write(&mut dice);
        log.append(batch(zxid, &[entry]), &mut out);
        disk.submit(&mut out);
        while !disk.pending.is_empty() {
            let done = disk.complete(0);
            log.done(&done, &mut out, &mut Vec::new());
            disk.submit(&mut out);
        }
        if step == 30 {
            disk.snapshots.insert(zxid, snapshot_bytes(author.draft.freeze()));
        }
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_files_are_read_without_panic(
        seed in 0u64..20,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(),
            any::<u8>(), 1usize..40), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut disk = node(seed);
        let mut files: Vec<&mut Vec<u8>> =
            disk.segments.values_mut().chain(disk.snapshots.values_mut()).collect();
        for (file, at, value, length) in edits {
            let count = files.len();
            let file = &mut *files[file.index(count)];
            // Most of a segment is empty: aim at the part that is not.
            let used = file.len() - file.iter().rev().take_while(|&&byte| byte == 0).count();
            let at = at.index(used.max(1));
            let end = (at + length).min(file.len());
            file[at..end].fill(value);
        }
        if let Some(cut) = cut {
            let count = files.len();
            let file = &mut *files[cut.index(count)];
            let length = cut.index(file.len());
            file.truncate(length);
        }
        let _ = recover(&disk.image(), settings(), SETTINGS, &Inline);
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        snapshot: Vec<u8>,
        segments in prop::collection::vec(any::<Vec<u8>>(), 0..3),
    ) {
        let mut disk = MemoryDisk::default();
        disk.snapshots.insert(Zxid(4), snapshot);
        for (id, bytes) in segments.into_iter().enumerate() {
            disk.segments.insert(SegmentId(id as u64 + 1), bytes);
        }
        prop_assert!(recover(&disk.image(), settings(), SETTINGS, &Inline).is_err());
    }
}
