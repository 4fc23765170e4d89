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

use crate::link::{ConnId, Password, ShardId};

/// The ring itself, with the safety argument.
pub mod ring;

/// The primitives of [`ring`], named here so that the model test can put loom's in their place.
mod sync {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    /// [`std::cell::UnsafeCell`] with loom's way of access.
    pub(super) struct Cell<T>(std::cell::UnsafeCell<T>);

    impl<T> Cell<T> {
        pub(super) fn new(value: T) -> Cell<T> {
            Cell(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

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
    let (producer, consumers) = ring::ring(shards, slots);
    let subscribers = consumers.into_iter().map(|consumer| Subscriber { consumer }).collect();
    (Publisher { producer }, subscribers)
}

/// The core's end.
pub struct Publisher {
    producer: ring::Producer<CommitBatch>,
}

impl Publisher {
    /// Batches that can be published before the slowest shard must consume one.
    pub fn free(&self) -> usize {
        self.producer.free()
    }

    /// Makes a batch visible to all shards. There must be a free slot.
    pub fn publish(&mut self, batch: CommitBatch) {
        self.producer.publish(batch);
    }

    /// Batches that the slowest shard has not consumed.
    pub fn lag(&self) -> u64 {
        self.producer.lag()
    }

    /// Batches that this shard has not consumed.
    pub fn lag_of(&self, shard: ShardId) -> u64 {
        self.producer.lag_of(usize::from(shard.0))
    }

    /// True if the shard wants to be woken for every batch. To be asked after publishing.
    pub fn interested(&self, shard: ShardId) -> bool {
        self.producer.interested(usize::from(shard.0))
    }

    /// Drops batches that every shard has left behind. Publishing does it too.
    pub fn reclaim(&mut self) {
        self.producer.reclaim();
    }
}

/// A shard's end.
///
/// The feed keeps a batch until the shard has taken *two* more, so both the batch in hand and the
/// version that the previous one left as the shard's view may be let go at leisure: the last
/// reference is dropped on the core's thread, which owns the tree's memory.
pub struct Subscriber {
    consumer: ring::Consumer<CommitBatch>,
}

impl Subscriber {
    /// The next batch, if one is published that this shard has not consumed. Calling it again
    /// says that the previous batch is done with.
    #[expect(clippy::should_implement_trait, reason = "a feed has no end, an iterator would")]
    pub fn next(&mut self) -> Option<Arc<CommitBatch>> {
        self.consumer.next()
    }

    /// Batches published and not yet taken.
    pub fn pending(&self) -> u64 {
        self.consumer.pending()
    }

    /// Says whether every batch may concern this shard (it has watches), so that the core wakes
    /// it for each; otherwise it is woken for batches that answer one of its requests, and when
    /// it falls far behind. After saying yes, look at [`Subscriber::pending`] before sleeping.
    pub fn set_interested(&self, interested: bool) {
        self.consumer.set_interested(interested);
    }
}

#[cfg(test)]
mod tests;
