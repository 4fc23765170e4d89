//! A learner takes over the leader's history (`zab-wire` 2.9, as ZooKeeper 3.9.4 does it).
//!
//! Order of what becomes durable: history, then the epoch, then the acknowledgement. Nothing is
//! reported as committed before UPTODATE, because before that the leader may be one that never
//! gets a quorum.

use std::collections::VecDeque;
use std::fmt::Display;

use model::{Epoch, Mono, ServerId, Zxid};
use tracing::info;

use crate::body::{Body, Gather, Plant, send};
use crate::input::{Epochs, Input};
use crate::output::{LinkId, Output};
use crate::role::discovering::Discovering;
use crate::role::following::Following;
use crate::role::looking::Looking;
use crate::role::observing::Observing;
use crate::role::uplink::Uplink;
use crate::role::{Broken, ENDED, OWN_WISH, Role, SILENT, left};
use crate::timers::Timer;
use crate::wire::handshake::WireOptions;
use crate::wire::packet::{Packet, PacketBuffer};
use crate::wire::snapshot::SnapshotScanner;

/// Uncommitted entries a leader may have on their way to a server that synchronizes.
const PENDING_MAX: usize = 1 << 20;

/// Bytes of entries and packets that may wait, for a commit or for the own disk.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// A leader whose epoch is known, and what was agreed with it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) leader: ServerId,
    pub(crate) link: LinkId,
    pub(crate) epoch: Epoch,
    pub(crate) packets: PacketBuffer,
    pub(crate) options: WireOptions,
    /// What ACKEPOCH said of the own position.
    pub(crate) told: Zxid,
}

/// Taking over history.
#[derive(Debug)]
pub(crate) struct Synchronizing {
    leader: ServerId,
    link: LinkId,
    epoch: Epoch,
    packets: PacketBuffer,
    options: WireOptions,
    told: Zxid,
    source: Source,
    step: Step,
    /// Last entry seen, against gaps; unknown directly after a snapshot.
    last: Option<Zxid>,
    /// Entries proposed and not handed on.
    pending: VecDeque<(Zxid, Vec<u8>)>,
    pending_bytes: usize,
    /// How many of them are committed; only after NEWLEADER.
    pending_committed: usize,
    /// What the leader says of its tree: where, and the digest.
    theirs: Option<(Zxid, u64)>,
    gather: Gather,
}

/// Where the history comes from.
#[derive(Debug)]
enum Source {
    Undecided,
    /// The own log, to which entries are appended.
    Log,
    /// A snapshot that is arriving.
    Stream {
        scanner: SnapshotScanner,
        at: Zxid,
    },
    /// A snapshot that has arrived, to which entries are applied.
    Snapshot {
        at: Zxid,
    },
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Packets.
    Reading,
    Truncating {
        to: Zxid,
    },
    Installing,
    /// The appended history is not durable yet.
    Flushing,
    SavingEpoch,
    /// NEWLEADER is acknowledged; `at` is where the history ended then. UPTODATE.
    Acknowledged {
        at: Zxid,
    },
}

impl Synchronizing {
    pub(crate) fn enter(found: Found, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let Found { leader, link, epoch, packets, options, told } = found;
        body.timers.stop(Timer::Barrier);
        body.timers.set(Timer::ReadLimit, now + body.init_limit());
        let role = Box::new(Synchronizing {
            leader,
            link,
            epoch,
            packets,
            options,
            told,
            source: Source::Undecided,
            step: Step::Reading,
            last: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_committed: 0,
            theirs: None,
            gather: Gather::default(),
        });
        role.read(body, now, out)
    }

    pub(crate) fn on_input(
        mut self: Box<Self>,
        body: &mut Body,
        now: Mono,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Role {
        match input {
            Input::Received { link, bytes } if link == self.link => {
                if self.packets.rest().len() + bytes.len() > WAITING_BYTES_MAX {
                    return self.give_up("too much waits for the own disk", body, now, out);
                }
                self.packets.push(&bytes);
                let limit = match self.step {
                    Step::Acknowledged { .. } => body.sync_limit(),
                    Step::Reading
                    | Step::Truncating { .. }
                    | Step::Installing
                    | Step::Flushing
                    | Step::SavingEpoch => body.init_limit(),
                };
                body.timers.set(Timer::ReadLimit, now + limit);
                self.read(body, now, out)
            }
            Input::Disconnected { link } if link == self.link => {
                left(self.leader, ENDED);
                self.leave(body, now, out)
            }
            Input::Truncated { end, .. } => match self.step {
                Step::Truncating { to } if end == to => {
                    self.step = Step::Reading;
                    self.read(body, now, out)
                }
                Step::Truncating { .. } => {
                    // The log did not contain the entry: nothing of it can be relied upon.
                    body.trusted = false;
                    let why = "the own log lacks the entry to be truncated to";
                    self.give_up(why, body, now, out)
                }
                Step::Reading
                | Step::Installing
                | Step::Flushing
                | Step::SavingEpoch
                | Step::Acknowledged { .. } => Role::Synchronizing(self),
            },
            Input::SnapshotInstalled { .. } if self.step == Step::Installing => {
                self.flush(body, now, out);
                self.read(body, now, out)
            }
            Input::Appended { .. } if self.step == Step::Flushing => {
                self.flush(body, now, out);
                self.read(body, now, out)
            }
            Input::EpochsSaved(_) if self.step == Step::SavingEpoch => {
                self.acknowledge(body, now, out);
                self.read(body, now, out)
            }
            Input::Abdicate | Input::Distrust { .. } => self.give_up(OWN_WISH, body, now, out),
            Input::Connected { link } | Input::Accepted { link, .. } => {
                out.push(Output::Close { link });
                Role::Synchronizing(self)
            }
            Input::Tick
            | Input::Propose(_)
            | Input::Appended { .. }
            | Input::EpochsSaved(_)
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_)
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. } => Role::Synchronizing(self),
        }
    }

    pub(crate) fn on_timer(
        self: Box<Self>,
        body: &mut Body,
        now: Mono,
        timer: Timer,
        out: &mut Vec<Output>,
    ) -> Role {
        match timer {
            Timer::ReadLimit => self.give_up(SILENT, body, now, out),
            Timer::Notify
            | Timer::Finalize
            | Timer::Barrier
            | Timer::Redial
            | Timer::HalfTick
            | Timer::LinkSetup => Role::Synchronizing(self),
        }
    }

    fn give_up(
        self: Box<Self>,
        why: impl Display,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        left(self.leader, why);
        out.push(Output::Close { link: self.link });
        self.leave(body, now, out)
    }

    fn leave(self: Box<Self>, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        match (&self.source, self.step) {
            (Source::Stream { .. }, _) | (Source::Snapshot { .. }, Step::Reading) => {
                out.push(Output::SnapshotAbandoned);
            }
            (Source::Undecided | Source::Log | Source::Snapshot { .. }, _) => {}
        }
        Looking::enter(body, now, out)
    }

    /// Takes what has arrived, as far as nothing has to be waited for.
    fn read(mut self: Box<Self>, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let mut packets = std::mem::take(&mut self.packets);
        let result = self.take_packets(&mut packets, body, now, out);
        self.packets = packets;
        match result {
            Ok(false) => {
                if self.step == Step::Reading {
                    self.hand_on(body, out);
                }
                Role::Synchronizing(self)
            }
            Ok(true) => self.activate(body, now, out),
            Err(Broken::NeedsSnapshot) => {
                // The promise has counted; without a position the answer is a snapshot.
                out.push(Output::Close { link: self.link });
                body.timers.stop_role();
                Discovering::enter(self.leader, body, now, out)
            }
            Err(broken) => self.give_up(broken, body, now, out),
        }
    }

    /// True when the leader says that this server is up to date.
    fn take_packets(
        &mut self,
        packets: &mut PacketBuffer,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Result<bool, Broken> {
        loop {
            match self.step {
                Step::Reading | Step::Acknowledged { .. } => {}
                Step::Truncating { .. } | Step::Installing | Step::Flushing | Step::SavingEpoch => {
                    return Ok(false);
                }
            }
            if let Source::Stream { scanner, at } = &mut self.source {
                let at = *at;
                let scanned = scanner.scan(packets.rest())?;
                if scanned.consumed > 0 {
                    let piece = packets.rest()[..scanned.consumed].to_vec();
                    out.push(Output::SnapshotPiece(piece));
                    packets.skip(scanned.consumed);
                }
                if !scanned.complete {
                    return Ok(false);
                }
                out.push(Output::SnapshotEnd);
                self.source = Source::Snapshot { at };
            }
            let Some(packet) = packets.next(body.config.data_bytes_max)? else { return Ok(false) };
            if self.on_packet(packet, body, now, out)? {
                return Ok(true);
            }
        }
    }

    fn on_packet(
        &mut self,
        packet: Packet<'_>,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Result<bool, Broken> {
        let undecided = matches!(self.source, Source::Undecided);
        match packet {
            Packet::Diff { .. } | Packet::Trunc { .. } if undecided && !body.trusted => {
                return Err(match self.told {
                    Zxid(-1) => Broken::Unexpected("a history for a state that was given up"),
                    _ => Broken::NeedsSnapshot,
                });
            }
            Packet::Diff { zxid } if undecided => {
                info!(
                    leader = self.leader.0, own = ?body.history.appended(), upto = ?zxid,
                    "takes history by DIFF"
                );
                self.source = Source::Log;
                self.last = Some(body.history.appended());
            }
            Packet::Trunc { zxid } if undecided => {
                info!(
                    leader = self.leader.0, own = ?body.history.appended(), to = ?zxid,
                    "takes history by TRUNC"
                );
                self.source = Source::Log;
                self.last = Some(zxid);
                if zxid > body.history.appended() {
                    return Err(Broken::Unexpected("truncation beyond the end"));
                }
                if zxid < body.history.appended() {
                    body.rebuilding = true;
                    self.step = Step::Truncating { to: zxid };
                    out.push(Output::TruncateTo { to: zxid });
                }
            }
            Packet::Snap { zxid } if undecided => {
                info!(
                    leader = self.leader.0, own = ?body.history.appended(), at = ?zxid,
                    "takes history by SNAP"
                );
                let scanner = SnapshotScanner::new(body.config.data_bytes_max);
                self.source = Source::Stream { scanner, at: zxid };
                out.push(Output::SnapshotBegin { at: zxid });
            }
            Packet::Ping { .. } | Packet::Sync | Packet::Revalidate(_) => {}
            _ if undecided => return Err(Broken::Unexpected("neither DIFF nor TRUNC nor SNAP")),
            Packet::Proposal { zxid, entry } => self.on_proposal(zxid, entry)?,
            Packet::Commit { zxid } | Packet::CommitAndActivate { zxid, .. } => {
                self.on_commit(zxid)?;
            }
            Packet::Inform { zxid, entry } | Packet::InformAndActivate { zxid, entry, .. } => {
                self.on_proposal(zxid, entry)?;
                self.on_commit(zxid)?;
            }
            Packet::NewLeader { zxid, .. } if self.step == Step::Reading => {
                if zxid != Zxid::new(self.epoch, 0) {
                    return Err(Broken::Unexpected("another epoch than promised"));
                }
                self.on_new_leader(body, now, out);
            }
            Packet::UpToDate if self.step != Step::Reading => return Ok(true),
            Packet::UpToDateAt { at, digest } if self.step != Step::Reading => {
                self.theirs = self.options.has(WireOptions::DIGEST).then_some((at, digest));
                return Ok(true);
            }
            Packet::NewLeader { .. }
            | Packet::UpToDate
            | Packet::UpToDateAt { .. }
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. }
            | Packet::Request { .. }
            | Packet::Ack { .. }
            | Packet::FollowerInfo { .. }
            | Packet::ObserverInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. } => return Err(Broken::Unexpected("out of turn")),
        }
        Ok(false)
    }

    /// Entries come without gaps inside an epoch; a newer epoch may begin anywhere.
    fn on_proposal(&mut self, zxid: Zxid, entry: &[u8]) -> Result<(), Broken> {
        let follows =
            self.last.is_none_or(|last| zxid == last.next() || zxid.epoch() > last.epoch())
                && zxid.epoch() <= self.epoch;
        if !follows || zxid.counter() == 0 {
            return Err(Broken::Unexpected("gap in the history"));
        }
        self.pending_bytes += entry.len();
        if self.pending.len() == PENDING_MAX || self.pending_bytes > WAITING_BYTES_MAX {
            return Err(Broken::Unexpected("too many uncommitted entries"));
        }
        self.last = Some(zxid);
        self.pending.push_back((zxid, entry.to_vec()));
        Ok(())
    }

    /// Commits come in the order of the proposals, each for one or, if so agreed, for all up to it.
    fn on_commit(&mut self, zxid: Zxid) -> Result<(), Broken> {
        let known = match self.source {
            Source::Snapshot { at } => self.last.map_or(at, |last| last.max(at)),
            Source::Undecided | Source::Log | Source::Stream { .. } => {
                self.last.unwrap_or(Zxid::ZERO)
            }
        };
        let open = self.pending_committed;
        let run = match self.pending.get(open) {
            Some((head, _)) if *head == zxid => 1,
            Some((head, _)) if *head < zxid && self.options.has(WireOptions::RUNS) => {
                let at = self.pending.binary_search_by_key(&zxid, |(zxid, _)| *zxid);
                let last = at.map_err(|_| Broken::Unexpected("commit of no proposal"))?;
                last + 1 - open
            }
            Some((head, _)) if *head < zxid => {
                return Err(Broken::Unexpected("commit out of order"));
            }
            // Said again about something that is there.
            Some(_) | None if zxid <= known => return Ok(()),
            Some(_) | None => return Err(Broken::Unexpected("commit of an unknown entry")),
        };
        if self.step == Step::Reading {
            for (zxid, entry) in self.pending.drain(..run) {
                self.pending_bytes -= entry.len();
                self.gather.push(zxid, &entry);
            }
            if let Source::Snapshot { at } = &mut self.source {
                *at = (*at).max(zxid);
            }
        } else {
            self.pending_committed += run;
        }
        Ok(())
    }

    /// Committed history goes where it belongs while it arrives.
    fn hand_on(&mut self, body: &mut Body, out: &mut Vec<Output>) {
        for batch in self.gather.take() {
            match self.source {
                Source::Log => body.append(batch, out),
                Source::Undecided | Source::Stream { .. } | Source::Snapshot { .. } => {
                    out.push(Output::SnapshotReplay(batch));
                }
            }
        }
    }

    /// The history is complete.
    fn on_new_leader(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        self.hand_on(body, out);
        match self.source {
            Source::Snapshot { at } => {
                body.rebuilding = true;
                self.step = Step::Installing;
                out.push(Output::InstallSnapshot { at });
            }
            Source::Log if body.planted(Plant::HistoryAckedEarly) => {
                let current = self.epoch;
                body.save_epochs(Epochs { accepted: body.epochs.accepted, current }, out);
                self.acknowledge(body, now, out);
            }
            Source::Undecided | Source::Log | Source::Stream { .. } => self.flush(body, now, out),
        }
    }

    /// Once everything is durable, saves the epoch, and after that acknowledges.
    fn flush(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        if body.history.durable() < body.history.appended() || body.rebuilding {
            self.step = Step::Flushing;
        } else if body.epochs.current != self.epoch {
            self.step = Step::SavingEpoch;
            let accepted = body.epochs.accepted.max(self.epoch);
            body.save_epochs(Epochs { accepted, current: self.epoch }, out);
            if body.planted(Plant::EpochNotSaved) {
                self.acknowledge(body, now, out);
            }
        } else {
            self.acknowledge(body, now, out);
        }
    }

    fn acknowledge(&mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) {
        let at = body.history.appended();
        self.step = Step::Acknowledged { at };
        body.timers.set(Timer::ReadLimit, now + body.sync_limit());
        send(self.link, &Packet::Ack { zxid: Zxid::new(self.epoch, 0) }, out);
    }

    /// The leader is established and this server is part of it.
    fn activate(mut self: Box<Self>, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let Step::Acknowledged { at } = self.step else {
            return self.give_up("UPTODATE before the history", body, now, out);
        };
        if at < body.history.committed() {
            let committed = body.history.committed();
            let lost = format!(
                "the leader of {:?} ends at {at:?}, {committed:?} was committed",
                self.epoch
            );
            out.push(Output::Halt(lost));
            return self.give_up("it lacks committed entries", body, now, out);
        }
        send(self.link, &Packet::Ack { zxid: Zxid::new(self.epoch, 0) }, out);
        body.vote.peer_epoch = i64::from(self.epoch.0);
        let observer = body.config.members.is_observer(body.me());
        let committed = self.pending.iter().take(self.pending_committed).next_back();
        let agreed = committed.map_or(at, |(zxid, _)| *zxid).max(at);
        body.commit(agreed, out);
        let digest = self.theirs.filter(|(at, _)| *at == agreed).map(|(_, digest)| digest);
        out.push(Output::Exact { at: agreed, digest });
        let Synchronizing { leader, link, epoch, options, told, .. } = *self;
        let packets = std::mem::take(&mut self.packets);
        let found = Found { leader, link, epoch, packets, options, told };
        let uplink = Uplink::new(found, agreed, at);
        let keep = if observer { self.pending_committed } else { self.pending.len() };
        for (zxid, entry) in self.pending.drain(..).take(keep) {
            if zxid > body.history.appended() {
                self.gather.push(zxid, &entry);
            }
        }
        for batch in self.gather.take() {
            body.append(batch, out);
        }
        if observer {
            Observing::enter(uplink, body, now, out)
        } else {
            Following::enter(uplink, body, now, out)
        }
    }
}
