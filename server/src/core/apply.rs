//! Appended batches on their way to the shards: they wait here, in order, until replication has
//! committed them and the feed has room. What was not committed can be taken back.

use std::collections::VecDeque;

use engine::Version;
use model::{Batch, Zxid};

use super::batcher::{Closed, ShardSet};
use crate::feed::{CommitBatch, Publisher, Segment};
use crate::limits::PIPELINE_BATCHES_MAX;
use crate::link::ShardId;

struct Waiting {
    /// Last position the batch depends on.
    upto: Zxid,
    transactions: u64,
    /// Its entries, to be applied anew if a part of them is cut off; several if they were
    /// recovered; none for syncs and refusals alone.
    log: Vec<Batch>,
    /// The replica has taken it into the history.
    appended: bool,
    committed: bool,
    batch: CommitBatch,
    shards: ShardSet,
}

impl Waiting {
    fn version(&self) -> &Version {
        &self.batch.segments.last().expect("a batch has a segment").version
    }
}

/// What a cut leaves: the state to go back to, and entries to apply to it again.
pub(super) struct Cut {
    pub(super) version: Version,
    pub(super) again: Vec<Batch>,
}

/// The queue in front of the feed, and the feed.
pub(super) struct Publication {
    feed: Publisher,
    waiting: VecDeque<Waiting>,
    published: Zxid,
    /// State at the last committed batch.
    version: Version,
    /// State that the shards see, or will once they look.
    shown: Version,
    /// Transactions committed.
    transactions: u64,
    /// Shards to wake at the end of the turn.
    wake: ShardSet,
}

impl Publication {
    /// Starts at a version that the shards have.
    pub(super) fn new(feed: Publisher, version: Version) -> Publication {
        Publication {
            feed,
            waiting: VecDeque::new(),
            published: version.zxid(),
            shown: version.clone(),
            version,
            transactions: 0,
            wake: ShardSet::default(),
        }
    }

    /// True if another batch may be proposed.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < PIPELINE_BATCHES_MAX
    }

    /// Batches that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything up to here is visible to the shards.
    pub(super) fn published(&self) -> Zxid {
        self.published
    }

    /// State after the last published batch.
    pub(super) fn shown(&self) -> &Version {
        &self.shown
    }

    /// State after the last committed batch.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Takes a closed batch that may be published once `upto` is committed. One that was made
    /// here counts only once [`Publication::appended`] says so.
    pub(super) fn push(&mut self, upto: Zxid, closed: Closed, appended: bool) {
        let Closed { log, publish: batch, shards } = closed;
        let transactions = log.as_ref().map_or(0, |batch| batch.count() as u64);
        let log = Vec::from_iter(log);
        let notes_only = log.is_empty();
        let committed = notes_only && self.waiting.back().is_none_or(|last| last.committed);
        let appended = appended && !notes_only;
        self.waiting.push_back(Waiting {
            upto,
            transactions,
            log,
            appended,
            committed,
            batch,
            shards,
        });
    }

    /// Takes a state that stands for a whole history: a snapshot that was received, or what was
    /// found in the own log, whose entries these are.
    pub(super) fn push_state(&mut self, version: Version, log: Vec<Batch>) {
        let upto = version.zxid();
        let segment = Segment { version, effects: engine::Effects::default(), entries: Vec::new() };
        self.waiting.push_back(Waiting {
            upto,
            transactions: log.iter().map(|batch| batch.count() as u64).sum(),
            log,
            appended: true,
            committed: false,
            batch: CommitBatch { segments: vec![segment] },
            shards: ShardSet::default(),
        });
    }

    /// True if a batch that begins here was made here and is not appended yet; then it is now.
    pub(super) fn appended(&mut self, batch: &Batch) -> bool {
        let first = |waiting: &&mut Waiting| {
            !waiting.appended && waiting.log.first().map(Batch::first) == Some(batch.first())
        };
        let made = self.waiting.iter_mut().find(first);
        made.map(|waiting| waiting.appended = true).is_some()
    }

    /// Forgets what was made here and never appended, with all answers behind it, and names the
    /// state that remains.
    pub(super) fn drop_speculation(&mut self) -> &Version {
        while self.waiting.back().is_some_and(|last| !last.appended && !last.committed) {
            self.waiting.pop_back();
        }
        self.last()
    }

    /// State after the last batch.
    fn last(&self) -> &Version {
        self.waiting.back().map_or(&self.version, Waiting::version)
    }

    /// True if a state at or before `to` is here, from which the one at `to` can be made.
    pub(super) fn reaches_back_to(&self, to: Zxid) -> bool {
        self.version.zxid() <= to || self.waiting.iter().any(|waiting| waiting.upto <= to)
    }

    /// Takes back what lies after `to`. None if the state to go back to is not here any more.
    pub(super) fn cut(&mut self, to: Zxid) -> Option<Cut> {
        let mut again = Vec::new();
        while let Some(last) = self.waiting.back() {
            if last.upto <= to {
                break;
            }
            again.clone_from(&last.log);
            self.waiting.pop_back();
        }
        again.retain(|batch| batch.first() <= to);
        if let Some(last) = again.last_mut() {
            *last = last.upto(to)?;
        }
        let version = self.last().clone();
        (version.zxid() <= to).then_some(Cut { version, again })
    }

    /// Forgets everything that waits: another state takes its place.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Everything up to here is committed.
    pub(super) fn commit(&mut self, upto: Zxid) {
        for newly in self.waiting.iter_mut().take_while(|waiting| waiting.upto <= upto) {
            if !std::mem::replace(&mut newly.committed, true) {
                self.transactions += newly.transactions;
                self.version = newly.version().clone();
            }
        }
    }

    /// Transactions committed since start.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Publishes what is committed, as far as the feed has room.
    pub(super) fn publish(&mut self, shards: u16) {
        while self.feed.free() > 0 && self.waiting.front().is_some_and(|first| first.committed) {
            let Some(first) = self.waiting.pop_front() else { return };
            self.published = first.upto;
            self.shown = first.version().clone();
            self.feed.publish(first.batch);
            // A shard that has nothing to do is woken all the same once half the ring waits for
            // it, so that it neither holds versions for long nor fills the ring.
            let far = (self.feed.free() as u64).midpoint(self.feed.lag());
            for shard in (0..shards).map(ShardId) {
                if first.shards.contains(shard)
                    || self.feed.interested(shard)
                    || self.feed.lag_of(shard) >= far
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
