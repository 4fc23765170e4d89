//! Searching for a leader: fast leader election (`zab-wire` 1.6 to 1.9).

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Mono, ServerId, Zxid};

use crate::body::Body;
use crate::election::{NOBODY, Tally, Vote};
use crate::input::Input;
use crate::mesh::Heard;
use crate::output::{Output, RoleKind};
use crate::role::Role;
use crate::role::discovering::Discovering;
use crate::role::leading::Leading;
use crate::timers::Timer;
use crate::wire::election::{NOTIFICATION_VERSION, PeerState};

/// First pause before voters that are waited for and whose connection ended are asked again; each
/// is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Electing.
#[derive(Debug)]
pub(crate) struct Looking {
    /// `None` while disk work of the earlier role is under way: the own position is not known
    /// before (`zab-wire` F-13).
    ballot: Option<Ballot>,
}

#[derive(Debug)]
struct Ballot {
    initial: Vote,
    proposal: Vote,
    /// Votes of this round.
    received: Tally,
    /// Votes of servers that follow or lead, of any round.
    outside: Tally,
    interval: Duration,
    /// The proposal has a quorum; a better vote may still come.
    finalizing: bool,
    /// Until those without a vote and without a connection are asked again.
    pause: Duration,
    /// Were told the proposal in answer to a worse vote.
    answered: BTreeSet<ServerId>,
}

impl Looking {
    /// Starts to search. The caller has ended what it did before.
    pub(crate) fn enter(body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        body.timers.stop_role();
        body.counts.searches += 1;
        body.searching_since = now;
        body.announce(RoleKind::Looking, out);
        Looking { ballot: None }.start(body, now, out)
    }

    /// Opens the ballot if the disk is quiet.
    fn start(self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        if body.is_unsettled() {
            return Role::Looking(self);
        }
        body.clock += 1;
        let me = i64::from(body.me().0);
        let epoch = i64::from(body.epochs.current.0);
        let (leader, zxid, peer_epoch) = if body.config.members.is_observer(body.me()) {
            (NOBODY, Zxid(i64::MIN), i64::MIN)
        } else if body.is_voter() && body.trusted {
            (me, body.end(), epoch)
        } else {
            // A voter that must not lead still votes, for whoever has all that it acknowledged:
            // else two servers that give up their states at once could never come back to a third.
            (NOBODY, body.end(), epoch)
        };
        let state = PeerState::Looking;
        let version = NOTIFICATION_VERSION;
        let initial = Vote { leader, zxid, round: body.clock, peer_epoch, state, version };
        body.vote = Vote { leader: me, zxid: body.position(), peer_epoch: epoch, ..initial };
        let interval = Duration::from_millis(body.config.notify_ms_min);
        let ballot = Ballot {
            initial,
            proposal: initial,
            received: Tally::default(),
            outside: Tally::default(),
            interval,
            finalizing: false,
            pause: PAUSE_MIN,
            answered: BTreeSet::new(),
        };
        body.timers.set(Timer::Notify, now + interval);
        ballot.broadcast(body, now, out);
        ballot.weigh(body, now, out)
    }

    pub(crate) fn on_input(
        self,
        body: &mut Body,
        now: Mono,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Role {
        match input {
            Input::Tick
            | Input::Appended { .. }
            | Input::EpochsSaved(_)
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::Distrust { .. }
                if self.ballot.is_none() =>
            {
                self.start(body, now, out)
            }
            Input::Connected { link } | Input::Accepted { link, .. } => {
                // A quorum connection of an earlier role.
                out.push(Output::Close { link });
                Role::Looking(self)
            }
            Input::Tick
            | Input::Propose(_)
            | Input::Appended { .. }
            | Input::EpochsSaved(_)
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_)
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. }
            | Input::Distrust { .. }
            | Input::Abdicate => Role::Looking(self),
        }
    }

    pub(crate) fn on_timer(
        self,
        body: &mut Body,
        now: Mono,
        timer: Timer,
        out: &mut Vec<Output>,
    ) -> Role {
        let Some(mut ballot) = self.ballot else { return Role::Looking(self) };
        match timer {
            Timer::Notify => {
                let max = Duration::from_millis(body.config.notify_ms_max);
                ballot.interval = (ballot.interval * 2).min(max);
                body.timers.set(Timer::Notify, now + ballot.interval);
                ballot.broadcast(body, now, out);
                Role::Looking(Looking { ballot: Some(ballot) })
            }
            Timer::Finalize if ballot.finalizing => {
                let vote = ballot.proposal;
                finish(vote, &ballot.received.supporters(&vote), body, now, out)
            }
            Timer::Redial if ballot.finalizing => {
                ballot.ask_again(body, now, out);
                Role::Looking(Looking { ballot: Some(ballot) })
            }
            Timer::Finalize
            | Timer::Barrier
            | Timer::Redial
            | Timer::ReadLimit
            | Timer::HalfTick
            | Timer::LinkSetup => Role::Looking(Looking { ballot: Some(ballot) }),
        }
    }

    /// A peer cannot be reached; perhaps it was the last one to wait for.
    pub(crate) fn on_unreachable(self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        match self.ballot {
            Some(ballot) if ballot.finalizing => ballot.weigh(body, now, out),
            Some(_) | None => Role::Looking(self),
        }
    }

    pub(crate) fn on_heard(
        self,
        body: &mut Body,
        now: Mono,
        heard: &Heard,
        out: &mut Vec<Output>,
    ) -> Role {
        let Some(mut ballot) = self.ballot else { return Role::Looking(self) };
        let Heard { from, vote } = *heard;
        if !body.config.members.is_voter(from) {
            tell(body, now, heard, out);
            return Role::Looking(Looking { ballot: Some(ballot) });
        }
        if vote.state == PeerState::Looking && vote.round < body.clock {
            let proposal = ballot.proposal;
            body.notify(from, &proposal, now, out);
        }
        let known = vote.candidate().is_some_and(|id| body.config.members.is_voter(id));
        if !known {
            return Role::Looking(Looking { ballot: Some(ballot) });
        }
        match vote.state {
            PeerState::Looking => {
                ballot.on_looking(body, now, from, vote, out);
                ballot.weigh(body, now, out)
            }
            PeerState::Following | PeerState::Leading => {
                match ballot.on_settled(body, from, vote) {
                    Some(by) => finish(vote, &by, body, now, out),
                    None => Role::Looking(Looking { ballot: Some(ballot) }),
                }
            }
            PeerState::Observing => Role::Looking(Looking { ballot: Some(ballot) }),
        }
    }
}

impl Ballot {
    /// Tells every voter the proposal. The own vote counts at once.
    fn broadcast(&self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        for peer in body.config.members.quorum().voters() {
            if peer != body.me() {
                body.notify(peer, &self.proposal, now, out);
            }
        }
    }

    /// Finds out whether the voters that are waited for are there at all. What was said to a leader
    /// that died went into a connection that ended with it, or to a port that its process had not
    /// given up yet. (Who never had a connection may be starting, and is waited for.)
    fn ask_again(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        for peer in body.config.members.quorum().voters() {
            if peer != body.me() && !self.received.has(peer) && body.mesh.is_lost(peer) {
                body.notify(peer, &self.proposal, now, out);
            }
        }
        self.pause *= 2;
        body.timers.set(Timer::Redial, now + self.pause);
    }

    /// A vote of a server that looks for a leader as well.
    fn on_looking(
        &mut self,
        body: &mut Body,
        now: Mono,
        from: ServerId,
        vote: Vote,
        out: &mut Vec<Output>,
    ) {
        // Empty databases that must not vote (`zab-wire` 5.6).
        if self.initial.zxid == Zxid(-1) || vote.zxid == Zxid(-1) || vote.round < body.clock {
            return;
        }
        let quorum = body.config.members.quorum();
        let base = if vote.round > body.clock { self.initial } else { self.proposal };
        let best = if vote.beats(&base, quorum) { vote } else { base };
        let newer_round = vote.round > body.clock;
        if newer_round {
            body.clock = vote.round;
            self.received.clear();
        }
        let (state, version) = (PeerState::Looking, NOTIFICATION_VERSION);
        let proposal = Vote { round: body.clock, state, version, ..best };
        let changed = proposal != self.proposal;
        self.proposal = proposal;
        if changed || newer_round {
            self.finalizing = false;
            self.interval = Duration::from_millis(body.config.notify_ms_min);
            body.timers.set(Timer::Notify, now + self.interval);
            self.answered.clear();
            self.broadcast(body, now, out);
        } else if !vote.agrees_with(&proposal) && self.answered.insert(from) {
            // It did not look for a leader yet when it was told, and would not be told again soon.
            body.notify(from, &proposal, now, out);
        }
        self.received.record(from, Vote { version: 0, ..vote });
    }

    /// A vote of a server that has a leader; who agrees with it, if that leader can be joined.
    fn on_settled(&mut self, body: &mut Body, from: ServerId, vote: Vote) -> Option<Vec<ServerId>> {
        let quorum = body.config.members.quorum();
        let me = body.me();
        if vote.round == body.clock {
            self.received.record(from, Vote { version: 0, ..vote });
            if self.received.elects(&vote, quorum)
                && self.received.leader_confirms(&vote, me, body.clock)
            {
                return Some(self.received.supporters(&vote));
            }
        }
        self.outside.record(from, vote);
        let joins = self.outside.elects(&vote, quorum)
            && self.outside.leader_confirms(&vote, me, body.clock);
        joins.then(|| {
            body.clock = vote.round;
            self.outside.supporters(&vote)
        })
    }

    /// Looks whether the proposal has won.
    fn weigh(mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let quorum = body.config.members.quorum();
        let own_counts = body.is_voter() && self.initial.zxid != Zxid(-1);
        if own_counts {
            self.received.record(body.me(), Vote { version: 0, ..self.proposal });
        }
        if self.proposal.candidate().is_some() && self.received.elects(&self.proposal, quorum) {
            // Who refuses connections has no vote to wait for: a dead leader is replaced at once.
            let is_gone = |id| body.mesh.is_unreachable(id);
            if self.received.is_unanimous(&self.proposal, quorum, is_gone) {
                let vote = self.proposal;
                return finish(vote, &self.received.supporters(&vote), body, now, out);
            }
            if !self.finalizing {
                self.finalizing = true;
                let wait = Duration::from_millis(body.config.finalize_ms);
                body.timers.set(Timer::Finalize, now + wait);
                self.pause = PAUSE_MIN;
                body.timers.set(Timer::Redial, now + self.pause);
            }
        } else {
            self.finalizing = false;
            body.timers.stop(Timer::Finalize);
            body.timers.stop(Timer::Redial);
        }
        Role::Looking(Looking { ballot: Some(self) })
    }
}

/// Says the current vote to a server that needs it: one that is no voter, or one that looks for a
/// leader while we have one.
pub(crate) fn tell(body: &mut Body, now: Mono, heard: &Heard, out: &mut Vec<Output>) {
    if !body.config.members.is_voter(heard.from) {
        let vote = Vote { round: body.clock, ..body.vote };
        body.notify(heard.from, &vote, now, out);
    } else if heard.vote.state == PeerState::Looking {
        let vote = body.vote;
        body.notify(heard.from, &vote, now, out);
    }
}

/// The election is over; these have voted for the winner.
fn finish(
    winner: Vote,
    voters: &[ServerId],
    body: &mut Body,
    now: Mono,
    out: &mut Vec<Output>,
) -> Role {
    body.timers.stop_role();
    let took = now.since(body.searching_since);
    body.counts.elections.add(took);
    let leader = winner.candidate().expect("only voters win");
    tracing::info!(
        leader = leader.0,
        voters = ?voters.iter().map(|id| id.0).collect::<Vec<_>>(),
        round = body.clock,
        epoch = winner.peer_epoch,
        zxid = ?winner.zxid,
        took_ms = took.as_millis() as u64,
        "election ended"
    );
    let state = if leader == body.me() {
        PeerState::Leading
    } else if body.config.members.is_observer(body.me()) {
        PeerState::Observing
    } else {
        PeerState::Following
    };
    body.vote = Vote { round: body.clock, state, version: NOTIFICATION_VERSION, ..winner };
    if leader == body.me() {
        Leading::enter(body, now, out)
    } else {
        Discovering::enter(leader, body, now, out)
    }
}
