//! Following: log what the leader proposes, acknowledge what is durable, apply what is committed
//! (`zab-wire` 3.1). With [`WireOptions::RUNS`](crate::wire::handshake::WireOptions) both are said
//! once for a run of entries, by its last one.

use std::fmt::Display;

use model::{Mono, Zxid};

use crate::body::{Body, Gather, Plant};
use crate::input::Input;
use crate::output::{Output, RoleKind};
use crate::role::looking::Looking;
use crate::role::uplink::Uplink;
use crate::role::{Broken, ENDED, OWN_WISH, Role, SILENT, left};
use crate::timers::Timer;
use crate::wire::packet::Packet;

/// Part of a leader's quorum.
#[derive(Debug)]
pub(crate) struct Following {
    uplink: Uplink,
    /// Last entry proposed.
    last: Zxid,
    gather: Gather,
}

impl Following {
    /// Starts to serve. Entries beyond what was acknowledged with the history are acknowledged
    /// like live ones.
    pub(crate) fn enter(uplink: Uplink, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        body.announce(RoleKind::Following(uplink.leader, uplink.epoch), out);
        body.timers.set(Timer::ReadLimit, now + body.sync_limit());
        let last = body.history.appended();
        let mut role = Box::new(Following { uplink, last, gather: Gather::default() });
        role.acknowledge(body, out);
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
            Input::Received { link, bytes } if link == self.uplink.link => {
                self.uplink.received(&bytes, body, now);
                return self.read(body, now, out);
            }
            Input::Disconnected { link } if link == self.uplink.link => {
                left(self.uplink.leader, ENDED);
                return Looking::enter(body, now, out);
            }
            Input::Abdicate | Input::Distrust { .. } => {
                return self.give_up(OWN_WISH, body, now, out);
            }
            Input::Appended { .. } => {
                self.acknowledge(body, out);
                self.uplink.settle(body, out);
            }
            Input::Forward(request) => self.uplink.forward(&request, out),
            Input::Revalidate { session, timeout_ms } => {
                self.uplink.revalidate(session, timeout_ms, out);
            }
            Input::Touches(touches) => self.uplink.on_touches(&touches, out),
            Input::Connected { link } | Input::Accepted { link, .. } => {
                out.push(Output::Close { link });
            }
            Input::Tick
            | Input::Propose(_)
            | Input::EpochsSaved(_)
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. } => {}
        }
        Role::Following(self)
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
            | Timer::LinkSetup => Role::Following(self),
        }
    }

    fn give_up(
        self: Box<Self>,
        why: impl Display,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        left(self.uplink.leader, why);
        out.push(Output::Close { link: self.uplink.link });
        Looking::enter(body, now, out)
    }

    fn read(mut self: Box<Self>, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let mut packets = std::mem::take(&mut self.uplink.packets);
        let result = loop {
            match packets.next(body.config.data_bytes_max) {
                Ok(None) => break Ok(()),
                Ok(Some(packet)) => {
                    if let Err(broken) = self.on_packet(&packet, body, out) {
                        break Err(broken);
                    }
                }
                Err(error) => break Err(Broken::Wire(error)),
            }
        };
        self.uplink.packets = packets;
        // What came before a mistake is as good as ever.
        for batch in self.gather.take() {
            body.append(batch, out);
        }
        if body.planted(Plant::AckBeforeDurable) {
            self.acknowledge_to(body.history.appended(), out);
        }
        self.uplink.settle(body, out);
        match result {
            Ok(()) => Role::Following(self),
            Err(broken) => self.give_up(broken, body, now, out),
        }
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        body: &mut Body,
        out: &mut Vec<Output>,
    ) -> Result<(), Broken> {
        match *packet {
            Packet::Proposal { zxid, entry } => {
                body.counts.proposals_received += 1;
                if zxid != self.uplink.after(self.last) {
                    return Err(Broken::Unexpected("gap in the proposals"));
                }
                self.last = zxid;
                self.gather.push(zxid, entry);
                Ok(())
            }
            Packet::Commit { zxid } | Packet::CommitAndActivate { zxid, .. } => {
                body.counts.commits_received += 1;
                if zxid <= self.uplink.agreed {
                    return Ok(());
                }
                let next = self.uplink.after(self.uplink.agreed);
                let fits = zxid == next || (self.uplink.in_runs() && zxid > next);
                if !fits || zxid > self.last {
                    return Err(Broken::Unexpected("commit out of order"));
                }
                body.counts.commits_received += (zxid.0 - next.0) as u64;
                self.uplink.agreed = zxid;
                Ok(())
            }
            Packet::Request { .. }
            | Packet::Ack { .. }
            | Packet::Ping { .. }
            | Packet::Revalidate(_)
            | Packet::Sync
            | Packet::Inform { .. }
            | Packet::NewLeader { .. }
            | Packet::FollowerInfo { .. }
            | Packet::UpToDate
            | Packet::UpToDateAt { .. }
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. }
            | Packet::ObserverInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. }
            | Packet::InformAndActivate { .. } => self.uplink.on_packet(packet, out),
        }
    }

    /// Acknowledges what has become durable: entry by entry, or with its last one if so agreed.
    fn acknowledge(&mut self, body: &Body, out: &mut Vec<Output>) {
        let durable = body.history.durable();
        if self.uplink.in_runs() && body.planted(Plant::AckRunTooFar) {
            return self.acknowledge_to(durable.next().min(self.last), out);
        }
        self.acknowledge_to(durable, out);
    }

    fn acknowledge_to(&mut self, upto: Zxid, out: &mut Vec<Output>) {
        let mut bytes = Vec::new();
        if self.uplink.acked < upto && self.uplink.in_runs() {
            self.uplink.acked = upto;
            Packet::Ack { zxid: upto }.encode(&mut bytes);
        }
        while self.uplink.acked < upto {
            self.uplink.acked = self.uplink.after(self.uplink.acked);
            Packet::Ack { zxid: self.uplink.acked }.encode(&mut bytes);
        }
        if !bytes.is_empty() {
            out.push(Output::Send { link: self.uplink.link, bytes: bytes.into() });
        }
    }
}
