//! The planned load for real, scaled down to what this machine and a minute hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use model::Op;
use serde::Serialize;

use super::PlanArgs;
use super::model::{Costs, Load};
use crate::cli::{Api, Cli, Command, Target};
use crate::compare::{Ensemble, Scratch, find};
use crate::proc::Samples;
use crate::wire::{Client, Fleet, Opening, Requests};
use crate::{fill, load};

/// Largest parts that are replayed.
const SESSIONS_MAX: f64 = 5000.0;
const ZNODES_MAX: f64 = 300_000.0;
/// Part of this machine's cores that the servers may take, so that the generator has the rest.
const CORES_PART: f64 = 0.35;
/// How far a prediction may be off.
const OFF_MAX: f64 = 0.2;
/// Connections that carry the requests, as when the constants were measured.
const CONNECTIONS: u32 = 64;

/// A prediction beside its measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verified {
    /// What was replayed.
    load: Load,
    figures: Vec<Figure>,
}

#[derive(Clone, Debug, Serialize)]
struct Figure {
    what: String,
    predicted: f64,
    measured: f64,
    off: f64,
}

/// Scales, replays, and prints prediction beside measurement.
pub(super) fn replay(args: &PlanArgs, costs: &Costs<'_>) -> Result<Verified> {
    let load = scaled(&args.load, costs, args);
    let predicted = costs.predict(&load, &args.goals);
    let rival = find(args.kind, &args.places.sources())?;
    let work = args.places.work.clone().unwrap_or_else(|| ".".into());
    let scratch = Scratch::below(&work).context("--work")?;
    let ensemble =
        Ensemble::start(&rival, load.ensemble as usize, &scratch.path().join("plan"), "")?;
    println!(
        "\nreplaying {:.0} reads/s, {:.0} writes/s, {} sessions, {} watches ({} on the hottest \
         znode), {} znodes, {} servers",
        load.reads,
        load.writes,
        load.sessions,
        load.watches,
        load.hot_watches,
        load.znodes,
        load.ensemble
    );

    let command = |words: String| -> Result<Command> {
        let line = std::iter::once("ringkeeper-perf".to_owned())
            .chain(words.split_whitespace().map(str::to_owned))
            .chain(ensemble.flags());
        Ok(Cli::try_parse_from(line)?.command)
    };
    let keys = load.znodes.clamp(1, 1000);
    if load.znodes > keys {
        let (more, size) = (load.znodes - keys, load.znode_size);
        let parents = (more / 1000).max(1);
        let words = format!("fill --znodes {more} --size {size} --parents {parents}");
        let Command::Fill(fill) = command(words)? else { bail!("not a fill") };
        fill::measure(&fill)?;
    }
    if load.ensemble > 1 && load.writes > 0.0 {
        // The latest writes that servers keep for each other are as many as after a while.
        let size = load.write_size;
        let words = format!("load --op set --size {size} --keys {keys} --duration 3 --warmup 0");
        let Command::Load(burst) = command(words)? else { bail!("not a load") };
        load::measure(&burst)?;
    }
    let share = load.reads / (load.reads + load.writes).max(1e-9);
    let words = format!(
        "load --op mixed:{share} --rate {} --connections {CONNECTIONS} --outstanding 64 \
         --size {} --keys {keys} --duration {} --warmup 2",
        (load.reads + load.writes).max(1.0),
        load.write_size,
        args.verify_seconds
    );
    let Command::Load(requests) = command(words)? else { bail!("not a load") };
    let target = ensemble.target();
    let (stop, ready) = (AtomicBool::new(false), std::sync::Barrier::new(2));
    let (measured, memory) = std::thread::scope(|scope| {
        let others = scope.spawn(|| beside(&target, &load, &stop, &ready));
        ready.wait();
        let measured = load::measure(&requests);
        let memory = Samples::take(&ensemble.pids());
        stop.store(true, Ordering::Relaxed);
        others.join().unwrap_or_else(|_| Err(anyhow!("the sessions failed")))?;
        anyhow::Ok((measured?, memory?))
    })?;
    let cpu: f64 = measured.servers.iter().map(|server| server.cpu_seconds).sum();
    let figure = |what: &str, predicted: f64, measured: f64| Figure {
        what: what.to_owned(),
        predicted,
        measured,
        off: (predicted - measured) / measured.max(1e-12),
    };
    let servers = f64::from(load.ensemble);
    let mut figures = vec![
        figure("cores busy", predicted.cores, cpu / measured.seconds),
        figure(
            "memory, MB each",
            predicted.memory_bytes / 1e6,
            memory.rss_bytes() as f64 / servers / 1e6,
        ),
    ];
    let (reads, writes) = (
        measured.latency_by_verb.get(&crate::wire::Verb::Get),
        measured.latency_by_verb.get(&crate::wire::Verb::Set),
    );
    if let Some(reads) = reads {
        figures.push(figure("read p50, us", predicted.read_p50_us, reads.p50_us));
    }
    if let Some(writes) = writes {
        figures.push(figure("write p50, us", predicted.write_p50_us, writes.p50_us));
        figures.push(figure("write p99, us", predicted.write_p99_us, writes.p99_us));
    }
    println!("\n{:<18} {:>12} {:>12} {:>8}", "", "predicted", "measured", "off");
    for (index, figure) in figures.iter().enumerate() {
        // Latencies are this machine's of the moment; cost and memory are what is promised.
        let verdict = match index {
            0 | 1 if figure.off.abs() <= OFF_MAX => "within 20 %",
            0 | 1 => "MORE THAN 20 % OFF",
            _ => "",
        };
        println!(
            "{:<18} {:>12.3} {:>12.3} {:>7.0}% {verdict}",
            figure.what,
            figure.predicted,
            figure.measured,
            100.0 * figure.off
        );
    }
    Ok(Verified { load, figures })
}

/// The same load in proportion, small enough.
fn scaled(load: &Load, costs: &Costs<'_>, args: &PlanArgs) -> Load {
    let part = |most: f64, wanted: f64| if wanted > most { most / wanted } else { 1.0 };
    let state = part(SESSIONS_MAX, f64::from(load.sessions))
        .min(part(ZNODES_MAX, f64::from(load.znodes)))
        .min(part(SESSIONS_MAX, f64::from(load.watches)))
        .min(part(SESSIONS_MAX, f64::from(load.hot_watches)));
    let here = costs.floor.host.cores as f64 * CORES_PART;
    let of = |count: u32| (f64::from(count) * state).round() as u32;
    // One watch for each session is what the replay sets.
    let sessions = of(load.sessions).max(of(load.watches)).max(of(load.hot_watches));
    let mut scaled = Load {
        sessions,
        watches: sessions,
        hot_watches: of(load.hot_watches),
        znodes: of(load.znodes).max(1),
        ensemble: if load.ensemble > 1 && costs.three.is_some() { 3 } else { 1 },
        ..load.clone()
    };
    for _ in 0..40 {
        if costs.predict(&scaled, &args.goals).cores <= here {
            break;
        }
        scaled.reads *= 0.9;
        scaled.writes *= 0.9;
        scaled.hot_changes *= 0.9;
    }
    scaled
}

/// Sessions with their watches, and the hottest znode's changes, until told to stop.
fn beside(
    target: &Target,
    load: &Load,
    stop: &AtomicBool,
    ready: &std::sync::Barrier,
) -> Result<()> {
    let prepare = || -> Result<(Option<Fleet>, Client)> {
        let mut client = Client::open(target)?;
        let (hot, cold) = ("/ringkeeper-perf/hot", "/ringkeeper-perf/cold");
        client.ensure_path(hot)?;
        client.ensure_path(cold)?;
        if target.api != Api::ZooKeeper || load.sessions == 0 {
            return Ok((None, client));
        }
        let opening = Opening { window: 256, ..Opening::default() };
        // Three pings in a session timeout.
        let timeout = (3000.0 / load.pings.max(0.01)).clamp(4_000.0, 40_000.0);
        let target = Target { session_timeout_ms: timeout as i32, ..target.clone() };
        let mut fleet = Fleet::open(&target, load.sessions as usize, opening, |_| {})?;
        let requests = Requests::new(target.api, false);
        let mut left = load.hot_watches;
        fleet.watch_all(1024, |tag, out| {
            let path = if left > 0 { hot } else { cold };
            left = left.saturating_sub(1);
            requests.watch(tag, path.as_bytes(), true, out);
        })?;
        Ok((Some(fleet), client))
    };
    let prepared = prepare();
    ready.wait();
    let (mut fleet, mut client) = prepared?;
    let begin = Instant::now();
    let (mut changes, mut scratch) = (0_u32, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_secs_f64(f64::from(changes) / load.hot_changes.max(1e-6));
        if load.hot_changes > 0.0 && begin.elapsed() >= due {
            changes += 1;
            let op = Op::SetData { path: b"/ringkeeper-perf/hot", data: Some(b"x"), version: -1 };
            client.write(&op)?;
        }
        match &mut fleet {
            Some(fleet) => {
                fleet.poll(Duration::from_millis(10), &mut scratch, |_, _| Ok(()))?;
                fleet.ping_silent(Instant::now())?;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
        client.keep_alive()?;
    }
    Ok(())
}
