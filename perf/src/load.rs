//! Throughput and latency under a steady load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use model::{ErrorCode, Op, Perms, Xid, acl};
use protocol::{Request, encode_write};
use serde::Serialize;

use crate::cli::{LoadArgs, LoadOp, Target, duration};
use crate::client::{Client, create};
use crate::connection::PATIENCE;
use crate::fleet::Fleet;
use crate::proc::{self, ProcessUse, Samples};
use crate::pump::{self, Kind, Plan, Tally};
use crate::report::{self, Percentiles};

/// Digits of a numbered znode's name.
const DIGITS: usize = 10;

#[derive(Serialize)]
struct LoadResult {
    op: String,
    connections: u32,
    outstanding: u32,
    size: u32,
    rate: Option<f64>,
    seconds: f64,
    requests: u64,
    requests_per_second: f64,
    latency: Percentiles,
    read_latency: Option<Percentiles>,
    write_latency: Option<Percentiles>,
    backlog_max: usize,
    generator_cpu_us_per_request: f64,
    server_cpu_us_per_request: f64,
    servers: Vec<ProcessUse>,
}

/// A request frame whose path ends in a number; number and xid are filled in on every use.
pub(crate) struct Template {
    frame: Vec<u8>,
    number_at: usize,
}

impl Template {
    /// `encode` writes the frame for a path; the path is the first field of every operation.
    pub(crate) fn new(prefix: &str, encode: impl FnOnce(&[u8], &mut Vec<u8>)) -> Template {
        let path = format!("{prefix}{:0width$}", 0, width = DIGITS);
        let mut frame = Vec::new();
        encode(path.as_bytes(), &mut frame);
        // Length, xid, opcode, length of the path.
        Template { frame, number_at: 16 + prefix.len() }
    }

    /// Appends the frame.
    pub(crate) fn append(&self, xid: i32, mut number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        let digits = &mut out[start + self.number_at..][..DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// A plain fast generator; good enough to pick keys.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }
}

/// Runs `load`.
pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let common = &args.common;
    let target = common.target()?;
    proc::allow_open_files(u64::from(args.connections) + 64)?;
    Samples::take(&common.pid)?;
    let data = vec![b'x'; args.size as usize];
    let keys = format!("{}/k", common.root);
    let fresh = prepare(args, &target, &data, &keys)?;

    let begin = Instant::now();
    let threads = args.threads.min(args.connections);
    let stop = AtomicBool::new(false);
    let started = std::sync::Barrier::new(threads as usize + 1);
    let (measured, from) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let share =
                    args.connections / threads + u32::from(thread < args.connections % threads);
                let (target, started, stop) = (&target, &started, &stop);
                let work = Work { args, keys: &keys, fresh: &fresh, data: &data, thread };
                scope.spawn(move || {
                    let fleet = Fleet::open(target, share as usize, 64, None, |_| {});
                    if fleet.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    started.wait();
                    let outcome = fleet.and_then(|fleet| work.drive(fleet, threads, stop));
                    if outcome.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        started.wait();
        let from = Instant::now() + duration(args.warmup);
        let sampled = sample_window(args, from, &stop);
        let tallies: Vec<Result<Tally>> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a generator failed"))))
            .collect();
        (join(tallies, sampled), from)
    });
    let (tally, window) = measured?;
    let seconds = args.duration;
    let mut all = tally.reads.clone();
    all.add(&tally.writes).context("latencies")?;
    let mixed = !tally.reads.is_empty() && !tally.writes.is_empty();
    let result = LoadResult {
        op: args.op.to_string(),
        connections: args.connections,
        outstanding: args.outstanding,
        size: args.size,
        rate: args.rate,
        seconds,
        requests: tally.completed,
        requests_per_second: tally.completed as f64 / seconds,
        latency: Percentiles::of(&all),
        read_latency: mixed.then(|| Percentiles::of(&tally.reads)),
        write_latency: mixed.then(|| Percentiles::of(&tally.writes)),
        backlog_max: tally.backlog_max,
        generator_cpu_us_per_request: report::per(window.own_cpu.as_secs_f64(), tally.completed),
        server_cpu_us_per_request: report::cpu_us_per(&window.servers, tally.completed),
        servers: window.servers,
    };
    print(&result, from.duration_since(begin));
    report::save(common.json.as_deref(), &result)
}

fn print(result: &LoadResult, setup: Duration) {
    println!(
        "{}: {:.0} requests/s ({} in {:.1} s after {:.1} s of opening and warm-up)",
        result.op,
        result.requests_per_second,
        result.requests,
        result.seconds,
        setup.as_secs_f64()
    );
    result.latency.print("latency");
    if let (Some(reads), Some(writes)) = (&result.read_latency, &result.write_latency) {
        reads.print("reads");
        writes.print("writes");
    }
    if let Some(rate) = result.rate {
        println!("open loop at {rate:.0}/s; at most {} requests waited", result.backlog_max);
    }
    println!("generator: {:.2} us CPU per request", result.generator_cpu_us_per_request);
    report::print_processes(&result.servers, result.requests, "request");
}

/// What is known only from outside the pumps.
struct Window {
    servers: Vec<ProcessUse>,
    own_cpu: Duration,
}

/// Sleeps through warm-up and measurement, sampling at both ends.
fn sample_window(args: &LoadArgs, from: Instant, stop: &AtomicBool) -> Result<Window> {
    let pause = |until: Instant| {
        while !stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    };
    pause(from);
    let (servers, own) = (Samples::take(&args.common.pid)?, proc::own_cpu());
    pause(from + duration(args.duration));
    let own_cpu = proc::own_cpu().saturating_sub(own);
    Ok(Window { servers: Samples::take(&args.common.pid)?.since(&servers), own_cpu })
}

/// The first cause counts: a pump that was only told to stop is not it.
fn join(tallies: Vec<Result<Tally>>, window: Result<Window>) -> Result<(Tally, Window)> {
    let mut total = Tally::new();
    let mut stopped = None;
    for tally in tallies {
        match tally {
            Ok(tally) => total.add(&tally)?,
            Err(error) if error.is::<pump::Stopped>() => stopped = Some(error),
            Err(error) => return Err(error),
        }
    }
    match stopped {
        Some(error) => Err(error),
        None => Ok((total, window?)),
    }
}

/// One thread's part.
struct Work<'a> {
    args: &'a LoadArgs,
    keys: &'a str,
    fresh: &'a str,
    data: &'a [u8],
    thread: u32,
}

impl Work<'_> {
    fn drive(&self, mut fleet: Fleet, threads: u32, stop: &AtomicBool) -> Result<Tally> {
        let open = acl::world(Perms::ALL);
        let get = Template::new(self.keys, |path, out| {
            Request::GetData { path, watch: false }.encode(Xid(0), out);
        });
        let set = Template::new(self.keys, |path, out| {
            encode_write(Xid(0), &set_data(path, self.data), out);
        });
        let new = Template::new(&format!("{}/t{}-", self.fresh, self.thread), |path, out| {
            encode_write(Xid(0), &create(path, self.data, &open), out);
        });
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (u64::from(self.thread) << 32 | 1));
        let mut created = 0_u32;
        let from = Instant::now() + duration(self.args.warmup);
        let plan = Plan {
            outstanding: self.args.outstanding as usize,
            rate: self.args.rate.map(|rate| rate / f64::from(threads)),
            from,
            upto: from + duration(self.args.duration),
            tolerate: 0,
        };
        let op = self.args.op;
        let tally = pump::run(&mut fleet, &plan, stop, |_, xid, out| {
            let read = match op {
                LoadOp::Get => true,
                LoadOp::Set => false,
                LoadOp::Mixed(share) => (random.next() >> 11) as f64 / 2_f64.powi(53) < share,
                LoadOp::Create => {
                    new.append(xid, created, out);
                    created += 1;
                    return Some(Kind::Write);
                }
            };
            let key = random.below(self.args.keys);
            if read {
                get.append(xid, key, out);
                Some(Kind::Read)
            } else {
                set.append(xid, key, out);
                Some(Kind::Write)
            }
        })?;
        fleet.close(PATIENCE)?;
        Ok(tally)
    }
}

fn set_data<'a>(path: &'a [u8], data: &'a [u8]) -> Op<'a> {
    Op::SetData { path, data: Some(data), version: -1 }
}

/// Makes the znodes that are read and set, all with data of the wanted size. Returns the parent
/// for new ones, unused so far.
fn prepare(args: &LoadArgs, target: &Target, data: &[u8], keys: &str) -> Result<String> {
    let mut client = Client::open(target)?;
    client.ensure_path(&args.common.root)?;
    let fresh = format!("{}/load-{}", args.common.root, unix_ms());
    if args.op == LoadOp::Create {
        client.ensure_path(&fresh)?;
    } else {
        let open = acl::world(Perms::ALL);
        let new = Template::new(keys, |path, out| {
            encode_write(Xid(0), &create(path, data, &open), out);
        });
        let set = Template::new(keys, |path, out| {
            encode_write(Xid(0), &set_data(path, data), out);
        });
        let mut fleet = Fleet::open(target, 1, 1, None, |_| {})?;
        for template in [&new, &set] {
            let mut numbers = 0..args.keys;
            let plan = Plan {
                outstanding: 256,
                rate: None,
                from: Instant::now(),
                upto: Instant::now() + Duration::from_secs(3600),
                tolerate: ErrorCode::NodeExists.code(),
            };
            let stop = AtomicBool::new(false);
            pump::run(&mut fleet, &plan, &stop, |_, xid, out| {
                template.append(xid, numbers.next()?, out);
                Some(Kind::Write)
            })
            .context("preparing the znodes")?;
        }
        fleet.close(PATIENCE)?;
    }
    client.close()?;
    Ok(fresh)
}

/// Milliseconds since 1970, for names that were not used before.
pub(crate) fn unix_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::RequestHeader;

    #[test]
    fn a_template_is_the_request_it_stands_for() {
        let template = Template::new("/root/k", |path, out| {
            Request::GetData { path, watch: false }.encode(Xid(0), out);
        });
        let mut out = b"before".to_vec();
        template.append(77, 1_234_567_890, &mut out);
        let mut expect = b"before".to_vec();
        Request::GetData { path: b"/root/k1234567890", watch: false }.encode(Xid(77), &mut expect);
        assert_eq!(out, expect);
        let (header, body) = RequestHeader::decode(&out[10..]).expect("whole");
        assert!(Request::decode(header.opcode, body).is_ok());
    }

    #[test]
    fn keys_stay_in_range_and_reach_its_ends() {
        let mut random = Random(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[random.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
