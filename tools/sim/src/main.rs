//! `cargo sim`: runs seeds, replays one, proves determinism.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use sim::world::World;

/// Runs the whole node in a seeded world that breaks disks, networks, clocks and schedules.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed; alone with --trace: the one to show.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the score of the seed, one line per event.
    #[arg(long)]
    trace: bool,
    /// Stop after this many seconds, however many seeds are left.
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs each seed twice and compares the traces byte for byte.
    Meta {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Meta { seeds }) = arguments.command {
        return meta(seeds);
    }
    if let (Some(seed), true) = (arguments.seed, arguments.trace) {
        return show(seed);
    }
    let first = arguments.seed.unwrap_or(0);
    let count =
        if arguments.seed.is_some() && arguments.seeds == 100 { 1 } else { arguments.seeds };
    swarm(first, count, arguments.seconds)
}

fn show(seed: u64) -> ExitCode {
    println!("seed {seed}, version {}", env!("CARGO_PKG_VERSION"));
    let mut world = World::new(seed, true);
    let ended = world.run();
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

fn swarm(first: u64, count: u64, seconds: Option<u64>) -> ExitCode {
    println!("seeds {first} to {}, version {}", first + count - 1, env!("CARGO_PKG_VERSION"));
    let start = Instant::now();
    let (mut events, mut simulated, mut ran, mut failed) = (0, 0, 0, 0);
    for seed in first..first + count {
        if seconds.is_some_and(|limit| start.elapsed().as_secs() >= limit) {
            break;
        }
        ran += 1;
        match World::new(seed, false).run() {
            Ok(summary) => {
                events += summary.events;
                simulated += summary.simulated_ns;
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed} event {}: {}", violation.step, violation.checker);
                println!("  {}", violation.words);
                if failed >= 10 {
                    break;
                }
            }
        }
    }
    let wall = start.elapsed().as_secs_f64();
    println!(
        "{ran} seeds, {failed} failed, {:.0} s: {:.0} events/s, {:.1} simulated s per s",
        wall,
        events as f64 / wall,
        simulated as f64 / 1e9 / wall
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn meta(seeds: u64) -> ExitCode {
    for seed in 0..seeds {
        let run = || {
            let mut world = World::new(seed, true);
            let ended = world.run();
            (world.trace.lines().to_vec(), ended)
        };
        let (first, second) = (run(), run());
        if first != second {
            let at = first.0.iter().zip(&second.0).position(|(a, b)| a != b);
            println!("seed {seed} differs from itself at line {at:?}");
            return ExitCode::FAILURE;
        }
    }
    println!("{seeds} seeds, each twice the same");
    ExitCode::SUCCESS
}
