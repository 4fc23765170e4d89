//! Capacity planning: what a load takes, from constants that `compare` measured, and whether the
//! prediction holds on this machine.

mod model;
mod page;
mod trial;
mod verify;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::compare::{Constants, Kind, Pace, Places, Scratch, find};
use crate::report::{save, writable, write_whole};
use model::{Costs, Goals, Load, Prediction};
pub(crate) use trial::{VerifyArgs, run as verify};

/// Flags of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What to plan for.
    #[command(flatten)]
    load: Load,
    /// What it shall fit into.
    #[command(flatten)]
    goals: Goals,
    /// The measured costs: constants.json of a report that `compare` made.
    #[arg(long, value_name = "FILE")]
    constants: PathBuf,
    /// The server that shall carry it.
    #[arg(long = "for", value_enum, default_value = "ringkeeper")]
    kind: Kind,
    /// Also write the plan here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write it here, as a page with curves that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replay the load on this machine, scaled down as far as it must be, and say how far the
    /// prediction was off.
    #[arg(long)]
    verify: bool,
    /// Measured seconds of that replay.
    #[arg(long, default_value_t = 10.0, value_parser = crate::cli::some_seconds)]
    verify_seconds: f64,
    /// Where the server comes from.
    #[command(flatten)]
    places: Places,
}

/// A plan, for programs.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    server: Kind,
    version: Option<&'a String>,
    constants_made: &'a str,
    load: &'a Load,
    goals: &'a Goals,
    prediction: &'a Prediction,
    verified: Option<verify::Verified>,
}

/// Runs `plan`.
pub(crate) fn run(args: &PlanArgs) -> Result<()> {
    writable(args.json.as_deref())?;
    writable(args.html.as_deref()).context("--html")?;
    let constants = Constants::read(&args.constants)?;
    let sizes = constants.servers.get(&args.kind);
    let one = sizes.and_then(|sizes| sizes.get(&1)).with_context(|| {
        format!("--constants {}: {} was not measured", args.constants.display(), args.kind)
    })?;
    let three = sizes.and_then(|sizes| sizes.get(&3));
    let costs = Costs { one, three, floor: &constants.floor };
    let prediction = costs.predict(&args.load, &args.goals);
    let lines = lines(&prediction);
    let servers = if args.load.ensemble == 1 { "server" } else { "servers" };
    let title = format!("Plan for {} {servers} of {}", args.load.ensemble, args.kind);
    println!("{title}");
    println!(
        "constants of {}{}, on {} cores, class {}",
        constants.made,
        if constants.short { " (short form)" } else { "" },
        constants.floor.host.cores,
        constants.floor.class
    );
    for (what, value) in &lines {
        println!("{what:<42} {value}");
    }
    for room in &prediction.headroom {
        println!(
            "{:<42} {:.1}x{}",
            format!("headroom, {}", room.what),
            room.times,
            if room.times < 1.0 { "  DOES NOT FIT" } else { "" }
        );
    }
    for caveat in &prediction.caveats {
        println!("caveat: {caveat}");
    }
    let verified = if args.verify { Some(verified(args, &costs, &constants.pace)?) } else { None };
    if let Some(path) = &args.html {
        let page = page::page(&title, &costs, &args.load, &args.goals, &lines, &prediction);
        write_whole(path, page.as_bytes()).context("--html")?;
    }
    let plan = Plan {
        server: args.kind,
        version: constants.versions.get(&args.kind),
        constants_made: &constants.made,
        load: &args.load,
        goals: &args.goals,
        prediction: &prediction,
        verified,
    };
    save(args.json.as_deref(), &plan)
}

/// The planned load, replayed on servers of its own.
fn verified(args: &PlanArgs, costs: &Costs<'_>, then: &Pace) -> Result<verify::Verified> {
    let rival = find(args.kind, &args.places.sources())?;
    let work = args.places.work.clone().unwrap_or_else(|| ".".into());
    let scratch = Scratch::below(&work).context("--work")?;
    let (dir, seconds) = (scratch.path(), args.verify_seconds);
    let stage = verify::Stage { rival: &rival, dir, seconds, then };
    verify::replay(&args.load, &args.goals, costs, &stage)
}

/// The prediction, for people.
fn lines(prediction: &Prediction) -> Vec<(String, String)> {
    let p = prediction;
    let mb = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    let us =
        |us: f64| if us < 10_000.0 { format!("{us:.0} us") } else { format!("{:.1} ms", us / 1e3) };
    let pair = |a: f64, b: f64| format!("{} / {}", us(a), us(b));
    let mut lines = vec![
        ("cores busy, all servers", format!("{:.2}", p.cores)),
        ("cores busy, the busiest server", format!("{:.2}", p.cores_per_server)),
        ("memory, each server", mb(p.memory_bytes)),
        ("and for each second that the disk stalls", mb(p.stall_bytes_per_second)),
        ("log device, writes a second", format!("{:.0}", p.log_writes_per_second)),
        ("log device, a second", mb(p.log_bytes_per_second)),
        ("snapshots kept, each server", mb(p.snapshot_bytes)),
        ("network to clients, a second", mb(p.client_bytes_per_second)),
        ("network between servers, a second", mb(p.peer_bytes_per_second)),
        ("read, p50 / p99", pair(p.read_p50_us, p.read_p99_us)),
        ("write, p50 / p99", pair(p.write_p50_us, p.write_p99_us)),
        ("all watchers of the hottest znode told", format!("{:.3} s", p.fan_out_seconds)),
        ("all sessions back", format!("{:.2} s", p.reconnect_seconds)),
        ("restart of one server", format!("{:.2} s", p.restart_seconds)),
    ];
    if let Some(failover) = p.failover_seconds {
        lines.push(("leader dead, until writes go on", format!("{failover:.2} s")));
    }
    if let Some(first) = p.headroom.first() {
        lines.push(("runs out first", format!("{} ({:.1}x there)", first.what, first.times)));
    }
    lines.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
}
