//! The head: the state with everything proposed applied, on which the next request is judged.

use engine::draft::{Caller, Decided, Stamp};
use engine::{Draft, Effects, Version};
use model::{Epoch, Op, Zxid};

/// The working copy and the position it has reached.
pub(super) struct Head {
    draft: Draft,
    last: Zxid,
    /// The present as a value, if nothing changed since.
    frozen: Option<Version>,
}

impl Head {
    pub(super) fn new(draft: Draft, last: Zxid) -> Head {
        Head { draft, last, frozen: None }
    }

    /// Position of the last transaction executed.
    pub(super) fn last(&self) -> Zxid {
        self.last
    }

    /// Position of the next transaction. The largest counter is never used (`zab-wire` 3.1): a
    /// server alone goes on in the next epoch. None when epochs are used up too.
    pub(super) fn next(&self) -> Option<Zxid> {
        let next = self.last.next();
        if next.counter() != Zxid::COUNTER_MAX {
            return Some(next);
        }
        let epoch = self.last.epoch().0 + 1;
        (epoch <= i32::MAX as u32).then(|| Zxid::new(Epoch(epoch), 1))
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

    fn next(last: Zxid) -> Option<Zxid> {
        Head::new(Draft::new(Settings::default()), last).next()
    }

    #[test]
    fn the_largest_counter_is_skipped() {
        assert_eq!(next(Zxid(0)), Some(Zxid(1)));
        let last = Zxid::new(Epoch(4), Zxid::COUNTER_MAX - 2);
        assert_eq!(next(last), Some(last.next()));
        assert_eq!(next(last.next()), Some(Zxid::new(Epoch(5), 1)));
        let end = Zxid::new(Epoch(i32::MAX as u32), Zxid::COUNTER_MAX - 1);
        assert_eq!(next(end), None);
    }
}
