//! A storm of sessions.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::cli::ConnectArgs;
use crate::fleet::Fleet;
use crate::proc::{self, ProcessUse, Samples};
use crate::report::{self, Percentiles};

#[derive(Serialize)]
struct ConnectResult {
    sessions: u32,
    rate: Option<f64>,
    open_seconds: f64,
    opens_per_second: f64,
    open_latency: Percentiles,
    close_seconds: f64,
    closes_per_second: f64,
    server_cpu_us_per_open: f64,
    server_cpu_us_per_close: f64,
    server_bytes_per_session: f64,
    servers: Vec<ProcessUse>,
}

/// Runs `connect`.
pub(crate) fn run(args: &ConnectArgs) -> Result<()> {
    let common = &args.common;
    let target = common.target()?;
    proc::allow_open_files(u64::from(args.sessions) + 64)?;
    let sessions = args.sessions as usize;
    let before = Samples::take(&common.pid)?;
    let begin = Instant::now();
    let mut latencies = report::latencies();
    let fleet = Fleet::open(&target, sessions, args.window as usize, args.rate, |latency| {
        report::record(&mut latencies, latency);
    })?;
    let open_seconds = begin.elapsed().as_secs_f64();
    let opened = Samples::take(&common.pid)?;
    let begin = Instant::now();
    fleet.close(Duration::from_secs(600))?;
    let close_seconds = begin.elapsed().as_secs_f64();
    let closed = Samples::take(&common.pid)?;

    let count = u64::from(args.sessions);
    let result = ConnectResult {
        sessions: args.sessions,
        rate: args.rate,
        open_seconds,
        opens_per_second: f64::from(args.sessions) / open_seconds,
        open_latency: Percentiles::of(&latencies),
        close_seconds,
        closes_per_second: f64::from(args.sessions) / close_seconds,
        server_cpu_us_per_open: report::cpu_us_per(&opened.since(&before), count),
        server_cpu_us_per_close: report::cpu_us_per(&closed.since(&opened), count),
        server_bytes_per_session: (opened.rss_bytes() as f64 - before.rss_bytes() as f64)
            / f64::from(args.sessions),
        servers: closed.since(&before),
    };
    println!(
        "{} sessions opened in {:.2} s ({:.0}/s), closed in {:.2} s ({:.0}/s)",
        result.sessions,
        result.open_seconds,
        result.opens_per_second,
        result.close_seconds,
        result.closes_per_second
    );
    result.open_latency.print("connect and handshake");
    if !result.servers.is_empty() {
        println!(
            "server: {:.1} us CPU per open, {:.1} per close, {:.0} bytes per session",
            result.server_cpu_us_per_open,
            result.server_cpu_us_per_close,
            result.server_bytes_per_session
        );
    }
    report::save(common.json.as_deref(), &result)
}
