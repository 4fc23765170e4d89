//! The world of one seed: a server, its clients, and everything between them that can go wrong.
//! Every enabled event is chosen by the seed: deliveries, ticks, disk completions, a shard taking
//! one batch from the feed, client actions, crashes. Same seed, same trace.

use std::collections::BTreeMap;

use engine::Version;
use engine::recover::DiskImage;
use model::SessionId;
use server::core::{CoreInput, CoreOutputs};
use server::shard::{ShardInput, ShardOutputs};

use crate::checkers::{self, Checker, Converges, Seen};
use crate::client::{Client, Standing};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::history::History;
use crate::network::{Link, PIPE_BYTES, take};
use crate::node::{self, Node, Started};
use crate::story::Told;
use crate::swarm::Options;
use crate::trace::Trace;

mod clients;

/// Time between ticks of an awake actor, ns.
const TICK_NS: u64 = 50_000_000;
/// Chance of a crash, per event, in a restart loop.
const LOOP_CRASH: u32 = 50;
/// Bytes that a slow connection carries at a time.
const SLOW_BYTES: usize = 8;

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
    /// Starts of the process.
    pub starts: u64,
    /// Hash of the whole trace.
    pub hash: u64,
}

/// Something that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    ToCore(usize),
    ToShard(usize),
    Feed(usize),
    ShardTurn(usize),
    CoreTurn,
    ShardTick(usize),
    CoreTick,
    Disk,
    Deliver(usize),
    Flush(usize),
    Receive(usize),
    ServerHearsClose(usize),
    Client(usize),
    Start,
}

/// The world.
pub struct World {
    pub(crate) options: Options,
    pub(crate) dice: Dice,
    /// True time, ns.
    pub(crate) now: u64,
    pub(crate) step: u64,
    pub(crate) node: Node,
    pub(crate) clients: Vec<Client>,
    pub(crate) links: BTreeMap<usize, Link>,
    pub(crate) next_link: usize,
    pub(crate) history: History,
    pub(crate) checkers: Vec<Box<dyn Checker>>,
    pub(crate) converges: Converges,
    /// The score.
    pub trace: Trace,
    pub(crate) faults: bool,
    pub(crate) disk_failed: bool,
    /// Clients say only what a story has them say.
    pub(crate) scripted: bool,
    /// Clients that a story wants connected.
    pub(crate) wanted: Vec<bool>,
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
        let mut history = History::default();
        if options.private > 0 {
            for (index, client) in clients.iter_mut().enumerate().skip(1).step_by(2) {
                client.keeper = true;
                history.keepers.insert(index);
            }
        }
        let mut world = World {
            node: Node::new(SimDisk::new(dice.fork())),
            clients,
            links: BTreeMap::new(),
            next_link: 0,
            history,
            checkers: checkers::all(),
            converges: Converges::default(),
            trace: Trace::new(keep_trace),
            faults: true,
            disk_failed: false,
            scripted: false,
            wanted: vec![true; options.clients],
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
        self.summary.starts = self.node.starts;
        self.summary.hash = self.trace.hash();
        Ok(self.summary)
    }

    /// After healing, every client must get a session and answers to writes and reads.
    fn converge(&mut self) -> Outcome {
        self.heal();
        self.converges = Converges::of(self.clients.len());
        for _ in 0..60_000 {
            if self.node.refused || self.converges.is_done() {
                return Ok(());
            }
            self.one()?;
        }
        self.converges.verdict().map_err(|words| self.violation("converges", words))
    }

    /// Ends every fault.
    pub fn heal(&mut self) {
        self.faults = false;
        self.node.disk.heal(self.now);
        self.node.loop_left = 0;
        self.node.paused_until = self.node.paused_until.min(self.now);
        self.node.start_at = self.node.start_at.min(self.now);
        self.options.depth = 1;
        // A healthy disk does not stall, and seconds must pass for retries and measurements.
        self.options.stall = 0;
        self.options.pieces = 0;
        self.options.data_bytes = self.options.data_bytes.min(100);
        self.options.jump = self.options.jump.max(100);
        self.options.jump_ms = self.options.jump_ms.max(500);
        for link in self.links.values_mut() {
            link.cut_until = [0; 2];
            link.half_open = false;
            link.slow = false;
        }
        for client in &mut self.clients {
            client.silent = false;
        }
        self.note("world", "heal", &"");
    }

    fn violation(&self, checker: &str, words: String) -> Violation {
        Violation { checker: checker.to_owned(), words, step: self.step }
    }

    fn note(&mut self, who: &str, what: &str, details: &dyn std::fmt::Display) {
        self.trace.event(self.step, self.now, who, what, details);
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
        match &self.node.process {
            Some(process) if self.node.paused_until <= self.now => {
                next.push(process.tick_at);
                next.extend(process.shards.iter().map(|slot| slot.tick_at));
            }
            Some(_) => next.push(self.node.paused_until),
            None => next.push(self.node.start_at),
        }
        next.extend(self.node.disk.next_ready());
        next.into_iter().filter(|at| *at > self.now).min()
    }

    fn wait_for_something(&mut self) {
        if let Some(next) = self.next_deadline() {
            self.now = next;
        } else {
            self.now += TICK_NS;
        }
    }

    fn maybe_fault(&mut self) {
        if self.node.process.is_some() && self.dice.per_mille(self.options.crash) {
            self.crash_for("killed");
        }
        if self.node.is_awake(self.now) && self.dice.per_mille(self.options.pause) {
            let pause = self.dice.between(1, self.options.pause_ms);
            self.node.paused_until = self.now + pause * 1_000_000;
            self.note("node", "paused", &pause);
        }
        if self.node.loop_left > 0 && self.node.process.is_some() && self.dice.per_mille(LOOP_CRASH)
        {
            self.node.loop_left -= 1;
            self.crash_for("killed again");
        }
        if self.dice.per_mille(self.options.partition) {
            self.cut_a_link();
        }
        if self.options.wall_jump_ms > 0 && self.dice.per_mille(2) {
            let jump = self.dice.below(2 * self.options.wall_jump_ms) as i64;
            self.node.wall_error_ms = jump - self.options.wall_jump_ms as i64;
            self.note("node", "wall", &self.node.wall_error_ms.clone());
        }
    }

    /// A connection stops carrying bytes for a while, one way or both.
    fn cut_a_link(&mut self) {
        let chosen = self.dice.index(self.links.len());
        let until = self.now + self.dice.between(1, self.options.partition_ms) * 1_000_000;
        let ways = self.dice.below(3);
        let Some((&id, link)) = self.links.iter_mut().nth(chosen) else { return };
        if ways != 1 {
            link.cut_until[0] = until;
        }
        if ways != 0 {
            link.cut_until[1] = until;
        }
        self.note("net", "cut", &format!("{id} ways {ways} until {}", until / 1000));
    }

    pub(crate) fn crash_for(&mut self, why: &str) {
        self.note("node", "crash", &why);
        self.node.process = None;
        self.node.disk.crash(&self.options);
        let delay = self.dice.between(1, 3000) * 1_000_000;
        self.node.start_at = self.now + delay;
        if self.faults && self.node.loop_left == 0 && self.dice.per_mille(self.options.restart_loop)
        {
            self.node.loop_left = self.dice.between(1, 6) as u32;
        }
        for link in self.links.values_mut() {
            link.server = None;
            link.server_closed = true;
            link.to_server.clear();
        }
    }

    fn enabled(&self) -> Vec<(Event, u64)> {
        let mut events = Vec::new();
        let awake = self.node.is_awake(self.now);
        match &self.node.process {
            Some(process) if awake => {
                for (index, slot) in process.shards.iter().enumerate() {
                    if !slot.to_core.is_empty() {
                        events.push((Event::ToCore(index), 6));
                    }
                    if !slot.to_shard.is_empty() {
                        events.push((Event::ToShard(index), 6));
                    }
                    if slot.shard.feed_pending() > 0 {
                        events.push((Event::Feed(index), 5));
                    }
                    if slot.dirty {
                        events.push((Event::ShardTurn(index), 6));
                    }
                    if slot.tick_at <= self.now {
                        events.push((Event::ShardTick(index), 10));
                    }
                }
                if process.core_dirty {
                    events.push((Event::CoreTurn, 6));
                }
                if process.tick_at <= self.now {
                    events.push((Event::CoreTick, 10));
                }
                if self.node.disk.ready(self.now) > 0 {
                    events.push((Event::Disk, 6));
                }
            }
            None if self.node.start_at <= self.now && !self.node.refused => {
                events.push((Event::Start, 10));
            }
            _ => {}
        }
        for (&id, link) in &self.links {
            if let (Some((shard, conn)), true) = (link.server, awake)
                && let Some(process) = &self.node.process
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
        for (index, client) in self.clients.iter().enumerate() {
            let asks = client.standing == Standing::Attached
                && client.pending.len() < self.options.depth
                && !client.silent;
            let knocks = client.standing == Standing::Away && awake;
            events.push((Event::Client(index), if asks || knocks { 4 } else { 1 }));
        }
        events
    }

    fn happen(&mut self, event: Event) -> Outcome {
        match event {
            Event::Start => self.start(),
            Event::Client(index) => self.client_turn(index),
            Event::Receive(id) => self.receive(id),
            Event::ToCore(_) | Event::CoreTurn | Event::CoreTick | Event::Disk => {
                self.core_event(event)
            }
            Event::ToShard(_)
            | Event::Feed(_)
            | Event::ShardTurn(_)
            | Event::ShardTick(_)
            | Event::Deliver(_)
            | Event::Flush(_)
            | Event::ServerHearsClose(_) => self.shard_event(event),
        }
    }

    fn start(&mut self) -> Outcome {
        let mut out = CoreOutputs::default();
        let published_before = self.history.published;
        self.history.now = self.now;
        self.disk_failed = false;
        match self.node.start(self.now, &self.options, self.faults, &mut out) {
            Started::Failed => {
                self.note("node", "eio", &"");
                self.node.start_at = self.now + self.dice.between(1, 3000) * 1_000_000;
                Ok(())
            }
            Started::Refused(error) => {
                self.note("node", "refused", &error);
                if self.node.disk.damaged() {
                    return Ok(());
                }
                Err(self.violation("recovers_after_crash", error.to_string()))
            }
            Started::Running(version) => {
                self.note("node", "started", &format!("{version:?}"));
                if self.node.disk.damaged() && version.zxid() < published_before {
                    // Damage took the tail: a lone server cannot know. Nothing more to check.
                    self.node.refused = true;
                    self.node.process = None;
                    return Ok(());
                }
                self.history.recover(&version);
                self.see(&Seen::Recovered { version: &version, published_before })?;
                self.replay_without_newest(&version)?;
                self.core_outputs(out)
            }
        }
    }

    /// The log alone, or an older snapshot and the log, must make the same state, if it reaches
    /// back far enough.
    fn replay_without_newest(&mut self, version: &Version) -> Outcome {
        if self.node.disk.damaged() {
            return Ok(());
        }
        let mut image = self.node.disk.image();
        let newest = image.snapshots.iter().map(|(zxid, _)| *zxid).max();
        let Some(newest) = newest else { return Ok(()) };
        if self.node.disk.placed() == Some(newest) {
            return Ok(());
        }
        image.snapshots.retain(|(zxid, _)| *zxid != newest);
        if let Ok(replayed) = node::replay(&image, &self.options) {
            self.see(&Seen::Rebuilt { from: version, rebuilt: &replayed, how: "by replay" })?;
        }
        Ok(())
    }

    /// A snapshot that has just been written, read again.
    fn reload(&mut self, version: &Version) -> Outcome {
        let Some((zxid, file)) = self.node.disk.newest_snapshot() else { return Ok(()) };
        if zxid != version.zxid() {
            return Ok(());
        }
        let file: engine::recover::Image = std::sync::Arc::new(file.clone());
        let image = DiskImage { snapshots: vec![(zxid, file)], segments: Vec::new() };
        match node::replay(&image, &self.options) {
            Ok(loaded) => {
                self.see(&Seen::Rebuilt { from: version, rebuilt: &loaded, how: "from a snapshot" })
            }
            Err(error) => Err(self.violation("snapshot_equals_replay", error.to_string())),
        }
    }

    fn core_event(&mut self, event: Event) -> Outcome {
        let now = self.node.now(self.now, &self.options);
        let mut out = CoreOutputs::default();
        match event {
            Event::ToCore(index) => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                let Some(message) = process.shards[index].to_core.pop_front() else {
                    return Ok(());
                };
                let words = describe(&message);
                let from = server::link::ShardId(index as u16);
                process.core_step(now, CoreInput::Shard { from, message }, &mut out);
                self.note("core", "mail", &words);
            }
            Event::CoreTurn => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                process.core_dirty = false;
                process.core.end_turn(now, &mut out);
                self.note("core", "turn", &"");
            }
            Event::CoreTick => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                process.tick_at = self.now + TICK_NS;
                process.core_step(now, CoreInput::Tick, &mut out);
                self.note("core", "tick", &"");
            }
            _ => {
                let done = self.node.disk.complete(self.now, &self.options, self.faults);
                let Some((done, written)) = done else { return Ok(()) };
                if let Some(version) = written {
                    self.reload(&version)?;
                }
                self.disk_failed |= done.result.is_err();
                let Some(process) = self.node.process.as_mut() else { return Ok(()) };
                let words = format!("{} {:?}", done.token.0, done.result);
                process.core_step(now, CoreInput::Disk(done), &mut out);
                self.note("disk", "done", &words);
            }
        }
        self.core_outputs(out)
    }

    fn core_outputs(&mut self, out: CoreOutputs) -> Outcome {
        for op in out.disk {
            self.node.disk.submit(op, self.now, &self.options);
        }
        let Some(process) = &mut self.node.process else { return Ok(()) };
        for (shard, message) in out.to_shards {
            process.shards[usize::from(shard.0)].to_shard.push_back(message);
        }
        while let Some(process) = &mut self.node.process
            && let Some(batch) = process.listener.next()
        {
            self.history.now = self.now;
            self.history.publish(&batch);
            let words =
                format!("{:?} in {} segments", self.history.published, batch.segments.len());
            self.note("core", "publish", &words);
            self.see(&Seen::Published(&batch))?;
        }
        if let Some(reason) = out.halt {
            self.note("core", "halt", &reason);
            if !self.disk_failed {
                return Err(self.violation("halts_only_for_a_cause", reason));
            }
            self.crash_for("halted");
        }
        Ok(())
    }

    fn shard_event(&mut self, event: Event) -> Outcome {
        let now = self.node.now(self.now, &self.options);
        let mut out = ShardOutputs::default();
        let index = match event {
            Event::ToShard(index) => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                let Some(message) = process.shards[index].to_shard.pop_front() else {
                    return Ok(());
                };
                process.shard_step(index, now, ShardInput::Core(message), &mut out);
                self.note("shard", "mail", &index);
                index
            }
            Event::Feed(index) => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                process.shard_step(index, now, ShardInput::Feed, &mut out);
                self.note("shard", "feed", &index);
                index
            }
            Event::ShardTurn(index) => {
                let process = self.node.process.as_mut().expect("enabled only while it runs");
                process.shards[index].dirty = false;
                process.shards[index].shard.end_turn(now, &mut out);
                self.note("shard", "turn", &index);
                index
            }
            Event::ShardTick(index) => {
                // The runtime reads its sockets before it looks at the clock.
                let waiting: Vec<usize> = self.deliverable(index);
                for id in waiting {
                    self.deliver(id, true)?;
                }
                let Some(process) = self.node.process.as_mut() else { return Ok(()) };
                process.shards[index].tick_at = self.now + TICK_NS;
                process.shard_step(index, now, ShardInput::Tick, &mut out);
                self.note("shard", "tick", &index);
                index
            }
            Event::Deliver(id) => return self.deliver(id, false),
            Event::Flush(id) => return self.flush(id),
            Event::ServerHearsClose(id) => {
                let Some((shard, conn)) = self.links.get(&id).and_then(|link| link.server) else {
                    return Ok(());
                };
                self.forget_server_end(id, shard, conn, &mut out);
                self.note("shard", "closed", &id);
                shard
            }
            _ => return Ok(()),
        };
        self.shard_outputs(index, out)
    }

    /// Connections of a shard with bytes waiting.
    fn deliverable(&self, shard: usize) -> Vec<usize> {
        let Some(process) = &self.node.process else { return Vec::new() };
        let slot = &process.shards[shard];
        slot.links
            .iter()
            .filter(|(conn, id)| {
                !slot.paused.contains(conn)
                    && self
                        .links
                        .get(id)
                        .is_some_and(|link| !link.to_server.is_empty() && link.carries_in(self.now))
            })
            .map(|(_, id)| *id)
            .collect()
    }

    fn deliver(&mut self, id: usize, all: bool) -> Outcome {
        let now = self.node.now(self.now, &self.options);
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some((shard, conn)) = link.server else { return Ok(()) };
        let count = if link.slow {
            SLOW_BYTES
        } else if !all && self.dice.per_mille(self.options.pieces) {
            self.dice.between(1, 12) as usize
        } else {
            usize::MAX
        };
        let bytes = take(&mut link.to_server, count);
        let whole = link.deliver(bytes.len());
        let client = link.client;
        let mut out = ShardOutputs::default();
        let process = self.node.process.as_mut().expect("the server end lives");
        let open = !process.shards[shard].closing.contains(&conn);
        process.shard_step(shard, now, ShardInput::Bytes { conn, bytes: &bytes }, &mut out);
        let Client { session, link: current, lying, standing, .. } = self.clients[client];
        let speaks = standing == Standing::Attached || (standing == Standing::Knocking && !lying);
        if whole && open && speaks && current == Some(id) && session != SessionId::NONE {
            self.history.now = self.now;
            self.history.hear(session);
        }
        self.note("shard", "bytes", &format!("{id} {}", bytes.len()));
        self.shard_outputs(shard, out)
    }

    fn flush(&mut self, id: usize) -> Outcome {
        let now = self.node.now(self.now, &self.options);
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some((shard, conn)) = link.server else { return Ok(()) };
        let process = self.node.process.as_mut().expect("the server end lives");
        let pending = process.shards[shard].shard.outbox(conn);
        let mut out = ShardOutputs::default();
        if pending.is_empty() {
            link.server_closed = true;
            self.forget_server_end(id, shard, conn, &mut out);
            self.note("shard", "close", &id);
            return self.shard_outputs(shard, out);
        }
        let gone = link.client_closed && !link.half_open;
        let room = if gone { usize::MAX } else { PIPE_BYTES - link.to_client.len() };
        let most = if self.dice.per_mille(self.options.pieces) { 20 } else { usize::MAX };
        let count = pending.len().min(room).min(most).max(1);
        if !gone {
            link.to_client.extend(&pending[..count]);
        }
        let input = ShardInput::Sent { conn, bytes: count };
        process.shard_step(shard, now, input, &mut out);
        self.note("shard", "sent", &format!("{id} {count}"));
        self.shard_outputs(shard, out)
    }

    /// The server's end of a connection goes.
    fn forget_server_end(
        &mut self,
        id: usize,
        shard: usize,
        conn: server::link::ConnId,
        out: &mut ShardOutputs,
    ) {
        let now = self.node.now(self.now, &self.options);
        if let Some(link) = self.links.get_mut(&id) {
            link.server = None;
            link.server_closed = true;
        }
        let process = self.node.process.as_mut().expect("the server end lives");
        let slot = &mut process.shards[shard];
        slot.links.remove(&conn);
        slot.paused.remove(&conn);
        slot.closing.remove(&conn);
        process.shard_step(shard, now, ShardInput::Closed { conn }, out);
    }

    fn shard_outputs(&mut self, index: usize, out: ShardOutputs) -> Outcome {
        let Some(process) = &mut self.node.process else { return Ok(()) };
        let slot = &mut process.shards[index];
        slot.to_core.extend(out.to_core);
        for conn in out.pause {
            slot.paused.insert(conn);
        }
        for conn in out.resume {
            slot.paused.remove(&conn);
        }
        for conn in out.close {
            if slot.links.contains_key(&conn) {
                slot.closing.insert(conn);
            }
        }
        let to_core = slot.to_core.len();
        let to_shards = slot.to_shard.len();
        let outbox =
            slot.links.keys().map(|conn| slot.shard.outbox(*conn).len()).max().unwrap_or(0);
        self.see(&Seen::Queues { to_core, to_shards, outbox })
    }
}

fn describe(message: &server::link::ToCore) -> String {
    use server::link::ToCore;
    match message {
        ToCore::Submit(submits) => format!("submit {}", submits.list.len()),
        ToCore::Attach { conn, session, .. } => format!("attach {session} {conn:?}"),
        ToCore::Detached { session, .. } => format!("detached {session}"),
        ToCore::Heard { sessions, .. } => format!("heard {}", sessions.len()),
        ToCore::Query(query) => format!("query {:?}", query.word),
        ToCore::Report { number, .. } => format!("report {number}"),
    }
}
