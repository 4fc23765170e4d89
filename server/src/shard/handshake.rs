//! From the first byte of a connection to an attached session (`client-protocol` 1.3).

use model::{Now, SessionId, Zxid};
use protocol::{ConnectRequest, ConnectResponse, Split, frame};
use tracing::debug;

use super::connection::Phase;
use super::{Shard, ShardOutputs, words};
use crate::link::{ConnId, Password, Service, ToCore};

/// A session as the core grants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// The session.
    pub(super) session: SessionId,
    /// Negotiated timeout, ms.
    pub(super) timeout_ms: i32,
    /// Its password.
    pub(super) password: Password,
}

impl Shard {
    /// Looks at the first bytes of a connection. Returns how many were used; zero asks for more.
    pub(super) fn greet(
        &mut self,
        now: Now,
        slot: u32,
        bytes: &[u8],
        out: &mut ShardOutputs,
    ) -> usize {
        let Some((first, rest)) = bytes.split_first_chunk::<4>() else { return 0 };
        if words::is_word(*first) {
            return self.on_word(now, slot, *first, rest, out);
        }
        match frame::split(bytes, self.config.frame_bytes_max) {
            Split::NeedMore { .. } => 0,
            Split::BadLength(_) => {
                self.close(slot, "bad length of the first frame", out);
                bytes.len()
            }
            Split::Frame { payload } => {
                let used = payload.end;
                self.on_connect_request(now, slot, &bytes[payload], out);
                used
            }
        }
    }

    /// The rules of 1.3 in their order.
    fn on_connect_request(&mut self, now: Now, slot: u32, payload: &[u8], out: &mut ShardOutputs) {
        self.stats.received += 1;
        self.stats.connect_requests += 1;
        let Ok(request) = ConnectRequest::decode(payload) else {
            return self.close(slot, "undecodable connect request", out);
        };
        match self.service {
            Service::Everybody => {}
            Service::Readers if request.read_only == Some(true) => {}
            Service::Readers => return self.close(slot, "serving readers only", out),
            Service::Nobody => return self.close(slot, "not serving", out),
        }
        let seen = request.last_zxid_seen;
        if seen > self.view.zxid() {
            // What it saw may already be published here.
            self.catch_up(now, out);
        }
        if seen > self.view.zxid().max(self.floor) {
            debug!(
                seen = format_args!("{seen:?}"),
                here = format_args!("{:?}", self.view.zxid()),
                "client has seen a later state than this server"
            );
            return self.close(slot, "client is ahead of this server", out);
        }
        let Some(conn) = self.connections.at(slot) else { return };
        if conn.is_closing() {
            return;
        }
        conn.stats.received += 1;
        conn.heard = now.mono;
        conn.phase = Phase::Attaching { read_only: request.read_only };
        self.pause(slot, out);
        let attach = ToCore::Attach {
            conn: self.connections.id(slot),
            session: request.session,
            password: request.password.unwrap_or_default().to_vec(),
            timeout_ms: request.timeout_ms,
        };
        self.send(attach, out);
    }

    /// The session is this connection's. The client hears of it once the view shows everything
    /// the session has done.
    pub(super) fn on_attached(
        &mut self,
        now: Now,
        id: ConnId,
        granted: Grant,
        zxid: Zxid,
        out: &mut ShardOutputs,
    ) {
        self.attach(id, granted, zxid, out);
        if zxid > self.view.zxid() {
            self.catch_up(now, out);
        }
        self.welcome(now);
    }

    /// Binds a session to a connection that asked for one. If that is gone, the core is told.
    pub(super) fn attach(
        &mut self,
        id: ConnId,
        granted: Grant,
        zxid: Zxid,
        out: &mut ShardOutputs,
    ) {
        let Grant { session, timeout_ms, password } = granted;
        let readers = self.service == Service::Readers;
        let asking = self.connections.get_mut(id).and_then(|conn| match conn.phase {
            Phase::Attaching { read_only } => Some((conn, read_only)),
            Phase::Greeting
            | Phase::Word
            | Phase::CatchingUp { .. }
            | Phase::Open
            | Phase::Closing => None,
        });
        let Some((conn, read_only)) = asking else {
            return self.send(ToCore::Detached { conn: id, session }, out);
        };
        conn.session = session;
        conn.timeout_ms = timeout_ms;
        let response = Box::new(ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session,
            password,
            read_only: read_only.map(|_| readers),
        });
        conn.phase = Phase::CatchingUp { zxid, response };
        self.catching_up.push(id);
    }

    /// Answers every attached connection whose point in the order has been reached.
    pub(super) fn welcome(&mut self, now: Now) {
        if self.catching_up.is_empty() {
            return;
        }
        let here = self.view.zxid();
        for id in std::mem::take(&mut self.catching_up) {
            let Some(conn) = self.connections.get_mut(id) else { continue };
            let Phase::CatchingUp { zxid, response } = &conn.phase else { continue };
            if *zxid > here {
                self.catching_up.push(id);
                continue;
            }
            response.encode(conn.outbox.back());
            conn.phase = Phase::Open;
            conn.established_ms = now.wall_ms;
            conn.stats.last_op = model::OpCode::CreateSession.code();
            conn.stats.replied(now.mono, now.mono, here);
            self.stats.sent += 1;
            self.open += 1;
            self.touch(now, id.slot);
            self.dirty(id.slot);
            // Requests that came right behind the connect request have been kept.
            self.recheck.push(id.slot);
        }
    }

    /// Refusal: no such session, wrong password, or it is ending.
    pub(super) fn on_refused(&mut self, id: ConnId, out: &mut ShardOutputs) {
        let readers = self.service == Service::Readers;
        let Some(conn) = self.connections.get_mut(id) else { return };
        let Phase::Attaching { read_only } = conn.phase else { return };
        ConnectResponse::refused(read_only.map(|_| readers)).encode(conn.outbox.back());
        conn.stats.sent += 1;
        self.stats.sent += 1;
        self.dirty(id.slot);
        self.close(id.slot, "session refused", out);
    }
}
