//! What a plan is calculated from: the measured costs of each server on this machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Comparison;
use super::results::{Query, Results, Summary};
use super::rival::Kind;
use crate::check::Floor;
use crate::proc::CALM_CORES;

/// Shape of the file; one of another shape is refused.
const SHAPE: u32 = 2;
/// What the server of the calm load has besides itself.
const CALM_ZNODES: f64 = 1000.0;
const CALM_SESSIONS: f64 = 64.0;
/// How much the processor's pace may change.
const SPEED_FACTOR: f64 = 1.15;
/// How much the disk's pace may change until batches are of another size.
const DISK_FACTOR: f64 = 1.7;

/// A file of constants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Constants {
    shape: u32,
    /// When it was measured.
    pub(crate) made: String,
    /// In the short form: few and short runs.
    pub(crate) short: bool,
    /// The machine and its floor, before anything else.
    pub(crate) floor: Floor,
    /// How the machine was meanwhile.
    pub(crate) pace: Pace,
    /// Versions by server.
    pub(crate) versions: BTreeMap<Kind, String>,
    /// By server, then by the size of the ensemble.
    pub(crate) servers: BTreeMap<Kind, BTreeMap<usize, ServerConstants>>,
}

/// How fast a machine is at some time, and how busy with other things: what decides whether
/// figures of two times can be compared.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// CPU time of always the same work, us.
    pub(crate) spin_us: f64,
    /// Half of the durable writes of 4 KiB take less, us.
    pub(crate) write_us: f64,
    /// Cores that other programs kept busy.
    pub(crate) others_cores: f64,
}

impl Pace {
    /// Medians of what was seen at several moments, if anything was.
    pub(crate) fn of(spins: &[f64], floors: &[Floor], others_cores: &[f64]) -> Option<Pace> {
        let median = |values: &[f64]| Summary::of(values).map(|summary| summary.median);
        let write = |floor: &Floor| Some(floor.durable_writes.first()?.latency.p50_us);
        let writes: Vec<f64> = floors.iter().filter_map(write).collect();
        Some(Pace {
            spin_us: median(spins)?,
            write_us: median(&writes)?,
            others_cores: median(others_cores)?,
        })
    }

    /// Why figures of the two times say nothing about each other, if that is so.
    pub(crate) fn unlike(&self, other: &Pace) -> Option<String> {
        let busy = |pace: &Pace, when: &str| {
            (pace.others_cores > CALM_CORES)
                .then(|| format!("other programs kept {:.1} cores busy {when}", pace.others_cores))
        };
        let disk = self.write_us.max(other.write_us) / self.write_us.min(other.write_us).max(1e-9);
        // Slower writes carry more each, which makes every one of them cheaper.
        let disk = (disk > DISK_FACTOR).then(|| {
            format!(
                "a durable write took {:.0} us then and {:.0} us now",
                self.write_us, other.write_us
            )
        });
        let slower = other.spin_us / self.spin_us.max(1e-9);
        let speed = (slower.max(1.0 / slower) > SPEED_FACTOR)
            .then(|| format!("the same work takes {slower:.2} times the CPU time now"));
        busy(self, "when the constants were measured").or(busy(other, "now")).or(disk).or(speed)
    }
}

/// One point of a curve over the rate of requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RatePoint {
    /// Requests a second.
    pub(crate) rate: f64,
    /// CPU time of all servers per request, us.
    pub(crate) cpu_us: f64,
    /// The leader's part of it; 1 for one server.
    pub(crate) leader_part: f64,
    /// Half of the latencies are below, us.
    pub(crate) p50_us: f64,
    /// One in a hundred is above, us.
    pub(crate) p99_us: f64,
    /// Writes to the log a second, 0 if unknown.
    pub(crate) log_writes_per_second: f64,
    /// Written to disks per request, by all servers, bytes.
    pub(crate) disk_bytes: f64,
}

/// The costs of one server, or of one ensemble.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerConstants {
    /// Reads of 100 B; the last point is the most that was reached.
    pub(crate) reads: Vec<RatePoint>,
    /// Durable writes of 100 B, likewise.
    pub(crate) writes: Vec<RatePoint>,
    /// CPU time of each further byte of a write, us.
    pub(crate) write_cpu_us_per_byte: f64,
    /// Written to disks per further byte of a write, bytes.
    pub(crate) write_disk_bytes_per_byte: f64,
    /// CPU time per notification, us.
    pub(crate) notification_cpu_us: f64,
    /// Elapsed time per notification of a large fan-out, us.
    pub(crate) notification_us: f64,
    /// Memory per idle session, bytes.
    pub(crate) session_bytes: f64,
    /// Memory per watch, bytes.
    pub(crate) watch_bytes: f64,
    /// CPU time per ping, us.
    pub(crate) ping_cpu_us: f64,
    /// Sessions that come back a second, when all do at once.
    pub(crate) reattach_per_second: f64,
    /// CPU time of one that comes back, us.
    pub(crate) reattach_cpu_us: f64,
    /// Memory of a server that has no znodes and serves some requests, bytes.
    pub(crate) empty_bytes: f64,
    /// Memory that each server takes beyond its tree while many writes of 100 B are in flight:
    /// buffers, and in an ensemble the latest writes, which are kept for the others; bytes.
    pub(crate) busy_bytes: f64,
    /// The same per further byte of a write, bytes.
    pub(crate) busy_bytes_per_byte: f64,
    /// How many writes were in flight then.
    pub(crate) busy_writes: f64,
    /// Memory per znode of 100 B, its path included, bytes.
    pub(crate) znode_bytes: f64,
    /// Memory per further byte of data, bytes.
    pub(crate) znode_bytes_per_byte: f64,
    /// Snapshot per znode of 100 B, bytes.
    pub(crate) snapshot_bytes: f64,
    /// Restart of an empty server, s.
    pub(crate) restart_seconds: f64,
    /// Restart, for each further znode, s.
    pub(crate) restart_seconds_per_znode: f64,
    /// Longest time without an acknowledged write after the leader was killed, s.
    pub(crate) failover_seconds: f64,
}

impl Constants {
    /// From what was measured.
    pub(crate) fn of(comparison: &Comparison) -> Option<Constants> {
        let results = &comparison.results;
        let mut servers = BTreeMap::new();
        for contender in &comparison.contenders {
            let mut sizes = BTreeMap::new();
            for size in [1, super::ENSEMBLE] {
                let measured = ServerConstants::of(results, contender.kind, size);
                if !measured.writes.is_empty() {
                    sizes.insert(size, measured);
                }
            }
            servers.insert(contender.kind, sizes);
        }
        let versions = comparison.contenders.iter();
        Some(Constants {
            shape: SHAPE,
            made: comparison.made.clone(),
            short: comparison.short,
            floor: comparison.floors.first()?.clone(),
            pace: Pace::of(
                &results.all("spin_us"),
                &comparison.floors,
                &results.all("others_cores"),
            )?,
            versions: versions.map(|one| (one.kind, one.version.clone())).collect(),
            servers,
        })
    }

    /// Reads a file that `compare` wrote.
    pub(crate) fn read(path: &Path) -> Result<Constants> {
        let what = || format!("--constants {}", path.display());
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: made by `ringkeeper-perf compare --out DIR`", what()))?;
        let constants: Constants = serde_json::from_str(&text)
            .with_context(|| format!("{}: not a file that compare wrote", what()))?;
        anyhow::ensure!(
            constants.shape == SHAPE,
            "{}: of shape {}, and this program reads {SHAPE}: run compare again",
            what(),
            constants.shape
        );
        Ok(constants)
    }
}

impl ServerConstants {
    fn of(results: &Results, kind: Kind, servers: usize) -> ServerConstants {
        // Memory, restarts and watches are each server's own, and measured on one.
        let get = |servers: usize, case: &str, x: f64, metric: &str| {
            let summary = results.summary(kind, Query { servers, case, x, metric });
            summary.map(|summary| summary.median)
        };
        let last = |case: &str| results.places(kind, 1, case).last().copied();
        let at_last = |case: &str, metric: &str| -> f64 {
            last(case).and_then(|x| get(1, case, x, metric)).unwrap_or(0.0)
        };
        let fill = results.curve(kind, 1, "fill", "rss_bytes");
        let (at_no_znode, znode_bytes) = line(&fill);
        let session_bytes = at_last("idle", "bytes_each");
        // A fill has hundreds of creates in flight and is no measure of a server that does little.
        let clients = CALM_ZNODES * znode_bytes + CALM_SESSIONS * session_bytes;
        let empty_bytes =
            get(1, "calm", 0.0, "rss_bytes").map_or(at_no_znode, |calm| (calm - clients).max(0.0));
        let (restart_seconds, restart_seconds_per_znode) =
            line(&results.curve(kind, 1, "restart", "seconds"));
        let thick = last("fill-1k").map_or(0.0, |znodes| {
            let thin = get(1, "fill", znodes, "rss_bytes").unwrap_or(0.0);
            let thick = get(1, "fill-1k", znodes, "rss_bytes").unwrap_or(0.0);
            ((thick - thin) / znodes / 900.0).max(0.0)
        });
        let set = |case: &str, metric: &str| get(servers, case, 0.0, metric);
        let per_byte = |metric: &str| match (set("set", metric), set("set-1k", metric)) {
            (Some(small), Some(large)) => ((large - small) / 924.0).max(0.0),
            _ => 0.0,
        };
        // The first round's: memory that was taken once is kept.
        let first = |case: &str| -> Option<f64> {
            let query = Query { servers, case, x: 0.0, metric: "rss_bytes" };
            Some(results.values(kind, query).first()? / servers as f64)
        };
        let (small, large) = (first("set").unwrap_or(0.0), first("set-1k").unwrap_or(0.0));
        let watchers = last("watch").unwrap_or(1.0);
        ServerConstants {
            reads: points(results, kind, servers, "get"),
            writes: points(results, kind, servers, "set"),
            write_cpu_us_per_byte: per_byte("cpu_us"),
            write_disk_bytes_per_byte: per_byte("written_bytes"),
            notification_cpu_us: at_last("watch", "cpu_us"),
            notification_us: at_last("watch", "all_p50_us") / watchers,
            session_bytes,
            watch_bytes: (at_last("idle-watch", "bytes_each") - session_bytes).max(0.0),
            ping_cpu_us: at_last("idle-watch", "ping_cpu_us"),
            reattach_per_second: at_last("storm", "back_per_second"),
            reattach_cpu_us: at_last("storm", "back_cpu_us"),
            empty_bytes,
            busy_bytes: (small - empty_bytes - 1000.0 * znode_bytes).max(0.0),
            busy_bytes_per_byte: ((large - small) / 924.0).max(0.0),
            busy_writes: super::IN_FLIGHT,
            znode_bytes,
            znode_bytes_per_byte: thick,
            snapshot_bytes: at_last("snapshot", "bytes_each"),
            restart_seconds,
            restart_seconds_per_znode,
            failover_seconds: get(servers, "failover", 0.0, "gap_ms").unwrap_or(0.0) / 1000.0,
        }
    }
}

/// CPU time and latency over the rate: one at a time, the open loop, and the closed loop's most.
fn points(results: &Results, kind: Kind, servers: usize, op: &str) -> Vec<RatePoint> {
    let at = |case: &str, x: f64| -> Option<RatePoint> {
        let get = |metric: &str| {
            let query = Query { servers, case, x, metric };
            results.summary(kind, query).map(|summary| summary.median)
        };
        Some(RatePoint {
            rate: get("per_second")?,
            cpu_us: get("cpu_us")?,
            leader_part: get("leader_cpu_us").map_or(1.0 / servers as f64, |leader| {
                leader / get("cpu_us").unwrap_or(leader).max(1e-9)
            }),
            p50_us: get("latency_p50_us")?,
            p99_us: get("latency_p99_us")?,
            log_writes_per_second: get("log_writes_per_second").unwrap_or(0.0),
            disk_bytes: get("written_bytes").unwrap_or(0.0),
        })
    };
    let open = format!("{op}-rate");
    let rates = results.places(kind, servers, &open);
    let mut points: Vec<RatePoint> = rates.into_iter().filter_map(|x| at(&open, x)).collect();
    if points.is_empty() {
        points.extend(at(&format!("{op}-one"), 0.0));
    }
    points.extend(at(op, 0.0));
    points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    points
}

/// The line of least squares through some points: value at zero (not below it) and slope.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let Some(&first) = points.first() else { return (0.0, 0.0) };
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if under <= 0.0 {
        return (0.0, first.1 / first.0.max(1.0));
    }
    let slope = (over / under).max(0.0);
    ((y - slope * x).max(0.0), slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_are_compared_only_if_both_were_calm() {
        let calm = Pace { spin_us: 1000.0, write_us: 150.0, others_cores: 0.1 };
        let later = Pace { spin_us: 1100.0, write_us: 170.0, ..calm };
        assert_eq!(calm.unlike(&later), None);
        let dear = Pace { spin_us: 1500.0, ..calm };
        assert!(calm.unlike(&dear).is_some_and(|why| why.contains("1.50 times the CPU")));
        let busy = Pace { others_cores: 1.4, ..calm };
        assert!(calm.unlike(&busy).is_some_and(|why| why.contains("1.4 cores busy now")));
        assert!(busy.unlike(&calm).is_some_and(|why| why.contains("when the constants")));
        let slow = Pace { write_us: 900.0, ..calm };
        assert!(calm.unlike(&slow).is_some_and(|why| why.contains("150 us then and 900 us now")));
    }

    #[test]
    fn a_line_is_found_through_points() {
        let (base, slope) = line(&[(1.0, 12.0), (2.0, 14.0), (3.0, 16.0)]);
        assert!((base - 10.0).abs() < 1e-9 && (slope - 2.0).abs() < 1e-9);
        assert_eq!(line(&[]), (0.0, 0.0));
        assert_eq!(line(&[(10.0, 20.0)]), (0.0, 2.0));
        assert!(line(&[(1.0, 5.0), (2.0, 4.0)]).1.abs() < 1e-9, "nothing shrinks with size");
    }
}
