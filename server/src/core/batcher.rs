//! The open batch: executed, not yet proposed.
//!
//! No timer closes it. It is closed when the log can take it, or when it is full.

use engine::draft::Decided;
use engine::{Effects, Version};
use model::jute::Writer;
use model::txn::encode_entry;
use model::{Batch, Zxid};

use crate::feed::{CommitBatch, Completion, Entry, Segment};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX};
use crate::link::ShardId;

/// A set of shards.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardSet(Vec<u64>);

impl ShardSet {
    pub(super) fn insert(&mut self, shard: ShardId) {
        let (word, bit) = (usize::from(shard.0) / 64, shard.0 % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    pub(super) fn contains(&self, shard: ShardId) -> bool {
        let word = self.0.get(usize::from(shard.0) / 64).copied().unwrap_or(0);
        word >> (shard.0 % 64) & 1 == 1
    }
}

/// A closed batch: what to log (nothing, if it holds syncs and refusals only) and what to publish
/// once that is committed.
pub(super) struct Closed {
    pub(super) log: Option<Batch>,
    pub(super) publish: CommitBatch,
    /// Shards whose requests it answers.
    pub(super) shards: ShardSet,
}

/// Collects entries.
#[derive(Default)]
pub(super) struct Batcher {
    first: Option<Zxid>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    segments: Vec<Segment>,
    /// Changes of the open segment; operations are executed into it.
    pub(super) effects: Effects,
    entries: Vec<Entry>,
    count: usize,
    shards: ShardSet,
}

impl Batcher {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// True if there is something for the log.
    pub(super) fn has_transactions(&self) -> bool {
        self.first.is_some()
    }

    /// True if nothing of about `bytes` bytes can join. A big request joins no others.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let crowded = !self.is_empty() && self.bytes.len() + bytes > BATCH_BYTES_MAX;
        crowded || self.bytes.len() >= BATCH_BYTES_MAX || self.count >= BATCH_ENTRIES_MAX
    }

    /// True if this zxid continues the batch.
    pub(super) fn continues(&self, zxid: Zxid) -> bool {
        self.first.is_none_or(|first| Zxid(first.0 + self.ends.len() as i64) == zxid)
    }

    /// Adds a decided transaction, whose changes were appended to [`Batcher::effects`].
    pub(super) fn push(&mut self, decided: &Decided<'_>, completion: Option<Completion>) {
        let zxid = decided.header.zxid;
        debug_assert!(self.continues(zxid), "zxids of a batch are consecutive");
        self.first.get_or_insert(zxid);
        let mut out = Writer::new(&mut self.bytes);
        encode_entry(&decided.header, &decided.txn, decided.digest, &mut out);
        self.ends.push(self.bytes.len() as u32);
        self.note(zxid, completion);
    }

    /// Adds an entry without a transaction, after `zxid`.
    pub(super) fn note(&mut self, zxid: Zxid, completion: Option<Completion>) {
        if let Some(completion) = &completion {
            self.shards.insert(completion.conn.shard);
        }
        let effects_end = self.effects.list.len() as u32;
        self.entries.push(Entry { zxid, effects_end, completion });
        self.count += 1;
    }

    /// Ends the open segment with this version. Nothing happens if it has no entries: the version
    /// before it was published already.
    pub(super) fn cut(&mut self, version: impl FnOnce() -> Version) {
        if self.entries.is_empty() {
            return;
        }
        // The next segment under load resembles this one; few entries are often the last ones.
        let count = if self.entries.len() < 8 { 0 } else { self.entries.len() };
        let effects = Effects {
            bytes: Vec::with_capacity(if count == 0 { 0 } else { self.effects.bytes.len() }),
            list: Vec::with_capacity(count.min(self.effects.list.len())),
        };
        self.segments.push(Segment {
            version: version(),
            effects: std::mem::replace(&mut self.effects, effects),
            entries: std::mem::replace(&mut self.entries, Vec::with_capacity(count)),
        });
    }

    /// Ends the batch with this version. It must not be empty.
    pub(super) fn close(&mut self, version: impl FnOnce() -> Version) -> Closed {
        self.cut(version);
        self.count = 0;
        let log = self.first.take().map(|first| {
            let batch = Batch::new(first, &self.bytes[..], &self.ends[..]);
            self.bytes.clear();
            self.ends.clear();
            batch
        });
        Closed {
            log,
            publish: CommitBatch { segments: std::mem::take(&mut self.segments) },
            shards: std::mem::take(&mut self.shards),
        }
    }
}
