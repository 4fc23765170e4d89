//! Carries out [`DiskOp`]s.
//!
//! Segment writes go to one of the [`backends`](Backend); everything slow has a thread of its
//! own, so that a segment being zero-filled or a snapshot being streamed never delays a write.
//! Nothing is retried: a failure is reported once, with the file, the operation and the system's
//! words, and the issuer decides.

pub(crate) mod files;
mod glommio_file;
mod ring;
mod slow;
mod threads;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use engine::disk::{AlignedBuf, DiskDone, DiskFact, DiskFault, DiskOp, DiskToken, SegmentId};

pub use files::Dirs;

pub use crate::config::LogBackend as Backend;

use crate::runtime::wake::Wake;
use glommio_file::GlommioLog;
use ring::{RingLog, RingThreadLog};
use slow::SlowWork;
use threads::ThreadsLog;

/// Descriptions that may wait for a helper thread. Far above what the log and the snapshots can
/// have under way; a full queue makes the issuer wait rather than grow.
const QUEUE_MAX: usize = 4096;

/// How a segment file must be opened on this file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `O_DIRECT | O_DSYNC`.
    Direct,
    /// The file system refuses direct I/O: through the page cache, with `fdatasync`.
    Buffered,
}

/// One log write.
pub(crate) struct LogWrite {
    pub(crate) token: DiskToken,
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) data: AlignedBuf,
}

/// Where helper threads leave their completions.
#[derive(Clone)]
pub(crate) struct Completions {
    done: flume::Sender<DiskDone>,
    wake: Arc<Wake>,
}

impl Completions {
    /// Leaves one and rings.
    pub(crate) fn push(&self, token: DiskToken, result: Result<DiskFact, DiskFault>) {
        // The receiver is gone only when the process is about to end.
        let _ = self.done.send(DiskDone { token, result });
        self.wake.ring();
    }
}

enum LogBackend {
    Ring(Box<RingLog>),
    RingThread(RingThreadLog),
    Glommio(GlommioLog),
    Threads(ThreadsLog),
}

/// The disk of one node, as its core sees it. Lives on the core's executor.
pub struct Disk {
    log: LogBackend,
    slow: SlowWork,
    done: flume::Receiver<DiskDone>,
    wake: Arc<Wake>,
}

impl Disk {
    /// Starts the helper threads and the log's backend. Must run on the executor that will
    /// submit. A file system that refuses direct I/O, or a kernel that refuses a ring, falls back
    /// to threads with a warning.
    pub async fn start(dirs: Dirs, backend: Backend) -> io::Result<Disk> {
        let wake = Arc::new(Wake::new()?);
        let (sender, done) = flume::bounded(QUEUE_MAX);
        let completions = Completions { done: sender, wake: Arc::clone(&wake) };
        let access = files::probe_access(&dirs.log)?;
        if access == Access::Buffered {
            tracing::warn!(
                directory = %dirs.log.display(),
                "the file system refuses direct I/O; the log uses buffered writes with fdatasync",
            );
        }
        let slow = SlowWork::start(&dirs, access, &completions)?;
        let log = match (access, backend) {
            (Access::Buffered, _) | (Access::Direct, Backend::Threads) => {
                LogBackend::Threads(ThreadsLog::start(&dirs, access, &completions)?)
            }
            (Access::Direct, Backend::Glommio) => {
                LogBackend::Glommio(GlommioLog::start(&dirs, completions).await?)
            }
            (Access::Direct, Backend::Ring) => match RingLog::start(&dirs, &wake) {
                Ok(ring) => LogBackend::Ring(Box::new(ring)),
                Err(error) => {
                    refused(&error);
                    LogBackend::Threads(ThreadsLog::start(&dirs, access, &completions)?)
                }
            },
            (Access::Direct, Backend::RingThread) => {
                match RingThreadLog::start(&dirs, &completions) {
                    Ok(ring) => LogBackend::RingThread(ring),
                    Err(error) => {
                        refused(&error);
                        LogBackend::Threads(ThreadsLog::start(&dirs, access, &completions)?)
                    }
                }
            }
        };
        Ok(Disk { log, slow, done, wake })
    }

    /// The backend in use, which a fallback may have chosen.
    pub fn backend(&self) -> Backend {
        match &self.log {
            LogBackend::Ring(_) => Backend::Ring,
            LogBackend::RingThread(_) => Backend::RingThread,
            LogBackend::Glommio(_) => Backend::Glommio,
            LogBackend::Threads(_) => Backend::Threads,
        }
    }

    /// True if writes are glommio's, so that they only get on while its reactor runs.
    pub fn needs_reactor(&self) -> bool {
        match &self.log {
            LogBackend::Glommio(_) => true,
            LogBackend::Ring(_) | LogBackend::RingThread(_) | LogBackend::Threads(_) => false,
        }
    }

    /// Begins an operation. Its completion comes from [`Disk::reap`]; [`Disk::flush`] must be
    /// called before the executor waits.
    pub fn submit(&mut self, op: DiskOp) {
        match op {
            DiskOp::WriteSegment { token, segment, offset, data } => {
                let write = LogWrite { token, segment, offset, data };
                match &mut self.log {
                    LogBackend::Ring(log) => log.submit(write),
                    LogBackend::RingThread(log) => log.submit(write),
                    LogBackend::Glommio(log) => log.submit(write),
                    LogBackend::Threads(log) => log.submit(write),
                }
            }
            DiskOp::RemoveSegment { token, segment } => {
                match &mut self.log {
                    LogBackend::Ring(log) => log.forget(segment),
                    LogBackend::Glommio(log) => log.forget(segment),
                    LogBackend::RingThread(_) | LogBackend::Threads(_) => {}
                }
                self.slow.submit(DiskOp::RemoveSegment { token, segment });
            }
            op @ (DiskOp::PrepareSegment { .. }
            | DiskOp::WriteSnapshot { .. }
            | DiskOp::AdoptSnapshot { .. }
            | DiskOp::RemoveIncoming { .. }
            | DiskOp::RemoveSnapshot { .. }
            | DiskOp::ReplaceFile { .. }
            | DiskOp::KeepEvidence { .. }
            | DiskOp::MeasureSpace { .. }) => self.slow.submit(op),
        }
    }

    /// Hands everything submitted in this turn to the kernel.
    pub fn flush(&mut self) {
        match &mut self.log {
            LogBackend::Ring(log) => log.flush(),
            LogBackend::RingThread(_) | LogBackend::Glommio(_) | LogBackend::Threads(_) => {}
        }
    }

    /// Appends what has completed. Call when the descriptor of [`Disk::as_fd`] is readable.
    pub fn reap(&mut self, out: &mut Vec<DiskDone>) {
        self.wake.hear();
        if let LogBackend::Ring(log) = &mut self.log {
            log.reap(out);
        }
        out.extend(self.done.try_iter());
    }

    /// Waits (blocking) for a completion; for benches and tests that have no executor to turn.
    pub fn wait(&mut self, at_most: Duration) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // Interrupted or timed out: the caller looks and waits again.
        let _ = poll(&mut fds, timeout);
    }
}

impl AsFd for Disk {
    /// Readable when something has completed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn refused(error: &io::Error) {
    tracing::warn!(%error, "io_uring refuses log writes; the log uses threads instead");
}

/// A fault in words: what was attempted, on which file, and the system's answer.
pub(crate) fn fault(what: &str, path: &std::path::Path, error: &io::Error) -> DiskFault {
    let out_of_space = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
    DiskFault { out_of_space, cause: format!("{what} {}: {error}", path.display()) }
}

/// The verdict on a write that returned `written`.
pub(crate) fn judge(
    write: (&std::path::Path, u64, usize),
    written: io::Result<usize>,
) -> Result<DiskFact, DiskFault> {
    let (path, offset, length) = write;
    let what = || format!("durable write of {length} bytes at {offset} in");
    match written {
        Ok(count) if count == length => Ok(DiskFact::Done),
        Ok(count) => {
            let short = io::Error::other(format!("only {count} bytes were taken"));
            Err(fault(&what(), path, &short))
        }
        Err(error) => Err(fault(&what(), path, &error)),
    }
}

#[cfg(test)]
mod tests;
