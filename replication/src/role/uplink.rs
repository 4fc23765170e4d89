//! What following and observing have in common: the stream from the leader.

use std::collections::VecDeque;

use model::{Epoch, Mono, ServerId, SessionId, Zxid};

use crate::body::{Body, send};
use crate::input::Request;
use crate::output::{LinkId, Output};
use crate::role::Broken;
use crate::role::synchronizing::Found;
use crate::timers::Timer;
use crate::wire::handshake::WireOptions;
use crate::wire::packet::{Packet, PacketBuffer};
use crate::wire::request::{Identities, RequestRecord, RevalidateRecord, Touches};

/// Heartbeats that may wait for the caller's touches.
const PINGS_MAX: usize = 64;
/// Sync answers that may wait for the own disk.
const SYNCS_MAX: usize = 1 << 20;

/// A synchronized learner's connection to its leader.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) leader: ServerId,
    pub(crate) link: LinkId,
    pub(crate) epoch: Epoch,
    pub(crate) packets: PacketBuffer,
    options: WireOptions,
    /// The leader has committed everything up to here.
    pub(crate) agreed: Zxid,
    /// Last entry acknowledged.
    pub(crate) acked: Zxid,
    pings: VecDeque<Zxid>,
    syncs: VecDeque<Zxid>,
}

impl Uplink {
    pub(crate) fn new(found: Found, agreed: Zxid, acked: Zxid) -> Uplink {
        let Found { leader, link, epoch, packets, options, .. } = found;
        let (pings, syncs) = (VecDeque::new(), VecDeque::new());
        Uplink { leader, link, epoch, packets, options, agreed, acked, pings, syncs }
    }

    /// True if one acknowledgement, or one commit, stands for all up to it.
    pub(crate) fn in_runs(&self) -> bool {
        self.options.has(WireOptions::RUNS)
    }

    /// The entry that must come after `zxid` in this epoch.
    pub(crate) fn after(&self, zxid: Zxid) -> Zxid {
        if zxid.epoch() == self.epoch { zxid.next() } else { Zxid::new(self.epoch, 1) }
    }

    /// Bytes came from the leader.
    pub(crate) fn received(&mut self, bytes: &[u8], body: &mut Body, now: Mono) {
        self.packets.push(bytes);
        body.timers.set(Timer::ReadLimit, now + body.sync_limit());
    }

    /// Packets that mean the same to every learner.
    pub(crate) fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Broken> {
        match packet {
            Packet::Ping { zxid, .. } => {
                if self.pings.len() == PINGS_MAX {
                    return Err(Broken::Unexpected("heartbeats are not answered here"));
                }
                self.pings.push_back(*zxid);
                out.push(Output::CollectTouches);
            }
            Packet::Sync => {
                if self.syncs.len() == SYNCS_MAX {
                    return Err(Broken::Unexpected("too many syncs"));
                }
                self.syncs.push_back(self.agreed);
            }
            Packet::Revalidate(RevalidateRecord::Answer { session, valid }) => {
                out.push(Output::Revalidated { session: *session, valid: *valid });
            }
            Packet::UpToDate | Packet::UpToDateAt { .. } => {}
            Packet::Revalidate(RevalidateRecord::Question { .. })
            | Packet::Request { .. }
            | Packet::Proposal { .. }
            | Packet::Ack { .. }
            | Packet::Commit { .. }
            | Packet::Inform { .. }
            | Packet::CommitAndActivate { .. }
            | Packet::NewLeader { .. }
            | Packet::FollowerInfo { .. }
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. }
            | Packet::ObserverInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. }
            | Packet::InformAndActivate { .. } => return Err(Broken::Unexpected("out of turn")),
        }
        Ok(())
    }

    /// Reports commits as far as they are durable here, and the syncs that waited for them.
    pub(crate) fn settle(&mut self, body: &mut Body, out: &mut Vec<Output>) {
        body.commit(self.agreed, out);
        let committed = body.history.committed();
        while self.syncs.front().is_some_and(|after| *after <= committed) {
            self.syncs.pop_front();
            out.push(Output::Synced);
        }
    }

    /// The caller's touches answer the oldest heartbeat.
    pub(crate) fn on_touches(&mut self, touches: &[(SessionId, i32)], out: &mut Vec<Output>) {
        let Some(zxid) = self.pings.pop_front() else { return };
        let mut bytes = Vec::with_capacity(touches.len() * 12);
        Touches::encode(touches, &mut bytes);
        send(self.link, &Packet::Ping { zxid, touches: Some(Touches(&bytes)) }, out);
    }

    pub(crate) fn forward(&self, request: &Request, out: &mut Vec<Output>) {
        let Request { session, cxid, opcode, body, auth } = request;
        let record =
            RequestRecord { session: *session, cxid: *cxid, opcode: *opcode, body: &body[..] };
        let mut store = Vec::new();
        let pairs = auth.iter().map(|(scheme, id)| (&scheme[..], &id[..]));
        let auth = Some(Identities::from_pairs(pairs, &mut store));
        send(self.link, &Packet::Request { record, auth }, out);
    }

    pub(crate) fn revalidate(&self, session: SessionId, timeout_ms: i32, out: &mut Vec<Output>) {
        let question = RevalidateRecord::Question { session, timeout_ms };
        send(self.link, &Packet::Revalidate(question), out);
    }
}
