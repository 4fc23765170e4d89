//! What servers say to each other: carried by the network, and listened to.

use std::collections::BTreeMap;

use model::Zxid;
use replication::wire::packet::{Packet, PacketBuffer, packet_len};
use server::core::{CoreInput, CoreOutputs};
use server::peer::PeerOrder;

use super::{Outcome, World};
use crate::checkers::Seen;
use crate::node;
use crate::peers::PeerMove;

/// Bytes of a packet that is listened to.
const PACKET_MAX: usize = 64 << 20;
/// An acknowledgement is compared with the disk once in so many.
const LOOK_EVERY: u64 = 8;

/// Listens along quorum connections: what each end has said, and what has arrived there.
#[derive(Default)]
pub(super) struct Ears {
    said: BTreeMap<(u64, usize), PacketBuffer>,
    arrived: BTreeMap<(u64, usize), PacketBuffer>,
    acks: u64,
}

impl World {
    /// Carries out an order, and hears what is said.
    pub(super) fn peer_order(&mut self, at: usize, mut order: PeerOrder) -> Outcome {
        if let PeerOrder::Send { link, bytes } = &mut order
            && let Some((wire, side)) = self.peers.quorum_wire(at, *link)
        {
            self.overhear(at, wire, side, bytes)?;
            if let Some(garbled) = self.garble(wire, side, bytes) {
                *bytes = garbled.into();
            }
        }
        self.peers.order(at, order, self.now, &self.options);
        Ok(())
    }

    /// The digest of a proposal goes wrong on its way.
    fn garble(&mut self, wire: u64, side: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let wanted = self.garbled.is_some();
        if !wanted && (!self.faults || self.options.garble == 0) {
            return None;
        }
        let to = self.peers.nodes_of(wire)?[1 - side];
        let len = packet_len(bytes, PACKET_MAX).ok()??;
        let Packet::Proposal { zxid, entry } = Packet::decode(&bytes[..len]).ok()? else {
            return None;
        };
        let (_, _, digest) = model::txn::decode_entry(entry).ok()?;
        digest?;
        let chosen = if wanted {
            self.garbled == Some(to)
        } else {
            self.dice.per_mille(self.options.garble)
        };
        if !chosen {
            return None;
        }
        self.garbled = None;
        self.note_at(to, "peer", "garbled", &format!("{zxid:?}"));
        let mut garbled = bytes.to_vec();
        // Type, zxid and length come before the entry, which ends in the digest.
        garbled[16 + entry.len() - 1] ^= 1;
        Some(garbled)
    }

    fn overhear(&mut self, at: usize, wire: u64, side: usize, bytes: &[u8]) -> Outcome {
        let Some(nodes) = self.peers.nodes_of(wire) else { return Ok(()) };
        let mut buffer = self.ears.said.remove(&(wire, side)).unwrap_or_default();
        buffer.push(bytes);
        let broken = loop {
            match buffer.next(PACKET_MAX) {
                Ok(None) => break None,
                Ok(Some(packet)) => self.said(at, nodes[1 - side], &packet)?,
                Err(error) => break Some(error),
            }
        };
        self.ears.said.insert((wire, side), buffer);
        match broken {
            Some(error) => Err(self.violation("well_formed", format!("n{}: {error}", at + 1))),
            None => Ok(()),
        }
    }

    /// A server has said something to another.
    fn said(&mut self, from: usize, to: usize, packet: &Packet<'_>) -> Outcome {
        let words = format!("n{} {}", to + 1, in_short(packet));
        self.note_at(from, "peer", "said", &words);
        match packet {
            Packet::NewLeader { zxid, .. } => {
                self.see(&Seen::Said { from, to, packet })?;
                let leader = (from, self.now);
                self.history.leaders.entry(zxid.epoch()).or_insert(leader);
                Ok(())
            }
            Packet::Ack { zxid } => {
                self.see(&Seen::Said { from, to, packet })?;
                self.ears.acks += 1;
                if self.ears.acks.is_multiple_of(LOOK_EVERY) || zxid.counter() == 0 {
                    return self.look_at_disk(from, *zxid);
                }
                Ok(())
            }
            _ => self.see(&Seen::Said { from, to, packet }),
        }
    }

    /// What would be there if the server died now.
    fn look_at_disk(&mut self, at: usize, acknowledged: Zxid) -> Outcome {
        let disk = &self.nodes[at].disk;
        if disk.damaged() {
            return Ok(());
        }
        let epoch = disk.current_epoch();
        match node::replay(&disk.image(), &self.options) {
            Ok(version) => self.see(&Seen::Acknowledged {
                node: at,
                zxid: acknowledged,
                durable: version.zxid(),
                epoch,
            }),
            Err(error) => Err(self.violation("recovers_after_crash", error.to_string())),
        }
    }

    /// Something happens between servers.
    pub(super) fn peer_move(&mut self, what: PeerMove) -> Outcome {
        let happened = self.peers.happen(what, self.now, &self.options);
        if let Some((wire, side, bytes)) = &happened.arrived {
            self.hear_touches(*wire, *side, bytes);
        }
        for (at, event) in happened.events {
            let now = self.nodes[at].now(self.now);
            self.note_at(at, "peer", "event", &describe(&event));
            let Some(process) = self.nodes[at].process.as_mut() else { continue };
            let mut out = CoreOutputs::default();
            process.core_step(now, CoreInput::Peer(event), &mut out);
            self.core_outputs(at, out)?;
        }
        Ok(())
    }

    /// A leader learns which sessions its learners heard from.
    fn hear_touches(&mut self, wire: u64, side: usize, bytes: &[u8]) {
        let Some(nodes) = self.peers.nodes_of(wire) else { return };
        // Who accepted a quorum connection is the leader.
        if side == 0 {
            return;
        }
        self.history.now = self.now;
        let buffer = self.ears.arrived.entry((wire, side)).or_default();
        buffer.push(bytes);
        let mut heard = Vec::new();
        while let Ok(Some(packet)) = buffer.next(PACKET_MAX) {
            if let Packet::Ping { touches: Some(touches), .. } = packet {
                heard.extend(touches.iter().map(|(session, _)| session));
            }
        }
        for session in heard {
            self.history.hear(nodes[1], session);
        }
    }
}

fn in_short(packet: &Packet<'_>) -> String {
    let content = |entry: &[u8]| match model::txn::decode_entry(entry) {
        Ok((header, txn, _)) => format!("{} {} {txn:?}", header.session, header.cxid),
        Err(error) => error.to_string(),
    };
    match packet {
        Packet::Proposal { zxid, entry } => format!("propose {zxid:?} {}", content(entry)),
        Packet::Inform { zxid, entry } => format!("inform {zxid:?} {}", content(entry)),
        Packet::NewLeader { zxid, .. } => format!("new leader {zxid:?}"),
        Packet::Request { record, .. } => {
            format!("request {} {} of {}", record.opcode, record.cxid, record.session)
        }
        other => format!("{other:?}"),
    }
}

fn describe(event: &server::peer::PeerEvent) -> String {
    use server::peer::PeerEvent;
    match event {
        PeerEvent::Accepted { link, port } => format!("accepted {link:?} {port:?}"),
        PeerEvent::Connected { link } => format!("connected {link:?}"),
        PeerEvent::Received { link, bytes } => format!("received {link:?} {}", bytes.len()),
        PeerEvent::SnapshotSent { link } => format!("snapshot sent {link:?}"),
        PeerEvent::Disconnected { link } => format!("disconnected {link:?}"),
    }
}
