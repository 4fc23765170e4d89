//! Log writes on plain threads: `O_DIRECT | O_DSYNC`, or buffered with `fdatasync`.
//!
//! Two threads share one queue, so that one write is on its way to the device while another's
//! flush is under way. Not pinned: the scheduler favours a sleeping thread that is woken.

use std::io;
use std::os::unix::fs::FileExt;

use super::files::OpenSegments;
use super::{Access, Completions, Dirs, LogWrite, QUEUE_MAX, fault, judge};

/// Threads that write.
const THREADS: usize = 2;

/// The executor's end.
pub(crate) struct ThreadsLog {
    queue: flume::Sender<LogWrite>,
}

impl ThreadsLog {
    pub(crate) fn start(
        dirs: &Dirs,
        access: Access,
        completions: &Completions,
    ) -> io::Result<ThreadsLog> {
        let (queue, jobs) = flume::bounded(QUEUE_MAX);
        for number in 0..THREADS {
            let jobs: flume::Receiver<LogWrite> = jobs.clone();
            let completions = completions.clone();
            let mut segments = OpenSegments::new(dirs, access);
            std::thread::Builder::new().name(format!("log-{number}")).spawn(move || {
                for write in jobs {
                    let result = carry_out(&mut segments, access, &write);
                    completions.push(write.token, result);
                }
            })?;
        }
        Ok(ThreadsLog { queue })
    }

    pub(crate) fn submit(&mut self, write: LogWrite) {
        self.queue.send(write).expect("the log threads end after this end of their queue");
    }
}

fn carry_out(
    segments: &mut OpenSegments,
    access: Access,
    write: &LogWrite,
) -> Result<engine::disk::DiskFact, engine::disk::DiskFault> {
    let segment = segments
        .get(write.segment)
        .map_err(|error| fault("opening", &segments.path(write.segment), &error))?;
    let mut written = segment.file.write_at(write.data.as_slice(), write.offset);
    if access == Access::Buffered && written.is_ok() {
        written = written.and_then(|count| segment.file.sync_data().map(|()| count));
    }
    judge((&segment.path, write.offset, write.data.len()), written)
}
