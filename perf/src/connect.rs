//! A storm of sessions: new ones, and old ones that come back after their connections were cut.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cli::{Api, ConnectArgs, Target};
use crate::proc::{self, ProcessUse, Samples};
use crate::report::{self, Percentiles};
use crate::wire::{Client, Fleet, Opening, Ticket};

/// What `connect` measured.
#[derive(Debug, Serialize)]
pub(crate) struct ConnectResult {
    pub(crate) sessions: u32,
    pub(crate) rate: Option<f64>,
    pub(crate) open_seconds: f64,
    pub(crate) opens_per_second: f64,
    pub(crate) open_latency: Percentiles,
    /// How the same sessions came back, if they were cut off.
    pub(crate) reattach: Option<Reattach>,
    pub(crate) close_seconds: f64,
    pub(crate) closes_per_second: f64,
    pub(crate) server_cpu_us_per_open: f64,
    pub(crate) server_cpu_us_per_close: f64,
    pub(crate) server_bytes_per_session: f64,
    pub(crate) servers: Vec<ProcessUse>,
}

/// Sessions that came back.
#[derive(Debug, Serialize)]
pub(crate) struct Reattach {
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) latency: Percentiles,
    pub(crate) server_cpu_us_each: f64,
}

/// Runs `connect`.
pub(crate) fn run(args: &ConnectArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)
}

/// Opens and closes the sessions and prints what came out.
pub(crate) fn measure(args: &ConnectArgs) -> Result<ConnectResult> {
    let common = &args.common;
    let target = common.target()?;
    ensure!(target.api == Api::ZooKeeper, "etcd has no sessions to open: leases are keys there");
    // Both ends of cut connections linger for a moment.
    proc::allow_open_files(u64::from(args.sessions) + 64)?;
    let sessions = args.sessions as usize;
    let before = Samples::take(&common.pid)?;
    let begin = Instant::now();
    let mut latencies = report::latencies();
    let opening = Opening { window: args.window as usize, rate: args.rate, ..Opening::default() };
    let mut fleet = Fleet::open(&target, sessions, opening, |latency| {
        report::record(&mut latencies, latency);
    })?;
    let open_seconds = begin.elapsed().as_secs_f64();
    let opened = Samples::take(&common.pid)?;
    let count = u64::from(args.sessions);
    let mut reattach = None;
    if args.reattach || args.await_restart {
        let tickets: Vec<Ticket> = fleet.tickets.iter().copied().flatten().collect();
        ensure!(tickets.len() == sessions, "every session has a ticket");
        if args.await_restart {
            println!("{sessions} sessions are open: restart the server now");
            await_restart(&mut fleet, &target)?;
        }
        drop(fleet);
        let begin = Instant::now();
        let mut latencies = report::latencies();
        let opening = Opening { tickets: &tickets, ..opening };
        fleet = Fleet::open(&target, sessions, opening, |latency| {
            report::record(&mut latencies, latency);
        })?;
        let seconds = begin.elapsed().as_secs_f64();
        reattach = Some(Reattach {
            seconds,
            per_second: f64::from(args.sessions) / seconds,
            latency: Percentiles::of(&latencies),
            server_cpu_us_each: report::cpu_us_per(
                &Samples::take(&common.pid)?.since(&opened),
                count,
            ),
        });
    }
    let closing = Samples::take(&common.pid)?;
    let begin = Instant::now();
    fleet.close(Duration::from_secs(600))?;
    let close_seconds = begin.elapsed().as_secs_f64();
    let closed = Samples::take(&common.pid)?;

    let result = ConnectResult {
        sessions: args.sessions,
        rate: args.rate,
        open_seconds,
        opens_per_second: f64::from(args.sessions) / open_seconds,
        open_latency: Percentiles::of(&latencies),
        reattach,
        close_seconds,
        closes_per_second: f64::from(args.sessions) / close_seconds,
        server_cpu_us_per_open: report::cpu_us_per(&opened.since(&before), count),
        server_cpu_us_per_close: report::cpu_us_per(&closed.since(&closing), count),
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
    if let Some(back) = &result.reattach {
        println!(
            "all cut and back in {:.2} s ({:.0}/s), {:.1} us server CPU each",
            back.seconds, back.per_second, back.server_cpu_us_each
        );
        back.latency.print("connect and handshake, coming back");
    }
    if !result.servers.is_empty() {
        println!(
            "server: {:.1} us CPU per open, {:.1} per close, {:.0} bytes per session",
            result.server_cpu_us_per_open,
            result.server_cpu_us_per_close,
            result.server_bytes_per_session
        );
    }
    Ok(result)
}

/// Returns when the server has gone and serves again.
fn await_restart(fleet: &mut Fleet, target: &Target) -> Result<()> {
    const PATIENT: Duration = Duration::from_secs(60);
    let begin = Instant::now();
    let mut ready = Vec::new();
    let mut step = |fleet: &mut Fleet| {
        fleet.poll(Duration::from_millis(100), &mut ready, |_, _| Ok(()))?;
        fleet.ping_silent(Instant::now())
    };
    while step(fleet).is_ok() {
        ensure!(begin.elapsed() < PATIENT, "nobody restarted the server within a minute");
    }
    let gone = Instant::now();
    // A port that is listened on is not enough: a server that is dying has it for a moment longer
    // than its connections.
    while Client::open(target).and_then(Client::close).is_err() {
        ensure!(gone.elapsed() < PATIENT, "the server did not come back within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("it serves again {:.2} s after it went", gone.elapsed().as_secs_f64());
    Ok(())
}
