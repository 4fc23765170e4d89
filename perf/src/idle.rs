//! Sessions that do nothing but stay alive.

use std::time::{Duration, Instant};

use anyhow::Result;
use model::Xid;
use protocol::Request;
use serde::Serialize;

use crate::cli::{IdleArgs, duration};
use crate::client::Client;
use crate::fleet::Fleet;
use crate::proc::{self, ProcessUse, Samples};
use crate::report;

#[derive(Serialize)]
struct IdleResult {
    sessions: u32,
    watch: bool,
    seconds: f64,
    pings: u64,
    server_bytes_per_session: f64,
    server_cpu_us_per_session_second: f64,
    servers: Vec<ProcessUse>,
}

/// Runs `idle`.
pub(crate) fn run(args: &IdleArgs) -> Result<()> {
    let common = &args.common;
    let target = common.target()?;
    proc::allow_open_files(u64::from(args.sessions) + 64)?;
    let mut client = Client::open(&target)?;
    let path = format!("{}/idle", common.root);
    client.ensure_path(&path)?;
    client.close()?;

    let before = Samples::take(&common.pid)?;
    let mut fleet = Fleet::open(&target, args.sessions as usize, 256, None, |_| {})?;
    if args.watch {
        let request = Request::GetData { path: path.as_bytes(), watch: true };
        fleet.call_all("setting a watch", 1024, |_, out| request.encode(Xid(1), out))?;
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
    report::save(common.json.as_deref(), &result)
}
