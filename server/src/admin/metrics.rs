//! The values of `mntr` (`client-protocol` 9.4): only what is really measured.

use std::collections::BTreeMap;
use std::fmt::Write;

use replication::{Activity, Durations, Learners, RoleKind};

use super::four_letter::{decimal, role_name};
use super::{CoreFacts, EnsembleFacts};
use crate::link::ShardReport;

/// Count, sum and extremes of a series of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Summary {
    /// Adds a number.
    pub fn record(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }

    fn average(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }
}

impl From<Durations> for Summary {
    fn from(durations: Durations) -> Summary {
        let Durations { count, sum_ms, min_ms, max_ms } = durations;
        Summary { count, sum: sum_ms, min: min_ms, max: max_ms }
    }
}

/// Last, least and greatest of a series of sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes(Option<(u64, u64, u64)>);

impl Sizes {
    /// Adds a size.
    pub fn record(&mut self, size: u64) {
        let (_, min, max) = self.0.unwrap_or((size, size, size));
        self.0 = Some((size, min.min(size), max.max(size)));
    }

    /// Last, least and greatest; -1 before the first.
    pub(super) fn shown(self) -> (i64, i64, i64) {
        let shown = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        self.0.map_or((-1, -1, -1), |(last, min, max)| (shown(last), shown(min), shown(max)))
    }
}

/// What the core counts.
#[derive(Clone, Debug, Default)]
pub struct CoreMetrics {
    /// Counters, by ZooKeeper's names.
    pub counters: Vec<(&'static str, u64)>,
    /// Series, by ZooKeeper's names.
    pub summaries: Vec<(&'static str, Summary)>,
}

/// Counters of all shards: sums, but extremes for names that say so.
fn merged(reports: &[ShardReport]) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for &(name, value) in reports.iter().flat_map(|report| &report.counters) {
        all.entry(name)
            .and_modify(|have: &mut u64| {
                *have = if name.starts_with("max_") || name.starts_with("last_") {
                    value.max(*have)
                } else if name.starts_with("min_") {
                    value.min(*have)
                } else {
                    value + *have
                };
            })
            .or_insert(value);
    }
    all
}

/// The text of `mntr`.
pub fn monitor(facts: &CoreFacts<'_>, reports: &[ShardReport]) -> String {
    let latency = super::four_letter::latency(reports);
    let sum = |of: fn(&ShardReport) -> u64| reports.iter().map(of).sum::<u64>();
    let tables = facts.state.tables();
    let shards = merged(reports);
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "zk_{key}\t{value}");
    };
    line("version", &facts.version_text);
    line("server_state", &role_name(facts.role));
    if let Some(ensemble) = &facts.ensemble {
        for (key, value) in ensemble_lines(facts.role, ensemble) {
            line(key, &value);
        }
    }
    line("avg_latency", &decimal(latency.average()));
    line("max_latency", &latency.max);
    line("min_latency", &latency.min);
    line("packets_received", &sum(|r| r.received));
    line("packets_sent", &sum(|r| r.sent));
    line("num_alive_connections", &sum(|r| r.connection_count));
    line("outstanding_requests", &sum(|r| r.outstanding));
    line("uptime", &facts.uptime_ms);
    line("znode_count", &facts.state.node_count());
    line("watch_count", &sum(|r| r.watch_count));
    line("ephemerals_count", &tables.ephemeral_count);
    line("approximate_data_size", &facts.state.data_bytes());
    line("global_sessions", &facts.session_count);
    line("local_sessions", &facts.local_sessions);
    // There is no TLS and no connection throttle.
    line("outstanding_tls_handshake", &0);
    line("connection_drop_probability", &"0.0");
    line("open_file_descriptor_count", &facts.host.open_fds);
    line("max_file_descriptor_count", &facts.host.max_fds);
    line("connection_rejected", &facts.host.connections_rejected);
    // Upstream's word for "none yet", until a shard reports one.
    for key in ["last_client_response_size", "max_client_response_size", "min_client_response_size"]
    {
        if !shards.contains_key(key) {
            line(key, &-1);
        }
    }
    if !shards.contains_key("auth_failed_count") {
        line("auth_failed_count", &0);
    }
    for (name, value) in shards {
        line(name, &value);
    }
    for (namespace, quota) in engine::quota::by_namespace(facts.state) {
        let namespace = String::from_utf8_lossy(&namespace).into_owned();
        let mut line = |what: &str, value: Option<i64>| {
            if let Some(value) = value {
                line(&format!("{namespace}_quota_{what}_per_namespace"), &value);
            }
        };
        line("count_limit", quota.count_limit);
        line("bytes_limit", quota.bytes_limit);
        line("count_usage", Some(quota.usage.count));
        line("bytes_usage", Some(quota.usage.bytes));
    }
    for (name, value) in &facts.measured.counters {
        line(name, value);
    }
    for (name, summary) in &facts.measured.summaries {
        line(&format!("avg_{name}"), &decimal(summary.average()));
        line(&format!("min_{name}"), &summary.min);
        line(&format!("max_{name}"), &summary.max);
        line(&format!("cnt_{name}"), &summary.count);
        line(&format!("sum_{name}"), &summary.sum);
    }
    text
}

/// What a member of an ensemble adds.
pub(super) fn ensemble_lines(role: RoleKind, facts: &EnsembleFacts) -> Vec<(&'static str, String)> {
    let EnsembleFacts { standing, leading_ms, proposal_bytes } = facts;
    let doing = match role {
        RoleKind::Looking | RoleKind::Standalone => "looking",
        RoleKind::Leading(_) => "leading",
        RoleKind::Following(..) => "following",
        RoleKind::Observing(..) => "observing",
    };
    let state = match standing.activity {
        Activity::Electing => doing.to_owned(),
        Activity::Discovering => format!("{doing} - discovery"),
        Activity::Synchronizing => format!("{doing} - synchronization"),
        Activity::Broadcasting => format!("{doing} - broadcast"),
    };
    let mut lines = vec![("peer_state", state), ("quorum_size", standing.voters.to_string())];
    if let (Some(learners), Some(ms)) = (&standing.learners, leading_ms) {
        let Learners { connected, followers, without_vote, observers, syncs } = learners;
        let (last, min, max) = proposal_bytes.shown();
        lines.extend([
            ("learners", connected.to_string()),
            // Its name before 3.5, which dashboards still ask for.
            ("followers", connected.to_string()),
            ("synced_followers", followers.to_string()),
            ("synced_non_voting_followers", without_vote.to_string()),
            ("synced_observers", observers.to_string()),
            ("pending_syncs", syncs.to_string()),
            ("leader_uptime", ms.to_string()),
            ("last_proposal_size", last.to_string()),
            ("min_proposal_size", min.to_string()),
            ("max_proposal_size", max.to_string()),
        ]);
    } else if matches!(role, RoleKind::Following(..)) {
        // Observers learn from the leader only.
        lines.push(("synced_observers", "0".to_owned()));
    }
    lines
}

/// Joins the shards' (min, sum, max, count).
pub(super) fn join(parts: impl Iterator<Item = (u64, u64, u64, u64)>) -> Summary {
    let mut all = Summary::default();
    for (min, sum, max, count) in parts.filter(|part| part.3 > 0) {
        all.min = if all.count == 0 { min } else { all.min.min(min) };
        all.max = all.max.max(max);
        all.sum += sum;
        all.count += count;
    }
    all
}

/// Parts of a summary that the words print.
pub(super) struct Latency {
    pub(super) min: u64,
    pub(super) max: u64,
    average: f64,
}

impl Latency {
    pub(super) fn average(&self) -> f64 {
        self.average
    }
}

impl From<Summary> for Latency {
    fn from(summary: Summary) -> Latency {
        Latency { min: summary.min, max: summary.max, average: summary.average() }
    }
}
