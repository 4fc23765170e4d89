//! Results: printed for people, written as JSON for programs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::proc::ProcessUse;

/// Latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u64>;

/// Longest latency that is told apart from longer ones, ns.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// What a result takes on disk, for the most part, bytes.
const RESULT_BYTES: usize = 128 << 10;

/// An empty histogram, three significant digits, up to an hour.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_max(LATENCY_MAX, 3).expect("the bounds and three digits are allowed")
}

/// Adds one latency.
pub(crate) fn record(into: &mut Latencies, latency: Duration) {
    into.saturating_record(latency.as_nanos() as u64);
}

/// Percentiles, us.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// How many were recorded.
    pub(crate) count: u64,
    /// Half are below.
    pub(crate) p50_us: f64,
    /// One in ten is above.
    pub(crate) p90_us: f64,
    /// One in a hundred is above.
    pub(crate) p99_us: f64,
    /// One in a thousand is above.
    pub(crate) p999_us: f64,
    /// The worst.
    pub(crate) max_us: f64,
}

impl Percentiles {
    /// Of a histogram in nanoseconds.
    pub(crate) fn of(latencies: &Latencies) -> Percentiles {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            count: latencies.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.max() as f64 / 1000.0,
        }
    }

    /// One line.
    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what}: p50 {:.0} us, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0} ({} samples)",
            self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us, self.count
        );
    }
}

/// One line for each server process, and CPU time per unit of work.
pub(crate) fn print_processes(processes: &[ProcessUse], units: u64, unit: &str) {
    for process in processes {
        println!(
            "server {}: {:.2} s CPU, {:.2} us per {unit}, {:.1} MiB resident ({:+.1})",
            process.pid,
            process.cpu_seconds,
            per(process.cpu_seconds, units),
            process.rss_bytes as f64 / 1_048_576.0,
            process.rss_growth_bytes as f64 / 1_048_576.0,
        );
    }
    if processes.len() > 1 {
        println!("servers: {:.2} us CPU per {unit} in all", cpu_us_per(processes, units));
    }
}

/// CPU time of all processes per unit of work, us.
pub(crate) fn cpu_us_per(processes: &[ProcessUse], units: u64) -> f64 {
    per(processes.iter().map(|process| process.cpu_seconds).sum(), units)
}

/// Seconds over a count, in us; zero for a count of zero.
pub(crate) fn per(seconds: f64, units: u64) -> f64 {
    if units == 0 { 0.0 } else { seconds * 1e6 / units as f64 }
}

/// Checks that a result could be written here, before time is spent on it.
pub(crate) fn writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let what = || format!("--json {}: cannot be written", path.display());
    if path.is_dir() {
        return Err(anyhow::anyhow!("it is a folder")).with_context(what);
    }
    let partial = partial(path);
    let probed = fs::write(&partial, vec![b' '; RESULT_BYTES]);
    let _ = fs::remove_file(&partial);
    probed.with_context(what)
}

fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

/// Writes the result as JSON, whole or not at all.
pub(crate) fn save(path: Option<&Path>, result: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(result).context("result as JSON")?;
    text.push('\n');
    write_whole(path, text.as_bytes()).with_context(|| format!("--json {}", path.display()))
}

/// Writes a file whole or not at all: under another name first, synced, then renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial(path);
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.with_context(|| {
        let _ = fs::remove_file(&partial);
        format!("writing {}", path.display())
    })
}

/// What a histogram holds, as (upper bound in us, count) of every step that is not empty.
pub(crate) fn steps(latencies: &Latencies) -> Vec<(f64, u64)> {
    latencies
        .iter_recorded()
        .map(|step| (step.value_iterated_to() as f64 / 1000.0, step.count_since_last_iteration()))
        .collect()
}

/// Prints the table of percentiles that HDR histograms are usually shown as.
pub(crate) fn print_table(what: &str, latencies: &Latencies) {
    println!("{what}\n{:>12} {:>14} {:>12}", "percentile", "us", "count");
    let mut below = 0;
    for step in latencies.iter_quantiles(2) {
        below += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / 1000.0;
        println!("{:>12.5} {value:>14.1} {below:>12}", 100.0 * step.quantile_iterated_to());
    }
}
