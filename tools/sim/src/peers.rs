//! The network between servers: connections that keep their order, each with its own delay, that
//! break, stall one way or both, or end without anybody being told; ports that are closed, names
//! that do not resolve.
//!
//! It carries out [`PeerOrder`]s and yields [`PeerEvent`]s; which of the possible ones is next is
//! the world's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::Version;
use engine::snapshot::zookeeper::SnapshotStream;
use model::ServerId;
use replication::{Bytes, LinkId, Port};
use server::peer::{PeerEvent, PeerOrder};

use crate::dice::Dice;
use crate::swarm::Options;

/// Bytes of a snapshot stream that are on their way at a time.
const PIECE_BYTES: usize = 16 << 10;
/// A connection that gets no answer is given up after this, ns.
const CONNECT_NS: u64 = 3_000_000_000;

/// A snapshot stream in the making.
struct Stream {
    made: SnapshotStream,
}

impl Stream {
    /// ZooKeeper's stream of a state (`zab-wire` 2.8).
    fn of(version: Version) -> Stream {
        Stream { made: SnapshotStream::new(version) }
    }

    /// The next bytes; false when there are no more.
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        self.made.next(out)
    }
}

/// Something on its way.
enum Item {
    Bytes(Bytes, usize),
    /// A stream, and what was made of it and not taken yet.
    Snapshot(Box<Stream>, Vec<u8>),
    End,
}

/// One end of a connection that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Server, by its place in the world.
    pub node: usize,
    /// What it calls the connection.
    pub link: LinkId,
}

/// Items towards one end, each with the true time at which it can arrive, ns.
#[derive(Default)]
struct Way {
    items: VecDeque<(u64, Item)>,
    bytes: usize,
}

/// A connection.
struct Wire {
    port: Port,
    /// Who dialed and who accepted; nobody once that end is closed.
    ends: [Option<End>; 2],
    /// Servers at the two ends, whether or not they still have them open.
    nodes: [usize; 2],
    ways: [Way; 2],
    /// Dialed and not accepted yet: when the attempt arrives.
    dialing: Option<u64>,
    delay_ns: u64,
    slow: bool,
}

/// Something that can happen now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerMove {
    /// A connection attempt arrives, or is given up.
    Dial(u64),
    /// What is oldest on the way to this end (0 dialed, 1 accepted) arrives.
    Arrive(u64, usize),
    /// A server learns something about its own connections.
    Notice(usize),
}

/// What happened.
#[derive(Debug)]
pub struct Happened {
    /// What servers are told, in order.
    pub events: Vec<(usize, PeerEvent)>,
    /// Bytes that arrived at a quorum connection outside of a snapshot stream: the connection, the
    /// end they came to, and what they are.
    pub arrived: Option<(u64, usize, Vec<u8>)>,
}

/// The network.
pub struct PeerNetwork {
    dice: Dice,
    wires: BTreeMap<u64, Wire>,
    ends: BTreeMap<(usize, LinkId), u64>,
    next: u64,
    /// Servers whose quorum port is open.
    listening: BTreeSet<usize>,
    /// Servers whose process runs.
    running: BTreeSet<usize>,
    notices: BTreeMap<usize, VecDeque<PeerEvent>>,
    /// Nothing gets from the first to the second until this true time, ns.
    cuts: BTreeMap<(usize, usize), u64>,
    /// Names of these servers do not resolve until this true time, ns.
    nameless: BTreeMap<usize, u64>,
    /// Bytes one connection may have waiting.
    queue_max: usize,
}

/// The host name of a server.
pub fn host(node: usize) -> String {
    format!("n{}", node + 1)
}

/// The number by which servers know the one at this place.
pub fn server_id(node: usize) -> ServerId {
    ServerId(node as u8 + 1)
}

impl PeerNetwork {
    /// A network without connections.
    pub fn new(dice: Dice, queue_max: usize) -> PeerNetwork {
        PeerNetwork {
            dice,
            wires: BTreeMap::new(),
            ends: BTreeMap::new(),
            next: 0,
            listening: BTreeSet::new(),
            running: BTreeSet::new(),
            notices: BTreeMap::new(),
            cuts: BTreeMap::new(),
            nameless: BTreeMap::new(),
            queue_max,
        }
    }

    /// A process has started: its election port is open.
    pub fn start(&mut self, node: usize) {
        self.running.insert(node);
    }

    /// A process has died. What it had sent arrives in part; the others learn that it is gone,
    /// unless the whole machine went silently.
    pub fn crash(&mut self, node: usize, silently: bool) {
        self.running.remove(&node);
        self.listening.remove(&node);
        self.notices.remove(&node);
        let mine: Vec<u64> = self.wires_of(node);
        for id in mine {
            let keep = self.dice.word();
            let Some(wire) = self.wires.get_mut(&id) else { continue };
            for side in 0..2 {
                let Some(end) = wire.ends[side].filter(|end| end.node == node) else { continue };
                self.ends.remove(&(end.node, end.link));
                wire.ends[side] = None;
                wire.ways[side] = Way::default();
                let way = &mut wire.ways[1 - side];
                way.items.truncate((keep % (way.items.len() as u64 + 1)) as usize);
                if let Some((_, Item::Snapshot(..))) = way.items.back() {
                    // Its maker is no more.
                    way.items.pop_back();
                }
                if !silently {
                    way.items.push_back((0, Item::End));
                }
            }
            self.forget_if_over(id);
        }
    }

    fn wires_of(&self, node: usize) -> Vec<u64> {
        let mine = |wire: &&Wire| wire.nodes.contains(&node);
        self.wires.iter().filter(|(_, wire)| mine(wire)).map(|(id, _)| *id).collect()
    }

    fn forget_if_over(&mut self, id: u64) {
        let over = self.wires.get(&id).is_some_and(|wire| wire.ends == [None, None]);
        if over {
            self.wires.remove(&id);
        }
    }

    /// The connection that a server's link is, if it is a quorum connection, and which end it has.
    pub fn quorum_wire(&self, node: usize, link: LinkId) -> Option<(u64, usize)> {
        let id = *self.ends.get(&(node, link))?;
        let wire = self.wires.get(&id).filter(|wire| wire.port == Port::Quorum)?;
        Some((id, usize::from(wire.ends[1] == Some(End { node, link }))))
    }

    /// Servers at the ends of a connection: who dialed and who was dialed.
    pub fn nodes_of(&self, wire: u64) -> Option<[usize; 2]> {
        self.wires.get(&wire).map(|wire| wire.nodes)
    }

    // ----- orders ----------------------------------------------------------------------------

    /// Carries out an order of a server's core.
    pub fn order(&mut self, node: usize, order: PeerOrder, now: u64, options: &Options) {
        match order {
            PeerOrder::Listen { open: true } => {
                self.listening.insert(node);
            }
            PeerOrder::Listen { open: false } => {
                self.listening.remove(&node);
            }
            PeerOrder::Dial { link, peer, port, to } => {
                let place = usize::from(peer.0).wrapping_sub(1);
                let known = to.iter().any(|address| address.host == host(place));
                let resolved = self.nameless.get(&place).is_none_or(|until| *until <= now);
                if !known || !resolved {
                    return self.notice(node, PeerEvent::Disconnected { link });
                }
                self.dial(End { node, link }, place, port, now, options);
            }
            PeerOrder::Send { link, bytes } => self.push(node, link, now, Item::Bytes(bytes, 0)),
            PeerOrder::SendSnapshot { link, version } => {
                let stream = Box::new(Stream::of(version));
                self.push(node, link, now, Item::Snapshot(stream, Vec::new()));
            }
            PeerOrder::Close { link } => {
                self.push(node, link, now, Item::End);
                let Some(id) = self.ends.remove(&(node, link)) else { return };
                if let Some(wire) = self.wires.get_mut(&id) {
                    let side = usize::from(wire.ends[1] == Some(End { node, link }));
                    wire.ends[side] = None;
                    wire.ways[side] = Way::default();
                    if wire.dialing.is_some() {
                        self.wires.remove(&id);
                    }
                }
                self.forget_if_over(id);
            }
        }
    }

    fn dial(&mut self, from: End, to: usize, port: Port, now: u64, options: &Options) {
        let delay_ns = self.dice.between(20_000, 1_000 * options.peer_delay_us.max(21));
        let slow = self.dice.per_mille(options.peer_slow);
        self.next += 1;
        let wire = Wire {
            port,
            ends: [Some(from), None],
            nodes: [from.node, to],
            ways: Default::default(),
            dialing: Some(now + delay_ns),
            delay_ns,
            slow,
        };
        self.wires.insert(self.next, wire);
        self.ends.insert((from.node, from.link), self.next);
    }

    fn notice(&mut self, node: usize, event: PeerEvent) {
        self.notices.entry(node).or_default().push_back(event);
    }

    /// Puts something on the way to the other end, behind what is on its way already.
    fn push(&mut self, node: usize, link: LinkId, now: u64, item: Item) {
        let Some(&id) = self.ends.get(&(node, link)) else { return };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let side = usize::from(wire.ends[1] == Some(End { node, link }));
        let peer = wire.nodes[1 - side];
        let told = matches!(wire.ways[side].items.back(), Some((_, Item::End)));
        if wire.dialing.is_none() && wire.ends[1 - side].is_none() && !told {
            // The other machine went silently. Once it is back it says that it knows nothing.
            if self.running.contains(&peer) {
                self.break_wire(id);
            }
            return;
        }
        let delay = wire.delay_ns * if wire.slow { 20 } else { 1 };
        let way = &mut wire.ways[1 - side];
        if let Item::Bytes(bytes, _) = &item {
            way.bytes += bytes.len();
            if way.bytes > self.queue_max {
                return self.break_wire(id);
            }
        }
        let before = way.items.back().map_or(0, |(at, _)| *at);
        way.items.push_back(((now + delay).max(before), item));
    }

    /// A connection ends for both, and what was on its way is lost.
    fn break_wire(&mut self, id: u64) {
        let Some(wire) = self.wires.remove(&id) else { return };
        for end in wire.ends.into_iter().flatten() {
            self.ends.remove(&(end.node, end.link));
            self.notice(end.node, PeerEvent::Disconnected { link: end.link });
        }
    }

    // ----- faults ----------------------------------------------------------------------------

    /// One connection is reset; between whom.
    pub fn reset_one(&mut self) -> Option<[usize; 2]> {
        let chosen = self.dice.index(self.wires.len());
        let (&id, wire) = self.wires.iter().nth(chosen)?;
        let nodes = wire.nodes;
        self.break_wire(id);
        Some(nodes)
    }

    /// Every connection between two servers is reset.
    pub fn reset(&mut self, one: usize, other: usize) {
        let all = self.wires_of(one);
        for id in all {
            if self.wires.get(&id).is_some_and(|wire| wire.nodes.contains(&other)) {
                self.break_wire(id);
            }
        }
    }

    /// Nothing gets from one server to another until this true time, ns.
    pub fn cut(&mut self, from: usize, to: usize, until: u64) {
        let end = self.cuts.entry((from, to)).or_default();
        *end = until.max(*end);
    }

    /// A server's name does not resolve until this true time, ns.
    pub fn lose_name(&mut self, node: usize, until: u64) {
        self.nameless.insert(node, until);
    }

    /// Every fault ends. Ends that were left without notice get theirs.
    pub fn heal(&mut self, now: u64, queue_max: usize) {
        self.cuts.clear();
        self.nameless.clear();
        self.queue_max = queue_max;
        for wire in self.wires.values_mut() {
            wire.slow = false;
            wire.delay_ns = wire.delay_ns.min(1_000_000);
            for side in 0..2 {
                let orphaned = wire.dialing.is_none() && wire.ends[1 - side].is_none();
                let way = &mut wire.ways[side];
                for (at, _) in &mut way.items {
                    *at = (*at).min(now);
                }
                if orphaned && !matches!(way.items.back(), Some((_, Item::End))) {
                    way.items.push_back((now, Item::End));
                }
            }
        }
    }

    // ----- what can happen -------------------------------------------------------------------

    fn open_from(&self, from: usize, to: usize) -> u64 {
        self.cuts.get(&(from, to)).copied().unwrap_or(0)
    }

    /// When each thing on its way can happen: a true time, ns.
    fn all(&self) -> impl Iterator<Item = (u64, PeerMove, usize)> {
        let notices = self.notices.iter().filter(|(_, list)| !list.is_empty());
        let notices = notices.map(|(&node, _)| (0, PeerMove::Notice(node), node));
        let wires = self.wires.iter().flat_map(move |(&id, wire)| {
            let [from, to] = wire.nodes;
            let path = self.open_from(from, to).max(self.open_from(to, from));
            let dial = wire.dialing.map(|at| {
                // It arrives, or is given up.
                let at = at.max(path).min(at + CONNECT_NS);
                (at, PeerMove::Dial(id), from)
            });
            let arrivals = (0..2).filter_map(move |side| {
                let end = wire.ends[side]?;
                let (at, _) = wire.ways[side].items.front()?;
                let open = self.open_from(wire.nodes[1 - side], end.node);
                Some(((*at).max(open), PeerMove::Arrive(id, side), end.node))
            });
            dial.into_iter().chain(arrivals.filter(move |_| wire.dialing.is_none()))
        });
        notices.chain(wires)
    }

    /// What can happen now, to servers that are awake.
    pub fn possible(&self, now: u64, awake: impl Fn(usize) -> bool) -> Vec<PeerMove> {
        // A server learns of a connection before it hears anything on it.
        let settled = |node: usize| self.notices.get(&node).is_none_or(VecDeque::is_empty);
        self.all()
            .filter(|(at, what, node)| {
                let first = matches!(what, PeerMove::Notice(_)) || settled(*node);
                *at <= now && first && awake(*node)
            })
            .map(|(_, what, _)| what)
            .collect()
    }

    /// True time at which something can happen next, ns.
    pub fn next_at(&self) -> Option<u64> {
        self.all().map(|(at, ..)| at).min()
    }

    /// Lets one of the possible things happen.
    pub fn happen(&mut self, what: PeerMove, now: u64, options: &Options) -> Happened {
        let mut happened = Happened { events: Vec::new(), arrived: None };
        match what {
            PeerMove::Notice(node) => {
                let event = self.notices.get_mut(&node).and_then(VecDeque::pop_front);
                happened.events.extend(event.map(|event| (node, event)));
            }
            PeerMove::Dial(id) => self.establish(id, now, &mut happened),
            PeerMove::Arrive(id, side) => self.arrive(id, side, options, &mut happened),
        }
        happened
    }

    fn establish(&mut self, id: u64, now: u64, happened: &mut Happened) {
        let Some(wire) = self.wires.get(&id) else { return };
        let [from, to] = wire.nodes;
        let path = self.open_from(from, to).max(self.open_from(to, from)) <= now;
        let open = wire.port == Port::Election || self.listening.contains(&to);
        let Some(dialer) = wire.ends[0] else { return };
        if !path || !open || !self.running.contains(&to) {
            self.wires.remove(&id);
            self.ends.remove(&(dialer.node, dialer.link));
            let event = PeerEvent::Disconnected { link: dialer.link };
            return happened.events.push((dialer.node, event));
        }
        let accepted = End { node: to, link: LinkId::accepted(id) };
        self.ends.insert((accepted.node, accepted.link), id);
        let wire = self.wires.get_mut(&id).expect("just seen");
        wire.dialing = None;
        wire.ends[1] = Some(accepted);
        let event = PeerEvent::Accepted { link: accepted.link, port: wire.port };
        self.notice(accepted.node, event);
        happened.events.push((dialer.node, PeerEvent::Connected { link: dialer.link }));
    }

    fn arrive(&mut self, id: u64, side: usize, options: &Options, happened: &mut Happened) {
        let pieces = self.dice.per_mille(options.pieces);
        let piece = self.dice.between(1, 40) as usize;
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(end) = wire.ends[side] else { return };
        let sender = wire.ends[1 - side];
        let way = &mut wire.ways[side];
        let Some((at, item)) = way.items.pop_front() else { return };
        let most = if pieces { piece } else { usize::MAX };
        match item {
            Item::Bytes(bytes, from) => {
                let upto = from.saturating_add(most).min(bytes.len());
                let part = bytes[from..upto].to_vec();
                way.bytes -= part.len();
                if upto < bytes.len() {
                    way.items.push_front((at, Item::Bytes(bytes, upto)));
                }
                if wire.port == Port::Quorum {
                    happened.arrived = Some((id, side, part.clone()));
                }
                let event = PeerEvent::Received { link: end.link, bytes: part };
                happened.events.push((end.node, event));
            }
            Item::Snapshot(mut stream, mut made) => {
                let mut more = true;
                while more && made.len() < PIECE_BYTES {
                    let mut next = Vec::new();
                    more = stream.next(&mut next);
                    made.extend_from_slice(&next);
                }
                let rest = made.split_off(made.len().min(most).min(PIECE_BYTES));
                if more || !rest.is_empty() {
                    way.items.push_front((at, Item::Snapshot(stream, rest)));
                } else if let Some(sender) = sender {
                    self.notice(sender.node, PeerEvent::SnapshotSent { link: sender.link });
                }
                if !made.is_empty() {
                    let event = PeerEvent::Received { link: end.link, bytes: made };
                    happened.events.push((end.node, event));
                }
            }
            Item::End => {
                // One that is closed on one side is of no use to the other.
                self.ends.remove(&(end.node, end.link));
                wire.ends[side] = None;
                if let Some(sender) = sender {
                    self.ends.remove(&(sender.node, sender.link));
                    self.notice(sender.node, PeerEvent::Disconnected { link: sender.link });
                }
                self.wires.remove(&id);
                happened.events.push((end.node, PeerEvent::Disconnected { link: end.link }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
