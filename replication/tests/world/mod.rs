//! Replicas on simulated disks and a simulated network, and the properties that must hold after
//! every step. Everything is decided by the seed; time is simulated.
//!
//! Connections keep their order, as TCP does; different connections, disks and timers are
//! reordered freely by their delays.

#![allow(dead_code, unreachable_pub)]

mod chaos;
mod properties;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use model::{Batch, Epoch, Mono, ServerId, SessionId, Zxid};
use replication::wire::handshake::WireOptions;
use replication::wire::packet::{Packet, PacketBuffer};
use replication::{
    Durable, Epochs, Input, LinkId, Membership, Output, Port, Replica, ReplicaConfig, Request,
    Retention, RoleKind,
};

#[allow(unused_imports)] // not every test makes seeded runs
pub use chaos::chaos;

/// Opcode of a sync request.
const SYNC: i32 = 9;

/// Steps of a generator that is good enough for schedules.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub type Entry = (Zxid, Vec<u8>);

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Stable {
    pub epochs: Epochs,
    /// The whole history, with what a snapshot covers.
    pub log: Vec<Entry>,
    /// Where the snapshot ends.
    pub base: Zxid,
    pub committed: Zxid,
    pub distrusted: bool,
}

impl Stable {
    fn last(&self) -> Zxid {
        self.log.last().map_or(self.base, |(zxid, _)| (*zxid).max(self.base))
    }

    fn durable(&self) -> Durable {
        let tail: Vec<&Entry> = self.log.iter().filter(|(zxid, _)| *zxid > self.base).collect();
        let tail = tail.iter().map(|(zxid, entry)| batch(*zxid, &[entry])).collect();
        let (epochs, snapshot, committed) = (self.epochs, self.base, self.committed);
        let digest = Some(digest_upto(&self.log, self.base));
        Durable { epochs, snapshot, digest, tail, committed, trusted: !self.distrusted }
    }
}

enum Work {
    Append(Batch),
    SaveEpochs(Epochs),
    Truncate(Zxid),
    Install(Zxid, Vec<Entry>),
}

pub struct Node {
    /// Counts restarts: what was meant for an earlier life is lost.
    life: u32,
    replica: Option<Replica>,
    pub stable: Stable,
    disk: VecDeque<Work>,
    /// The own log as the process sees it.
    pub log: Vec<Entry>,
    receiving: Option<(Vec<u8>, Vec<Entry>)>,
    pub role: RoleKind,
    listens: bool,
    /// When it was killed.
    died: Option<Mono>,
    next: Zxid,
    wake_at: Option<Mono>,
    pub syncs: u64,
    pub valid: u64,
}

struct End {
    node: u8,
    life: u32,
    link: LinkId,
}

enum Wire {
    Bytes(Vec<u8>),
    Fin,
}

struct Conn {
    /// Who dialed, and who was dialed once that succeeded.
    ends: [Option<End>; 2],
    peer: u8,
    port: Port,
    queues: [VecDeque<Wire>; 2],
    free_at: [Mono; 2],
    /// Broken, perhaps before it was established.
    refused: bool,
    established: bool,
    /// Reads along what the dialing side says, for the checks.
    said: PacketBuffer,
}

enum Event {
    Establish(u64),
    /// To the side with this index.
    Deliver(u64, usize),
    Disk(u8, u32),
    Wake(u8, u32),
    Give(u8, u32, Input),
}

/// What can be varied.
pub struct Setup {
    pub voters: u8,
    pub observers: u8,
    pub seed: u64,
    /// Delay of a message, ms, least and greatest.
    pub net_ms: (u64, u64),
    /// Delay of a disk operation.
    pub disk_ms: (u64, u64),
    pub retained: usize,
    pub cut_bytes: bool,
    /// How long the election port of a process that was killed still takes connections, ms.
    pub linger_ms: u64,
    pub empty_may_vote: bool,
    /// Servers that speak ZooKeeper's protocol and no more.
    pub plain: BTreeSet<u8>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            voters: 3,
            observers: 0,
            seed: 1,
            net_ms: (1, 1),
            disk_ms: (2, 2),
            retained: 1000,
            cut_bytes: false,
            linger_ms: 0,
            empty_may_vote: true,
            plain: BTreeSet::new(),
        }
    }
}

pub struct World {
    pub setup: Setup,
    pub now: Mono,
    pub nodes: BTreeMap<u8, Node>,
    random: Random,
    members: Membership,
    events: BTreeMap<(Mono, u64), Event>,
    sequence: u64,
    conns: BTreeMap<u64, Conn>,
    links: BTreeMap<(u8, u32, LinkId), u64>,
    accepted: u64,
    blocked: BTreeSet<(u8, u8)>,
    prepare: Box<dyn Fn(&mut Replica)>,
    /// Everything anybody reported as committed, in order.
    pub truth: Vec<Entry>,
    leaders: BTreeMap<Epoch, (u8, u32)>,
    proposals: u64,
    /// The first property that did not hold.
    pub violation: Option<String>,
    /// What happened, for stories.
    pub journal: Vec<String>,
    /// Acknowledgements and commits are told, too.
    pub tell_packets: bool,
    pub halts: bool,
    /// Synchronizations at whose end a digest came with the position.
    pub compared: u64,
}

/// Stands for the digest of the state after `at`: entries here are no transactions.
fn digest_upto(log: &[Entry], at: Zxid) -> u64 {
    let upto = log.iter().filter(|(zxid, _)| *zxid <= at);
    upto.fold(0xCBF2_9CE4_8422_2325, |digest, (zxid, entry)| {
        let bytes = zxid.0.to_be_bytes().into_iter().chain(entry.iter().copied());
        bytes.fold(digest, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
    })
}

fn batch(first: Zxid, entries: &[&Vec<u8>]) -> Batch {
    let mut ends = Vec::new();
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(entry);
        ends.push(bytes.len() as u32);
    }
    Batch::new(first, bytes, ends)
}

fn config(id: u8, members: &Membership, setup: &Setup) -> ReplicaConfig {
    let retention = Retention { entries_max: setup.retained, bytes_max: 1 << 20 };
    ReplicaConfig {
        tick_ms: 100,
        init_limit: 10,
        sync_limit: 5,
        notify_ms_max: 800,
        retention,
        empty_may_vote: setup.empty_may_vote,
        wire_options: if setup.plain.contains(&id) { WireOptions::NONE } else { WireOptions::ALL },
        ..ReplicaConfig::new(ServerId(id), members.clone())
    }
}

impl World {
    pub fn new(setup: Setup, prepare: impl Fn(&mut Replica) + 'static) -> World {
        let total = setup.voters + setup.observers;
        let mut text = String::new();
        for id in 1..=total {
            let role = if id > setup.voters { "observer" } else { "participant" };
            writeln!(text, "server.{id}=n{id}:2888:3888:{role}").expect("text grows");
        }
        let members = Membership::parse(&text).expect("generated");
        let mut world = World {
            random: Random::new(setup.seed),
            now: Mono::from_millis(1000),
            nodes: BTreeMap::new(),
            members,
            events: BTreeMap::new(),
            sequence: 0,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            accepted: 0,
            blocked: BTreeSet::new(),
            prepare: Box::new(prepare),
            truth: Vec::new(),
            leaders: BTreeMap::new(),
            proposals: 0,
            violation: None,
            journal: Vec::new(),
            tell_packets: false,
            halts: false,
            compared: 0,
            setup,
        };
        for id in 1..=total {
            let node = Node {
                life: 0,
                replica: None,
                stable: Stable::default(),
                disk: VecDeque::new(),
                log: Vec::new(),
                receiving: None,
                role: RoleKind::Looking,
                listens: false,
                died: None,
                next: Zxid::ZERO,
                wake_at: None,
                syncs: 0,
                valid: 0,
            };
            world.nodes.insert(id, node);
        }
        world
    }

    fn fail(&mut self, what: String) {
        self.violation.get_or_insert(format!("at {} ms: {what}", self.now.millis()));
    }

    fn note(&mut self, id: u8, what: &str) {
        self.journal.push(format!("{id}: {what}"));
    }

    fn node(&mut self, id: u8) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this world")
    }

    fn at(&mut self, delay: (u64, u64), event: Event) -> Mono {
        let ms = delay.0 + self.random.below(delay.1 - delay.0 + 1);
        let at = self.now + Duration::from_millis(ms);
        self.schedule(at, event);
        at
    }

    fn schedule(&mut self, at: Mono, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    // ----- faults ----------------------------------------------------------------------------

    pub fn is_up(&self, id: u8) -> bool {
        self.nodes[&id].replica.is_some()
    }

    /// The replica of a node that is up.
    pub fn replica(&self, id: u8) -> &Replica {
        self.nodes[&id].replica.as_ref().expect("it is up")
    }

    /// Starts a node from what is on its disk.
    pub fn start(&mut self, id: u8) {
        if self.is_up(id) {
            return;
        }
        let config = config(id, &self.members, &self.setup);
        let node = self.node(id);
        node.life += 1;
        node.role = RoleKind::Looking;
        node.log = node.stable.log.clone();
        node.wake_at = None;
        let mut replica = Replica::new(config, node.stable.durable());
        (self.prepare)(&mut replica);
        self.node(id).replica = Some(replica);
        self.give(id, Input::Tick);
    }

    /// Kills a node. Of the disk work under way, an arbitrary first part is done.
    pub fn crash(&mut self, id: u8) {
        if !self.is_up(id) {
            return;
        }
        let pending = self.nodes[&id].disk.len() as u64;
        let done = self.random.below(pending + 1);
        for _ in 0..done {
            self.finish_disk(id);
        }
        let now = self.now;
        let node = self.node(id);
        node.died = Some(now);
        node.replica = None;
        node.disk.clear();
        node.receiving = None;
        node.listens = false;
        node.role = RoleKind::Looking;
        for conn in self.conns_of(id, None) {
            self.hang_up(conn, id);
        }
    }

    /// Ends connections between two nodes and lets no new ones come about.
    pub fn cut(&mut self, one: u8, other: u8) {
        self.blocked.insert((one.min(other), one.max(other)));
        self.reset(one, other);
    }

    /// Ends connections between two nodes; what was on its way is lost.
    pub fn reset(&mut self, one: u8, other: u8) {
        for id in self.conns_of(one, Some(other)) {
            for side in 0..2 {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.queues[side].clear();
                    conn.refused = true;
                }
                if self.conns.get(&id).is_some_and(|conn| conn.established) {
                    self.push(id, side, Wire::Fin);
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    /// A snapshot of what is committed here: the log before it goes.
    pub fn compact(&mut self, id: u8) {
        let Some(replica) = &self.nodes[&id].replica else { return };
        let committed = replica.committed();
        let node = self.node(id);
        if node.stable.log.iter().any(|(zxid, _)| *zxid == committed) {
            node.stable.base = node.stable.base.max(committed);
            node.stable.committed = node.stable.committed.max(committed);
        }
    }

    /// Takes a stopped node's disk away.
    pub fn wipe(&mut self, id: u8) {
        assert!(!self.is_up(id), "only a stopped node's disk can be replaced");
        self.node(id).stable = Stable::default();
    }

    /// Gives a stopped node entries that nobody else has.
    pub fn scribble(&mut self, id: u8, zxid: Zxid, text: &str) {
        assert!(!self.is_up(id), "only a stopped node's disk can be edited");
        let epoch = zxid.epoch();
        let stable = &mut self.node(id).stable;
        stable.log.push((zxid, text.as_bytes().to_vec()));
        stable.epochs.accepted = stable.epochs.accepted.max(epoch);
        stable.epochs.current = stable.epochs.current.max(epoch);
    }

    fn conns_of(&self, one: u8, other: Option<u8>) -> Vec<u64> {
        let touches = |conn: &Conn, id: u8| {
            conn.peer == id || conn.ends[0].as_ref().is_some_and(|end| end.node == id)
        };
        let wanted = |conn: &Conn| touches(conn, one) && other.is_none_or(|o| touches(conn, o));
        self.conns.iter().filter(|(_, conn)| wanted(conn)).map(|(id, _)| *id).collect()
    }

    fn is_blocked(&self, one: u8, other: u8) -> bool {
        self.blocked.contains(&(one.min(other), one.max(other)))
    }

    // ----- running ---------------------------------------------------------------------------

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.violation.is_none() {
            let Some((&(at, sequence), _)) = self.events.first_key_value() else { break };
            if at > end {
                break;
            }
            let event = self.events.remove(&(at, sequence)).expect("it is the first");
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Establish(conn) => self.establish(conn),
            Event::Deliver(conn, side) => self.deliver(conn, side),
            Event::Disk(id, life) => {
                if self.nodes[&id].life == life
                    && self.is_up(id)
                    && let Some(done) = self.finish_disk(id)
                {
                    self.give(id, done);
                }
            }
            Event::Wake(id, life) => {
                if self.nodes[&id].life == life {
                    self.node(id).wake_at = None;
                    self.give(id, Input::Tick);
                }
            }
            Event::Give(id, life, input) => {
                if self.nodes[&id].life == life {
                    self.give(id, input);
                }
            }
        }
    }

    /// One step of one replica.
    pub fn give(&mut self, id: u8, input: Input) {
        let now = self.now;
        let node = self.node(id);
        let life = node.life;
        let Some(replica) = &mut node.replica else { return };
        let mut out = Vec::new();
        replica.step(now, input, &mut out);
        let deadline = replica.next_deadline();
        for output in out {
            self.carry_out(id, life, output);
        }
        let node = self.node(id);
        if let Some(at) = deadline.filter(|at| node.wake_at.is_none_or(|set| *at < set)) {
            let at = at.max(now + Duration::from_millis(1));
            node.wake_at = Some(at);
            self.schedule(at, Event::Wake(id, life));
        }
    }

    fn carry_out(&mut self, id: u8, life: u32, output: Output) {
        match output {
            Output::Append(batch) => {
                let entries = batch.entries().map(|(zxid, entry)| (zxid, entry.to_vec()));
                let last = self.nodes[&id].log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                if batch.first() <= last {
                    self.fail(format!("{id} appends {:?} after {last:?}", batch.first()));
                }
                let entries: Vec<Entry> = entries.collect();
                self.node(id).log.extend(entries);
                self.queue_disk(id, Work::Append(batch));
            }
            Output::Commit { upto } => self.on_commit(id, upto),
            Output::RoleChanged(role) => self.on_role(id, role),
            Output::SaveEpochs(epochs) => self.queue_disk(id, Work::SaveEpochs(epochs)),
            Output::TruncateTo { to } => {
                self.note(id, &format!("truncate to {to:?}"));
                self.node(id).log.retain(|(zxid, _)| *zxid <= to);
                self.queue_disk(id, Work::Truncate(to));
            }
            Output::SnapshotBegin { at } => {
                self.note(id, &format!("receive snapshot at {at:?}"));
                self.node(id).receiving = Some((Vec::new(), Vec::new()));
            }
            Output::SnapshotPiece(piece) => {
                let receiving = self.node(id).receiving.as_mut().expect("begun");
                receiving.0.extend_from_slice(&piece);
            }
            Output::SnapshotEnd => {
                let receiving = self.node(id).receiving.as_mut().expect("begun");
                receiving.1 = parse_snapshot(&receiving.0);
            }
            Output::SnapshotReplay(batch) => {
                let receiving = self.node(id).receiving.as_mut().expect("begun");
                for (zxid, entry) in batch.entries() {
                    if receiving.1.last().is_none_or(|(last, _)| *last < zxid) {
                        receiving.1.push((zxid, entry.to_vec()));
                    }
                }
            }
            Output::InstallSnapshot { at } => {
                let (_, log) = self.node(id).receiving.take().expect("received");
                self.node(id).log.clone_from(&log);
                self.queue_disk(id, Work::Install(at, log));
            }
            Output::Exact { at, digest } => self.on_exact(id, at, digest),
            Output::SnapshotAbandoned => self.node(id).receiving = None,
            Output::Listen { open } => self.node(id).listens = open,
            Output::Dial { link, peer, port, to } => {
                assert_eq!(to[0].host, format!("n{}", peer.0));
                self.sequence += 1;
                let conn = self.sequence;
                let end = End { node: id, life, link };
                self.links.insert((id, life, link), conn);
                let (ends, peer, now) = ([Some(end), None], peer.0, self.now);
                let (queues, free_at) = (Default::default(), [now, now]);
                let said = PacketBuffer::default();
                let refused = false;
                self.conns.insert(
                    conn,
                    Conn { ends, peer, port, queues, free_at, refused, established: false, said },
                );
                self.at(self.setup.net_ms, Event::Establish(conn));
            }
            Output::Send { link, bytes } => {
                let Some(&conn) = self.links.get(&(id, life, link)) else { return };
                self.check_said(id, conn, &bytes);
                if self.tell_packets {
                    self.tell(id, conn, &bytes);
                }
                let side = self.side(conn, id, life, link);
                self.push(conn, 1 - side, Wire::Bytes(bytes.to_vec()));
            }
            Output::Close { link } => {
                if let Some(conn) = self.links.remove(&(id, life, link)) {
                    let side = self.side(conn, id, life, link);
                    self.push(conn, 1 - side, Wire::Fin);
                    if let Some(conn) = self.conns.get_mut(&conn) {
                        conn.ends[side] = None;
                    }
                }
            }
            Output::SendSnapshot { link, at } => {
                self.note(id, &format!("send snapshot at {at:?}"));
                let log = self.nodes[&id].log.iter().filter(|(zxid, _)| *zxid <= at);
                let bytes = build_snapshot(&log.cloned().collect::<Vec<_>>());
                let Some(&conn) = self.links.get(&(id, life, link)) else { return };
                let side = self.side(conn, id, life, link);
                self.push(conn, 1 - side, Wire::Bytes(bytes));
                self.at((1, 1), Event::Give(id, life, Input::SnapshotSent { link }));
            }
            Output::Forwarded { learner, request, .. } => {
                if request.opcode == SYNC {
                    self.give_later(id, life, Input::SyncReached { learner });
                } else {
                    let text = String::from_utf8(request.body).expect("tests forward text");
                    self.propose(id, &[&text]);
                }
            }
            Output::RevalidateFor { learner, session, timeout_ms } => {
                let valid = timeout_ms > 0;
                self.give_later(id, life, Input::RevalidatedFor { learner, session, valid });
            }
            Output::Touched { sessions } => {
                self.note(id, &format!("touched {}", sessions.len()));
            }
            Output::LearnerLost { .. } => {}
            Output::CollectTouches => {
                let touches = match self.nodes[&id].valid {
                    0 => Vec::new(),
                    session => vec![(SessionId(session as i64), 4000)],
                };
                self.node(id).valid = 0;
                self.give_later(id, life, Input::Touches(touches));
            }
            Output::Synced => {
                self.node(id).syncs += 1;
                self.note(id, "synced");
            }
            Output::Revalidated { session, valid } => {
                self.note(id, &format!("session {session} valid {valid}"));
            }
            Output::Halt(reason) => {
                self.note(id, &format!("halt: {reason}"));
                if !self.halts {
                    self.fail(format!("{id} halts: {reason}"));
                }
            }
        }
    }

    fn give_later(&mut self, id: u8, life: u32, input: Input) {
        self.schedule(self.now, Event::Give(id, life, input));
    }

    // ----- clients ---------------------------------------------------------------------------

    /// Proposes entries at a node that believes to lead; false if it does not.
    pub fn propose(&mut self, id: u8, texts: &[&str]) -> bool {
        let node = self.node(id);
        if !matches!(node.role, RoleKind::Leading(_)) || node.replica.is_none() {
            return false;
        }
        let first = node.next;
        let entries: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let batch = batch(first, &entries.iter().collect::<Vec<_>>());
        node.next = batch.last().next();
        self.give(id, Input::Propose(batch));
        true
    }

    /// Proposes something new at whoever believes to lead.
    pub fn propose_somewhere(&mut self) {
        let leading = |node: &&Node| matches!(node.role, RoleKind::Leading(_));
        let leaders = self.nodes.iter().filter(|(_, node)| leading(node)).map(|(id, _)| *id);
        for id in leaders.collect::<Vec<_>>() {
            let texts: Vec<String> = (0..=self.random.below(3))
                .map(|_| {
                    self.proposals += 1;
                    format!("p{}", self.proposals)
                })
                .collect();
            self.propose(id, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    pub fn forward(&mut self, id: u8, opcode: i32, text: &str) {
        let body = text.as_bytes().to_vec();
        let auth = vec![(b"ip".to_vec(), b"127.0.0.1".to_vec())];
        let request = Request { session: SessionId(7), cxid: 1, opcode, body, auth };
        self.give(id, Input::Forward(request));
    }

    pub fn sync(&mut self, id: u8) {
        self.forward(id, SYNC, "/");
    }

    // ----- network ---------------------------------------------------------------------------

    fn side(&self, conn: u64, node: u8, life: u32, link: LinkId) -> usize {
        let is = |end: &Option<End>| {
            end.as_ref().is_some_and(|e| (e.node, e.life, e.link) == (node, life, link))
        };
        self.conns.get(&conn).map_or(0, |conn| usize::from(is(&conn.ends[1])))
    }

    /// Puts something on the way to one side, behind what is on its way already.
    fn push(&mut self, id: u64, side: usize, wire: Wire) {
        let (least, greatest) = self.setup.net_ms;
        let delay = Duration::from_millis(least + self.random.below(greatest - least + 1));
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let at = (now + delay).max(conn.free_at[side]);
        conn.free_at[side] = at;
        conn.queues[side].push_back(wire);
        self.schedule(at, Event::Deliver(id, side));
    }

    fn establish(&mut self, id: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(from) = conn.ends[0].as_ref() else { return };
        let (peer, port, link) = (conn.peer, conn.port, from.link);
        let (node, life) = (from.node, from.life);
        let open = self.is_up(peer)
            && !conn.refused
            && !self.is_blocked(node, peer)
            && (port == Port::Election || self.nodes[&peer].listens);
        if self.nodes[&node].life != life || !self.is_up(node) {
            self.conns.remove(&id);
            return;
        }
        let linger = Duration::from_millis(self.setup.linger_ms);
        let end = self.nodes[&peer].died.map(|died| died + linger).filter(|end| *end > self.now);
        if let (false, Port::Election, Some(end)) = (self.is_up(peer), port, end) {
            let conn = self.conns.get_mut(&id).expect("just seen");
            conn.established = true;
            conn.free_at[0] = end;
            self.push(id, 0, Wire::Fin);
            self.give(node, Input::Connected { link });
            return;
        }
        if !open {
            self.links.remove(&(node, life, link));
            self.conns.remove(&id);
            self.give(node, Input::Disconnected { link });
            return;
        }
        self.accepted += 1;
        let accepted = LinkId::accepted(self.accepted);
        let peer_life = self.nodes[&peer].life;
        self.links.insert((peer, peer_life, accepted), id);
        let conn = self.conns.get_mut(&id).expect("just seen");
        conn.established = true;
        conn.ends[1] = Some(End { node: peer, life: peer_life, link: accepted });
        self.give(peer, Input::Accepted { link: accepted, port });
        self.give(node, Input::Connected { link });
    }

    fn deliver(&mut self, id: u64, side: usize) {
        let cut = self.setup.cut_bytes && self.random.chance(30);
        let at = self.random.next();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(wire) = conn.queues[side].pop_front() else { return };
        let Some(end) = conn.ends[side].as_ref() else { return };
        let (node, life, link) = (end.node, end.life, end.link);
        if self.nodes[&node].life != life || self.nodes[&node].replica.is_none() {
            return;
        }
        match wire {
            Wire::Bytes(mut bytes) => {
                if cut && bytes.len() > 1 {
                    let rest = bytes.split_off(1 + (at % (bytes.len() as u64 - 1)) as usize);
                    self.give(node, Input::Received { link, bytes });
                    if self.is_up(node) && self.links.contains_key(&(node, life, link)) {
                        self.give(node, Input::Received { link, bytes: rest });
                    }
                } else {
                    self.give(node, Input::Received { link, bytes });
                }
            }
            Wire::Fin => {
                conn.ends[side] = None;
                if self.links.remove(&(node, life, link)).is_some() {
                    self.give(node, Input::Disconnected { link });
                }
            }
        }
    }

    /// A node is gone: the other side learns it after what was sent before.
    fn hang_up(&mut self, id: u64, node: u8) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        for side in 0..2 {
            if conn.ends[side].as_ref().is_some_and(|end| end.node == node) {
                conn.ends[side] = None;
                self.push(id, 1 - side, Wire::Fin);
                return;
            }
        }
    }

    // ----- disks -----------------------------------------------------------------------------

    fn queue_disk(&mut self, id: u8, work: Work) {
        let node = self.node(id);
        node.disk.push_back(work);
        let life = node.life;
        self.at(self.setup.disk_ms, Event::Disk(id, life));
    }

    /// Carries out the oldest disk work.
    fn finish_disk(&mut self, id: u8) -> Option<Input> {
        let node = self.node(id);
        let stable = &mut node.stable;
        Some(match node.disk.pop_front()? {
            Work::Append(batch) => {
                let entries = batch.entries().map(|(zxid, entry)| (zxid, entry.to_vec()));
                stable.log.extend(entries);
                Input::Appended { upto: batch.last() }
            }
            Work::SaveEpochs(epochs) => {
                stable.epochs = epochs;
                Input::EpochsSaved(epochs)
            }
            Work::Truncate(to) => {
                stable.log.retain(|(zxid, _)| *zxid <= to);
                stable.base = stable.base.min(to);
                let end = stable.last();
                stable.distrusted |= end != to;
                Input::Truncated { end, digest: Some(digest_upto(&stable.log, end)) }
            }
            Work::Install(at, log) => {
                stable.log = log;
                stable.base = at;
                stable.distrusted = false;
                Input::SnapshotInstalled { at, digest: Some(digest_upto(&stable.log, at)) }
            }
        })
    }
}

/// ZooKeeper's stream layout with the entries as data of one node.
fn build_snapshot(log: &[Entry]) -> Vec<u8> {
    let mut data = Vec::new();
    for (zxid, entry) in log {
        data.extend_from_slice(&zxid.0.to_be_bytes());
        data.extend_from_slice(&(entry.len() as u32).to_be_bytes());
        data.extend_from_slice(entry);
    }
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&0u32.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(&[0; 68]);
    bytes.extend_from_slice(&[0, 0, 0, 1, b'/', 0, 0, 0, 10]);
    bytes.extend_from_slice(b"BenWasHere");
    bytes
}

fn parse_snapshot(bytes: &[u8]) -> Vec<Entry> {
    let len = u32::from_be_bytes(bytes[12..16].try_into().expect("four")) as usize;
    let mut data = &bytes[16..16 + len];
    let mut log = Vec::new();
    while !data.is_empty() {
        let zxid = Zxid(i64::from_be_bytes(data[..8].try_into().expect("eight")));
        let len = u32::from_be_bytes(data[8..12].try_into().expect("four")) as usize;
        log.push((zxid, data[12..12 + len].to_vec()));
        data = &data[12 + len..];
    }
    log
}
