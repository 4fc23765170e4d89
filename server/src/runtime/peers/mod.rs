//! The connections with fellow servers: carries out [`PeerOrder`]s, tells [`PeerEvent`]s.
//!
//! All on the core's executor, in its epoll set: a proposal and its acknowledgement cross no
//! thread. What a step of the core orders is written at the end of that step, with one system call
//! per connection. Only names are resolved elsewhere.
//!
//! Sockets are non-blocking, level-triggered, `TCP_NODELAY`. The end of a connection is an event
//! of its socket, told in the turn in which the system learns of it.

mod link;
mod names;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use engine::Version;
use engine::snapshot::zookeeper::SnapshotStream;
use model::{Mono, ServerId};
use nix::sys::epoll::EpollFlags;
use replication::{Address, LinkId, Port};

use super::clock::Clock;
use super::poll::{PollSet, Source};
use super::sockets::{Listener, begin_connect};
use crate::limits::{
    LINGER_MS, PEER_QUEUE_BYTES_MAX, PEER_READ_BYTES_PER_TURN, PEER_STRANGERS_MAX,
};
use crate::peer::{PeerEvent, PeerOrder};
use link::{Flushed, Link, Stage, Stream, prepare};
use names::Names;
pub(crate) use ports::Ports;

/// Connections accepted on one port in one turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Time for making snapshot streams in one turn; each connection may make one piece beyond it.
const MAKING_PER_TURN: Duration = Duration::from_millis(1);

/// The connections with fellow servers.
pub(crate) struct Peers {
    clock: Clock,
    ports: Ports,
    names: Names,
    /// Longest that resolving, and connecting to one address, may take.
    patience: Duration,
    /// `syncLimit` ticks.
    silence_ms: u64,
    table: Vec<Option<Link>>,
    free: Vec<u32>,
    /// Where each connection is in the table.
    slots: BTreeMap<LinkId, u32>,
    generation: u32,
    accepted: u64,
    /// Who connected and was not answered yet, oldest first.
    strangers: VecDeque<LinkId>,
    evicted: u64,
    /// To be flushed at the end of the step.
    dirty: Vec<u32>,
    /// Whom the log said cannot be reached.
    unreachable: BTreeSet<(ServerId, Port)>,
    buffer: Vec<u8>,
    events: Vec<PeerEvent>,
    make: fn(Version) -> Box<dyn Stream>,
}

impl Peers {
    /// No connections yet. `connect_ms` bounds each attempt to connect; `silence_ms` is how long a
    /// fellow server may be silent.
    pub(crate) fn new(
        ports: Ports,
        clock: Clock,
        connect_ms: u64,
        silence_ms: u64,
    ) -> io::Result<Peers> {
        Ok(Peers {
            clock,
            ports,
            names: Names::new()?,
            patience: Duration::from_millis(connect_ms),
            silence_ms,
            table: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            generation: 0,
            accepted: 0,
            strangers: VecDeque::new(),
            evicted: 0,
            dirty: Vec::new(),
            unreachable: BTreeSet::new(),
            buffer: vec![0; PEER_READ_BYTES_PER_TURN],
            events: Vec::new(),
            make: snapshot_stream,
        })
    }

    /// Puts what listens into the executor's set.
    pub(crate) fn attach(&mut self, set: &PollSet) -> io::Result<()> {
        set.add(&self.names, Source::Names, EpollFlags::EPOLLIN)?;
        add_listeners(set, &mut self.ports, 0)
    }

    /// What happened since the last time.
    pub(crate) fn take_events(&mut self, into: &mut Vec<PeerEvent>) {
        into.append(&mut self.events);
    }

    /// Why the process must end.
    pub(crate) fn fatal(&self, now: Mono) -> Option<String> {
        self.ports.fatal(now)
    }

    /// Carries out an order. What it writes leaves with [`Peers::flush`].
    pub(crate) fn order(&mut self, set: &PollSet, order: PeerOrder, now: Mono) {
        match order {
            PeerOrder::Listen { open: true } => self.open_quorum(set, now),
            PeerOrder::Listen { open: false } => self.ports.close_quorum(),
            PeerOrder::Dial { link, peer, port, to } => self.dial(set, link, peer, port, to, now),
            PeerOrder::Send { link, bytes } => {
                let Some(slot) = self.answer(link) else { return };
                let open = self.link(slot);
                open.queue.push(bytes);
                let waiting = open.queue.bytes();
                if waiting > PEER_QUEUE_BYTES_MAX {
                    tracing::warn!(
                        peer = ?open.peer,
                        bytes = waiting,
                        "a fellow server takes too little: connection ended"
                    );
                    self.end(set, slot, true);
                }
            }
            PeerOrder::SendSnapshot { link, version } => {
                let Some(slot) = self.answer(link) else { return };
                let stream = (self.make)(version);
                self.link(slot).queue.push_snapshot(stream);
            }
            PeerOrder::Close { link } => {
                let Some(slot) = self.answer(link) else { return };
                let open = self.link(slot);
                let written = open.queue.is_empty() || !matches!(open.stage, Stage::Open(_));
                open.closing = true;
                open.deadline = Some(now + Duration::from_millis(LINGER_MS));
                if written {
                    self.end(set, slot, false);
                }
            }
        }
    }

    /// Writes what was ordered, each connection as much as it takes.
    pub(crate) fn flush(&mut self, set: &PollSet) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        let (clock, until) = (self.clock, self.clock.now().mono + MAKING_PER_TURN);
        for slot in dirty.drain(..) {
            let Some(link) = self.table[slot as usize].as_mut().filter(|link| link.dirty) else {
                continue;
            };
            link.dirty = false;
            let (mut sent, closing) = (0, link.closing);
            let flushed = link.flush(|| clock.now().mono < until, || sent += 1);
            let snapshot_sent = PeerEvent::SnapshotSent { link: link.id };
            if !closing {
                self.events.extend(std::iter::repeat_n(snapshot_sent, sent));
            }
            match flushed {
                Flushed::Empty if closing => self.end(set, slot, false),
                Flushed::Empty | Flushed::Waiting => self.watch(set, slot),
                Flushed::Gone => {
                    // What it said last may still be here, such as what is committed.
                    self.receive(set, slot, true);
                    self.end(set, slot, true);
                }
            }
        }
        if self.dirty.is_empty() {
            // Keep the allocation.
            self.dirty = dirty;
        }
    }

    /// Something happened on one of these descriptors.
    pub(crate) fn on_event(&mut self, set: &PollSet, source: Source, flags: EpollFlags, now: Mono) {
        match source {
            Source::Names => self.on_names(set, now),
            Source::PeerPort { number } => self.accept(set, number as usize),
            Source::Peer { slot, generation } => {
                let link = self.table.get(slot as usize).and_then(Option::as_ref);
                let known = |link: &&Link| link.generation & Source::GENERATION_MASK == generation;
                let Some(link) = link.filter(known) else { return };
                match link.stage {
                    Stage::Naming => {}
                    Stage::Connecting(_) => self.on_connect(set, slot, now),
                    Stage::Open(_) => {
                        let lost = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
                        let end = lost | EpollFlags::EPOLLRDHUP;
                        if flags.contains(EpollFlags::EPOLLOUT) {
                            self.mark(slot);
                        }
                        if flags.intersects(end | EpollFlags::EPOLLIN) {
                            self.receive(set, slot, flags.intersects(end));
                        }
                        if flags.intersects(lost) && self.is_drained(slot) {
                            self.end(set, slot, true);
                        }
                    }
                }
            }
            Source::Mail
            | Source::Disk
            | Source::Tick
            | Source::Alarm
            | Source::Listener
            | Source::Signal
            | Source::Socket { .. } => {}
        }
    }

    /// Gives up what takes too long.
    pub(crate) fn tick(&mut self, set: &PollSet, now: Mono) {
        if self.ports.is_late() {
            self.open_quorum(set, now);
        }
        for slot in 0..self.table.len() as u32 {
            let Some(link) = &mut self.table[slot as usize] else { continue };
            if link.deadline.is_none_or(|deadline| now < deadline) {
                continue;
            }
            match link.stage {
                Stage::Naming => self.unreached(set, slot, "its name is not resolved in time"),
                Stage::Connecting(_) => self.connect(set, slot, "no answer in time", now),
                Stage::Open(_) => self.end(set, slot, false),
            }
        }
    }

    fn open_quorum(&mut self, set: &PollSet, now: Mono) {
        if let Some(first) = self.ports.open_quorum(now)
            && let Err(error) = add_listeners(set, &mut self.ports, first)
        {
            // The descriptors are open and new to the set; only memory can be missing.
            tracing::warn!(%error, "the quorum port cannot be polled");
        }
    }

    /// Prepares to write to a connection, which thereby is no stranger's any more.
    fn answer(&mut self, id: LinkId) -> Option<u32> {
        let slot = *self.slots.get(&id)?;
        let link = self.link(slot);
        if link.closing {
            return None;
        }
        if std::mem::take(&mut link.stranger) {
            self.strangers.retain(|stranger| *stranger != id);
        }
        self.mark(slot);
        Some(slot)
    }

    fn mark(&mut self, slot: u32) {
        let link = self.link(slot);
        if !std::mem::replace(&mut link.dirty, true) {
            self.dirty.push(slot);
        }
    }

    fn link(&mut self, slot: u32) -> &mut Link {
        self.table[slot as usize].as_mut().expect("callers have looked it up")
    }

    fn is_drained(&self, slot: u32) -> bool {
        self.table[slot as usize].as_ref().is_some_and(|link| link.drained)
    }

    fn insert(&mut self, id: LinkId, port: Port, stage: Stage) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let link = Link::new(id, self.generation, port, stage);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() as u32 - 1
        });
        self.table[slot as usize] = Some(link);
        let earlier = self.slots.insert(id, slot);
        debug_assert!(earlier.is_none(), "ids of connections are never reused");
        slot
    }

    /// Forgets a connection. With `tell`, the core learns of it, unless it closed it itself.
    fn end(&mut self, set: &PollSet, slot: u32, tell: bool) {
        let Some(link) = self.table[slot as usize].take() else { return };
        self.free.push(slot);
        self.slots.remove(&link.id);
        if link.stranger {
            self.strangers.retain(|stranger| *stranger != link.id);
        }
        if let Some(stream) = link.stream() {
            // Closing would take it out of the set as well.
            let _ = set.remove(stream);
        }
        if tell && !link.closing {
            self.events.push(PeerEvent::Disconnected { link: link.id });
        }
        link.shut(&mut self.buffer);
    }

    /// Lets the set wait for what the connection wants now.
    fn watch(&mut self, set: &PollSet, slot: u32) {
        let Some(link) = &mut self.table[slot as usize] else { return };
        let wants = link.wants();
        if wants != link.interest {
            link.interest = wants;
            let source = source(slot, link.generation);
            if let Some(stream) = link.stream() {
                // The descriptor is open and in the set, so the kernel has no reason to refuse.
                let changed = set.change(stream, source, wants);
                debug_assert!(changed.is_ok(), "{changed:?}");
            }
        }
    }

    /// Puts the connection's new socket into the set.
    fn enter(&mut self, set: &PollSet, slot: u32) -> io::Result<()> {
        let link = self.link(slot);
        let wants = link.wants();
        link.interest = wants;
        let source = source(slot, link.generation);
        match link.stream() {
            Some(stream) => set.add(stream, source, wants),
            None => Ok(()),
        }
    }

    fn accept(&mut self, set: &PollSet, number: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some((port, listener)) = self.ports.listeners().get_mut(number) else { return };
            let (port, Some((stream, from))) = (*port, listener.accept()) else { return };
            if let Err(error) = prepare(&stream, port, self.silence_ms) {
                tracing::debug!(%from, %error, "gone before it was accepted");
                continue;
            }
            self.accepted += 1;
            let id = LinkId::accepted(self.accepted);
            let slot = self.insert(id, port, Stage::Open(stream));
            self.link(slot).stranger = true;
            if let Err(error) = self.enter(set, slot) {
                tracing::warn!(%from, %error, "a fellow server cannot be polled");
                self.end(set, slot, false);
                continue;
            }
            tracing::debug!(%from, ?port, ?id, "accepted");
            self.strangers.push_back(id);
            self.events.push(PeerEvent::Accepted { link: id, port });
            self.evict(set);
        }
    }

    /// Keeps those few who connect and say nothing.
    fn evict(&mut self, set: &PollSet) {
        while self.strangers.len() > PEER_STRANGERS_MAX {
            let Some(slot) = self.strangers.front().and_then(|id| self.slots.get(id)) else {
                return;
            };
            let slot = *slot;
            self.evicted += 1;
            if self.evicted.is_power_of_two() {
                let ended = self.evicted;
                tracing::warn!(ended, "too many connect to the servers' ports and say nothing");
            }
            self.end(set, slot, true);
        }
    }

    fn dial(
        &mut self,
        set: &PollSet,
        id: LinkId,
        peer: ServerId,
        port: Port,
        to: Vec<Address>,
        now: Mono,
    ) {
        let slot = self.insert(id, port, Stage::Naming);
        let patience = self.patience;
        let link = self.link(slot);
        link.peer = Some(peer);
        link.deadline = Some(now + patience);
        if let Some(plain) = Names::plain(&to) {
            self.link(slot).rest = plain;
            self.connect(set, slot, "it has no address", now);
        } else if !self.names.ask(id, to) {
            self.unreached(set, slot, "too many names wait to be resolved");
        }
    }

    fn on_names(&mut self, set: &PollSet, now: Mono) {
        self.names.hear();
        while let Some((id, found)) = self.names.take() {
            // It may have been closed, or given up.
            let Some(slot) = self.slots.get(&id).copied() else { continue };
            self.link(slot).rest = found;
            self.connect(set, slot, "its name has no address", now);
        }
    }

    /// Connects to the next address; with none left, `why` is why it failed.
    fn connect(&mut self, set: &PollSet, slot: u32, why: &str, now: Mono) {
        let (patience, silence_ms) = (self.patience, self.silence_ms);
        let mut why = why.to_owned();
        let mut link = self.link(slot);
        if let Some(stream) = link.stream() {
            let _ = set.remove(stream);
        }
        link.stage = Stage::Naming;
        while let Some(address) = link.rest.pop_front() {
            let begun = begin_connect(address).and_then(|(stream, done)| {
                prepare(&stream, link.port, silence_ms)?;
                Ok((stream, done))
            });
            let (stream, done) = match begun {
                Ok(begun) => begun,
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            };
            link.stage = Stage::Connecting(stream);
            link.deadline = Some(now + patience);
            if let Err(error) = self.enter(set, slot) {
                why = error.to_string();
                link = self.link(slot);
                link.stage = Stage::Naming;
                continue;
            }
            if done {
                self.on_connect(set, slot, now);
            }
            return;
        }
        self.unreached(set, slot, &why);
    }

    /// An attempt is decided.
    fn on_connect(&mut self, set: &PollSet, slot: u32, now: Mono) {
        let link = self.link(slot);
        let Stage::Connecting(stream) = std::mem::replace(&mut link.stage, Stage::Naming) else {
            return;
        };
        if let Err(error) = connected(&stream) {
            let _ = set.remove(&stream);
            drop(stream);
            return self.connect(set, slot, &error.to_string(), now);
        }
        link.stage = Stage::Open(stream);
        link.deadline = None;
        link.rest.clear();
        let (id, port, peer) = (link.id, link.port, link.peer);
        self.watch(set, slot);
        tracing::debug!(?peer, ?port, ?id, "connected");
        if let Some(peer) = peer
            && self.unreachable.remove(&(peer, port))
        {
            tracing::info!(server = peer.0, ?port, "reached");
        }
        self.events.push(PeerEvent::Connected { link: id });
        // What was ordered meanwhile.
        self.mark(slot);
    }

    /// Nobody was connected to. The log is told once for each server and port.
    fn unreached(&mut self, set: &PollSet, slot: u32, why: &str) {
        let link = self.link(slot);
        if let (Some(peer), port) = (link.peer, link.port) {
            if self.unreachable.insert((peer, port)) {
                tracing::info!(server = peer.0, ?port, why, "cannot be reached");
            } else {
                tracing::debug!(server = peer.0, ?port, why, "cannot be reached");
            }
        }
        self.end(set, slot, true);
    }

    /// Takes what has arrived, as much as one turn may; ends the connection if its end was among
    /// it. `ends` says that the end is known to come: else a short read is taken for the last.
    fn receive(&mut self, set: &PollSet, slot: u32, ends: bool) {
        let mut taken = 0;
        while taken < PEER_READ_BYTES_PER_TURN {
            let Some(link) = &mut self.table[slot as usize] else { return };
            let room = &mut self.buffer[..PEER_READ_BYTES_PER_TURN - taken];
            let size = room.len();
            match link.read(room) {
                Ok(0) if link.closing => {
                    // It may still want what is in the queue.
                    link.drained = true;
                    return self.watch(set, slot);
                }
                Ok(0) => return self.end(set, slot, true),
                Ok(count) => {
                    taken += count;
                    if !link.closing {
                        let bytes = self.buffer[..count].to_vec();
                        self.events.push(PeerEvent::Received { link: link.id, bytes });
                    }
                    if count < size && !ends {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(set, slot, true),
            }
        }
    }
}

fn source(slot: u32, generation: u32) -> Source {
    Source::Peer { slot, generation: generation & Source::GENERATION_MASK }
}

fn add_listeners(set: &PollSet, ports: &mut Ports, first: usize) -> io::Result<()> {
    for (number, (_, listener)) in ports.listeners().iter().enumerate().skip(first) {
        let listener: &Listener = listener;
        set.add(listener, Source::PeerPort { number: number as u32 }, EpollFlags::EPOLLIN)?;
    }
    Ok(())
}

/// How an attempt ended.
fn connected(stream: &TcpStream) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    let (own, peer): (SocketAddr, SocketAddr) = (stream.local_addr()?, stream.peer_addr()?);
    if own == peer {
        // A port of this machine that nobody listens on, chosen by the system for our own side.
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// A state as ZooKeeper's snapshot stream.
fn snapshot_stream(version: Version) -> Box<dyn Stream> {
    Box::new(SnapshotStream::new(version))
}

impl Stream for SnapshotStream {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        SnapshotStream::next(self, out)
    }
}
