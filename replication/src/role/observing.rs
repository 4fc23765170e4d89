//! Observing: log and apply what is committed, acknowledge nothing (`zab-wire` 3.8).

use std::fmt::Display;

use model::{Mono, Zxid};

use crate::body::{Body, Gather};
use crate::input::Input;
use crate::output::{Output, RoleKind};
use crate::role::looking::Looking;
use crate::role::uplink::Uplink;
use crate::role::{Broken, ENDED, OWN_WISH, Role, SILENT, left};
use crate::timers::Timer;
use crate::wire::packet::Packet;

/// Kept up to date by a leader, without a say.
#[derive(Debug)]
pub(crate) struct Observing {
    uplink: Uplink,
    last: Zxid,
    gather: Gather,
}

impl Observing {
    pub(crate) fn enter(uplink: Uplink, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        body.announce(RoleKind::Observing(uplink.leader, uplink.epoch), out);
        body.timers.set(Timer::ReadLimit, now + body.sync_limit());
        let last = body.history.appended();
        Box::new(Observing { uplink, last, gather: Gather::default() }).read(body, now, out)
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
            Input::Appended { .. } => self.uplink.settle(body, out),
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
        Role::Observing(self)
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
            | Timer::LinkSetup => Role::Observing(self),
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
        for batch in self.gather.take() {
            body.append(batch, out);
        }
        self.uplink.settle(body, out);
        match result {
            Ok(()) => Role::Observing(self),
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
            Packet::Inform { zxid, entry } | Packet::InformAndActivate { zxid, entry, .. } => {
                body.counts.commits_received += 1;
                if zxid != self.uplink.after(self.last) {
                    return Err(Broken::Unexpected("gap in the entries"));
                }
                self.last = zxid;
                self.uplink.agreed = zxid;
                self.gather.push(zxid, entry);
                Ok(())
            }
            // Not meant for observers; ZooKeeper's ignore them too.
            Packet::Proposal { .. } | Packet::Commit { .. } | Packet::CommitAndActivate { .. } => {
                Ok(())
            }
            Packet::Request { .. }
            | Packet::Ack { .. }
            | Packet::Ping { .. }
            | Packet::Revalidate(_)
            | Packet::Sync
            | Packet::NewLeader { .. }
            | Packet::FollowerInfo { .. }
            | Packet::UpToDate
            | Packet::UpToDateAt { .. }
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. }
            | Packet::ObserverInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. } => self.uplink.on_packet(packet, out),
        }
    }
}
