//! What is measured, by ZooKeeper's names (`client-protocol` 9.4), and the text of `mntr`. Nothing
//! that is not measured here has a value.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

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

    pub(super) fn count_and_sum(&self) -> (u64, u64) {
        (self.count, self.sum)
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
pub(super) fn merged(reports: &[ShardReport]) -> BTreeMap<&'static str, u64> {
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

/// One measured value, under ZooKeeper's name without its `zk_`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) reading: Reading,
}

/// What was read off.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reading {
    One(Value),
    Series(Summary),
}

/// Whether a value can only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

/// A single value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Decimal(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => number.fmt(f),
            Value::Decimal(number) => f.write_str(&decimal(*number)),
        }
    }
}

/// Everything that is measured, in the order of `mntr`.
#[derive(Default)]
struct Gathered(Vec<Metric>);

impl Gathered {
    fn push(&mut self, name: impl Into<String>, kind: Kind, value: Value) {
        self.0.push(Metric { name: name.into(), kind, reading: Reading::One(value) });
    }

    fn text(&mut self, name: &str, value: impl Into<String>) {
        self.push(name, Kind::Gauge, Value::Text(value.into()));
    }

    fn signed(&mut self, name: impl Into<String>, value: i64) {
        self.push(name, Kind::Gauge, Value::Number(value));
    }

    fn gauge(&mut self, name: impl Into<String>, value: u64) {
        self.signed(name, shown(value));
    }

    fn counter(&mut self, name: &str, value: u64) {
        self.push(name, Kind::Counter, Value::Number(shown(value)));
    }
}

fn shown(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What is measured, in the order in which `mntr` prints it.
pub(super) fn gather(facts: &CoreFacts, reports: &[ShardReport]) -> Vec<Metric> {
    let latency = super::four_letter::latency(reports);
    let sum = |of: fn(&ShardReport) -> u64| reports.iter().map(of).sum::<u64>();
    let tables = facts.state.tables();
    let shards = merged(reports);
    let mut all = Gathered::default();
    all.text("version", facts.texts.version.as_str());
    all.text("server_state", role_name(facts.role));
    if let Some(ensemble) = &facts.ensemble {
        all.0.extend(ensemble_metrics(facts.role, ensemble));
    }
    all.push("avg_latency", Kind::Gauge, Value::Decimal(latency.average()));
    all.gauge("max_latency", latency.max);
    all.gauge("min_latency", latency.min);
    all.counter("packets_received", sum(|r| r.received));
    all.counter("packets_sent", sum(|r| r.sent));
    all.gauge("num_alive_connections", sum(|r| r.connection_count));
    all.gauge("outstanding_requests", sum(|r| r.outstanding));
    all.gauge("uptime", facts.uptime_ms);
    all.gauge("znode_count", facts.state.node_count());
    all.gauge("watch_count", sum(|r| r.watch_count));
    all.gauge("ephemerals_count", tables.ephemeral_count);
    all.gauge("approximate_data_size", facts.state.data_bytes());
    all.gauge("global_sessions", facts.session_count);
    all.gauge("local_sessions", facts.local_sessions);
    // There is no TLS and no connection throttle.
    all.gauge("outstanding_tls_handshake", 0);
    all.push("connection_drop_probability", Kind::Gauge, Value::Decimal(0.0));
    all.gauge("open_file_descriptor_count", facts.host.open_fds);
    all.gauge("max_file_descriptor_count", facts.host.max_fds);
    all.counter("connection_rejected", facts.host.connections_rejected);
    // Upstream's word for "none yet", until a shard reports one.
    for key in ["last_client_response_size", "max_client_response_size", "min_client_response_size"]
    {
        if !shards.contains_key(key) {
            all.signed(key, -1);
        }
    }
    if !shards.contains_key("auth_failed_count") {
        all.counter("auth_failed_count", 0);
    }
    for (name, value) in shards {
        if name.ends_with("_size") {
            all.gauge(name, value);
        } else {
            all.counter(name, value);
        }
    }
    for (namespace, quota) in engine::quota::by_namespace(&facts.state) {
        let namespace = String::from_utf8_lossy(&namespace).into_owned();
        let mut gauge = |what: &str, value: Option<i64>| {
            if let Some(value) = value {
                all.signed(format!("{namespace}_quota_{what}_per_namespace"), value);
            }
        };
        gauge("count_limit", quota.count_limit);
        gauge("bytes_limit", quota.bytes_limit);
        gauge("count_usage", Some(quota.usage.count));
        gauge("bytes_usage", Some(quota.usage.bytes));
    }
    for (name, value) in &facts.measured.counters {
        all.counter(name, *value);
    }
    let reads = join(reports.iter().map(|report| report.read_ms));
    let updates = join(reports.iter().map(|report| report.update_ms));
    let measured = facts.measured.summaries.iter().copied();
    for (name, summary) in measured.chain([("readlatency", reads), ("updatelatency", updates)]) {
        let reading = Reading::Series(summary);
        all.0.push(Metric { name: name.to_owned(), kind: Kind::Gauge, reading });
    }
    all.0
}

/// Every value by a key of its own: a series has five.
pub(super) fn flat(metrics: Vec<Metric>) -> impl Iterator<Item = (String, Value)> {
    metrics.into_iter().flat_map(|Metric { name, reading, .. }| match reading {
        Reading::Series(series) => {
            let Summary { count, sum, min, max } = series;
            let number = |value| Value::Number(shown(value));
            vec![
                (format!("avg_{name}"), Value::Decimal(series.average())),
                (format!("min_{name}"), number(min)),
                (format!("max_{name}"), number(max)),
                (format!("cnt_{name}"), number(count)),
                (format!("sum_{name}"), number(sum)),
            ]
        }
        Reading::One(value) => vec![(name, value)],
    })
}

/// The text of `mntr`.
pub fn monitor(facts: &CoreFacts, reports: &[ShardReport]) -> String {
    let mut text = String::new();
    for (key, value) in flat(gather(facts, reports)) {
        let _ = writeln!(text, "zk_{key}\t{value}");
    }
    text
}

/// What a member of an ensemble adds.
pub(super) fn ensemble_metrics(role: RoleKind, facts: &EnsembleFacts) -> Vec<Metric> {
    let mut all = Gathered::default();
    let EnsembleFacts { standing, leading_ms, proposal_bytes, .. } = facts;
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
    all.text("peer_state", state);
    all.gauge("quorum_size", standing.voters as u64);
    if let (Some(learners), Some(ms)) = (&standing.learners, leading_ms) {
        let Learners { connected, followers, without_vote, observers, syncs } = *learners;
        let (last, min, max) = proposal_bytes.shown();
        for (name, count) in [
            ("learners", connected),
            // Its name before 3.5, which dashboards still ask for.
            ("followers", connected),
            ("synced_followers", followers),
            ("synced_non_voting_followers", without_vote),
            ("synced_observers", observers),
            ("pending_syncs", syncs),
        ] {
            all.gauge(name, count as u64);
        }
        all.gauge("leader_uptime", *ms);
        all.signed("last_proposal_size", last);
        all.signed("min_proposal_size", min);
        all.signed("max_proposal_size", max);
    } else if matches!(role, RoleKind::Following(..)) {
        // Observers learn from the leader only.
        all.gauge("synced_observers", 0);
    }
    all.0
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
