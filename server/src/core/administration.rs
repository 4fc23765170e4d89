//! Questions of administrators: gathering reports, and what the core itself measures.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::disk::{DiskOp, DiskToken};
use model::{Mono, Now, Zxid};
use replication::Counts;

use super::queries::{Asker, Complete};
use super::{Core, CoreOutputs};
use crate::admin::command::{Command, Question};
use crate::admin::four_letter::{NOT_SERVING, Word};
use crate::admin::metrics::{CoreMetrics, Summary};
use crate::admin::{CoreFacts, EnsembleFacts, HostFacts, Material, SessionSet};
use crate::link::{Query, ShardId, ShardReport, ToShard};

/// Zxids between two digests kept, and digests kept (`hash`).
const DIGEST_EVERY: i64 = 128;
const DIGESTS_MAX: usize = 1024;

/// What the core measures of itself.
#[derive(Default)]
pub(super) struct Observed {
    /// Sessions expired.
    pub(super) expired: u64,
    /// Log writes in flight and when they were ordered.
    writes: VecDeque<(DiskToken, Mono)>,
    write_ms: Summary,
    /// Entries of a leader after which the state here was not the leader's.
    pub(super) digest_mismatches: u64,
    /// Sessions that clients of this server wanted to have again.
    pub(super) reattaches: u64,
    /// Sessions that learners asked this leader about.
    pub(super) revalidations: u64,
    /// Transactions (proposed, committed) when the counters were last reset.
    base: (u64, u64),
    /// What the replica had done then.
    replica_base: Counts,
    /// Connections rejected then.
    rejected_base: u64,
}

impl Observed {
    /// Notes the log writes among the orders; those noted before are recognised.
    pub(super) fn log_writes(&mut self, out: &CoreOutputs, now: Mono) {
        for op in &out.disk {
            if let DiskOp::WriteSegment { token, .. } = op
                && self.writes.back().is_none_or(|(last, _)| last < token)
            {
                self.writes.push_back((*token, now));
            }
        }
    }

    /// How long the oldest log write has been under way, ms.
    pub(super) fn oldest_write_ms(&self, now: Mono) -> u64 {
        self.writes.front().map_or(0, |(_, since)| now.since(*since).as_millis() as u64)
    }

    /// A disk operation has ended.
    pub(super) fn disk_done(&mut self, token: DiskToken, now: Mono) {
        if let Some(at) = self.writes.iter().position(|(write, _)| *write == token)
            && let Some((_, ordered)) = self.writes.remove(at)
        {
            self.write_ms.record(now.since(ordered).as_millis() as u64);
        }
    }
}

/// Digests at every 128th zxid, the newest last.
#[derive(Default)]
pub(super) struct DigestHistory(VecDeque<(Zxid, u64)>);

impl DigestHistory {
    pub(super) fn note(&mut self, zxid: Zxid, digest: u64) {
        if zxid.0 % DIGEST_EVERY == 0 {
            if self.0.len() == DIGESTS_MAX {
                self.0.pop_front();
            }
            self.0.push_back((zxid, digest));
        }
    }

    pub(super) fn upto(&self, zxid: Zxid) -> Vec<(Zxid, u64)> {
        self.0.iter().copied().take_while(|(at, _)| *at <= zxid).collect()
    }
}

impl Core {
    pub(super) fn on_query(&mut self, now: Now, query: &Query, out: &mut CoreOutputs) {
        let conn = query.conn;
        let Some(word) = Word::parse(query.word) else {
            let text = NOT_SERVING.into();
            return out.to_shards.push((conn.shard, ToShard::Answer { conn, text }));
        };
        self.ask(now, Asker::Client(conn), Question::Word(word), out);
    }

    /// Answers a question, at once or when every shard has reported.
    pub(super) fn ask(&mut self, now: Now, by: Asker, question: Question, out: &mut CoreOutputs) {
        let serving = self.pipeline.is_serving() || self.readers.are_served();
        if question.needs_serving() && !serving {
            return tell(by, refused(question), out);
        }
        if let Question::Command(Command::SetTraceMask(mask)) = question {
            self.trace(mask, out);
        }
        let Some(word) = question.report() else {
            return self.answer(now, Complete { by, question, reports: Vec::new() }, out);
        };
        let Some(number) = self.queries.ask(by, question) else {
            return tell(by, refused(question), out);
        };
        for shard in (0..self.config.shards).map(ShardId) {
            out.to_shards.push((shard, ToShard::Report { number, word }));
        }
    }

    /// Every shard shows this trace mask from now on.
    pub(super) fn trace(&mut self, mask: i64, out: &mut CoreOutputs) {
        self.trace_mask = mask;
        for shard in (0..self.config.shards).map(ShardId) {
            out.to_shards.push((shard, ToShard::TraceMask(mask)));
        }
    }

    pub(super) fn on_report(
        &mut self,
        now: Now,
        from: ShardId,
        number: u64,
        report: ShardReport,
        out: &mut CoreOutputs,
    ) {
        if let Some(complete) = self.queries.report(from, number, report) {
            self.answer(now, complete, out);
        }
    }

    fn answer(&mut self, now: Now, query: Complete, out: &mut CoreOutputs) {
        let question = query.question;
        let dumps = [Question::Word(Word::Dump), Question::Command(Command::Dump)];
        let session_sets =
            if dumps.contains(&question) { self.session_sets(now) } else { Vec::new() };
        let rejected = self.host.connections_rejected.saturating_sub(self.observed.rejected_base);
        let facts = CoreFacts {
            texts: Arc::clone(&self.config.texts),
            server: self.config.server,
            members: self.config.ensemble.as_ref().map(|ensemble| ensemble.members.clone()),
            trace_mask: self.trace_mask,
            role: self.pipeline.role(),
            state: self.pipeline.publication.shown().clone(),
            uptime_ms: now.mono.since(self.started).as_millis() as u64,
            session_sets,
            session_count: self.pipeline.publication.shown().tables().sessions.len() as u64,
            digests: self.pipeline.digests(),
            host: HostFacts { connections_rejected: rejected, ..self.host },
            local_sessions: if self.readers.are_served() { self.sessions.len() as u64 } else { 0 },
            ensemble: self.pipeline.standing().map(|standing| EnsembleFacts {
                standing,
                observers: self.pipeline.observers(),
                leading_ms: self
                    .leading_since
                    .map(|since| now.mono.since(since).as_millis() as u64),
                proposal_bytes: self.pipeline.proposal_bytes(),
            }),
            measured: self.measured(),
        };
        let material = Material { question, facts: Some(facts), reports: query.reports };
        tell(query.by, material, out);
        let resets = [Question::Word(Word::Srst), Question::Command(Command::StatReset)];
        if resets.contains(&question) {
            self.observed.base = self.pipeline.counts();
            self.observed.replica_base = self.pipeline.replica_counts();
            self.observed.digest_mismatches = 0;
            self.observed.reattaches = 0;
            self.observed.revalidations = 0;
            self.observed.rejected_base = self.host.connections_rejected;
            self.pipeline.reset_sizes();
            self.retention.reset_counts();
            self.observed.expired = 0;
            self.observed.write_ms = Summary::default();
        }
    }

    fn session_sets(&self, now: Now) -> Vec<SessionSet> {
        let mut sets: Vec<(u64, SessionSet)> = Vec::new();
        for (deadline, session) in self.expiry.deadlines() {
            if sets.last().is_none_or(|(last, _)| *last != deadline) {
                let expires_ms = now.wall_ms + deadline as i64 - now.mono.millis() as i64;
                sets.push((deadline, SessionSet { expires_ms, sessions: Vec::new() }));
            }
            if let Some((_, set)) = sets.last_mut() {
                set.sessions.push(session);
            }
        }
        sets.into_iter().map(|(_, set)| set).collect()
    }

    fn measured(&self) -> CoreMetrics {
        let (proposed, committed) = self.pipeline.counts();
        let mut metrics = CoreMetrics {
            counters: vec![
                ("proposal_count", proposed - self.observed.base.0),
                ("commit_count", committed - self.observed.base.1),
                ("connection_revalidate_count", self.observed.reattaches),
                ("snapshot_error_count", self.retention.failed),
                ("stale_sessions_expired", self.observed.expired),
            ],
            summaries: vec![
                ("fsynctime", self.observed.write_ms),
                ("snapshottime", self.retention.duration_ms),
                ("sync_processor_batch_size", *self.pipeline.batch_sizes()),
            ],
        };
        if self.config.ensemble.is_some() {
            let now = self.pipeline.replica_counts();
            let base = &self.observed.replica_base;
            metrics.counters.extend([
                ("digest_mismatches_count", self.observed.digest_mismatches),
                ("revalidate_count", self.observed.revalidations),
                ("looking_count", now.searches - base.searches),
                ("diff_count", now.diffs_sent - base.diffs_sent),
                ("snap_count", now.snapshots_sent - base.snapshots_sent),
                (
                    "learner_proposal_received_count",
                    now.proposals_received - base.proposals_received,
                ),
                ("learner_commit_received_count", now.commits_received - base.commits_received),
            ]);
            metrics.summaries.push(("election_time", now.elections.into()));
        }
        metrics
    }
}

fn refused(question: Question) -> Material {
    Material { question, facts: None, reports: Vec::new() }
}

/// Four-letter words are written here: they are answered to clients' connections.
fn tell(by: Asker, material: Material, out: &mut CoreOutputs) {
    match by {
        Asker::Client(conn) => {
            let text = material.answer();
            out.to_shards.push((conn.shard, ToShard::Answer { conn, text }));
        }
        Asker::Admin(number) => out.answers.push((number, material)),
    }
}
