//! Leading: agree on an epoch, bring a quorum to the own history, then broadcast
//! (`zab-wire` 2.4 to 2.7, 3.1).
//!
//! Differences from ZooKeeper's leader that no peer can object to: a learner gets live proposals
//! only after it acknowledged the history, together with UPTODATE and in one step with what it
//! missed (this spares old followers the commits that crash them, F-08); acknowledgements of
//! proposals that overtake the one of NEWLEADER are tolerated (F-09).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;

use model::{Batch, Epoch, Mono, ServerId, Zxid};
use tracing::{info, warn};

use crate::body::{Body, Plant, send};
use crate::history::SyncPlan;
use crate::input::{Epochs, Input, Request};
use crate::membership::Membership;
use crate::output::{LinkId, Output, Port, RoleKind};
use crate::progress::{Progress, Stage};
use crate::role::looking::Looking;
use crate::role::telling::{Form, encode_commits, send_entries};
use crate::role::{Broken, ENDED, OWN_WISH, Role};
use crate::standing::{Activity, Learners};
use crate::timers::Timer;
use crate::wire::handshake::{LearnerCard, WireOptions};
use crate::wire::packet::{Packet, leader_info};
use crate::wire::request::{RequestRecord, RevalidateRecord};

/// Learner connections at once.
const LEARNERS_MAX: usize = 1024;
/// Syncs that may wait for commits.
const SYNCS_MAX: usize = 1 << 20;

/// Elected, perhaps not established.
#[derive(Debug)]
pub(crate) struct Leading {
    phase: Phase,
    /// The epoch once decided; before that the least that could be.
    epoch: Epoch,
    learners: BTreeMap<LinkId, Progress>,
    /// Voters that introduced themselves.
    connecting: BTreeSet<ServerId>,
    /// Voters that promised the epoch.
    promised: BTreeSet<ServerId>,
    /// Voters that have this leader's history.
    synced: BTreeSet<ServerId>,
    /// Last proposal; the epoch's start if there is none.
    proposed: Zxid,
    /// A quorum has everything up to here.
    agreed: Zxid,
    /// Last proposal each follower acknowledged on its current connection.
    acked: BTreeMap<ServerId, Zxid>,
    /// Syncs of learners and what they wait for.
    syncs: VecDeque<(LinkId, Zxid)>,
    /// A voter has promised a later epoch, to a leader that came to nothing: it can only come back
    /// with an epoch above that (`zab-wire` F-25).
    outbid: bool,
    /// Every second half tick is a tick.
    full_tick: bool,
}

/// How far this leadership is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    ChoosingEpoch,
    /// The epoch is chosen; the own promise is on its way to the disk.
    SavingPromise,
    CollectingPromises,
    /// A quorum promised; the own current epoch is on its way to the disk.
    SavingEpoch,
    Synchronizing,
    Broadcasting,
}

/// What a learner says first.
#[derive(Clone, Copy, Debug)]
struct Introduction {
    accepted: Epoch,
    info: LearnerCard,
    observer: bool,
}

impl Leading {
    pub(crate) fn enter(body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        out.push(Output::Listen { open: true });
        body.timers.set(Timer::Barrier, now + body.init_limit());
        body.timers.set(Timer::HalfTick, now + body.ticks(1) / 2);
        let mut role = Box::new(Leading {
            phase: Phase::ChoosingEpoch,
            epoch: Epoch(body.epochs.accepted.0 + 1),
            learners: BTreeMap::new(),
            connecting: BTreeSet::from([body.me()]),
            promised: BTreeSet::new(),
            synced: BTreeSet::new(),
            proposed: Zxid::ZERO,
            agreed: Zxid::ZERO,
            acked: BTreeMap::new(),
            syncs: VecDeque::new(),
            outbid: false,
            full_tick: false,
        });
        role.choose_epoch(body, now, out);
        Role::Leading(role)
    }

    /// How far this leadership is.
    pub(crate) fn activity(&self) -> Activity {
        match self.phase {
            Phase::ChoosingEpoch
            | Phase::SavingPromise
            | Phase::CollectingPromises
            | Phase::SavingEpoch => Activity::Discovering,
            Phase::Synchronizing => Activity::Synchronizing,
            Phase::Broadcasting => Activity::Broadcasting,
        }
    }

    /// Who learns from this server.
    pub(crate) fn learners(&self, members: &Membership) -> Learners {
        let mut all = Learners { connected: self.learners.len(), ..Learners::default() };
        for progress in self.learners.values().filter(|p| p.stage == Stage::Active) {
            let votes = progress.server.is_some_and(|id| members.is_voter(id));
            if progress.observer {
                all.observers += 1;
            } else {
                all.followers += 1;
                all.without_vote += usize::from(!votes);
            }
        }
        all.syncs = self.syncs.len();
        all
    }

    /// Observers that get everything as it happens, by number; some of ZooKeeper's say none.
    pub(crate) fn observers(&self) -> Vec<ServerId> {
        let active = self.learners.values().filter(|p| p.stage == Stage::Active && p.observer);
        let mut ids: Vec<ServerId> = active.filter_map(|progress| progress.server).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn on_input(
        mut self: Box<Self>,
        body: &mut Body,
        now: Mono,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Role {
        match input {
            Input::Accepted { link, port: Port::Quorum } if self.learners.len() < LEARNERS_MAX => {
                self.learners.insert(link, Progress::new(now + body.init_limit()));
            }
            Input::Accepted { link, .. } | Input::Connected { link } => {
                out.push(Output::Close { link });
            }
            Input::Received { link, bytes } => {
                self.on_received(link, &bytes, body, now, out);
                if self.outbid {
                    let why = "a voter has promised a later epoch";
                    return self.leave(why, body, now, out);
                }
            }
            Input::Disconnected { link } => self.forget(link, ENDED, out),
            Input::EpochsSaved(_) if body.saving.is_none() => match self.phase {
                Phase::SavingPromise => self.announce_epoch(body, now, out),
                Phase::SavingEpoch => self.synchronize(body, now, out),
                Phase::ChoosingEpoch
                | Phase::CollectingPromises
                | Phase::Synchronizing
                | Phase::Broadcasting => {}
            },
            Input::SnapshotSent { link } => {
                if let Some(progress) = self.learners.get_mut(&link) {
                    progress.deadline = Some(now + body.init_limit());
                }
            }
            Input::Propose(batch) => {
                if !self.propose(batch, body, now, out) {
                    return self.leave("the epoch is used up", body, now, out);
                }
            }
            Input::Appended { .. } => self.commit(body, out),
            Input::SyncReached { learner } => {
                if self.learners.contains_key(&learner) && self.syncs.len() < SYNCS_MAX {
                    self.syncs.push_back((learner, self.proposed));
                    self.answer_syncs(out);
                }
            }
            Input::RevalidatedFor { learner, session, valid } => {
                if self.learners.contains_key(&learner) {
                    let answer = RevalidateRecord::Answer { session, valid };
                    send(learner, &Packet::Revalidate(answer), out);
                }
            }
            Input::Abdicate | Input::Distrust { .. } => {
                return self.leave(OWN_WISH, body, now, out);
            }
            Input::Tick
            | Input::EpochsSaved(_)
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_) => {}
        }
        Role::Leading(self)
    }

    pub(crate) fn on_timer(
        mut self: Box<Self>,
        body: &mut Body,
        now: Mono,
        timer: Timer,
        out: &mut Vec<Output>,
    ) -> Role {
        match timer {
            Timer::Barrier => {
                let why = format!("no quorum within initLimit for {:?}", self.phase);
                self.leave(why, body, now, out)
            }
            Timer::HalfTick => {
                if self.half_tick(body, now, out) {
                    Role::Leading(self)
                } else {
                    self.leave("no quorum is connected any more", body, now, out)
                }
            }
            Timer::Notify
            | Timer::Finalize
            | Timer::Redial
            | Timer::ReadLimit
            | Timer::LinkSetup => Role::Leading(self),
        }
    }

    /// Leadership is over: nothing may come from it any more.
    #[allow(clippy::boxed_local)]
    fn leave(
        self: Box<Self>,
        why: impl Display,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        warn!(epoch = ?self.epoch, "leadership ends: {why}");
        for link in self.learners.into_keys() {
            out.push(Output::Close { link });
        }
        out.push(Output::Listen { open: false });
        Looking::enter(body, now, out)
    }

    // ----- the learners' connections ---------------------------------------------------------

    fn on_received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) {
        let Some(progress) = self.learners.get_mut(&link) else { return };
        if progress.stage == Stage::Active {
            progress.deadline = Some(now + body.sync_limit());
        }
        let mut packets = std::mem::take(&mut progress.packets);
        packets.push(bytes);
        let result = loop {
            match packets.next(body.config.data_bytes_max) {
                Ok(None) => break Ok(()),
                Ok(Some(packet)) => {
                    if let Err(broken) = self.on_packet(link, packet, body, now, out) {
                        break Err(broken);
                    }
                }
                Err(error) => break Err(Broken::Wire(error)),
            }
        };
        match (result, self.learners.get_mut(&link)) {
            (Ok(()), Some(progress)) => progress.packets = packets,
            (Ok(()), None) => {}
            (Err(broken), _) => self.drop_learner(link, broken, out),
        }
        // Acknowledgements come in runs: one look at the quorum serves the whole run.
        self.commit(body, out);
    }

    fn on_packet(
        &mut self,
        link: LinkId,
        packet: Packet<'_>,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Result<(), Broken> {
        let stage = self.learners.get(&link).map(|progress| progress.stage);
        let stage = stage.ok_or(Broken::Unexpected("the connection was replaced"))?;
        let serves = stage == Stage::Active;
        match packet {
            Packet::FollowerInfo { zxid, learner } if stage == Stage::Greeting => {
                let accepted = zxid.epoch();
                let hello = Introduction { accepted, info: learner, observer: false };
                self.on_introduction(link, &hello, body, now, out)
            }
            Packet::ObserverInfo { zxid, learner } if stage == Stage::Greeting => {
                let accepted = zxid.epoch();
                let hello = Introduction { accepted, info: learner, observer: true };
                self.on_introduction(link, &hello, body, now, out)
            }
            Packet::AckEpoch { zxid, epoch } if stage == Stage::Promising => {
                self.on_promise(link, zxid, epoch, body, now, out)
            }
            Packet::Ack { zxid } if stage >= Stage::Syncing => {
                self.on_ack(link, zxid, body, now, out);
                Ok(())
            }
            Packet::Ping { touches, .. } => {
                let sessions: Vec<_> =
                    touches.iter().flat_map(super::super::wire::request::Touches::iter).collect();
                if serves && !sessions.is_empty() {
                    out.push(Output::Touched { sessions });
                }
                Ok(())
            }
            Packet::Request { record, auth } if serves => {
                let RequestRecord { session, cxid, opcode, body } = record;
                let auth = auth.iter().flat_map(super::super::wire::request::Identities::iter);
                let auth = auth.map(|(scheme, id)| (scheme.to_vec(), id.to_vec())).collect();
                let request = Request { session, cxid, opcode, body: body.to_vec(), auth };
                let server = self.learners.get(&link).and_then(|progress| progress.server);
                out.push(Output::Forwarded { learner: link, server, request });
                Ok(())
            }
            Packet::Revalidate(RevalidateRecord::Question { session, timeout_ms }) if serves => {
                out.push(Output::RevalidateFor { learner: link, session, timeout_ms });
                Ok(())
            }
            Packet::FollowerInfo { .. }
            | Packet::ObserverInfo { .. }
            | Packet::AckEpoch { .. }
            | Packet::Ack { .. }
            | Packet::Request { .. }
            | Packet::Revalidate(_)
            | Packet::Proposal { .. }
            | Packet::Commit { .. }
            | Packet::Sync
            | Packet::Inform { .. }
            | Packet::CommitAndActivate { .. }
            | Packet::NewLeader { .. }
            | Packet::UpToDate
            | Packet::UpToDateAt { .. }
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. }
            | Packet::LeaderInfo { .. }
            | Packet::InformAndActivate { .. } => Err(Broken::Unexpected("out of turn")),
        }
    }

    fn drop_learner(&mut self, link: LinkId, why: impl Display, out: &mut Vec<Output>) {
        out.push(Output::Close { link });
        self.forget(link, why, out);
    }

    /// A learner's connection is gone. What it acknowledged there counts no longer, because it may
    /// be told to truncate when it comes back.
    fn forget(&mut self, link: LinkId, why: impl Display, out: &mut Vec<Output>) {
        let Some(progress) = self.learners.remove(&link) else { return };
        let server = progress.server.map(|id| id.0);
        warn!(server, stage = ?progress.stage, "learner lost: {why}");
        if let Some(server) = progress.server {
            self.acked.remove(&server);
        }
        if progress.stage == Stage::Active {
            out.push(Output::LearnerLost { learner: link });
        }
    }

    // ----- discovery -------------------------------------------------------------------------

    fn on_introduction(
        &mut self,
        link: LinkId,
        hello: &Introduction,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Result<(), Broken> {
        let Introduction { accepted, info, observer } = *hello;
        if info.config_version > body.config.members.version() {
            return Err(Broken::Unexpected("the learner has a later configuration"));
        }
        let server = u8::try_from(info.server).ok().map(ServerId);
        let same = |(_, old): &(&LinkId, &Progress)| old.server.is_some() && old.server == server;
        if let Some(older) = self.learners.iter().find(same).map(|(link, _)| *link) {
            self.drop_learner(older, "it has connected again", out);
        }
        let Some(progress) = self.learners.get_mut(&link) else { return Ok(()) };
        progress.server = server;
        progress.observer = observer;
        progress.options = info.options.both(body.config.wire_options);
        progress.stage = Stage::AwaitingEpoch;
        progress.deadline = None;
        if self.phase == Phase::ChoosingEpoch {
            self.epoch = self.epoch.max(Epoch(accepted.0.saturating_add(1)));
            if let Some(id) = server.filter(|id| body.config.members.is_voter(*id)) {
                self.connecting.insert(id);
            }
            self.choose_epoch(body, now, out);
        } else if self.phase >= Phase::CollectingPromises {
            let voter = server.is_some_and(|id| body.config.members.is_voter(id));
            self.outbid |= voter && self.phase == Phase::Broadcasting && accepted > self.epoch;
            self.tell_epoch(link, body, now, out);
        }
        Ok(())
    }

    /// Settles on an epoch above everything a quorum has accepted, and promises it.
    fn choose_epoch(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        if body.config.members.quorum().holds(|id| self.connecting.contains(&id)) {
            self.phase = Phase::SavingPromise;
            let current = body.epochs.current;
            body.save_epochs(Epochs { accepted: self.epoch, current }, out);
            if body.planted(Plant::EpochNotSaved) {
                self.announce_epoch(body, now, out);
            }
        }
    }

    fn announce_epoch(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        self.phase = Phase::CollectingPromises;
        self.proposed = Zxid::new(self.epoch, 0);
        body.timers.set(Timer::Barrier, now + body.init_limit());
        let waiting = self.learners.iter().filter(|(_, p)| p.stage == Stage::AwaitingEpoch);
        for link in waiting.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.tell_epoch(link, body, now, out);
        }
        self.promised.insert(body.me());
        self.count_promises(body, now, out);
    }

    fn tell_epoch(&mut self, link: LinkId, body: &Body, now: Mono, out: &mut Vec<Output>) {
        let Some(progress) = self.learners.get_mut(&link) else { return };
        progress.stage = Stage::Promising;
        progress.deadline = Some(now + body.init_limit());
        send(link, &leader_info(self.epoch, progress.options), out);
    }

    /// A learner promised the epoch, or (`-1`) had done so before, which does not count.
    fn on_promise(
        &mut self,
        link: LinkId,
        position: Zxid,
        current: i32,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Result<(), Broken> {
        let Some(progress) = self.learners.get_mut(&link) else { return Ok(()) };
        progress.position = position;
        progress.stage = Stage::Promised;
        progress.deadline = None;
        let server = progress.server.filter(|id| body.config.members.is_voter(*id));
        if self.phase == Phase::CollectingPromises && current != -1 {
            let own = (i64::from(body.epochs.current.0), body.history.durable());
            if (i64::from(current), position) > own {
                return Err(Broken::Unexpected("the learner is ahead of its leader"));
            }
            if let Some(id) = server.filter(|_| position != Zxid(-1)) {
                self.promised.insert(id);
                self.count_promises(body, now, out);
            }
        } else if self.phase >= Phase::Synchronizing {
            self.send_history(link, body, now, out);
        }
        Ok(())
    }

    /// With a quorum of promises no older leader can get anything done any more.
    fn count_promises(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        if body.config.members.quorum().holds(|id| self.promised.contains(&id)) {
            self.phase = Phase::SavingEpoch;
            body.save_epochs(Epochs { accepted: self.epoch, current: self.epoch }, out);
            if body.planted(Plant::EpochNotSaved) {
                self.synchronize(body, now, out);
            }
        }
    }

    // ----- synchronization -------------------------------------------------------------------

    /// The own history becomes the epoch's first history.
    fn synchronize(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        self.phase = Phase::Synchronizing;
        self.agreed = body.history.appended();
        body.timers.set(Timer::Barrier, now + body.init_limit());
        let waiting = self.learners.iter().filter(|(_, p)| p.stage == Stage::Promised);
        for link in waiting.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.send_history(link, body, now, out);
        }
        self.synced.insert(body.me());
        self.count_synced(body, now, out);
    }

    /// Brings a learner to what is agreed, and asks it to acknowledge that.
    fn send_history(&mut self, link: LinkId, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        let Some(progress) = self.learners.get_mut(&link) else { return };
        progress.stage = Stage::Syncing;
        progress.deadline = Some(now + body.init_limit());
        progress.sent = self.agreed;
        let server = progress.server.map(|id| id.0);
        let epoch_start = Zxid::new(self.epoch, 0);
        let last = match self.phase {
            Phase::Broadcasting => self.agreed.max(epoch_start),
            _ => self.agreed,
        };
        let force = body.config.force_snapshot;
        let after = match body.history.plan(progress.position, self.agreed, last, force) {
            SyncPlan::Diff { announce, after } => {
                body.counts.diffs_sent += 1;
                info!(
                    server, position = ?progress.position, ?after, upto = ?announce,
                    "sends history by DIFF"
                );
                send(link, &Packet::Diff { zxid: announce }, out);
                after
            }
            SyncPlan::Trunc { to } => {
                body.counts.diffs_sent += 1;
                info!(
                    server, position = ?progress.position, ?to, upto = ?last,
                    "sends history by TRUNC"
                );
                send(link, &Packet::Trunc { zxid: to }, out);
                to
            }
            SyncPlan::Snap => {
                let at = match self.phase {
                    Phase::Broadcasting => body.history.committed_batch(),
                    _ => self.agreed,
                };
                body.counts.snapshots_sent += 1;
                info!(
                    server, position = ?progress.position, ?at, upto = ?last,
                    "sends history by SNAP"
                );
                send(link, &Packet::Snap { zxid: at }, out);
                progress.deadline = None;
                out.push(Output::SendSnapshot { link, at });
                at
            }
        };
        let form = Form::ProposeAndCommit { runs: progress.options.has(WireOptions::RUNS) };
        send_entries(link, body, after, self.agreed, form, out);
        let config = Some(body.config_text().as_bytes());
        send(link, &Packet::NewLeader { zxid: epoch_start, config }, out);
    }

    fn on_ack(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) {
        let Some(progress) = self.learners.get_mut(&link) else { return };
        let server = progress.server.filter(|id| body.config.members.is_voter(*id));
        if zxid == Zxid::new(self.epoch, 0) {
            if progress.stage != Stage::Syncing {
                // The one that follows UPTODATE.
                return;
            }
            progress.stage = Stage::Synced;
            progress.deadline = None;
            if self.phase == Phase::Broadcasting {
                self.activate(link, body, now, out);
            } else if let Some(id) = server {
                self.synced.insert(id);
                self.count_synced(body, now, out);
            }
        } else if zxid.epoch() == self.epoch && zxid <= self.proposed && !progress.observer {
            progress.acknowledged(zxid, self.proposed, now);
            if let Some(id) = server {
                let acked = self.acked.entry(id).or_default();
                *acked = zxid.max(*acked);
            }
        }
    }

    /// With a quorum that has this history durably, it is committed and the leader established.
    fn count_synced(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        if !body.config.members.quorum().holds(|id| self.synced.contains(&id)) {
            return;
        }
        self.phase = Phase::Broadcasting;
        body.timers.stop(Timer::Barrier);
        body.vote.peer_epoch = i64::from(self.epoch.0);
        if self.agreed < body.history.committed() {
            let committed = body.history.committed();
            out.push(Output::Halt(format!("committed {committed:?} is missing in the own log")));
        }
        body.commit(self.agreed, out);
        body.announce(RoleKind::Leading(self.epoch), out);
        let synced = self.learners.iter().filter(|(_, p)| p.stage == Stage::Synced);
        for link in synced.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.activate(link, body, now, out);
        }
    }

    /// A learner with the history joins the broadcast: what was committed meanwhile, UPTODATE,
    /// what is proposed and not committed, all in one step.
    fn activate(&mut self, link: LinkId, body: &Body, now: Mono, out: &mut Vec<Output>) {
        let Some(progress) = self.learners.get_mut(&link) else { return };
        if !body.history.reaches_back_to(progress.sent) {
            return self.drop_learner(link, "what it lacks is not in memory any more", out);
        }
        let epoch_start = Zxid::new(self.epoch, 0);
        progress.stage = Stage::Active;
        progress.deadline = Some(now + body.sync_limit());
        let runs = progress.options.has(WireOptions::RUNS);
        let form = if progress.observer { Form::Inform } else { Form::ProposeAndCommit { runs } };
        send_entries(link, body, progress.sent, self.agreed, form, out);
        let digest = body.history.digest_at(self.agreed);
        let digest = digest.filter(|_| progress.options.has(WireOptions::DIGEST));
        let up_to_date = digest.map(|digest| Packet::UpToDateAt { at: self.agreed, digest });
        send(link, &up_to_date.unwrap_or(Packet::UpToDate), out);
        if !progress.observer {
            send_entries(link, body, self.agreed, self.proposed, Form::Propose, out);
            let first_open = self.agreed.max(epoch_start).next();
            if first_open <= self.proposed {
                progress.proposed(first_open, now);
            }
        }
    }

    // ----- broadcast -------------------------------------------------------------------------

    /// False if leadership must end because the epoch has no zxid left.
    fn propose(&mut self, batch: Batch, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> bool {
        if self.phase != Phase::Broadcasting || batch.first().epoch() != self.epoch {
            // Made for an earlier leadership.
            return true;
        }
        assert_eq!(batch.first(), self.proposed.next(), "proposals continue the order");
        self.proposed = batch.last();
        if self.learners.values().any(Progress::is_active_follower) {
            let mut bytes = Vec::with_capacity(batch.bytes().len() + batch.count() * 20);
            for (zxid, entry) in batch.entries() {
                Packet::Proposal { zxid, entry }.encode(&mut bytes);
            }
            self.to_followers(&bytes.into(), out);
        }
        for progress in self.learners.values_mut().filter(|p| p.is_active_follower()) {
            progress.proposed(batch.first(), now);
        }
        body.append(batch, out);
        self.proposed.counter() < Zxid::COUNTER_MAX - 1
    }

    fn to_followers(&self, bytes: &crate::output::Bytes, out: &mut Vec<Output>) {
        for (link, _) in self.learners.iter().filter(|(_, p)| p.is_active_follower()) {
            out.push(Output::Send { link: *link, bytes: bytes.clone() });
        }
    }

    /// Commits what a quorum has, and reports what is durable here of that.
    fn commit(&mut self, body: &mut Body, out: &mut Vec<Output>) {
        if self.phase != Phase::Broadcasting {
            return;
        }
        let me = body.me();
        let durable = body.history.durable();
        let reached =
            |id| if id == me { durable } else { self.acked.get(&id).copied().unwrap_or_default() };
        let mut reached = body.config.members.quorum().reached(reached);
        if body.planted(Plant::CommitWithoutQuorum) {
            reached = durable;
        }
        if reached.epoch() == self.epoch && reached > self.agreed {
            let from = self.agreed;
            self.agreed = reached;
            self.tell_commits(from, body, out);
        }
        body.commit(self.agreed, out);
        self.answer_syncs(out);
    }

    fn tell_commits(&self, after: Zxid, body: &Body, out: &mut Vec<Output>) {
        let start = after.max(Zxid::new(self.epoch, 0));
        // Made once for all who are told in the same way.
        let mut made: [Option<crate::output::Bytes>; 2] = [None, None];
        for (link, progress) in self.learners.iter().filter(|(_, p)| p.is_active_follower()) {
            let runs = progress.options.has(WireOptions::RUNS);
            let mut upto = self.agreed;
            if runs && body.planted(Plant::CommitRunTooFar) {
                upto = upto.next().min(self.proposed);
            }
            let bytes = made[usize::from(runs)]
                .get_or_insert_with(|| encode_commits(start, upto, runs).into());
            out.push(Output::Send { link: *link, bytes: bytes.clone() });
        }
        let observes = |p: &Progress| p.observer && p.stage == Stage::Active;
        for (link, _) in self.learners.iter().filter(|(_, p)| observes(p)) {
            send_entries(*link, body, after, self.agreed, Form::Inform, out);
        }
    }

    /// Syncs whose predecessors are committed.
    fn answer_syncs(&mut self, out: &mut Vec<Output>) {
        let reached = self.agreed.max(Zxid::new(self.epoch, 0));
        while let Some((link, _)) = self.syncs.front().filter(|(_, after)| *after <= reached) {
            if self.learners.contains_key(link) {
                send(*link, &Packet::Sync, out);
            }
            self.syncs.pop_front();
        }
    }

    /// Heartbeats, and whoever is silent for too long. False if no quorum is left.
    fn half_tick(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> bool {
        body.timers.set(Timer::HalfTick, now + body.ticks(1) / 2);
        self.full_tick = !self.full_tick;
        let sync_limit = body.sync_limit();
        let late = self.learners.iter().filter(|(_, p)| p.is_late(now, sync_limit));
        for link in late.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.drop_learner(link, "it is late", out);
        }
        if self.phase == Phase::Broadcasting && self.full_tick {
            let connected = |id| self.learners.values().any(|p| p.server == Some(id));
            if !body.config.members.quorum().holds(|id| id == body.me() || connected(id)) {
                return false;
            }
        }
        let ping = Packet::Ping { zxid: self.proposed, touches: None };
        let ping: crate::output::Bytes = ping.to_bytes().into();
        for (link, _) in self.learners.iter().filter(|(_, p)| p.stage >= Stage::Synced) {
            out.push(Output::Send { link: *link, bytes: ping.clone() });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::ReplicaConfig;
    use crate::input::Durable;

    /// The last zxid of an epoch is never used: leadership ends before (`zab-wire` F-21).
    #[test]
    fn epoch_without_zxids_ends() {
        let members = Membership::parse("server.1=a:1:2").expect("valid");
        let config = ReplicaConfig::new(ServerId(1), members);
        let mut body = Body::new(config, Durable { trusted: true, ..Durable::default() });
        let mut out = Vec::new();
        let Role::Leading(mut role) = Leading::enter(&mut body, Mono(0), &mut out) else {
            panic!("it leads")
        };
        role.announce_epoch(&mut body, Mono(0), &mut out);
        role.synchronize(&mut body, Mono(0), &mut out);
        assert_eq!(role.phase, Phase::Broadcasting);
        let mut propose = |counter| {
            let zxid = Zxid::new(Epoch(1), counter);
            role.proposed = Zxid(zxid.0 - 1);
            role.propose(Batch::new(zxid, [0; 1], [1; 1]), &mut body, Mono(0), &mut out)
        };
        assert!(propose(1));
        assert!(propose(Zxid::COUNTER_MAX - 2));
        assert!(!propose(Zxid::COUNTER_MAX - 1));
    }
}
