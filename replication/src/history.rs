//! What this server has of the one order: marks, recent entries, and how to bring another server
//! to the same point (`zab-wire` 2.7).

use std::collections::VecDeque;

use model::{Batch, Zxid};

/// How much of the committed history stays in memory for learners that come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Entries; ZooKeeper's `commitLogCount`.
    pub entries_max: usize,
    /// Bytes of entries.
    pub bytes_max: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { entries_max: 100_000, bytes_max: 64 << 20 }
    }
}

/// The own log's marks and its recent entries. `committed <= durable <= appended`, except while a
/// learner is being synchronized, when entries it knew as committed may be on their way again.
#[derive(Clone, Debug)]
pub struct History {
    batches: VecDeque<Batch>,
    entries: usize,
    bytes: usize,
    /// What comes directly before the first retained entry.
    base: Zxid,
    /// Digest of the tree there, if known.
    base_digest: Option<u64>,
    appended: Zxid,
    durable: Zxid,
    committed: Zxid,
    retention: Retention,
}

impl History {
    /// A durable history: a snapshot with the digest of its tree, the log entries that follow it,
    /// and how much of it is known to be committed.
    pub fn new(
        (snapshot, digest): (Zxid, Option<u64>),
        tail: Vec<Batch>,
        committed: Zxid,
        retention: Retention,
    ) -> History {
        let mut history = History {
            batches: VecDeque::new(),
            entries: 0,
            bytes: 0,
            base: snapshot,
            base_digest: digest,
            appended: snapshot,
            durable: snapshot,
            committed,
            retention,
        };
        for batch in tail {
            history.append(batch);
        }
        history.durable = history.appended;
        history
    }

    /// Last entry given to the own log.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Last entry of the own log that is durable.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// Last entry reported as committed to the caller; never goes back.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Where the last batch ends that is committed as a whole: a position at which the caller has
    /// a state to send.
    pub fn committed_batch(&self) -> Zxid {
        let whole = self.batches.partition_point(|batch| batch.last() <= self.committed);
        match whole.checked_sub(1).map(|at| &self.batches[at]) {
            Some(batch) => batch.last(),
            None => self.base.min(self.committed),
        }
    }

    /// What comes directly before the first entry in memory.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// Takes entries that follow everything there is.
    pub fn append(&mut self, batch: Batch) {
        assert!(batch.first() > self.appended, "entries are appended in order");
        self.appended = batch.last();
        self.entries += batch.count();
        self.bytes += batch.bytes().len();
        self.batches.push_back(batch);
        self.trim();
    }

    /// The log reports durability.
    pub fn persisted(&mut self, upto: Zxid) {
        assert!(upto <= self.appended, "only appended entries become durable");
        self.durable = self.durable.max(upto);
    }

    /// Marks everything up to `upto` committed; true if that is news.
    pub fn commit(&mut self, upto: Zxid) -> bool {
        let news = upto > self.committed;
        if news {
            self.committed = upto;
            self.trim();
        }
        news
    }

    /// The log was cut and ends at `end` now; the digest of the tree there, if known.
    pub fn truncated(&mut self, end: Zxid, digest: Option<u64>) {
        (self.appended, self.durable) = (end, end);
        while let Some(batch) = self.batches.pop_back() {
            self.entries -= batch.count();
            self.bytes -= batch.bytes().len();
            if let Some(keep) = batch.upto(end) {
                self.entries += keep.count();
                self.bytes += keep.bytes().len();
                self.batches.push_back(keep);
                return;
            }
        }
        (self.base, self.base_digest) = (end, digest);
    }

    /// A snapshot with a tree of that digest replaced everything.
    pub fn replaced(&mut self, at: Zxid, digest: Option<u64>) {
        self.batches.clear();
        (self.entries, self.bytes) = (0, 0);
        self.base_digest = digest;
        (self.base, self.appended, self.durable) = (at, at, at);
    }

    /// Entries after `after` up to `upto`, as far as they are in memory.
    pub fn range(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        let start = self.batches.partition_point(|batch| batch.last() <= after);
        self.batches
            .range(start..)
            .flat_map(Batch::entries)
            .skip_while(move |(zxid, _)| *zxid <= after)
            .take_while(move |(zxid, _)| *zxid <= upto)
    }

    /// Digest of the tree after the entry `at`, which is in memory or comes directly before what
    /// is. An entry carries the one after it, unless it changes nothing. None if the last one that
    /// changed anything carries none, as where ZooKeeper is told not to compute it.
    pub fn digest_at(&self, at: Zxid) -> Option<u64> {
        let upto = self.batches.partition_point(|batch| batch.first() <= at);
        let said = self.batches.range(..upto).rev().find_map(|batch| said_by(batch, at));
        said.map_or_else(|| self.base_digest.filter(|_| at >= self.base), Said::digest)
    }

    /// True if every entry after `after` is in memory.
    pub fn reaches_back_to(&self, after: Zxid) -> bool {
        after >= self.base
    }

    /// How to bring a learner whose log ends at `peer` to `upto`. `last` is what the leader calls
    /// its own position: `upto`, or the start of its epoch if nothing happened since.
    pub fn plan(&self, peer: Zxid, upto: Zxid, last: Zxid, force_snapshot: bool) -> SyncPlan {
        let min = self.batches.front().map(Batch::first).filter(|min| *min <= upto);
        let (min, max) = (min.unwrap_or(upto), upto);
        let place = if peer > max {
            Place::Above
        } else if peer >= min {
            Place::Within
        } else if peer == self.base && peer > Zxid::ZERO {
            Place::AtBase
        } else {
            Place::Below
        };
        let start = self.batches.partition_point(|batch| batch.last() < peer);
        let next = self.batches.range(start..).flat_map(Batch::entries).map(|(zxid, _)| zxid);
        let meets = match next.skip_while(|zxid| *zxid < peer).take_while(|z| *z <= max).next() {
            Some(zxid) if zxid == peer => Meets::Itself,
            Some(zxid) if zxid.epoch() == peer.epoch() => Meets::SameEpoch,
            // The learner went on in the epoch of our last entry, which it therefore has.
            None if max.epoch() == peer.epoch() && max.counter() > 0 => Meets::SameEpoch,
            Some(_) | None => Meets::OtherEpoch,
        };
        let epoch_start = peer.counter() == 0;
        let facts = SyncFacts {
            force_snapshot,
            equal: peer == last || peer == upto,
            place,
            meets,
            epoch_start,
        };
        match facts.verdict() {
            Verdict::Nothing => SyncPlan::Diff { announce: peer, after: peer },
            Verdict::Diff => SyncPlan::Diff { announce: max, after: peer },
            Verdict::TruncToEnd => SyncPlan::Trunc { to: max },
            Verdict::TruncBefore => SyncPlan::Trunc { to: self.before(peer) },
            Verdict::Snap => SyncPlan::Snap,
        }
    }

    /// The last entry in memory before `zxid`.
    fn before(&self, zxid: Zxid) -> Zxid {
        let upto = self.batches.partition_point(|batch| batch.first() < zxid);
        match upto.checked_sub(1).map(|at| &self.batches[at]) {
            Some(batch) => batch.last().min(Zxid(zxid.0 - 1)),
            None => self.base,
        }
    }

    /// Drops the oldest committed and durable entries beyond what is retained.
    fn trim(&mut self) {
        while self.entries > self.retention.entries_max || self.bytes > self.retention.bytes_max {
            let safe = self.committed.min(self.durable);
            let Some(oldest) = self.batches.front().filter(|batch| batch.last() <= safe) else {
                return;
            };
            self.base = oldest.last();
            self.base_digest = said_by(oldest, self.base).map_or(self.base_digest, Said::digest);
            self.entries -= oldest.count();
            self.bytes -= oldest.bytes().len();
            self.batches.pop_front();
        }
    }
}

/// What an entry that changed something says of the tree after it.
enum Said {
    Digest(u64),
    Nothing,
}

impl Said {
    fn digest(self) -> Option<u64> {
        match self {
            Said::Digest(digest) => Some(digest),
            Said::Nothing => None,
        }
    }
}

/// What the last entry up to `at` says that changed anything; none if the batch holds no such one.
fn said_by(batch: &Batch, at: Zxid) -> Option<Said> {
    let upto = batch.entries().rev().skip_while(|(zxid, _)| *zxid > at);
    upto.map(|(_, entry)| model::txn::decode_entry(entry)).find_map(|decoded| match decoded {
        Ok((_, model::Txn::Error { .. }, _)) => None,
        Ok((_, _, Some(digest))) => Some(Said::Digest(digest.0)),
        Ok((_, _, None)) | Err(_) => Some(Said::Nothing),
    })
}

/// What a leader does for a learner before NEWLEADER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPlan {
    /// Send DIFF, then the entries that follow `after`.
    Diff {
        /// zxid of the DIFF packet.
        announce: Zxid,
        /// The learner has everything up to here.
        after: Zxid,
    },
    /// Send TRUNC, then the entries that follow.
    Trunc {
        /// Last entry the learner keeps.
        to: Zxid,
    },
    /// Send a snapshot, then the entries that follow it.
    Snap,
}

/// Where a learner's end lies relative to the entries in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Below,
    /// Directly before the first one. ZooKeeper has no such row; it is exact, as the entries in
    /// memory are known to follow their base without a gap.
    AtBase,
    Within,
    Above,
}

/// The first entry at or after a learner's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meets {
    /// Is the learner's last entry.
    Itself,
    /// Is a later one of the same epoch: the learner's own last entry is not in this history.
    /// Or there is none, and the history ends in that epoch.
    SameEpoch,
    /// Belongs to another epoch, or there is none.
    OtherEpoch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Nothing,
    Diff,
    TruncToEnd,
    TruncBefore,
    Snap,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SyncFacts {
    force_snapshot: bool,
    /// The learner is where the leader is.
    equal: bool,
    place: Place,
    meets: Meets,
    /// The learner reports the start of an epoch, which is no entry.
    epoch_start: bool,
}

/// One row: `None` matches anything.
struct Row {
    force_snapshot: Option<bool>,
    equal: Option<bool>,
    place: Option<Place>,
    meets: Option<Meets>,
    epoch_start: Option<bool>,
    verdict: Verdict,
}

const fn row(
    force_snapshot: Option<bool>,
    equal: Option<bool>,
    place: Option<Place>,
    meets: Option<Meets>,
    epoch_start: Option<bool>,
    verdict: Verdict,
) -> Row {
    Row { force_snapshot, equal, place, meets, epoch_start, verdict }
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// The decision as data. Every combination of facts matches exactly one row.
///
/// One row is stricter than ZooKeeper's leader, which also truncates learners that end in a later
/// epoch than its own last entry. Such a learner may lack the entry to truncate to, and ZooKeeper's
/// truncation then keeps the one after it (`zab-wire` 5.3). A snapshot is always right.
#[rustfmt::skip]
const TABLE: [Row; 13] = [
    //  forced equal place                 meets                    start verdict
    row(YES,   None, None,                 None,                    None, Verdict::Snap),
    row(NO,    YES,  None,                 None,                    None, Verdict::Nothing),
    row(NO,    NO,   Some(Place::Above),   Some(Meets::SameEpoch),  NO,   Verdict::TruncToEnd),
    row(NO,    NO,   Some(Place::Above),   Some(Meets::OtherEpoch), NO,   Verdict::Snap),
    row(NO,    NO,   Some(Place::Above),   Some(Meets::Itself),     NO,   Verdict::Snap),
    row(NO,    NO,   Some(Place::Above),   None,                    YES,  Verdict::Snap),
    row(NO,    NO,   Some(Place::Within),  Some(Meets::Itself),     None, Verdict::Diff),
    row(NO,    NO,   Some(Place::Within),  Some(Meets::SameEpoch),  YES,  Verdict::Diff),
    row(NO,    NO,   Some(Place::Within),  Some(Meets::OtherEpoch), YES,  Verdict::Diff),
    row(NO,    NO,   Some(Place::Within),  Some(Meets::SameEpoch),  NO,   Verdict::TruncBefore),
    row(NO,    NO,   Some(Place::Within),  Some(Meets::OtherEpoch), NO,   Verdict::Snap),
    row(NO,    NO,   Some(Place::AtBase),  None,                    None, Verdict::Diff),
    row(NO,    NO,   Some(Place::Below),   None,                    None, Verdict::Snap),
];

impl Row {
    fn matches(&self, facts: SyncFacts) -> bool {
        self.force_snapshot.is_none_or(|want| want == facts.force_snapshot)
            && self.equal.is_none_or(|want| want == facts.equal)
            && self.place.is_none_or(|want| want == facts.place)
            && self.meets.is_none_or(|want| want == facts.meets)
            && self.epoch_start.is_none_or(|want| want == facts.epoch_start)
    }
}

impl SyncFacts {
    fn verdict(self) -> Verdict {
        let row = TABLE.iter().find(|row| row.matches(self));
        row.expect("a test shows that every combination has its row").verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::jute::Writer;
    use model::txn::encode_entry;
    use model::{Epoch, Txn, TxnDigest, TxnHeader};

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn batch(epoch: u32, first: u32, count: u32) -> Batch {
        let ends: Vec<u32> = (1..=count).collect();
        Batch::new(z(epoch, first), vec![b'x'; count as usize], ends)
    }

    #[test]
    fn every_combination_matches_one_row() {
        for force_snapshot in [false, true] {
            for equal in [false, true] {
                for place in [Place::Below, Place::AtBase, Place::Within, Place::Above] {
                    for meets in [Meets::Itself, Meets::SameEpoch, Meets::OtherEpoch] {
                        for epoch_start in [false, true] {
                            let facts =
                                SyncFacts { force_snapshot, equal, place, meets, epoch_start };
                            let rows = TABLE.iter().filter(|row| row.matches(facts)).count();
                            assert_eq!(rows, 1, "{facts:?}");
                        }
                    }
                }
            }
        }
    }

    /// The table observed on a ZooKeeper 3.9.5 leader with history 1:1..1:c and 2:1..2:8.
    #[test]
    fn observed_decisions() {
        let tail = vec![batch(1, 1, 5), batch(1, 6, 7), batch(2, 1, 8)];
        let history = History::new((Zxid::ZERO, None), tail, z(2, 8), Retention::default());
        let check = |peer: Zxid, expect: SyncPlan, pairs: usize| {
            let plan = history.plan(peer, z(2, 8), z(2, 8), false);
            assert_eq!(plan, expect, "{peer:?}");
            if let SyncPlan::Diff { after, .. } = plan {
                assert_eq!(history.range(after, z(2, 8)).count(), pairs, "{peer:?}");
            }
        };
        let diff = |after| SyncPlan::Diff { announce: z(2, 8), after };
        check(Zxid::ZERO, SyncPlan::Snap, 0);
        check(Zxid(-1), SyncPlan::Snap, 0);
        check(z(1, 0), SyncPlan::Snap, 0);
        check(z(1, 4), diff(z(1, 4)), 16);
        check(z(1, 12), diff(z(1, 12)), 8);
        check(z(1, 40), SyncPlan::Snap, 0);
        check(z(2, 0), diff(z(2, 0)), 8);
        check(z(2, 8), diff(z(2, 8)), 0);
        check(z(2, 99), SyncPlan::Trunc { to: z(2, 8) }, 0);
        // ZooKeeper answers TRUNC(2:8); see the table for why we do not.
        check(z(3, 1), SyncPlan::Snap, 0);
        check(z(3, 0), SyncPlan::Snap, 0);
        assert_eq!(history.plan(z(2, 8), z(2, 8), z(2, 8), true), SyncPlan::Snap);
        // Entries that are proposed and not committed are beyond the end.
        assert_eq!(history.plan(z(2, 8), z(2, 5), z(2, 5), false), SyncPlan::Trunc { to: z(2, 5) });
    }

    #[test]
    fn truncation_goes_back_to_what_is_shared() {
        let tail = vec![batch(1, 1, 3), batch(1, 6, 3)];
        let history = History::new((Zxid::ZERO, None), tail, z(1, 8), Retention::default());
        let plan = history.plan(z(1, 5), z(1, 8), z(1, 8), false);
        assert_eq!(plan, SyncPlan::Trunc { to: z(1, 3) });
    }

    #[test]
    fn empty_epochs_and_empty_servers() {
        let history = History::new((z(1, 7), None), vec![], z(1, 7), Retention::default());
        let plan = |peer, last| history.plan(peer, z(1, 7), last, false);
        let nothing = SyncPlan::Diff { announce: z(1, 7), after: z(1, 7) };
        assert_eq!(plan(z(1, 7), z(1, 7)), nothing);
        let start = SyncPlan::Diff { announce: z(2, 0), after: z(2, 0) };
        assert_eq!(plan(z(2, 0), z(2, 0)), start);
        assert_eq!(plan(z(1, 6), z(2, 0)), SyncPlan::Snap);
        assert_eq!(plan(z(1, 7), z(2, 0)), SyncPlan::Diff { announce: z(1, 7), after: z(1, 7) });
        assert_eq!(plan(z(1, 9), z(2, 0)), SyncPlan::Trunc { to: z(1, 7) });
        let empty = History::new((Zxid::ZERO, None), vec![], Zxid::ZERO, Retention::default());
        let nothing = SyncPlan::Diff { announce: Zxid::ZERO, after: Zxid::ZERO };
        assert_eq!(empty.plan(Zxid::ZERO, Zxid::ZERO, Zxid::ZERO, false), nothing);
        assert_eq!(empty.plan(z(0, 3), Zxid::ZERO, Zxid::ZERO, false), SyncPlan::Snap);
        assert_eq!(empty.plan(Zxid(-1), Zxid::ZERO, Zxid::ZERO, false), SyncPlan::Snap);
    }

    #[test]
    fn marks_and_cuts() {
        let retention = Retention { entries_max: 6, bytes_max: 1000 };
        let snapshot = (z(1, 2), None);
        let mut history = History::new(snapshot, vec![batch(1, 3, 4)], z(1, 2), retention);
        assert_eq!((history.appended(), history.durable()), (z(1, 6), z(1, 6)));
        history.append(batch(2, 1, 4));
        assert_eq!(history.base(), z(1, 2), "nothing uncommitted is dropped");
        assert_eq!(
            history.plan(z(1, 2), z(1, 6), z(1, 6), false),
            SyncPlan::Diff { announce: z(1, 6), after: z(1, 2) }
        );
        history.persisted(z(2, 2));
        assert!(history.commit(z(2, 1)));
        assert!(!history.commit(z(2, 1)));
        assert_eq!(history.base(), z(1, 6));
        assert!(history.reaches_back_to(z(1, 6)) && !history.reaches_back_to(z(1, 5)));
        history.truncated(z(2, 3), None);
        assert_eq!(history.appended(), z(2, 3));
        assert_eq!(history.range(Zxid::ZERO, z(9, 9)).count(), 3);
        history.truncated(z(1, 1), None);
        assert_eq!((history.base(), history.range(Zxid::ZERO, z(9, 9)).count()), (z(1, 1), 0));
        history.replaced(z(3, 0), None);
        assert_eq!((history.base(), history.appended()), (z(3, 0), z(3, 0)));
    }

    fn txns(first: Zxid, txns: &[(Txn<'_>, Option<u64>)]) -> Batch {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (at, (txn, digest)) in (first.0..).zip(txns) {
            let header = TxnHeader { zxid: Zxid(at), ..TxnHeader::default() };
            encode_entry(&header, txn, digest.map(TxnDigest), &mut Writer::new(&mut bytes));
            ends.push(bytes.len() as u32);
        }
        Batch::new(first, bytes, ends)
    }

    /// An error carries the digest before it was judged, or none: it changes nothing.
    #[test]
    fn digests_outlive_their_entries() {
        let close = Txn::CloseSession { paths: None };
        let error = Txn::Error { code: -101 };
        let retention = Retention { entries_max: 2, bytes_max: 1 << 20 };
        let mut history = History::new((z(1, 2), Some(20)), vec![], z(1, 2), retention);
        assert_eq!(history.digest_at(z(1, 2)), Some(20));
        assert_eq!(history.digest_at(z(1, 1)), None, "it is not known what was before");
        let append = |history: &mut History, batch: Batch| {
            let last = batch.last();
            history.append(batch);
            history.persisted(last);
            history.commit(last);
        };
        append(&mut history, txns(z(1, 3), &[(error.clone(), Some(9)), (close.clone(), Some(40))]));
        let at = |history: &History, counter| history.digest_at(z(1, counter));
        assert_eq!([at(&history, 2), at(&history, 3), at(&history, 4)], [20, 20, 40].map(Some));
        append(&mut history, txns(z(1, 5), &[(error.clone(), None), (error.clone(), None)]));
        assert_eq!(history.base(), z(1, 4));
        assert_eq!([at(&history, 4), at(&history, 6)], [40, 40].map(Some));
        append(&mut history, txns(z(1, 7), &[(error.clone(), None), (error, None)]));
        assert_eq!((history.base(), at(&history, 8)), (z(1, 6), Some(40)));
        append(&mut history, txns(z(2, 1), &[(close.clone(), None), (close, Some(60))]));
        assert_eq!(history.digest_at(z(2, 1)), None, "its leader did not say");
        assert_eq!(history.digest_at(z(2, 2)), Some(60));
        history.truncated(z(1, 8), Some(80));
        assert_eq!((history.base(), at(&history, 8)), (z(1, 8), Some(80)));
        history.replaced(z(3, 0), Some(30));
        assert_eq!(history.digest_at(z(3, 0)), Some(30));
    }
}
