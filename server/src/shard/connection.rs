//! One client connection, and the table of them.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{AuthId, Mono, SessionId, Xid, Zxid};
use protocol::ConnectResponse;

use super::auth;
use super::outbox::Outbox;
use super::pipeline::Pipeline;
use crate::link::{ConnId, ShardId};

/// How far a connection has come. It only ever moves down this list.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing complete has arrived: a four-letter word or a connect request is to come.
    Greeting,
    /// A four-letter word is being answered; everything further is ignored.
    Word,
    /// The core has been asked for a session.
    Attaching {
        /// The read-only byte of the request, if there was one.
        read_only: Option<bool>,
    },
    /// Attached, but the session has seen more than the view shows.
    CatchingUp {
        /// Position that the view must reach.
        zxid: Zxid,
        /// What to say then.
        response: Box<ConnectResponse>,
    },
    /// A session is attached and served.
    Open,
    /// To be closed once the outbox is empty.
    Closing,
}

/// Packet counts and latencies of one connection, for `cons` and `stat`.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionStats {
    /// Packets.
    pub(super) received: u64,
    /// Packets.
    pub(super) sent: u64,
    /// Opcode of the last request; 0 before the first.
    pub(super) last_op: i32,
    /// Number of the last request.
    pub(super) last_xid: Option<Xid>,
    /// Position of the last reply.
    pub(super) last_zxid: Zxid,
    /// When the last reply was made.
    pub(super) last_response: Mono,
    /// Latency of the last reply, ms.
    pub(super) last_latency_ms: u64,
    /// Of all replies.
    pub(super) latency: Latency,
}

/// Latencies of requests in ms: enough for the three numbers that `srvr` prints.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// Least.
    pub(super) min: u64,
    /// Sum.
    pub(super) sum: u64,
    /// Greatest.
    pub(super) max: u64,
    /// How many.
    pub(super) count: u64,
}

impl Latency {
    /// Counts one more.
    #[inline]
    pub(super) fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.sum += ms;
        self.max = self.max.max(ms);
        self.count += 1;
    }
}

impl Latency {
    /// Least, sum, greatest, how many.
    pub(super) fn parts(self) -> (u64, u64, u64, u64) {
        (self.min, self.sum, self.max, self.count)
    }
}

impl ConnectionStats {
    /// Forgets counts and latencies, not what the last request was.
    pub(super) fn reset(&mut self) {
        self.received = 0;
        self.sent = 0;
        self.latency = Latency::default();
    }

    /// Counts a reply and returns its latency in ms.
    #[inline]
    pub(super) fn replied(&mut self, now: Mono, received: Mono, zxid: Zxid) -> u64 {
        let ms = if now == received { 0 } else { now.since(received).as_millis() as u64 };
        self.sent += 1;
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency_ms = ms;
        self.latency.add(ms);
        ms
    }
}

/// A client connection. Its buffers are empty and unallocated while it is idle.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    /// How far it has come.
    pub(super) phase: Phase,
    /// Its session once attached; none again when the core no longer counts it as attached here.
    pub(super) session: SessionId,
    /// Negotiated timeout, ms.
    pub(super) timeout_ms: i32,
    /// Proven so far. Replaced as a whole, so requests capture it by cloning the pointer.
    pub(super) identities: Arc<[AuthId]>,
    /// Bytes that are not a whole frame yet, or not to be looked at yet.
    pub(super) inbox: Vec<u8>,
    /// Bytes for the client.
    pub(super) outbox: Outbox,
    /// Requests waiting for their reply.
    pub(super) pipeline: Pipeline,
    /// When the last request arrived.
    pub(super) heard: Mono,
    /// Wall clock when the session was attached, ms.
    pub(super) established_ms: i64,
    /// For reports.
    pub(super) stats: ConnectionStats,
    /// Listed among the connections heard from since the last tick.
    pub(super) listed: bool,
    /// Listed among the connections to flush.
    pub(super) dirty: bool,
    /// Part of that is an answer: it is sent before other connections' events.
    pub(super) answered: bool,
    /// Nothing of it is looked at for now.
    pub(super) paused: bool,
    /// The runtime has been told not to read.
    pub(super) told_paused: bool,
    /// Listed among those that are not read from because they are owed an answer.
    pub(super) owed: bool,
    /// Listed among those that wait for credit.
    pub(super) starved: bool,
    /// No further request is looked at: the last one ends the connection.
    pub(super) deaf: bool,
}

impl Connection {
    pub(super) fn new(now: Mono, peer: SocketAddr) -> Connection {
        Connection {
            peer,
            phase: Phase::Greeting,
            session: SessionId::NONE,
            timeout_ms: 0,
            identities: auth::initial(peer.ip()),
            inbox: Vec::new(),
            outbox: Outbox::default(),
            pipeline: Pipeline::default(),
            heard: now,
            established_ms: 0,
            stats: ConnectionStats::default(),
            listed: false,
            dirty: false,
            answered: false,
            paused: false,
            told_paused: false,
            owed: false,
            starved: false,
            deaf: false,
        }
    }

    /// True once nothing that arrives matters any more.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// Gives back buffers that an idle connection does not need.
    pub(super) fn trim(&mut self) {
        self.outbox.trim();
        self.pipeline.trim();
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// The connections of a shard by slot. A slot that is used again gets a new generation, so that
/// what was meant for the old connection never reaches the new one.
#[derive(Debug)]
pub(super) struct Connections {
    shard: ShardId,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Connections {
    pub(super) fn new(shard: ShardId) -> Connections {
        Connections { shard, slots: Vec::new(), free: Vec::new() }
    }

    /// Number of connections.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, connection: Connection) -> ConnId {
        let connection = Some(Box::new(connection));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].connection = connection;
            slot
        } else {
            self.slots.push(Slot { generation: 1, connection });
            self.slots.len() as u32 - 1
        };
        self.id(slot)
    }

    /// The full name of the connection in a slot.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        let generation = self.slots[slot as usize].generation;
        ConnId { shard: self.shard, slot, generation }
    }

    /// True if the name means the connection that is in its slot now.
    pub(super) fn is_live(&self, id: ConnId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot as usize)?;
        let live = slot.generation == id.generation && id.shard == self.shard;
        slot.connection.as_deref().filter(|_| live)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let live = slot.generation == id.generation && id.shard == self.shard;
        slot.connection.as_deref_mut().filter(|_| live)
    }

    /// The connection in a slot, if there is one.
    #[inline]
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.connection.as_deref_mut()
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation || id.shard != self.shard {
            return None;
        }
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(connection)
    }

    /// All connections in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            entry.connection.as_deref().map(|connection| (slot as u32, connection))
        })
    }

    /// All connections in slot order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Connection)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, entry)| {
            entry.connection.as_deref_mut().map(|connection| (slot as u32, connection))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(Mono(0), "127.0.0.1:9".parse().expect("an address"))
    }

    #[test]
    fn a_reused_slot_is_another_connection() {
        let mut table = Connections::new(ShardId(3));
        let first = table.insert(connection());
        assert!(table.remove(first).is_some());
        let second = table.insert(connection());
        assert_eq!(first.slot, second.slot);
        assert!(!table.is_live(first) && table.is_live(second));
        assert!(table.remove(first).is_none());
        assert_eq!((table.len(), table.iter().count()), (1, 1));
        assert!(table.get(ConnId { shard: ShardId(4), ..second }).is_none());
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 448, "{}", size_of::<Connection>());
    }
}
