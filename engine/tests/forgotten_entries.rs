//! What a leader told a server to forget stays forgotten: no snapshot and no part of the log brings
//! it back, whenever the process dies (`zab-wire` F-10 and F-11).

mod common;

use common::node::{Author, Entries, describe, settings};
use common::{Dice, MemoryDisk, batch, snapshot_bytes};
use engine::disk::DiskOp;
use engine::log::{Log, LogSettings};
use engine::recover::{Inline, Recovered, recover};
use engine::{Draft, Version};
use model::Zxid;

const LOG: LogSettings = LogSettings { segment_bytes: 64 << 10, writes_max: 2, log_id: 0x77 };

fn open(disk: &MemoryDisk) -> Recovered {
    recover(&disk.image(), settings(), LOG, &Inline).expect("the files are sound")
}

fn settle(log: &mut Log, disk: &mut MemoryDisk, out: &mut Vec<DiskOp>) {
    disk.submit(out);
    while !disk.pending.is_empty() {
        let done = disk.complete(0);
        log.done(&done, out, &mut Vec::new());
        disk.submit(out);
    }
}

/// A server that has logged so many entries.
struct Life {
    disk: MemoryDisk,
    log: Log,
    author: Author,
    dice: Dice,
    out: Vec<DiskOp>,
}

impl Life {
    fn begin(disk: MemoryDisk, seed: u64) -> Life {
        let Recovered { draft, log, .. } = open(&disk);
        let mut life =
            Life { disk, log, author: Author::new(draft), dice: Dice(seed), out: Vec::new() };
        life.log.start(&mut life.out);
        settle(&mut life.log, &mut life.disk, &mut life.out);
        life
    }

    /// Logs so many entries; the versions after each.
    fn write(&mut self, count: usize) -> Vec<Version> {
        let mut versions = Vec::new();
        for _ in 0..count {
            let written: Entries = vec![self.author.write(&mut self.dice)];
            self.log.append(batch(written[0].0, &[written[0].1.clone()]), &mut self.out);
            versions.push(self.author.draft.freeze());
        }
        settle(&mut self.log, &mut self.disk, &mut self.out);
        versions
    }
}

fn recovered(disk: &MemoryDisk) -> (Vec<String>, Zxid, Vec<Zxid>) {
    let mut recovered = open(disk);
    let version = recovered.draft.freeze();
    (describe(&version), version.zxid(), recovered.report.unusable)
}

/// F-10: the log is cut below a snapshot that is there already, and the process dies before the
/// snapshot is removed.
#[test]
fn a_snapshot_above_the_cut_is_not_used() {
    for seed in 0..50 {
        let mut life = Life::begin(MemoryDisk::default(), seed);
        let versions = life.write(8);
        let (kept, above) = (&versions[3], &versions[6]);
        life.disk.snapshots.insert(above.zxid(), snapshot_bytes(above.clone()));
        life.log.truncate(kept.zxid(), &mut life.out);
        settle(&mut life.log, &mut life.disk, &mut life.out);
        assert_eq!(recovered(&life.disk), (describe(kept), kept.zxid(), vec![above.zxid()]));

        // Nor later, when the log has gone on past it in another epoch.
        let mut life = Life::begin(life.disk, seed + 1000);
        life.author.new_epoch();
        let versions = life.write(9);
        let last = versions.last().expect("nine");
        assert_eq!(recovered(&life.disk), (describe(last), last.zxid(), vec![above.zxid()]));
    }
}

/// F-11: a state below the own log's end takes the place of everything.
#[test]
fn a_state_from_a_leader_leaves_nothing_of_the_log_behind_it() {
    for seed in 0..50 {
        // What the leader sends: shorter than what this server has.
        let mut leader = Life::begin(MemoryDisk::default(), seed);
        let sent = leader.write(3).pop().expect("three");

        let mut life = Life::begin(MemoryDisk::default(), seed + 1000);
        let own = life.write(8);
        life.disk.snapshots.insert(own[5].zxid(), snapshot_bytes(own[5].clone()));
        life.disk.snapshots.insert(sent.zxid(), snapshot_bytes(sent.clone()));
        life.log.reset(sent.zxid(), &mut life.out);
        settle(&mut life.log, &mut life.disk, &mut life.out);
        assert_eq!(recovered(&life.disk), (describe(&sent), sent.zxid(), vec![own[5].zxid()]));

        let mut life = Life::begin(life.disk, seed + 2000);
        life.author.new_epoch();
        let last = life.write(6).pop().expect("six");
        assert_eq!(recovered(&life.disk).0, describe(&last));
    }
}

/// Until the cut is durable nothing is forgotten; a crash shows the one or the other.
#[test]
fn a_cut_happens_wholly_or_not_at_all() {
    let mut seen = [0; 2];
    for seed in 0..100 {
        let mut life = Life::begin(MemoryDisk::default(), seed);
        let versions = life.write(8);
        life.log.truncate(versions[3].zxid(), &mut life.out);
        life.disk.submit(&mut life.out);
        life.disk.crash(&mut life.dice);
        let (found, ..) = recovered(&life.disk);
        let which = usize::from(found == describe(&versions[3]));
        assert!(which == 1 || found == describe(&versions[7]));
        seen[which] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// The leader of an ensemble in which nothing was written has a state too.
#[test]
fn an_empty_state_may_be_taken_over_too() {
    let mut life = Life::begin(MemoryDisk::default(), 1);
    life.write(5);
    let empty = Draft::new(settings()).freeze();
    life.disk.snapshots.insert(empty.zxid(), snapshot_bytes(empty.clone()));
    life.log.reset(empty.zxid(), &mut life.out);
    settle(&mut life.log, &mut life.disk, &mut life.out);
    assert_eq!(recovered(&life.disk).0, describe(&empty));
}
