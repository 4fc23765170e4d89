//! `ringkeeper-perf`: load, watch fan-out, fill, connect storm and idle measurements against any
//! ZooKeeper-compatible server, and the machine's own floor to compare them with.
//!
//! One thread drives many connections through epoll with requests encoded beforehand, so that the
//! generator takes little of the cores it shares with the server; what it takes is reported.

mod cli;
mod client;
mod connect;
mod connection;
mod fill;
mod fleet;
mod floor;
mod idle;
mod load;
mod proc;
mod pump;
mod report;
mod watch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Load(args) => load::run(&args),
        cli::Command::Watch(args) => watch::run(&args),
        cli::Command::Fill(args) => fill::run(&args),
        cli::Command::Connect(args) => connect::run(&args),
        cli::Command::Idle(args) => idle::run(&args),
        cli::Command::Floor(args) => floor::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
