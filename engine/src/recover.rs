//! From files to a running state: newest valid snapshot, then the log's tail.
//!
//! The log is read first, because it says which snapshots are void: one that was written before a
//! truncation may hold entries that were forgotten. Then the newest snapshot that is sound in
//! every page is loaded, and the entries after it are replayed. Every step to the side (a damaged
//! snapshot, a torn tail) is told in [`Report::warnings`]; whatever would mean that acknowledged
//! entries are gone is an error.

use std::sync::Arc;

use model::{Batch, Zxid, txn};

use crate::disk::SegmentId;
use crate::draft::{Draft, Settings};
use crate::effect::Effects;
use crate::epochs::{Epochs, EpochsFault};
use crate::log::recover::{Contents, Run, Surviving};
use crate::log::{Log, LogSettings};
use crate::snapshot::{self, Loaded, SnapshotFault};
use crate::state::Version;

/// The content of a file: mapped by the runtime, plain memory in the simulator.
pub type Image = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What the data directories hold. Segments must have been synced after they were opened: what a
/// process that died had written may be readable and still not be durable, and recovery builds
/// upon all it can read.
#[derive(Default)]
pub struct DiskImage {
    /// Snapshots by the zxid in their names.
    pub snapshots: Vec<(Zxid, Image)>,
    /// Log segments by number.
    pub segments: Vec<(SegmentId, Image)>,
    /// Received states that had not taken the place of the own one when the process ended, by the
    /// zxid in their names (`incoming.<zxid>`).
    pub incoming: Vec<(Zxid, Image)>,
    /// Both copies of the epoch file; `None` where there is no such file.
    pub epochs: [Option<Vec<u8>>; 2],
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
        for piece in work {
            piece();
        }
    }
}

/// A recovered node's durable part.
pub struct Recovered {
    /// State after the last valid entry.
    pub draft: Draft,
    /// The log, ready to append after it.
    pub log: Log,
    /// What an ensemble asks of a member about the time before.
    pub past: Past,
    /// For the operator.
    pub report: Report,
}

/// What a server of an ensemble must remember of the time before it started.
pub struct Past {
    /// Its promises; the default, with revision zero, if it never made any.
    pub epochs: Epochs,
    /// The state directly before the first entry of `tail`; the whole state if that is empty.
    /// Holding it keeps every record alive that was replaced since: to be dropped when no longer
    /// needed.
    pub base: Version,
    /// The last entries of the log, in order, as far as they were replayed: at most
    /// [`TAIL_ENTRIES_MAX`] and [`TAIL_BYTES_MAX`]. A batch is of one epoch and of at most
    /// [`TAIL_BATCH_BYTES_MAX`], unless it is a single entry.
    pub tail: Vec<Batch>,
}

/// Most entries in [`Past::tail`].
pub const TAIL_ENTRIES_MAX: usize = 64 << 10;
/// Most bytes of entries in [`Past::tail`].
pub const TAIL_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a batch in [`Past::tail`] that has more than one entry.
pub const TAIL_BATCH_BYTES_MAX: usize = 1 << 20;

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Zxid of the snapshot that was used; zero for none.
    pub snapshot: Zxid,
    /// Znodes that it held.
    pub znodes: u64,
    /// Entries replayed on top.
    pub replayed: u64,
    /// Valid snapshots on disk, oldest first; those to keep and retire by. The one that was used
    /// has been checked in every byte, the others only for being complete.
    pub snapshots: Vec<Zxid>,
    /// Snapshots on disk that are damaged or void, oldest first; to be removed.
    pub unusable: Vec<Zxid>,
    /// A received state that the log's reset names: it was used, and is to be adopted
    /// ([`crate::disk::DiskOp::AdoptSnapshot`]). It is among `snapshots` already.
    pub adopt: Option<Zxid>,
    /// Received states that are good for nothing, oldest first; to be removed
    /// ([`crate::disk::DiskOp::RemoveIncoming`]).
    pub unusable_incoming: Vec<Zxid>,
    /// Damage that was met and stepped around, in words; logged as warnings.
    pub warnings: Vec<String>,
    /// The first of the replayed transactions after which the state was another one than the log
    /// says, and stayed so until the end. A state received from ZooKeeper may be ahead of its
    /// position (`zab-wire` 4.4), and becomes exact with the entries that follow.
    pub differs: Option<Difference>,
}

/// A state that is not what the log says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// After this transaction.
    pub zxid: Zxid,
    /// Digest computed.
    pub have: u64,
    /// Digest recorded.
    pub want: u64,
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
    /// Damage in the middle of the log: a later frame proves that what was here had been durable,
    /// so acknowledged writes are gone.
    #[error("log segment {:016x} is damaged at byte {offset}, but later entries exist", .segment.0)]
    LogDamaged {
        /// Segment.
        segment: SegmentId,
        /// Where.
        offset: u64,
    },
    /// A segment's file is shorter than it was made: what its end held is gone.
    #[error(
        "log segment {:016x} has {bytes} bytes, not a whole one{}: its end is missing",
        .segment.0,
        .made.map_or_else(String::new, |made| format!(" of {made}"))
    )]
    SegmentCutOff {
        /// Segment.
        segment: SegmentId,
        /// Size now.
        bytes: u64,
        /// Size when it was written to, if anything is left that says so.
        made: Option<u64>,
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
    /// Neither copy of the epoch file is intact: what this server promised is not known.
    #[error("{0}")]
    EpochsDamaged(EpochsFault),
    /// A file of a format this version does not know.
    #[error("{0}")]
    UnknownFormat(String),
}

impl Recovered {
    /// For a server on its own: a state that differs from what its log says is an error. A member
    /// of an ensemble has others to ask for the right one.
    pub fn agreeing(self) -> Result<Recovered, RecoverError> {
        match self.report.differs {
            Some(Difference { zxid, have, want }) => {
                Err(RecoverError::DigestMismatch { zxid, have, want })
            }
            None => Ok(self),
        }
    }
}

/// Recovers a node from its files. An empty image is a fresh database. See [`Report::differs`].
pub fn recover(
    image: &DiskImage,
    settings: Settings,
    log: LogSettings,
    parallel: &dyn Parallel,
) -> Result<Recovered, RecoverError> {
    let [first, second] = &image.epochs;
    let epochs = Epochs::newest(first.as_deref(), second.as_deref());
    let epochs = epochs.map_err(|fault| match fault {
        EpochsFault::Damaged => RecoverError::EpochsDamaged(fault),
        EpochsFault::UnknownVersion(_) => RecoverError::UnknownFormat(fault.to_string()),
    })?;
    // The newest snapshot is most likely the one to start from. It is loaded first, while the log
    // comes in from the disk; if the log says otherwise, the work was for nothing.
    let early = Early::load(image, settings.hash_seed, parallel);
    let segments = image.segments.iter().map(|(id, file)| (*id, (**file).as_ref()));
    let contents = Contents::read(segments.collect(), parallel)?;
    let surviving = contents.surviving();
    let mut report = Report { warnings: contents.warnings().to_vec(), ..Report::default() };

    let loaded = choose(image, &surviving, early, settings.hash_seed, parallel, &mut report)?;
    let found_snapshot = loaded.is_some();
    let mut draft = match loaded {
        Some(Loaded { tree, stored, census, znodes }) => {
            report.snapshot = stored.zxid;
            report.znodes = znodes;
            Draft::restore_counted(settings, tree, stored, census)
        }
        None => Draft::new(settings),
    };
    let gap = |first, report: &Report| RecoverError::Gap {
        first,
        details: if report.warnings.is_empty() {
            format!("the log starts behind the snapshot at {:?}", report.snapshot)
        } else {
            report.warnings.join("; ")
        },
    };
    if !found_snapshot && !image.snapshots.is_empty() && surviving.runs.is_empty() {
        return Err(gap(contents.position(), &report));
    }

    let mut position = report.snapshot;
    let mut bytes = 0;
    let mut effects = Effects::default();
    let mut tail = Tail::of(&surviving.runs, report.snapshot);
    let mut base = None;
    for run in surviving.runs.iter().filter(|run| run.last > report.snapshot) {
        if run.before > position {
            return Err(gap(run.first, &report));
        }
        for (zxid, entry) in run.after(position) {
            let damaged = || RecoverError::LogDamaged { segment: run.segment, offset: run.offset };
            let (header, txn, digest) = txn::decode_entry(entry).map_err(|_| damaged())?;
            if header.zxid != zxid {
                return Err(damaged());
            }
            if tail.takes(zxid, entry) && base.is_none() {
                base = Some(draft.freeze());
            }
            draft.apply(&header, &txn, &mut effects);
            effects.clear();
            let have = draft.tables().digest;
            match digest.map(|digest| digest.0) {
                Some(want) if want == have => report.differs = None,
                Some(want) => {
                    report.differs.get_or_insert(Difference { zxid, have, want });
                }
                None => {}
            }
            report.replayed += 1;
            bytes += entry.len() as u64;
        }
        position = run.last;
    }
    if position < contents.position() {
        return Err(gap(contents.position(), &report));
    }
    let past = Past {
        epochs: epochs.unwrap_or_default(),
        base: base.unwrap_or_else(|| draft.freeze()),
        tail: tail.batches(),
    };
    let log = contents.resume(log, position, bytes, &report.snapshots);
    Ok(Recovered { draft, log, past, report })
}

/// Gathers the last entries into batches.
struct Tail {
    /// The first entry that is not too far back.
    from: Zxid,
    first: Zxid,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    done: Vec<Batch>,
}

impl Tail {
    /// Looks from the end back, over all entries after `position`.
    fn of(runs: &[Run<'_>], position: Zxid) -> Tail {
        let (mut entries, mut bytes) = (0, 0);
        let mut from = Zxid(i64::MAX);
        'all: for run in runs.iter().rev() {
            for index in (0..run.entries.count()).rev() {
                let zxid = Zxid(run.first.0 + index as i64);
                if zxid > run.last {
                    continue;
                }
                entries += 1;
                bytes += run.entries.get(index).len();
                if zxid <= position || entries > TAIL_ENTRIES_MAX || bytes > TAIL_BYTES_MAX {
                    break 'all;
                }
                from = zxid;
            }
        }
        Tail { from, first: from, bytes: Vec::new(), ends: Vec::new(), done: Vec::new() }
    }

    /// Takes the entry if it belongs to the tail.
    fn takes(&mut self, zxid: Zxid, entry: &[u8]) -> bool {
        if zxid < self.from {
            return false;
        }
        let next = Zxid(self.first.0 + self.ends.len() as i64);
        let fits = self.bytes.len() + entry.len() <= TAIL_BATCH_BYTES_MAX;
        if zxid != next || zxid.epoch() != self.first.epoch() || !fits {
            self.close();
        }
        if self.ends.is_empty() {
            self.first = zxid;
        }
        self.bytes.extend_from_slice(entry);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a frame is below 4 GiB"));
        true
    }

    fn close(&mut self) {
        if !self.ends.is_empty() {
            let (bytes, ends) = (self.bytes.as_slice(), self.ends.as_slice());
            self.done.push(Batch::new(self.first, bytes, ends));
            self.bytes.clear();
            self.ends.clear();
        }
    }

    fn batches(mut self) -> Vec<Batch> {
        self.close();
        self.done
    }
}

/// The newest snapshot, loaded before it is known whether it is the one.
struct Early {
    zxid: Zxid,
    loaded: Result<Loaded, SnapshotFault>,
}

impl Early {
    fn load(image: &DiskImage, seed: u64, parallel: &dyn Parallel) -> Option<Early> {
        let (zxid, file) = image.snapshots.iter().max_by_key(|(zxid, _)| *zxid)?;
        Some(Early { zxid: *zxid, loaded: snapshot::load(file, seed, parallel) })
    }
}

/// A file that may be the state to start from.
struct Candidate<'a> {
    zxid: Zxid,
    /// Received, and not adopted yet.
    incoming: bool,
    file: &'a Image,
}

/// Loads the newest snapshot that can be trusted, and sorts all into usable and not.
fn choose(
    image: &DiskImage,
    log: &Surviving<'_>,
    mut early: Option<Early>,
    seed: u64,
    parallel: &dyn Parallel,
    report: &mut Report,
) -> Result<Option<Loaded>, RecoverError> {
    let own = image.snapshots.iter().map(|(zxid, file)| (*zxid, false, file));
    let incoming = image.incoming.iter().map(|(zxid, file)| (*zxid, true, file));
    let files = own.chain(incoming);
    let mut files: Vec<Candidate<'_>> =
        files.map(|(zxid, incoming, file)| Candidate { zxid, incoming, file }).collect();
    files.sort_by_key(|file| std::cmp::Reverse((file.zxid, file.incoming)));
    let mut chosen = None;
    for file in files {
        let zxid = file.zxid;
        if file.incoming && log.reset != Some(zxid) {
            let name = format!("received snapshot {:016x}", zxid.0);
            report.warnings.push(format!("{name} is not used: it never replaced the history"));
            report.unusable_incoming.push(zxid);
            continue;
        }
        if report.adopt == Some(zxid) {
            // An own one of the same zxid: replaced by the adoption.
            continue;
        }
        let examined = examine(zxid, file.file, log).and_then(|()| {
            if chosen.is_some() {
                return Ok(None);
            }
            // Not two states in memory at once.
            let early = early.take().filter(|early| early.zxid == zxid && !file.incoming);
            match early {
                Some(early) => early.loaded.map(Some),
                None => snapshot::load(file.file, seed, parallel).map(Some),
            }
        });
        match examined {
            Ok(loaded) => {
                report.snapshots.push(zxid);
                report.adopt = report.adopt.or(file.incoming.then_some(zxid));
                chosen = chosen.or(loaded);
            }
            Err(SnapshotFault::UnknownFormat(cause)) if chosen.is_none() => {
                return Err(RecoverError::UnknownFormat(format!("{zxid:?}: {cause}")));
            }
            Err(SnapshotFault::Damaged(cause) | SnapshotFault::UnknownFormat(cause)) => {
                let kind = if file.incoming { "received snapshot" } else { "snapshot" };
                report.warnings.push(format!("{kind} {:016x} is not used: {cause}", zxid.0));
                let list = if file.incoming {
                    &mut report.unusable_incoming
                } else {
                    &mut report.unusable
                };
                list.push(zxid);
            }
        }
    }
    report.snapshots.reverse();
    report.unusable.reverse();
    report.unusable_incoming.reverse();
    Ok(chosen)
}

/// Whether a snapshot is what its name says, and part of the history.
fn examine(zxid: Zxid, file: &Image, log: &Surviving<'_>) -> Result<(), SnapshotFault> {
    let outline = snapshot::outline((**file).as_ref())?;
    if outline.zxid != zxid {
        let cause = format!("it is one of {:?} under another's name", outline.zxid);
        return Err(SnapshotFault::Damaged(cause));
    }
    if is_void(zxid, outline.digest, log) {
        let cause = "the log forgot the history that it is part of".to_owned();
        return Err(SnapshotFault::Damaged(cause));
    }
    Ok(())
}

/// Whether a snapshot may hold entries that were forgotten. If its last entry was appended again
/// after the truncation, with the same digest, it is as good as any. The one that came with the
/// last reset is what counts from there on, and nothing before it does.
fn is_void(zxid: Zxid, digest: u64, log: &Surviving<'_>) -> bool {
    if let Some(reset) = log.reset.filter(|reset| zxid <= *reset) {
        return zxid < reset;
    }
    if !log.voids.iter().any(|&(to, from)| to < zxid && zxid <= from) {
        return false;
    }
    let again = log.runs.iter().find(|run| run.first <= zxid && zxid <= run.last);
    let entry = again.and_then(|run| run.after(Zxid(zxid.0 - 1)).next());
    let logged = entry.and_then(|(_, entry)| txn::decode_entry(entry).ok());
    logged.and_then(|(_, _, digest)| digest).is_none_or(|logged| logged.0 != digest)
}
