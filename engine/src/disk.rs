//! The vocabulary of disk work: descriptions out, completions in.
//!
//! The caller carries operations out in any order and concurrently, except where an operation's
//! documentation says what must have completed before. A failed write or sync is reported once
//! and never retried; whoever receives it halts the node.

use std::fmt;

/// Direct I/O works in multiples of this many bytes, in memory and on disk.
pub const ALIGN: usize = 4096;

/// Pieces of evidence that are kept ([`DiskOp::KeepEvidence`]).
pub const EVIDENCE_KEPT: usize = 4;

/// Identifies an operation to its issuer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DiskToken(pub u64);

impl DiskToken {
    /// Set in the tokens of the log, clear in all others, so that no issuer meets another's.
    pub const LOG_BIT: u64 = 1 << 63;
}

/// A log segment: number in the order of creation. File name `log.<id as 16 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub u64);

/// A buffer whose length is a multiple of [`ALIGN`] and whose address will be aligned too.
/// The runtime needs aligned memory for direct I/O; this type over-allocates and offers the
/// aligned window, which keeps it free of `unsafe`.
pub struct AlignedBuf {
    raw: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes rounded up to [`ALIGN`].
    pub fn zeroed(len: usize) -> AlignedBuf {
        let len = len.next_multiple_of(ALIGN);
        let raw = vec![0; len + ALIGN];
        let start = raw.as_ptr().align_offset(ALIGN);
        AlignedBuf { raw, start, len }
    }

    /// The window.
    pub fn as_slice(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.len]
    }

    /// The window, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.len]
    }

    /// Bytes in the window.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a window of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The copy lies elsewhere, so its window is placed anew.
impl Clone for AlignedBuf {
    fn clone(&self) -> AlignedBuf {
        let mut copy = AlignedBuf::zeroed(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

/// Small files that are replaced whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SmallFile {
    /// First copy of the accepted and current epoch.
    EpochA,
    /// Second copy.
    EpochB,
}

/// Disk work to do.
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// Make a log segment ready: file under a temporary name, filled with zeros, synced, renamed,
    /// directory synced. Takes long; must not delay writes. A leftover of a removed segment may
    /// serve as the file: old frames name their own segment and are never mistaken.
    PrepareSegment {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        segment: SegmentId,
        /// Size, a multiple of [`ALIGN`].
        bytes: u64,
    },
    /// Overwrite part of a prepared segment. Complete means durable: the write itself carries
    /// data-sync semantics. Several may be in flight.
    WriteSegment {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        segment: SegmentId,
        /// Where, a multiple of [`ALIGN`].
        offset: u64,
        /// What.
        data: AlignedBuf,
    },
    /// Delete a segment that recovery no longer needs, and sync the directory.
    RemoveSegment {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        segment: SegmentId,
    },
    /// Write a snapshot of a version in the background (see `snapshot::Writer`): temporary name,
    /// pages, sync, rename to `snapshot.<zxid as 16 hex digits>`, directory sync.
    WriteSnapshot {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// What to write; holding it keeps the version alive.
        version: crate::Version,
        /// A state received from a leader: the name is `incoming.<zxid>` and the file counts for
        /// nothing until the log's reset names it (see [`DiskOp::AdoptSnapshot`]). Replaces an
        /// earlier one of that name.
        incoming: bool,
    },
    /// Rename `incoming.<zxid>` to `snapshot.<zxid>`, replacing one of that name, and sync the
    /// directory. Only after the reset of the log that names it is durable, and never while an own
    /// snapshot of the same zxid is being written, which would replace it again. Done as well if
    /// only the latter exists: it has been adopted already.
    AdoptSnapshot {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        zxid: model::Zxid,
    },
    /// Delete `incoming.<zxid>`, a received state that did not take the place of the own one, and
    /// sync the directory. Done as well if there is no such file.
    RemoveIncoming {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        zxid: model::Zxid,
    },
    /// Delete the snapshot of this zxid, and sync the directory.
    RemoveSnapshot {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        zxid: model::Zxid,
    },
    /// Replace a small file: temporary name, write, sync, rename, directory sync.
    ReplaceFile {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Which.
        file: SmallFile,
        /// New content.
        data: Vec<u8>,
    },
    /// Keep what was found when this server's state turned out to differ from its leader's:
    /// `evidence.<zxid as 16 hex digits>.txt` and, if there is a state, `evidence.<zxid>.snapshot`
    /// of it, beside the snapshots; each under a temporary name, synced, renamed, directory
    /// synced, the text last. Then the oldest beyond [`EVIDENCE_KEPT`] go. A failure loses the
    /// evidence and nothing else.
    KeepEvidence {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
        /// Where the states differ.
        zxid: model::Zxid,
        /// What was found.
        text: String,
        /// The state that differs.
        state: Option<crate::Version>,
    },
    /// Ask how much space the log's and the snapshots' volumes have left.
    MeasureSpace {
        /// Answered in [`DiskDone::token`].
        token: DiskToken,
    },
}

/// What became of an operation.
#[derive(Clone, Debug)]
pub struct DiskDone {
    /// The operation.
    pub token: DiskToken,
    /// How it ended.
    pub result: Result<DiskFact, DiskFault>,
}

/// A completed operation's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFact {
    /// Done, and durable where the operation promises it.
    Done,
    /// A snapshot was written: its size in bytes.
    SnapshotWritten {
        /// File size.
        bytes: u64,
    },
    /// Bytes available to this process: log volume, snapshot volume.
    Space {
        /// Log volume.
        log_free: u64,
        /// Snapshot volume.
        snapshot_free: u64,
    },
}

/// A failed operation, with the cause in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskFault {
    /// The device or file system is full. Only [`DiskOp::PrepareSegment`],
    /// [`DiskOp::WriteSnapshot`], [`DiskOp::ReplaceFile`] and [`DiskOp::KeepEvidence`] may end this
    /// way without the node having to halt.
    pub out_of_space: bool,
    /// What was attempted, on which file, and the system's words.
    pub cause: String,
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for DiskFault {}
