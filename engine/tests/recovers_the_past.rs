//! What recovery tells a member of an ensemble about the time before: its promises, the last
//! entries of its log, and the state directly before them.

mod common;

use common::node::{Author, Entries, describe, settings};
use common::{Dice, MemoryDisk, batch, snapshot_bytes};
use engine::disk::{DiskOp, DiskToken};
use engine::epochs::Epochs;
use engine::log::{Log, LogSettings};
use engine::recover::{
    DiskImage, Inline, RecoverError, Recovered, TAIL_BATCH_BYTES_MAX, TAIL_BYTES_MAX,
    TAIL_ENTRIES_MAX, recover,
};
use engine::{Draft, Effects};
use model::{Epoch, Op, SessionId, Zxid, txn};
use proptest::prelude::*;

const LOG: LogSettings = LogSettings { segment_bytes: 16 << 20, writes_max: 4, log_id: 0x99 };

fn open(image: &DiskImage, log: LogSettings) -> Recovered {
    recover(image, settings(), log, &Inline).expect("sound files")
}

fn settle(disk: &mut MemoryDisk, log: &mut Log, out: &mut Vec<DiskOp>) {
    disk.submit(out);
    while !disk.pending.is_empty() {
        let done = disk.complete(0);
        log.done(&done, out, &mut Vec::new());
        disk.submit(out);
    }
}

/// The tail, entry by entry, leads from the base to the end. Returns the entries.
fn check(recovered: &mut Recovered) -> Entries {
    let past = &recovered.past;
    assert_eq!(past.base.digest(), engine::digest::of_tree(past.base.view()));
    let mut entries = Entries::new();
    let mut state = Draft::new(settings());
    state.reset(&past.base);
    for batch in &past.tail {
        assert_eq!(batch.first().epoch(), batch.last().epoch());
        assert!(batch.count() == 1 || batch.bytes().len() <= TAIL_BATCH_BYTES_MAX);
        for (zxid, entry) in batch.entries() {
            assert!(zxid > state.tables().zxid, "in order");
            let (header, txn, _) = txn::decode_entry(entry).expect("entries decode");
            assert_eq!(header.zxid, zxid);
            state.apply(&header, &txn, &mut Effects::default());
            entries.push((zxid, entry.to_vec()));
        }
    }
    let end = recovered.draft.freeze();
    assert_eq!(describe(&state.freeze()), describe(&end));
    assert_eq!(end.zxid(), recovered.log.appended());
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_tail_leads_from_the_base_to_the_end(seed: u64) {
        let mut dice = Dice(seed);
        let settings_of_log = LogSettings { segment_bytes: 64 << 10, ..LOG };
        let mut disk = MemoryDisk::default();
        let mut log = open(&disk.image(), settings_of_log).log;
        let mut author = Author::new(Draft::new(settings()));
        let mut history = Entries::new();
        let mut out = Vec::new();
        let mut snapshot = Zxid::ZERO;
        for _ in 0..dice.below(150) {
            match dice.below(30) {
                0 => author.new_epoch(),
                1 => {
                    let version = author.draft.freeze();
                    snapshot = version.zxid();
                    disk.snapshots.insert(snapshot, snapshot_bytes(version));
                }
                2 => {
                    // A follower that was ahead goes back.
                    let version = author.draft.freeze();
                    let more: Vec<_> = (0..3).map(|_| author.write(&mut dice)).collect();
                    for (zxid, entry) in more {
                        log.append(batch(zxid, &[entry]), &mut out);
                    }
                    let to = version.zxid();
                    author.draft.reset(&version);
                    prop_assert_eq!(log.truncate(to, &mut out), to);
                    author.new_epoch();
                }
                _ => {
                    let (zxid, entry) = author.write(&mut dice);
                    log.append(batch(zxid, std::slice::from_ref(&entry)), &mut out);
                    history.push((zxid, entry));
                }
            }
            settle(&mut disk, &mut log, &mut out);
        }
        let mut recovered = open(&disk.image(), settings_of_log);
        prop_assert_eq!(recovered.past.epochs, Epochs::default());
        prop_assert_eq!(recovered.past.base.zxid(), snapshot);
        history.retain(|(zxid, _)| *zxid > snapshot);
        prop_assert_eq!(check(&mut recovered), history);
    }
}

/// Files with these entries.
fn files(count: usize, data: usize) -> DiskImage {
    let mut disk = MemoryDisk::default();
    let mut log = open(&disk.image(), LOG).log;
    let mut author = Author::new(Draft::new(settings()));
    let mut out = Vec::new();
    let session = SessionId(7);
    let data = vec![1; data];
    for number in 0..count {
        let op = if number == 0 {
            Op::CreateSession { timeout_ms: 4000 }
        } else {
            Op::SetData { path: b"/", data: Some(&data), version: -1 }
        };
        let (zxid, entry) = author.decide(&op, session);
        log.append(batch(zxid, &[entry]), &mut out);
        if number % 64 == 0 {
            settle(&mut disk, &mut log, &mut out);
        }
    }
    settle(&mut disk, &mut log, &mut out);
    disk.image()
}

#[test]
fn the_tail_is_bounded_in_entries() {
    let mut recovered = open(&files(TAIL_ENTRIES_MAX + 10, 1), LOG);
    let entries = check(&mut recovered);
    assert_eq!((recovered.past.base.zxid(), entries.len()), (Zxid(10), TAIL_ENTRIES_MAX));
    let batches = recovered.past.tail.len();
    assert!((2..20).contains(&batches), "{batches}");
}

#[test]
fn the_tail_is_bounded_in_bytes() {
    let mut recovered = open(&files(40, 1 << 20), LOG);
    let entries = check(&mut recovered);
    let bytes: usize = entries.iter().map(|(_, entry)| entry.len()).sum();
    assert!(bytes <= TAIL_BYTES_MAX && bytes > TAIL_BYTES_MAX - (2 << 20), "{bytes}");
    assert_eq!(recovered.past.base.zxid().0 + entries.len() as i64, 40);
}

#[test]
fn promises_are_read_back() {
    let promised = |revision| Epochs { revision, accepted: Epoch(9), current: Epoch(8) };
    let mut disk = MemoryDisk::default();
    let ops = promised(1).replace([DiskToken(1), DiskToken(2)]);
    disk.submit(&mut ops.into());
    disk.complete(0);
    disk.complete(0);
    // The second change stops half way.
    disk.submit(&mut promised(2).replace([DiskToken(3), DiskToken(4)]).into());
    disk.complete(1);
    let mut image = disk.image();
    assert_eq!(open(&image, LOG).past.epochs, promised(2));
    image.epochs[1] = None;
    assert_eq!(open(&image, LOG).past.epochs, promised(1));
    image.epochs[0].as_mut().expect("written")[20] ^= 1;
    let error = recover(&image, settings(), LOG, &Inline).err().expect("what was promised?");
    assert!(matches!(error, RecoverError::EpochsDamaged(_)), "{error}");
    image.epochs = [Some(Vec::new()), None];
    assert!(recover(&image, settings(), LOG, &Inline).is_err(), "an empty file is damage");
}

/// A state under the log that is not the one which the log was written on: the replay finds it,
/// and says where first. A server on its own refuses it; a member is told.
#[test]
fn a_state_that_is_not_what_the_log_says_is_reported() {
    let mut disk = MemoryDisk::default();
    let mut log = open(&disk.image(), LOG).log;
    let mut author = Author::new(Draft::new(settings()));
    let session = SessionId(7);
    let mut out = Vec::new();
    let mut states = Vec::new();
    for number in 0..6_u8 {
        let data = [number; 9];
        let op = match number {
            0 => Op::CreateSession { timeout_ms: 4000 },
            _ => Op::SetData { path: b"/", data: Some(&data), version: -1 },
        };
        let (zxid, entry) = author.decide(&op, session);
        log.append(batch(zxid, &[entry]), &mut out);
        states.push(author.draft.freeze());
    }
    settle(&mut disk, &mut log, &mut out);
    let sound = open(&disk.image(), LOG);
    assert_eq!(sound.report.differs, None);
    assert_eq!(sound.agreeing().expect("it agrees").report.replayed, 6);

    // A znode that no entry made.
    let below = &states[2];
    let mut draft = Draft::new(settings());
    draft.reset(below);
    let mut stranger = Author::new(draft);
    let op = Op::Create(model::op::Create {
        opcode: model::OpCode::Create,
        path: b"/stranger",
        data: None,
        acl: Some(engine::access::OPEN_LIST),
        mode: model::CreateMode::Persistent,
        sequential: false,
    });
    let (made, _) = stranger.decide(&op, session);
    let (tree, tables) = {
        let other = stranger.draft.freeze();
        let mut tables = other.tables().clone();
        assert_eq!(tables.zxid, made);
        tables.zxid = below.zxid();
        (other.tree().clone(), tables)
    };
    let other = engine::Version::new(tree, tables);
    disk.snapshots.insert(below.zxid(), snapshot_bytes(other));
    let recovered = open(&disk.image(), LOG);
    assert_eq!(recovered.report.snapshot, below.zxid());
    let found = recovered.report.differs.expect("the digests differ");
    assert_eq!((found.zxid, found.want), (states[3].zxid(), states[3].digest()));
    assert_ne!(found.have, found.want);
    match recovered.agreeing().map(|recovered| recovered.report) {
        Err(RecoverError::DigestMismatch { zxid, have, want }) => {
            assert_eq!((zxid, have, want), (found.zxid, found.have, found.want));
        }
        other => panic!("it must be refused: {other:?}"),
    }
}
