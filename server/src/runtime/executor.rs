//! One executor's main loop: take what is ready, step, send, wait.
//!
//! An executor seats a shard, or the core, or both. Where both sit, they hand messages to each
//! other directly; everything for other executors leaves at the end of the turn, one `Vec` and
//! one ring of the bell per destination.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::disk::DiskDone;
use model::{Mono, Now};
use nix::sys::epoll::EpollFlags;
use nix::sys::signalfd::SignalFd;

use super::clock::Clock;
use super::disk::Disk;
use super::mail::{Address, Mail, Mailbox};
use super::peers::Peers;
use super::poll::{Alarm, Event, PollSet, Source, Ticker};
use super::pulse::Heart;
use super::sockets::{Got, Listener, Put, Sockets};
use crate::admin::Material;
use crate::admin::command::Question;
use crate::admission::Admission;
use crate::core::{Core, CoreInput, CoreOutputs};
use crate::link::{ConnId, ShardId, ToCore, ToShard};
use crate::peer::PeerEvent;
use crate::shard::{Shard, ShardInput, ShardOutputs};

/// Time between two ticks: also the longest that an executor goes without a turn.
const TICK: Duration = Duration::from_millis(25);
/// The core is not asked more often than this for a time that has come.
const ALARM_MIN: Duration = Duration::from_millis(1);
/// Exchanges between a shard, its core and its sockets in one turn; what is left then waits for
/// the next turn, after everybody else had theirs.
const ROUNDS_PER_TURN: usize = 4;
/// Connections that get events and wait for no answer, served in one turn: about a millisecond of
/// sending. A fan-out to many watchers takes many turns, between which everybody else gets theirs.
const NOTIFIED_PER_TURN: usize = 128;
/// Clients accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Exit code when the node halts for a reason that it names.
const EXIT_HALT: i32 = 70;
/// Exit code when a second signal cuts a stop short.
const EXIT_IMPATIENT: i32 = 130;

/// Ends the process because the core found a reason. Nothing may be acknowledged after this, so
/// nothing is cleaned up either.
fn halt(reason: &str) -> ! {
    tracing::error!(reason, "the node halts");
    eprintln!("ringkeeper: fatal: {reason}");
    std::process::exit(EXIT_HALT);
}

/// Who sits where.
#[derive(Clone)]
pub(crate) struct Places {
    /// Letter boxes of all executors.
    pub(crate) executors: Vec<Address>,
    /// The executor of each shard.
    pub(crate) shards: Vec<usize>,
    /// The executor of the core.
    pub(crate) core: usize,
    /// Clients of each shard.
    pub(crate) loads: Arc<Vec<AtomicUsize>>,
    /// Who may connect; locked once per connection, by whoever accepts or closes it.
    pub(crate) admission: Arc<Mutex<Admission>>,
}

/// A shard and its sockets.
pub(crate) struct ShardSeat {
    pub(crate) id: ShardId,
    pub(crate) shard: Shard,
    sockets: Sockets,
    out: ShardOutputs,
    reading: bool,
    scratch: Vec<ConnId>,
    /// Connections that have events to be sent, in order; each once.
    notify: VecDeque<ConnId>,
}

impl ShardSeat {
    /// A shard without clients.
    pub(crate) fn new(id: ShardId, shard: Shard) -> ShardSeat {
        ShardSeat {
            id,
            shard,
            sockets: Sockets::new(),
            out: ShardOutputs::default(),
            reading: true,
            scratch: Vec::new(),
            notify: VecDeque::new(),
        }
    }
}

/// The core, its disk, and its connections with fellow servers.
pub(crate) struct CoreSeat {
    core: Core,
    disk: Disk,
    /// None: this server stands alone.
    peers: Option<Peers>,
    /// What happened there; empty between uses.
    heard: Vec<PeerEvent>,
    /// When the alarm rings for it, if it is set.
    awaited: Option<Mono>,
    out: CoreOutputs,
    done: Vec<DiskDone>,
    /// Who waits for the answers to administrators' questions; no more than there are threads that
    /// ask, and those that gave up waiting.
    asked: BTreeMap<u64, flume::Sender<Material>>,
    last_asked: u64,
    /// Shards that still read from clients.
    reading: usize,
}

impl CoreSeat {
    /// A core; `out` holds what its construction asked for.
    pub(crate) fn new(
        core: Core,
        out: CoreOutputs,
        disk: Disk,
        shards: usize,
        peers: Option<Peers>,
    ) -> CoreSeat {
        CoreSeat {
            core,
            disk,
            peers,
            heard: Vec::new(),
            awaited: None,
            out,
            done: Vec::new(),
            asked: BTreeMap::new(),
            last_asked: 0,
            reading: shards,
        }
    }

    /// Puts an administrator's question to the core.
    fn ask(&mut self, now: Now, question: Question, reply: flume::Sender<Material>) {
        self.last_asked += 1;
        self.asked.insert(self.last_asked, reply);
        let input = CoreInput::Ask { number: self.last_asked, question };
        self.core.step(now, input, &mut self.out);
    }

    /// Hands answers to those who asked.
    fn answer(&mut self) {
        for (number, material) in self.out.answers.drain(..) {
            if let Some(reply) = self.asked.remove(&number) {
                // Nobody may be waiting any more.
                let _ = reply.send(material);
            }
        }
    }

    /// Carries out what the core wants of its fellow servers, and writes it.
    fn serve_peers(&mut self, set: &PollSet, now: Now) {
        let Some(peers) = &mut self.peers else { return };
        for order in self.out.peers.drain(..) {
            peers.order(set, order, now.mono);
        }
        peers.flush(set);
    }

    /// Sets the alarm for the core, if it wants to be asked before the next tick.
    fn await_deadline(&mut self, alarm: &Alarm, now: Now) {
        if self.peers.is_none() {
            return;
        }
        let due = self.core.next_deadline().filter(|due| due.since(now.mono) < TICK);
        let Some(due) = due.filter(|due| Some(*due) != self.awaited) else { return };
        let after = due.since(now.mono).max(ALARM_MIN);
        // The descriptor is a timer and the time is one, so the kernel has no reason to refuse; and
        // there still is the tick.
        let set = alarm.set(after);
        debug_assert!(set.is_ok(), "{set:?}");
        self.awaited = Some(due);
    }

    /// Tells the core what happened on the connections with its fellow servers. True if anything
    /// did.
    fn hear_peers(&mut self, now: Now) -> bool {
        let Some(peers) = &mut self.peers else { return false };
        peers.take_events(&mut self.heard);
        let happened = !self.heard.is_empty();
        for event in self.heard.drain(..) {
            self.core.step(now, CoreInput::Peer(event), &mut self.out);
        }
        happened
    }
}

/// The door: where clients and signals come in. On one executor only.
pub(crate) struct Door {
    /// None once the server stops.
    pub(crate) listener: Option<Listener>,
    /// SIGTERM and SIGINT.
    pub(crate) signals: SignalFd,
}

/// One executor.
pub(crate) struct Executor {
    pub(crate) number: usize,
    pub(crate) clock: Clock,
    pub(crate) heart: Heart,
    pub(crate) mailbox: Mailbox,
    pub(crate) places: Places,
    pub(crate) shard: Option<ShardSeat>,
    pub(crate) core: Option<CoreSeat>,
    pub(crate) door: Option<Door>,
    /// Several servers: this one is up before it may serve.
    pub(crate) in_ensemble: bool,
}

/// What leaves for other executors at the end of the turn.
struct Outgoing {
    to_core: Vec<ToCore>,
    to_shards: Vec<Vec<ToShard>>,
    ring: Vec<bool>,
}

/// The loop's own things, apart from the seats so that both can be borrowed at once.
struct Turn {
    set: PollSet,
    ticker: Ticker,
    alarm: Alarm,
    outgoing: Outgoing,
    /// glommio's reactor has work: it must run in every turn.
    reactor: bool,
    /// Time has passed since the reactor ran.
    ticked: bool,
    /// There is work left: look for more, but do not wait for it.
    hurry: bool,
    /// This shard has stopped reading and must say so once its last messages are on their way.
    report_stopped: bool,
    finish: bool,
}

impl Turn {
    /// Waits for events. Tasks of glommio's get their turn here: in every turn if there is work
    /// for its reactor, else once a tick.
    async fn wait(&mut self, events: &mut Vec<Event>) -> std::io::Result<()> {
        if std::mem::take(&mut self.hurry) {
            if self.reactor {
                glommio::executor().yield_now().await;
            }
            return self.set.take(events);
        }
        if self.reactor {
            self.set.ready().await?;
            return self.set.take(events);
        }
        if std::mem::take(&mut self.ticked) {
            glommio::executor().yield_now().await;
        }
        self.set.wait(events)
    }
}

impl Executor {
    /// Runs until the server has stopped. An error is one of the machine's: the process ends.
    pub(crate) async fn run(mut self, up: flume::Sender<()>) -> std::io::Result<()> {
        let mut turn = Turn {
            set: PollSet::new()?,
            ticker: Ticker::start(TICK)?,
            alarm: Alarm::new()?,
            outgoing: Outgoing {
                to_core: Vec::new(),
                to_shards: self.places.shards.iter().map(|_| Vec::new()).collect(),
                ring: vec![false; self.places.executors.len()],
            },
            reactor: self.core.as_ref().is_some_and(|seat| seat.disk.needs_reactor()),
            ticked: false,
            hurry: false,
            report_stopped: false,
            finish: false,
        };
        let readable = EpollFlags::EPOLLIN;
        turn.set.add(&*self.mailbox.wake, Source::Mail, readable)?;
        turn.set.add(&turn.ticker, Source::Tick, readable)?;
        turn.set.add(&turn.alarm, Source::Alarm, readable)?;
        if let Some(core) = &mut self.core {
            turn.set.add(&core.disk, Source::Disk, readable)?;
            if let Some(peers) = &mut core.peers {
                peers.attach(&turn.set)?;
            }
        }
        if let Some(door) = &self.door {
            turn.set.add(&door.signals, Source::Signal, readable)?;
            if let Some(listener) = &door.listener {
                turn.set.add(listener, Source::Listener, readable)?;
            }
        }
        self.heart.attach();
        let mut up = Some(up);
        let mut events = Vec::new();
        // What the core's construction asked for must not wait for the first event.
        self.settle(&mut turn, self.clock.now());
        loop {
            if up.is_some() && (self.in_ensemble || self.is_serving()) {
                // Whoever waits for this has given up only if the process is about to end.
                let _ = up.take().map(|up| up.send(()));
            }
            self.heart.beat();
            events.clear();
            turn.wait(&mut events).await?;
            let now = self.clock.now();
            self.take_feed(&mut turn, now);
            for event in &events {
                self.on_event(&mut turn, *event, now);
            }
            self.settle(&mut turn, now);
            self.notify(&mut turn, now, NOTIFIED_PER_TURN);
            if turn.finish {
                break;
            }
        }
        self.notify(&mut turn, self.clock.now(), usize::MAX);
        self.end(&mut turn);
        Ok(())
    }

    /// True if a client that comes now is served: the shard here, if there is one, has been told
    /// that it may. The server is not ready before.
    fn is_serving(&self) -> bool {
        self.shard.as_ref().is_none_or(|seat| seat.shard.is_serving())
    }

    /// Consumes what is published. Before new requests are looked at, so that whoever asks after
    /// an acknowledgement sees what was acknowledged.
    fn take_feed(&mut self, turn: &mut Turn, now: Now) -> bool {
        let mut taken = false;
        while let Some(seat) = self.shard.as_mut().filter(|seat| seat.shard.feed_pending() > 0) {
            seat.shard.step(now, ShardInput::Feed, &mut seat.out);
            taken = true;
            if seat.shard.owes_events() {
                seat.shard.end_turn(now, &mut seat.out);
                self.serve_sockets(turn, now);
            }
        }
        taken
    }

    fn on_event(&mut self, turn: &mut Turn, event: Event, now: Now) {
        match event.source {
            Source::Mail => {
                self.mailbox.wake.hear();
                while let Some(mail) = self.mailbox.take() {
                    self.on_mail(turn, mail, now);
                }
            }
            Source::Disk => {
                if let Some(seat) = &mut self.core {
                    let mut done = std::mem::take(&mut seat.done);
                    seat.disk.reap(&mut done);
                    for done in done.drain(..) {
                        seat.core.step(now, CoreInput::Disk(done), &mut seat.out);
                    }
                    seat.done = done;
                }
            }
            Source::Tick => {
                turn.ticker.hear();
                turn.ticked = true;
                self.on_tick(turn, now);
            }
            Source::Alarm => {
                turn.alarm.hear();
                if let Some(seat) = &mut self.core {
                    seat.awaited = None;
                    seat.core.step(now, CoreInput::Tick, &mut seat.out);
                }
            }
            Source::Names | Source::PeerPort { .. } | Source::Peer { .. } => {
                let Some(seat) = &mut self.core else { return };
                if let Some(peers) = &mut seat.peers {
                    peers.on_event(&turn.set, event.source, event.flags, now.mono);
                }
                seat.hear_peers(now);
            }
            Source::Listener => self.on_clients(turn, now),
            Source::Signal => self.on_signal(turn),
            Source::Socket { slot, generation } => {
                let Some(seat) = &mut self.shard else { return };
                let Some(generation) = seat.sockets.generation(slot, generation) else {
                    return;
                };
                let conn = ConnId { shard: seat.id, slot, generation };
                self.on_socket(turn, conn, event.flags, now);
            }
        }
    }

    fn on_mail(&mut self, turn: &mut Turn, mail: Mail, now: Now) {
        match mail {
            Mail::Core { from, messages } => {
                if let Some(seat) = &mut self.core {
                    for message in messages {
                        let input = CoreInput::Shard { from, message };
                        seat.core.step(now, input, &mut seat.out);
                    }
                }
            }
            Mail::Shard(messages) => {
                if let Some(seat) = &mut self.shard {
                    for message in messages {
                        seat.shard.step(now, ShardInput::Core(message), &mut seat.out);
                    }
                }
            }
            Mail::Host(facts) => {
                if let Some(seat) = &mut self.core {
                    seat.core.step(now, CoreInput::Host(facts), &mut seat.out);
                }
            }
            Mail::Ask(question, reply) => {
                if let Some(seat) = &mut self.core {
                    seat.ask(now, question, reply);
                }
            }
            Mail::Client(stream, peer) => self.welcome(turn, stream, peer, now),
            Mail::StopReading => {
                if let Some(seat) = &mut self.shard {
                    seat.reading = false;
                    let mut all = std::mem::take(&mut seat.scratch);
                    seat.sockets.all(seat.id, &mut all);
                    for conn in all.drain(..) {
                        seat.sockets.pause(&turn.set, conn, true);
                    }
                    seat.scratch = all;
                    turn.report_stopped = true;
                }
            }
            Mail::StoppedReading => {
                if let Some(seat) = &mut self.core {
                    seat.reading -= 1;
                    if seat.reading == 0 {
                        seat.core.step(now, CoreInput::Stop, &mut seat.out);
                    }
                }
            }
            Mail::Finish => turn.finish = true,
        }
    }

    fn on_tick(&mut self, turn: &Turn, now: Now) {
        if let Some(seat) = &mut self.shard {
            seat.shard.step(now, ShardInput::Tick, &mut seat.out);
        }
        if let Some(seat) = &mut self.core {
            if let Some(peers) = &mut seat.peers {
                peers.tick(&turn.set, now.mono);
                if let Some(reason) = peers.fatal(now.mono) {
                    halt(&reason);
                }
            }
            seat.hear_peers(now);
            seat.core.step(now, CoreInput::Tick, &mut seat.out);
        }
    }

    fn on_clients(&mut self, turn: &mut Turn, now: Now) {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = self.door.as_mut().and_then(|door| door.listener.as_mut());
            let Some((stream, peer)) = listener.and_then(Listener::accept) else { return };
            let mut admission = self.places.admission.lock().expect("nothing panics under it");
            if let Err(excess) = admission.admit(peer.ip()) {
                // Accepted and closed without a byte (client-protocol 7.7). The log is told less
                // and less often, or whoever is turned away would fill it.
                let rejected = admission.rejected();
                if rejected.is_power_of_two() {
                    tracing::warn!(%peer, rejected, "{excess}");
                }
                continue;
            }
            drop(admission);
            let loads = self.places.loads.iter().enumerate();
            let load = |(_, load): &(usize, &AtomicUsize)| load.load(Ordering::Relaxed);
            let shard = loads.min_by_key(load).map_or(0, |(shard, _)| shard);
            self.places.loads[shard].fetch_add(1, Ordering::Relaxed);
            let executor = self.places.shards[shard];
            if executor == self.number {
                self.welcome(turn, stream, peer, now);
            } else {
                self.places.executors[executor].post(Mail::Client(stream, peer));
                turn.outgoing.ring[executor] = true;
            }
        }
    }

    /// Gives a client to the shard that sits here.
    fn welcome(&mut self, turn: &mut Turn, stream: TcpStream, peer: SocketAddr, now: Now) {
        let seat = self.shard.as_mut().filter(|seat| seat.reading);
        let Some(seat) = seat else {
            // The server stops.
            self.places.release(None, peer.ip());
            return;
        };
        let conn = seat.shard.accept(now, peer);
        if let Err(error) = seat.sockets.insert(&turn.set, conn, stream, peer.ip()) {
            tracing::warn!(%peer, %error, "client cannot be polled");
            seat.shard.step(now, ShardInput::Closed { conn }, &mut seat.out);
            self.places.release(Some(seat.id), peer.ip());
        }
    }

    fn on_signal(&mut self, turn: &mut Turn) {
        let Some(door) = &mut self.door else { return };
        while let Ok(Some(signal)) = door.signals.read_signal() {
            let Some(listener) = door.listener.take() else {
                tracing::warn!("a second signal: ending without waiting for the log");
                std::process::exit(EXIT_IMPATIENT);
            };
            tracing::info!(signal = signal.ssi_signo, "stopping");
            drop(listener);
            for executor in &self.places.shards {
                self.places.executors[*executor].post(Mail::StopReading);
                turn.outgoing.ring[*executor] = true;
            }
        }
    }

    fn on_socket(&mut self, turn: &mut Turn, conn: ConnId, flags: EpollFlags, now: Now) {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.flush(turn, conn, now);
        }
        let lost = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if flags.contains(EpollFlags::EPOLLIN) {
            self.read(turn, conn, now);
        } else if lost {
            self.close(turn, conn, now);
        }
    }

    fn read(&mut self, turn: &mut Turn, conn: ConnId, now: Now) {
        let Some(seat) = &mut self.shard else { return };
        let mut so_far = 0;
        loop {
            match seat.sockets.read(&turn.set, conn, so_far) {
                Got::Bytes(count) => {
                    let bytes = seat.sockets.bytes(count);
                    seat.shard.step(now, ShardInput::Bytes { conn, bytes }, &mut seat.out);
                    so_far += count;
                    // A pause or a close must take effect before more is read.
                    let held = !seat.out.pause.is_empty() || !seat.out.close.is_empty();
                    if held || Sockets::was_last(count) {
                        return;
                    }
                }
                Got::Enough => return,
                Got::Gone => return self.close(turn, conn, now),
            }
        }
    }

    /// Sends a connection's outbox, and closes the connection if that was all it waited for.
    fn flush(&mut self, turn: &mut Turn, conn: ConnId, now: Now) {
        let Some(seat) = &mut self.shard else { return };
        loop {
            let bytes = seat.shard.outbox(conn);
            if bytes.is_empty() {
                if seat.sockets.is_closing(conn) {
                    self.close(turn, conn, now);
                }
                return;
            }
            match seat.sockets.write(&turn.set, conn, bytes) {
                Put::Taken(bytes) => {
                    seat.shard.step(now, ShardInput::Sent { conn, bytes }, &mut seat.out);
                }
                Put::Blocked => return,
                Put::Gone => return self.close(turn, conn, now),
            }
        }
    }

    /// Closes the socket and tells the shard.
    fn close(&mut self, turn: &Turn, conn: ConnId, now: Now) {
        let Some(seat) = &mut self.shard else { return };
        let Some(peer) = seat.sockets.remove(&turn.set, conn) else { return };
        seat.shard.step(now, ShardInput::Closed { conn }, &mut seat.out);
        self.places.release(Some(seat.id), peer);
    }

    /// Lets shard, core, feed, disk and sockets work off each other's outputs, then posts what is
    /// for other executors.
    fn settle(&mut self, turn: &mut Turn, now: Now) {
        let mut quiet = false;
        for _ in 0..ROUNDS_PER_TURN {
            if let Some(seat) = &mut self.shard {
                seat.shard.end_turn(now, &mut seat.out);
            }
            let mut busy = self.carry_to_core(turn, now);
            busy |= self.carry_from_core(turn, now);
            busy |= self.take_feed(turn, now);
            busy |= self.serve_sockets(turn, now);
            if !busy {
                quiet = true;
                break;
            }
        }
        if let Some(seat) = &mut self.core {
            seat.await_deadline(&turn.alarm, now);
        }
        self.post(turn);
        if !quiet {
            self.mailbox.wake.ring();
        }
    }

    /// The shard's messages to the core. True if the core sits here and got some.
    fn carry_to_core(&mut self, turn: &mut Turn, now: Now) -> bool {
        let Some(seat) = &mut self.shard else { return false };
        if seat.out.to_core.is_empty() {
            return false;
        }
        let Some(core) = &mut self.core else {
            turn.outgoing.to_core.append(&mut seat.out.to_core);
            return false;
        };
        for message in seat.out.to_core.drain(..) {
            let input = CoreInput::Shard { from: seat.id, message };
            core.core.step(now, input, &mut core.out);
        }
        true
    }

    /// Ends the core's turn and carries its wishes out. True if the shard that sits here got a
    /// message.
    fn carry_from_core(&mut self, turn: &mut Turn, now: Now) -> bool {
        let Some(seat) = &mut self.core else { return false };
        seat.core.end_turn(now, &mut seat.out);
        if let Some(reason) = &seat.out.halt {
            halt(reason);
        }
        // First: what is on its way to others takes longer than the own disk.
        seat.serve_peers(&turn.set, now);
        if !seat.out.disk.is_empty() {
            seat.out.disk.drain(..).for_each(|op| seat.disk.submit(op));
            seat.disk.flush();
        }
        let mut busy = false;
        for (to, message) in seat.out.to_shards.drain(..) {
            match &mut self.shard {
                Some(local) if local.id == to => {
                    local.shard.step(now, ShardInput::Core(message), &mut local.out);
                    busy = true;
                }
                _ => turn.outgoing.to_shards[usize::from(to.0)].push(message),
            }
        }
        for shard in seat.out.wake.drain(..) {
            let executor = self.places.shards[usize::from(shard.0)];
            turn.outgoing.ring[executor] |= executor != self.number;
        }
        seat.answer();
        if std::mem::take(&mut seat.out.stopped) {
            for (number, executor) in self.places.executors.iter().enumerate() {
                executor.post(Mail::Finish);
                turn.outgoing.ring[number] = true;
            }
        }
        busy | seat.hear_peers(now)
    }

    /// Carries out what the shard wants of its sockets. True if that changed anything.
    fn serve_sockets(&mut self, turn: &mut Turn, now: Now) -> bool {
        let Some(seat) = &mut self.shard else { return false };
        let mut busy = false;
        for conn in seat.out.pause.drain(..) {
            seat.sockets.pause(&turn.set, conn, true);
        }
        for conn in seat.out.resume.drain(..) {
            if seat.reading {
                seat.sockets.pause(&turn.set, conn, false);
            }
        }
        let mut flush = std::mem::take(&mut seat.out.flush);
        let answers = std::mem::take(&mut seat.out.answers).min(flush.len());
        for conn in flush.drain(answers..) {
            if seat.sockets.queue(conn) {
                seat.notify.push_back(conn);
            }
        }
        let mut close = std::mem::take(&mut seat.out.close);
        for conn in &close {
            seat.sockets.close_after_flush(&turn.set, *conn);
        }
        for conn in flush.drain(..).chain(close.drain(..)) {
            busy = true;
            self.flush(turn, conn, now);
        }
        if let Some(seat) = &mut self.shard {
            // Keep the larger allocation for the next turn.
            if seat.out.flush.is_empty() {
                seat.out.flush = flush;
            }
        }
        busy
    }

    /// Sends events to the connections whose turn it is, at most so many. What is left, and what
    /// this made possible, is looked at in the next turn, which comes at once.
    fn notify(&mut self, turn: &mut Turn, now: Now, most: usize) {
        for _ in 0..most {
            let Some(seat) = &mut self.shard else { return };
            let Some(conn) = seat.notify.pop_front() else { return };
            seat.sockets.unqueue(conn);
            turn.hurry = true;
            self.flush(turn, conn, now);
        }
    }

    /// Posts the turn's mail and rings the bells.
    fn post(&mut self, turn: &mut Turn) {
        let outgoing = &mut turn.outgoing;
        if let Some(seat) = &self.shard {
            let core = self.places.core;
            if !outgoing.to_core.is_empty() {
                let messages = std::mem::take(&mut outgoing.to_core);
                self.places.executors[core].post(Mail::Core { from: seat.id, messages });
                outgoing.ring[core] = true;
            }
            if std::mem::take(&mut turn.report_stopped) {
                self.places.executors[core].post(Mail::StoppedReading);
                outgoing.ring[core] = true;
            }
        }
        for (messages, executor) in outgoing.to_shards.iter_mut().zip(&self.places.shards) {
            if !messages.is_empty() {
                let messages = std::mem::take(messages);
                self.places.executors[*executor].post(Mail::Shard(messages));
                outgoing.ring[*executor] = true;
            }
        }
        for (ring, executor) in outgoing.ring.iter_mut().zip(&self.places.executors) {
            if std::mem::take(ring) {
                executor.ring();
            }
        }
    }

    /// The last replies were sent by the turn before; closes everything.
    fn end(&mut self, turn: &mut Turn) {
        let now = self.clock.now();
        if let Some(seat) = &mut self.shard {
            let mut all = Vec::new();
            seat.sockets.all(seat.id, &mut all);
            for conn in all {
                self.close(turn, conn, now);
            }
        }
        self.core = None;
        self.heart.end();
    }
}

impl Places {
    /// A client is gone.
    fn release(&self, shard: Option<ShardId>, peer: IpAddr) {
        if let Some(shard) = shard {
            self.loads[usize::from(shard.0)].fetch_sub(1, Ordering::Relaxed);
        }
        self.admission.lock().expect("nothing panics under it").release(peer);
    }
}
