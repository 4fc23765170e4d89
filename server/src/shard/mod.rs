//! A shard: the connections of one core of the machine, their sessions' pipelines, watches and
//! reads. A tiny follower of its own node's commit feed.

use std::net::SocketAddr;

use engine::Version;
use model::Now;

use crate::feed::Subscriber;
use crate::link::{ConnId, ShardId, ToCore, ToShard};

/// What a shard must know.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its number.
    pub shard: ShardId,
    /// Largest request frame, bytes (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Four-letter words that may be used; `None` allows all.
    pub words: Option<Vec<[u8; 4]>>,
    /// Digest id that is also super (`superDigest`).
    pub super_digest: Option<Vec<u8>>,
    /// Scheme `digest` exists.
    pub digest_scheme: bool,
    /// Access lists are not consulted.
    pub skip_acl: bool,
    /// Close a connection that has no session after this long, ms.
    pub sessionless_ms: u64,
    /// Version text of `srvr` and `stat`.
    pub version_text: String,
    /// Text of `envi`, complete.
    pub envi_text: String,
}

/// What a shard can be told.
#[derive(Debug)]
pub enum ShardInput<'a> {
    /// Bytes arrived.
    Bytes {
        /// Connection.
        conn: ConnId,
        /// As many as came; frames may be cut anywhere.
        bytes: &'a [u8],
    },
    /// The peer closed or reset the connection; the slot is free after this.
    Closed {
        /// Connection.
        conn: ConnId,
    },
    /// From the core.
    Core(ToShard),
    /// Take one batch from the feed, if there is one.
    Feed,
    /// The socket took bytes of the outbox.
    Sent {
        /// Connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Time passed; at least ten times a second.
    Tick,
}

/// What a shard wants done, in order within each list.
#[derive(Debug, Default)]
pub struct ShardOutputs {
    /// Messages to the core.
    pub to_core: Vec<ToCore>,
    /// Connections whose outbox has something to send; each once.
    pub flush: Vec<ConnId>,
    /// Connections to close once their outbox is empty. [`ShardInput::Closed`] follows.
    pub close: Vec<ConnId>,
    /// Connections not to be read from for now.
    pub pause: Vec<ConnId>,
    /// Connections to be read from again.
    pub resume: Vec<ConnId>,
}

/// The connections of one core of the machine.
pub struct Shard {}

impl Shard {
    /// Starts at a version of the state.
    pub fn new(config: ShardConfig, version: Version, feed: Subscriber) -> Shard {
        let _ = (config, version, feed);
        unimplemented!()
    }

    /// Takes over an accepted connection.
    pub fn accept(&mut self, now: Now, peer: SocketAddr) -> ConnId {
        let _ = (now, peer);
        unimplemented!()
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: ShardInput<'_>, out: &mut ShardOutputs) {
        let _ = (now, input, out);
        unimplemented!()
    }

    /// Ends a turn: all inputs at hand have been given. Hands over the turn's writes and names
    /// the connections to flush.
    pub fn end_turn(&mut self, now: Now, out: &mut ShardOutputs) {
        let _ = (now, out);
        unimplemented!()
    }

    /// Bytes waiting to be sent to a connection; empty if there are none or it is gone. After
    /// sending, tell [`ShardInput::Sent`].
    pub fn outbox(&self, conn: ConnId) -> &[u8] {
        let _ = conn;
        unimplemented!()
    }

    /// Batches published in the feed and not yet taken.
    pub fn feed_pending(&self) -> u64 {
        unimplemented!()
    }

    /// True if a change anywhere could concern a watch of this shard.
    pub fn has_watches(&self) -> bool {
        unimplemented!()
    }
}
