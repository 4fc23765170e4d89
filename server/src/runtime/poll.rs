//! An epoll set inside a glommio executor, and the few descriptors that live in it.
//!
//! glommio has no public way to await a descriptor. A `TcpStream` built from a duplicate of any
//! pollable descriptor arms a poll at construction; the `recv` that follows the readiness fails
//! with `ENOTSOCK`, which is exactly the signal wanted. That costs some twelve system calls, so an
//! executor waits in this way only if glommio's reactor has work of its own, and otherwise in the
//! epoll set itself ([`PollSet::wait`]), which costs one.
#![allow(unsafe_code)] // one descriptor handed to glommio, one timerfd

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Events taken from the kernel in one turn.
const EVENTS_PER_TURN: usize = 512;

/// What an event concerns, packed into the 64 bits that epoll carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Mail from another executor.
    Mail,
    /// The disk has completions.
    Disk,
    /// The tick.
    Tick,
    /// The core's time has come.
    Alarm,
    /// A new client.
    Listener,
    /// The operator wants an end.
    Signal,
    /// A fellow server's name was resolved.
    Names,
    /// A fellow server connects to one of our ports.
    PeerPort {
        /// Which, in the order opened.
        number: u32,
    },
    /// A connection with a fellow server, likewise.
    Peer {
        /// Index in the table of such connections.
        slot: u32,
        /// Tells a reused slot from the one the event was meant for.
        generation: u32,
    },
    /// A client's socket, by slot and the low 24 bits of its generation.
    Socket {
        /// Index in the shard's table.
        slot: u32,
        /// Tells a reused slot from the one the event was meant for.
        generation: u32,
    },
}

impl Source {
    /// Generations are compared by these bits.
    pub(crate) const GENERATION_MASK: u32 = 0x00ff_ffff;

    fn pack(self) -> u64 {
        match self {
            Source::Mail => 1 << 56,
            Source::Disk => 2 << 56,
            Source::Tick => 3 << 56,
            Source::Listener => 4 << 56,
            Source::Signal => 5 << 56,
            Source::Names => 6 << 56,
            Source::PeerPort { number } => 7 << 56 | u64::from(number),
            Source::Alarm => 9 << 56,
            Source::Peer { slot, generation } => {
                8 << 56 | u64::from(generation & Source::GENERATION_MASK) << 32 | u64::from(slot)
            }
            Source::Socket { slot, generation } => {
                u64::from(generation & Source::GENERATION_MASK) << 32 | u64::from(slot)
            }
        }
    }

    fn unpack(word: u64) -> Source {
        match word >> 56 {
            1 => Source::Mail,
            2 => Source::Disk,
            3 => Source::Tick,
            4 => Source::Listener,
            5 => Source::Signal,
            6 => Source::Names,
            7 => Source::PeerPort { number: word as u32 },
            8 => Source::Peer {
                slot: word as u32,
                generation: (word >> 32) as u32 & Source::GENERATION_MASK,
            },
            9 => Source::Alarm,
            _ => Source::Socket {
                slot: word as u32,
                generation: (word >> 32) as u32 & Source::GENERATION_MASK,
            },
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Whose.
    pub(crate) source: Source,
    /// What happened.
    pub(crate) flags: EpollFlags,
}

/// The descriptors that an executor waits for. Level-triggered.
pub(crate) struct PollSet {
    epoll: Epoll,
    buffer: Vec<EpollEvent>,
}

impl PollSet {
    /// An empty set.
    pub(crate) fn new() -> io::Result<PollSet> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(PollSet { epoll, buffer: vec![EpollEvent::empty(); EVENTS_PER_TURN] })
    }

    /// Adds a descriptor. It leaves the set when its last copy is closed.
    pub(crate) fn add(&self, fd: impl AsFd, source: Source, flags: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(flags, source.pack()))?)
    }

    /// Changes what is waited for.
    pub(crate) fn change(
        &self,
        fd: impl AsFd,
        source: Source,
        flags: EpollFlags,
    ) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(flags, source.pack()))?)
    }

    /// Takes a descriptor out.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Appends what is ready now, without waiting.
    pub(crate) fn take(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.take_within(EpollTimeout::ZERO, events)
    }

    /// Waits until something is ready, and appends it; nothing if a signal came in between. The
    /// thread sleeps, and with it everything else on this executor: at most a tick.
    pub(crate) fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.take_within(EpollTimeout::NONE, events)
    }

    /// Appends what is ready within this time.
    pub(crate) fn take_within(
        &mut self,
        most: EpollTimeout,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let count = match self.epoll.wait(&mut self.buffer, most) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        events.extend(
            self.buffer[..count]
                .iter()
                .map(|event| Event { source: Source::unpack(event.data()), flags: event.events() }),
        );
        Ok(())
    }

    /// Completes when something in the set is ready; meanwhile the executor's reactor runs.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        readable(self.epoll.0.as_fd()).await
    }
}

/// Completes when the descriptor is readable. Never for a real socket: it would eat a byte.
async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let duplicate = fd.try_clone_to_owned()?;
    // SAFETY: the duplicate is open and owned by nobody else; the stream closes it when dropped.
    let mut stream = unsafe { TcpStream::from_raw_fd(duplicate.into_raw_fd()) };
    match stream.read(&mut [0u8; 1]).await {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("the awaited descriptor turned out to be a socket")),
    }
}

/// A descriptor that is readable once per period.
pub(crate) struct Ticker {
    timer: OwnedFd,
}

impl Ticker {
    /// Starts ticking.
    pub(crate) fn start(period: Duration) -> io::Result<Ticker> {
        let timer = timer()?;
        set_timer(&timer, period, period)?;
        Ok(Ticker { timer })
    }

    /// Makes the descriptor unreadable until the next period ends.
    pub(crate) fn hear(&self) {
        let mut count = [0u8; 8];
        // Fails if it has not ticked, which is no reason to complain.
        let _ = nix::unistd::read(&self.timer, &mut count);
    }
}

impl AsFd for Ticker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// A descriptor that becomes readable when it is told to.
pub(crate) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// Not set.
    pub(crate) fn new() -> io::Result<Alarm> {
        Ok(Alarm { timer: timer()? })
    }

    /// Rings once, after this long instead of when it was set to before. Zero: never.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        set_timer(&self.timer, after, Duration::ZERO)
    }

    /// Makes the descriptor unreadable.
    pub(crate) fn hear(&self) {
        let mut count = [0u8; 8];
        // Fails if it has not rung, which is no reason to complain.
        let _ = nix::unistd::read(&self.timer, &mut count);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn timer() -> io::Result<OwnedFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was created above and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_timer(timer: &OwnedFd, after: Duration, period: Duration) -> io::Result<()> {
    let spec = |time: Duration| libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: i64::from(time.subsec_nanos()) as libc::c_long,
    };
    let spec = libc::itimerspec { it_interval: spec(period), it_value: spec(after) };
    // SAFETY: `spec` outlives the call, and the old value is not asked for.
    let result = unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_once_when_it_was_set_to_last() {
        let (mut set, alarm) = (PollSet::new().expect("a set"), Alarm::new().expect("a timer"));
        set.add(&alarm, Source::Alarm, EpollFlags::EPOLLIN).expect("a place in the set");
        let mut ring = |within: u16| {
            let mut events = Vec::new();
            set.take_within(EpollTimeout::from(within), &mut events).expect("events");
            events.len()
        };
        alarm.set(Duration::from_secs(3600)).expect("set");
        assert_eq!(ring(0), 0);
        alarm.set(Duration::from_nanos(1)).expect("set");
        assert_eq!(ring(20_000), 1);
        alarm.hear();
        assert_eq!(ring(0), 0);
    }

    #[test]
    fn sources_survive_packing() {
        let sockets = [(0, 0), (7, 1), (u32::MAX, Source::GENERATION_MASK)];
        let sockets = sockets.map(|(slot, generation)| Source::Socket { slot, generation });
        let peers = [(0, 0), (u32::MAX, Source::GENERATION_MASK)];
        let peers = peers.map(|(slot, generation)| Source::Peer { slot, generation });
        let ports = [0, u32::MAX].map(|number| Source::PeerPort { number });
        let others = [Source::Mail, Source::Disk, Source::Tick, Source::Listener, Source::Signal];
        let others =
            others.into_iter().chain([Source::Names, Source::Alarm]).chain(peers).chain(ports);
        for source in sockets.into_iter().chain(others) {
            assert_eq!(Source::unpack(source.pack()), source);
        }
    }
}
