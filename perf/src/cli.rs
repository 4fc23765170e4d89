//! Flags.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::check::CheckArgs;
use crate::compare::CompareArgs;
use crate::failover::FailoverArgs;
use crate::load::LoadArgs;
use crate::plan::{PlanArgs, VerifyArgs};
use crate::proc::Samples;
use crate::report;

/// A number with bounds, so that an absurd flag is refused with them named.
pub(crate) fn within(low: i64, high: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(low..=high)
}

/// Measurements of ZooKeeper-compatible servers and etcd, and what can be said from them.
#[derive(Debug, Parser)]
#[command(name = "ringkeeper-perf", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One measurement each, and what is made of them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What this machine can do at best, and what on it would hurt.
    Check(CheckArgs),
    /// Throughput and latency of reads and writes.
    #[command(args_override_self = true, after_help = crate::profiles::help())]
    Load(LoadArgs),
    /// One znode, many watchers: how fast and how dear is a notification?
    #[command(args_override_self = true)]
    Watch(WatchArgs),
    /// Create many znodes; how much memory do they take?
    Fill(FillArgs),
    /// A storm of sessions: new ones, or old ones that come back.
    #[command(args_override_self = true)]
    Connect(ConnectArgs),
    /// Idle sessions: memory and CPU of doing nothing.
    Idle(IdleArgs),
    /// Kill a server under load: how long are no writes acknowledged?
    Failover(FailoverArgs),
    /// Ringkeeper, ZooKeeper and etcd side by side, and a report of it.
    Compare(CompareArgs),
    /// What a load takes, from measured constants, and whether that holds here.
    Plan(PlanArgs),
    /// Whether plans hold here: three different loads, predicted and replayed.
    Verify(VerifyArgs),
}

/// The protocol that a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Api {
    /// ZooKeeper's client protocol.
    #[value(name = "zookeeper")]
    ZooKeeper,
    /// etcd's, version 3.
    Etcd,
}

/// Which server, and how to watch it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Client ports; connections are spread over them.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub(crate) server: Vec<String>,
    /// What it speaks.
    #[arg(long, value_enum, default_value = "zookeeper")]
    pub(crate) api: Api,
    /// Permit a server that is not on this machine.
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Server process whose CPU time and memory are reported; may be repeated.
    #[arg(long, value_name = "PID", num_args = 1.., value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Also write the result here, as JSON; only complete results are written.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Session timeout to ask for, ms.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(i32).range(1000..))]
    pub(crate) session_timeout_ms: i32,
    /// Everything is created under this znode.
    #[arg(long, default_value = "/ringkeeper-perf")]
    pub(crate) root: String,
}

impl Common {
    /// Resolves the servers' addresses, refuses other machines unless told otherwise, and checks
    /// before anything is measured that the processes exist and the result can be written.
    pub(crate) fn target(&self) -> Result<Target> {
        let mut addresses = Vec::new();
        for server in &self.server {
            let address = server
                .to_socket_addrs()
                .with_context(|| format!("--server {server}: not a HOST:PORT that resolves"))?
                .next()
                .with_context(|| format!("--server {server}: no address"))?;
            ensure!(
                address.ip().is_loopback() || self.allow_remote,
                "{address} is not on this machine; --allow-remote permits it"
            );
            addresses.push(address);
        }
        ensure!(
            model::path::validate(self.root.as_bytes()).is_ok() && self.root.len() > 1,
            "--root {}: not a znode path below /",
            self.root
        );
        Samples::take(&self.pid)?;
        report::writable(self.json.as_deref())?;
        Ok(Target { addresses, session_timeout_ms: self.session_timeout_ms, api: self.api })
    }
}

/// Servers to measure.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where; at least one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Session timeout to ask for, ms.
    pub(crate) session_timeout_ms: i32,
    /// What they speak.
    pub(crate) api: Api,
}

impl Target {
    /// The server of the connection with this number.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.addresses[index % self.addresses.len()]
    }
}

/// Flags of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Sessions that watch.
    #[arg(long, default_value_t = 10_000, value_parser = within(1, 25_000))]
    pub(crate) watchers: u32,
    /// The watched znode, below the root; created if it is missing.
    #[arg(long, default_value = "watched")]
    pub(crate) path: String,
    /// Changes of the znode.
    #[arg(long, default_value_t = 10, value_parser = within(1, 10_000))]
    pub(crate) rounds: u32,
    /// Persistent watches, set once, instead of data watches set before every round.
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Bytes of the znode's data.
    #[arg(long, default_value_t = 100, value_parser = within(0, 60_000))]
    pub(crate) size: u32,
}

/// Flags of `fill`.
#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Znodes to create.
    #[arg(long, default_value_t = 100_000, value_parser = within(1, 100_000_000))]
    pub(crate) znodes: u32,
    /// Bytes of data per znode.
    #[arg(long, default_value_t = 100, value_parser = within(0, 1_000_000))]
    pub(crate) size: u32,
    /// Parents to spread them over.
    #[arg(long, default_value_t = 100, value_parser = within(1, 100_000))]
    pub(crate) parents: u32,
    /// Requests in flight.
    #[arg(long, default_value_t = 256, value_parser = within(1, 10_000))]
    pub(crate) outstanding: u32,
    /// Creates per request; more than one are sent as a multi.
    #[arg(long, default_value_t = 1, value_parser = within(1, 1000))]
    pub(crate) multi: u32,
}

/// Flags of `connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Sessions to open, then close.
    #[arg(long, default_value_t = 1000, value_parser = within(1, 25_000))]
    pub(crate) sessions: u32,
    /// Sessions to start a second; without it, as many as the window lets through.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Handshakes in flight.
    #[arg(long, default_value_t = 256, value_parser = within(1, 25_000))]
    pub(crate) window: u32,
    /// Cut all connections without closing the sessions, and time how they come back.
    #[arg(long)]
    pub(crate) reattach: bool,
    /// The same after a restart of the server, which somebody else does: wait until it goes and
    /// comes back, at most a minute each.
    #[arg(long, conflicts_with = "reattach")]
    pub(crate) await_restart: bool,
}

/// Flags of `idle`.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Sessions.
    #[arg(long, default_value_t = 1000, value_parser = within(1, 25_000))]
    pub(crate) sessions: u32,
    /// How long to stay, s.
    #[arg(long, default_value_t = 10.0, value_parser = some_seconds)]
    pub(crate) seconds: f64,
    /// Each session holds one data watch.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Flags in seconds are bounded to a day.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=86_400.0).contains(value))
        .ok_or_else(|| "seconds, at most a day".to_owned())
}

/// The same for what is measured, which no time would say nothing about.
pub(crate) fn some_seconds(text: &str) -> Result<f64, String> {
    seconds(text)
        .ok()
        .filter(|value| *value >= 0.1)
        .ok_or_else(|| "seconds, at least a tenth of one and at most a day".to_owned())
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.001..=1e8).contains(value))
        .ok_or_else(|| "a number per second, above zero".to_owned())
}

/// Seconds as a duration.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_permission() {
        let parse = |more: &[&str]| {
            let mut words = vec!["ringkeeper-perf", "idle", "--server", "192.0.2.1:2181"];
            words.extend(more);
            match Cli::try_parse_from(words).expect("valid flags").command {
                Command::Idle(args) => args.common.target(),
                other => panic!("{other:?}"),
            }
        };
        let refusal = parse(&[]).expect_err("remote").to_string();
        assert!(refusal.contains("--allow-remote"), "{refusal}");
        assert!(parse(&["--allow-remote"]).is_ok());
        assert!(parse(&["--allow-remote", "--root", "/"]).is_err());
    }
}
