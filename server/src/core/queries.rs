//! Questions of administrators that need every shard's report.

use std::collections::BTreeMap;

use crate::admin::command::Question;
use crate::limits::QUERIES_MAX;
use crate::link::{ConnId, ShardId, ShardReport};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A client with a four-letter word.
    Client(ConnId),
    /// An administrator over HTTP, by number.
    Admin(u64),
}

/// A question whose reports are all there.
pub(super) struct Complete {
    pub(super) by: Asker,
    pub(super) question: Question,
    /// In the shards' order.
    pub(super) reports: Vec<ShardReport>,
}

struct Asked {
    by: Asker,
    question: Question,
    reports: Vec<Option<ShardReport>>,
}

/// Questions under way, by number.
pub(super) struct Queries {
    shards: u16,
    next: u64,
    asked: BTreeMap<u64, Asked>,
}

impl Queries {
    pub(super) fn new(shards: u16) -> Queries {
        Queries { shards, next: 0, asked: BTreeMap::new() }
    }

    /// Starts a question and numbers it; none if too many are under way.
    pub(super) fn ask(&mut self, by: Asker, question: Question) -> Option<u64> {
        if self.asked.len() >= QUERIES_MAX {
            return None;
        }
        self.next += 1;
        let reports = vec![None; usize::from(self.shards)];
        self.asked.insert(self.next, Asked { by, question, reports });
        Some(self.next)
    }

    /// Takes a shard's report. Those of unknown questions are ignored.
    pub(super) fn report(
        &mut self,
        from: ShardId,
        number: u64,
        report: ShardReport,
    ) -> Option<Complete> {
        let asked = self.asked.get_mut(&number)?;
        *asked.reports.get_mut(usize::from(from.0))? = Some(report);
        if asked.reports.iter().any(Option::is_none) {
            return None;
        }
        let Asked { by, question, reports } = self.asked.remove(&number)?;
        Some(Complete { by, question, reports: reports.into_iter().flatten().collect() })
    }
}
