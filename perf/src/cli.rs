//! Flags.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

/// A number with bounds, so that an absurd flag is refused with them named.
fn within(low: i64, high: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(low..=high)
}

/// Measurements of a ZooKeeper-compatible server.
#[derive(Debug, Parser)]
#[command(name = "ringkeeper-perf", version)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One measurement each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Throughput and latency of reads and writes.
    Load(LoadArgs),
    /// One znode, many watchers: how fast and how dear is a notification?
    Watch(WatchArgs),
    /// Create many znodes; how much memory do they take?
    Fill(FillArgs),
    /// A storm of new sessions.
    Connect(ConnectArgs),
    /// Idle sessions: memory and CPU of doing nothing.
    Idle(IdleArgs),
    /// What the machine itself can do: echo, durable write, bare sends.
    Floor(FloorArgs),
}

/// Which server, and how to watch it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Client port.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// Permit a server that is not on this machine.
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Server process whose CPU time and memory are reported; may be repeated.
    #[arg(long, value_name = "PID", num_args = 1..)]
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
    /// Resolves the server's address and refuses other machines unless told otherwise.
    pub(crate) fn target(&self) -> Result<Target> {
        let address = self
            .server
            .to_socket_addrs()
            .with_context(|| format!("--server {}: not a HOST:PORT that resolves", self.server))?
            .next()
            .with_context(|| format!("--server {}: no address", self.server))?;
        ensure!(
            address.ip().is_loopback() || self.allow_remote,
            "{address} is not on this machine; --allow-remote permits it"
        );
        ensure!(
            model::path::validate(self.root.as_bytes()).is_ok() && self.root.len() > 1,
            "--root {}: not a znode path below /",
            self.root
        );
        Ok(Target { address, session_timeout_ms: self.session_timeout_ms })
    }
}

/// A server to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Session timeout to ask for, ms.
    pub(crate) session_timeout_ms: i32,
}

/// Flags of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// `get`, `set`, `create`, or `mixed:R` where R is the share of reads, 0 to 1.
    #[arg(long, default_value = "get")]
    pub(crate) op: LoadOp,
    /// Sessions.
    #[arg(long, default_value_t = 64, value_parser = within(1, 25_000))]
    pub(crate) connections: u32,
    /// Requests in flight per session.
    #[arg(long, default_value_t = 16, value_parser = within(1, 10_000))]
    pub(crate) outstanding: u32,
    /// Bytes of data per znode.
    #[arg(long, default_value_t = 100, value_parser = within(0, 1_000_000))]
    pub(crate) size: u32,
    /// Znodes to read and write, chosen at random.
    #[arg(long, default_value_t = 1000, value_parser = within(1, 1_000_000))]
    pub(crate) keys: u32,
    /// Measured seconds.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) duration: f64,
    /// Seconds of the same load before measuring.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) warmup: f64,
    /// Generator threads.
    #[arg(long, default_value_t = 1, value_parser = within(1, 64))]
    pub(crate) threads: u32,
    /// Open loop: this many requests a second in all, whether or not replies come; latency counts
    /// from the moment a request should have been sent.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// What `load` does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum LoadOp {
    /// getData.
    Get,
    /// setData.
    Set,
    /// create, a new znode each time.
    Create,
    /// getData with this probability, else setData.
    Mixed(f64),
}

impl FromStr for LoadOp {
    type Err = String;

    fn from_str(text: &str) -> Result<LoadOp, String> {
        match text {
            "get" => Ok(LoadOp::Get),
            "set" => Ok(LoadOp::Set),
            "create" => Ok(LoadOp::Create),
            _ => text
                .strip_prefix("mixed:")
                .and_then(|share| share.parse().ok())
                .filter(|share| (0.0..=1.0).contains(share))
                .map(LoadOp::Mixed)
                .ok_or_else(|| "get, set, create, or mixed:R with R from 0 to 1".to_owned()),
        }
    }
}

impl std::fmt::Display for LoadOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadOp::Get => write!(f, "get"),
            LoadOp::Set => write!(f, "set"),
            LoadOp::Create => write!(f, "create"),
            LoadOp::Mixed(share) => write!(f, "mixed:{share}"),
        }
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
    #[arg(long, default_value_t = 256, value_parser = within(1, 10_000))]
    pub(crate) window: u32,
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
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Each session holds one data watch.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Flags of `floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Folder on the disk to measure; a file of 16 MiB is made in it and removed.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Seconds for each part.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Connections of the echo.
    #[arg(long, default_value_t = 64, value_parser = within(1, 10_000))]
    pub(crate) connections: u32,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 16, value_parser = within(1, 10_000))]
    pub(crate) outstanding: u32,
    /// Bytes of each echoed frame.
    #[arg(long, default_value_t = 100, value_parser = within(20, 65_536))]
    pub(crate) size: u32,
    /// Sockets of the send loop.
    #[arg(long, default_value_t = 5000, value_parser = within(1, 25_000))]
    pub(crate) sockets: u32,
    /// Also write the result here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags in seconds are bounded to a day.
fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=86_400.0).contains(value))
        .ok_or_else(|| "seconds, at most a day".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
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
    fn operations_parse_and_print() {
        for text in ["get", "set", "create", "mixed:0.9", "mixed:0", "mixed:1"] {
            assert_eq!(text.parse::<LoadOp>().expect("known").to_string(), text);
        }
        for text in ["", "put", "mixed", "mixed:", "mixed:2", "mixed:-1", "mixed:NaN"] {
            assert!(text.parse::<LoadOp>().is_err(), "{text}");
        }
    }

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
