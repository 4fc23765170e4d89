//! The measurements that a comparison consists of, each the command that a user would run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use super::results::Sample;
use super::rival::Ensemble;
use crate::cli::{Cli, Command};
use crate::failover::{self, FailoverResult};
use crate::proc::{self, ProcessUse};
use crate::report::Percentiles;
use crate::{connect, fill, idle, load, watch};

/// How long a snapshot may take to appear.
const SNAPSHOT_MAX: Duration = Duration::from_secs(20);

/// Numbers by name.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// How long and how much.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// Interleaved rounds.
    pub(crate) rounds: usize,
    /// Measured seconds of a load.
    pub(crate) seconds: f64,
    /// Seconds of the same load before.
    pub(crate) warmup: f64,
    /// Seconds of load before anything is measured, for compilers that learn.
    pub(crate) first_warmup: f64,
    /// Idle sessions.
    pub(crate) sessions: u32,
    /// Watchers of one znode.
    pub(crate) watchers: Vec<u32>,
    /// Sizes of the tree.
    pub(crate) znodes: Vec<u32>,
    /// Rates of the open loop, as parts of what the closed loop reached.
    pub(crate) parts: Vec<f64>,
    /// How often each of them is run.
    pub(crate) passes: usize,
    /// Shares of reads.
    pub(crate) shares: Vec<f64>,
    /// Leaders killed, and as many whose disk hangs.
    pub(crate) failovers: usize,
    /// Measured seconds of an open loop, and of a share of reads.
    pub(crate) curve_seconds: f64,
    /// Seconds of the same load before.
    pub(crate) curve_warmup: f64,
    /// Runs of writes beside snapshots.
    pub(crate) tails: usize,
    /// Znodes in those snapshots.
    pub(crate) tail_znodes: u32,
    /// Runs of the largest fan-out.
    pub(crate) fan_outs: usize,
    /// Tree of three servers.
    pub(crate) ensemble_znodes: u32,
    /// Largest tree of etcd, which has no goal and fills slowly.
    pub(crate) etcd_znodes: u32,
}

impl Budget {
    /// Half an hour and some minutes.
    pub(crate) fn full() -> Budget {
        Budget {
            rounds: 5,
            seconds: 3.0,
            warmup: 0.6,
            first_warmup: 8.0,
            sessions: 5000,
            watchers: vec![10, 100, 1000, 10_000],
            znodes: vec![10_000, 100_000, 300_000, 1_000_000],
            parts: vec![0.0, 0.005, 0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85],
            passes: 2,
            shares: vec![0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0],
            failovers: 3,
            curve_seconds: 2.0,
            curve_warmup: 0.4,
            tails: 3,
            tail_znodes: 100_000,
            fan_outs: 3,
            ensemble_znodes: 1_000_000,
            etcd_znodes: 300_000,
        }
    }

    /// A few minutes on two cores.
    pub(crate) fn short() -> Budget {
        Budget {
            rounds: 3,
            seconds: 1.0,
            warmup: 0.3,
            first_warmup: 3.0,
            sessions: 2000,
            watchers: vec![10, 100, 1000],
            znodes: vec![10_000, 50_000, 100_000],
            parts: vec![0.0, 0.005, 0.02, 0.07, 0.2, 0.5, 0.8],
            passes: 2,
            shares: vec![0.0, 0.5, 0.9, 1.0],
            failovers: 1,
            curve_seconds: 1.0,
            curve_warmup: 0.3,
            tails: 1,
            tail_znodes: 20_000,
            fan_outs: 1,
            ensemble_znodes: 50_000,
            etcd_znodes: 100_000,
        }
    }
}

impl Budget {
    /// About how long all of it takes for so many servers, minutes.
    pub(crate) fn minutes(&self, kinds: usize, ensembles: bool) -> f64 {
        // Around every load: opening, preparing, waiting for the last replies.
        const AROUND: f64 = 0.4;
        // Every server for each million znodes: filling, and the restart.
        const FILL: f64 = 50.0;
        let (kinds, rounds) = (kinds as f64, self.rounds as f64);
        let loads = 2.0 * self.first_warmup + rounds * 5.0 * (self.seconds + self.warmup + AROUND);
        let curve = self.curve_seconds + self.curve_warmup + AROUND;
        let rates = 2.0 * (self.parts.len() * self.passes) as f64 * curve;
        let each = kinds * (loads + rates) + rounds * 3.0;
        let shares = kinds * self.shares.len() as f64 * curve;
        let clients = self.watchers.iter().map(|&watchers| f64::from(watchers)).sum::<f64>();
        let clients = kinds * (10.0 + (clients + f64::from(self.sessions)) / 500.0);
        let largest = self.znodes.last().map_or(0.0, |&znodes| f64::from(znodes));
        let trees = kinds * (10.0 + largest / 1e6 * FILL)
            + if ensembles {
                f64::from(self.ensemble_znodes) / 1e6 * 3.0 * FILL + 20.0
            } else {
                0.0
            };
        let tails = kinds * self.tails as f64 * (self.seconds + 6.0);
        let failovers = kinds * self.failovers as f64 * 2.0 * 9.0;
        let times = if ensembles { 2.0 } else { 1.0 };
        let alone = shares + clients + trees + if ensembles { failovers } else { 0.0 };
        (20.0 + times * (each + tails) + alone) / 60.0
    }
}

/// Runs one subcommand on an ensemble, in this process.
fn command(ensemble: &Ensemble, words: &str) -> Result<(Command, String)> {
    let mut line: Vec<String> = vec!["ringkeeper-perf".to_owned()];
    line.extend(words.split_whitespace().map(str::to_owned));
    line.extend(ensemble.flags());
    let cli = Cli::try_parse_from(&line).with_context(|| line.join(" "))?;
    Ok((cli.command, format!("ringkeeper-perf {words}")))
}

fn sample(ensemble: &Ensemble, case: &str, x: f64, metrics: Metrics, command: String) -> Sample {
    Sample {
        rival: ensemble.kind,
        servers: ensemble.len(),
        case: case.to_owned(),
        x,
        metrics,
        command,
    }
}

fn percentiles(metrics: &mut Metrics, name: &str, of: &Percentiles) {
    for (part, value) in [("p50", of.p50_us), ("p99", of.p99_us), ("p999", of.p999_us)] {
        metrics.insert(format!("{name}_{part}_us"), value);
    }
}

/// A steady load. `x` is what varies.
pub(crate) fn steady(ensemble: &Ensemble, case: &str, x: f64, words: &str) -> Result<Sample> {
    let (command, line) = command(ensemble, &format!("load {words}"))?;
    let Command::Load(args) = command else { bail!("{line}: not a load") };
    // How often the log was written, where the server counts that.
    let syncs = || -> f64 {
        (0..ensemble.len()).filter_map(|at| ensemble.counter(at, "zk_cnt_fsynctime")).sum()
    };
    let (syncs_before, leader) = (syncs(), leader(ensemble));
    let result = load::measure(&args)?;
    let whole = args.duration + args.warmup;
    let requests = result.requests.max(1) as f64;
    let mut metrics = Metrics::from([
        ("per_second".to_owned(), result.requests_per_second),
        ("cpu_us".to_owned(), result.server_cpu_us_per_request),
        ("generator_cpu_us".to_owned(), result.generator_cpu_us_per_request),
        ("log_writes_per_second".to_owned(), (syncs() - syncs_before) / whole),
        (
            "written_bytes".to_owned(),
            result.servers.iter().map(|server| server.written_bytes as f64).sum::<f64>() / requests,
        ),
        ("rss_bytes".to_owned(), result.servers.iter().map(|server| server.rss_bytes as f64).sum()),
        ("others_cores".to_owned(), result.others_cores),
        ("spin_us".to_owned(), proc::spin_us()),
    ]);
    percentiles(&mut metrics, "latency", &result.latency);
    // Only if it led all the time.
    if let Some(leader) = leader.filter(|&before| self::leader(ensemble) == Some(before)) {
        metrics.extend(apart(&result.servers, leader, requests));
    }
    Ok(sample(ensemble, case, x, metrics, line))
}

/// The leader of an ensemble that has followers.
fn leader(ensemble: &Ensemble) -> Option<usize> {
    (ensemble.len() > 1).then(|| ensemble.leader().ok()).flatten()
}

/// What a request costs the leader, and what it costs each of the others on the average; clients
/// are spread over all of them alike.
fn apart(servers: &[ProcessUse], leader: usize, requests: f64) -> Metrics {
    let us = |seconds: f64| seconds * 1e6 / requests;
    let mut metrics = Metrics::new();
    if let Some(leading) = servers.get(leader) {
        let others: f64 = servers.iter().map(|server| server.cpu_seconds).sum();
        let others = (others - leading.cpu_seconds) / (servers.len() - 1).max(1) as f64;
        metrics.insert("leader_cpu_us".to_owned(), us(leading.cpu_seconds));
        metrics.insert("follower_cpu_us".to_owned(), us(others.max(0.0)));
    }
    metrics
}

/// Writes at seven tenths of what the same servers take at that moment, while they write
/// snapshots.
pub(crate) fn tail(ensemble: &Ensemble, seconds: f64) -> Result<Sample> {
    const PART: f64 = 0.7;
    let most = steady(ensemble, "tail", 0.0, "--op set --duration 2 --warmup 0.3")?;
    let most = most.metrics.get("per_second").copied().unwrap_or_default();
    let rate = (most * PART).round().max(1.0);
    let before = ensemble.last_snapshot(0);
    let words = format!("--op set --rate {rate} --duration {seconds} --outstanding 64 --warmup 1");
    let mut beside = steady(ensemble, "tail", 0.0, &words)?;
    let after = ensemble.last_snapshot(0);
    ensure!(after > before, "no snapshot was written beside the load");
    let of = |name: &str| beside.metrics.get(name).copied().unwrap_or_default();
    let ratio = of("latency_p999_us") / of("latency_p50_us").max(1e-9);
    beside.metrics.insert("p999_to_p50".to_owned(), ratio);
    println!("{}: p99.9 is {ratio:.1} times p50", ensemble.kind);
    Ok(beside)
}

/// A fan-out.
pub(crate) fn fan_out(ensemble: &Ensemble, watchers: u32, rounds: u32) -> Result<Sample> {
    let words = format!("watch --watchers {watchers} --rounds {rounds}");
    let (command, line) = command(ensemble, &words)?;
    let Command::Watch(args) = command else { bail!("{line}: not a fan-out") };
    let result = watch::measure(&args)?;
    let mut metrics = Metrics::from([
        ("cpu_us".to_owned(), result.server_cpu_us_per_notification),
        ("bytes_each".to_owned(), result.server_bytes_per_watcher),
    ]);
    percentiles(&mut metrics, "all", &result.all_notified);
    percentiles(&mut metrics, "acknowledged", &result.writer_acknowledged);
    percentiles(&mut metrics, "quiet_acknowledged", &result.quiet_writer_acknowledged);
    Ok(sample(ensemble, "watch", f64::from(watchers), metrics, line))
}

/// Idle sessions; `case` is `idle` or `idle-watch`.
pub(crate) fn idle(ensemble: &Ensemble, sessions: u32, watch: bool) -> Result<Sample> {
    let (case, flag) = if watch { ("idle-watch", " --watch") } else { ("idle", "") };
    let words = format!("idle --sessions {sessions} --seconds 4 --session-timeout-ms 4000{flag}");
    let (command, line) = command(ensemble, &words)?;
    let Command::Idle(args) = command else { bail!("{line}: not idle") };
    let result = idle::measure(&args)?;
    let cpu: f64 = result.servers.iter().map(|server| server.cpu_seconds).sum();
    let metrics = Metrics::from([
        ("bytes_each".to_owned(), result.server_bytes_per_session),
        ("ping_cpu_us".to_owned(), cpu * 1e6 / result.pings.max(1) as f64),
    ]);
    Ok(sample(ensemble, case, f64::from(sessions), metrics, line))
}

/// Sessions that open, are cut off and come back.
pub(crate) fn storm(ensemble: &Ensemble, sessions: u32) -> Result<Sample> {
    let words = format!("connect --sessions {sessions} --window {sessions} --reattach");
    let (command, line) = command(ensemble, &words)?;
    let Command::Connect(args) = command else { bail!("{line}: not a storm") };
    let result = connect::measure(&args)?;
    let mut metrics = Metrics::from([
        ("opens_per_second".to_owned(), result.opens_per_second),
        ("open_cpu_us".to_owned(), result.server_cpu_us_per_open),
    ]);
    percentiles(&mut metrics, "open", &result.open_latency);
    if let Some(back) = &result.reattach {
        metrics.insert("back_per_second".to_owned(), back.per_second);
        metrics.insert("back_cpu_us".to_owned(), back.server_cpu_us_each);
        percentiles(&mut metrics, "back", &back.latency);
    }
    Ok(sample(ensemble, "storm", f64::from(sessions), metrics, line))
}

/// More znodes; `total` is how many there are then.
pub(crate) fn grow(
    ensemble: &Ensemble,
    case: &str,
    more: u32,
    total: u32,
    size: u32,
) -> Result<Sample> {
    // Some thousand children each, as people have.
    let parents = (more / 1000).max(1);
    let words = format!("fill --znodes {more} --parents {parents} --size {size}");
    let (command, line) = command(ensemble, &words)?;
    let Command::Fill(args) = command else { bail!("{line}: not a fill") };
    let result = fill::measure(&args)?;
    let metrics = Metrics::from([
        ("cpu_us".to_owned(), result.server_cpu_us_per_znode),
        ("rss_bytes".to_owned(), result.server_rss_after_bytes as f64),
        ("grown_bytes_each".to_owned(), result.server_bytes_per_znode / ensemble.len() as f64),
        ("path_bytes".to_owned(), result.root.len() as f64 + 23.0),
        ("disk_bytes".to_owned(), ensemble.disk_bytes(0) as f64),
    ]);
    Ok(sample(ensemble, case, f64::from(total), metrics, line))
}

/// What a snapshot takes for each znode, on a server that writes one soon.
pub(crate) fn snapshot(ensemble: &Ensemble, znodes: u32) -> Result<Sample> {
    let mut filled = grow(ensemble, "snapshot", znodes, znodes, 100)?;
    let begin = Instant::now();
    let each = loop {
        if let Some(each) = ensemble.snapshot_bytes_per_znode(0, znodes) {
            break each;
        }
        ensure!(begin.elapsed() < SNAPSHOT_MAX, "no snapshot was written");
        std::thread::sleep(Duration::from_millis(50));
    };
    filled.metrics.insert("bytes_each".to_owned(), each);
    println!("{}: {each:.0} bytes of snapshot for a znode", ensemble.kind);
    Ok(filled)
}

/// The only server, or a follower, is killed and started again.
pub(crate) fn restart(ensemble: &mut Ensemble, znodes: u32) -> Result<Sample> {
    let server = usize::from(leader(ensemble) == Some(0));
    ensemble.kill(server)?;
    let took = ensemble.restart(server)?;
    println!("{} serves again after {:.2} s", ensemble.kind, took.as_secs_f64());
    let rss = proc::Samples::take(&ensemble.pids())?.rss_bytes();
    let metrics = Metrics::from([
        ("seconds".to_owned(), took.as_secs_f64()),
        ("rss_bytes".to_owned(), rss as f64),
    ]);
    let line = "kill -9, start, until a write is acknowledged".to_owned();
    Ok(sample(ensemble, "restart", f64::from(znodes), metrics, line))
}

/// How a leader fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// It is killed.
    Dies,
    /// Its disk takes no more writes for a while.
    DiskHangs,
}

/// The leader fails under load, and is started again afterwards.
pub(crate) fn lose_leader(
    ensemble: &mut Ensemble,
    failure: Failure,
) -> Result<(Sample, FailoverResult)> {
    let leader = ensemble.leader()?;
    let pid = ensemble.pids()[leader];
    let (case, flag) = match failure {
        Failure::Dies => ("failover", String::new()),
        Failure::DiskHangs => {
            ("failover-disk", format!(" --hang-disk {}", ensemble.folder(leader).display()))
        }
    };
    let words = format!("failover --at 2 --duration 6 --kill {pid}{flag}");
    let (command, _) = command(ensemble, &words)?;
    let Command::Failover(args) = command else { bail!("not a failover") };
    let result = failover::measure(&args)?;
    ensemble.kill(leader)?;
    ensemble.restart(leader)?;
    let mut metrics = Metrics::from([
        ("gap_ms".to_owned(), result.gap_ms),
        ("quiet_gap_ms".to_owned(), result.quiet_gap_ms),
        ("sessions_lost".to_owned(), result.sessions_lost as f64),
    ]);
    percentiles(&mut metrics, "latency", &result.latency);
    let flag = if flag.is_empty() { "" } else { " --hang-disk ITS_FOLDER" };
    let line = format!("ringkeeper-perf failover --at 2 --duration 6 --kill PID_OF_LEADER{flag}");
    Ok((sample(ensemble, case, 0.0, metrics, line), result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_fits_into_half_an_hour_and_the_short_form_into_some_minutes() {
        let full = Budget::full().minutes(3, true);
        assert!((25.0..38.0).contains(&full), "{full}");
        let short = Budget::short().minutes(3, true);
        assert!((5.0..13.0).contains(&short), "{short}");
        assert!(Budget::short().minutes(1, false) < 3.0);
    }

    #[test]
    fn a_request_costs_the_leader_and_each_of_the_others() {
        let server = |cpu_seconds| ProcessUse {
            pid: 1,
            cpu_seconds,
            rss_bytes: 0,
            rss_growth_bytes: 0,
            written_bytes: 0,
        };
        let apart = apart(&[server(1.0), server(4.0), server(2.0)], 1, 1e6);
        assert!((apart["leader_cpu_us"] - 4.0).abs() < 1e-9);
        assert!((apart["follower_cpu_us"] - 1.5).abs() < 1e-9);
    }
}
