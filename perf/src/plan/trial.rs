//! Whether plans can be trusted on this machine: three loads of different kinds, predicted from
//! constants that were measured a moment before, and replayed.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::model::{Costs, Goals, Load};
use super::verify::{self, Stage, Verified};
use crate::compare::{self, CompareArgs, Constants, Kind, Places, Scratch, find};
use crate::report::{writable, write_whole};

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Folder for constants.json, verify.json and verify.md.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Constants that `compare` measured on this machine shortly before; otherwise they are
    /// measured now, in some two minutes.
    #[arg(long, value_name = "FILE")]
    constants: Option<PathBuf>,
    /// Which server.
    #[arg(long = "for", value_enum, default_value = "ringkeeper")]
    kind: Kind,
    /// Servers, of which the constants must know; measuring them now takes some minutes more.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3))]
    ensemble: u32,
    /// Measured seconds of each load.
    #[arg(long, default_value_t = 9.0, value_parser = crate::cli::some_seconds)]
    seconds: f64,
    /// Where the server comes from.
    #[command(flatten)]
    places: Places,
}

/// A load of the trial.
#[derive(Debug, Serialize)]
struct Trial {
    name: &'static str,
    verified: Verified,
}

/// What is replayed: many sessions and watches and few writes; little but small writes; a large
/// tree that is read.
fn loads(ensemble: u32) -> [(&'static str, Load); 3] {
    let none = Load {
        sessions: 100,
        reconnecting: None,
        pings: 0.1,
        watches: 100,
        hot_watches: 0,
        hot_changes: 0.0,
        writes: 0.0,
        write_size: 100,
        reads: 0.0,
        znodes: 1000,
        znode_size: 100,
        ensemble,
    };
    let registry = Load {
        sessions: 3000,
        watches: 3000,
        hot_watches: 1000,
        hot_changes: 2.0,
        writes: 200.0,
        reads: 20_000.0,
        znodes: 50_000,
        pings: 0.3,
        ..none.clone()
    };
    let locks = Load {
        sessions: 500,
        watches: 500,
        writes: 8000.0,
        write_size: 16,
        reads: 4000.0,
        znodes: 5000,
        znode_size: 16,
        ..none.clone()
    };
    let hbase = Load {
        sessions: 300,
        watches: 300,
        writes: 3000.0,
        reads: 30_000.0,
        znodes: 250_000,
        ..none
    };
    [("registry", registry), ("lock service", locks), ("HBase", hbase)]
}

/// Runs `verify`.
pub(crate) fn run(args: &VerifyArgs) -> Result<()> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    let json = args.out.join("verify.json");
    writable(Some(&json)).context("--out")?;
    let constants = match &args.constants {
        Some(path) => Constants::read(path)?,
        None => calibrate(args)?,
    };
    let sizes = constants.servers.get(&args.kind);
    let one = sizes.and_then(|sizes| sizes.get(&1));
    let one = one.with_context(|| format!("the constants say nothing of {}", args.kind))?;
    let three = sizes.and_then(|sizes| sizes.get(&3));
    ensure!(
        args.ensemble == 1 || three.is_some(),
        "the constants say nothing of ensembles: measure without --standalone"
    );
    let costs = Costs { one, three, floor: &constants.floor };
    let goals = Goals { cores: None, memory_mb: None, recovery_goal: 10.0, latency_goal: 50.0 };
    let rival = find(args.kind, &args.places.sources())?;
    let work = args.places.work.clone().unwrap_or_else(|| args.out.clone());
    let scratch = Scratch::below(&work).context("--work")?;
    let stage =
        Stage { rival: &rival, dir: scratch.path(), seconds: args.seconds, then: &constants.pace };
    let mut trials = Vec::new();
    for (name, load) in loads(args.ensemble) {
        println!("\n== {name}");
        let verified = verify::replay(&load, &goals, &costs, &stage).context(name)?;
        trials.push(Trial { name, verified });
    }
    let table = table(args.kind, args.ensemble, &constants, &trials);
    println!("\n{table}");
    let text = serde_json::to_string_pretty(&trials).context("results as JSON")?;
    write_whole(&json, text.as_bytes())?;
    write_whole(&args.out.join("verify.md"), table.as_bytes())?;
    let unlike = trials.iter().find_map(|trial| {
        let why = trial.verified.unlike.as_ref()?;
        Some(format!("{}: {why}", trial.name))
    });
    let wrong = trials.iter().find_map(|trial| {
        let figure = trial.verified.figures.iter().find(|figure| !figure.holds())?;
        Some(format!("{}, {}: {:.0} % off", trial.name, figure.what, 100.0 * figure.off))
    });
    match (wrong, unlike) {
        (None, _) => Ok(()),
        (Some(wrong), None) => anyhow::bail!("a prediction was wrong: {wrong}"),
        (Some(wrong), Some(unlike)) => anyhow::bail!(
            "a prediction was wrong ({wrong}), on a machine that does not let one tell ({unlike})"
        ),
    }
}

/// Measures the constants now, in the short form.
fn calibrate(args: &VerifyArgs) -> Result<Constants> {
    let compared = compare::measure(&CompareArgs {
        out: args.out.clone(),
        short: true,
        only: vec![args.kind],
        rounds: None,
        standalone: args.ensemble == 1,
        at_most: None,
        from: None,
        places: args.places.clone(),
    })?;
    let constants = Constants::of(&compared).context("too little was measured for constants")?;
    let text = serde_json::to_string_pretty(&constants).context("constants as JSON")?;
    write_whole(&args.out.join("constants.json"), text.as_bytes())?;
    compare::forget(&args.out);
    Ok(constants)
}

/// Prediction beside measurement.
fn table(kind: Kind, servers: u32, constants: &Constants, trials: &[Trial]) -> String {
    let mut text = format!(
        "{servers} of {kind}, constants of {}{}; other programs kept {:.1} cores busy then.\n\n\
         | load | figure | predicted | measured | off | |\n|---|---|---|---|---|---|\n",
        constants.made,
        if constants.short { " (short form)" } else { "" },
        constants.pace.others_cores,
    );
    for Trial { name, verified } in trials {
        for figure in &verified.figures {
            let verdict = match (figure.promised, figure.holds(), &verified.unlike) {
                (false, ..) => String::new(),
                (true, true, None) => "within 20 %".to_owned(),
                (true, false, None) => "**more than 20 % off**".to_owned(),
                (true, holds, Some(why)) => {
                    format!("{} 20 %, but {why}", if holds { "within" } else { "beyond" })
                }
            };
            let _ = writeln!(
                text,
                "| {name} | {} | {:.3} | {:.3} | {:+.0} % | {verdict} |",
                figure.what,
                figure.predicted,
                figure.measured,
                100.0 * figure.off
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_are_of_different_kinds() {
        let [(_, registry), (_, locks), (_, hbase)] = loads(3);
        assert!(registry.sessions > 5 * locks.sessions && registry.reads > 50.0 * registry.writes);
        assert!(locks.writes > locks.reads && locks.write_size < 100);
        assert!(hbase.znodes >= 5 * registry.znodes && hbase.ensemble == 3);
    }
}
