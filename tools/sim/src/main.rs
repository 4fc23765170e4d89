//! `cargo sim`: runs seeds, replays one, shrinks one that fails, proves determinism.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use sim::shrink::{self, Changes};
use sim::swarm::Options;
use sim::world::{Summary, Violation, World};

/// Runs the whole node in a seeded world that breaks disks, networks, clocks and schedules.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many seeds to run.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed; without --seeds the only one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the score of the seed, one line per event.
    #[arg(long)]
    trace: bool,
    /// Stop after this many seconds, however many seeds are left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Stop after so many seeds that failed.
    #[arg(long, default_value_t = 10)]
    failures: u64,
    /// Change an option of the world, as the shrinker prints them: name=value.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs each seed twice and compares the traces byte for byte.
    Meta {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
    },
    /// Finds a smaller world in which a failing seed still breaks the same guarantee.
    Shrink {
        /// Which seed.
        #[arg(long)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!("sim {}, commit {}", env!("CARGO_PKG_VERSION"), commit());
    let mut changes = Changes::new();
    for words in &arguments.set {
        let Some((name, Ok(value))) =
            words.split_once('=').map(|(name, value)| (name, value.parse()))
        else {
            println!("--set wants name=number, not {words}");
            return ExitCode::FAILURE;
        };
        changes.push((name.to_owned(), value));
    }
    match arguments.command {
        Some(Command::Meta { seeds }) => return meta(seeds),
        Some(Command::Shrink { seed }) => return smallest(seed),
        None => {}
    }
    if let (Some(seed), true) = (arguments.seed, arguments.trace) {
        return show(seed, &changes);
    }
    let first = arguments.seed.unwrap_or(0);
    let count = arguments.seeds.unwrap_or(if arguments.seed.is_some() { 1 } else { 100 });
    swarm(first, count, arguments.seconds, arguments.failures, &changes)
}

/// What is checked out here, if this is a checkout.
fn commit() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let git = |name: &str| {
        let output = std::process::Command::new("git").args(["rev-parse", name]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    option_env!("RINGKEEPER_COMMIT")
        .map(str::to_owned)
        .or_else(|| git("HEAD"))
        .or_else(|| read(".git/HEAD"))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn build(seed: u64, changes: &Changes, keep_trace: bool) -> World {
    let change = |options: &mut Options| {
        for (name, value) in changes {
            assert!(options.set(name, *value), "there is no option {name}");
        }
    };
    World::changed(seed, &change, keep_trace)
}

/// Runs a world; a panic of the product is a violation too.
fn run(world: &mut World) -> Result<Summary, Violation> {
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    ended.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
            .unwrap_or_default();
        Err(Violation { checker: "no_panic".to_owned(), words, step: world.step() })
    })
}

fn show(seed: u64, changes: &Changes) -> ExitCode {
    println!("seed {seed}");
    let mut world = build(seed, changes, true);
    let ended = run(&mut world);
    for line in world.trace.lines() {
        println!("{line}");
    }
    match ended {
        Ok(summary) => {
            println!("clean: {summary:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("VIOLATION at event {}: {}", violation.step, violation.checker);
            println!("{}", violation.words);
            ExitCode::FAILURE
        }
    }
}

fn swarm(
    first: u64,
    count: u64,
    seconds: Option<u64>,
    failures: u64,
    changes: &Changes,
) -> ExitCode {
    println!("seeds {first} to {}", first + count.max(1) - 1);
    let start = Instant::now();
    let (mut events, mut simulated, mut ran, mut failed) = (0, 0, 0, 0);
    for seed in first..first + count {
        if seconds.is_some_and(|limit| start.elapsed().as_secs() >= limit) {
            break;
        }
        ran += 1;
        match run(&mut build(seed, changes, false)) {
            Ok(summary) => {
                events += summary.events;
                simulated += summary.simulated_ns;
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed} event {}: {}", violation.step, violation.checker);
                println!("  {}", violation.words);
                if failed >= failures {
                    break;
                }
            }
        }
    }
    let wall = start.elapsed().as_secs_f64();
    println!(
        "{ran} seeds, {failed} failed, {wall:.0} s: {events} events, {:.0} events/s, {:.1} \
         simulated s per s",
        events as f64 / wall,
        simulated as f64 / 1e9 / wall
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn smallest(seed: u64) -> ExitCode {
    let violation_of = |changes: &Changes| run(&mut build(seed, changes, false)).err();
    let Some(found) = shrink::shrink(&violation_of) else {
        println!("seed {seed} is clean");
        return ExitCode::SUCCESS;
    };
    let set: Vec<String> =
        found.changes.iter().map(|(name, value)| format!("--set {name}={value}")).collect();
    println!("{} at event {}: {}", found.checker, found.step, found.words);
    println!("options: {:?}", build(seed, &found.changes, false).options());
    println!("sim --seed {seed} --trace {}", set.join(" "));
    ExitCode::FAILURE
}

fn meta(seeds: u64) -> ExitCode {
    for seed in 0..seeds {
        let once = || {
            let mut world = World::new(seed, true);
            let ended = run(&mut world);
            (world.trace.lines().to_vec(), ended)
        };
        let (first, second) = (once(), once());
        if first != second {
            let at = first.0.iter().zip(&second.0).position(|(a, b)| a != b);
            println!("seed {seed} differs from itself at line {at:?}");
            return ExitCode::FAILURE;
        }
    }
    println!("{seeds} seeds, each twice the same");
    ExitCode::SUCCESS
}
