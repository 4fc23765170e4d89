//! The planned load for real, scaled down to what this machine and a minute hold.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use model::Op;
use serde::Serialize;

use super::model::{Costs, Goals, Load};
use crate::check::{self, CheckArgs};
use crate::cli::{Api, Cli, Command, Target};
use crate::compare::{Ensemble, Pace, Rival};
use crate::proc::{self, Samples};
use crate::report::Percentiles;
use crate::wire::{Client, Fleet, Opening, Requests, Verb};
use crate::{fill, load};

/// Largest parts that are replayed.
const SESSIONS_MAX: f64 = 5000.0;
const ZNODES_MAX: f64 = 300_000.0;
/// Part of this machine's cores that the servers may take, so that the generator has the rest.
const CORES_PART: f64 = 0.35;
/// How far a prediction may be off.
const OFF_MAX: f64 = 0.2;
/// Parts of the measured time; the median is taken.
const SLICES: usize = 3;
/// Connections that carry the requests, as when the constants were measured.
const CONNECTIONS: u32 = 64;

/// A prediction beside its measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verified {
    /// What was replayed.
    pub(super) load: Load,
    /// How the machine was meanwhile.
    pub(super) pace: Pace,
    /// Why the constants say nothing about this moment, if that is so.
    pub(super) unlike: Option<String>,
    pub(super) figures: Vec<Figure>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) predicted: f64,
    pub(super) measured: f64,
    /// 0.1 is a tenth too much.
    pub(super) off: f64,
    /// Cost and memory are promised; latencies are this machine's of the moment.
    pub(super) promised: bool,
}

impl Figure {
    fn new(what: &'static str, predicted: f64, measured: f64, promised: bool) -> Figure {
        let off = (predicted - measured) / measured.max(1e-12);
        Figure { what, predicted, measured, off, promised }
    }

    /// Kept, or nothing that was promised.
    pub(super) fn holds(&self) -> bool {
        !self.promised || self.off.abs() <= OFF_MAX
    }
}

/// Where and for how long a load is replayed.
pub(super) struct Stage<'a> {
    pub(super) rival: &'a Rival,
    /// Folder for the server's data.
    pub(super) dir: &'a Path,
    /// Measured seconds.
    pub(super) seconds: f64,
    /// How the machine was when the constants were measured.
    pub(super) then: &'a Pace,
}

/// Scales, replays, and prints prediction beside measurement.
pub(super) fn replay(
    load: &Load,
    goals: &Goals,
    costs: &Costs<'_>,
    stage: &Stage<'_>,
) -> Result<Verified> {
    let load = scaled(load, costs, goals);
    let predicted = costs.predict(&load, goals);
    let ensemble =
        Ensemble::start(stage.rival, load.ensemble as usize, &stage.dir.join("plan"), "")?;
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
    let keys = load.znodes.clamp(1, 1000);
    prepare(&ensemble, &load, keys)?;
    let share = load.reads / (load.reads + load.writes).max(1e-9);
    let words = format!(
        "load --op mixed:{share} --rate {} --connections {CONNECTIONS} --outstanding 64 \
         --size {} --keys {keys} --duration {} --warmup 1",
        (load.reads + load.writes).max(1.0),
        load.write_size,
        stage.seconds / SLICES as f64
    );
    let Command::Load(requests) = command(&ensemble, &words)? else { bail!("not a load") };
    let target = ensemble.target();
    let (stop, ready) = (AtomicBool::new(false), std::sync::Barrier::new(2));
    let (slices, spins, memory) = std::thread::scope(|scope| {
        let others = scope.spawn(|| beside(&target, &load, &stop, &ready));
        ready.wait();
        settle(&ensemble);
        let mut spins = vec![proc::spin_us()];
        let slice = |_| {
            let measured = load::measure(&requests);
            spins.push(proc::spin_us());
            measured
        };
        let slices: Result<Vec<load::LoadResult>> = (0..SLICES).map(slice).collect();
        let memory = Samples::take(&ensemble.pids());
        stop.store(true, Ordering::Relaxed);
        others.join().unwrap_or_else(|_| Err(anyhow!("the sessions failed")))?;
        anyhow::Ok((slices?, spins, memory?))
    })?;
    let servers = ensemble.len() as f64;
    drop(ensemble);
    let floor = check::measure(&CheckArgs::brief(stage.dir))?;
    let busy: Vec<f64> = slices.iter().map(|slice| slice.others_cores).collect();
    let pace = Pace::of(&spins, &[floor], &busy).context("the machine's pace")?;

    let median = |of: &dyn Fn(&load::LoadResult) -> Option<f64>| -> Option<f64> {
        let mut values: Vec<f64> = slices.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let cores = |slice: &load::LoadResult| {
        Some(slice.servers.iter().map(|server| server.cpu_seconds).sum::<f64>() / slice.seconds)
    };
    let verb = |verb: Verb, of: fn(&Percentiles) -> f64| {
        median(&|slice| slice.latency_by_verb.get(&verb).map(of))
    };
    let mut figures = Vec::new();
    let mut figure = |what, predicted: f64, measured: Option<f64>, promised| {
        figures.extend(measured.map(|measured| Figure::new(what, predicted, measured, promised)));
    };
    figure("cores busy", predicted.cores, median(&cores), true);
    let memory = memory.rss_bytes() as f64 / servers / 1e6;
    figure("memory, MB each", predicted.memory_bytes / 1e6, Some(memory), true);
    figure("read p50, us", predicted.read_p50_us, verb(Verb::Get, |p| p.p50_us), false);
    figure("write p50, us", predicted.write_p50_us, verb(Verb::Set, |p| p.p50_us), false);
    figure("write p99, us", predicted.write_p99_us, verb(Verb::Set, |p| p.p99_us), false);
    let verified = Verified { load, pace, unlike: stage.then.unlike(&pace), figures };
    verified.print();
    Ok(verified)
}

impl Verified {
    fn print(&self) {
        println!("\n{:<18} {:>12} {:>12} {:>8}", "", "predicted", "measured", "off");
        for figure in &self.figures {
            let verdict = match (figure.promised, figure.holds()) {
                (false, _) => "",
                (true, true) => "within 20 %",
                (true, false) => "MORE THAN 20 % OFF",
            };
            println!(
                "{:<18} {:>12.3} {:>12.3} {:>7.0}% {verdict}",
                figure.what,
                figure.predicted,
                figure.measured,
                100.0 * figure.off
            );
        }
        if let Some(why) = &self.unlike {
            println!("this says little about the prediction: {why}");
        }
    }
}

/// Parses a subcommand for these servers.
fn command(ensemble: &Ensemble, words: &str) -> Result<Command> {
    let line = std::iter::once("ringkeeper-perf".to_owned())
        .chain(words.split_whitespace().map(str::to_owned))
        .chain(ensemble.flags());
    Ok(Cli::try_parse_from(line)?.command)
}

/// The tree, and what servers have taken after a while.
fn prepare(ensemble: &Ensemble, load: &Load, keys: u32) -> Result<()> {
    if load.znodes > keys {
        let (more, size) = (load.znodes - keys, load.znode_size);
        let parents = (more / 1000).max(1);
        let words = format!("fill --znodes {more} --size {size} --parents {parents}");
        let Command::Fill(fill) = command(ensemble, &words)? else { bail!("not a fill") };
        fill::measure(&fill)?;
    }
    if load.ensemble > 1 && load.writes > 0.0 {
        // The latest writes that servers keep for each other are as many as after a while.
        let size = load.write_size;
        let words = format!("load --op set --size {size} --keys {keys} --duration 3 --warmup 0");
        let Command::Load(burst) = command(ensemble, &words)? else { bail!("not a load") };
        load::measure(&burst)?;
    }
    Ok(())
}

/// Waits until the servers have nothing left to do of what came before (snapshots), but not for
/// long.
fn settle(ensemble: &Ensemble) {
    const STEP: Duration = Duration::from_millis(300);
    for _ in 0..20 {
        let Ok(before) = Samples::take(&ensemble.pids()) else { return };
        std::thread::sleep(STEP);
        let Ok(after) = Samples::take(&ensemble.pids()) else { return };
        if after.cpu().saturating_sub(before.cpu()) < STEP / 20 {
            return;
        }
    }
}

/// The same load in proportion, small enough.
fn scaled(load: &Load, costs: &Costs<'_>, goals: &Goals) -> Load {
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
        if costs.predict(&scaled, goals).cores <= here {
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
