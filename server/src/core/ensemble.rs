//! Carries out what the replica orders, and keeps the node's side of an ensemble: roles, writes
//! that come from learners, entries that come from a leader.

use std::sync::Arc;

use engine::Outcome;
use engine::draft::Caller;
use engine::log::Log;
use engine::snapshot::zookeeper::{SnapshotIntake, StreamFault};
use model::jute::{Reader, Writer};
use model::{AuthId, Batch, ErrorCode, Now, Op, OpCode, SessionId, Txn, TxnHeader, Xid, Zxid, txn};
use protocol::decode_write;
use replication::{Input, LinkId, Output, Request, RoleKind};

use super::evidence::Finding;
use super::forwards::{Attaching, Awaits, Due, Forward, Match, Synced};
use super::intake::Work;
use super::rebuild::Rebuilt;
use super::sessions::Owner;
use super::{Core, CoreOutputs};
use crate::feed::{Answer, Completion};
use crate::limits::{EVIDENCE_STATE_BYTES_MAX, LEARNER_BATCHES_MAX};
use crate::link::{ConnId, DropReason, Service, ShardId, Submit, Submits, ToShard};
use crate::peer::{PeerEvent, PeerOrder};

impl Core {
    /// Something happened on a connection to a fellow server.
    pub(super) fn on_peer(&mut self, now: Now, event: PeerEvent) {
        let input = match event {
            PeerEvent::Accepted { link, port } => Input::Accepted { link, port },
            PeerEvent::Connected { link } => Input::Connected { link },
            PeerEvent::Received { link, bytes } => Input::Received { link, bytes },
            PeerEvent::SnapshotSent { link } => Input::SnapshotSent { link },
            PeerEvent::Disconnected { link } => Input::Disconnected { link },
        };
        self.pipeline.tell(now.mono, input);
    }

    /// Carries out what the replica has ordered, and what follows from that.
    pub(super) fn carry_out(&mut self, now: Now, out: &mut CoreOutputs) {
        while let Some(order) = self.pipeline.next_order() {
            match order {
                Output::Append(batch) => self.append(now, batch, out),
                Output::Commit { upto } => self.pipeline.commit(upto),
                Output::RoleChanged(role) => self.on_role(now, role, out),
                Output::SaveEpochs(epochs) => self.pipeline.rebuild.save(epochs),
                Output::TruncateTo { to } => self.truncate(now, to, out),
                Output::SnapshotBegin { at } => {
                    tracing::info!(?at, "receiving the leader's state");
                    let settings = self.config.settings.clone();
                    self.pipeline.rebuild.receive(SnapshotIntake::new(settings));
                }
                Output::SnapshotPiece(piece) => {
                    self.receive(now, |intake| intake.push(&piece));
                }
                Output::SnapshotEnd => {
                    self.receive(now, SnapshotIntake::finish);
                }
                Output::SnapshotReplay(batch) => {
                    self.receive(now, |intake| intake.replay(&batch));
                }
                Output::InstallSnapshot { at } => self.install(now, at, out),
                Output::Exact { at, digest } => {
                    if let Some(theirs) = self.pipeline.head.exact(at, digest) {
                        self.differ(now, at, theirs, None, out);
                    }
                }
                Output::SnapshotAbandoned => {
                    self.pipeline.rebuild.take_intake();
                }
                Output::Listen { open } => out.peers.push(PeerOrder::Listen { open }),
                Output::Dial { link, peer, port, to } => {
                    out.peers.push(PeerOrder::Dial { link, peer, port, to });
                }
                Output::Send { link, bytes } => out.peers.push(PeerOrder::Send { link, bytes }),
                Output::SendSnapshot { link, at } => {
                    if !self.pipeline.send_snapshot(link, at, out) {
                        tracing::warn!(?at, "there is no state to send to a learner");
                        out.peers.push(PeerOrder::Close { link });
                        self.pipeline.tell(now.mono, Input::Disconnected { link });
                    }
                }
                Output::Close { link } => out.peers.push(PeerOrder::Close { link }),
                Output::Forwarded { learner, server: _, request } => {
                    if self.pipeline.orders() && !self.stopping {
                        self.intake.push_back(Work::Forwarded { learner, request });
                        self.execute_intake(now);
                    }
                }
                Output::RevalidateFor { learner, session, timeout_ms } => {
                    self.observed.revalidations += 1;
                    let valid = self.moves_to(now, session, learner, timeout_ms, out);
                    let answer = Input::RevalidatedFor { learner, session, valid };
                    self.pipeline.tell(now.mono, answer);
                }
                Output::Touched { sessions } => {
                    for (session, _) in sessions {
                        self.expiry.touch(session, now.mono);
                    }
                }
                Output::LearnerLost { learner } => {
                    // What it heard from them last is lost with it.
                    for session in self.sessions.lost(learner) {
                        self.expiry.touch(session, now.mono);
                    }
                }
                Output::CollectTouches => {
                    let touches = self.forwards.touches();
                    self.pipeline.tell(now.mono, Input::Touches(touches));
                }
                Output::Synced => match self.forwards.synced() {
                    Ok(Synced::Answers(answers)) => self.note_due(answers),
                    Ok(Synced::Grant(session, Attaching { conn, timeout_ms })) => {
                        self.grant(session, conn, timeout_ms, out);
                    }
                    Err(why) => self.leave(now, why),
                },
                Output::Revalidated { session, valid } => {
                    self.on_revalidated(now, session, valid, out);
                }
                Output::Halt(reason) => self.pipeline.fail(reason),
            }
        }
        self.pipeline.publish();
        let log: &Log = &self.pipeline.log;
        let quiet = log.durable() == log.appended();
        self.pipeline.rebuild.settle(quiet, out);
        // An own snapshot that is being written could take the received one's name.
        // What proves that the own state differs must be kept before that state is gone.
        if !self.retention.is_writing()
            && !self.pipeline.rebuild.keeps_evidence()
            && let Some(at) = self.pipeline.rebuild.resets()
        {
            self.pipeline.log.reset(at, &mut out.disk);
        }
    }

    /// Gives up the present role; whoever leads is to begin anew with this server.
    fn leave(&mut self, now: Now, why: &str) {
        tracing::warn!("leaving the present role: {why}");
        self.pipeline.tell(now.mono, Input::Abdicate);
    }

    // ----- roles -----------------------------------------------------------------------------

    fn on_role(&mut self, now: Now, role: RoleKind, out: &mut CoreOutputs) {
        if role != RoleKind::Standalone {
            tracing::info!(?role, last = ?self.pipeline.head.last(), "role");
        }
        self.pipeline.set_role(role);
        self.dismiss_readers();
        self.leading_since = matches!(role, RoleKind::Leading(_)).then_some(now.mono);
        match role {
            RoleKind::Standalone => {}
            RoleKind::Looking => {
                self.intake.clear();
                self.unborn.clear();
                self.forwards.clear();
                self.sessions.take_over(std::iter::empty());
                self.expiry.clear();
                self.pipeline.drop_speculation();
            }
            RoleKind::Leading(_) => self.take_over_sessions(now),
            RoleKind::Following(..) | RoleKind::Observing(..) => {
                // Ids of sessions that this server gave out are not given out again.
                let tables = self.pipeline.draft().tables();
                self.sessions.take_over(tables.sessions.keys().copied());
                self.sessions.take_over(std::iter::empty());
            }
        }
        self.tell_serving(out);
    }

    /// A position whose state is older than the epoch's start counts as that: it has it.
    pub(super) fn tell_serving(&mut self, out: &mut CoreOutputs) {
        let aloof =
            matches!(self.pipeline.role(), RoleKind::Leading(_)) && !self.config.leader_serves;
        let service = if aloof {
            Service::Nobody
        } else if self.pipeline.is_serving() {
            Service::Everybody
        } else if self.readers.are_served() {
            Service::Readers
        } else {
            Service::Nobody
        };
        let start = self.pipeline.epoch().map_or(Zxid::ZERO, |epoch| Zxid::new(epoch, 0));
        self.floor = self.floor.max(start);
        let upto = self.floor;
        for shard in (0..self.config.shards).map(ShardId) {
            out.to_shards.push((shard, ToShard::Serving { service, upto }));
        }
    }

    /// Every known session gets a full timeout from now: nobody expires because a leader died.
    pub(super) fn take_over_sessions(&mut self, now: Now) {
        let tables = self.pipeline.draft().tables();
        self.sessions.take_over(tables.sessions.keys().copied());
        self.expiry.clear();
        // Clients hear of sessions that are not published yet only later.
        let last = self.pipeline.head.last();
        let unheard = self.pipeline.published() < last;
        for (&session, facts) in &tables.sessions {
            self.expiry.track(session, facts.timeout_ms, now.mono);
            if unheard {
                self.unborn.push_back((last, session, facts.timeout_ms));
            }
        }
        // A state taken over from ZooKeeper may hold ephemerals of sessions that are gone. They
        // go by transaction, so that all servers agree (`zab-wire` 4.10).
        let owners = tables.ephemerals.keys();
        let orphaned: Vec<SessionId> =
            owners.filter(|&owner| !tables.sessions.contains_key(owner)).copied().collect();
        self.intake.extend(orphaned.into_iter().map(Work::Orphaned));
    }

    /// A leader whose disk hangs holds up everybody; another one may be better off.
    pub(super) fn watch_disk(&mut self, now: Now) {
        let limit_ms = self.config.disk_hang_ms;
        let hangs = limit_ms > 0
            && matches!(self.pipeline.role(), RoleKind::Leading(_))
            && self.observed.oldest_write_ms(now.mono) >= limit_ms;
        if hangs {
            self.leave(now, "the log's disk hangs");
        }
    }

    // ----- entries ---------------------------------------------------------------------------

    /// A batch for the log: made here and applied already, or a leader's.
    fn append(&mut self, now: Now, batch: Batch, out: &mut CoreOutputs) {
        if self.pipeline.append_own(&batch, out) {
            return;
        }
        for (zxid, entry) in batch.entries() {
            let Ok((header, txn, digest)) = txn::decode_entry(entry) else {
                return self.distrust(now, zxid, "it cannot be decoded");
            };
            let cxid = Xid(header.cxid);
            let refused = matches!(txn, Txn::Error { .. });
            let kind = (!refused).then(|| txn.type_code());
            let Match { before, request } = self.forwards.entry(header.session, cxid, kind);
            self.note_due(before);
            if request.as_ref().is_some_and(|forward| forward.cut) {
                self.pipeline.cut();
            }
            let outcome = match self.pipeline.apply(&header, &txn, digest) {
                Ok(outcome) => outcome,
                Err(theirs) => return self.differ(now, zxid, theirs, Some(entry), out),
            };
            let completion = self.answer_to(&header, &txn, request, outcome);
            self.pipeline.note_applied(zxid, completion);
            let turn = self.forwards.turn(header.session);
            self.note_due(turn);
        }
        self.pipeline.close_applied(batch.clone());
        self.pipeline.log.append(batch, &mut out.disk);
        if self.pipeline.publication.len() > LEARNER_BATCHES_MAX {
            self.leave(now, "too many batches wait to be committed or published");
        }
    }

    /// Gives answers that no entry makes their place in the order. A read just ahead of one must
    /// run before it.
    fn note_due(&mut self, answers: impl IntoIterator<Item = Due>) {
        for Due { completion, cut } in answers {
            if cut {
                self.pipeline.cut();
            }
            self.pipeline.note(completion);
        }
    }

    /// Whom an applied entry concerns among the clients here.
    fn answer_to(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        request: Option<Forward>,
        outcome: Outcome,
    ) -> Option<Completion> {
        let session = header.session;
        match txn {
            Txn::CreateSession { timeout_ms } => {
                let Forward { conn, .. } = request?;
                self.sessions.attach(session, Owner::Here(conn));
                let password = self.passwords.of(session);
                let timeout_ms = *timeout_ms;
                let answer = Answer::SessionCreated { session, timeout_ms, password };
                Some(Completion { conn, answer })
            }
            Txn::CloseSession { .. } => {
                let attached = self.sessions.remove(session);
                let ended = |conn| Completion { conn, answer: Answer::SessionEnded };
                let Some(request) = request else { return attached.map(ended) };
                // The one that asked may have lost the session to another meanwhile.
                if let Some(conn) = attached.filter(|conn| *conn != request.conn) {
                    self.pipeline.note(ended(conn));
                }
                Some(request.reply(outcome))
            }
            // A session that could not be made.
            Txn::Error { .. } if request.as_ref().is_some_and(Forward::makes_session) => {
                request.map(|f| Completion { conn: f.conn, answer: Answer::SessionEnded })
            }
            Txn::Error { .. }
            | Txn::Create(_)
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Multi(_) => request.map(|request| request.reply(outcome)),
        }
    }

    /// After this entry this server's state is not the leader's: what shows it is kept.
    fn differ(
        &mut self,
        now: Now,
        zxid: Zxid,
        theirs: u64,
        entry: Option<&[u8]>,
        out: &mut CoreOutputs,
    ) {
        self.observed.digest_mismatches += 1;
        let ours = self.pipeline.head.digest();
        tracing::error!(?zxid, ours, theirs, "the digest of the tree differs");
        let found = Finding {
            zxid,
            ours,
            theirs,
            server: self.config.server,
            role: self.pipeline.role(),
            logged: self.pipeline.log.appended(),
            published: self.pipeline.published(),
            wall_ms: now.wall_ms,
            entry,
        };
        let state = self.pipeline.head.version();
        let state = (state.data_bytes() <= EVIDENCE_STATE_BYTES_MAX).then_some(state);
        self.pipeline.rebuild.keep(zxid, found.to_string(), state, out);
        self.distrust(now, zxid, "the state differs from the leader's");
    }

    /// This server's state is not the leader's: it is given up for a snapshot.
    fn distrust(&mut self, now: Now, zxid: Zxid, why: &str) {
        tracing::error!(?zxid, why, "this server synchronizes from nothing");
        self.pipeline.drop_speculation();
        self.pipeline.drop_entries();
        let end = self.pipeline.log.appended();
        self.pipeline.tell(now.mono, Input::Distrust { end });
    }

    fn truncate(&mut self, now: Now, to: Zxid, out: &mut CoreOutputs) {
        if !self.pipeline.publication.reaches_back_to(to) {
            // There is no state to go back to. That the log does not end there has the replica
            // ask for a snapshot, which needs none.
            let end = self.pipeline.log.appended();
            tracing::warn!(?to, ?end, "the state in memory does not go back that far");
            let digest = self.pipeline.digest_at(end);
            return self.pipeline.tell(now.mono, Input::Truncated { end, digest });
        }
        let end = self.pipeline.log.truncate(to, &mut out.disk);
        tracing::info!(?to, ?end, "cutting what the leader does not have");
        // The log refuses to forget what a snapshot holds; the replica is told where it ends.
        if end >= self.pipeline.head.last() {
            return;
        }
        if !self.pipeline.go_back(end) {
            if end == to {
                return self
                    .pipeline
                    .fail(format!("the entries up to {to:?} cannot be read again"));
            }
            // The log lacks the entry, so the replica asks for a snapshot.
            tracing::warn!(?end, "the state in memory does not go back that far");
        }
        for zxid in self.retention.cut(end) {
            let token = self.token();
            out.disk.push(engine::disk::DiskOp::RemoveSnapshot { token, zxid });
        }
    }

    // ----- a received state ------------------------------------------------------------------

    fn receive(
        &mut self,
        now: Now,
        take: impl FnOnce(&mut SnapshotIntake) -> Result<(), StreamFault>,
    ) {
        // Without one, an earlier piece was unreadable, and the role has been left.
        let Some(intake) = self.pipeline.rebuild.intake() else { return };
        if let Err(fault) = take(intake) {
            self.pipeline.rebuild.take_intake();
            self.leave(now, &format!("the leader's state cannot be read: {fault}"));
        }
    }

    fn install(&mut self, now: Now, at: Zxid, out: &mut CoreOutputs) {
        let Some(intake) = self.pipeline.rebuild.take_intake() else {
            return self.leave(now, "there is no received state to install");
        };
        let digest = intake.digest_at(at);
        let version = self.pipeline.go_on_from(intake.into_draft(at), digest);
        tracing::info!(?at, znodes = version.node_count(), "installing the leader's state");
        self.pipeline.rebuild.install(version, out);
    }

    /// A completion of the work on a received state, or on the epochs.
    pub(super) fn on_rebuilt(&mut self, now: Now, rebuilt: Rebuilt, out: &mut CoreOutputs) {
        match rebuilt {
            Rebuilt::Pending => {}
            Rebuilt::Tell(input) => self.pipeline.tell(now.mono, input),
            Rebuilt::Installed(at) => {
                for zxid in self.retention.replaced(at) {
                    let token = self.token();
                    out.disk.push(engine::disk::DiskOp::RemoveSnapshot { token, zxid });
                }
                let digest = self.pipeline.digest_at(at);
                self.pipeline.tell(now.mono, Input::SnapshotInstalled { at, digest });
            }
            Rebuilt::Failed(cause) => self.pipeline.fail(cause),
        }
    }

    // ----- what clients of a learner ask for -------------------------------------------------

    /// Sends writes to the leader, in order, once they are known to be readable.
    pub(super) fn forward(&mut self, now: Now, submits: &Submits) {
        for submit in &submits.list {
            let Submit { conn, session, xid, opcode, ref body, ref identities, cut, received } =
                *submit;
            if self.sessions.owner(session) != Some(Owner::Here(conn)) {
                continue;
            }
            let body = &submits.bytes[body.start as usize..body.end as usize];
            let refusal = self.refusal(opcode, body);
            let awaits = match refusal {
                Some(code) => Awaits::Turn(code),
                None if opcode == OpCode::Sync.code() => {
                    Awaits::Sync { number: self.forwards.number_sync(session) }
                }
                None => Awaits::Entry,
            };
            let forward = Forward { conn, xid, opcode, received, awaits, cut };
            let due = self.forwards.push(session, forward);
            self.note_due(due);
            if refusal.is_none() {
                let auth = identities.iter().map(|id| (id.scheme.clone(), id.id.clone()));
                let request = Request {
                    session,
                    cxid: xid.0,
                    opcode,
                    body: body.to_vec(),
                    auth: auth.collect(),
                };
                self.pipeline.tell(now.mono, Input::Forward(request));
            }
        }
    }

    /// Why a client's request is not sent on: it cannot be read (`zab-wire` F-20), only servers
    /// may ask for it, or there is no space here to log what comes of it.
    fn refusal(&self, opcode: i32, body: &[u8]) -> Option<ErrorCode> {
        if opcode == OpCode::Sync.code() {
            return Reader::new(body).buffer().is_err().then_some(ErrorCode::MarshallingError);
        }
        let closes = match decode_write(opcode, body) {
            Ok(Op::CreateSession { .. } | Op::DeleteContainer { .. }) => {
                return Some(ErrorCode::Unimplemented);
            }
            Ok(op) => op == Op::CloseSession,
            Err(refusal) => return Some(refusal.code()),
        };
        (self.space.refuses_writes() && !closes).then_some(super::requests::NO_SPACE)
    }

    /// Asks the leader for a new session.
    pub(super) fn forward_session(&mut self, now: Now, conn: ConnId, timeout_ms: i32) {
        let tables = self.pipeline.draft().tables();
        let session = self.sessions.allocate(|id| tables.sessions.contains_key(&id));
        let opcode = OpCode::CreateSession.code();
        let forward = Forward {
            conn,
            xid: Xid(0),
            opcode,
            received: now.mono,
            awaits: Awaits::Entry,
            cut: false,
        };
        self.forwards.push(session, forward);
        let body = timeout_ms.to_be_bytes().to_vec();
        let request = Request { session, cxid: 0, opcode, body, auth: Vec::new() };
        self.pipeline.tell(now.mono, Input::Forward(request));
    }

    /// Asks the leader whether a session that a client says it has is alive.
    pub(super) fn ask_leader(
        &mut self,
        now: Now,
        session: SessionId,
        attaching: Attaching,
        out: &mut CoreOutputs,
    ) {
        let timeout_ms = attaching.timeout_ms;
        if let Some(conn) = self.forwards.attach(session, attaching) {
            let why = DropReason::Reattached;
            out.to_shards.push((conn.shard, ToShard::Drop { conn, why }));
        }
        self.pipeline.tell(now.mono, Input::Revalidate { session, timeout_ms });
    }

    /// Entries of the session's requests at another server may still be on their way, and clients
    /// that count their requests anew on every connection would be answered by them. So the
    /// session is given away once everything ordered so far is here: a sync tells.
    fn on_revalidated(&mut self, now: Now, session: SessionId, valid: bool, out: &mut CoreOutputs) {
        let Some(Attaching { conn, timeout_ms }) = self.forwards.revalidated(session) else {
            return;
        };
        if valid {
            self.forwards.grant_when_synced(session, Attaching { conn, timeout_ms });
            let opcode = OpCode::Sync.code();
            let mut body = Vec::new();
            Writer::new(&mut body).bytes(b"/");
            let request = Request { session, cxid: 0, opcode, body, auth: Vec::new() };
            self.pipeline.tell(now.mono, Input::Forward(request));
        } else {
            out.to_shards.push((conn.shard, ToShard::Refused { conn }));
        }
    }

    // ----- what learners ask a leader for ----------------------------------------------------

    /// A session moves to a learner. True if it is alive.
    fn moves_to(
        &mut self,
        now: Now,
        session: SessionId,
        learner: LinkId,
        timeout_ms: i32,
        out: &mut CoreOutputs,
    ) -> bool {
        if self.sessions.owner(session).is_none() {
            return false;
        }
        if let Some(conn) = self.sessions.kick(session, None) {
            let why = DropReason::Reattached;
            out.to_shards.push((conn.shard, ToShard::Drop { conn, why }));
        }
        self.sessions.attach(session, Owner::Learner(learner));
        self.expiry.track(session, timeout_ms, now.mono);
        true
    }

    /// Executes a request of a learner's client. Every one is answered by an entry, or (sync) by
    /// a packet: the learner waits for it. False if it has to wait.
    pub(super) fn execute_forwarded(
        &mut self,
        now: Now,
        learner: LinkId,
        request: &Request,
    ) -> bool {
        let Request { session, cxid, opcode, ref body, ref auth } = *request;
        if opcode == OpCode::Sync.code() {
            if !self.pipeline.flush(now) {
                return false;
            }
            self.pipeline.tell(now.mono, Input::SyncReached { learner });
            return true;
        }
        let op = match decode_write(opcode, body) {
            _ if opcode == OpCode::CreateSession.code() => match Reader::new(body).int() {
                Ok(timeout_ms) => Op::CreateSession { timeout_ms },
                Err(_) => Op::Refused(ErrorCode::MarshallingError),
            },
            Ok(Op::DeleteContainer { .. }) => Op::Refused(ErrorCode::Unimplemented),
            Ok(op) => op,
            Err(refusal) => Op::Refused(refusal.code()),
        };
        let owner = Owner::Learner(learner);
        let op = match (self.sessions.owner(session), op) {
            (None, Op::CreateSession { timeout_ms }) => {
                if self.space.is_exhausted() || self.sessions.len() >= self.config.sessions_max {
                    Op::Refused(ErrorCode::SystemError)
                } else {
                    Op::CreateSession { timeout_ms: self.negotiated(timeout_ms) }
                }
            }
            (Some(_), Op::CreateSession { .. }) => Op::Refused(ErrorCode::SystemError),
            (None, _) => Op::Refused(ErrorCode::SessionExpired),
            (Some(other), _) if other != owner && other != Owner::Nobody => {
                Op::Refused(ErrorCode::SessionMoved)
            }
            (Some(_), op) if self.space.refuses_writes() && op != Op::CloseSession => {
                Op::Refused(super::requests::NO_SPACE)
            }
            (Some(_), op) => op,
        };
        let identities: Arc<[AuthId]> = auth
            .iter()
            .map(|(scheme, id)| AuthId { scheme: scheme.clone(), id: id.clone() })
            .collect();
        let who = Caller { session, identities };
        self.pipeline.write(now, &op, &who, cxid, |_| None);
        if let Op::CreateSession { timeout_ms } = op {
            self.sessions.attach(session, owner);
            self.unborn.push_back((self.pipeline.head.last(), session, timeout_ms));
        } else if op == Op::CloseSession {
            self.sessions.remove(session);
            self.expiry.remove(session);
        } else if !matches!(op, Op::Refused(_)) {
            self.sessions.attach(session, owner);
        }
        true
    }
}
