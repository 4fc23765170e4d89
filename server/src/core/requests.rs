//! What clients ask for: writes, new sessions, sessions to be attached again.

use engine::Outcome;
use engine::draft::Caller;
use model::jute::Reader;
use model::{ErrorCode, Mono, Now, Op, OpCode, SessionId};
use protocol::decode_write;

use super::forwards::Attaching;
use super::intake::Work;
use super::sessions::Owner;
use super::{Core, CoreOutputs};
use crate::feed::{Answer, Completion};
use crate::link::{ConnId, DropReason, ShardId, Submit, Submits, ToShard};

/// Refuses writes while disk space is short. Every client of every age knows this code, the ones
/// that say "not executed, try later" are unknown before 3.7.
pub(super) const NO_SPACE: ErrorCode = ErrorCode::SystemError;

impl Core {
    pub(super) fn on_submit(&mut self, now: Now, submits: Submits) {
        if self.stopping {
            return;
        }
        if self.pipeline.is_learner() {
            return self.forward(now, &submits);
        }
        if self.pipeline.orders() {
            self.intake.push_back(Work::writes(submits));
            self.execute_intake(now);
        }
    }

    pub(super) fn on_heard(&mut self, from: ShardId, at: Mono, sessions: &[(SessionId, Mono)]) {
        self.expiry.reported(from, at);
        if !self.pipeline.is_learner() {
            for &(session, heard) in sessions {
                self.expiry.touch(session, heard);
            }
            return;
        }
        let tables = self.pipeline.draft().tables();
        for (session, _) in sessions {
            if let Some(facts) = tables.sessions.get(session) {
                self.forwards.touch(*session, facts.timeout_ms);
            }
        }
    }

    pub(super) fn on_attach(
        &mut self,
        now: Now,
        conn: ConnId,
        session: SessionId,
        password: &[u8],
        timeout_ms: i32,
        out: &mut CoreOutputs,
    ) {
        self.observed.reattaches += u64::from(!session.is_none());
        if self.readers.are_served() && !self.stopping {
            return self.attach_reader(now, conn, session, password, timeout_ms, out);
        }
        let mut tell = |to: ConnId, message| out.to_shards.push((to.shard, message));
        let not_serving = ToShard::Drop { conn, why: DropReason::NotServing };
        if self.stopping || !self.pipeline.is_serving() {
            return tell(conn, not_serving);
        }
        if session.is_none() {
            let count = self.pipeline.draft().tables().sessions.len().max(self.sessions.len());
            if self.space.is_exhausted() || count >= self.config.sessions_max {
                return tell(conn, not_serving);
            }
            if self.pipeline.is_learner() {
                let timeout_ms = self.negotiated(timeout_ms);
                return self.forward_session(now, conn, timeout_ms);
            }
            self.intake.push_back(Work::NewSession { conn, timeout_ms });
            return self.execute_intake(now);
        }
        // Upstream closes the old connection before it looks at the password; here nobody is
        // driven out by somebody who only knows the session's number (`client-protocol` 14).
        let here = self.pipeline.is_learner() || self.sessions.owner(session).is_some();
        if !self.passwords.matches(session, password) || !here {
            return tell(conn, ToShard::Refused { conn });
        }
        if let Some(old) = self.sessions.kick(session, Some(conn)) {
            tell(old, ToShard::Drop { conn: old, why: DropReason::Reattached });
        }
        let timeout_ms = self.negotiated(timeout_ms);
        if self.pipeline.is_learner() {
            return self.ask_leader(now, session, Attaching { conn, timeout_ms }, out);
        }
        self.expiry.track(session, timeout_ms, now.mono);
        self.grant(session, conn, timeout_ms, out);
    }

    /// Gives a session to a connection.
    pub(super) fn grant(
        &mut self,
        session: SessionId,
        conn: ConnId,
        timeout_ms: i32,
        out: &mut CoreOutputs,
    ) {
        // Whoever asked for it while this was being found out.
        if let Some(old) = self.sessions.kick(session, Some(conn)) {
            let why = DropReason::Reattached;
            out.to_shards.push((old.shard, ToShard::Drop { conn: old, why }));
        }
        self.sessions.attach(session, Owner::Here(conn));
        let password = self.passwords.of(session);
        // All that is committed, published or not: the client may have seen it elsewhere.
        let zxid = self.pipeline.version().zxid();
        let attached = ToShard::Attached { conn, session, timeout_ms, password, zxid };
        out.to_shards.push((conn.shard, attached));
    }

    pub(super) fn negotiated(&self, timeout_ms: i32) -> i32 {
        let least = self.config.session_timeout_ms_min;
        timeout_ms.clamp(least, self.config.session_timeout_ms_max.max(least))
    }

    /// Executes what waits, as far as the pipeline has room.
    pub(super) fn execute_intake(&mut self, now: Now) {
        while let Some(mut work) = self.intake.pop_front() {
            while let Some(bytes) = work.next_bytes() {
                if !self.pipeline.make_room(now, bytes) {
                    self.intake.push_front(work);
                    return;
                }
                match &mut work {
                    Work::Writes { bytes, list } => {
                        if let Some(submit) = list.next() {
                            self.execute(now, submit, bytes);
                        }
                    }
                    Work::NewSession { conn, timeout_ms } => {
                        self.create_session(now, *conn, *timeout_ms);
                        break;
                    }
                    Work::Forwarded { learner, request } => {
                        if !self.execute_forwarded(now, *learner, request) {
                            self.intake.push_front(work);
                            return;
                        }
                        break;
                    }
                    Work::Orphaned(session) => {
                        let session = *session;
                        let who = Caller { session, identities: self.nobody.clone() };
                        self.pipeline.write(now, &Op::CloseSession, &who, 0, |_| None);
                        break;
                    }
                }
            }
        }
    }

    fn create_session(&mut self, now: Now, conn: ConnId, asked_ms: i32) {
        let timeout_ms = self.negotiated(asked_ms);
        let session = self.sessions.allocate(|_| false);
        let password = self.passwords.of(session);
        self.sessions.attach(session, Owner::Here(conn));
        let who = Caller { session, identities: self.nobody.clone() };
        let answer = Answer::SessionCreated { session, timeout_ms, password };
        let completion = |_| Some(Completion { conn, answer });
        self.pipeline.write(now, &Op::CreateSession { timeout_ms }, &who, 0, completion);
        self.unborn.push_back((self.pipeline.draft().tables().zxid, session, timeout_ms));
    }

    /// Executes one request. There is room for it.
    fn execute(&mut self, now: Now, submit: Submit, bytes: &[u8]) {
        let Submit { conn, session, xid, opcode, body, identities, cut, received } = submit;
        // A session that is gone, or that another connection has taken over: no reply. What the
        // old connection had sent must not take effect after what the new one sends.
        match self.sessions.owner(session) {
            Some(Owner::Here(attached)) if attached == conn => {}
            Some(Owner::Nobody) => {}
            Some(Owner::Here(_) | Owner::Learner(_)) | None => return,
        }
        if cut {
            self.pipeline.cut();
        }
        let reply =
            |outcome| Completion { conn, answer: Answer::Reply { xid, opcode, outcome, received } };
        let body = &bytes[body.start as usize..body.end as usize];
        if opcode == OpCode::Sync.code() {
            let outcome = match Reader::new(body).buffer() {
                Ok(_) => Outcome::Done,
                Err(_) => Outcome::Failed(ErrorCode::MarshallingError),
            };
            return self.pipeline.note(reply(outcome));
        }
        let op = match decode_write(opcode, body) {
            // Only the server itself asks for these.
            Ok(Op::CreateSession { .. } | Op::DeleteContainer { .. }) => {
                Op::Refused(ErrorCode::Unimplemented)
            }
            Ok(op) => op,
            Err(refusal) => Op::Refused(refusal.code()),
        };
        let closes = op == Op::CloseSession;
        if self.space.refuses_writes() && !closes {
            return self.pipeline.note(reply(Outcome::Failed(NO_SPACE)));
        }
        let who = Caller { session, identities };
        self.pipeline.write(now, &op, &who, xid.0, |outcome| Some(reply(outcome)));
        if closes {
            self.sessions.remove(session);
            self.expiry.remove(session);
        }
    }

    /// Expires a session: its connection is told through the feed, in order.
    pub(super) fn expire(&mut self, now: Now, session: SessionId) {
        self.expiry.remove(session);
        let conn = self.sessions.remove(session);
        let who = Caller { session, identities: self.nobody.clone() };
        let completion = |_| conn.map(|conn| Completion { conn, answer: Answer::SessionEnded });
        self.pipeline.write(now, &Op::CloseSession, &who, 0, completion);
        self.observed.expired += 1;
    }
}
