//! Every message between the core and its shards. Nothing else is shared between them but the
//! [`crate::feed`].
//!
//! Links are FIFO per direction and per shard. All messages of one turn travel as one `Vec`.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use model::{AuthId, Mono, SessionId, Xid, Zxid};

/// A shard of this server, numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

/// A client connection: the shard that owns it, its slot there, and a generation that makes a
/// reused slot a different connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ConnId {
    /// Owning shard.
    pub shard: ShardId,
    /// Index in the shard's table.
    pub slot: u32,
    /// Increases each time the slot is reused.
    pub generation: u32,
}

/// A session's password, 16 bytes.
pub type Password = [u8; 16];

/// One write (or sync) request, its body in the batch's arena.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Where the answer goes.
    pub conn: ConnId,
    /// The connection's session.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: Xid,
    /// Raw operation number; the shard has checked that it is a write or sync.
    pub opcode: i32,
    /// Record after the request header, in [`Submits::bytes`].
    pub body: Range<u32>,
    /// Identities of the connection when the request was received.
    pub identities: Arc<[AuthId]>,
    /// A read of the same session waits just ahead of this write: freeze a version before it
    /// (DESIGN 5, the write-read-write trap).
    pub cut: bool,
    /// When it was received.
    pub received: Mono,
}

/// The writes of one turn of one shard.
#[derive(Clone, Debug, Default)]
pub struct Submits {
    /// Bodies, back to back.
    pub bytes: Vec<u8>,
    /// Requests in arrival order.
    pub list: Vec<Submit>,
}

/// Shard to core.
#[derive(Clone, Debug)]
pub enum ToCore {
    /// Writes to order. The shard may have at most `limits::SHARD_SUBMITS_MAX` unanswered.
    Submit(Submits),
    /// A client wants a session: a new one (`session` none) or one that it holds.
    Attach {
        /// Asking connection.
        conn: ConnId,
        /// Wanted session, or none.
        session: SessionId,
        /// Offered password (for a re-attach).
        password: Vec<u8>,
        /// Requested timeout, ms, not clamped yet.
        timeout_ms: i32,
    },
    /// The connection of an attached session is gone; the session lives on until it expires.
    Detached {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: SessionId,
    },
    /// Everything heard from sessions up to `at`: sessions not listed were silent since the
    /// shard's previous report. Sent every tick, also when nothing was heard: the core expires
    /// nobody beyond the oldest report, so its own stalls never punish clients.
    Heard {
        /// End of the reporting interval.
        at: Mono,
        /// Session and when it was last heard from.
        sessions: Vec<(SessionId, Mono)>,
    },
    /// Starts a query whose answer needs all shards and the core.
    Query(Query),
    /// A client has set the trace mask (`stmk`), which every shard shows.
    TraceMask(i64),
    /// This shard's part of the answer to a [`ToShard::Report`].
    Report {
        /// The query's number.
        number: u64,
        /// This shard's facts.
        report: Box<ShardReport>,
    },
}

/// What an administrator asked for on some connection.
#[derive(Clone, Debug)]
pub struct Query {
    /// Who asks; the answer is sent there.
    pub conn: ConnId,
    /// Four-letter word.
    pub word: [u8; 4],
    /// Bytes that belong to it (`stmk` has eight).
    pub argument: Vec<u8>,
}

/// Core to shard.
#[derive(Clone, Debug)]
pub enum ToShard {
    /// The session is attached; send the connect response. For a new session this comes through
    /// the feed instead (see [`crate::feed::Completion`]).
    Attached {
        /// Connection.
        conn: ConnId,
        /// Session.
        session: SessionId,
        /// Negotiated timeout, ms.
        timeout_ms: i32,
        /// Its password, to be sent back.
        password: Password,
        /// Every transaction of the session committed before it was attached here; the shard
        /// consumes the feed this far before it answers the client.
        zxid: Zxid,
    },
    /// No such session, or wrong password, or it is closing: refuse and close.
    Refused {
        /// Connection.
        conn: ConnId,
    },
    /// The same session was attached elsewhere on this server, or it expired, or an administrator
    /// ended it: close without a word.
    Drop {
        /// Connection.
        conn: ConnId,
        /// Why, for the log.
        why: DropReason,
    },
    /// Report your connections and watches for this query.
    Report {
        /// The query's number.
        number: u64,
        /// What is asked; tells how much detail to report.
        word: [u8; 4],
    },
    /// The trace mask is another one now (`gtmk`).
    TraceMask(i64),
    /// The complete answer to a query: send it and close.
    Answer {
        /// Connection that asked.
        conn: ConnId,
        /// Text.
        text: Vec<u8>,
    },
    /// Whom the server serves from now on. Whoever it serves no longer, or in another way than
    /// before, is to be closed.
    Serving {
        /// Whom.
        service: Service,
        /// Whoever has seen this position has seen nothing that is not in the view, although the
        /// view may stand at an earlier one: an epoch begins without a transaction.
        upto: Zxid,
    },
}

impl ToShard {
    /// Serving or not, with no more claimed than the view shows.
    pub fn serving(serving: bool) -> ToShard {
        let service = if serving { Service::Everybody } else { Service::Nobody };
        ToShard::Serving { service, upto: Zxid::ZERO }
    }
}

/// Whom a server serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Service {
    /// It has no quorum, or is recovering.
    #[default]
    Nobody,
    /// It has no quorum, but clients that said in their connect request that reading is enough
    /// may read (`client-protocol` 7.6).
    Readers,
    /// It works alone or is part of a quorum.
    Everybody,
}

/// Why a connection is closed without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Its session was attached by another connection.
    Reattached,
    /// Its session expired.
    Expired,
    /// Its session was closed by somebody else.
    Closed,
    /// The server stops or cannot serve.
    NotServing,
}

/// Facts of one shard for `stat`, `cons`, `srvr`, `mntr`, `dump`, `wchs`, `wchc`, `wchp`.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// One per connection, in slot order; empty unless the word needs them.
    pub connections: Vec<ConnectionReport>,
    /// Number of connections.
    pub connection_count: u64,
    /// Watched (path, session) pairs of the data table; empty unless the word needs them.
    pub watches: Vec<(Vec<u8>, SessionId)>,
    /// Hashes of the watched paths of the data table, to count those of all shards; empty unless
    /// the word needs them.
    pub watched: Vec<u64>,
    /// Entries in the data and the child table.
    pub watch_count: u64,
    /// Distinct connections and distinct paths in the data table, and its entries.
    pub watch_summary: (u64, u64, u64),
    /// Packets.
    pub received: u64,
    /// Packets.
    pub sent: u64,
    /// Requests read and not yet answered.
    pub outstanding: u64,
    /// Latency of answered requests that made no transaction: min, sum, max, in ms; and how many.
    pub read_ms: (u64, u64, u64, u64),
    /// The same of those that made one.
    pub update_ms: (u64, u64, u64, u64),
    /// Named counters, as `mntr` prints them without `zk_`.
    pub counters: Vec<(&'static str, u64)>,
}

/// One connection, for `cons` and `stat`.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Client address.
    pub peer: (IpAddr, u16),
    /// Interest bits: 1 read, 4 write.
    pub interest: u8,
    /// Requests queued.
    pub queued: u64,
    /// Packets.
    pub received: u64,
    /// Packets.
    pub sent: u64,
    /// The rest exists once a session does.
    pub session: Option<SessionReport>,
}

/// The session part of [`ConnectionReport`].
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// Session.
    pub session: SessionId,
    /// Short name of the last operation, such as `GETD`.
    pub last_op: &'static str,
    /// Wall-clock ms when established.
    pub established_ms: i64,
    /// Negotiated timeout, ms.
    pub timeout_ms: i32,
    /// Last request's xid, if there was one.
    pub last_xid: Option<Xid>,
    /// Last reply's zxid.
    pub last_zxid: Zxid,
    /// Monotonic ms of the last reply.
    pub last_response_ms: u64,
    /// Latency of the last reply, ms.
    pub last_latency_ms: u64,
    /// Least, ms.
    pub min_latency_ms: u64,
    /// Average, ms.
    pub avg_latency_ms: u64,
    /// Greatest, ms.
    pub max_latency_ms: u64,
}
