//! A disk in memory that completes operations in any order and crashes at any point.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod node;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::disk::{DiskDone, DiskFact, DiskFault, DiskOp, DiskToken, SegmentId, SmallFile};
use engine::recover::{DiskImage, Image};
use model::{Batch, Zxid};

/// A small generator; each test run is decided by its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What is on the platter, and what was asked for but not completed.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    pub segments: BTreeMap<SegmentId, Vec<u8>>,
    pub snapshots: BTreeMap<Zxid, Vec<u8>>,
    pub incoming: BTreeMap<Zxid, Vec<u8>>,
    pub small: BTreeMap<SmallFile, Vec<u8>>,
    pub pending: Vec<DiskOp>,
}

pub fn token(op: &DiskOp) -> DiskToken {
    match op {
        DiskOp::PrepareSegment { token, .. }
        | DiskOp::WriteSegment { token, .. }
        | DiskOp::RemoveSegment { token, .. }
        | DiskOp::WriteSnapshot { token, .. }
        | DiskOp::RemoveSnapshot { token, .. }
        | DiskOp::AdoptSnapshot { token, .. }
        | DiskOp::RemoveIncoming { token, .. }
        | DiskOp::ReplaceFile { token, .. }
        | DiskOp::KeepEvidence { token, .. }
        | DiskOp::MeasureSpace { token } => *token,
    }
}

impl MemoryDisk {
    /// Takes over operations.
    pub fn submit(&mut self, ops: &mut Vec<DiskOp>) {
        self.pending.append(ops);
    }

    /// Carries out the pending operation at `index`.
    pub fn complete(&mut self, index: usize) -> DiskDone {
        let op = self.pending.remove(index);
        let token = token(&op);
        self.apply(op);
        DiskDone { token, result: Ok(DiskFact::Done) }
    }

    /// Fails the pending operation at `index`; nothing of it happens.
    pub fn fail(&mut self, index: usize, out_of_space: bool) -> DiskDone {
        let op = self.pending.remove(index);
        let cause = "the test says so".to_owned();
        DiskDone { token: token(&op), result: Err(DiskFault { out_of_space, cause }) }
    }

    fn apply(&mut self, op: DiskOp) {
        match op {
            DiskOp::PrepareSegment { segment, bytes, .. } => {
                let old = self.segments.insert(segment, vec![0; bytes as usize]);
                assert!(old.is_none(), "{segment:?} is prepared once");
            }
            DiskOp::WriteSegment { segment, offset, data, .. } => {
                let file = self.segments.get_mut(&segment).expect("written after preparation");
                let start = offset as usize;
                file[start..start + data.len()].copy_from_slice(data.as_slice());
            }
            DiskOp::RemoveSegment { segment, .. } => {
                self.segments.remove(&segment).expect("removed once");
            }
            DiskOp::WriteSnapshot { version, incoming, .. } => {
                let zxid = version.zxid();
                let named = if incoming { &mut self.incoming } else { &mut self.snapshots };
                named.insert(zxid, snapshot_bytes(version));
            }
            DiskOp::AdoptSnapshot { zxid, .. } => {
                let file = self.incoming.remove(&zxid).expect("adopted once");
                self.snapshots.insert(zxid, file);
            }
            DiskOp::RemoveIncoming { zxid, .. } => {
                self.incoming.remove(&zxid);
            }
            DiskOp::RemoveSnapshot { zxid, .. } => {
                self.snapshots.remove(&zxid);
            }
            DiskOp::ReplaceFile { file, data, .. } => {
                self.small.insert(file, data);
            }
            DiskOp::KeepEvidence { .. } | DiskOp::MeasureSpace { .. } => {}
        }
    }

    /// Stops: each incomplete operation happened whole, in part or not at all.
    pub fn crash(&mut self, dice: &mut Dice) {
        for op in std::mem::take(&mut self.pending) {
            match &op {
                DiskOp::WriteSegment { segment, offset, data, .. } => {
                    let grain = if dice.one_in(2) { 512 } else { 4096 };
                    let mode = dice.below(4);
                    let file = self.segments.get_mut(segment).expect("written after preparation");
                    let sectors = data.len() / grain;
                    let keep = dice.below(sectors + 1);
                    for sector in 0..sectors {
                        let lands = match mode {
                            0 => false,
                            1 => true,
                            2 => sector < keep,
                            _ => dice.one_in(2),
                        };
                        if lands {
                            let at = sector * grain;
                            let place = *offset as usize + at;
                            file[place..place + grain]
                                .copy_from_slice(&data.as_slice()[at..at + grain]);
                        }
                    }
                }
                // Under its name a snapshot is whole; a temporary name vanishes.
                DiskOp::WriteSnapshot { .. }
                | DiskOp::PrepareSegment { .. }
                | DiskOp::RemoveSegment { .. }
                | DiskOp::RemoveSnapshot { .. }
                | DiskOp::AdoptSnapshot { .. }
                | DiskOp::RemoveIncoming { .. }
                | DiskOp::ReplaceFile { .. }
                | DiskOp::KeepEvidence { .. }
                | DiskOp::MeasureSpace { .. } => {
                    if dice.one_in(2) {
                        self.apply(op);
                    }
                }
            }
        }
    }

    /// The log's segments as recovery wants them.
    pub fn log(&self) -> Vec<(SegmentId, &[u8])> {
        self.segments.iter().map(|(&id, bytes)| (id, &bytes[..])).collect()
    }

    /// Everything as recovery wants it.
    pub fn image(&self) -> DiskImage {
        let image = |bytes: &Vec<u8>| -> Image { Arc::new(bytes.clone()) };
        DiskImage {
            snapshots: self.snapshots.iter().map(|(&z, bytes)| (z, image(bytes))).collect(),
            segments: self.segments.iter().map(|(&id, bytes)| (id, image(bytes))).collect(),
            incoming: self.incoming.iter().map(|(&z, bytes)| (z, image(bytes))).collect(),
            epochs: [SmallFile::EpochA, SmallFile::EpochB]
                .map(|file| self.small.get(&file).cloned()),
        }
    }
}

/// A version as a snapshot file.
pub fn snapshot_bytes(version: engine::Version) -> Vec<u8> {
    let mut writer = engine::snapshot::Writer::new(version);
    let (mut file, mut page) = (Vec::new(), Vec::new());
    while writer.next(&mut page) {
        file.extend_from_slice(&page);
    }
    file
}

/// A batch of opaque entries.
pub fn batch(first: Zxid, entries: &[Vec<u8>]) -> Batch {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(entry);
        ends.push(bytes.len() as u32);
    }
    Batch::new(first, bytes, ends)
}
