//! Log writes through an io_uring of our own.
//!
//! A write on a direct-I/O descriptor opened with `O_DSYNC`, into a range that has been written
//! before, is issued inline and flushed by the kernel at completion: no worker thread takes part.
//! An fsync request would always travel through one, so there is none.
//!
//! Two placements: [`RingLog`] submits from the executor's thread and learns of completions
//! through an eventfd registered with the ring; [`RingThreadLog`] has a thread that sleeps in the
//! ring itself, woken by a read of its bell that is always outstanding.
#![allow(unsafe_code)] // the kernel is given pointers

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use engine::disk::{DiskDone, DiskFact, DiskFault, DiskToken, SegmentId};
use io_uring::{IoUring, opcode, types};

use super::files::{OpenSegment, OpenSegments};
use super::{Access, Completions, Dirs, LogWrite, QUEUE_MAX, fault, judge};
use crate::runtime::wake::Wake;

/// Entries of the submission queue; twice as many completions fit. Far above the log's own bound
/// on writes in flight.
const ENTRIES: u32 = 64;
/// `IORING_ENTER_GETEVENTS`: run the completions that the kernel has kept for this thread.
const GET_EVENTS: u32 = 1;
/// Marks the read of the bell; writes are numbered from 1.
const BELL: u64 = 0;

/// A write that the kernel has been given. It owns what the kernel points at.
struct InFlight {
    write: LogWrite,
    segment: Arc<OpenSegment>,
}

/// The ring and the writes in it.
struct Writes {
    ring: IoUring,
    segments: OpenSegments,
    in_flight: BTreeMap<u64, InFlight>,
    last: u64,
}

impl Writes {
    fn new(dirs: &Dirs) -> io::Result<Writes> {
        // Completions are worked off by this thread when it asks, without interrupting it; since
        // Linux 6.1. Without it everything works, with more interruptions.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES)
            .or_else(|_| IoUring::new(ENTRIES))?;
        Ok(Writes {
            ring,
            segments: OpenSegments::new(dirs, Access::Direct),
            in_flight: BTreeMap::new(),
            last: BELL,
        })
    }

    /// Queues a write; an error is its completion.
    fn push(&mut self, write: LogWrite) -> Result<(), (DiskToken, DiskFault)> {
        let segment = self.segments.get(write.segment).map_err(|error| {
            (write.token, fault("opening", &self.segments.path(write.segment), &error))
        })?;
        self.last += 1;
        let bytes = write.data.as_slice();
        let entry = opcode::Write::new(
            types::Fd(segment.file.as_raw_fd()),
            bytes.as_ptr(),
            bytes.len() as u32,
        )
        .offset(write.offset)
        .build()
        .user_data(self.last);
        // The buffer is on the heap and does not move with `write`.
        self.in_flight.insert(self.last, InFlight { write, segment });
        // SAFETY: the buffer and the descriptor live in `in_flight` until the completion is
        // reaped, and `drop` waits for completions that were not.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            let taken = self.in_flight.remove(&self.last).expect("inserted above");
            let full = io::Error::other("the submission queue is full");
            return Err((taken.write.token, fault("writing", &taken.segment.path, &full)));
        }
        Ok(())
    }

    /// Takes one completion, if there is one: its number and, for a write, what became of it.
    fn pop(&mut self) -> Option<(u64, Option<DiskDone>)> {
        let entry = self.ring.completion().next()?;
        let done = self.in_flight.remove(&entry.user_data()).map(|taken| {
            let written = match entry.result() {
                count if count >= 0 => Ok(count as usize),
                error => Err(io::Error::from_raw_os_error(-error)),
            };
            let what = (&*taken.segment.path, taken.write.offset, taken.write.data.len());
            DiskDone { token: taken.write.token, result: judge(what, written) }
        });
        Some((entry.user_data(), done))
    }

    /// Gives the kernel what is queued, interrupted or not.
    fn submit_and_wait(&mut self, want: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(want) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        // The kernel must be done with the buffers before they are freed.
        while !self.in_flight.is_empty() {
            if self.submit_and_wait(1).is_err() {
                // Rather lose the memory than let the kernel write from freed pages.
                std::mem::forget(std::mem::take(&mut self.in_flight));
                return;
            }
            while self.pop().is_some() {}
        }
    }
}

/// A ring on the executor's thread.
pub(crate) struct RingLog {
    writes: Writes,
    queued: bool,
    failed: Vec<DiskDone>,
    wake: Arc<Wake>,
}

impl RingLog {
    pub(crate) fn start(dirs: &Dirs, wake: &Arc<Wake>) -> io::Result<RingLog> {
        let writes = Writes::new(dirs)?;
        writes.ring.submitter().register_eventfd(wake.as_fd().as_raw_fd())?;
        Ok(RingLog { writes, queued: false, failed: Vec::new(), wake: Arc::clone(wake) })
    }

    pub(crate) fn submit(&mut self, write: LogWrite) {
        match self.writes.push(write) {
            Ok(()) => self.queued = true,
            Err((token, fault)) => self.fail(token, fault),
        }
    }

    pub(crate) fn flush(&mut self) {
        if !std::mem::take(&mut self.queued) {
            return;
        }
        if let Err(error) = self.writes.submit_and_wait(0) {
            // None of them may be assumed durable; the first report ends the node.
            let taken: Vec<_> = self.writes.in_flight.values().map(|t| t.write.token).collect();
            for token in taken {
                let cause = format!("io_uring refuses log writes: {error}");
                self.fail(token, DiskFault { out_of_space: false, cause });
            }
        }
    }

    fn fail(&mut self, token: DiskToken, fault: DiskFault) {
        self.failed.push(DiskDone { token, result: Err(fault) });
        self.wake.ring();
    }

    pub(crate) fn reap(&mut self, out: &mut Vec<DiskDone>) {
        out.append(&mut self.failed);
        if self.writes.in_flight.is_empty() {
            return;
        }
        // SAFETY: no argument is passed; with `GET_EVENTS` and nothing to wait for, the call runs
        // the completions that are due and returns.
        // An error means that nothing was run; the eventfd rings again for what is left.
        let _ =
            unsafe { self.writes.ring.submitter().enter::<libc::sigset_t>(0, 0, GET_EVENTS, None) };
        while let Some((_, done)) = self.writes.pop() {
            out.extend(done);
        }
    }

    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.writes.segments.forget(segment);
    }
}

/// A ring on a thread of its own.
pub(crate) struct RingThreadLog {
    queue: flume::Sender<LogWrite>,
    bell: Arc<Wake>,
}

impl RingThreadLog {
    pub(crate) fn start(dirs: &Dirs, completions: &Completions) -> io::Result<RingThreadLog> {
        let (queue, jobs) = flume::bounded(QUEUE_MAX);
        let (started, answer) = flume::bounded(1);
        let bell = Arc::new(Wake::new()?);
        let (dirs, completions) = (dirs.clone(), completions.clone());
        let heard = Arc::clone(&bell);
        std::thread::Builder::new().name("log-ring".into()).spawn(move || {
            // The ring belongs to the thread that creates it.
            match Writes::new(&dirs) {
                Ok(writes) => {
                    // The starter waits for this answer.
                    let _ = started.send(Ok(()));
                    run(writes, &jobs, &heard, &completions);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        answer.recv().map_err(io::Error::other)??;
        Ok(RingThreadLog { queue, bell })
    }

    pub(crate) fn submit(&mut self, write: LogWrite) {
        self.queue.send(write).expect("the ring thread ends after this end of its queue");
        self.bell.ring();
    }
}

impl Drop for RingThreadLog {
    fn drop(&mut self) {
        // Lets the thread see that nothing more will come.
        let (nothing, _) = flume::bounded(0);
        drop(std::mem::replace(&mut self.queue, nothing));
        self.bell.ring();
    }
}

fn run(
    mut writes: Writes,
    jobs: &flume::Receiver<LogWrite>,
    bell: &Wake,
    completions: &Completions,
) {
    let mut listening = false;
    loop {
        if !listening {
            let entry =
                opcode::PollAdd::new(types::Fd(bell.as_fd().as_raw_fd()), libc::POLLIN as u32)
                    .build()
                    .user_data(BELL);
            // SAFETY: the entry carries no pointer, and `bell` outlives the ring.
            let pushed = unsafe { writes.ring.submission().push(&entry) };
            assert!(pushed.is_ok(), "the queue has room for the bell and every write in flight");
            listening = true;
        }
        if let Err(error) = writes.submit_and_wait(1) {
            // Nothing in flight may be assumed durable; the first report ends the node.
            let cause = format!("io_uring refuses log writes: {error}");
            for taken in writes.in_flight.values() {
                let fault = DiskFault { out_of_space: false, cause: cause.clone() };
                completions.push(taken.write.token, Err::<DiskFact, _>(fault));
            }
            return;
        }
        while let Some((number, done)) = writes.pop() {
            if let Some(done) = done {
                completions.push(done.token, done.result);
            }
            if number == BELL {
                listening = false;
                bell.hear();
            }
        }
        for write in jobs.try_iter() {
            if let Err((token, fault)) = writes.push(write) {
                completions.push(token, Err(fault));
            }
        }
        if jobs.is_disconnected() && jobs.is_empty() && writes.in_flight.is_empty() {
            return;
        }
    }
}
