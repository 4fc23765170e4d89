//! The machine skin: the only place that names glommio, sockets, files, clocks and threads.
//!
//! One executor per shard, each with one main loop: take what its epoll set has, step the shard
//! (and, where it lives, the core), send every outbox once, wait. Nothing else of the server
//! imports this module, so the simulator can drive the very same shard and core without it.

mod admin;
pub(crate) mod clock;
pub mod disk;
mod executor;
mod host;
mod images;
mod mail;
mod peers;
mod placement;
pub(crate) mod poll;
mod preflight;
mod pulse;
mod sockets;
mod texts;
pub(crate) mod wake;

pub use placement::{cores, serve, shards_default};
pub use preflight::{FOLDER, StartError, read_beside};

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// Reads a configuration file.
pub fn read_text(path: &Path) -> Result<String, StartError> {
    let what = format!("reading {}", path.display());
    std::fs::read_to_string(path).map_err(preflight::cannot(what))
}

/// A bare main loop's wait, for benches of parts of the runtime.
pub struct BenchTurn {
    set: poll::PollSet,
    tick: poll::Ticker,
    events: Vec<poll::Event>,
}

/// Waits for `fd` or for the next period, as the main loop does.
pub fn bench_turn(fd: BorrowedFd<'_>, period: Duration) -> io::Result<BenchTurn> {
    let (set, tick) = (poll::PollSet::new()?, poll::Ticker::start(period)?);
    let flags = nix::sys::epoll::EpollFlags::EPOLLIN;
    set.add(fd, poll::Source::Disk, flags)?;
    set.add(&tick, poll::Source::Tick, flags)?;
    Ok(BenchTurn { set, tick, events: Vec::new() })
}

impl BenchTurn {
    /// One turn's wait.
    pub async fn ready(&mut self) {
        self.set.ready().await.expect("an epoll set can be awaited");
        self.events.clear();
        self.set.take(&mut self.events).expect("an epoll set can be read");
        self.tick.hear();
    }
}
