use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine::Draft;
use engine::draft::Settings;
use nix::sys::epoll::EpollTimeout;
use nix::sys::socket::{SockaddrStorage, setsockopt, sockopt};
use replication::Bytes;

use super::super::sockets::bind_only;
use super::*;
use crate::config::{Host, PeerListen};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn on_loopback() -> PeerListen {
    let place = || vec![(Host::Named("127.0.0.1".into()), 0)];
    PeerListen { quorum: place(), election: place(), bind_tries: Some(1), connect_ms: 5000 }
}

/// One server's connections, and all that happened on them.
struct Server {
    peers: Peers,
    set: PollSet,
    events: Vec<PeerEvent>,
    now: Mono,
    dialed: u64,
}

impl Server {
    fn new() -> Server {
        Server::with(&on_loopback())
    }

    fn with(listen: &PeerListen) -> Server {
        let ports = Ports::open(listen).expect("free ports");
        let clock = Clock::start();
        let mut peers = Peers::new(ports, clock, listen.connect_ms, 2000).expect("a bell");
        let set = PollSet::new().expect("an epoll set");
        peers.attach(&set).expect("a place in the set");
        Server { peers, set, events: Vec::new(), now: clock.now().mono, dialed: 0 }
    }

    fn address(&self, port: Port) -> SocketAddr {
        self.peers.ports.addresses(port)[0]
    }

    fn order(&mut self, order: PeerOrder) {
        self.peers.order(&self.set, order, self.now);
    }

    fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.order(PeerOrder::Send { link, bytes: bytes.into() });
    }

    fn dial(&mut self, to: Vec<Address>) -> LinkId {
        self.dialed += 1;
        // Any id that is not given to others will do.
        let link = LinkId::accepted((1 << 32) + self.dialed);
        self.order(PeerOrder::Dial { link, peer: ServerId(9), port: Port::Election, to });
        link
    }

    /// One turn of the executor, which ends within a moment.
    fn turn(&mut self) {
        let mut ready = Vec::new();
        self.set.take_within(EpollTimeout::from(5u8), &mut ready).expect("events");
        for event in ready {
            self.peers.on_event(&self.set, event.source, event.flags, self.now);
        }
        self.peers.flush(&self.set);
        self.peers.take_events(&mut self.events);
    }

    /// Turns until it is so.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Server) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "waited for {what}: {:?}", self.events);
            self.turn();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.peers.tick(&self.set, self.now);
        self.peers.take_events(&mut self.events);
    }

    fn accepted(&self) -> Vec<LinkId> {
        let of = |event: &PeerEvent| match event {
            PeerEvent::Accepted { link, .. } => Some(*link),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    fn ended(&self) -> Vec<LinkId> {
        let of = |event: &PeerEvent| match event {
            PeerEvent::Disconnected { link } => Some(*link),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    fn is_connected(&self, id: LinkId) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, PeerEvent::Connected { link } if *link == id))
    }

    fn received(&self, id: LinkId) -> Vec<u8> {
        let mut all = Vec::new();
        for event in &self.events {
            if let PeerEvent::Received { link, bytes } = event
                && *link == id
            {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    /// Somebody who connected to the election port, and the connection's id here.
    fn visitor(&mut self) -> (TcpStream, LinkId) {
        let before = self.accepted().len();
        let visitor = TcpStream::connect(self.address(Port::Election)).expect("a visitor");
        self.until("a visitor", |server| server.accepted().len() > before);
        (visitor, self.accepted()[before])
    }
}

fn address(of: SocketAddr) -> Address {
    Address { host: of.ip().to_string(), port: of.port() }
}

fn named(host: &str, of: SocketAddr) -> Address {
    Address { host: host.into(), port: of.port() }
}

/// A port where nobody listens; ours as long as the descriptor lives.
fn refusing() -> (std::os::fd::OwnedFd, SocketAddr) {
    let fd = bind_only("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let at = TcpListener::from(fd.try_clone().expect("a copy")).local_addr().expect("its address");
    (fd, at)
}

#[test]
fn bytes_go_both_ways() {
    let (mut one, mut two) = (Server::new(), Server::new());
    let link = one.dial(vec![address(two.address(Port::Election))]);
    one.send(link, b"before it is connected, ");
    one.until("the connection", |one| one.is_connected(link));
    two.until("the other end", |two| !two.accepted().is_empty());
    let other = two.accepted()[0];
    assert!(matches!(two.events[0], PeerEvent::Accepted { port: Port::Election, .. }));
    one.send(link, b"and ");
    one.send(link, b"after");
    one.turn();
    two.until("the words", |two| two.received(other) == b"before it is connected, and after");
    two.send(other, &vec![7; 3 << 20]);
    one.until("a lot", |one| {
        two.turn();
        one.received(link).len() == 3 << 20
    });
    assert!(one.ended().is_empty() && two.ended().is_empty());
}

/// A learner that calls a server which does not lead (yet) must be refused at once, not left
/// waiting.
#[test]
fn the_quorum_port_refuses_while_it_is_closed() {
    let mut server = Server::new();
    let quorum = server.address(Port::Quorum);
    for round in 1..=3 {
        let refused = TcpStream::connect(quorum).expect_err("closed");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        server.order(PeerOrder::Listen { open: true });
        server.order(PeerOrder::Listen { open: true });
        let mut learner = TcpStream::connect(quorum).expect("open");
        server.until("the learner", |server| server.accepted().len() == round);
        let link = server.accepted()[round - 1];
        server.order(PeerOrder::Listen { open: false });
        learner.write_all(b"still here").expect("connections outlive the port");
        server.until("its words", |server| server.received(link) == b"still here");
        drop(learner);
        server.until("its end", |server| server.ended().contains(&link));
    }
    let events = server.events.iter();
    let quorum = |e: &&PeerEvent| matches!(e, PeerEvent::Accepted { port: Port::Quorum, .. });
    assert_eq!(events.filter(quorum).count(), 3);
}

#[test]
fn the_first_address_that_answers_is_taken() {
    let (mut one, two) = (Server::new(), Server::new());
    let (_kept, nobody) = refusing();
    let there = two.address(Port::Election);
    let plain = one.dial(vec![address(nobody), address(nobody), address(there)]);
    one.until("the connection", |one| one.is_connected(plain));
    let by_name = one.dial(vec![named("localhost", nobody), named("localhost", there)]);
    one.until("the connection", |one| one.is_connected(by_name));
    assert!(one.ended().is_empty());
}

#[test]
fn who_cannot_be_reached_is_told_once() {
    let mut one = Server::new();
    let (_kept, nobody) = refusing();
    let refused = one.dial(vec![address(nobody), named("127.0.0.1", nobody)]);
    one.until("the refusal", |one| !one.ended().is_empty());
    let nowhere = one.dial(Vec::new());
    one.until("the end", |one| one.ended().len() > 1);
    let by_name = one.dial(vec![named("localhost", nobody)]);
    one.until("the end", |one| one.ended().len() > 2);
    one.pass(PATIENCE);
    one.turn();
    assert_eq!(one.ended(), [refused, nowhere, by_name]);
    assert!(one.peers.slots.is_empty());
}

/// A name that takes for ever must not hold up an election; and its answer may come late.
#[test]
fn names_have_a_time_limit() {
    let (mut one, two) = (Server::new(), Server::new());
    let there = named("localhost", two.address(Port::Election));
    let late = one.dial(vec![there.clone()]);
    one.pass(Duration::from_millis(4999));
    assert!(one.ended().is_empty());
    one.pass(Duration::from_millis(1));
    assert_eq!(one.ended(), [late]);
    let closed = one.dial(vec![there.clone()]);
    one.order(PeerOrder::Close { link: closed });
    let third = one.dial(vec![there]);
    one.until("the connection", |one| one.is_connected(third));
    assert_eq!(one.ended(), [late], "nobody asks for what was closed or given up");
    assert!(!one.is_connected(late) && !one.is_connected(closed));
}

/// A machine that is gone answers nothing at all. A listener whose queue is full looks the same.
#[test]
fn connecting_has_a_time_limit() {
    let mut one = Server::new();
    let full = Listener::open("127.0.0.1:0".parse().expect("an address"), Some(1)).expect("open");
    let at = full.address().expect("its address");
    let links: Vec<LinkId> = (0..8).map(|_| one.dial(vec![address(at)])).collect();
    one.until("some", |one| links.iter().any(|link| one.is_connected(*link)));
    one.pass(Duration::from_millis(5000));
    let waited = one.ended();
    assert!(!waited.is_empty(), "not all fit into the queue");
    for link in links {
        assert_ne!(one.is_connected(link), waited.contains(&link));
    }
}

/// How a dead leader is noticed: its system closes its connections, whether it ended or was killed.
#[test]
fn the_end_of_a_peer_is_told_at_once_and_once() {
    for reset in [false, true] {
        let mut server = Server::new();
        let (mut visitor, link) = server.visitor();
        visitor.write_all(b"last words").expect("sent");
        if reset {
            server.until("the words", |server| server.received(link) == b"last words");
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&visitor, sockopt::Linger, &linger).expect("set");
        }
        drop(visitor);
        server.until("its end", |server| !server.ended().is_empty());
        server.turn();
        server.send(link, b"too late");
        server.order(PeerOrder::Close { link });
        server.turn();
        assert_eq!(server.received(link), b"last words");
        assert_eq!(server.ended(), [link]);
    }
}

/// What a leader said before it died is heard even if the death is noticed by writing to it.
#[test]
fn last_words_are_heard_when_writing_fails() {
    let mut server = Server::new();
    let (mut visitor, link) = server.visitor();
    visitor.write_all(b"committed").expect("sent");
    drop(visitor);
    // Not a turn: nobody has looked at the socket yet.
    let mut more = 0;
    while server.ended().is_empty() {
        more += 1;
        assert!(more < 1_000_000, "a connection nobody reads from ends");
        server.send(link, b"a proposal");
        server.peers.flush(&server.set);
        server.peers.take_events(&mut server.events);
    }
    assert_eq!(server.received(link), b"committed");
    assert_eq!(server.ended(), [link]);
}

#[test]
fn closing_writes_what_was_ordered_first() {
    let mut server = Server::new();
    let (mut visitor, link) = server.visitor();
    let much = vec![5; 8 << 20];
    server.send(link, &much);
    server.order(PeerOrder::Close { link });
    visitor.write_all(b"not read any more").expect("sent");
    visitor.set_nonblocking(true).expect("set");
    let (mut got, mut buffer, mut over) = (0, vec![0; 1 << 20], false);
    server.until("all of it", |_| {
        match visitor.read(&mut buffer) {
            Ok(0) => over = true,
            Ok(count) => got += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "no reset"),
        }
        over
    });
    assert_eq!(got, much.len());
    assert!(server.ended().is_empty() && server.received(link).is_empty(), "no event follows");
    assert!(server.peers.slots.is_empty());
}

#[test]
fn closing_has_a_time_limit() {
    let mut server = Server::new();
    let (visitor, link) = server.visitor();
    server.send(link, &vec![5; 64 << 20]);
    server.order(PeerOrder::Close { link });
    server.turn();
    server.pass(Duration::from_millis(LINGER_MS - 1));
    assert_eq!(server.peers.slots.len(), 1, "it may still take it");
    server.pass(Duration::from_millis(1));
    assert!(server.peers.slots.is_empty());
    assert!(server.ended().is_empty(), "no event follows");
    drop(visitor);
}

/// A learner that stopped reading must not fill the leader's memory.
#[test]
fn a_queue_has_its_bound() {
    let mut server = Server::new();
    let (visitor, link) = server.visitor();
    let block: Bytes = vec![1; 4 << 20].into();
    let fit = PEER_QUEUE_BYTES_MAX / block.len();
    for _ in 0..fit {
        server.order(PeerOrder::Send { link, bytes: block.clone() });
        server.turn();
    }
    assert!(server.ended().is_empty(), "the socket took some");
    for _ in 0..fit {
        server.order(PeerOrder::Send { link, bytes: block.clone() });
        server.turn();
    }
    assert_eq!(server.ended(), [link]);
    drop(visitor);
}

/// Garbage connections cost nothing: only so many may wait, and who was answered is not among
/// them.
#[test]
fn the_oldest_strangers_go() {
    let mut server = Server::new();
    let (member, answered) = server.visitor();
    server.send(answered, b"a vote");
    let mut visitors = vec![member];
    for _ in 0..PEER_STRANGERS_MAX + 3 {
        visitors.push(server.visitor().0);
    }
    let (all, ended) = (server.accepted(), server.ended());
    assert_eq!(ended, all[1..4]);
    assert_eq!(server.peers.strangers.len(), PEER_STRANGERS_MAX);
}

/// A flood from one server must not starve the clients that share the executor.
#[test]
fn a_turn_reads_so_much_and_no_more() {
    let mut server = Server::new();
    let (mut visitor, link) = server.visitor();
    visitor.set_nonblocking(true).expect("set");
    let block = vec![3; 1 << 20];
    while matches!(visitor.write(&block), Ok(1..)) {}
    drop(visitor);
    let mut largest = 0;
    server.until("all of it", |server| {
        let before = server.received(link).len();
        server.turn();
        largest = largest.max(server.received(link).len() - before);
        !server.ended().is_empty()
    });
    assert!(server.received(link).len() > PEER_READ_BYTES_PER_TURN, "more than one turn's worth");
    assert_eq!(largest, PEER_READ_BYTES_PER_TURN);
}

/// Bytes of the state in [`a_snapshot_is_made_as_it_is_taken`].
const STATE_BYTES: usize = 64 << 20;
static MADE: AtomicUsize = AtomicUsize::new(0);

struct Made(usize);

impl Stream for Made {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let count = (STATE_BYTES - self.0).min(64 << 10);
        out.resize(out.len() + count, b's');
        self.0 += count;
        MADE.store(self.0, Ordering::Relaxed);
        count > 0
    }
}

#[test]
fn a_snapshot_is_made_as_it_is_taken() {
    let mut server = Server::new();
    server.peers.make = |_| Box::new(Made(0));
    let (mut visitor, link) = server.visitor();
    let version = Draft::new(Settings::default()).freeze();
    server.send(link, b"SNAP");
    server.order(PeerOrder::SendSnapshot { link, version });
    server.send(link, b"NEWLEADER");
    // Until the socket is full, and a turn more.
    let mut before = usize::MAX;
    server.until("a full socket", |server| {
        server.turn();
        before == std::mem::replace(&mut before, MADE.load(Ordering::Relaxed))
    });
    assert!(MADE.load(Ordering::Relaxed) < STATE_BYTES / 2, "nobody has read anything");
    visitor.set_nonblocking(true).expect("set");
    let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    let whole = 4 + STATE_BYTES + 9;
    server.until("all of it", |_| {
        while let Ok(count @ 1..) = visitor.read(&mut buffer) {
            got.extend_from_slice(&buffer[..count]);
        }
        got.len() >= whole
    });
    assert_eq!(got.len(), whole);
    assert!(got.starts_with(b"SNAPss") && got.ends_with(b"ssNEWLEADER"));
    let sent =
        |event: &&PeerEvent| matches!(event, PeerEvent::SnapshotSent { link: l } if *l == link);
    assert_eq!(server.events.iter().filter(sent).count(), 1);
}

/// Connecting to a port of one's own machine that nobody listens on can, by chance, connect to
/// oneself: the system gives our side that very port.
#[test]
fn oneself_is_nobody() {
    let (fd, at) = refusing();
    // Decided at once, or soon: the wait below is for the latter.
    let _ =
        nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(at));
    let stream = TcpStream::from(fd);
    let set = PollSet::new().expect("an epoll set");
    set.add(&stream, source(0, 0), EpollFlags::EPOLLOUT).expect("a place in the set");
    assert_eq!(stream.peer_addr().expect("connected to itself"), at);
    let refused = connected(&stream).expect_err("not a fellow server");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_in_use_stops_the_start() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = other.local_addr().expect("its address");
    let place = vec![(Host::Named("127.0.0.1".into()), at.port())];
    for listen in [
        PeerListen { quorum: place.clone(), ..on_loopback() },
        PeerListen { election: place.clone(), ..on_loopback() },
    ] {
        let error = Ports::open(&listen).expect_err("in use").to_string();
        assert!(error.contains(&at.to_string()), "{error}");
    }
}

/// A host name may have the same address twice, or addresses of other machines.
#[test]
fn every_address_of_the_own_host_is_taken_once() {
    let host = |name: &str| (Host::Named(name.into()), 0);
    let twice = PeerListen { election: vec![host("localhost"), (Host::Any, 0)], ..on_loopback() };
    let server = Server::with(&twice);
    for at in server.peers.ports.addresses(Port::Election) {
        let ip = if at.ip().is_unspecified() { [127, 0, 0, 1].into() } else { at.ip() };
        TcpStream::connect((ip, at.port())).expect("somebody listens");
    }
    // Reserved for documentation: no machine has it.
    let foreign = PeerListen { election: vec![host("192.0.2.1")], ..on_loopback() };
    let error = Ports::open(&foreign).expect_err("not of this machine").to_string();
    assert!(error.contains("192.0.2.1"), "{error}");
}

/// Somebody took the quorum port while it was closed: the leader goes on trying, and does not lead
/// unheard for ever.
#[test]
fn a_quorum_port_that_stays_in_use_is_fatal() {
    let mut server = Server::new();
    let quorum = server.address(Port::Quorum);
    let thief = TcpListener::bind(quorum).expect("nobody listens there");
    server.order(PeerOrder::Listen { open: true });
    assert_eq!(server.peers.fatal(server.now), None, "not yet");
    server.pass(Duration::from_secs(1));
    let reason = server.peers.fatal(server.now).expect("the time is up");
    assert!(reason.contains(&quorum.to_string()), "{reason}");
    drop(thief);
    server.pass(Duration::from_millis(1));
    assert_eq!(server.peers.fatal(server.now), None);
    TcpStream::connect(quorum).expect("open");
}
