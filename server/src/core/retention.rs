//! When to take a snapshot, which to keep, and how much of the log they make superfluous.

use std::time::Duration;

use engine::disk::DiskToken;
use model::{Mono, Zxid};

use crate::admin::metrics::Summary;

/// After a snapshot failed for lack of space, the next attempt.
const RETRY: Duration = Duration::from_secs(90);
/// A restart replays the log's tail, at some 5 us an entry. Before `snapCount` is reached, a tail
/// of this part of it is cut off already if that is cheap. Not below the entries that a restart
/// replays unnoticed.
const EARLY_PART: u64 = 5;
const EARLY_ENTRIES_MIN: u64 = 20_000;
/// Cheap: the state is no larger than so many times the log that it replaces, and writing
/// snapshots takes no more than this part of the time.
const EARLY_STATE_FACTOR: u64 = 8;
const EARLY_REST_FACTOR: u32 = 20;
/// A clean stop writes a snapshot if the tail is as long as this, or this part of `snapCount`, and
/// the state such that it takes no more than a few seconds.
const STOP_ENTRIES_MAX: u64 = 20_000;
const STOP_PART: u64 = 4;
const STOP_STATE_BYTES_MAX: u64 = 1 << 30;
/// A clean stop waits no longer than this for it.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

struct Writing {
    token: DiskToken,
    zxid: Zxid,
    started: Mono,
    /// The history it belongs to is gone.
    void: bool,
}

/// What a clean stop does about the tail of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LastSnapshot {
    /// Nothing, or nothing any more.
    None,
    /// A snapshot should be begun.
    Begin,
    /// One is being written.
    Wait,
}

/// What to do after a snapshot was written.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Retired {
    /// Snapshots to remove.
    pub(super) snapshots: Vec<Zxid>,
    /// The log up to here is no longer needed.
    pub(super) log: Zxid,
}

/// Snapshots on disk and the count towards the next.
pub(super) struct Retention {
    entries_max: u64,
    bytes_max: u64,
    kept: usize,
    /// Oldest first.
    snapshots: Vec<Zxid>,
    /// Transactions committed since the last snapshot was begun, and before start.
    replayed: u64,
    committed_then: u64,
    writing: Option<Writing>,
    not_before: Mono,
    /// None is written early before this.
    resting_until: Mono,
    /// A clean stop waits no longer than this.
    stop_by: Option<Mono>,
    pub(super) failed: u64,
    pub(super) duration_ms: Summary,
}

impl Retention {
    pub(super) fn new(
        entries_max: u64,
        bytes_max: u64,
        kept: usize,
        mut snapshots: Vec<Zxid>,
        replayed: u64,
    ) -> Retention {
        snapshots.sort_unstable();
        Retention {
            entries_max,
            bytes_max,
            kept: kept.max(1),
            snapshots,
            replayed,
            committed_then: 0,
            writing: None,
            not_before: Mono(0),
            resting_until: Mono(0),
            stop_by: None,
            failed: 0,
            duration_ms: Summary::default(),
        }
    }

    /// Entries that a restart would replay.
    fn tail(&self, committed: u64) -> u64 {
        self.replayed + committed.saturating_sub(self.committed_then)
    }

    /// True if a snapshot at `zxid` could be written and would be a new one.
    fn is_possible(&self, now: Mono, zxid: Zxid) -> bool {
        self.writing.is_none()
            && now >= self.not_before
            && self.snapshots.last().is_none_or(|&last| last < zxid)
    }

    /// True if a snapshot of the state at `zxid`, of about `state_bytes`, should be begun. `bytes`
    /// of entries lie behind the last one.
    pub(super) fn is_due(
        &self,
        now: Mono,
        zxid: Zxid,
        committed: u64,
        bytes: u64,
        state_bytes: u64,
    ) -> bool {
        let entries = self.tail(committed);
        let early = entries >= (self.entries_max / EARLY_PART).max(EARLY_ENTRIES_MIN)
            && bytes.saturating_mul(EARLY_STATE_FACTOR) >= state_bytes
            && now >= self.resting_until;
        self.is_possible(now, zxid)
            && entries > 0
            && (entries >= self.entries_max || bytes >= self.bytes_max || early)
    }

    /// What to do before a clean stop at `zxid`, so that the next start is quick.
    pub(super) fn before_stop(
        &mut self,
        now: Mono,
        zxid: Zxid,
        committed: u64,
        state_bytes: u64,
    ) -> LastSnapshot {
        let limit = *self.stop_by.get_or_insert(now + STOP_WAIT_MAX);
        let worth = STOP_ENTRIES_MAX.min(self.entries_max / STOP_PART).max(1);
        if now >= limit {
            LastSnapshot::None
        } else if self.writing.is_some() {
            LastSnapshot::Wait
        } else if self.is_possible(now, zxid)
            && self.tail(committed) >= worth
            && state_bytes <= STOP_STATE_BYTES_MAX
        {
            LastSnapshot::Begin
        } else {
            LastSnapshot::None
        }
    }

    /// True if, space being short, a snapshot now would free more than it takes: `log_bytes` of
    /// the log for a state of about `state_bytes`.
    pub(super) fn would_help(
        &self,
        now: Mono,
        zxid: Zxid,
        log_bytes: u64,
        state_bytes: u64,
    ) -> bool {
        self.is_possible(now, zxid) && log_bytes > state_bytes
    }

    /// A snapshot is being written.
    pub(super) fn begin(&mut self, token: DiskToken, zxid: Zxid, committed: u64, now: Mono) {
        self.writing = Some(Writing { token, zxid, started: now, void: false });
        self.replayed = 0;
        self.committed_then = committed;
    }

    /// True while a snapshot is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// True if this is the snapshot being written.
    pub(super) fn is_mine(&self, token: DiskToken) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.token == token)
    }

    /// The snapshot is on disk: what can go now. The log is kept from the oldest snapshot kept,
    /// so that a damaged one can be made up for; a single snapshot retires nothing. While space is
    /// `short`, nothing is kept beside the newest.
    pub(super) fn written(&mut self, now: Mono, short: bool) -> Retired {
        let Some(writing) = self.writing.take() else { return Retired::default() };
        if writing.void {
            return Retired { snapshots: vec![writing.zxid], log: Zxid::ZERO };
        }
        let duration = now.since(writing.started);
        self.duration_ms.record(duration.as_millis() as u64);
        self.resting_until = now + duration * EARLY_REST_FACTOR;
        if self.snapshots.last() != Some(&writing.zxid) {
            self.snapshots.push(writing.zxid);
        }
        let kept = if short { 1 } else { self.kept };
        let excess = self.snapshots.len().saturating_sub(kept);
        let snapshots = self.snapshots.drain(..excess).collect();
        let enough = self.snapshots.len() >= kept.min(2);
        let log = if enough { self.snapshots[0] } else { Zxid::ZERO };
        Retired { snapshots, log }
    }

    /// The history was cut after `to`: the snapshots of what lies beyond, which are void.
    pub(super) fn cut(&mut self, to: Zxid) -> Vec<Zxid> {
        if let Some(writing) = &mut self.writing {
            writing.void |= writing.zxid > to;
        }
        let kept = self.snapshots.partition_point(|&zxid| zxid <= to);
        self.snapshots.split_off(kept)
    }

    /// A received snapshot has replaced all history: the others, which are void. One that is
    /// being written meanwhile is void when it is complete.
    pub(super) fn replaced(&mut self, at: Zxid) -> Vec<Zxid> {
        if let Some(writing) = &mut self.writing {
            writing.void |= writing.zxid != at;
        }
        self.replayed = 0;
        let mut others = std::mem::replace(&mut self.snapshots, vec![at]);
        others.retain(|&zxid| zxid != at);
        others
    }

    /// The snapshot could not be written for lack of space.
    pub(super) fn failed(&mut self, now: Mono) {
        self.writing = None;
        self.failed += 1;
        self.not_before = now + RETRY;
        self.replayed = self.entries_max;
    }

    /// Forgets what administrators may reset.
    pub(super) fn reset_counts(&mut self) {
        self.failed = 0;
        self.duration_ms = Summary::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(retention: &mut Retention, zxid: i64) -> Retired {
        retention.begin(DiskToken(1), Zxid(zxid), zxid as u64, Mono(0));
        retention.written(Mono(0), false)
    }

    #[test]
    fn the_log_reaches_back_to_the_oldest_snapshot_kept() {
        let mut retention = Retention::new(10, 1000, 3, vec![], 0);
        let retired = |snapshots: &[i64], log| Retired {
            snapshots: snapshots.iter().copied().map(Zxid).collect(),
            log: Zxid(log),
        };
        assert_eq!(take(&mut retention, 10), retired(&[], 0), "nothing to fall back to yet");
        assert_eq!(take(&mut retention, 20), retired(&[], 10));
        assert_eq!(take(&mut retention, 30), retired(&[], 10));
        assert_eq!(take(&mut retention, 40), retired(&[10], 20));
        retention.begin(DiskToken(1), Zxid(50), 50, Mono(0));
        assert_eq!(retention.written(Mono(0), true), retired(&[20, 30, 40], 50), "space is short");
        let mut single = Retention::new(10, 1000, 1, vec![Zxid(5)], 0);
        assert_eq!(take(&mut single, 10), retired(&[5], 10));
    }

    #[test]
    fn entries_or_bytes_make_a_snapshot_due() {
        let now = Mono(0);
        let mut retention = Retention::new(10, 1000, 3, vec![], 4);
        assert!(!retention.is_due(now, Zxid(9), 5, 0, 0));
        assert!(retention.is_due(now, Zxid(10), 6, 0, 0), "replayed entries count");
        assert!(retention.is_due(now, Zxid(9), 5, 1000, 0));
        retention.begin(DiskToken(3), Zxid(10), 6, now);
        assert!(!retention.is_due(now, Zxid(99), 99, 9999, 0), "one at a time");
        retention.failed(now);
        assert!(!retention.is_due(now + RETRY / 2, Zxid(99), 99, 9999, 0));
        assert!(retention.is_due(now + RETRY, Zxid(11), 7, 0, 0));
    }

    /// A tail that a restart would feel is cut off early, unless that costs the disk more than it
    /// is worth or would keep it busy.
    #[test]
    fn a_cheap_snapshot_is_due_early() {
        let mut retention = Retention::new(500_000, u64::MAX, 3, vec![], 0);
        let due = |retention: &Retention, now, entries, bytes, state| {
            retention.is_due(now, Zxid(entries as i64), entries, bytes, state)
        };
        let start = Mono::from_millis(1_000);
        assert!(!due(&retention, start, 99_999, 20_000_000, 160_000_000));
        assert!(due(&retention, start, 100_000, 20_000_000, 160_000_000));
        assert!(!due(&retention, start, 100_000, 20_000_000, 170_000_000), "a large state");
        assert!(due(&retention, start, 500_000, 20_000_000, 170_000_000), "snapCount");
        retention.begin(DiskToken(1), Zxid(100_000), 100_000, start);
        let end = start + Duration::from_millis(500);
        retention.written(end, false);
        let rested = end + Duration::from_millis(500) * EARLY_REST_FACTOR;
        assert!(!due(&retention, rested + Duration::ZERO, 199_999, 20_000_000, 0));
        assert!(!due(&retention, end + Duration::from_secs(5), 200_000, 20_000_000, 0));
        assert!(due(&retention, rested, 200_000, 20_000_000, 0));
        let wanted = Retention::new(50_000, u64::MAX, 3, vec![], 0);
        assert!(!due(&wanted, start, 19_999, 20_000_000, 0), "nobody feels so few");
    }

    #[test]
    fn a_clean_stop_cuts_a_long_tail_off() {
        let mut retention = Retention::new(500_000, u64::MAX, 3, vec![Zxid(7)], 15_000);
        let now = Mono(0);
        assert_eq!(retention.before_stop(now, Zxid(8), 4_999, 0), LastSnapshot::None);
        assert_eq!(retention.before_stop(now, Zxid(8), 5_000, 2 << 30), LastSnapshot::None);
        assert_eq!(retention.before_stop(now, Zxid(7), 5_000, 0), LastSnapshot::None);
        assert_eq!(retention.before_stop(now, Zxid(8), 5_000, 1 << 30), LastSnapshot::Begin);
        retention.begin(DiskToken(1), Zxid(8), 5_000, now);
        assert_eq!(retention.before_stop(now, Zxid(8), 5_000, 0), LastSnapshot::Wait);
        let late = now + STOP_WAIT_MAX;
        assert_eq!(retention.before_stop(late, Zxid(8), 5_000, 0), LastSnapshot::None);
        retention.written(now, false);
        assert_eq!(retention.before_stop(now, Zxid(8), 5_000, 0), LastSnapshot::None);
    }
}
