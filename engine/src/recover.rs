//! From files to a running state: newest valid snapshot, then the log's tail.

use std::sync::Arc;

use model::Zxid;

use crate::disk::SegmentId;
use crate::draft::{Draft, Settings};
use crate::log::{Log, LogSettings};

/// The content of a file: mapped by the runtime, plain memory in the simulator.
pub type Image = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What the data directories hold.
#[derive(Default)]
pub struct DiskImage {
    /// Snapshots by the zxid in their names.
    pub snapshots: Vec<(Zxid, Image)>,
    /// Log segments by number.
    pub segments: Vec<(SegmentId, Image)>,
}

/// Runs independent pieces of work, in parallel if it can, and returns when all are done.
pub trait Parallel {
    /// Runs all of them.
    fn run<'a>(&self, work: Vec<Box<dyn FnOnce() + Send + 'a>>);
}

/// Runs work on the calling thread.
pub struct Inline;

impl Parallel for Inline {
    fn run<'a>(&self, work: Vec<Box<dyn FnOnce() + Send + 'a>>) {
        work.into_iter().for_each(|piece| piece());
    }
}

/// A recovered node's durable part.
pub struct Recovered {
    /// State after the last valid entry.
    pub draft: Draft,
    /// The log, ready to append after it.
    pub log: Log,
    /// For the operator.
    pub report: Report,
}

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Zxid of the snapshot that was used; zero for none.
    pub snapshot: Zxid,
    /// Znodes that it held.
    pub znodes: u64,
    /// Entries replayed on top.
    pub replayed: u64,
    /// Valid snapshots on disk, oldest first; those to keep and retire by.
    pub snapshots: Vec<Zxid>,
    /// Damage that was met and stepped around, in words; logged as warnings.
    pub warnings: Vec<String>,
}

/// Why the files cannot be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoverError {
    /// No snapshot is valid, yet the log does not reach back to the beginning.
    #[error("no valid snapshot, and the log starts at {first:?}: {details}")]
    Gap {
        /// First entry of the log.
        first: Zxid,
        /// Which snapshots were tried and why they failed.
        details: String,
    },
    /// Damage in the middle of the log: later frames are valid, so acknowledged writes are gone.
    #[error("log segment {segment:?} is damaged at byte {offset}, but later entries exist")]
    LogDamaged {
        /// Segment.
        segment: SegmentId,
        /// Where.
        offset: u64,
    },
    /// A replayed transaction's digest differs from the one recorded.
    #[error("state digest after {zxid:?} is {have}, the log says {want}")]
    DigestMismatch {
        /// Transaction.
        zxid: Zxid,
        /// Computed.
        have: u64,
        /// Recorded.
        want: u64,
    },
    /// A file of a format this version does not know.
    #[error("{0}")]
    UnknownFormat(String),
}

/// Recovers a node from its files. An empty image is a fresh database.
pub fn recover(
    image: &DiskImage,
    settings: Settings,
    log: LogSettings,
    parallel: &dyn Parallel,
) -> Result<Recovered, RecoverError> {
    let _ = (image, settings, log, parallel);
    unimplemented!()
}
