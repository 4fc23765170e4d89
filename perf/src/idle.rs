//! Sessions that do nothing but stay alive.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cli::{Api, IdleArgs, duration};
use crate::proc::{self, ProcessUse, Samples};
use crate::report;
use crate::wire::{Client, Fleet, Opening, Requests};

/// What `idle` measured.
#[derive(Debug, Serialize)]
pub(crate) struct IdleResult {
    pub(crate) sessions: u32,
    pub(crate) watch: bool,
    pub(crate) seconds: f64,
    pub(crate) pings: u64,
    pub(crate) server_bytes_per_session: f64,
    pub(crate) server_cpu_us_per_session_second: f64,
    pub(crate) servers: Vec<ProcessUse>,
}

/// Runs `idle`.
pub(crate) fn run(args: &IdleArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)
}

/// Keeps the sessions and prints what they took.
pub(crate) fn measure(args: &IdleArgs) -> Result<IdleResult> {
    let common = &args.common;
    let target = common.target()?;
    ensure!(target.api == Api::ZooKeeper, "etcd has no sessions");
    proc::allow_open_files(u64::from(args.sessions) + 64)?;
    let mut client = Client::open(&target)?;
    let path = format!("{}/idle", common.root);
    client.ensure_path(&path)?;
    client.close()?;

    let before = Samples::take(&common.pid)?;
    let opening = Opening { window: 256, ..Opening::default() };
    let mut fleet = Fleet::open(&target, args.sessions as usize, opening, |_| {})?;
    if args.watch {
        let requests = Requests::new(target.api, false);
        fleet.watch_all(1024, |tag, out| requests.watch(tag, path.as_bytes(), false, out))?;
    }
    let idle = Samples::take(&common.pid)?;
    let pings_before = fleet.pings;
    let begin = Instant::now();
    let mut ready = Vec::new();
    while begin.elapsed() < duration(args.seconds) {
        fleet.poll(Duration::from_millis(100), &mut ready, |_, _| Ok(()))?;
        fleet.ping_silent(Instant::now())?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = Samples::take(&common.pid)?;
    let used = after.since(&idle);
    let session_seconds = f64::from(args.sessions) * seconds;
    let cpu_seconds: f64 = used.iter().map(|process| process.cpu_seconds).sum();
    let result = IdleResult {
        sessions: args.sessions,
        watch: args.watch,
        seconds,
        pings: fleet.pings - pings_before,
        server_bytes_per_session: (after.rss_bytes() as f64 - before.rss_bytes() as f64)
            / f64::from(args.sessions),
        server_cpu_us_per_session_second: cpu_seconds * 1e6 / session_seconds.max(1.0),
        servers: used,
    };
    fleet.close(Duration::from_secs(600))?;
    println!(
        "{} idle sessions{} for {:.1} s, {} pings",
        result.sessions,
        if result.watch { " with one watch each" } else { "" },
        result.seconds,
        result.pings
    );
    if !result.servers.is_empty() {
        println!(
            "server: {:.0} bytes per session, {:.2} us CPU per session and second",
            result.server_bytes_per_session, result.server_cpu_us_per_session_second
        );
    }
    Ok(result)
}
