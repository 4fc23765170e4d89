//! When to take a snapshot, which to keep, and how much of the log they make superfluous.

use std::time::Duration;

use engine::disk::DiskToken;
use model::{Mono, Zxid};

use crate::admin::metrics::Summary;

/// After a snapshot failed for lack of space, the next attempt.
const RETRY: Duration = Duration::from_secs(90);

struct Writing {
    token: DiskToken,
    zxid: Zxid,
    started: Mono,
    /// The history it belongs to is gone.
    void: bool,
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
    /// Taken, failed, and how long they took, ms.
    pub(super) taken: u64,
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
            taken: 0,
            failed: 0,
            duration_ms: Summary::default(),
        }
    }

    /// True if a snapshot of the state at `zxid` should be begun.
    pub(super) fn is_due(&self, now: Mono, zxid: Zxid, committed: u64, bytes: u64) -> bool {
        let entries = self.replayed + committed.saturating_sub(self.committed_then);
        self.writing.is_none()
            && now >= self.not_before
            && self.snapshots.last().is_none_or(|&last| last < zxid)
            && entries > 0
            && (entries >= self.entries_max || bytes >= self.bytes_max)
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
        self.writing.is_none()
            && now >= self.not_before
            && self.snapshots.last().is_none_or(|&last| last < zxid)
            && log_bytes > state_bytes
    }

    /// A snapshot is being written.
    pub(super) fn begin(&mut self, token: DiskToken, zxid: Zxid, committed: u64, now: Mono) {
        self.writing = Some(Writing { token, zxid, started: now, void: false });
        self.replayed = 0;
        self.committed_then = committed;
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
        self.taken += 1;
        self.duration_ms.record(now.since(writing.started).as_millis() as u64);
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
        let kept = self.snapshots.partition_point(|&zxid| zxid <= to);
        self.snapshots.split_off(kept)
    }

    /// A received snapshot has replaced all history: the others, which are void. One that is
    /// being written meanwhile is void when it is complete.
    pub(super) fn replaced(&mut self, at: Zxid) -> Vec<Zxid> {
        if let Some(writing) = &mut self.writing {
            writing.void = writing.zxid != at;
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
        self.taken = 0;
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
        assert!(!retention.is_due(now, Zxid(9), 5, 0));
        assert!(retention.is_due(now, Zxid(10), 6, 0), "replayed entries count");
        assert!(retention.is_due(now, Zxid(9), 5, 1000));
        retention.begin(DiskToken(3), Zxid(10), 6, now);
        assert!(!retention.is_due(now, Zxid(99), 99, 9999), "one at a time");
        retention.failed(now);
        assert!(!retention.is_due(now + RETRY / 2, Zxid(99), 99, 9999));
        assert!(retention.is_due(now + RETRY, Zxid(11), 7, 0));
    }
}
