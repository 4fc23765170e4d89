//! The world of one seed: servers, their clients, and everything between them that can go wrong.
//! Every enabled event is chosen by the seed: deliveries, ticks, disk completions, a shard taking
//! one batch from the feed, client actions, crashes. Same seed, same trace.

use std::collections::BTreeMap;

use crate::checkers::{self, Checker, Converges, Seen, Together};
use crate::client::{Client, Standing};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::history::History;
use crate::network::{Link, PIPE_BYTES};
use crate::node::Node;
use crate::peers::{PeerMove, PeerNetwork};
use crate::story::Told;
use crate::swarm::Options;
use crate::trace::Trace;

mod clients;
mod core;
mod faults;
mod peers;
mod shards;

use peers::Ears;

/// Time between ticks of an awake actor, ns.
const TICK_NS: u64 = 50_000_000;
/// Events within which a healed server must serve everybody, and all must come together.
const PATIENCE: usize = 60_000;

/// What broke, in which step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Guarantee.
    pub checker: String,
    /// In words.
    pub words: String,
    /// Event number.
    pub step: u64,
}

/// How a clean run went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Simulated time, ns.
    pub simulated_ns: u64,
    /// Answers received by clients.
    pub answers: u64,
    /// Watch events received by clients.
    pub watch_events: u64,
    /// Starts of processes.
    pub starts: u64,
    /// Epochs that had a leader.
    pub epochs: u64,
    /// Hash of the whole trace.
    pub hash: u64,
}

/// Something that may happen next to one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NodeEvent {
    ToCore(usize),
    ToShard(usize),
    Feed(usize),
    ShardTurn(usize),
    CoreTurn,
    ShardTick(usize),
    CoreTick,
    Disk,
    Start,
}

/// Something that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Node(usize, NodeEvent),
    Deliver(usize),
    Flush(usize),
    Receive(usize),
    ServerHearsClose(usize),
    Client(usize),
    Peer(PeerMove),
}

/// The world.
pub struct World {
    pub(crate) options: Options,
    pub(crate) dice: Dice,
    /// True time, ns.
    pub(crate) now: u64,
    pub(crate) step: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) peers: PeerNetwork,
    ears: Ears,
    /// The next proposal to this server goes wrong on its way.
    pub(crate) garbled: Option<usize>,
    pub(crate) clients: Vec<Client>,
    pub(crate) links: BTreeMap<usize, Link>,
    pub(crate) next_link: usize,
    pub(crate) history: History,
    pub(crate) checkers: Vec<Box<dyn Checker>>,
    pub(crate) converges: Converges,
    pub(crate) together: Together,
    /// The score.
    pub trace: Trace,
    pub(crate) faults: bool,
    /// Clients say only what a story has them say.
    pub(crate) scripted: bool,
    /// Clients ask nothing more.
    pub(crate) quiet: bool,
    /// Clients that a story wants connected.
    pub(crate) wanted: Vec<bool>,
    /// Server that a story sends a client to.
    pub(crate) sent_to: Vec<Option<usize>>,
    /// What each client was told, in a story.
    pub(crate) told: Vec<Vec<Told>>,
    pub(crate) summary: Summary,
}

pub(crate) type Outcome = Result<(), Violation>;

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, keep_trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let options = Options::draw(&mut dice);
        World::with(options, dice, keep_trace)
    }

    /// The world of a seed with other options.
    pub fn changed(seed: u64, change: &dyn Fn(&mut Options), keep_trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let mut options = Options::draw(&mut dice);
        change(&mut options);
        World::with(options, dice, keep_trace)
    }

    /// A world of chosen kind.
    pub fn with(options: Options, mut dice: Dice, keep_trace: bool) -> World {
        let mut clients: Vec<Client> =
            (0..options.clients).map(|_| Client::new(dice.fork(), &options)).collect();
        let mut history = History::of(options.nodes());
        if options.private > 0 {
            for (index, client) in clients.iter_mut().enumerate().skip(1).step_by(2) {
                client.keeper = true;
                history.keepers.insert(index);
            }
        }
        let mut nodes = vec![Node::new(0, SimDisk::new(dice.fork()), &options)];
        for place in 1..options.nodes() {
            let mut node = Node::new(place, SimDisk::new(dice.fork()), &options);
            // Every clock goes wrong in its own way.
            node.fast_ppm = dice.below(options.clock_fast_ppm + 1);
            node.wall_error_ms = dice.below(options.wall_jump_ms + 1) as i64;
            nodes.push(node);
        }
        let apart = Dice::new(dice.clone().word());
        let mut world = World {
            nodes,
            peers: PeerNetwork::new(apart, options.peer_queue_bytes),
            ears: Ears::default(),
            garbled: None,
            clients,
            links: BTreeMap::new(),
            next_link: 0,
            history,
            checkers: checkers::all(),
            converges: Converges::default(),
            together: Together::default(),
            trace: Trace::new(keep_trace),
            faults: true,
            scripted: false,
            quiet: false,
            wanted: vec![true; options.clients],
            sent_to: vec![None; options.clients],
            told: vec![Vec::new(); options.clients],
            summary: Summary::default(),
            options,
            dice,
            now: 0,
            step: 0,
        };
        let words = format!("{:?}", world.options);
        world.trace.event(0, 0, "world", "drawn", &words);
        world
    }

    /// The kind of world it is.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Events so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Runs the safety phase with faults, then heals everything and demands service.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        for _ in 0..self.options.events {
            self.one()?;
        }
        self.converge()?;
        self.summary.events = self.step;
        self.summary.simulated_ns = self.now;
        self.summary.starts = self.nodes.iter().map(|node| node.starts).sum();
        self.summary.epochs = self.history.leaders.len() as u64;
        self.summary.hash = self.trace.hash();
        Ok(self.summary)
    }

    /// After healing, every client must get a session and answers to writes and reads; then all
    /// servers must come to the same state.
    fn converge(&mut self) -> Outcome {
        self.heal();
        self.converges = Converges::of(self.clients.len());
        let patience = PATIENCE * self.nodes.len();
        for _ in 0..patience {
            if self.nodes.iter().any(|node| node.refused) {
                return Ok(());
            }
            if self.converges.is_done() {
                break;
            }
            self.one()?;
        }
        self.converges.verdict().map_err(|words| self.violation("converges", words))?;
        if self.nodes.len() == 1 {
            return Ok(());
        }
        self.quiet = true;
        for _ in 0..patience {
            self.together.look(&self.history);
            if self.together.is_done() {
                break;
            }
            self.one()?;
        }
        self.together.verdict().map_err(|words| self.violation("all_come_together", words))
    }

    fn violation(&self, checker: &str, words: String) -> Violation {
        Violation { checker: checker.to_owned(), words, step: self.step }
    }

    fn note(&mut self, who: &str, what: &str, details: &dyn std::fmt::Display) {
        self.trace.event(self.step, self.now, who, what, details);
    }

    /// A line about one server, which is named only if there are several.
    fn note_at(&mut self, node: usize, who: &str, what: &str, details: &dyn std::fmt::Display) {
        if self.nodes.len() == 1 {
            return self.note(who, what, details);
        }
        self.note(who, what, &format!("n{} {details}", node + 1));
    }

    fn see(&mut self, seen: &Seen<'_>) -> Outcome {
        self.history.now = self.now;
        for index in 0..self.checkers.len() {
            let checker = &mut self.checkers[index];
            if let Err(words) = checker.see(&self.history, seen) {
                let name = checker.name().to_owned();
                return Err(self.violation(&name, words));
            }
        }
        Ok(())
    }

    /// One event.
    pub(crate) fn one(&mut self) -> Outcome {
        self.step += 1;
        self.now += self.dice.between(500, 30_000);
        if self.faults {
            self.maybe_fault();
        }
        if self.dice.per_mille(self.options.jump) {
            let jump = self.dice.below(self.options.jump_ms * 1_000_000);
            self.pass_time(jump);
        }
        let events = self.enabled();
        let total: u64 = events.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            self.wait_for_something();
            return Ok(());
        }
        let mut roll = self.dice.below(total);
        let mut chosen = events[0].0;
        for (event, weight) in events {
            if roll < weight {
                chosen = event;
                break;
            }
            roll -= weight;
        }
        self.happen(chosen)
    }

    /// Time may only jump while it cannot make an actor miss its ticks unnoticed: the runtime
    /// would have ticked. So a jump ticks along the way, in event order afterwards.
    fn pass_time(&mut self, by: u64) {
        let limit = self.next_deadline().unwrap_or(self.now + by).max(self.now);
        self.now = (self.now + by).min(limit.max(self.now));
        self.note("time", "jump", &"");
    }

    /// The next moment at which something is due by itself.
    fn next_deadline(&self) -> Option<u64> {
        let mut next = Vec::new();
        for node in &self.nodes {
            match &node.process {
                Some(process) if node.paused_until <= self.now => {
                    next.push(process.tick_at);
                    next.extend(process.shards.iter().map(|slot| slot.tick_at));
                }
                Some(_) => next.push(node.paused_until),
                None => next.push(node.start_at),
            }
            next.extend(node.disk.next_ready());
        }
        next.extend(self.peers.next_at());
        next.into_iter().filter(|at| *at > self.now).min()
    }

    fn wait_for_something(&mut self) {
        if let Some(next) = self.next_deadline() {
            self.now = next;
        } else {
            self.now += TICK_NS;
        }
    }

    fn enabled(&self) -> Vec<(Event, u64)> {
        let mut events = Vec::new();
        for node in &self.nodes {
            self.enabled_at(node, &mut events);
        }
        for (&id, link) in &self.links {
            self.enabled_on(id, link, &mut events);
        }
        let anybody = self.nodes.iter().any(|node| node.is_awake(self.now));
        for (index, client) in self.clients.iter().enumerate() {
            let asks = client.standing == Standing::Attached
                && client.pending.len() < self.options.depth
                && !client.silent;
            let knocks = client.standing == Standing::Away && anybody;
            events.push((Event::Client(index), if asks || knocks { 4 } else { 1 }));
        }
        if self.nodes.len() > 1 {
            let awake = |node: usize| self.nodes[node].is_awake(self.now);
            let moves = self.peers.possible(self.now, awake);
            events.extend(moves.into_iter().map(|what| (Event::Peer(what), 6)));
        }
        events
    }

    /// What can happen inside one server.
    fn enabled_at(&self, node: &Node, events: &mut Vec<(Event, u64)>) {
        let mut add = |event, weight| events.push((Event::Node(node.place, event), weight));
        match &node.process {
            Some(process) if node.is_awake(self.now) => {
                for (index, slot) in process.shards.iter().enumerate() {
                    if !slot.to_core.is_empty() {
                        add(NodeEvent::ToCore(index), 6);
                    }
                    if !slot.to_shard.is_empty() {
                        add(NodeEvent::ToShard(index), 6);
                    }
                    if slot.shard.feed_pending() > 0 {
                        add(NodeEvent::Feed(index), 5);
                    }
                    if slot.dirty {
                        add(NodeEvent::ShardTurn(index), 6);
                    }
                    if slot.tick_at <= self.now {
                        add(NodeEvent::ShardTick(index), 10);
                    }
                }
                if process.core_dirty {
                    add(NodeEvent::CoreTurn, 6);
                }
                if process.tick_at <= self.now {
                    add(NodeEvent::CoreTick, 10);
                }
                if node.disk.ready(self.now) > 0 {
                    add(NodeEvent::Disk, 6);
                }
            }
            None if node.start_at <= self.now && !node.refused => add(NodeEvent::Start, 10),
            _ => {}
        }
    }

    /// What can happen on one client's connection.
    fn enabled_on(&self, id: usize, link: &Link, events: &mut Vec<(Event, u64)>) {
        let node = &self.nodes[link.node];
        if let (Some((shard, conn)), true) = (link.server, node.is_awake(self.now))
            && let Some(process) = &node.process
        {
            let slot = &process.shards[shard];
            let readable = !slot.paused.contains(&conn);
            if !link.to_server.is_empty() && readable && link.carries_in(self.now) {
                events.push((Event::Deliver(id), 6));
            }
            let heard = link.client_closed && !link.half_open && link.carries_in(self.now);
            if heard && link.to_server.is_empty() && readable {
                events.push((Event::ServerHearsClose(id), 4));
            }
            let room = link.to_client.len() < PIPE_BYTES;
            let empty = slot.shard.outbox(conn).is_empty();
            if (!empty && (room || (link.client_closed && !link.half_open)))
                || (empty && slot.closing.contains(&conn))
            {
                events.push((Event::Flush(id), 6));
            }
        }
        let something = !link.to_client.is_empty() || link.server_closed;
        if !link.client_closed && something && link.carries_out(self.now) {
            events.push((Event::Receive(id), 6));
        }
    }

    fn happen(&mut self, event: Event) -> Outcome {
        match event {
            Event::Node(node, event) => match event {
                NodeEvent::Start => self.start(node),
                NodeEvent::ToCore(_)
                | NodeEvent::CoreTurn
                | NodeEvent::CoreTick
                | NodeEvent::Disk => self.core_event(node, event),
                NodeEvent::ToShard(_)
                | NodeEvent::Feed(_)
                | NodeEvent::ShardTurn(_)
                | NodeEvent::ShardTick(_) => self.shard_event(node, event),
            },
            Event::Client(index) => self.client_turn(index),
            Event::Receive(id) => self.receive(id),
            Event::Deliver(id) => self.deliver(id, false),
            Event::Flush(id) => self.flush(id),
            Event::ServerHearsClose(id) => self.hear_close(id),
            Event::Peer(what) => self.peer_move(what),
        }
    }
}
