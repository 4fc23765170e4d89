//! `ringkeeper-perf`: what a machine can do, what servers do on it, and how they compare.
//!
//! One thread drives many connections through epoll with requests encoded beforehand, so that the
//! generator takes little of the cores it shares with the server; what it takes is reported.

mod check;
mod cli;
mod compare;
mod connect;
mod failover;
mod fill;
mod idle;
mod load;
mod plan;
mod proc;
mod profiles;
mod report;
mod throttle;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let outcome =
        profiles::expand(std::env::args().collect()).and_then(|words| match cli::Cli::parse_from(
            words,
        )
        .command
        {
            cli::Command::Check(args) => check::run(&args),
            cli::Command::Load(args) => load::run(&args),
            cli::Command::Watch(args) => watch::run(&args),
            cli::Command::Fill(args) => fill::run(&args),
            cli::Command::Connect(args) => connect::run(&args),
            cli::Command::Idle(args) => idle::run(&args),
            cli::Command::Failover(args) => failover::run(&args),
            cli::Command::Compare(args) => compare::run(&args),
            cli::Command::Plan(args) => plan::run(&args),
            cli::Command::Verify(args) => plan::verify(&args),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
