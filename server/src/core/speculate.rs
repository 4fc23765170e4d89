//! The head: the state with everything appended or proposed applied. A leader judges the next
//! request on it; a learner applies what its leader proposes. Committed or not is not its concern.

use engine::draft::{Caller, Decided, Stamp};
use engine::{Draft, Effects, Outcome, Version};
use model::{Epoch, Op, Txn, TxnDigest, TxnHeader, Zxid};

/// The configuration that a member of an ensemble shows in `/zookeeper/config`.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Its text.
    pub(super) text: String,
    /// When this server began to show it, ms.
    pub(super) since_ms: i64,
}

/// Who numbers transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Numbering {
    /// This server alone, for ever: it goes on in the next epoch when one is used up.
    Alone,
    /// The leader of this epoch.
    Epoch(Epoch),
    /// Somebody else.
    Other,
}

/// Whether what a leader says of the digest can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checks {
    /// With every entry that carries one.
    Always,
    /// From this position on, where it must be that, if it is known. Before it the state may be
    /// ahead of its position.
    From(Zxid, Option<u64>),
    /// The state was received. Until the leader says that it is exact, it may be ahead of its
    /// position. At the position it was received for, this is the digest, if it is known.
    Received(Option<u64>),
}

/// The working copy and the position it has reached.
pub(super) struct Head {
    draft: Draft,
    last: Zxid,
    numbering: Numbering,
    config: Option<Config>,
    checks: Checks,
    /// The present as a value, if nothing changed since.
    frozen: Option<Version>,
}

impl Head {
    /// The head of a server alone, or of a member of an ensemble with that configuration.
    pub(super) fn new(draft: Draft, last: Zxid, config: Option<Config>) -> Head {
        let numbering = if config.is_some() { Numbering::Other } else { Numbering::Alone };
        let mut head =
            Head { draft, last, numbering, config, checks: Checks::Always, frozen: None };
        head.show_config();
        head
    }

    /// Position of the last transaction executed or applied.
    pub(super) fn last(&self) -> Zxid {
        self.last
    }

    /// Position of the next transaction. The largest counter is never used (`zab-wire` 3.1): a
    /// server alone goes on in the next epoch, a leader gives up. None when there is none.
    pub(super) fn next(&self) -> Option<Zxid> {
        let next = match self.numbering {
            Numbering::Epoch(epoch) if self.last.epoch() < epoch => Zxid::new(epoch, 1),
            Numbering::Alone | Numbering::Epoch(_) => self.last.next(),
            Numbering::Other => return None,
        };
        if next.counter() != Zxid::COUNTER_MAX {
            return Some(next);
        }
        if self.numbering != Numbering::Alone {
            return None;
        }
        let epoch = self.last.epoch().0 + 1;
        i32::try_from(epoch).is_ok().then(|| Zxid::new(Epoch(epoch), 1))
    }

    /// This server leads an epoch, or (`None`) does no longer.
    pub(super) fn number(&mut self, epoch: Option<Epoch>) {
        self.numbering = epoch.map_or(Numbering::Other, Numbering::Epoch);
        if epoch.is_some() {
            // It has everything that was ever committed, so it is ahead of nothing.
            self.checks = Checks::Always;
        }
    }

    /// The state after the entry `at`, which is there or follows, is exact, and has this digest, if
    /// the leader says. What it should be if it is there and is not that.
    pub(super) fn exact(&mut self, at: Zxid, digest: Option<u64>) -> Option<u64> {
        if at > self.last {
            if self.checks != Checks::Always {
                self.checks = Checks::From(at, digest);
            }
            return None;
        }
        let received = match self.checks {
            Checks::Received(digest) => digest,
            Checks::Always | Checks::From(..) => None,
        };
        self.checks = Checks::Always;
        let theirs = digest.or(received).filter(|_| at == self.last)?;
        (theirs != self.digest()).then_some(theirs)
    }

    /// Judges an operation and applies the decision.
    pub(super) fn execute<'a>(
        &mut self,
        op: &Op<'a>,
        who: &Caller,
        at: Stamp,
        effects: &mut Effects,
    ) -> Decided<'a> {
        self.frozen = None;
        self.last = at.zxid;
        self.draft.execute(op, who, at, effects)
    }

    /// Applies a leader's decision. The leader's digest if the state differs from what the leader
    /// has after it.
    pub(super) fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
        effects: &mut Effects,
    ) -> Result<Outcome, u64> {
        self.frozen = None;
        self.last = header.zxid;
        let outcome = self.draft.apply(header, txn, effects);
        let is_error = matches!(txn, Txn::Error { .. });
        let said = digest.map(|theirs| theirs.0).filter(|_| !is_error);
        let theirs = match self.checks {
            Checks::Always => said,
            Checks::From(from, at) if header.zxid >= from => {
                self.checks = Checks::Always;
                said.or(at.filter(|_| header.zxid == from))
            }
            Checks::From(..) | Checks::Received(_) => None,
        };
        match theirs.filter(|theirs| *theirs != self.digest()) {
            None => Ok(outcome),
            Some(theirs) => Err(theirs),
        }
    }

    /// Digest of the present.
    pub(super) fn digest(&self) -> u64 {
        self.draft.tables().digest
    }

    /// Goes back to a version of this tree.
    pub(super) fn rewind(&mut self, to: &Version) {
        self.draft.reset(to);
        self.last = to.zxid();
        self.show_config();
    }

    /// Goes on from another state, with that digest if that is known. It may be ahead of its
    /// position: see [`Head::exact`].
    pub(super) fn replace(&mut self, draft: Draft, digest: Option<u64>) {
        self.checks = Checks::Received(digest);
        self.last = draft.tables().zxid;
        self.draft = draft;
        self.show_config();
    }

    /// Every server writes the configuration for itself, outside of the order (`zab-wire` 4.8).
    fn show_config(&mut self) {
        self.frozen = None;
        if let Some(Config { text, since_ms }) = &self.config {
            let (text, mut effects) = (text.as_bytes(), Effects::default());
            self.draft.install_config(text, Zxid::ZERO, *since_ms, &mut effects);
        }
    }

    /// The present as a value.
    pub(super) fn version(&mut self) -> Version {
        let draft = &mut self.draft;
        self.frozen.get_or_insert_with(|| draft.freeze()).clone()
    }

    /// The working copy, to be read.
    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::draft::Settings;

    fn head(last: Zxid, ensemble: bool) -> Head {
        let config = ensemble.then(|| Config { text: "server.1=a:1:2".into(), since_ms: 0 });
        Head::new(Draft::new(Settings::default()), last, config)
    }

    #[test]
    fn the_largest_counter_is_skipped() {
        let next = |last| head(last, false).next();
        assert_eq!(next(Zxid(0)), Some(Zxid(1)));
        let last = Zxid::new(Epoch(4), Zxid::COUNTER_MAX - 2);
        assert_eq!(next(last), Some(last.next()));
        assert_eq!(next(last.next()), Some(Zxid::new(Epoch(5), 1)));
        let end = Zxid::new(Epoch(i32::MAX as u32), Zxid::COUNTER_MAX - 1);
        assert_eq!(next(end), None);
    }

    #[test]
    fn only_a_leader_numbers_and_only_in_its_epoch() {
        let mut head = head(Zxid::new(Epoch(3), 7), true);
        assert_eq!(head.next(), None);
        head.number(Some(Epoch(5)));
        assert_eq!(head.next(), Some(Zxid::new(Epoch(5), 1)));
        head.number(Some(Epoch(3)));
        assert_eq!(head.next(), Some(Zxid::new(Epoch(3), 8)));
        head.last = Zxid::new(Epoch(3), Zxid::COUNTER_MAX - 1);
        assert_eq!(head.next(), None, "the epoch is used up");
    }
}
