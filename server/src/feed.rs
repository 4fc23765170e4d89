//! The commit feed: what the core publishes and every shard consumes in order.
//!
//! One broadcast ring: a single producer, one cursor per shard, one `published` counter.
//! Publishing is one release store, so a batch becomes visible to all shards at once.
//!
//! Per segment a shard does, in this order: fire local watches for each transaction's effects,
//! complete local requests (a transaction's events precede its own reply), move its view to the
//! segment's version, run parked reads that waited for this point.

use std::sync::Arc;

use engine::{Effects, Outcome, Version};
use model::{Mono, SessionId, Xid, Zxid};

use crate::link::{ConnId, Password};

/// Transactions that became durable together.
#[derive(Debug, Default)]
pub struct CommitBatch {
    /// In zxid order; never empty.
    pub segments: Vec<Segment>,
}

/// A run of transactions and the state after the last of them.
#[derive(Debug)]
pub struct Segment {
    /// State after the segment.
    pub version: Version,
    /// Changes of the whole segment.
    pub effects: Effects,
    /// Transactions (and syncs) in order.
    pub entries: Vec<Entry>,
}

/// One transaction, or one request that takes its place in the order without one (sync).
#[derive(Debug)]
pub struct Entry {
    /// Position; of the last transaction before it for a sync.
    pub zxid: Zxid,
    /// End of this entry's effects in the segment's list; the previous entry's end is the start.
    pub effects_end: u32,
    /// Whom to answer; `None` if the client is not connected here.
    pub completion: Option<Completion>,
}

/// The answer to a request of a connection of this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Connection that asked.
    pub conn: ConnId,
    /// What to send.
    pub answer: Answer,
}

/// What a completion tells its connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Reply to the request with this xid. The opcode tells the form of the body.
    Reply {
        /// The client's number.
        xid: Xid,
        /// Operation number as submitted.
        opcode: i32,
        /// Result.
        outcome: Outcome,
        /// When the shard received it, for latency.
        received: Mono,
    },
    /// The new session exists: send the connect response.
    SessionCreated {
        /// Session.
        session: SessionId,
        /// Negotiated timeout, ms.
        timeout_ms: i32,
        /// Its password.
        password: Password,
    },
    /// The session expired or was closed by somebody else: close the connection without a word.
    SessionEnded,
}

/// Creates a feed of `slots` batches (a power of two) for so many shards.
pub fn feed(shards: usize, slots: usize) -> (Publisher, Vec<Subscriber>) {
    let _ = (shards, slots);
    unimplemented!()
}

/// The core's end.
pub struct Publisher {}

impl Publisher {
    /// Batches that can be published before the slowest shard must consume one.
    pub fn free(&self) -> usize {
        unimplemented!()
    }

    /// Makes a batch visible to all shards. There must be a free slot.
    pub fn publish(&mut self, batch: CommitBatch) {
        let _ = batch;
        unimplemented!()
    }

    /// Batches that the slowest shard has not consumed.
    pub fn lag(&self) -> u64 {
        unimplemented!()
    }
}

/// A shard's end.
pub struct Subscriber {}

impl Subscriber {
    /// The next batch, if one is published that this shard has not consumed. Calling it again
    /// says that the previous batch is done with.
    pub fn next(&mut self) -> Option<Arc<CommitBatch>> {
        unimplemented!()
    }

    /// Batches published and not yet taken.
    pub fn pending(&self) -> u64 {
        unimplemented!()
    }
}
