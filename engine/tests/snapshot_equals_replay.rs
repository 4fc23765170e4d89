//! However a state is recovered - from the whole log, or from any of its snapshots and the rest
//! of the log - it is the same state. Nodes crash at any point, with writes and removals half
//! done, over several lives.

mod common;

use common::node::{Author, Entries, describe, settings};
use common::{Dice, MemoryDisk, batch, snapshot_bytes};
use engine::disk::{DiskOp, DiskToken};
use engine::log::{LogFact, LogSettings};
use engine::recover::{DiskImage, Inline, RecoverError, Recovered, recover};
use engine::{Draft, Version};
use model::{Zxid, txn};
use proptest::prelude::*;

const LOG: LogSettings = LogSettings { segment_bytes: 64 << 10, writes_max: 3, log_id: 0x77 };

fn open(image: &DiskImage) -> Result<Recovered, RecoverError> {
    recover(image, settings(), LOG, &Inline)
}

/// The state after these entries, without any file.
fn replay(entries: &Entries) -> Version {
    let mut draft = Draft::new(settings());
    let mut effects = engine::Effects::default();
    for (_, entry) in entries {
        let (header, txn, _) = txn::decode_entry(entry).expect("just encoded");
        draft.apply(&header, &txn, &mut effects);
    }
    draft.freeze()
}

fn lives(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice(seed);
    let mut disk = MemoryDisk::default();
    let mut history: Entries = Vec::new();
    let mut durable = Zxid::ZERO;
    // A snapshot lay before the log's end, as in an ensemble that commits without this server.
    let mut ahead = false;
    for _ in 0..4 {
        let image = disk.image();
        let recovered = open(&image).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (mut draft, mut log) = (recovered.draft, recovered.log);
        let version = draft.freeze();
        prop_assert!(version.zxid() >= durable, "nothing durable is missing");
        history.retain(|(zxid, _)| *zxid <= version.zxid());
        prop_assert_eq!(describe(&version), describe(&replay(&history)));
        prop_assert_eq!(recovered.report.snapshots.len(), image.snapshots.len());
        prop_assert_eq!(version.digest(), engine::digest::of_tree(version.view()));

        // The newest snapshot may be damaged: the one before and a longer log do as well.
        let mut damaged = image;
        if let [.., _, (_, newest)] = &mut damaged.snapshots[..]
            && !ahead
        {
            let mut bytes = (**newest).as_ref().to_vec();
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            *newest = std::sync::Arc::new(bytes);
            let mut other = open(&damaged).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(describe(&other.draft.freeze()), describe(&version));
        }

        let mut author = Author::new(draft);
        let mut out = Vec::new();
        log.start(&mut out);
        let mut taken: Vec<Zxid> = disk.snapshots.keys().copied().collect();
        for _ in 0..dice.below(200) {
            match dice.below(10) {
                0..5 => {
                    if dice.one_in(30) {
                        author.new_epoch();
                    }
                    let (zxid, entry) = author.write(&mut dice);
                    log.append(batch(zxid, std::slice::from_ref(&entry)), &mut out);
                    history.push((zxid, entry));
                }
                5..8 => {
                    let mut facts = Vec::new();
                    if !disk.pending.is_empty() {
                        let done = disk.complete(dice.below(disk.pending.len()));
                        log.done(&done, &mut out, &mut facts);
                    }
                    for fact in facts {
                        if let LogFact::Durable { upto } = fact {
                            durable = upto;
                        }
                    }
                }
                8 if dice.one_in(4) => {
                    while !disk.pending.is_empty() && !dice.one_in(40) {
                        let done = disk.complete(0);
                        log.done(&done, &mut out, &mut Vec::new());
                        disk.submit(&mut out);
                    }
                    durable = log.durable();
                    ahead |= durable < log.appended();
                    let version = author.draft.freeze();
                    let zxid = version.zxid();
                    if !taken.contains(&zxid) {
                        disk.snapshots.insert(zxid, snapshot_bytes(version));
                        taken.push(zxid);
                    }
                    // Two are kept, and the log from the older one on.
                    if let [.., older, _] = taken[..] {
                        log.release(older, &mut out);
                        while taken.len() > 2 {
                            let (token, zxid) = (DiskToken(1), taken.remove(0));
                            out.push(DiskOp::RemoveSnapshot { token, zxid });
                        }
                    }
                }
                _ => {}
            }
            disk.submit(&mut out);
        }
        disk.crash(&mut dice);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_way_of_recovering_gives_the_same_state(seed: u64) {
        lives(seed)?;
    }
}

#[test]
fn without_the_log_behind_it_no_snapshot_can_be_missing() {
    let mut dice = Dice(5);
    let mut author = Author::new(Draft::new(settings()));
    let mut disk = MemoryDisk::default();
    let mut log = open(&disk.image()).expect("a fresh node").log;
    let mut out = Vec::new();
    log.start(&mut out);
    let pump = |log: &mut engine::log::Log, disk: &mut MemoryDisk, out: &mut Vec<DiskOp>| {
        disk.submit(out);
        while !disk.pending.is_empty() {
            let done = disk.complete(0);
            log.done(&done, out, &mut Vec::new());
            disk.submit(out);
        }
    };
    while disk.segments.len() < 4 {
        let (zxid, entry) = author.write(&mut dice);
        log.append(batch(zxid, &[entry]), &mut out);
        pump(&mut log, &mut disk, &mut out);
    }
    let version = author.draft.freeze();
    disk.snapshots.insert(version.zxid(), snapshot_bytes(version.clone()));
    log.release(version.zxid(), &mut out);
    pump(&mut log, &mut disk, &mut out);
    let recovered = open(&disk.image()).expect("the snapshot is whole");
    assert_eq!(recovered.report.snapshot, version.zxid());
    assert_eq!((recovered.report.replayed, recovered.report.warnings.len()), (0, 0));

    disk.snapshots.get_mut(&version.zxid()).expect("written")[300] ^= 1;
    let gap = open(&disk.image()).err().expect("entries are missing");
    assert!(matches!(gap, RecoverError::Gap { .. }), "{gap}");
    assert!(gap.to_string().contains("is not used"), "{gap}");
    disk.snapshots.clear();
    let gap = open(&disk.image()).err().expect("entries are missing");
    assert!(matches!(gap, RecoverError::Gap { .. }), "{gap}");
}
