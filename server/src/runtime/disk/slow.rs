//! Disk work that takes long, each kind on a thread of its own: preparing segments, writing
//! snapshots, and the small rest.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::disk::{AlignedBuf, DiskFact, DiskFault, DiskOp, DiskToken, EVIDENCE_KEPT, SmallFile};
use model::Zxid;

use super::files::{EVIDENCE_STATE, EVIDENCE_TEXT, evidence, sync_parent, unfinished};
use super::{Access, Completions, Dirs, QUEUE_MAX, fault};

/// Bytes written at once while filling a segment: small enough for a log write to slip between.
const FILL_PIECE: usize = 1 << 20;
/// Longest pause between two pieces.
const FILL_PAUSE_MAX: Duration = Duration::from_millis(20);
/// Bytes of a snapshot that are written before the disk has them. Written back all at once at the
/// end they hold log writes up for all that time ("Tails", `docs/performance.md`).
const SYNC_PIECE: u64 = 1 << 20;
/// Bytes by which a file that goes is shortened at once. A file system that tells the disk what it
/// gives up (`discard`) holds log writes up as long as that takes.
const SHRINK_PIECE: u64 = 1 << 20;
/// Pause between two such steps.
const SHRINK_PAUSE: Duration = Duration::from_millis(2);

/// The executor's ends of the threads' queues.
pub(crate) struct SlowWork {
    segments: flume::Sender<DiskOp>,
    snapshots: flume::Sender<DiskOp>,
    /// The two copies of the promises: an election waits for both, and for nothing else.
    promises: [flume::Sender<DiskOp>; 2],
    rest: flume::Sender<DiskOp>,
}

impl SlowWork {
    pub(crate) fn start(
        dirs: &Dirs,
        access: Access,
        completions: &Completions,
    ) -> io::Result<SlowWork> {
        let thread = |name: &str| {
            let (queue, jobs) = flume::bounded::<DiskOp>(QUEUE_MAX);
            let (dirs, completions) = (dirs.clone(), completions.clone());
            std::thread::Builder::new().name(name.into()).spawn(move || {
                let mut work = Worker { dirs, access, filled: 0, written: BTreeSet::new() };
                for op in jobs {
                    let (token, result) = work.carry_out(op);
                    completions.push(token, result);
                }
            })?;
            io::Result::Ok(queue)
        };
        Ok(SlowWork {
            segments: thread("segments")?,
            snapshots: thread("snapshots")?,
            promises: [thread("promises-a")?, thread("promises-b")?],
            rest: thread("files")?,
        })
    }

    pub(crate) fn submit(&mut self, op: DiskOp) {
        let queue = match &op {
            DiskOp::PrepareSegment { .. } => &self.segments,
            DiskOp::WriteSnapshot { .. }
            | DiskOp::KeepEvidence { .. }
            | DiskOp::AdoptSnapshot { .. }
            | DiskOp::RemoveIncoming { .. }
            | DiskOp::RemoveSnapshot { .. } => &self.snapshots,
            DiskOp::ReplaceFile { file: SmallFile::EpochA, .. } => &self.promises[0],
            DiskOp::ReplaceFile { file: SmallFile::EpochB, .. } => &self.promises[1],
            DiskOp::RemoveSegment { .. }
            | DiskOp::MeasureSpace { .. }
            | DiskOp::WriteSegment { .. } => &self.rest,
        };
        queue.send(op).expect("the helper threads end after this end of their queues");
    }
}

struct Worker {
    dirs: Dirs,
    access: Access,
    filled: u64,
    /// Snapshots that this process has written, and so has not mapped.
    written: BTreeSet<Zxid>,
}

impl Worker {
    fn carry_out(&mut self, op: DiskOp) -> (DiskToken, Result<DiskFact, DiskFault>) {
        match op {
            DiskOp::PrepareSegment { token, segment, bytes } => {
                let path = self.dirs.segment(segment);
                // The log waits for the first one; later ones are made ahead of need.
                let hurry = self.filled == 0;
                self.filled += 1;
                let result = prepare(&path, bytes, self.access, hurry);
                (token, named("preparing", &path, result.map(|()| DiskFact::Done)))
            }
            DiskOp::RemoveSegment { token, segment } => {
                let path = self.dirs.segment(segment);
                // Recovery keeps no segment mapped.
                (token, named("removing", &path, dissolve(&path).map(|()| DiskFact::Done)))
            }
            DiskOp::WriteSnapshot { token, version, incoming } => {
                let zxid = version.zxid();
                let path =
                    if incoming { self.dirs.incoming(zxid) } else { self.dirs.snapshot(zxid) };
                let result = write_snapshot(&path, version);
                if !incoming && result.is_ok() {
                    self.written.insert(zxid);
                }
                let result = result.map(|bytes| DiskFact::SnapshotWritten { bytes });
                (token, named("writing", &path, result))
            }
            DiskOp::RemoveSnapshot { token, zxid } => {
                let path = self.dirs.snapshot(zxid);
                // The one that the state was recovered from is mapped as long as there is something
                // of it in the state, and must keep its content.
                let mapped = !self.written.remove(&zxid);
                let removed = if mapped { remove(&path) } else { dissolve(&path) };
                (token, named("removing", &path, removed.map(|()| DiskFact::Done)))
            }
            DiskOp::AdoptSnapshot { token, zxid } => {
                let path = self.dirs.incoming(zxid);
                let result = adopt(&path, &self.dirs.snapshot(zxid)).map(|()| DiskFact::Done);
                (token, named("adopting", &path, result))
            }
            DiskOp::RemoveIncoming { token, zxid } => {
                let path = self.dirs.incoming(zxid);
                (token, named("removing", &path, remove(&path).map(|()| DiskFact::Done)))
            }
            DiskOp::ReplaceFile { token, file, data } => {
                let path = self.dirs.small(file);
                let result = replace(&path, &data).map(|()| DiskFact::Done);
                (token, named("replacing", &path, result))
            }
            DiskOp::KeepEvidence { token, zxid, text, state } => {
                let path = self.dirs.evidence(zxid, EVIDENCE_TEXT);
                let result = self.keep_evidence(zxid, &text, state).map(|()| DiskFact::Done);
                (token, named("writing", &path, result))
            }
            DiskOp::MeasureSpace { token } => {
                let log = &self.dirs.log;
                let result = free_bytes(log).and_then(|log_free| {
                    let snapshot_free = free_bytes(&self.dirs.snapshots)?;
                    Ok(DiskFact::Space { log_free, snapshot_free })
                });
                (token, named("measuring the space of", log, result))
            }
            DiskOp::WriteSegment { token, segment, .. } => {
                let path = self.dirs.segment(segment);
                let misplaced = io::Error::other("log writes belong to the log's backend");
                (token, named("writing", &path, Err(misplaced)))
            }
        }
    }
}

impl Worker {
    /// The text last: where it is, its state is whole.
    fn keep_evidence(
        &self,
        zxid: Zxid,
        text: &str,
        state: Option<engine::Version>,
    ) -> io::Result<()> {
        let (text_at, state_at) =
            (self.dirs.evidence(zxid, EVIDENCE_TEXT), self.dirs.evidence(zxid, EVIDENCE_STATE));
        // What was found here an earlier time is about another state.
        remove(&text_at)?;
        remove(&state_at)?;
        if let Some(state) = state {
            write_snapshot(&state_at, state)?;
        }
        if let Err(error) = replace(&text_at, text.as_bytes()) {
            // Give the space back: the cause may be that there is none.
            let _ = fs::remove_file(unfinished(&text_at));
            let _ = fs::remove_file(&state_at);
            return Err(error);
        }
        let mut kept = evidence(&self.dirs.snapshots)?;
        kept.retain(|found| *found != zxid);
        let excess = (kept.len() + 1).saturating_sub(EVIDENCE_KEPT);
        for old in kept.into_iter().take(excess) {
            remove(&self.dirs.evidence(old, EVIDENCE_TEXT))?;
            remove(&self.dirs.evidence(old, EVIDENCE_STATE))?;
        }
        Ok(())
    }
}

fn named(what: &str, path: &Path, result: io::Result<DiskFact>) -> Result<DiskFact, DiskFault> {
    result.map_err(|error| fault(what, path, &error))
}

/// A file of zeros under its final name, all of it durable: no later write to it has to allocate,
/// extend or convert anything.
fn prepare(path: &Path, bytes: u64, access: Access, hurry: bool) -> io::Result<()> {
    let temporary = unfinished(path);
    let result = fill(&temporary, bytes, access, hurry);
    if result.is_err() {
        // Give the space back: the cause may be that there is none.
        let _ = fs::remove_file(&temporary);
    }
    result?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

fn fill(path: &Path, bytes: u64, access: Access, hurry: bool) -> io::Result<()> {
    let flags = if access == Access::Direct { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(path)?;
    // One contiguous stretch where the file system can; not every one knows how.
    match nix::fcntl::fallocate(
        &file,
        nix::fcntl::FallocateFlags::empty(),
        0,
        i64::try_from(bytes).map_err(io::Error::other)?,
    ) {
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = AlignedBuf::zeroed(FILL_PIECE);
    let mut offset = 0;
    while offset < bytes {
        let piece = (bytes - offset).min(FILL_PIECE as u64) as usize;
        let began = Instant::now();
        file.write_all_at(&zeros.as_slice()[..piece], offset)?;
        offset += piece as u64;
        if !hurry {
            // Half the device at most.
            std::thread::sleep(began.elapsed().min(FILL_PAUSE_MAX));
        }
    }
    file.sync_all()
}

fn write_snapshot(path: &Path, version: engine::Version) -> io::Result<u64> {
    let temporary = unfinished(path);
    let result = stream(&temporary, version);
    if result.is_err() {
        // Give the space back: the cause may be that there is none.
        let _ = fs::remove_file(&temporary);
    }
    let bytes = result?;
    fs::rename(&temporary, path)?;
    sync_parent(path)?;
    Ok(bytes)
}

fn stream(path: &Path, version: engine::Version) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let mut writer = engine::snapshot::Writer::new(version);
    let (mut page, mut bytes, mut synced) = (Vec::new(), 0, 0);
    while writer.next(&mut page) {
        file.write_all(&page)?;
        bytes += page.len() as u64;
        if bytes - synced >= SYNC_PIECE {
            file.sync_data()?;
            synced = bytes;
        }
    }
    file.sync_all()?;
    Ok(bytes)
}

/// Replaces a small file in one step: after a crash it has the old or the new content.
pub(crate) fn replace(path: &Path, data: &[u8]) -> io::Result<()> {
    let temporary = unfinished(path);
    let mut file = File::create(&temporary)?;
    file.write_all(data)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Gives a received snapshot its own name, in place of whatever had that name.
fn adopt(incoming: &Path, snapshot: &Path) -> io::Result<()> {
    match fs::rename(incoming, snapshot) {
        // A crash between the renaming and its report.
        Err(error) if error.kind() == io::ErrorKind::NotFound && snapshot.exists() => Ok(()),
        other => other,
    }?;
    sync_parent(snapshot)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // A crash between the removal and its report: it is gone, as wanted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }?;
    sync_parent(path)
}

/// Removes a file that nobody has mapped, so slowly that log writes are not held up. With its name
/// it is gone; what is left then is swept away at the next start if this process ends meanwhile.
fn dissolve(path: &Path) -> io::Result<()> {
    let leftover = unfinished(path);
    match fs::rename(path, &leftover) {
        // A crash between the removal and its report: it is gone, as wanted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return sync_parent(path),
        other => other,
    }?;
    sync_parent(path)?;
    let file = OpenOptions::new().write(true).open(&leftover)?;
    let mut bytes = file.metadata()?.len();
    while bytes > SHRINK_PIECE {
        bytes -= SHRINK_PIECE;
        file.set_len(bytes)?;
        std::thread::sleep(SHRINK_PAUSE);
    }
    fs::remove_file(&leftover)
}

fn free_bytes(dir: &Path) -> io::Result<u64> {
    let facts = nix::sys::statvfs::statvfs(dir)?;
    Ok(facts.blocks_available() * facts.fragment_size())
}
