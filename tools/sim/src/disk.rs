//! A disk that breaks the way disks break. Files hold what is durable; operations are in flight
//! until the schedule completes them, and a crash leaves any part of them behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::disk::{DiskDone, DiskFact, DiskFault, DiskOp, EVIDENCE_KEPT, SegmentId, SmallFile};
use engine::epochs::Epochs;
use engine::recover::DiskImage;
use engine::snapshot::Writer;
use model::{Epoch, Zxid};

use crate::dice::Dice;
use crate::swarm::Options;

/// Sector size: the unit in which an interrupted write may be torn.
const SECTOR: usize = 512;
/// The unit in which writes and reads go astray.
const BLOCK: usize = 4096;

/// A write that has reached the file and not the platter.
struct Unsynced {
    segment: SegmentId,
    offset: usize,
    /// What the platter still holds.
    before: Vec<u8>,
}

/// What a starting process meets.
pub enum Reading {
    /// The files.
    Files(DiskImage),
    /// The operating system refused: the process ends and is started again.
    Failed,
}

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
    /// Received states that were not adopted.
    incoming: BTreeMap<Zxid, Vec<u8>>,
    small: BTreeMap<SmallFile, Vec<u8>>,
    evidence: BTreeMap<Zxid, String>,
    in_flight: Vec<InFlight>,
    /// Written since the last sync of the data.
    unsynced: Vec<Unsynced>,
    /// Named since the last sync of the directory.
    unsynced_names: BTreeSet<SegmentId>,
    /// Bits were flipped, blocks went astray: a refusal to start is now a right answer.
    damaged: bool,
    /// No space for new segments until this true time, ns.
    full_until: u64,
    /// Nothing completes before this true time, ns.
    stalled_until: u64,
    /// A story wants the next write to fail.
    fail_next: bool,
    /// Snapshot that was not written by this node.
    placed: Option<Zxid>,
    dice: Dice,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(dice: Dice) -> SimDisk {
        SimDisk {
            segments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            incoming: BTreeMap::new(),
            small: BTreeMap::new(),
            evidence: BTreeMap::new(),
            in_flight: Vec::new(),
            unsynced: Vec::new(),
            unsynced_names: BTreeSet::new(),
            damaged: false,
            full_until: 0,
            stalled_until: 0,
            fail_next: false,
            placed: None,
            dice,
        }
    }

    /// Takes an operation.
    pub fn submit(&mut self, op: DiskOp, now: u64, options: &Options) {
        let mut ready_at = now + self.dice.between(1_000, 300_000);
        if self.dice.per_mille(options.stall) {
            ready_at = now + self.dice.between(100_000_000, 60_000_000_000);
        }
        let ready_at = ready_at.max(self.stalled_until);
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

    /// Every write in flight and to come takes until this true time, ns.
    pub fn stall_until(&mut self, until: u64) {
        for flight in &mut self.in_flight {
            flight.ready_at = flight.ready_at.max(until);
        }
        self.stalled_until = until;
    }

    /// The next write fails.
    pub fn fail_next_write(&mut self) {
        self.fail_next = true;
    }

    /// Heals what can heal: space returns, stalled operations go on.
    pub fn heal(&mut self, now: u64) {
        self.full_until = 0;
        self.stalled_until = 0;
        for flight in &mut self.in_flight {
            flight.ready_at = flight.ready_at.min(now);
        }
    }

    /// Completes one of the ready operations, in any order.
    /// If it was a snapshot, the version that was written comes with it.
    pub fn complete(
        &mut self,
        now: u64,
        options: &Options,
        faults: bool,
    ) -> Option<(DiskDone, Option<engine::Version>)> {
        let ready: Vec<usize> = (0..self.in_flight.len())
            .filter(|&index| self.in_flight[index].ready_at <= now)
            .collect();
        if ready.is_empty() {
            return None;
        }
        let flight = self.in_flight.remove(ready[self.dice.index(ready.len())]);
        let version = match &flight.op {
            DiskOp::WriteSnapshot { version, incoming: false, .. } => Some(version.clone()),
            _ => None,
        };
        let done = self.finish(flight.op, now, options, faults);
        let written = version.filter(|_| done.result.is_ok());
        Some((done, written))
    }

    fn finish(&mut self, op: DiskOp, now: u64, options: &Options, faults: bool) -> DiskDone {
        let write = matches!(op, DiskOp::WriteSegment { .. });
        let fails = (write && std::mem::take(&mut self.fail_next))
            || (faults && self.dice.per_mille(options.disk_error));
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
                    self.unsynced_names.insert(segment);
                    self.sync_directory();
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::WriteSegment { token, segment, offset, data } => {
                if fails {
                    // A failed write may have happened, wholly, partly or not at all.
                    self.tear(segment, offset, data.as_slice());
                    (token, fault("write segment", false))
                } else {
                    let astray = faults && self.dice.per_mille(options.misdirected);
                    let offset =
                        if astray { self.stray(segment, offset, data.len()) } else { offset };
                    self.write(segment, offset as usize, data.as_slice());
                    self.sync_data();
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::RemoveSegment { token, segment } => {
                self.segments.remove(&segment);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::WriteSnapshot { token, version, incoming } => {
                if self.full_until > now {
                    (token, fault("write snapshot", true))
                } else {
                    let bytes = self.name_snapshot(version, incoming);
                    (token, Ok(DiskFact::SnapshotWritten { bytes }))
                }
            }
            DiskOp::AdoptSnapshot { token, zxid } => {
                self.adopt(zxid);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::RemoveIncoming { token, zxid } => {
                self.incoming.remove(&zxid);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::RemoveSnapshot { token, zxid } => {
                self.snapshots.remove(&zxid);
                (token, Ok(DiskFact::Done))
            }
            DiskOp::ReplaceFile { token, file, data } => {
                if fails {
                    (token, fault("replace file", false))
                } else {
                    self.small.insert(file, data);
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::KeepEvidence { token, zxid, text, .. } => {
                if fails || self.full_until > now {
                    (token, fault("keep evidence", !fails))
                } else {
                    self.keep_evidence(zxid, text);
                    (token, Ok(DiskFact::Done))
                }
            }
            DiskOp::MeasureSpace { token } => {
                let free = if self.full_until > now { 0 } else { 1 << 40 };
                (token, Ok(DiskFact::Space { log_free: free, snapshot_free: free }))
            }
        };
        DiskDone { token, result }
    }

    /// Under its name a snapshot is whole. Returns its size.
    fn name_snapshot(&mut self, version: engine::Version, incoming: bool) -> u64 {
        let zxid = version.zxid();
        let file = write_snapshot(version);
        let bytes = file.len() as u64;
        let named = if incoming { &mut self.incoming } else { &mut self.snapshots };
        named.insert(zxid, file);
        bytes
    }

    fn keep_evidence(&mut self, zxid: Zxid, text: String) {
        self.evidence.insert(zxid, text);
        let excess = self.evidence.len().saturating_sub(EVIDENCE_KEPT);
        let old: Vec<Zxid> =
            self.evidence.keys().filter(|kept| **kept != zxid).take(excess).copied().collect();
        for old in old {
            self.evidence.remove(&old);
        }
    }

    /// What was kept about states that differed from a leader's.
    pub fn evidence(&self) -> &BTreeMap<Zxid, String> {
        &self.evidence
    }

    fn adopt(&mut self, zxid: Zxid) {
        if let Some(file) = self.incoming.remove(&zxid) {
            self.snapshots.insert(zxid, file);
        }
    }

    fn write(&mut self, segment: SegmentId, at: usize, data: &[u8]) {
        let file = self.segments.get_mut(&segment).expect("writes go to prepared files");
        let place = &mut file[at..at + data.len()];
        self.unsynced.push(Unsynced { segment, offset: at, before: place.to_vec() });
        place.copy_from_slice(data);
    }

    /// Everything written is on the platter.
    fn sync_data(&mut self) {
        self.unsynced.clear();
    }

    /// Every name is on the platter.
    fn sync_directory(&mut self) {
        self.unsynced_names.clear();
    }

    /// Another place in the same file that such a write may land on by mistake.
    fn stray(&mut self, segment: SegmentId, offset: u64, len: usize) -> u64 {
        let bytes = self.segments.get(&segment).map_or(0, Vec::len);
        let places = bytes.saturating_sub(len) / BLOCK + 1;
        self.damaged = true;
        let place = (self.dice.index(places) * BLOCK) as u64;
        if place == offset { 0 } else { place }
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
                // Named, and the directory perhaps not synced.
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
                DiskOp::AdoptSnapshot { zxid, .. } => {
                    if self.dice.per_mille(500) {
                        self.adopt(zxid);
                    }
                }
                DiskOp::RemoveIncoming { zxid, .. } => {
                    if self.dice.per_mille(500) {
                        self.incoming.remove(&zxid);
                    }
                }
                // A temporary name vanishes.
                DiskOp::WriteSnapshot { version, incoming, .. } => {
                    if self.dice.per_mille(200) {
                        self.name_snapshot(version, incoming);
                    }
                }
                // The one or the other, whole.
                DiskOp::ReplaceFile { file, data, .. } => {
                    if self.dice.per_mille(500) {
                        self.small.insert(file, data);
                    }
                }
                DiskOp::KeepEvidence { zxid, text, .. } => {
                    if self.dice.per_mille(200) {
                        self.keep_evidence(zxid, text);
                    }
                }
                DiskOp::MeasureSpace { .. } => {}
            }
        }
        for lost in std::mem::take(&mut self.unsynced).into_iter().rev() {
            if self.dice.per_mille(500)
                && let Some(file) = self.segments.get_mut(&lost.segment)
            {
                file[lost.offset..lost.offset + lost.before.len()].copy_from_slice(&lost.before);
            }
        }
        for lost in std::mem::take(&mut self.unsynced_names) {
            if self.dice.per_mille(500) {
                self.segments.remove(&lost);
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

    /// What a starting process finds, or that it finds nothing.
    pub fn read(&mut self, options: &Options, faults: bool) -> Reading {
        if faults && self.dice.per_mille(options.read_error) {
            return Reading::Failed;
        }
        let astray = faults && self.dice.per_mille(options.misread);
        let mut image = self.image();
        if astray {
            self.misread(&mut image);
        }
        Reading::Files(image)
    }

    /// What the files hold.
    pub fn image(&self) -> DiskImage {
        let image = |bytes: &Vec<u8>| -> engine::recover::Image { Arc::new(bytes.clone()) };
        DiskImage {
            snapshots: self.snapshots.iter().map(|(zxid, file)| (*zxid, image(file))).collect(),
            segments: self.segments.iter().map(|(id, file)| (*id, image(file))).collect(),
            incoming: self.incoming.iter().map(|(zxid, file)| (*zxid, image(file))).collect(),
            epochs: [SmallFile::EpochA, SmallFile::EpochB]
                .map(|file| self.small.get(&file).cloned()),
        }
    }

    /// One block comes from another place of the same file.
    fn misread(&mut self, image: &mut DiskImage) {
        let snapshot = self.dice.per_mille(300);
        let files: Vec<&mut engine::recover::Image> = if snapshot {
            image.snapshots.iter_mut().map(|(_, file)| file).collect()
        } else {
            image.segments.iter_mut().map(|(_, file)| file).collect()
        };
        let count = files.len();
        let chosen = self.dice.index(count);
        let Some(file) = files.into_iter().nth(chosen) else { return };
        let mut bytes = (**file).as_ref().to_vec();
        let blocks = bytes.len() / BLOCK;
        if blocks < 2 {
            return;
        }
        let (to, from) = (self.dice.index(blocks) * BLOCK, self.dice.index(blocks) * BLOCK);
        bytes.copy_within(from..from + BLOCK, to);
        *file = Arc::new(bytes);
        self.damaged = true;
    }

    /// The newest snapshot as a file, and its zxid.
    pub fn newest_snapshot(&self) -> Option<(Zxid, &Vec<u8>)> {
        self.snapshots.last_key_value().map(|(zxid, bytes)| (*zxid, bytes))
    }

    /// The current epoch that the epoch files hold.
    pub fn current_epoch(&self) -> Epoch {
        let copy = |file| self.small.get(&file).map(Vec::as_slice);
        let newest = Epochs::newest(copy(SmallFile::EpochA), copy(SmallFile::EpochB));
        newest.ok().flatten().map(|epochs| epochs.current).unwrap_or_default()
    }

    /// Another program has left this state.
    pub fn place_snapshot(&mut self, version: engine::Version) {
        self.placed = Some(version.zxid());
        self.snapshots.insert(version.zxid(), write_snapshot(version));
    }

    /// The state that another program left: there is no log that leads to it.
    pub fn placed(&self) -> Option<Zxid> {
        self.placed
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
