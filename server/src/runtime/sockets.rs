//! The sockets of one shard, and the listener.
//!
//! Non-blocking, level-triggered, `TCP_NODELAY`. One read buffer serves all sockets; what a
//! request leaves over is the shard's to keep. Nothing here allocates per request.

use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use super::poll::{PollSet, Source};
use crate::limits::READ_BYTES_PER_TURN;
use crate::link::ConnId;

/// The shared read buffer; a read that does not fill it has emptied the socket.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Backlog of the listener unless configured; a burst of reconnecting clients must fit.
const BACKLOG: i32 = 4096;
/// One client's socket.
struct Socket {
    stream: TcpStream,
    peer: IpAddr,
    generation: u32,
    interest: EpollFlags,
    paused: bool,
    /// What still arrives is dropped; closed once the outbox is empty.
    closing: bool,
    /// Nothing more will arrive.
    drained: bool,
    /// The outbox did not fit; waits for `EPOLLOUT`.
    blocked: bool,
    /// Waits for its turn to be sent events.
    queued: bool,
}

/// What a read brought.
pub(crate) enum Got {
    /// So many bytes are in the buffer; ask again.
    Bytes(usize),
    /// Nothing for now, or enough for this turn.
    Enough,
    /// The peer is gone.
    Gone,
}

/// What a write achieved.
pub(crate) enum Put {
    /// So many bytes were taken.
    Taken(usize),
    /// Nothing fits; the socket is waited for.
    Blocked,
    /// The peer is gone.
    Gone,
}

/// The sockets of one shard, by slot.
pub(crate) struct Sockets {
    table: Vec<Option<Socket>>,
    buffer: Vec<u8>,
}

impl Sockets {
    pub(crate) fn new() -> Sockets {
        Sockets { table: Vec::new(), buffer: vec![0; READ_BUFFER_BYTES] }
    }

    /// Takes over the socket of an accepted connection.
    pub(crate) fn insert(
        &mut self,
        set: &PollSet,
        conn: ConnId,
        stream: TcpStream,
        peer: IpAddr,
    ) -> io::Result<()> {
        let interest = EpollFlags::EPOLLIN;
        set.add(&stream, source(conn), interest)?;
        let slot = conn.slot as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        debug_assert!(self.table[slot].is_none(), "a slot is free before it is reused");
        self.table[slot] = Some(Socket {
            stream,
            peer,
            generation: conn.generation,
            interest,
            paused: false,
            closing: false,
            drained: false,
            blocked: false,
            queued: false,
        });
        Ok(())
    }

    /// The generation in a slot whose low bits are `generation`, if that connection still exists.
    pub(crate) fn generation(&self, slot: u32, generation: u32) -> Option<u32> {
        let socket = self.table.get(slot as usize)?.as_ref()?;
        let same = socket.generation & Source::GENERATION_MASK == generation;
        same.then_some(socket.generation)
    }

    fn get(&mut self, conn: ConnId) -> Option<&mut Socket> {
        let socket = self.table.get_mut(conn.slot as usize)?.as_mut()?;
        (socket.generation == conn.generation).then_some(socket)
    }

    /// The last read's bytes.
    pub(crate) fn bytes(&self, count: usize) -> &[u8] {
        &self.buffer[..count]
    }

    /// Reads into the shared buffer, at most [`READ_BYTES_PER_TURN`] of one connection in a turn;
    /// `so_far` is what this turn has read of it. A connection that is to be closed is only
    /// drained.
    pub(crate) fn read(&mut self, set: &PollSet, conn: ConnId, so_far: usize) -> Got {
        let Some(socket) = self
            .table
            .get_mut(conn.slot as usize)
            .and_then(Option::as_mut)
            .filter(|socket| socket.generation == conn.generation)
        else {
            return Got::Enough;
        };
        if socket.drained || so_far >= READ_BYTES_PER_TURN || (socket.paused && !socket.closing) {
            return Got::Enough;
        }
        loop {
            match socket.stream.read(&mut self.buffer) {
                Ok(0) if socket.closing => {
                    // It has sent everything, and may still want the answer.
                    socket.drained = true;
                    update_interest(set, conn, socket);
                    return Got::Enough;
                }
                Ok(0) => return Got::Gone,
                Ok(_) if socket.closing => return Got::Enough,
                Ok(count) => return Got::Bytes(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Got::Enough,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Got::Gone,
            }
        }
    }

    /// True if a read of so many bytes has emptied the socket.
    pub(crate) fn was_last(count: usize) -> bool {
        count < READ_BUFFER_BYTES
    }

    /// Sends what fits. When nothing fits, waits for the socket.
    pub(crate) fn write(&mut self, set: &PollSet, conn: ConnId, bytes: &[u8]) -> Put {
        let Some(socket) = self.get(conn) else { return Put::Taken(bytes.len()) };
        loop {
            match socket.stream.write(bytes) {
                Ok(0) => return Put::Gone,
                Ok(count) => {
                    if socket.blocked && count == bytes.len() {
                        socket.blocked = false;
                        update_interest(set, conn, socket);
                    }
                    return Put::Taken(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    update_interest(set, conn, socket);
                    return Put::Blocked;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Put::Gone,
            }
        }
    }

    /// Notes that the connection waits for its turn to be sent events; false if it did already, or
    /// is gone.
    pub(crate) fn queue(&mut self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|socket| !std::mem::replace(&mut socket.queued, true))
    }

    /// Its turn has come.
    pub(crate) fn unqueue(&mut self, conn: ConnId) {
        if let Some(socket) = self.get(conn) {
            socket.queued = false;
        }
    }

    /// Stops or resumes reading.
    pub(crate) fn pause(&mut self, set: &PollSet, conn: ConnId, paused: bool) {
        if let Some(socket) = self.get(conn) {
            socket.paused = paused;
            update_interest(set, conn, socket);
        }
    }

    /// Drops what still arrives; [`Sockets::is_closing`] from now on.
    pub(crate) fn close_after_flush(&mut self, set: &PollSet, conn: ConnId) {
        if let Some(socket) = self.get(conn) {
            socket.closing = true;
            update_interest(set, conn, socket);
        }
    }

    /// True if the connection ends as soon as its outbox is empty.
    pub(crate) fn is_closing(&mut self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|socket| socket.closing)
    }

    /// Closes and forgets; the address it came from. What the peer has sent meanwhile is read and
    /// dropped first: closing over unread bytes resets the connection, and the reset may overtake
    /// the answer.
    pub(crate) fn remove(&mut self, set: &PollSet, conn: ConnId) -> Option<IpAddr> {
        self.get(conn)?;
        let mut socket = self.table[conn.slot as usize].take()?;
        // Closing would take it out of the set as well.
        let _ = set.remove(&socket.stream);
        if socket.closing {
            let _ = socket.stream.shutdown(std::net::Shutdown::Write);
            for _ in 0..READ_BYTES_PER_TURN.div_ceil(READ_BUFFER_BYTES) {
                if !matches!(socket.stream.read(&mut self.buffer), Ok(1..)) {
                    break;
                }
            }
        }
        Some(socket.peer)
    }

    /// Appends all connections, by slot.
    pub(crate) fn all(&self, shard: crate::link::ShardId, out: &mut Vec<ConnId>) {
        out.extend(self.table.iter().enumerate().filter_map(|(slot, socket)| {
            let generation = socket.as_ref()?.generation;
            Some(ConnId { shard, slot: slot as u32, generation })
        }));
    }
}

fn source(conn: ConnId) -> Source {
    let generation = conn.generation & Source::GENERATION_MASK;
    Source::Socket { slot: conn.slot, generation }
}

fn update_interest(set: &PollSet, conn: ConnId, socket: &mut Socket) {
    let mut interest = EpollFlags::empty();
    if !socket.drained && (socket.closing || !socket.paused) {
        interest |= EpollFlags::EPOLLIN;
    }
    if socket.blocked {
        interest |= EpollFlags::EPOLLOUT;
    }
    if interest != socket.interest {
        socket.interest = interest;
        // The descriptor is open and in the set, so the kernel has no reason to refuse.
        let changed = set.change(&socket.stream, source(conn), interest);
        debug_assert!(changed.is_ok(), "{changed:?}");
    }
}

/// Takes an address without listening there: connections are refused. A later `SO_REUSEADDR`
/// socket may take it too, as long as nobody listens.
pub(crate) fn bind_only(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = stream_socket(&address)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) {
        // "Any address" means IPv4 clients too.
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// Begins to connect. True if that is done already; else the socket becomes writable when it is
/// decided, and [`TcpStream::take_error`] tells how.
pub(crate) fn begin_connect(address: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let fd = stream_socket(&address)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => Ok((fd.into(), true)),
        Err(nix::errno::Errno::EINPROGRESS) => Ok((fd.into(), false)),
        Err(errno) => Err(errno.into()),
    }
}

fn stream_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

/// The listener. One spare descriptor lets it turn clients away when there are none left.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    spare: Option<OwnedFd>,
}

impl Listener {
    /// Listens; `SO_REUSEADDR` only, never `SO_REUSEPORT`, which would let a second server take
    /// half of the clients without a word.
    pub(crate) fn open(address: SocketAddr, backlog: Option<i32>) -> io::Result<Listener> {
        Listener::listen(bind_only(address)?, backlog)
    }

    /// Listens on what [`bind_only`] has bound.
    pub(crate) fn listen(bound: OwnedFd, backlog: Option<i32>) -> io::Result<Listener> {
        // The kernel lowers what is beyond its own bound.
        let backlog = backlog.filter(|backlog| *backlog > 0).unwrap_or(BACKLOG);
        listen(&bound, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
        Ok(Listener { listener: bound.into(), spare: spare() })
    }

    /// Where it listens; the port may have been chosen by the system.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next client, if one waits. At the descriptor limit clients are turned away.
    pub(crate) fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        if self.spare.is_none() {
            // Somebody else took the descriptor when it was given up.
            self.spare = spare();
        }
        loop {
            let error = match self.listener.accept() {
                Ok((stream, peer)) => {
                    let ready = stream.set_nonblocking(true).and(stream.set_nodelay(true));
                    match ready {
                        Ok(()) => return Some((stream, plain(peer))),
                        // The client is gone already.
                        Err(_) => continue,
                    }
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) if self.spare.is_some() => {
                    self.spare = None;
                    if let Ok((_, peer)) = self.listener.accept() {
                        tracing::warn!(%peer, "no file descriptors left: client turned away");
                    }
                    self.spare = spare();
                }
                Some(libc::ECONNABORTED | libc::EINTR) => {}
                _ => return None,
            }
        }
    }
}

impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn spare() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// An IPv4 client of an IPv6 listener is an IPv4 client.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::ShardId;
    use std::net::Shutdown;

    const CONN: ConnId = ConnId { shard: ShardId(0), slot: 2, generation: 9 };

    /// A client, and the server's end of it in a table.
    fn connected() -> (TcpStream, Sockets, PollSet) {
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut listener = Listener::open(address, None).expect("a listener");
        let address = listener.address().expect("its address");
        let client = TcpStream::connect(address).expect("a client");
        let (stream, peer) = listener.accept().expect("the client waits");
        assert_eq!(peer, client.local_addr().expect("an address"));
        assert!(listener.accept().is_none(), "nobody else waits, and nobody blocks");
        let (mut sockets, set) = (Sockets::new(), PollSet::new().expect("an epoll set"));
        sockets.insert(&set, CONN, stream, peer.ip()).expect("a place in the set");
        (client, sockets, set)
    }

    fn ready(set: &mut PollSet) -> Vec<EpollFlags> {
        let mut events = Vec::new();
        set.take(&mut events).expect("events");
        events.iter().map(|event| event.flags).collect()
    }

    #[test]
    fn bytes_come_and_go() {
        let (mut client, mut sockets, mut set) = connected();
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Enough));
        client.write_all(&[7; 48]).expect("sent");
        assert_eq!(ready(&mut set), [EpollFlags::EPOLLIN]);
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Bytes(48)));
        assert_eq!(sockets.bytes(48), [7; 48]);
        assert!(matches!(sockets.write(&set, CONN, b"world"), Put::Taken(5)));
        let mut answer = [0; 5];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"world");
        drop(client);
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Gone));
        assert!(sockets.remove(&set, CONN).is_some());
        assert!(sockets.remove(&set, CONN).is_none(), "closed once");
    }

    #[test]
    fn a_turn_reads_so_much_and_no_more() {
        let (mut client, mut sockets, set) = connected();
        client.write_all(b"more").expect("sent");
        assert!(matches!(sockets.read(&set, CONN, READ_BYTES_PER_TURN), Got::Enough));
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Bytes(4)));
    }

    /// `echo ruok | nc` closes its sending side at once and still wants the answer: the shard
    /// pauses the connection before the end is seen, and closes it with the answer.
    #[test]
    fn a_word_sent_and_closed_is_still_answered() {
        let (mut client, mut sockets, mut set) = connected();
        client.write_all(b"ruok\n").expect("sent");
        client.shutdown(Shutdown::Write).expect("half closed");
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Bytes(5)));
        sockets.pause(&set, CONN, true);
        assert!(matches!(sockets.read(&set, CONN, 5), Got::Enough), "not gone");
        assert_eq!(ready(&mut set), [], "and not polled for ever");
        sockets.close_after_flush(&set, CONN);
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Enough), "still not gone");
        assert_eq!(ready(&mut set), [], "and not polled for ever");
        assert!(matches!(sockets.write(&set, CONN, b"imok"), Put::Taken(4)));
        sockets.remove(&set, CONN);
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer and an end");
        assert_eq!(answer, "imok");
    }

    /// Bytes that nobody read would turn the end into a reset, which may overtake the answer.
    #[test]
    fn what_arrives_before_the_end_is_dropped() {
        let (mut client, mut sockets, set) = connected();
        sockets.close_after_flush(&set, CONN);
        client.write_all(&[1; 100]).expect("sent");
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Enough));
        client.write_all(&[2; 100]).expect("sent");
        assert!(matches!(sockets.write(&set, CONN, b"bye"), Put::Taken(3)));
        sockets.remove(&set, CONN);
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("no reset");
        assert_eq!(answer, "bye");
    }

    #[test]
    fn a_paused_connection_is_neither_polled_nor_read() {
        let (mut client, mut sockets, mut set) = connected();
        sockets.pause(&set, CONN, true);
        client.write_all(b"later").expect("sent");
        assert_eq!(ready(&mut set), []);
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Enough));
        sockets.pause(&set, CONN, false);
        assert_eq!(ready(&mut set), [EpollFlags::EPOLLIN]);
        assert!(matches!(sockets.read(&set, CONN, 0), Got::Bytes(5)));
    }

    /// What does not fit waits for room, and the waiting ends when everything went out.
    #[test]
    fn a_full_socket_is_waited_for() {
        let (mut client, mut sockets, mut set) = connected();
        let block = vec![1u8; 1 << 20];
        let mut sent = 0;
        // Far more than the socket buffers of both ends hold.
        for _ in 0..256 {
            match sockets.write(&set, CONN, &block) {
                Put::Taken(count) => sent += count,
                Put::Blocked => break,
                Put::Gone => panic!("the client is there"),
            }
        }
        assert_eq!(ready(&mut set), [], "no room yet");
        client.read_exact(&mut vec![0; sent]).expect("everything arrives");
        assert_eq!(ready(&mut set), [EpollFlags::EPOLLOUT]);
        assert!(matches!(sockets.write(&set, CONN, b"x"), Put::Taken(1)));
        assert_eq!(ready(&mut set), [], "nothing is waited for any more");
    }

    #[test]
    fn an_event_for_an_earlier_connection_in_the_slot_is_nobodys() {
        let (_client, sockets, _set) = connected();
        assert_eq!(sockets.generation(2, 9), Some(9));
        assert_eq!(sockets.generation(2, 8), None);
        assert_eq!(sockets.generation(1, 9), None);
        assert_eq!(sockets.generation(99, 0), None);
    }

    /// Two servers on one port would share its clients at random.
    #[test]
    fn a_port_is_listened_on_once() {
        let first = Listener::open("127.0.0.1:0".parse().expect("an address"), None);
        let address = first.as_ref().ok().and_then(|first| first.address().ok()).expect("open");
        assert!(Listener::open(address, None).is_err());
    }
}
