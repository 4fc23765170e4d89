//! The transaction log: batches in, disk operations out, durable positions back.
//!
//! ```text
//!  append ----> queue --> frame --> WriteSegment --+   up to `writes_max` frames in flight
//!  truncate -->        (joins what waits)          |
//!  LogFact::Durable <--- in frame order <--- done -+
//! ```
//!
//! **Invariants.** `durable <= appended`. Entries are acknowledged in the order they were
//! appended, and only when every frame before theirs is durable too. Frames are only ever added:
//! forgetting entries adds a frame that says so. After a failed write nothing is written or
//! acknowledged any more. Group commit has no timer: a frame is made the moment a slot is free,
//! of whatever waits then.
//!
//! The bytes and the crash cases are in `docs/disk-format.md`.

use std::collections::VecDeque;

use model::{Batch, Zxid};

use crate::disk::{ALIGN, DiskDone, DiskFault, DiskOp, DiskToken};

mod append;
pub mod frame;
pub mod recover;
mod segment;
mod truncate;

#[cfg(test)]
mod tests;

use append::{Flight, Item};
use segment::Segments;
use truncate::Held;

/// What a completion means for the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFact {
    /// Every appended entry up to this zxid is durable. Reported in order.
    Durable {
        /// Last durable entry.
        upto: Zxid,
    },
    /// A truncation or a reset is durable: one for each, in the order they were asked for and in
    /// order with [`LogFact::Durable`]. Entries before it that were not reported yet never will
    /// be.
    Cut {
        /// Where the log ended directly after it: what [`Log::truncate`] returned, or the zxid of
        /// the reset.
        end: Zxid,
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
    /// Bytes of a segment: a multiple of [`ALIGN`], larger than the largest entry by at least
    /// one block.
    pub segment_bytes: u64,
    /// Writes in flight at once, 1 to 4.
    pub writes_max: usize,
    /// Identifies a log that is created now; an existing log keeps its own. Drawn at random by
    /// the caller: it lets no client's data and no other log's segment pass for a frame.
    pub log_id: u64,
}

impl Default for LogSettings {
    /// 64 MiB segments, two writes in flight, and an id that is not random.
    fn default() -> LogSettings {
        LogSettings { segment_bytes: 64 << 20, writes_max: 2, log_id: 0 }
    }
}

/// Where the next frame attaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    /// Sequence of the last frame; 0 before the first.
    sequence: u64,
    /// Its header checksum; 0 before the first.
    crc: u32,
    /// Position of the log after it.
    position: Zxid,
}

/// The log of one server: one total order.
pub struct Log {
    settings: LogSettings,
    id: u64,
    incarnation: u64,
    chain: Chain,
    /// Sequence of the last frame that is durable together with all before it.
    acknowledged: u64,
    appended: Zxid,
    durable: Zxid,
    bytes_since_snapshot: u64,
    queue: VecDeque<Item>,
    /// In frame order; the front is the oldest that is not durable.
    flights: VecDeque<Flight>,
    /// Truncations that are not durable yet.
    cuts_pending: usize,
    segments: Segments,
    held: Held,
    next_token: u64,
    poisoned: bool,
    /// [`LogFact::OutOfSpace`] was reported, [`LogFact::SpaceBack`] not yet.
    starved: bool,
}

impl Log {
    /// Asks for the segments that must be ready before the first write. To be called once after
    /// recovery; any other call that takes `out` would make up for it.
    pub fn start(&mut self, out: &mut Vec<DiskOp>) {
        self.pump(out);
    }

    /// Frames a batch and queues it. It is written as soon as a write slot and a prepared segment
    /// are there; batches queued meanwhile share frames.
    ///
    /// # Panics
    /// If the batch does not lie after [`Log::appended`], or has an entry above
    /// [`Log::entry_bytes_max`]: limits further up exclude both.
    pub fn append(&mut self, batch: Batch, out: &mut Vec<DiskOp>) {
        assert!(batch.first() > self.appended, "entries are appended in order");
        self.appended = batch.last();
        self.held.append(&batch);
        if self.poisoned {
            return;
        }
        self.bytes_since_snapshot += batch.bytes().len() as u64;
        self.enqueue(batch);
        self.pump(out);
    }

    /// Takes a completion of one of this log's operations; ignores others.
    pub fn done(&mut self, done: &DiskDone, out: &mut Vec<DiskOp>, facts: &mut Vec<LogFact>) {
        if self.poisoned || done.token.0 & DiskToken::LOG_BIT == 0 {
            return;
        }
        if let Some(flight) = self.flights.iter_mut().find(|f| f.token == done.token) {
            match &done.result {
                Ok(_) => flight.done = true,
                Err(fault) => return self.poison(fault.clone(), facts),
            }
            self.acknowledge(facts);
        } else if self.segments.is_preparing(done.token) {
            match &done.result {
                Ok(_) => self.segments.prepared(),
                Err(fault) if fault.out_of_space => self.segments.refused(),
                Err(fault) => return self.poison(fault.clone(), facts),
            }
        } else if done.result.is_ok() {
            // A removed segment left space. A failed removal leaves a file that the next
            // recovery meets, and skips.
            self.segments.retry();
        }
        self.pump(out);
        self.judge_space(facts);
    }

    /// The caller found space on the log's volume: preparing is tried again if it had failed.
    pub fn space_available(&mut self, out: &mut Vec<DiskOp>) {
        self.segments.retry();
        self.pump(out);
    }

    /// True if a batch appended now would be written at once.
    pub fn is_ready(&self) -> bool {
        !self.poisoned
            && self.queue.is_empty()
            && self.flights.len() < self.writes_max()
            && self.segments.has_room(ALIGN as u64)
    }

    /// True if entries wait that cannot be written before there is space again, and nothing else
    /// is under way.
    pub fn is_stuck(&self) -> bool {
        !self.queue.is_empty() && self.flights.is_empty() && self.segments.refused
    }

    /// Bytes of segments that are full, which a snapshot would make superfluous.
    pub fn closed_bytes(&self) -> u64 {
        self.segments.closed.len() as u64 * self.segments.bytes
    }

    /// The oldest snapshot to be kept is at `zxid`: segments whose entries all lie at or below it
    /// may go.
    pub fn release(&mut self, zxid: Zxid, out: &mut Vec<DiskOp>) {
        self.bytes_since_snapshot = 0;
        self.held.raise_floor(zxid);
        while let Some(segment) = self.segments.releasable(zxid, self.acknowledged) {
            let token = self.token();
            out.push(DiskOp::RemoveSegment { token, segment });
        }
    }

    /// Last entry appended, durable or not.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Last durable entry.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// Bytes of entries appended since the last call of [`Log::release`]; after a recovery,
    /// since the snapshot it started from.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// Largest entry this log can hold: a frame never spans segments.
    pub fn entry_bytes_max(&self) -> usize {
        let most = self.settings.segment_bytes.min(u64::from(u32::MAX)) as usize;
        most - frame::HEADER_BYTES - frame::END_BYTES
    }

    fn writes_max(&self) -> usize {
        self.settings.writes_max.clamp(1, 4)
    }

    fn token(&mut self) -> DiskToken {
        self.next_token += 1;
        DiskToken(DiskToken::LOG_BIT | self.next_token)
    }

    fn poison(&mut self, fault: DiskFault, facts: &mut Vec<LogFact>) {
        self.poisoned = true;
        self.queue.clear();
        self.flights.clear();
        facts.push(LogFact::Poisoned(fault));
    }

    fn judge_space(&mut self, facts: &mut Vec<LogFact>) {
        let starved = self.segments.starved();
        if starved && !self.starved {
            self.starved = true;
            facts.push(LogFact::OutOfSpace);
        } else if self.starved && self.segments.has_spare() {
            self.starved = false;
            facts.push(LogFact::SpaceBack);
        }
    }
}
