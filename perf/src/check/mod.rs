//! What this machine can do at best, which is what every measurement here is compared with, and
//! what on it would hurt a server.

mod disk;
mod host;
mod network;

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::{duration, some_seconds, within};
use crate::proc;
use crate::report::{self, Percentiles};
pub(crate) use host::Host;

/// Writes in flight that are tried.
const FLIGHTS: [usize; 3] = [1, 2, 4];
/// Measurements that the time is shared by: three of the disk, two echoes, sends, the peer.
const PARTS: f64 = 7.0;

/// Flags of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder on the disk to measure; a file of 16 MiB is made in it and removed.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Port of another machine to time round trips to; anything that listens will do.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: Option<String>,
    /// Seconds in all.
    #[arg(long, default_value_t = 30.0, value_parser = some_seconds)]
    pub(crate) seconds: f64,
    /// Connections of the busy echo.
    #[arg(long, default_value_t = 64, value_parser = within(1, 10_000))]
    pub(crate) connections: u32,
    /// Requests in flight per connection of the busy echo.
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

impl CheckArgs {
    /// Some seconds, for the floor beside a measurement in this folder.
    pub(crate) fn brief(dir: &Path) -> CheckArgs {
        CheckArgs {
            dir: dir.to_owned(),
            peer: None,
            seconds: 3.0,
            connections: 64,
            outstanding: 16,
            size: 100,
            sockets: 2000,
            json: None,
        }
    }
}

/// The machine's own floor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// The machine.
    pub(crate) host: Host,
    /// Requests a second of an echo with many in flight.
    pub(crate) echo_requests_per_second: f64,
    /// CPU time of the echoing thread per request, us.
    pub(crate) echo_server_cpu_us_per_request: f64,
    /// CPU time of the generator per request, us.
    pub(crate) echo_client_cpu_us_per_request: f64,
    /// One request at a time over loopback.
    pub(crate) round_trip: Percentiles,
    /// TCP handshakes with the peer.
    pub(crate) peer_round_trip: Option<Percentiles>,
    /// Durable writes of 4 KiB.
    pub(crate) durable_writes: Vec<DurableWrites>,
    /// The folder is in memory, so those writes are not durable.
    pub(crate) in_memory: bool,
    /// CPU time of one small send, us.
    pub(crate) send_cpu_us: f64,
    /// Elapsed time of one small send, us.
    pub(crate) send_wall_us: f64,
    /// One durable write and one round trip: no server acknowledges a write sooner, us.
    pub(crate) write_floor_p50_us: f64,
    /// The same of one in a hundred, us.
    pub(crate) write_floor_p99_us: f64,
    /// What kind of machine this is for a log.
    pub(crate) class: String,
    /// What would hurt.
    pub(crate) findings: Vec<String>,
}

/// Durable writes with so many in flight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DurableWrites {
    /// Writes in flight.
    pub(crate) in_flight: usize,
    /// In all.
    pub(crate) per_second: f64,
    /// Of one.
    pub(crate) latency: Percentiles,
}

/// Runs `check`.
pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let floor = measure(args)?;
    floor.print();
    report::save(args.json.as_deref(), &floor)
}

/// Measures the floor.
pub(crate) fn measure(args: &CheckArgs) -> Result<Floor> {
    report::writable(args.json.as_deref())?;
    let host = Host::ask();
    let sockets = u64::from(args.sockets.max(args.connections));
    proc::allow_open_files(2 * sockets + 64)?;
    let length = duration(args.seconds / PARTS);
    let durable = disk::durable(&args.dir, &FLIGHTS, length)?;
    let busy = network::echo(args.connections, args.outstanding, args.size as usize, length)?;
    let calm = network::echo(1, 1, args.size as usize, length)?;
    let (send_cpu_us, send_wall_us) = network::sends(args.sockets as usize, length)?;
    let peer = args.peer.as_deref().map(|peer| {
        let mut addresses =
            peer.to_socket_addrs().with_context(|| format!("--peer {peer}: does not resolve"))?;
        let address = addresses.next().with_context(|| format!("--peer {peer}: no address"))?;
        network::peer(address, length)
    });
    let durable_writes: Vec<DurableWrites> = FLIGHTS
        .iter()
        .zip(&durable)
        .map(|(&in_flight, durable)| DurableWrites {
            in_flight,
            per_second: durable.per_second,
            latency: Percentiles::of(&durable.latencies),
        })
        .collect();
    let round_trip = Percentiles::of(&calm.tally.all(|_| true));
    let in_memory = disk::is_memory(&args.dir);
    let one = durable_writes[0].latency;
    let mut findings = host.findings();
    if in_memory {
        findings.insert(0, "the folder is in memory: nothing written there is durable".to_owned());
    }
    if one.p99_us > 10.0 * one.p50_us {
        findings.push(format!(
            "one durable write in a hundred takes {:.0} times as long as half of them do: no \
             server's p99 is better than that",
            one.p99_us / one.p50_us
        ));
    }
    if durable_writes[2].per_second < 1.3 * durable_writes[0].per_second {
        findings.push(
            "four writes in flight are hardly more a second than one: the device, or what is \
             above it, does one at a time"
                .to_owned(),
        );
    }
    Ok(Floor {
        host,
        echo_requests_per_second: busy.tally.completed as f64 / length.as_secs_f64().max(1e-9),
        echo_server_cpu_us_per_request: busy.server_us,
        echo_client_cpu_us_per_request: busy.client_us,
        round_trip,
        peer_round_trip: peer.transpose()?.map(|latencies| Percentiles::of(&latencies)),
        write_floor_p50_us: one.p50_us + round_trip.p50_us,
        write_floor_p99_us: one.p99_us + round_trip.p99_us,
        class: class(one.p50_us, in_memory).to_owned(),
        durable_writes,
        in_memory,
        send_cpu_us,
        send_wall_us,
        findings,
    })
}

/// What the latency of one durable write says about what is below the log.
fn class(p50_us: f64, in_memory: bool) -> &'static str {
    match p50_us {
        _ if in_memory => "memory: fast, and forgets",
        ..60.0 => "A: a flash device with a protected cache, or one that does not tell the truth",
        ..300.0 => "B: fast local flash, or a good virtual disk",
        ..1_500.0 => "C: a networked or shared virtual disk",
        ..6_000.0 => "D: consumer flash that really flushes, or a slow network disk",
        _ => "E: spinning, or throttled: writes wait for the disk whatever the server",
    }
}

impl Floor {
    /// For people.
    pub(crate) fn print(&self) {
        let host = &self.host;
        println!(
            "{} cores, {}, {:.1} GiB, Linux {}, clock {}, io_uring {}, memlock {} KiB, {} files, \
             load average {:.1}",
            host.cores,
            if host.processor.is_empty() { "unknown processor" } else { &host.processor },
            host.memory_bytes as f64 / (1_u64 << 30) as f64,
            host.kernel,
            host.clock_source,
            host.io_uring.as_ref().map_or_else(String::as_str, |()| "works"),
            host.memlock_bytes / 1024,
            host.open_files,
            host.load_average
        );
        for writes in &self.durable_writes {
            let what = format!(
                "durable write of 4 KiB, {} in flight, {:.0}/s",
                writes.in_flight, writes.per_second
            );
            writes.latency.print(&what);
        }
        self.round_trip.print("round trip over loopback");
        if let Some(peer) = &self.peer_round_trip {
            peer.print("round trip to the peer (TCP handshake)");
        }
        println!(
            "echo, busy: {:.0} requests/s, {:.2} us CPU per request (generator {:.2})",
            self.echo_requests_per_second,
            self.echo_server_cpu_us_per_request,
            self.echo_client_cpu_us_per_request
        );
        println!(
            "a bare small send: {:.2} us CPU, {:.2} us elapsed",
            self.send_cpu_us, self.send_wall_us
        );
        println!(
            "floor of one acknowledged write: p50 {:.0} us, p99 {:.0} us",
            self.write_floor_p50_us, self.write_floor_p99_us
        );
        println!("hardware class {}", self.class);
        for finding in &self.findings {
            println!("would hurt: {finding}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_check_of_a_real_folder() {
        let dir = std::env::temp_dir();
        let args = CheckArgs {
            dir: dir.clone(),
            peer: None,
            seconds: 0.2,
            connections: 2,
            outstanding: 2,
            size: 100,
            sockets: 4,
            json: None,
        };
        // Some file systems cannot write directly; then the reason is named.
        match measure(&args) {
            Ok(floor) => {
                assert_eq!(floor.durable_writes.len(), FLIGHTS.len());
                assert!(floor.write_floor_p50_us > 0.0 && floor.round_trip.count > 0);
            }
            Err(error) => assert!(format!("{error:#}").contains("--dir"), "{error:#}"),
        }
        let mut missing = args;
        missing.dir = dir.join("no-such-folder");
        assert!(format!("{:#}", measure(&missing).expect_err("no folder")).contains("--dir"));
    }

    #[test]
    fn classes_follow_the_latency() {
        assert!(class(30.0, false).starts_with('A'));
        assert!(class(138.0, false).starts_with('B'));
        assert!(class(9_000.0, false).starts_with('E'));
        assert!(class(3.0, true).starts_with("memory"));
    }
}
