//! A shard: the connections of one core of the machine, their sessions' pipelines, watches and
//! reads. A tiny follower of its own node's commit feed.
//!
//! Per segment of the feed, and in no other order:
//!
//! ```text
//! for each entry:  events of its changes -> outboxes      (a client sees the event first,
//!                  reply to its request  -> outbox         then its own reply)
//! then:            view := the segment's version
//! then:            sessions attached at this point are welcomed, reads that waited are run
//! ```
//!
//! One exception, which no client can tell from that order: if a crowd is to be told, whoever
//! watches nothing has its replies first, and no request is looked at before the rest.
//!
//! **Invariants:** the view only moves forward; a reply to a write leaves only from the feed;
//! replies of a connection leave in the order of its requests; everything published is consumed
//! before newly arrived bytes are looked at, so that whoever learned of an acknowledged write
//! finds it here.

pub mod auth;
mod connection;
mod delivery;
mod handshake;
pub mod outbox;
mod pipeline;
mod reads;
mod report;
pub mod watches;
mod words;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::{Effect, Effects, Version};
use model::{Mono, Now, OpCode, SessionId, Zxid, path};
use protocol::{Split, frame};
use tracing::debug;

use self::connection::{Connection, Connections, Phase};
use self::handshake::Grant;
use self::pipeline::Credit;
use self::report::Stats;
use self::watches::WatchTable;
use crate::admin::four_letter::TRACE_MASK_DEFAULT;
use crate::feed::{Answer, CommitBatch, Completion, Subscriber};
use crate::limits::{LINGER_MS, OUTBOX_BYTES_PAUSE, READ_BYTES_PER_TURN};
use crate::link::{ConnId, DropReason, Service, ShardId, Submits, ToCore, ToShard};

/// What a shard must know.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its number.
    pub shard: ShardId,
    /// Largest request frame, bytes (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Four-letter words that may be used; `None` allows all.
    pub words: Option<Vec<[u8; 4]>>,
    /// Digest id that is also super (`superDigest`).
    pub super_digest: Option<Vec<u8>>,
    /// Scheme `digest` exists.
    pub digest_scheme: bool,
    /// How its credentials are hashed.
    pub digest_algorithm: auth::digest::Algorithm,
    /// Scheme `ensemble` exists, and these are the names it takes; no names: every one.
    pub ensemble_names: Option<Vec<String>>,
    /// A session must have an identity of one of these schemes before it may ask for anything
    /// but authentication (`enforce.auth.schemes`); empty: nobody must.
    pub required_schemes: Vec<String>,
    /// The operator registered a SASL provider. No mechanism is built yet, so an exchange fails
    /// instead of ending with the empty token of a server without SASL, which some clients take
    /// for a step and answer for ever.
    pub sasl_expected: bool,
    /// Access lists are not consulted.
    pub skip_acl: bool,
    /// This shard's part of `globalOutstandingLimit`: while more requests than this wait for their
    /// answer, connections that have one waiting are not read from.
    pub outstanding_max: usize,
    /// So many watchers of one znode here are a crowd: whoever changed it has the answer before
    /// they are told.
    pub crowd: u32,
    /// Close a connection that has no session after this long, ms.
    pub sessionless_ms: u64,
    /// Version text of `srvr` and `stat`.
    pub version_text: String,
    /// Text of `envi`, complete.
    pub envi_text: String,
}

/// What a shard can be told.
#[derive(Debug)]
pub enum ShardInput<'a> {
    /// Bytes arrived.
    Bytes {
        /// Connection.
        conn: ConnId,
        /// As many as came; frames may be cut anywhere.
        bytes: &'a [u8],
    },
    /// The peer closed or reset the connection; the slot is free after this.
    Closed {
        /// Connection.
        conn: ConnId,
    },
    /// From the core.
    Core(ToShard),
    /// Take one batch from the feed, if there is one.
    Feed,
    /// The socket took bytes of the outbox.
    Sent {
        /// Connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Time passed; at least ten times a second.
    Tick,
}

/// What a shard wants done, in order within each list.
#[derive(Debug, Default)]
pub struct ShardOutputs {
    /// Messages to the core.
    pub to_core: Vec<ToCore>,
    /// Connections whose outbox has something to send; each once. First those that wait for an
    /// answer, then those that only get events.
    pub flush: Vec<ConnId>,
    /// How many at the front of `flush` wait for an answer. Whoever takes `flush` takes this too.
    pub answers: usize,
    /// Connections to close once their outbox is empty; what still arrives is to be drained and
    /// dropped. [`ShardInput::Closed`] follows. One that lingers may be named twice: its outbox
    /// has been emptied.
    pub close: Vec<ConnId>,
    /// Connections not to be read from for now. To be honored before the next read: a peer that
    /// has closed its side while its four-letter word is being answered is not gone.
    pub pause: Vec<ConnId>,
    /// Connections to be read from again. A connection in both lists goes on.
    pub resume: Vec<ConnId>,
}

/// Reads of one connection that may still arrive after it was paused.
const PAUSE_SLACK: usize = 4;

/// The connections of one core of the machine.
pub struct Shard {
    config: ShardConfig,
    /// State after everything consumed.
    view: Version,
    feed: Subscriber,
    /// A batch of which some answers went out ahead of the events.
    halfway: Option<Halfway>,
    /// The feed has been told that every batch may concern this shard.
    interested: bool,
    connections: Connections,
    watches: WatchTable,
    /// Writes of this turn.
    submits: Submits,
    credit: Credit,
    /// Time of the step.
    clock: Mono,
    service: Service,
    /// Whoever has seen this has seen nothing that the view lacks, once it is caught up.
    floor: Zxid,
    trace_mask: i64,
    stats: Stats,
    /// Connections with an attached session.
    open: u64,
    /// Connections whose outbox has grown in this turn.
    flush: Vec<u32>,
    /// Connections that got events.
    told: Vec<u32>,
    /// Connections with requests that may run when the view moves.
    runnable: Vec<u32>,
    /// Connections that may be able to take requests again.
    recheck: Vec<u32>,
    /// Connections that were stopped and go on, unless they are stopped again in this turn.
    resuming: Vec<ConnId>,
    /// Connections that have a write to submit and no credit.
    starved: Vec<ConnId>,
    /// Connections that are not read from because they are owed an answer.
    owed: Vec<ConnId>,
    /// Connections that are attached and wait for the view.
    catching_up: Vec<ConnId>,
    /// Connections that cannot be sent another event.
    overflowed: Vec<u32>,
    /// Heard from since the last tick.
    heard: Vec<ConnId>,
    /// Heard from between the two ticks before; those silent since give their buffers back.
    quieting: Vec<ConnId>,
    /// Heard from since the last tick, and gone since.
    heard_gone: Vec<(SessionId, Mono)>,
    /// By when a session must be asked for, in order of time.
    sessionless: VecDeque<(Mono, ConnId)>,
    /// By when a closing connection must have taken its last bytes, in order of time.
    lingering: VecDeque<(Mono, ConnId)>,
    /// The event being delivered, encoded.
    event: Vec<u8>,
}

/// A batch in the middle. Nothing that could show its end to anybody runs before that end.
struct Halfway {
    batch: Arc<CommitBatch>,
    /// The entries of its first segment that have been answered, rising.
    answered: Vec<usize>,
}

impl Shard {
    /// Starts at a version of the state. Serves nobody until it is told that the server serves.
    pub fn new(config: ShardConfig, version: Version, feed: Subscriber) -> Shard {
        Shard {
            connections: Connections::new(config.shard),
            watches: WatchTable::with_crowd(config.crowd),
            config,
            view: version,
            feed,
            halfway: None,
            interested: false,
            submits: Submits::default(),
            credit: Credit::default(),
            clock: Mono(0),
            service: Service::Nobody,
            floor: Zxid::ZERO,
            trace_mask: TRACE_MASK_DEFAULT,
            stats: Stats::default(),
            open: 0,
            flush: Vec::new(),
            told: Vec::new(),
            runnable: Vec::new(),
            recheck: Vec::new(),
            resuming: Vec::new(),
            starved: Vec::new(),
            owed: Vec::new(),
            catching_up: Vec::new(),
            overflowed: Vec::new(),
            heard: Vec::new(),
            quieting: Vec::new(),
            heard_gone: Vec::new(),
            sessionless: VecDeque::new(),
            lingering: VecDeque::new(),
            event: Vec::new(),
        }
    }

    /// Takes over an accepted connection.
    pub fn accept(&mut self, now: Now, peer: SocketAddr) -> ConnId {
        let id = self.connections.insert(Connection::new(now.mono, peer));
        let limit = now.mono + Duration::from_millis(self.config.sessionless_ms);
        self.sessionless.push_back((limit, id));
        id
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: ShardInput<'_>, out: &mut ShardOutputs) {
        self.clock = now.mono;
        if let ShardInput::Core(_) | ShardInput::Tick = input {
            self.finish_batch(now, out);
        }
        match input {
            ShardInput::Bytes { conn, bytes } => {
                self.catch_up(now, out);
                self.on_bytes(now, conn, bytes, out);
            }
            ShardInput::Closed { conn } => self.on_closed(conn, out),
            ShardInput::Core(message) => self.on_core(now, message, out),
            ShardInput::Feed => {
                self.take_batch(now, out);
            }
            ShardInput::Sent { conn, bytes } => self.on_sent(now, conn, bytes, out),
            ShardInput::Tick => self.on_tick(now, out),
        }
        self.settle(now, out);
    }

    /// Ends a turn: all inputs at hand have been given. Hands over the turn's writes and names
    /// the connections to flush. What the feed holds afterwards was published later.
    pub fn end_turn(&mut self, now: Now, out: &mut ShardOutputs) {
        let interested = self.has_watches();
        if interested != self.interested {
            self.interested = interested;
            self.feed.set_interested(interested);
            // Whatever was published before the core could know must not wait for a wake-up.
            self.catch_up(now, out);
            self.settle(now, out);
        }
        self.send_submits(out);
        for id in self.resuming.drain(..) {
            let Some(conn) = self.connections.get_mut(id) else { continue };
            if !conn.paused && !conn.is_closing() && std::mem::take(&mut conn.told_paused) {
                out.resume.push(id);
            }
        }
        let before = out.flush.len();
        self.name_dirty(|shard| &mut shard.flush, out);
        if before == out.answers {
            out.answers = out.flush.len();
        }
        self.name_dirty(|shard| &mut shard.told, out);
    }

    /// Names the connections of a list that have something to send, each once.
    fn name_dirty(&mut self, list: impl Fn(&mut Shard) -> &mut Vec<u32>, out: &mut ShardOutputs) {
        let mut slots = std::mem::take(list(self));
        for slot in slots.drain(..) {
            let Some(conn) = self.connections.at(slot) else { continue };
            conn.answered = false;
            // A slot that was used again within the turn may be listed twice, one that got an
            // event and then an answer is in both lists.
            if std::mem::take(&mut conn.dirty) && !conn.outbox.is_empty() {
                out.flush.push(self.connections.id(slot));
            }
        }
        *list(self) = slots;
    }

    /// Bytes waiting to be sent to a connection; empty if there are none or it is gone. After
    /// sending, tell [`ShardInput::Sent`].
    pub fn outbox(&self, conn: ConnId) -> &[u8] {
        self.connections.get(conn).map_or(&[], |conn| conn.outbox.pending())
    }

    /// Batches published in the feed and not yet taken to the end.
    pub fn feed_pending(&self) -> u64 {
        self.feed.pending() + u64::from(self.owes_events())
    }

    /// True if a batch was taken and the events of it are still to come, with the next
    /// [`ShardInput::Feed`]: time to end the turn and to send the answers.
    pub fn owes_events(&self) -> bool {
        self.halfway.is_some()
    }

    /// True if a change anywhere could concern a watch of this shard.
    pub fn has_watches(&self) -> bool {
        !self.watches.is_empty()
    }

    /// True if connect requests are taken, be it only those of readers.
    pub fn is_serving(&self) -> bool {
        self.service != Service::Nobody
    }

    /// Position of the view.
    pub fn zxid(&self) -> Zxid {
        self.view.zxid()
    }

    /// Connections in the table, and those among them that have a session.
    pub fn population(&self) -> (usize, u64) {
        (self.connections.len(), self.open)
    }

    fn on_core(&mut self, now: Now, message: ToShard, out: &mut ShardOutputs) {
        match message {
            ToShard::Attached { conn, session, timeout_ms, password, zxid } => {
                let granted = Grant { session, timeout_ms, password };
                self.on_attached(now, conn, granted, zxid, out);
            }
            ToShard::Refused { conn } => self.on_refused(conn, out),
            ToShard::Drop { conn, why } => self.on_drop(conn, why, out),
            ToShard::Report { number, word } => {
                let report = Box::new(self.report(word));
                self.send(ToCore::Report { number, report }, out);
            }
            ToShard::TraceMask(mask) => self.trace_mask = mask,
            ToShard::Answer { conn, text } => {
                let Some(asking) = self.connections.get(conn) else { return };
                if matches!(asking.phase, Phase::Word) {
                    self.answer_word(now, conn.slot, &text, out);
                }
            }
            ToShard::Serving { service, upto } => {
                self.floor = upto;
                self.on_serving(service, out);
            }
        }
    }

    fn on_drop(&mut self, id: ConnId, why: DropReason, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.get_mut(id) else { return };
        // The core said so, it need not be told.
        conn.session = SessionId::NONE;
        let why = match why {
            DropReason::Reattached => "session attached by another connection",
            DropReason::Expired => "session expired",
            DropReason::Closed => "session closed by somebody else",
            DropReason::NotServing => "server does not serve",
        };
        self.close(id.slot, why, out);
    }

    /// A server that cannot serve has no client connections; words are still answered. Readers
    /// are closed once everybody is served: they were told that they may only read.
    fn on_serving(&mut self, service: Service, out: &mut ShardOutputs) {
        let before = std::mem::replace(&mut self.service, service);
        let goes_on = before == service || before == Service::Nobody;
        if service != Service::Nobody && goes_on {
            return;
        }
        let why = match service {
            Service::Nobody => "server does not serve",
            Service::Readers | Service::Everybody => "server serves otherwise than before",
        };
        let attached: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, conn)| match conn.phase {
                Phase::Attaching { .. } | Phase::CatchingUp { .. } | Phase::Open => true,
                Phase::Greeting | Phase::Word | Phase::Closing => false,
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in attached {
            self.close(slot, why, out);
        }
    }

    fn on_bytes(&mut self, now: Now, id: ConnId, bytes: &[u8], out: &mut ShardOutputs) {
        let slack = self.config.frame_bytes_max + PAUSE_SLACK * READ_BYTES_PER_TURN;
        self.stats.received_bytes += bytes.len() as u64;
        let Some(conn) = self.connections.get_mut(id) else { return };
        if conn.deaf || matches!(conn.phase, Phase::Word | Phase::Closing) {
            return;
        }
        if conn.inbox.is_empty() {
            let used = self.consume(now, id.slot, bytes, out);
            self.keep(id, &bytes[used..]);
        } else if conn.paused && conn.inbox.len() > slack {
            self.close(id.slot, "more bytes than it was asked for", out);
        } else {
            let mut inbox = std::mem::take(&mut conn.inbox);
            inbox.extend_from_slice(bytes);
            self.consume_inbox(now, id, inbox, out);
        }
    }

    /// Looks at everything kept and keeps the rest.
    fn consume_inbox(&mut self, now: Now, id: ConnId, mut inbox: Vec<u8>, out: &mut ShardOutputs) {
        let used = self.consume(now, id.slot, &inbox, out);
        let Some(conn) = self.connections.get_mut(id) else { return };
        if conn.deaf || conn.is_closing() || used == inbox.len() {
            return;
        }
        inbox.drain(..used);
        conn.inbox = inbox;
    }

    fn keep(&mut self, id: ConnId, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let Some(conn) = self.connections.get_mut(id) else { return };
        if !conn.deaf && !conn.is_closing() {
            conn.inbox = rest.to_vec();
        }
    }

    /// Takes whole frames off the front of `bytes` for as long as the connection may be served.
    /// Returns how many bytes were used.
    fn consume(&mut self, now: Now, slot: u32, bytes: &[u8], out: &mut ShardOutputs) -> usize {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let Some(conn) = self.connections.at(slot) else { return bytes.len() };
            match conn.phase {
                Phase::Open if conn.deaf => return bytes.len(),
                Phase::Open => {
                    if conn.paused || self.is_blocked(slot) {
                        self.pause(slot, out);
                        return used;
                    }
                    match frame::split(rest, self.config.frame_bytes_max) {
                        Split::NeedMore { .. } => return used,
                        Split::BadLength(_) => {
                            self.close(slot, "bad frame length", out);
                            return bytes.len();
                        }
                        Split::Frame { payload } => {
                            let end = payload.end;
                            if !self.on_request(now, slot, &rest[payload], out) {
                                self.pause(slot, out);
                                return used;
                            }
                            used += end;
                        }
                    }
                }
                Phase::Greeting => match self.greet(now, slot, rest, out) {
                    0 => return used,
                    more => used += more,
                },
                // Kept until the session is there.
                Phase::Attaching { .. } | Phase::CatchingUp { .. } => return used,
                Phase::Word | Phase::Closing => return bytes.len(),
            }
        }
    }

    fn on_sent(&mut self, now: Now, id: ConnId, bytes: usize, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.get_mut(id) else { return };
        self.stats.sent_bytes += bytes as u64;
        // One that is dropped may have lost bytes that the socket took in the same turn.
        let bytes = if conn.is_closing() { bytes.min(conn.outbox.len()) } else { bytes };
        conn.outbox.sent(bytes);
        // Half of the bound, so that a reader at the edge does not flap.
        if conn.paused && conn.outbox.len() <= OUTBOX_BYTES_PAUSE / 2 {
            self.finish_batch(now, out);
            self.run_waiting(now, id.slot, out);
            self.recheck.push(id.slot);
        }
    }

    /// Lets connections go on that had been stopped and need not be any more.
    fn settle(&mut self, now: Now, out: &mut ShardOutputs) {
        if self.owes_events() {
            // Whoever has its answer and asks on must not be served by a view that lacks the write.
            return;
        }
        self.feed_starved();
        // In the order in which they were answered: whoever waits for room has waited longest.
        let mut next = 0;
        while let Some(&slot) = self.recheck.get(next) {
            next += 1;
            let (open, blocked) = (self.is_open(slot), self.is_blocked(slot));
            let Some(conn) = self.connections.at(slot) else { continue };
            if !open || blocked || !conn.paused || conn.deaf {
                continue;
            }
            let inbox = std::mem::take(&mut conn.inbox);
            conn.paused = false;
            let id = self.connections.id(slot);
            // That nothing was read from it meanwhile is not the client's silence.
            self.touch(now, slot);
            self.resuming.push(id);
            self.consume_inbox(now, id, inbox, out);
        }
        self.recheck.clear();
    }

    /// Consumes everything that is published.
    fn catch_up(&mut self, now: Now, out: &mut ShardOutputs) {
        while self.feed_pending() > 0 && self.take_batch(now, out) {}
    }

    /// Consumes one batch, or half of one; false if there was none.
    fn take_batch(&mut self, now: Now, out: &mut ShardOutputs) -> bool {
        if self.finish_batch(now, out) {
            return true;
        }
        let Some(batch) = self.feed.next() else { return false };
        let answered = self.answer_ahead(now, &batch, out);
        if answered.is_empty() {
            self.deliver_batch(now, &batch, &answered, out);
        } else {
            self.halfway = Some(Halfway { batch, answered });
        }
        true
    }

    /// Consumes the rest of a batch; false if none is in the middle.
    fn finish_batch(&mut self, now: Now, out: &mut ShardOutputs) -> bool {
        let Some(Halfway { batch, answered }) = self.halfway.take() else { return false };
        self.deliver_batch(now, &batch, &answered, out);
        true
    }

    /// If a crowd is to be told, answers those first whom no event concerns, because they watch
    /// nothing: to tell a crowd takes milliseconds. Returns the entries that were answered.
    fn answer_ahead(
        &mut self,
        now: Now,
        batch: &CommitBatch,
        out: &mut ShardOutputs,
    ) -> Vec<usize> {
        let mut answered = Vec::new();
        // What comes after a cut may have to wait for reads before it.
        let Some(segment) = batch.segments.first() else { return answered };
        let effects = &segment.effects;
        let crowded = |effect: &Effect| {
            let path = effects.path(&effect.path);
            let parent = path::split(path).map(|(parent, _)| parent);
            self.watches.is_crowded(path) || parent.is_some_and(|p| self.watches.is_crowded(p))
        };
        if !self.watches.has_crowds() || !effects.list.iter().any(crowded) {
            return answered;
        }
        let mut previous = self.view.zxid();
        for (index, entry) in segment.entries.iter().enumerate() {
            if let Some(completion) = &entry.completion
                && completion.conn.shard == self.config.shard
                && let Answer::Reply { opcode, .. } = completion.answer
                && opcode != OpCode::CloseSession.code()
                && !self.watches.is_owner(completion.conn.slot)
            {
                let at = Position { effects, previous, zxid: entry.zxid };
                self.on_completion(now, completion, at, out);
                answered.push(index);
            }
            previous = entry.zxid;
        }
        answered
    }

    /// Delivers a batch but for the entries that have been answered.
    fn deliver_batch(
        &mut self,
        now: Now,
        batch: &CommitBatch,
        answered: &[usize],
        out: &mut ShardOutputs,
    ) {
        let mut answered = answered.iter().peekable();
        for segment in &batch.segments {
            let mut start = 0;
            let mut previous = self.view.zxid();
            for (index, entry) in segment.entries.iter().enumerate() {
                let end = entry.effects_end as usize;
                if !self.watches.is_empty() {
                    for effect in &segment.effects.list[start..end] {
                        self.fire(effect, &segment.effects);
                    }
                    self.drop_overflowed(out);
                }
                start = end;
                if let Some(completion) = &entry.completion
                    && completion.conn.shard == self.config.shard
                    && answered.next_if_eq(&&index).is_none()
                {
                    let effects = &segment.effects;
                    let at = Position { effects, previous, zxid: entry.zxid };
                    self.on_completion(now, completion, at, out);
                }
                previous = entry.zxid;
            }
            self.view = segment.version.clone();
            self.welcome(now);
            let mut runnable = std::mem::take(&mut self.runnable);
            for slot in runnable.drain(..) {
                self.run_waiting(now, slot, out);
            }
            self.runnable = runnable;
        }
    }

    fn on_completion(
        &mut self,
        now: Now,
        completion: &Completion,
        at: Position<'_>,
        out: &mut ShardOutputs,
    ) {
        let id = completion.conn;
        match &completion.answer {
            Answer::Reply { xid, opcode: _, outcome, received: _ } => {
                self.on_reply(now, id, *xid, outcome, at, out);
            }
            Answer::SessionCreated { session, timeout_ms, password } => {
                let (session, timeout_ms, password) = (*session, *timeout_ms, *password);
                self.attach(id, Grant { session, timeout_ms, password }, at.zxid, out);
            }
            Answer::SessionEnded => self.on_drop(id, DropReason::Closed, out),
        }
    }

    /// Stops serving a connection: it gets what its outbox holds and is closed then.
    fn close(&mut self, slot: u32, why: &'static str, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.at(slot) else { return };
        if conn.is_closing() {
            return;
        }
        debug!(peer = %conn.peer, session = %conn.session, why, "closing");
        let id = self.connections.id(slot);
        self.retire(id, out);
        let Some(conn) = self.connections.at(slot) else { return };
        conn.phase = Phase::Closing;
        conn.inbox = Vec::new();
        out.close.push(id);
        self.lingering.push_back((self.clock + Duration::from_millis(LINGER_MS), id));
    }

    /// Undoes everything a connection has a share in, and tells the core that its session has no
    /// connection here any more, unless the core said so itself.
    fn retire(&mut self, id: ConnId, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.get_mut(id) else { return };
        self.watches.forget(id.slot);
        self.credit.give_back(&conn.pipeline);
        conn.pipeline = pipeline::Pipeline::default();
        self.open -= u64::from(matches!(conn.phase, Phase::Open));
        let session = std::mem::take(&mut conn.session);
        if !session.is_none() {
            if conn.listed {
                self.heard_gone.push((session, conn.heard));
            }
            self.send(ToCore::Detached { conn: id, session }, out);
        }
    }

    fn on_closed(&mut self, id: ConnId, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.get(id) else { return };
        if !conn.is_closing() {
            self.retire(id, out);
        }
        self.connections.remove(id);
    }

    fn on_tick(&mut self, now: Now, out: &mut ShardOutputs) {
        // What the shard itself does not read is not the client's silence.
        for id in std::mem::take(&mut self.starved) {
            if self.connections.is_live(id) {
                self.touch(now, id.slot);
                self.starved.push(id);
            }
        }
        for id in std::mem::take(&mut self.owed) {
            let Some(conn) = self.connections.get_mut(id) else { continue };
            if conn.paused && conn.pipeline.len() > 0 {
                self.touch(now, id.slot);
                self.owed.push(id);
            } else {
                conn.owed = false;
            }
        }
        for id in std::mem::take(&mut self.quieting) {
            if let Some(conn) = self.connections.get_mut(id)
                && !conn.listed
            {
                conn.trim();
            }
        }
        let heard = std::mem::take(&mut self.heard);
        let mut sessions = std::mem::take(&mut self.heard_gone);
        for id in &heard {
            let Some(conn) = self.connections.get_mut(*id) else { continue };
            conn.listed = false;
            if !conn.session.is_none() {
                sessions.push((conn.session, conn.heard));
            }
        }
        self.quieting = heard;
        out.to_core.push(ToCore::Heard { at: now.mono, sessions });
        while let Some(&(limit, id)) = self.sessionless.front()
            && limit <= now.mono
        {
            self.sessionless.pop_front();
            if self.connections.get(id).is_some_and(|c| matches!(c.phase, Phase::Greeting)) {
                self.stats.sessionless_expired += 1;
                self.close(id.slot, "no session in time", out);
            }
        }
        while let Some(&(limit, id)) = self.lingering.front()
            && limit <= now.mono
        {
            self.lingering.pop_front();
            if let Some(conn) = self.connections.get_mut(id)
                && !conn.outbox.is_empty()
            {
                conn.outbox.discard();
                out.close.push(id);
            }
        }
    }

    /// Notes that the client was heard from.
    fn touch(&mut self, now: Now, slot: u32) {
        let id = self.connections.id(slot);
        let Some(conn) = self.connections.at(slot) else { return };
        conn.heard = now.mono;
        if !std::mem::replace(&mut conn.listed, true) {
            self.heard.push(id);
        }
    }

    /// Notes that the outbox has grown by something that its client waits for.
    #[inline]
    fn dirty(&mut self, slot: u32) {
        let Some(conn) = self.connections.at(slot) else { return };
        conn.dirty = true;
        if !std::mem::replace(&mut conn.answered, true) {
            self.flush.push(slot);
        }
    }

    /// Stops reading from a connection.
    fn pause(&mut self, slot: u32, out: &mut ShardOutputs) {
        let id = self.connections.id(slot);
        let Some(conn) = self.connections.at(slot) else { return };
        conn.paused = true;
        if !std::mem::replace(&mut conn.told_paused, true) {
            out.pause.push(id);
        }
        if conn.pipeline.len() > 0 && !std::mem::replace(&mut conn.owed, true) {
            self.owed.push(id);
        }
    }

    /// Sends to the core, behind the writes of this turn so far.
    fn send(&mut self, message: ToCore, out: &mut ShardOutputs) {
        self.send_submits(out);
        out.to_core.push(message);
    }
}

/// Where in the feed an answer stands.
#[derive(Clone, Copy)]
struct Position<'a> {
    /// Holds the paths that the answer names.
    effects: &'a Effects,
    /// Position before it.
    previous: Zxid,
    /// Its position.
    zxid: Zxid,
}
