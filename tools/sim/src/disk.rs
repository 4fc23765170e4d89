//! A disk that breaks the way disks break. Files hold what is durable; operations are in flight
//! until the schedule completes them, and a crash leaves any part of them behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::disk::{DiskDone, DiskFact, DiskFault, DiskOp, SegmentId};
use engine::recover::DiskImage;
use engine::snapshot::Writer;
use model::Zxid;

use crate::dice::Dice;
use crate::swarm::Options;

/// Sector size: the unit in which an interrupted write may be torn.
const SECTOR: usize = 512;

/// An operation the node asked for.
struct InFlight {
    op: DiskOp,
    /// True time before which it does not complete, ns.
    ready_at: u64,
}

/// One node's disk.
pub struct SimDisk {
    segments: BTreeMap<SegmentId, Vec<u8>>,
    snapshots: BTreeMap<Zxid, Vec<u8>>,
    in_flight: Vec<InFlight>,
    /// Bits were flipped: a refusal to start is now a right answer.
    damaged: bool,
    /// No space for new segments until this true time, ns.
    full_until: u64,
    dice: Dice,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(dice: Dice) -> SimDisk {
        SimDisk {
            segments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            in_flight: Vec::new(),
            damaged: false,
            full_until: 0,
            dice,
        }
    }

    /// Takes an operation.
    pub fn submit(&mut self, op: DiskOp, now: u64, options: &Options) {
        let mut ready_at = now + self.dice.between(1_000, 300_000);
        if self.dice.per_mille(options.stall) {
            ready_at = now + self.dice.between(100_000_000, 60_000_000_000);
        }
        self.in_flight.push(InFlight { op, ready_at });
    }

    /// Operations that could complete at this true time.
    pub fn ready(&self, now: u64) -> usize {
        self.in_flight.iter().filter(|flight| flight.ready_at <= now).count()
    }

    /// True time at which the next operation can complete.
    pub fn next_ready(&self) -> Option<u64> {
        self.in_flight.iter().map(|flight| flight.ready_at).min()
    }

    /// Was anything damaged beyond what a crash does?
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// Heals what can heal: space returns, stalled operations go on.
    pub fn heal(&mut self, now: u64) {
        self.full_until = 0;
        for flight in &mut self.in_flight {
            flight.ready_at = flight.ready_at.min(now);
        }
    }

    /// Completes one of the ready operations, in any order.
    pub fn complete(&mut self, now: u64, options: &Options, faults: bool) -> Option<DiskDone> {
        let ready: Vec<usize> = (0..self.in_flight.len())
            .filter(|&index| self.in_flight[index].ready_at <= now)
            .collect();
        if ready.is_empty() {
            return None;
        }
        let flight = self.in_flight.remove(ready[self.dice.index(ready.len())]);
        Some(self.finish(flight.op, now, options, faults))
    }

    fn finish(&mut self, op: DiskOp, now: u64, options: &Options, faults: bool) -> DiskDone {
        let fails = faults && self.dice.per_mille(options.disk_error);
        let fault = |what: &str, out_of_space| {
            Err(DiskFault { out_of_space, cause: format!("{what}: simulated fault") })
        };
        let (token, result) = match op {
            DiskOp::PrepareSegment { token, segment, bytes } => {
                if faults && self.full_until <= now && self.dice.per_mille(options.disk_full) {
                    self.full_until = now + self.dice.between(1, 5) * 1_000_000_000;
                }
                if self.full_until > now {
                    (token, fault("prepare segment", true))
                } else {
                    self.segments.insert(segment, vec![0; bytes as usize]);
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::WriteSegment { token, segment, offset, data } => {
                if fails {
                    // A failed write may have happened, wholly, partly or not at all.
                    self.tear(segment, offset, data.as_slice());
                    (token, fault("write segment", false))
                } else {
                    let file =
                        self.segments.get_mut(&segment).expect("writes go to prepared files");
                    let at = offset as usize;
                    file[at..at + data.len()].copy_from_slice(data.as_slice());
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::RemoveSegment { token, segment } => {
                self.segments.remove(&segment);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::WriteSnapshot { token, version } => {
                if self.full_until > now {
                    (token, fault("write snapshot", true))
                } else {
                    let zxid = version.zxid();
                    let bytes = write_snapshot(version);
                    let fact = DiskFact::SnapshotWritten { bytes: bytes.len() as u64 };
                    self.snapshots.insert(zxid, bytes);
                    (token, Ok(fact))
                }
            }
            DiskOp::RemoveSnapshot { token, zxid } => {
                self.snapshots.remove(&zxid);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::ReplaceFile { token, .. } => (token, Ok(DiskFact::Done)),
            DiskOp::MeasureSpace { token } => {
                let free = if self.full_until > now { 0 } else { 1 << 40 };
                (token, Ok(DiskFact::Space { log_free: free, snapshot_free: free }))
            }
        };
        DiskDone { token, result }
    }

    /// Writes any subset of the sectors.
    fn tear(&mut self, segment: SegmentId, offset: u64, data: &[u8]) {
        let Some(file) = self.segments.get_mut(&segment) else { return };
        let mode = self.dice.below(4);
        for (index, sector) in data.chunks(SECTOR).enumerate() {
            let written = match mode {
                0 => false,
                1 => true,
                _ => self.dice.per_mille(500),
            };
            if written {
                let at = offset as usize + index * SECTOR;
                file[at..at + sector.len()].copy_from_slice(sector);
            }
        }
    }

    /// The process dies: what was in flight happened wholly, partly or not at all.
    pub fn crash(&mut self, options: &Options) {
        for flight in std::mem::take(&mut self.in_flight) {
            match flight.op {
                DiskOp::WriteSegment { segment, offset, data, .. } => {
                    self.tear(segment, offset, data.as_slice());
                }
                DiskOp::PrepareSegment { segment, bytes, .. } => {
                    if self.dice.per_mille(300) {
                        self.segments.insert(segment, vec![0; bytes as usize]);
                    }
                }
                DiskOp::RemoveSegment { segment, .. } => {
                    if self.dice.per_mille(500) {
                        self.segments.remove(&segment);
                    }
                }
                DiskOp::RemoveSnapshot { zxid, .. } => {
                    if self.dice.per_mille(500) {
                        self.snapshots.remove(&zxid);
                    }
                }
                // Temporary names vanish: recovery never looks at them.
                DiskOp::WriteSnapshot { .. }
                | DiskOp::ReplaceFile { .. }
                | DiskOp::MeasureSpace { .. } => {}
            }
        }
        if self.dice.per_mille(options.rot) {
            self.rot();
        }
    }

    fn rot(&mut self) {
        let snapshot = self.dice.per_mille(500);
        let dice = &mut self.dice;
        let files: Vec<&mut Vec<u8>> = if snapshot {
            self.snapshots.values_mut().collect()
        } else {
            self.segments.values_mut().collect()
        };
        let count = files.len();
        if count == 0 {
            return;
        }
        let chosen = dice.index(count);
        let file = files.into_iter().nth(chosen).expect("the index is below the count");
        if !file.is_empty() {
            let at = dice.index(file.len());
            file[at] ^= 1 << dice.below(8);
            self.damaged = true;
        }
    }

    /// What a starting process finds.
    pub fn image(&self) -> DiskImage {
        let image = |bytes: &Vec<u8>| -> engine::recover::Image { Arc::new(bytes.clone()) };
        DiskImage {
            snapshots: self.snapshots.iter().map(|(zxid, file)| (*zxid, image(file))).collect(),
            segments: self.segments.iter().map(|(id, file)| (*id, image(file))).collect(),
        }
    }

    /// Snapshots on the disk.
    pub fn snapshot_count(&self) -> usize {
        self.snapshots.len()
    }

    /// Segments on the disk.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

/// A version as the bytes of a snapshot file.
pub fn write_snapshot(version: engine::Version) -> Vec<u8> {
    let mut writer = Writer::new(version);
    let (mut file, mut page) = (Vec::new(), Vec::new());
    while writer.next(&mut page) {
        file.extend_from_slice(&page);
    }
    file
}
