//! What a load will take, from what was measured.
//!
//! Costs are taken off measured curves at the load's own rate, because a request costs more when
//! there are few: a wake-up serves one request then, and a hundred under load. Reads ride on the
//! wake-ups of all requests, and so does the part of a write that is like a read; the rest of it
//! is paid at the rate of writes. Latencies are read off the
//! curve of reads, or of writes, at a rate that is raised by as many requests as would take the
//! processor's time that everything else takes.

use clap::Args;
use serde::Serialize;

use crate::check::Floor;
use crate::compare::{RatePoint, ServerConstants};

/// Bytes of data that the constants were measured with.
const DATA: f64 = 100.0;
/// Bytes of headers and path on the wire, for a request and its reply together.
const FRAMES: f64 = 160.0;
/// Bytes of a notification.
const NOTIFICATION: f64 = 64.0;
/// Bytes that a transaction has between servers beyond its data.
const PROPOSAL: f64 = 150.0;
/// Snapshots that are kept.
const SNAPSHOTS: f64 = 3.0;

/// A load to plan for.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct Load {
    /// Connected sessions.
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: u32,
    /// Sessions that come back at once after a restart or a failure; all of them unless given.
    #[arg(long)]
    pub(crate) reconnecting: Option<u32>,
    /// Pings of a session a second: three in every session timeout.
    #[arg(long, default_value_t = 0.1, value_parser = positive)]
    pub(crate) pings: f64,
    /// Watches, in all.
    #[arg(long, default_value_t = 1000)]
    pub(crate) watches: u32,
    /// Watches on the hottest znode.
    #[arg(long, default_value_t = 0)]
    pub(crate) hot_watches: u32,
    /// Changes of the hottest znode a second.
    #[arg(long, default_value_t = 0.1, value_parser = positive)]
    pub(crate) hot_changes: f64,
    /// Writes a second.
    #[arg(long, default_value_t = 1000.0, value_parser = positive)]
    pub(crate) writes: f64,
    /// Bytes of data of a write.
    #[arg(long, default_value_t = 100)]
    pub(crate) write_size: u32,
    /// Reads a second.
    #[arg(long, default_value_t = 10_000.0, value_parser = positive)]
    pub(crate) reads: f64,
    /// Znodes.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) znodes: u32,
    /// Bytes of data of a znode.
    #[arg(long, default_value_t = 100)]
    pub(crate) znode_size: u32,
    /// Servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) ensemble: u32,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| (0.0..=1e12).contains(value))
        .ok_or_else(|| "a number from 0 to 1e12".to_owned())
}

/// What limits the load, and what it shall reach.
#[derive(Clone, Copy, Debug, Args, Serialize)]
pub(crate) struct Goals {
    /// Cores of each server; those of the measured machine unless given.
    #[arg(long)]
    pub(crate) cores: Option<f64>,
    /// Memory of each server, MB; that of the measured machine unless given.
    #[arg(long)]
    pub(crate) memory_mb: Option<f64>,
    /// Longest restart, s.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub(crate) recovery_goal: f64,
    /// p99 of a write, ms.
    #[arg(long, default_value_t = 50.0, value_parser = positive)]
    pub(crate) latency_goal: f64,
}

/// What the load will take.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Prediction {
    /// Cores that are kept busy, all servers together.
    pub(crate) cores: f64,
    /// The same for the leader: its part of the writes, as measured, and an equal part of all else.
    pub(crate) cores_per_server: f64,
    /// Resident memory of each server, bytes.
    pub(crate) memory_bytes: f64,
    /// Further memory for each second that writes must wait, when the disk stalls, bytes.
    pub(crate) stall_bytes_per_second: f64,
    /// Writes to each server's log device a second.
    pub(crate) log_writes_per_second: f64,
    /// Bytes written to each server's log device a second.
    pub(crate) log_bytes_per_second: f64,
    /// Bytes of the snapshots that each server keeps.
    pub(crate) snapshot_bytes: f64,
    /// Bytes to and from clients a second, all servers.
    pub(crate) client_bytes_per_second: f64,
    /// Bytes between servers a second.
    pub(crate) peer_bytes_per_second: f64,
    /// Latency of reads, us.
    pub(crate) read_p50_us: f64,
    /// The same of one in a hundred.
    pub(crate) read_p99_us: f64,
    /// Latency of writes, us.
    pub(crate) write_p50_us: f64,
    /// The same of one in a hundred.
    pub(crate) write_p99_us: f64,
    /// Until all watchers of the hottest znode are told, s.
    pub(crate) fan_out_seconds: f64,
    /// Until all reconnecting sessions are back, s.
    pub(crate) reconnect_seconds: f64,
    /// Restart of one server, s.
    pub(crate) restart_seconds: f64,
    /// Longest time without writes after the leader died, s; none for one server.
    pub(crate) failover_seconds: Option<f64>,
    /// What runs out first comes first: how many times the need is there.
    pub(crate) headroom: Vec<Headroom>,
    /// Where the constants do not reach.
    pub(crate) caveats: Vec<String>,
}

/// How far something is from running out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Headroom {
    /// What.
    pub(crate) what: String,
    /// Needed.
    pub(crate) need: f64,
    /// There.
    pub(crate) have: f64,
    /// There by needed.
    pub(crate) times: f64,
}

/// The measured costs that apply to an ensemble of some size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs<'a> {
    /// One server.
    pub(crate) one: &'a ServerConstants,
    /// Three servers, if they were measured.
    pub(crate) three: Option<&'a ServerConstants>,
    /// The machine.
    pub(crate) floor: &'a Floor,
}

impl Costs<'_> {
    /// CPU time of a write of 100 B at this rate, us: the leader's, and that of each of the
    /// others.
    fn write_cpu(&self, rate: f64, ensemble: u32) -> (f64, f64) {
        let one = cpu_at(&self.one.writes, rate);
        let Some(three) = self.three.filter(|_| ensemble > 1) else {
            // A follower logs and applies as a server alone does.
            return (one, if ensemble > 1 { one } else { 0.0 });
        };
        let all = at_rate(&three.writes, rate);
        let leader = all.cpu_us * all.leader_part;
        // Each follower beyond two costs the leader what each of the two did.
        let more = (leader - one).max(0.0) / 2.0 * (f64::from(ensemble) - 3.0);
        ((leader + more).max(0.0), (all.cpu_us - leader) / 2.0)
    }

    /// CPU time of a read at this rate over all servers, us.
    fn read_cpu(&self, rate: f64, ensemble: u32) -> f64 {
        match self.three.filter(|three| ensemble > 1 && !three.reads.is_empty()) {
            // As many for each server as when there were three.
            Some(three) => cpu_at(&three.reads, rate * 3.0 / f64::from(ensemble)),
            None => cpu_at(&self.one.reads, rate),
        }
    }

    /// What an ensemble of this size was measured as, or comes nearest.
    fn of(&self, ensemble: u32) -> &ServerConstants {
        self.three.filter(|_| ensemble > 1).unwrap_or(self.one)
    }

    /// Calculates.
    pub(crate) fn predict(&self, load: &Load, goals: &Goals) -> Prediction {
        let one = self.one;
        let of = self.of(load.ensemble);
        let servers = f64::from(load.ensemble);
        let extra = f64::from(load.write_size) - DATA;
        let notifications = f64::from(load.hot_watches) * load.hot_changes;
        let writes = load.writes + load.hot_changes;
        let pings = f64::from(load.sessions) * load.pings;

        let read_cpu = load.reads * self.read_cpu(load.reads + writes, load.ensemble);
        let (leading, following) = self.write_cpu(writes, load.ensemble);
        let extra_cpu = extra.max(0.0) * one.write_cpu_us_per_byte;
        let write_cpu = writes * (leading + (servers - 1.0) * following + extra_cpu * servers);
        // A write comes in and is answered as a read is, and rides on the same wake-ups.
        let read_at = |rate: f64| self.read_cpu(rate, load.ensemble);
        let shared = (read_at(writes) - read_at(load.reads + writes)).max(0.0);
        let write_cpu = (write_cpu - writes * shared).max(0.0);
        let cpu_us = read_cpu
            + write_cpu
            + notifications * one.notification_cpu_us
            + pings * one.ping_cpu_us;
        let cores = cpu_us / 1e6;
        let busiest = writes * (leading + extra_cpu - shared / servers).max(0.0)
            + (cpu_us - write_cpu) / servers;
        let cores_per_server = busiest / 1e6;
        let share = busiest / cpu_us.max(1e-9);

        let at = at_rate(&of.writes, writes);
        let log_share = if of.writes.is_empty() || load.ensemble == 1 { 1.0 } else { 3.0 };
        let log_writes_per_second =
            if at.log_writes_per_second > 0.0 { at.log_writes_per_second } else { writes };
        let log_bytes_per_second =
            writes * (at.disk_bytes + extra.max(0.0) * of.write_disk_bytes_per_byte) / log_share;

        // Everything else that the processor does delays a request as more of its own kind would.
        let like = |points: &[RatePoint], rate: f64, own_us: f64| {
            let each = cpu_at(points, rate).max(1e-3);
            at_rate(points, rate + (cpu_us - own_us).max(0.0) * share / each)
        };
        let reads = like(&one.reads, load.reads, read_cpu);
        let written = like(&of.writes, writes, write_cpu);
        let data_bytes = f64::from(load.znode_size) - DATA;
        let znode = (one.znode_bytes + data_bytes * one.znode_bytes_per_byte).max(0.0);
        let busy = |of: &ServerConstants| (of.busy_bytes + extra * of.busy_bytes_per_byte).max(0.0);
        // Alone, a server's buffers are as large as what is in flight. In an ensemble the latest
        // writes are kept, whether there are many at once or not.
        let per_write = busy(one) / one.busy_writes.max(1.0);
        let busy_bytes = if load.ensemble > 1 && writes > 0.0 {
            busy(of)
        } else {
            // What was taken once is kept, so the worst moment counts.
            (writes * written.p99_us / 1e6).min(one.busy_writes) * per_write
        };
        let memory_bytes = one.empty_bytes
            + f64::from(load.znodes) * znode
            + f64::from(load.sessions) / servers * one.session_bytes
            + f64::from(load.watches) / servers * one.watch_bytes
            + busy_bytes;

        let znodes = f64::from(load.znodes);
        let reconnecting = f64::from(load.reconnecting.unwrap_or(load.sessions));
        let mut prediction = Prediction {
            cores,
            cores_per_server,
            memory_bytes,
            stall_bytes_per_second: writes * per_write,
            log_writes_per_second: log_writes_per_second / log_share,
            log_bytes_per_second,
            snapshot_bytes: SNAPSHOTS * znodes * (one.snapshot_bytes + data_bytes).max(0.0),
            client_bytes_per_second: load.reads * (FRAMES + f64::from(load.znode_size))
                + writes * (FRAMES + f64::from(load.write_size))
                + notifications * NOTIFICATION,
            peer_bytes_per_second: writes
                * (PROPOSAL + f64::from(load.write_size))
                * (servers - 1.0),
            read_p50_us: reads.p50_us,
            read_p99_us: reads.p99_us,
            write_p50_us: written.p50_us,
            write_p99_us: written.p99_us,
            fan_out_seconds: f64::from(load.hot_watches) / servers * one.notification_us / 1e6,
            reconnect_seconds: reconnecting / servers / one.reattach_per_second.max(1.0),
            restart_seconds: one.restart_seconds + znodes * one.restart_seconds_per_znode,
            failover_seconds: (load.ensemble > 1).then_some(of.failover_seconds),
            headroom: Vec::new(),
            caveats: self.caveats(load),
        };
        prediction.headroom = self.headroom(load, goals, &prediction);
        prediction
    }

    fn headroom(&self, load: &Load, goals: &Goals, prediction: &Prediction) -> Vec<Headroom> {
        let host = &self.floor.host;
        let of = self.of(load.ensemble);
        let most = of.writes.last().map_or(0.0, |point| point.rate);
        let device = self.floor.durable_writes.iter().map(|writes| writes.per_second);
        let memory = goals.memory_mb.map_or(host.memory_bytes as f64, |memory| memory * 1e6);
        let mut found: Vec<Headroom> = [
            (
                "cores of the busiest server",
                prediction.cores_per_server,
                goals.cores.unwrap_or(host.cores as f64),
            ),
            ("memory, bytes", prediction.memory_bytes, memory),
            ("writes a second, in the order of one leader", load.writes, most),
            (
                "writes to the log device a second",
                prediction.log_writes_per_second,
                device.fold(0.0, f64::max),
            ),
            ("p99 of a write, ms", prediction.write_p99_us / 1e3, goals.latency_goal),
            ("restart, s", prediction.restart_seconds, goals.recovery_goal),
            ("all sessions back, s", prediction.reconnect_seconds, goals.recovery_goal),
        ]
        .into_iter()
        .filter(|(_, need, have)| *need > 0.0 && *have > 0.0)
        .map(|(what, need, have)| Headroom {
            what: what.to_owned(),
            need,
            have,
            times: have / need,
        })
        .collect();
        found.sort_by(|a, b| a.times.total_cmp(&b.times));
        found
    }

    fn caveats(&self, load: &Load) -> Vec<String> {
        let mut found = Vec::new();
        if load.ensemble > 1 && self.three.is_none() {
            found.push(
                "ensembles were not measured: each server is taken to cost what one alone does, \
                 and latency and failover are not to be trusted"
                    .to_owned(),
            );
        } else if load.ensemble > 3 {
            found.push("more than three servers are extrapolated from one and three".to_owned());
        }
        let beyond = |what: &str, points: &[RatePoint], rate: f64| {
            let most = points.last().map_or(0.0, |point| point.rate);
            (rate > most).then(|| {
                format!("{rate:.0} {what} a second are more than the {most:.0} that were reached")
            })
        };
        found.extend(beyond("reads", &self.one.reads, load.reads));
        found.extend(beyond("writes", &self.of(load.ensemble).writes, load.writes));
        found
    }
}

/// The point of a curve at a rate: straight lines between measured points, the costs of the
/// nearest point beyond them.
fn at_rate(points: &[RatePoint], rate: f64) -> RatePoint {
    let none = RatePoint {
        rate,
        cpu_us: 0.0,
        leader_part: 1.0,
        p50_us: 0.0,
        p99_us: 0.0,
        log_writes_per_second: 0.0,
        disk_bytes: 0.0,
    };
    let above = points.partition_point(|point| point.rate < rate);
    match (above.checked_sub(1).and_then(|at| points.get(at)), points.get(above)) {
        (None, None) => none,
        (None, Some(first)) => {
            // Few requests: each has a log write of its own.
            let part = rate / first.rate.max(1e-9);
            let log_writes_per_second = first.log_writes_per_second * part;
            RatePoint { rate, log_writes_per_second, ..*first }
        }
        (Some(last), None) => RatePoint { rate, ..*last },
        (Some(a), Some(b)) => {
            let part = (rate - a.rate) / (b.rate - a.rate).max(1e-9);
            let between = |a: f64, b: f64| a + (b - a) * part;
            RatePoint {
                rate,
                cpu_us: cpu_between(a, b, rate),
                leader_part: between(a.leader_part, b.leader_part),
                p50_us: between(a.p50_us, b.p50_us),
                p99_us: between(a.p99_us, b.p99_us),
                log_writes_per_second: between(a.log_writes_per_second, b.log_writes_per_second),
                disk_bytes: between(a.disk_bytes, b.disk_bytes),
            }
        }
    }
}

/// The time that all requests of a second take together bends down as they share more and more
/// wake-ups, over several decades of rates: a power of the rate between two points. (A straight
/// line lies below such a curve, by a fifth between points that are a factor of ten apart.)
fn cpu_between(a: &RatePoint, b: &RatePoint, rate: f64) -> f64 {
    let (from, to) = (a.rate * a.cpu_us, b.rate * b.cpu_us);
    if a.rate <= 0.0 || b.rate <= a.rate || from <= 0.0 || to <= 0.0 {
        return b.cpu_us;
    }
    let part = (rate / a.rate).ln() / (b.rate / a.rate).ln();
    from * (to / from).powf(part) / rate
}

fn cpu_at(points: &[RatePoint], rate: f64) -> f64 {
    at_rate(points, rate).cpu_us
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::check::Host;

    fn point(rate: f64, cpu_us: f64) -> RatePoint {
        RatePoint {
            rate,
            cpu_us,
            leader_part: 1.0,
            p50_us: rate / 10.0,
            p99_us: rate,
            log_writes_per_second: rate.min(5000.0),
            disk_bytes: 4096.0,
        }
    }

    pub(in crate::plan) fn constants() -> ServerConstants {
        ServerConstants {
            reads: vec![point(1000.0, 10.0), point(100_000.0, 1.0)],
            writes: vec![point(1000.0, 50.0), point(50_000.0, 4.0)],
            znode_bytes: 230.0,
            znode_bytes_per_byte: 1.0,
            empty_bytes: 5e6,
            session_bytes: 500.0,
            watch_bytes: 100.0,
            restart_seconds: 0.1,
            restart_seconds_per_znode: 1e-6,
            notification_cpu_us: 7.0,
            reattach_per_second: 10_000.0,
            failover_seconds: 0.2,
            ..ServerConstants::default()
        }
    }

    pub(in crate::plan) fn floor() -> Floor {
        let nothing = serde_json::json!({
            "echo_requests_per_second": 1e6, "echo_server_cpu_us_per_request": 0.3,
            "echo_client_cpu_us_per_request": 0.3, "round_trip": zero(), "peer_round_trip": null,
            "durable_writes": [{"in_flight": 1, "per_second": 7000.0, "latency": zero()}],
            "in_memory": false, "send_cpu_us": 5.0, "send_wall_us": 6.0,
            "write_floor_p50_us": 100.0, "write_floor_p99_us": 1000.0, "class": "B",
            "findings": [], "host": Host::ask(),
        });
        serde_json::from_value(nothing).expect("a floor")
    }

    fn zero() -> serde_json::Value {
        serde_json::json!({"count": 1, "p50_us": 1.0, "p90_us": 1.0, "p99_us": 1.0,
            "p999_us": 1.0, "max_us": 1.0})
    }

    pub(in crate::plan) fn load() -> Load {
        Load {
            sessions: 1000,
            reconnecting: None,
            pings: 0.0,
            watches: 1000,
            hot_watches: 0,
            hot_changes: 0.0,
            writes: 1000.0,
            write_size: 100,
            reads: 0.0,
            znodes: 100_000,
            znode_size: 100,
            ensemble: 1,
        }
    }

    const GOALS: Goals = Goals {
        cores: Some(2.0),
        memory_mb: Some(1000.0),
        recovery_goal: 10.0,
        latency_goal: 50.0,
    };

    #[test]
    fn costs_are_read_off_the_curve() {
        let points = [point(1000.0, 10.0), point(100_000.0, 1.0)];
        assert!((cpu_at(&points, 1000.0) - 10.0).abs() < 1e-9);
        assert!((cpu_at(&points, 10.0) - 10.0).abs() < 1e-9, "no dearer than the first point");
        assert!((cpu_at(&points, 1e6) - 1.0).abs() < 1e-9, "no cheaper than the last");
        // Between 10 ms and 100 ms a second, ten times the rate of the one, a tenth of the other's.
        assert!((cpu_at(&points, 10_000.0) * 10_000.0 - 31_623.0).abs() < 1.0);
    }

    #[test]
    fn a_plan_adds_up() {
        let (one, floor) = (constants(), floor());
        let costs = Costs { one: &one, three: None, floor: &floor };
        let plan = costs.predict(&load(), &GOALS);
        assert!((plan.cores - 0.05).abs() < 1e-9, "1,000 writes of 50 us: {}", plan.cores);
        assert!((plan.memory_bytes - (5e6 + 23e6 + 0.5e6 + 0.1e6)).abs() < 1.0);
        assert!((plan.restart_seconds - 0.2).abs() < 1e-9);
        assert!(plan.headroom.windows(2).all(|pair| pair[0].times <= pair[1].times));
        let watched = Load { hot_watches: 10_000, hot_changes: 1.0, ..load() };
        let more = costs.predict(&watched, &GOALS).cores - plan.cores;
        assert!((0.07..0.08).contains(&more), "10,000 notifications of 7 us: {more}");
    }

    #[test]
    fn a_write_beside_reads_pays_for_fewer_wake_ups() {
        let (one, floor) = (constants(), floor());
        let costs = Costs { one: &one, three: None, floor: &floor };
        let cores = |reads: f64, writes: f64| {
            costs.predict(&Load { writes, reads, ..load() }, &GOALS).cores
        };
        // At 100,000 requests a second a read costs 1 us and not 10, and so that part of a write.
        assert!((cores(99_000.0, 1000.0) - (0.099 + 0.05 - 0.009)).abs() < 1e-9);
        assert!((cores(0.0, 1000.0) - 0.05).abs() < 1e-9);
    }

    #[test]
    fn a_leader_has_its_measured_part() {
        let (one, floor) = (constants(), floor());
        // 100 us in all, of which the leader has 60 and each of two others 20.
        let of = RatePoint { leader_part: 0.6, ..point(1000.0, 100.0) };
        let three = ServerConstants { writes: vec![of], ..constants() };
        let costs = Costs { one: &one, three: Some(&three), floor: &floor };
        let plan = costs.predict(&Load { ensemble: 3, ..load() }, &GOALS);
        assert!((plan.cores - 0.1).abs() < 1e-9, "{}", plan.cores);
        assert!((plan.cores_per_server - 0.06).abs() < 1e-9, "{}", plan.cores_per_server);
        // One alone takes 50: each follower costs the leader 5.
        let plan = costs.predict(&Load { ensemble: 5, ..load() }, &GOALS);
        assert!((plan.cores - 0.15).abs() < 1e-9, "{}", plan.cores);
        assert!((plan.cores_per_server - 0.07).abs() < 1e-9, "{}", plan.cores_per_server);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let (one, floor) = (constants(), floor());
        let costs = Costs { one: &one, three: None, floor: &floor };
        let wild = Load { ensemble: 3, writes: 1e6, ..load() };
        let plan = costs.predict(&wild, &GOALS);
        assert_eq!(plan.caveats.len(), 2, "{:?}", plan.caveats);
        assert!(plan.headroom[0].times < 1.0, "it does not fit");
    }
}
