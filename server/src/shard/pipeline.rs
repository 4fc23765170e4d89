//! The requests of a session in the order it sent them (DESIGN 4 and 5, `client-protocol` 8).
//!
//! A read with nothing ahead of it is answered at once from the view. Everything behind an
//! unanswered write waits in the connection's queue:
//!
//! ```text
//!  front                                                back
//!  [ write 7 ][ read ][ read ][ write 8, cut ][ ping ]
//!      |          \______\          |             \_ answered in its place
//!      |           run at the end   |
//!      |           of the segment   answered by a later segment: the cut made the core freeze a
//!      |           that holds 7     version just before it
//!      answered by the feed
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{Effects, Outcome};
use model::{AuthId, ErrorCode, Mono, Now, OpCode, SessionId, Xid, Zxid};
use protocol::request::{Class, RequestHeader, classify};
use protocol::{MultiReply, Request, reply};
use tracing::{debug, warn};

use super::auth::AuthFault;
use super::connection::Phase;
use super::reads::Reading;
use super::report::Kind;
use super::{Position, Shard, ShardOutputs, auth};
use crate::limits::{
    CONNECTION_OUTSTANDING_BYTES_MAX, CONNECTION_OUTSTANDING_MAX, OUTBOX_BYTES_MAX,
    OUTBOX_BYTES_PAUSE, SHARD_OUTSTANDING_BYTES_MAX, SHARD_SUBMITS_MAX, SHARD_WATCHES_MAX,
};
use crate::link::{ConnId, Service, Submit, Submits, ToCore};

/// A queue's buffer larger than this many requests is given back when it is empty.
const KEEP_REQUESTS: usize = 64;

/// Room that a turn's writes get in advance, bytes, if those of the turn before took as much.
const SUBMITS_BYTES_RESERVED: usize = 256 * 1024;

/// A request that is read and not answered.
#[derive(Debug)]
pub(super) struct Pending {
    xid: Xid,
    opcode: i32,
    received: Mono,
    /// Bytes of its body, for the bounds.
    bytes: u32,
    what: Waiting,
}

impl Pending {
    /// True if `globalOutstandingLimit` counts it: pings and the like never do.
    fn counts(&self) -> bool {
        self.xid.0 > 0
    }
}

/// What a pending request waits for.
#[derive(Debug)]
enum Waiting {
    /// The feed. Numbered over the shard; the body is kept only where the reply echoes it.
    Core { number: u64, echo: Box<[u8]> },
    /// Own writes ahead of it; then it runs with the identities it was received with.
    View { body: Box<[u8]>, identities: Arc<[AuthId]> },
    /// Nothing but its turn.
    Turn(Ready),
}

/// A reply that depends on neither tree nor watches.
#[derive(Debug)]
enum Ready {
    Ping,
    WhoAmI(Arc<[AuthId]>),
    Authenticated,
    AuthFailed,
    NoSasl,
    SaslFailed,
    /// No identity of a scheme that is required.
    MustAuthenticate,
    Malformed,
    UnknownOperation,
    /// A write while there is no quorum.
    NotReadOnly,
    /// The end of a session that only this server knows.
    Ended,
}

/// A connection's requests in order.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    queue: VecDeque<Pending>,
    /// Bytes of all bodies in the queue.
    bytes: usize,
    /// Requests in the queue that wait for the feed.
    writes: u32,
    /// Requests in the queue that `globalOutstandingLimit` counts.
    counted: u32,
    /// A read waits behind the last of them.
    read_at_back: bool,
}

impl Pipeline {
    /// Requests read and not answered.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Gives an empty buffer back.
    pub(super) fn trim(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn push(&mut self, pending: Pending) {
        self.bytes += pending.bytes as usize;
        self.counted += u32::from(pending.counts());
        match pending.what {
            Waiting::Core { .. } => {
                self.writes += 1;
                self.read_at_back = false;
            }
            Waiting::View { .. } => self.read_at_back = true,
            Waiting::Turn(_) => {}
        }
        self.queue.push_back(pending);
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.bytes -= pending.bytes as usize;
        self.counted -= u32::from(pending.counts());
        self.writes -= u32::from(matches!(pending.what, Waiting::Core { .. }));
        if self.queue.is_empty() {
            self.read_at_back = false;
            if self.queue.capacity() > KEEP_REQUESTS {
                self.queue = VecDeque::new();
            }
        }
        Some(pending)
    }

    /// The front request if it waits for no write.
    fn pop_runnable(&mut self) -> Option<Pending> {
        if self.is_runnable() { self.pop() } else { None }
    }

    /// True if the front request waits for no write: only for the client to take its replies.
    fn is_runnable(&self) -> bool {
        self.queue.front().is_some_and(|front| !matches!(front.what, Waiting::Core { .. }))
    }

    fn is_full(&self) -> bool {
        self.len() >= CONNECTION_OUTSTANDING_MAX || self.bytes >= CONNECTION_OUTSTANDING_BYTES_MAX
    }
}

/// The shard's share of the core: writes submitted and not answered.
#[derive(Debug, Default)]
pub(super) struct Credit {
    /// Number of the last submitted write.
    submitted: u64,
    /// Number of the last answered one. The core answers in order, so this also accounts for
    /// writes that it dropped and for those of connections that are gone.
    answered: u64,
    /// Unanswered writes of connections that are still here.
    live: u64,
    /// Unanswered requests that `globalOutstandingLimit` counts, of the same connections.
    requests: usize,
    /// Bytes of unanswered requests of the same connections.
    bytes: usize,
}

impl Credit {
    fn is_spent(&self) -> bool {
        let unanswered = self.submitted - self.answered;
        self.live > 0
            && (unanswered >= SHARD_SUBMITS_MAX as u64 || self.bytes >= SHARD_OUTSTANDING_BYTES_MAX)
    }

    /// Unanswered writes.
    pub(super) fn outstanding(&self) -> u64 {
        self.live
    }

    /// A request waits for its answer.
    fn take(&mut self, pending: &Pending) {
        self.requests += usize::from(pending.counts());
        self.bytes += pending.bytes as usize;
    }

    /// A request is answered.
    fn give(&mut self, pending: &Pending) {
        self.requests -= usize::from(pending.counts());
        self.bytes -= pending.bytes as usize;
    }

    /// A connection goes away with these.
    pub(super) fn give_back(&mut self, pipeline: &Pipeline) {
        self.live -= u64::from(pipeline.writes);
        self.requests -= pipeline.counted as usize;
        self.bytes -= pipeline.bytes;
    }
}

/// What to do with the connection after a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Stay,
    Close(&'static str),
}

impl Shard {
    /// True if no further request of the connection may be looked at now.
    ///
    /// While more requests wait than `globalOutstandingLimit` allows, that is so for whoever has
    /// one among them. Such a connection is looked at again when it is answered, so nobody need
    /// keep a list, and nobody waits for the requests of others alone.
    pub(super) fn is_blocked(&mut self, slot: u32) -> bool {
        let crowded = self.credit.requests > self.config.outstanding_max;
        let Some(conn) = self.connections.at(slot) else { return true };
        conn.outbox.len() > OUTBOX_BYTES_PAUSE
            || conn.pipeline.is_full()
            || (crowded && conn.pipeline.counted > 0)
            || conn.pipeline.is_runnable()
    }

    /// Takes one request frame. False: it is a write and there is no credit for it, look again
    /// later.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        slot: u32,
        payload: &[u8],
        out: &mut ShardOutputs,
    ) -> bool {
        let Ok((header, body)) = RequestHeader::decode(payload) else {
            self.close(slot, "request shorter than its header", out);
            return true;
        };
        let class = classify(header.opcode);
        let to_core = matches!(class, Class::Write | Class::Sync | Class::CloseSession);
        if to_core && self.credit.is_spent() {
            let id = self.connections.id(slot);
            if let Some(conn) = self.connections.at(slot)
                && !std::mem::replace(&mut conn.starved, true)
            {
                self.starved.push(id);
            }
            return false;
        }
        let Some(conn) = self.connections.at(slot) else { return true };
        conn.stats.received += 1;
        conn.stats.last_op = header.opcode;
        conn.stats.last_xid = Some(header.xid);
        let admitted = class == Class::Immediate || auth::suffices(&self.config, &conn.identities);
        self.stats.received += 1;
        if conn.listed {
            conn.heard = now.mono;
        } else {
            self.touch(now, slot);
        }
        if !admitted {
            self.in_turn(now, slot, header, Ready::MustAuthenticate, out);
            self.stop_listening(slot);
            return true;
        }
        match class {
            Class::Read => self.on_read(now, slot, header, body, out),
            Class::Write | Class::Sync if self.service == Service::Readers => {
                self.in_turn(now, slot, header, Ready::NotReadOnly, out);
            }
            // The core hears of it as of any connection that is gone, and forgets the session
            // after its timeout: there is nothing to undo.
            Class::CloseSession if self.service == Service::Readers => {
                self.in_turn(now, slot, header, Ready::Ended, out);
                self.stop_listening(slot);
            }
            Class::Write => self.submit(now, slot, header, body, Box::default()),
            Class::Sync => match Request::decode(header.opcode, body) {
                // The reply echoes the path, which the core need not carry around.
                Ok(_) => self.submit(now, slot, header, body, body.into()),
                Err(_) => self.in_turn(now, slot, header, Ready::Malformed, out),
            },
            Class::CloseSession => {
                self.submit(now, slot, header, body, Box::default());
                self.stop_listening(slot);
            }
            Class::Ping => self.in_turn(now, slot, header, Ready::Ping, out),
            Class::Immediate => self.on_immediate(now, slot, header, body, out),
            Class::Unknown => {
                debug!(opcode = header.opcode, "unknown operation");
                self.in_turn(now, slot, header, Ready::UnknownOperation, out);
                self.stop_listening(slot);
            }
        }
        true
    }

    #[inline]
    fn on_read(
        &mut self,
        now: Now,
        slot: u32,
        header: RequestHeader,
        body: &[u8],
        out: &mut ShardOutputs,
    ) {
        let Some(conn) = self.connections.at(slot) else { return };
        let RequestHeader { xid, opcode } = header;
        if conn.pipeline.queue.is_empty() {
            let reading = Reading {
                view: &self.view,
                slot,
                session: conn.session,
                identities: &conn.identities,
                skip_acl: self.config.skip_acl,
            };
            let events = reading.answer(xid, opcode, body, &mut self.watches, conn.outbox.back());
            self.stats.events_caught_up += events;
            self.replied(now, slot, now.mono, self.view.zxid(), Kind::Read);
            self.check_watch_bound(slot, out);
            return;
        }
        let what = if opcode == OpCode::WhoAmI.code() {
            Waiting::Turn(Ready::WhoAmI(conn.identities.clone()))
        } else {
            Waiting::View { body: body.into(), identities: conn.identities.clone() }
        };
        let bytes = body.len() as u32;
        let pending = Pending { xid, opcode, received: now.mono, bytes, what };
        self.credit.take(&pending);
        conn.pipeline.push(pending);
    }

    fn submit(&mut self, now: Now, slot: u32, header: RequestHeader, body: &[u8], echo: Box<[u8]>) {
        let id = self.connections.id(slot);
        let Some(conn) = self.connections.at(slot) else { return };
        let RequestHeader { xid, opcode } = header;
        self.credit.submitted += 1;
        self.credit.live += 1;
        let start = self.submits.bytes.len() as u32;
        self.submits.bytes.extend_from_slice(body);
        self.submits.list.push(Submit {
            conn: id,
            session: conn.session,
            xid,
            opcode,
            body: start..self.submits.bytes.len() as u32,
            identities: conn.identities.clone(),
            cut: conn.pipeline.read_at_back,
            received: now.mono,
        });
        let what = Waiting::Core { number: self.credit.submitted, echo };
        let bytes = body.len() as u32;
        let pending = Pending { xid, opcode, received: now.mono, bytes, what };
        self.credit.take(&pending);
        conn.pipeline.push(pending);
    }

    /// Authentication changes the connection at once, but is answered in its turn: kazoo matches
    /// auth replies with the oldest unanswered request (`client-protocol` 5.7).
    fn on_immediate(
        &mut self,
        now: Now,
        slot: u32,
        header: RequestHeader,
        body: &[u8],
        out: &mut ShardOutputs,
    ) {
        let Some(conn) = self.connections.at(slot) else { return };
        let ready = match Request::decode(header.opcode, body) {
            Ok(Request::Auth { scheme, auth, .. }) => {
                match auth::prove(&self.config, conn.peer.ip(), scheme, auth)
                    .and_then(|proven| auth::join(&conn.identities, proven))
                {
                    Ok(all) => {
                        conn.identities = all;
                        Ready::Authenticated
                    }
                    Err(fault) => {
                        warn!(peer = %conn.peer, "{fault}");
                        self.stats.auth_failed += 1;
                        if fault == AuthFault::OtherEnsemble {
                            // As ZooKeeper does it: the client is to look for another server.
                            return self.close(slot, "the client means another ensemble", out);
                        }
                        Ready::AuthFailed
                    }
                }
            }
            Ok(Request::Sasl { .. }) if self.config.sasl_expected => Ready::SaslFailed,
            Ok(Request::Sasl { .. }) => Ready::NoSasl,
            Err(_) if header.opcode == OpCode::Sasl.code() => Ready::Malformed,
            Ok(_) | Err(_) => {
                return self.close(slot, "malformed auth packet", out);
            }
        };
        let failed = matches!(ready, Ready::AuthFailed);
        self.in_turn(now, slot, header, ready, out);
        if failed {
            self.stop_listening(slot);
        }
    }

    /// Answers now if nothing is ahead, else in its turn.
    fn in_turn(
        &mut self,
        now: Now,
        slot: u32,
        header: RequestHeader,
        ready: Ready,
        out: &mut ShardOutputs,
    ) {
        let Some(conn) = self.connections.at(slot) else { return };
        let RequestHeader { xid, opcode } = header;
        if conn.pipeline.queue.is_empty() {
            let zxid = self.view.zxid();
            let (zxid, after) = ready.answer(xid, zxid, conn.outbox.back());
            self.replied(now, slot, now.mono, zxid, Kind::Read);
            if let After::Close(why) = after {
                self.close(slot, why, out);
            }
            return;
        }
        let what = Waiting::Turn(ready);
        let pending = Pending { xid, opcode, received: now.mono, bytes: 0, what };
        self.credit.take(&pending);
        conn.pipeline.push(pending);
    }

    fn stop_listening(&mut self, slot: u32) {
        if let Some(conn) = self.connections.at(slot) {
            conn.deaf = true;
            conn.inbox = Vec::new();
        }
    }

    /// The feed answers a request.
    pub(super) fn on_reply(
        &mut self,
        now: Now,
        id: ConnId,
        xid: Xid,
        outcome: &Outcome,
        at: Position<'_>,
        out: &mut ShardOutputs,
    ) {
        let Position { effects, previous, zxid } = at;
        let Some(conn) = self.connections.get_mut(id) else { return };
        if conn.is_closing() {
            return;
        }
        // Requests that wait for nothing but their turn come before it. A read cannot be here:
        // the cut put it into an earlier segment.
        while let Some(first) = conn.pipeline.pop_runnable() {
            self.credit.give(&first);
            let Waiting::Turn(ready) = first.what else {
                panic!("a read of {id:?} is overtaken by its own later write")
            };
            let (zxid, _) = ready.answer(first.xid, previous, conn.outbox.back());
            let ms = conn.stats.replied(now.mono, first.received, zxid);
            self.stats.replied(ms, conn.outbox.last_bytes(), Kind::Read);
        }
        let write = conn.pipeline.pop().expect("the feed answers requests that were submitted");
        self.credit.give(&write);
        let Waiting::Core { number, echo } = write.what else {
            panic!("the front of the queue of {id:?} waits for the feed")
        };
        assert_eq!(write.xid, xid, "the feed answers the requests of {id:?} in order");
        self.credit.answered = self.credit.answered.max(number);
        self.credit.live -= 1;
        let after =
            encode_outcome(write.opcode, xid, zxid, outcome, effects, &echo, conn.outbox.back());
        if conn.pipeline.queue.is_empty() {
            if conn.paused {
                self.recheck.push(id.slot);
            }
        } else {
            self.runnable.push(id.slot);
        }
        if let After::Close(why) = after {
            // closeSession: the core knows; a moved session: it is another server's now.
            conn.session = SessionId::NONE;
            if why == MOVED {
                return self.close(id.slot, why, out);
            }
            self.replied(now, id.slot, write.received, zxid, Kind::Update);
            return self.close(id.slot, why, out);
        }
        self.replied(now, id.slot, write.received, zxid, Kind::Update);
    }

    /// Runs what waited for the point that the view has just reached.
    pub(super) fn run_waiting(&mut self, now: Now, slot: u32, out: &mut ShardOutputs) {
        let zxid = self.view.zxid();
        loop {
            let Some(conn) = self.connections.at(slot) else { return };
            if conn.is_closing() {
                return;
            }
            // With no write behind them, reads may as well wait until the client has taken what
            // it asked for before. With one, they must run at this version.
            if conn.pipeline.writes == 0 && conn.outbox.len() > OUTBOX_BYTES_PAUSE {
                self.pause(slot, out);
                return;
            }
            let Some(first) = conn.pipeline.pop_runnable() else { break };
            self.credit.give(&first);
            if conn.outbox.len() > OUTBOX_BYTES_MAX {
                self.drop_slow(slot, out);
                return;
            }
            let Pending { xid, opcode, received, what, .. } = first;
            match what {
                Waiting::View { body, identities } => {
                    let reading = Reading {
                        view: &self.view,
                        slot,
                        session: conn.session,
                        identities: &identities,
                        skip_acl: self.config.skip_acl,
                    };
                    let events =
                        reading.answer(xid, opcode, &body, &mut self.watches, conn.outbox.back());
                    self.stats.events_caught_up += events;
                    self.replied(now, slot, received, zxid, Kind::Read);
                    self.check_watch_bound(slot, out);
                }
                Waiting::Turn(ready) => {
                    let (zxid, after) = ready.answer(xid, zxid, conn.outbox.back());
                    self.replied(now, slot, received, zxid, Kind::Read);
                    if let After::Close(why) = after {
                        return self.close(slot, why, out);
                    }
                }
                Waiting::Core { .. } => unreachable!("a write is not runnable"),
            }
        }
        if self.connections.at(slot).is_some_and(|conn| conn.paused) {
            self.recheck.push(slot);
        }
    }

    /// Connections whose writes were not read for want of credit may go on.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() || self.credit.is_spent() {
            return;
        }
        for id in std::mem::take(&mut self.starved) {
            if let Some(conn) = self.connections.get_mut(id) {
                conn.starved = false;
                self.recheck.push(id.slot);
            }
        }
    }

    /// Counts a reply that has just been put into the outbox.
    #[inline]
    fn replied(&mut self, now: Now, slot: u32, received: Mono, zxid: Zxid, kind: Kind) {
        let Some(conn) = self.connections.at(slot) else { return };
        let ms = conn.stats.replied(now.mono, received, zxid);
        self.stats.replied(ms, conn.outbox.last_bytes(), kind);
        self.dirty(slot);
    }

    fn check_watch_bound(&mut self, slot: u32, out: &mut ShardOutputs) {
        if self.watches.len() > SHARD_WATCHES_MAX {
            warn!(slot, "too many watches on this shard");
            self.close(slot, "too many watches", out);
        }
    }

    /// Hands the turn's writes to the core.
    pub(super) fn send_submits(&mut self, out: &mut ShardOutputs) {
        if !self.submits.list.is_empty() {
            // Under load a turn resembles the one before it: room for as much at once, instead of
            // growing there step by step.
            let next = match self.submits.list.len() {
                count @ 8.. => Submits {
                    bytes: Vec::with_capacity(self.submits.bytes.len().min(SUBMITS_BYTES_RESERVED)),
                    list: Vec::with_capacity(count),
                },
                _ => Submits::default(),
            };
            let submits = std::mem::replace(&mut self.submits, next);
            out.to_core.push(ToCore::Submit(submits));
        }
    }
}

/// Why a connection is closed whose client said so.
const CLOSED: &str = "session closed by its client";
/// Why a connection is closed whose session another server owns.
const MOVED: &str = "session moved to another server";

impl Ready {
    /// Encodes the reply; returns the zxid that it carries.
    fn answer(&self, xid: Xid, zxid: Zxid, out: &mut Vec<u8>) -> (Zxid, After) {
        match self {
            Ready::Ping => reply::ping(out, zxid),
            Ready::WhoAmI(identities) => {
                let names = identities.iter().map(|id| (id.scheme.as_slice(), auth::user(id)));
                reply::who_am_i(out, xid, zxid, names);
            }
            Ready::Authenticated => {
                reply::done(out, xid, Zxid::ZERO);
                return (Zxid::ZERO, After::Stay);
            }
            Ready::AuthFailed => {
                reply::error(out, xid, Zxid::ZERO, ErrorCode::AuthFailed);
                return (Zxid::ZERO, After::Close("authentication failed"));
            }
            Ready::NoSasl => {
                reply::sasl(out, xid, None, None);
                return (Zxid::ZERO, After::Stay);
            }
            Ready::SaslFailed => {
                reply::sasl(out, xid, Some(ErrorCode::AuthFailed), None);
                return (Zxid::ZERO, After::Close("no SASL mechanism is available"));
            }
            Ready::MustAuthenticate => {
                let code = ErrorCode::SessionClosedRequireSaslAuth;
                reply::error(out, xid, Zxid::ZERO, code);
                return (Zxid::ZERO, After::Close("not authenticated as is required"));
            }
            Ready::Malformed => reply::error(out, xid, zxid, ErrorCode::MarshallingError),
            Ready::UnknownOperation => {
                reply::unknown_operation(out, xid);
                return (Zxid(-1), After::Close("unknown operation"));
            }
            Ready::NotReadOnly => reply::error(out, xid, zxid, ErrorCode::NotReadOnly),
            Ready::Ended => {
                reply::done(out, xid, zxid);
                return (zxid, After::Close(CLOSED));
            }
        }
        (zxid, After::Stay)
    }
}

/// Encodes the reply to a write or sync in the form that its opcode calls for.
fn encode_outcome(
    opcode: i32,
    xid: Xid,
    zxid: Zxid,
    outcome: &Outcome,
    effects: &Effects,
    echo: &[u8],
    out: &mut Vec<u8>,
) -> After {
    match outcome {
        Outcome::Done if opcode == OpCode::Sync.code() => {
            let path = match Request::decode(opcode, echo) {
                Ok(Request::Sync { path }) => path,
                Ok(_) | Err(_) => None,
            };
            reply::sync(out, xid, zxid, path);
        }
        Outcome::Done => reply::done(out, xid, zxid),
        Outcome::Created { path, .. } if opcode == OpCode::Create.code() => {
            reply::path(out, xid, zxid, effects.path(path));
        }
        Outcome::Created { path, stat } => {
            reply::path_stat(out, xid, zxid, effects.path(path), stat);
        }
        Outcome::Stat(stat) => reply::stat(out, xid, zxid, stat),
        Outcome::Multi(results) => {
            let mut multi = MultiReply::begin(out, xid, zxid);
            for (kind, outcome) in results {
                match outcome {
                    Outcome::Created { path, .. } if *kind == OpCode::Create => {
                        multi.created(effects.path(path));
                    }
                    Outcome::Created { path, stat } => {
                        multi.created_stat(effects.path(path), stat);
                    }
                    Outcome::Stat(stat) => multi.data_set(stat),
                    Outcome::Done if *kind == OpCode::Check => multi.checked(),
                    Outcome::Done => multi.deleted(),
                    Outcome::Multi(_) | Outcome::MultiFailed(_) | Outcome::Failed(_) => {
                        panic!("a successful multi holds successful operations")
                    }
                }
            }
            multi.end();
        }
        Outcome::MultiFailed(codes) => {
            let mut multi = MultiReply::begin(out, xid, zxid);
            for &code in codes {
                multi.failed(code);
            }
            multi.end();
        }
        Outcome::Failed(ErrorCode::SessionMoved) => return After::Close(MOVED),
        Outcome::Failed(code) => reply::error(out, xid, zxid, *code),
    }
    if opcode == OpCode::CloseSession.code() {
        return After::Close(CLOSED);
    }
    After::Stay
}

impl Shard {
    /// True if the connection has a session and is served.
    pub(super) fn is_open(&mut self, slot: u32) -> bool {
        self.connections.at(slot).is_some_and(|conn| matches!(conn.phase, Phase::Open))
    }
}
