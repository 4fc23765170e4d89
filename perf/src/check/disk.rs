//! Durable writes, as a log would make them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::statfs;

use crate::report::{self, Latencies};

/// Bytes of one durable write.
const BLOCK: usize = 4096;
/// Bytes of the file they go to.
const FILE: usize = 16 << 20;
/// Durable writes at most, in all.
const WRITES_MAX: usize = 20_000;

/// What durable writes gave with so many in flight.
pub(super) struct Durable {
    /// Of one write each.
    pub(super) latencies: Latencies,
    /// In all.
    pub(super) per_second: f64,
}

/// Overwrites blocks of a file whose space was written with zeros and synced before, each durable
/// on return (`O_DIRECT | O_DSYNC`), from as many threads as there shall be writes in flight.
pub(super) fn durable(dir: &Path, flights: &[usize], length: Duration) -> Result<Vec<Durable>> {
    let path = dir.join(format!("ringkeeper-perf-{}.check", std::process::id()));
    let write_all = || -> Result<Vec<Durable>> {
        let file = File::create_new(&path).context("creating a file")?;
        file.write_all_at(&vec![0; FILE], 0).context("filling the file")?;
        file.sync_all().context("syncing the file")?;
        drop(file);
        flights.iter().map(|&flight| overwrite(&path, flight, length)).collect()
    };
    let outcome = write_all();
    let _ = fs::remove_file(&path);
    outcome.with_context(|| format!("--dir {}", dir.display()))
}

fn overwrite(path: &Path, flight: usize, length: Duration) -> Result<Durable> {
    let started = Barrier::new(flight);
    let room = FILE / BLOCK / flight;
    let parts: Vec<Result<(Latencies, Duration)>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..flight)
            .map(|writer| {
                let started = &started;
                scope.spawn(move || {
                    let file = OpenOptions::new()
                        .write(true)
                        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
                        .open(path)
                        .context("opening for direct writes (not every file system can)");
                    started.wait();
                    let file = file?;
                    // Direct writes want an aligned buffer; an aligned piece of a larger one does.
                    let buffer = vec![0x5a; 2 * BLOCK];
                    let skip = buffer.as_ptr().align_offset(BLOCK);
                    let block = &buffer[skip..skip + BLOCK];
                    let mut latencies = report::latencies();
                    let begin = Instant::now();
                    for index in 0..WRITES_MAX / flight {
                        if begin.elapsed() >= length {
                            break;
                        }
                        let at = (writer * room + index % room) * BLOCK;
                        let before = Instant::now();
                        file.write_all_at(block, at as u64).context("durable write")?;
                        report::record(&mut latencies, before.elapsed());
                    }
                    Ok((latencies, begin.elapsed()))
                })
            })
            .collect();
        let join = |writer: std::thread::ScopedJoinHandle<'_, _>| {
            writer.join().unwrap_or_else(|_| Err(anyhow!("a writer failed")))
        };
        writers.into_iter().map(join).collect()
    });
    let mut latencies = report::latencies();
    let mut longest = Duration::ZERO;
    for part in parts {
        let (part, took) = part?;
        latencies.add(&part).context("latencies")?;
        longest = longest.max(took);
    }
    let per_second = latencies.len() as f64 / longest.as_secs_f64().max(1e-9);
    Ok(Durable { latencies, per_second })
}

/// The folder is in memory: nothing there is durable, however fast it is.
pub(super) fn is_memory(dir: &Path) -> bool {
    let memory = [statfs::TMPFS_MAGIC.0, 0x8584_58f6];
    statfs::statfs(dir).is_ok_and(|found| memory.contains(&found.filesystem_type().0))
}
