//! Proposed batches on their way to the shards: they wait here, in order, until replication has
//! committed them and the feed has room.

use std::collections::VecDeque;

use engine::Version;
use model::Zxid;

use super::batcher::{Closed, ShardSet};
use crate::feed::{CommitBatch, Publisher};
use crate::limits::{FEED_LAG_WAKE, PIPELINE_BATCHES_MAX};
use crate::link::ShardId;

struct Waiting {
    /// Last position the batch depends on.
    upto: Zxid,
    transactions: u64,
    batch: CommitBatch,
    shards: ShardSet,
}

/// The queue in front of the feed, and the feed.
pub(super) struct Publication {
    feed: Publisher,
    waiting: VecDeque<Waiting>,
    committed: Zxid,
    published: Zxid,
    /// State at the last committed batch.
    version: Version,
    /// Transactions committed.
    transactions: u64,
    /// Shards to wake at the end of the turn.
    wake: ShardSet,
}

impl Publication {
    pub(super) fn new(feed: Publisher, version: Version) -> Publication {
        let zxid = version.zxid();
        Publication {
            feed,
            waiting: VecDeque::new(),
            committed: zxid,
            published: zxid,
            version,
            transactions: 0,
            wake: ShardSet::default(),
        }
    }

    /// True if another batch may be proposed.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < PIPELINE_BATCHES_MAX
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything up to here is visible to the shards.
    pub(super) fn published(&self) -> Zxid {
        self.published
    }

    /// State after the last committed batch.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Takes a closed batch that may be published once `upto` is committed.
    pub(super) fn push(&mut self, upto: Zxid, closed: Closed) {
        let transactions = closed.log.as_ref().map_or(0, |batch| batch.count() as u64);
        let Closed { publish: batch, shards, .. } = closed;
        self.waiting.push_back(Waiting { upto, transactions, batch, shards });
    }

    /// Everything up to here is committed.
    pub(super) fn commit(&mut self, upto: Zxid) {
        assert!(upto >= self.committed, "commits never go back");
        let before = std::mem::replace(&mut self.committed, upto);
        for newly in self.waiting.iter().filter(|w| w.upto > before && w.upto <= upto) {
            self.transactions += newly.transactions;
            let segment = newly.batch.segments.last().expect("a batch has a segment");
            self.version = segment.version.clone();
        }
    }

    /// Transactions committed since start.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Publishes what is committed, as far as the feed has room.
    pub(super) fn publish(&mut self, shards: u16) {
        while self.feed.free() > 0
            && self.waiting.front().is_some_and(|first| first.upto <= self.committed)
        {
            let Some(first) = self.waiting.pop_front() else { return };
            self.published = first.upto;
            self.feed.publish(first.batch);
            for shard in (0..shards).map(ShardId) {
                if first.shards.contains(shard)
                    || self.feed.interested(shard)
                    || self.feed.lag_of(shard) >= FEED_LAG_WAKE
                {
                    self.wake.insert(shard);
                }
            }
        }
    }

    /// Names the shards to wake, once, and lets go of batches that nobody needs.
    pub(super) fn end_turn(&mut self, shards: u16, wake: &mut Vec<ShardId>) {
        self.feed.reclaim();
        let marked = std::mem::take(&mut self.wake);
        wake.extend((0..shards).map(ShardId).filter(|&shard| marked.contains(shard)));
    }
}
