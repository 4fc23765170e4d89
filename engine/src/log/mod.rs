//! The transaction log: batches in, disk operations out, durable positions back.

use model::{Batch, Zxid};

use crate::disk::{DiskDone, DiskFault, DiskOp};

/// What a completion means for the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFact {
    /// Every appended entry up to this zxid is durable. Reported in order.
    Durable {
        /// Last durable entry.
        upto: Zxid,
    },
    /// A write or sync failed: the log is poisoned and the node must halt.
    Poisoned(DiskFault),
    /// No segment could be prepared for lack of space; writes must be refused until
    /// [`LogFact::SpaceBack`].
    OutOfSpace,
    /// Segments can be prepared again.
    SpaceBack,
}

/// Sizes and counts of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Writes in flight at once.
    pub writes_max: usize,
}

/// The log of one server: one total order.
pub struct Log {}

impl Log {
    /// Frames a batch and queues it. It is written as soon as a write slot and a prepared segment
    /// are there; batches queued meanwhile share frames.
    pub fn append(&mut self, batch: Batch, out: &mut Vec<DiskOp>) {
        let _ = (batch, out);
        unimplemented!()
    }

    /// Takes a completion of one of this log's operations; ignores others.
    pub fn done(&mut self, done: &DiskDone, out: &mut Vec<DiskOp>, facts: &mut Vec<LogFact>) {
        let _ = (done, out, facts);
        unimplemented!()
    }

    /// True if a batch appended now would be written at once.
    pub fn is_ready(&self) -> bool {
        unimplemented!()
    }

    /// Forgets everything after `to` (durably, before any later append): a follower that was
    /// ahead. Completes with [`LogFact::Durable`] of `to`.
    pub fn truncate(&mut self, to: Zxid, out: &mut Vec<DiskOp>) {
        let _ = (to, out);
        unimplemented!()
    }

    /// A snapshot at `zxid` exists: segments whose entries all lie at or below it may go.
    pub fn release(&mut self, zxid: Zxid, out: &mut Vec<DiskOp>) {
        let _ = (zxid, out);
        unimplemented!()
    }

    /// Last entry appended, durable or not.
    pub fn appended(&self) -> Zxid {
        unimplemented!()
    }

    /// Last durable entry.
    pub fn durable(&self) -> Zxid {
        unimplemented!()
    }

    /// Bytes of entries appended since the last call of [`Log::release`].
    pub fn bytes_since_snapshot(&self) -> u64 {
        unimplemented!()
    }
}
