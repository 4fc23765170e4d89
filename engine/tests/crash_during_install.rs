//! A state received from a leader takes the place of the own history at one moment: wherever the
//! server stops on the way, it finds wholly the one or wholly the other, and what it was told is
//! durable stays.

mod common;

use common::node::{Author, describe, settings};
use common::{Dice, MemoryDisk, batch};
use engine::disk::{DiskOp, DiskToken};
use engine::log::{Log, LogFact, LogSettings};
use engine::recover::{Inline, RecoverError, Recovered, recover};
use engine::snapshot::zookeeper::{SnapshotIntake, SnapshotStream};
use engine::{Draft, Version};
use model::Zxid;

const LOG: LogSettings = LogSettings { segment_bytes: 64 << 10, writes_max: 2, log_id: 0x99 };
const TOKEN: DiskToken = DiskToken(7);

fn open(disk: &MemoryDisk) -> Result<Recovered, RecoverError> {
    recover(&disk.image(), settings(), LOG, &Inline)
}

/// The server stops.
struct Stopped;

/// A disk that stops after so many completions.
struct Run {
    disk: MemoryDisk,
    log: Log,
    left: usize,
}

impl Run {
    fn settle(&mut self, out: &mut Vec<DiskOp>) -> Result<Vec<LogFact>, Stopped> {
        let mut facts = Vec::new();
        self.disk.submit(out);
        while !self.disk.pending.is_empty() {
            self.left = self.left.checked_sub(1).ok_or(Stopped)?;
            let done = self.disk.complete(0);
            self.log.done(&done, out, &mut facts);
            self.disk.submit(out);
        }
        Ok(facts)
    }
}

/// Which history a recovery may find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum May {
    Old,
    Either,
    New,
}

/// What a server does with a received state, op by op.
fn install(run: &mut Run, received: &Version, may: &mut May) -> Result<(), Stopped> {
    let zxid = received.zxid();
    let (token, version) = (TOKEN, received.clone());
    let mut out = vec![DiskOp::WriteSnapshot { token, version, incoming: true }];
    run.settle(&mut out)?;
    *may = May::Either;
    run.log.reset(zxid, &mut out);
    assert_eq!(run.settle(&mut out)?, [LogFact::Cut { end: zxid }]);
    *may = May::New;
    let older: Vec<Zxid> = run.disk.snapshots.keys().copied().filter(|z| *z != zxid).collect();
    run.settle(&mut vec![DiskOp::AdoptSnapshot { token, zxid }])?;
    let mut removals: Vec<DiskOp> =
        older.into_iter().map(|zxid| DiskOp::RemoveSnapshot { token, zxid }).collect();
    run.settle(&mut removals)?;
    run.log.release(zxid, &mut out);
    run.settle(&mut out)?;
    Ok(())
}

/// What a server does after recovery with what it was told to adopt and to remove.
fn tidy_up(disk: &mut MemoryDisk, recovered: &Recovered) {
    let report = &recovered.report;
    let token = TOKEN;
    let adopt = report.adopt.map(|zxid| DiskOp::AdoptSnapshot { token, zxid });
    let bad = report.unusable.iter().map(|&zxid| DiskOp::RemoveSnapshot { token, zxid });
    let left = report.unusable_incoming.iter();
    let left = left.map(|&zxid| DiskOp::RemoveIncoming { token, zxid });
    disk.submit(&mut adopt.into_iter().chain(bad).chain(left).collect());
    while !disk.pending.is_empty() {
        disk.complete(0);
    }
}

/// The states of a follower and of a leader that knew the first `common` of its entries.
struct Story {
    disk: MemoryDisk,
    old: Version,
    /// As the leader sent it.
    received: Version,
    leader: Author,
}

impl Story {
    /// `own` entries, snapshots after some of them, `foreign` entries of the leader.
    fn new(own: usize, snapshots: &[usize], common: usize, foreign: usize, reign: bool) -> Story {
        let mut dice = Dice(own as u64 * 31 + foreign as u64);
        let mut author = Author::new(Draft::new(settings()));
        let mut leader = Draft::new(settings());
        let mut run = Run {
            disk: MemoryDisk::default(),
            log: open(&MemoryDisk::default()).expect("a fresh node").log,
            left: usize::MAX,
        };
        let mut out = Vec::new();
        run.log.start(&mut out);
        for number in 1..=own {
            let (zxid, entry) = author.write(&mut dice);
            if number == common {
                leader.reset(&author.draft.freeze());
            }
            run.log.append(batch(zxid, &[entry]), &mut out);
            assert!(run.settle(&mut out).is_ok());
            if snapshots.contains(&number) {
                let version = author.draft.freeze();
                let op = DiskOp::WriteSnapshot { token: TOKEN, version, incoming: false };
                assert!(run.settle(&mut vec![op]).is_ok());
            }
        }
        let mut leader = Author::new(leader);
        if reign {
            leader.new_epoch();
        }
        for _ in 0..foreign {
            leader.write(&mut dice);
        }
        let version = leader.draft.freeze();
        let mut stream = SnapshotStream::new(version.clone());
        let mut intake = SnapshotIntake::new(settings());
        let mut piece = Vec::new();
        while stream.next(&mut piece) {
            intake.push(&piece).expect("sound");
            piece.clear();
        }
        intake.finish().expect("whole");
        let received = intake.into_draft(version.zxid()).freeze();
        Story { disk: run.disk, old: author.draft.freeze(), received, leader }
    }

    fn check(&self, disk: &MemoryDisk, may: May, what: &str) -> Recovered {
        let mut recovered = match open(disk) {
            Ok(recovered) => recovered,
            Err(error) => panic!("{what}: {error}"),
        };
        let version = recovered.draft.freeze();
        let found = describe(&version);
        let (old, new) = (found == describe(&self.old), found == describe(&self.received));
        match may {
            May::Old => assert!(old, "{what}: the old history"),
            May::Either => assert!(old || new, "{what}: one of the histories"),
            May::New => assert!(new, "{what}: the new history"),
        }
        assert_eq!(recovered.log.appended(), version.zxid(), "{what}");
        recovered
    }
}

/// Own history and the leader's, in all positions to each other.
fn stories() -> Vec<Story> {
    vec![
        // A fresh server.
        Story::new(0, &[], 0, 20, false),
        // Further than the own one, in another epoch; with and without snapshots.
        Story::new(20, &[], 10, 5, true),
        Story::new(20, &[5, 15], 20, 5, true),
        // Less far than the own one and its snapshots.
        Story::new(20, &[15], 5, 3, false),
        Story::new(20, &[3, 15], 5, 0, false),
        // Where the own one has a snapshot.
        Story::new(20, &[8], 8, 0, false),
        Story::new(20, &[8], 5, 3, false),
        // Exactly as far, and another one.
        Story::new(20, &[15, 20], 10, 10, false),
    ]
}

#[test]
fn a_crash_at_any_point_leaves_one_history_whole() {
    for (number, story) in stories().iter().enumerate() {
        let mut points = 0;
        loop {
            let mut finished = false;
            for seed in 0..12 {
                let what = format!("story {number}, {points} steps, seed {seed}");
                let mut disk = story.disk.clone();
                let log = open(&disk).expect("the old history").log;
                let mut run = Run { disk: std::mem::take(&mut disk), log, left: points };
                let mut may = May::Old;
                finished = install(&mut run, &story.received, &mut may).is_ok();
                assert!(!finished || may == May::New);
                let mut disk = run.disk;
                disk.crash(&mut Dice(seed));
                let mut recovered = story.check(&disk, may, &what);

                // Told what to do with the rest, it does so once, perhaps with another crash.
                let is_new = describe(&recovered.draft.freeze()) == describe(&story.received);
                let now = if is_new { May::New } else { May::Old };
                assert_eq!(recovered.report.adopt.is_some(), is_new && !disk.incoming.is_empty());
                let again = story.check(&disk.clone(), now, &what);
                assert_eq!(again.report, recovered.report, "{what}");
                tidy_up(&mut disk, &recovered);
                let report = story.check(&disk, now, &what).report;
                assert_eq!((report.adopt, &report.unusable_incoming[..]), (None, &[][..]));
                assert_eq!((report.unusable, disk.incoming.len()), (vec![], 0), "{what}");
            }
            if finished {
                break;
            }
            points += 1;
        }
        assert!(points >= 3, "there was something to interrupt");
    }
}

/// The history goes on behind the received state, and it may go on before the state is adopted.
#[test]
fn entries_follow_a_received_state_before_its_adoption() {
    for (number, mut story) in stories().into_iter().enumerate() {
        for adopt in [false, true] {
            let what = format!("story {number}, {adopt}");
            let log = open(&story.disk).expect("the old history").log;
            let mut run = Run { disk: story.disk.clone(), log, left: usize::MAX };
            let zxid = story.received.zxid();
            let (token, version) = (TOKEN, story.received.clone());
            let mut out = vec![DiskOp::WriteSnapshot { token, version, incoming: true }];
            assert!(run.settle(&mut out).is_ok());
            run.log.reset(zxid, &mut out);
            let mut dice = Dice(3);
            story.leader.draft.reset(&story.received);
            for _ in 0..10 {
                let (zxid, entry) = story.leader.write(&mut dice);
                run.log.append(batch(zxid, &[entry]), &mut out);
            }
            assert!(run.settle(&mut out).is_ok());
            if adopt {
                assert!(run.settle(&mut vec![DiskOp::AdoptSnapshot { token, zxid }]).is_ok());
            }
            let mut recovered = open(&run.disk).expect("sound");
            let version = recovered.draft.freeze();
            assert_eq!(describe(&version), describe(&story.leader.draft.freeze()), "{what}");
            assert_eq!(recovered.report.adopt, (!adopt).then_some(zxid), "{what}");
            assert_eq!(recovered.report.snapshot, zxid, "{what}");
            assert_eq!(recovered.past.base.zxid(), zxid);
            assert_eq!(recovered.past.tail.iter().map(model::Batch::count).sum::<usize>(), 10);
            // Nothing before the received state can be returned to.
            let to = Zxid(zxid.0 - 1);
            assert_eq!(recovered.log.truncate(to, &mut Vec::new()), version.zxid(), "{what}");
            assert_eq!(recovered.log.truncate(zxid, &mut Vec::new()), zxid, "{what}");
        }
    }
}

/// Without the state that the reset names, what is left is not a history.
#[test]
fn a_reset_whose_state_is_lost_is_refused() {
    let story = Story::new(20, &[3, 15], 5, 0, false);
    let log = open(&story.disk).expect("the old history").log;
    let mut run = Run { disk: story.disk.clone(), log, left: usize::MAX };
    let mut may = May::Old;
    assert!(install(&mut run, &story.received, &mut may).is_ok());
    let mut disk = run.disk;
    // Snapshots of the old history whose removal did not happen.
    disk.snapshots.extend(story.disk.snapshots.clone());
    let report = story.check(&disk, May::New, "with leftovers").report;
    assert_eq!(report.unusable.len(), 2, "{report:?}");
    let kept = story.received.zxid();
    for byte in disk.snapshots.get_mut(&kept).expect("adopted") {
        *byte = 0;
    }
    let gap = open(&disk).err().expect("the received state is gone");
    assert!(matches!(gap, RecoverError::Gap { .. }), "{gap}");
}

/// A leftover of a transfer that broke off is never used, even if the log was reset before: to
/// the state of another transfer.
#[test]
fn a_leftover_of_another_transfer_is_not_used() {
    let story = Story::new(20, &[15], 10, 5, true);
    let log = open(&story.disk).expect("the old history").log;
    let mut run = Run { disk: story.disk.clone(), log, left: usize::MAX };
    let other = Story::new(3, &[], 0, 30, true).received;
    assert_ne!(other.zxid(), story.received.zxid());
    let op = DiskOp::WriteSnapshot { token: TOKEN, version: other.clone(), incoming: true };
    assert!(run.settle(&mut vec![op]).is_ok());
    let mut may = May::Old;
    assert!(install(&mut run, &story.received, &mut may).is_ok());
    let recovered = story.check(&run.disk, May::New, "one that was left");
    assert_eq!(recovered.report.unusable_incoming, [other.zxid()]);
    assert_eq!(recovered.report.adopt, None);
    assert_eq!(recovered.report.warnings.len(), 1, "{:?}", recovered.report.warnings);
}
