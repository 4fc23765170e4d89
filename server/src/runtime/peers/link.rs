//! One connection with a fellow server: its socket, and what is to be written there.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use model::{Mono, ServerId};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use replication::{Bytes, LinkId, Port};

/// Pieces written with one system call.
const SLICES_MAX: usize = 64;
/// Reads with which a connection that ends is emptied.
const DRAIN_READS: usize = 4;

/// A state as bytes, made piece by piece.
pub(super) trait Stream {
    /// Appends the next bytes; false if everything had been given out before.
    fn next(&mut self, out: &mut Vec<u8>) -> bool;
}

/// A state on its way.
struct Snapshot {
    stream: Box<dyn Stream>,
    out: Vec<u8>,
    sent: usize,
}

enum Piece {
    Bytes(Bytes),
    Snapshot(Snapshot),
}

/// What is to be written, in order.
#[derive(Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written already, if it is bytes.
    written: usize,
    /// Bytes that wait, snapshots not counted.
    bytes: usize,
}

/// How far a queue was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushed {
    /// Completely.
    Empty,
    /// There is more. Wait for the socket.
    Waiting,
    /// The peer is gone.
    Gone,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.pieces.push_back(Piece::Bytes(bytes));
    }

    pub(super) fn push_snapshot(&mut self, stream: Box<dyn Stream>) {
        self.pieces.push_back(Piece::Snapshot(Snapshot { stream, out: Vec::new(), sent: 0 }));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait, snapshots not counted.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes what the socket takes, and makes of a snapshot what is needed for that: one piece,
    /// and more `while` there is time. `sent` is called for each snapshot that is written.
    fn flush(
        &mut self,
        mut stream: &TcpStream,
        mut time: impl FnMut() -> bool,
        mut sent: impl FnMut(),
    ) -> Flushed {
        let mut made = 0;
        loop {
            let result = match self.pieces.front_mut() {
                None => return Flushed::Empty,
                Some(Piece::Snapshot(snapshot)) => {
                    if snapshot.sent == snapshot.out.len() {
                        if made > 0 && !time() {
                            return Flushed::Waiting;
                        }
                        made += 1;
                        snapshot.sent = 0;
                        snapshot.out.clear();
                        if !snapshot.stream.next(&mut snapshot.out) {
                            self.pieces.pop_front();
                            sent();
                        }
                        continue;
                    }
                    stream.write(&snapshot.out[snapshot.sent..])
                }
                Some(Piece::Bytes(_)) => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let count = self.slices(&mut slices);
                    stream.write_vectored(&slices[..count])
                }
            };
            match result {
                Ok(0) => return Flushed::Gone,
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Gone,
            }
        }
    }

    /// The bytes at the front.
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut skip = self.written;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let Piece::Bytes(bytes) = piece else { break };
            *slice = IoSlice::new(&bytes[std::mem::take(&mut skip)..]);
            count += 1;
        }
        count
    }

    /// Forgets what was written.
    fn advance(&mut self, mut count: usize) {
        if let Some(Piece::Snapshot(snapshot)) = self.pieces.front_mut() {
            snapshot.sent += count;
            return;
        }
        self.bytes -= count;
        while let Some(Piece::Bytes(bytes)) = self.pieces.front() {
            let left = bytes.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.pieces.pop_front();
        }
    }
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its names are being resolved.
    Naming,
    /// Somebody is being connected to.
    Connecting(TcpStream),
    /// Bytes flow.
    Open(TcpStream),
}

/// One connection.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) generation: u32,
    pub(super) port: Port,
    /// Whom this server called; None: it was called.
    pub(super) peer: Option<ServerId>,
    pub(super) stage: Stage,
    /// Where else to connect to.
    pub(super) rest: VecDeque<SocketAddr>,
    /// When to give up what the stage waits for, or to end a connection that is to be closed.
    pub(super) deadline: Option<Mono>,
    pub(super) queue: Queue,
    /// Somebody connected, and was not answered yet.
    pub(super) stranger: bool,
    /// What still arrives is dropped; ended once the queue is written.
    pub(super) closing: bool,
    /// Nothing more will arrive.
    pub(super) drained: bool,
    /// Waits for room in the socket.
    pub(super) blocked: bool,
    /// To be flushed at the end of the step.
    pub(super) dirty: bool,
    pub(super) interest: EpollFlags,
}

impl Link {
    pub(super) fn new(id: LinkId, generation: u32, port: Port, stage: Stage) -> Link {
        Link {
            id,
            generation,
            port,
            peer: None,
            stage,
            rest: VecDeque::new(),
            deadline: None,
            queue: Queue::default(),
            stranger: false,
            closing: false,
            drained: false,
            blocked: false,
            dirty: false,
            interest: EpollFlags::empty(),
        }
    }

    /// What is to be waited for now.
    pub(super) fn wants(&self) -> EpollFlags {
        match self.stage {
            Stage::Naming => EpollFlags::empty(),
            Stage::Connecting(_) => EpollFlags::EPOLLOUT,
            Stage::Open(_) => {
                let mut wants = EpollFlags::empty();
                if !self.drained {
                    wants |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
                }
                if self.blocked {
                    wants |= EpollFlags::EPOLLOUT;
                }
                wants
            }
        }
    }

    /// The socket, if there is one.
    pub(super) fn stream(&self) -> Option<&TcpStream> {
        match &self.stage {
            Stage::Naming => None,
            Stage::Connecting(stream) | Stage::Open(stream) => Some(stream),
        }
    }

    /// Writes what fits; see [`Queue::flush`].
    pub(super) fn flush(&mut self, time: impl FnMut() -> bool, sent: impl FnMut()) -> Flushed {
        let Stage::Open(stream) = &self.stage else { return Flushed::Waiting };
        let flushed = self.queue.flush(stream, time, sent);
        self.blocked = flushed == Flushed::Waiting;
        flushed
    }

    /// Reads once; 0: the peer has sent everything, or is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Stage::Open(stream) = &self.stage else { return Err(ErrorKind::WouldBlock.into()) };
        let mut stream: &TcpStream = stream;
        loop {
            match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Ends the connection. What the peer has sent meanwhile is read and dropped first: closing
    /// over unread bytes resets the connection, and the reset may overtake what was written last.
    pub(super) fn shut(mut self, buffer: &mut [u8]) {
        if !self.closing {
            return;
        }
        if let Stage::Open(stream) = &mut self.stage {
            let _ = stream.shutdown(Shutdown::Write);
            for _ in 0..DRAIN_READS {
                if !matches!(stream.read(buffer), Ok(1..)) {
                    break;
                }
            }
        }
    }
}

/// What every connection with a fellow server needs. On the election port nothing is sent for days,
/// so the system probes there whether the other side still exists.
pub(super) fn prepare(stream: &TcpStream, port: Port, silence_ms: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match port {
        Port::Quorum => {}
        Port::Election => {
            let seconds = u32::try_from(silence_ms / 1000).unwrap_or(u32::MAX).clamp(1, 32_000);
            setsockopt(stream, sockopt::KeepAlive, &true)?;
            setsockopt(stream, sockopt::TcpKeepIdle, &seconds)?;
            setsockopt(stream, sockopt::TcpKeepInterval, &seconds.div_ceil(3))?;
            setsockopt(stream, sockopt::TcpKeepCount, &3)?;
            let silence = u32::try_from(silence_ms).unwrap_or(u32::MAX);
            setsockopt(stream, sockopt::TcpUserTimeout, &silence)?;
        }
    }
    Ok(())
}
