//! Throughput and latency under a steady load.

mod counters;
mod mix;

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use model::ErrorCode;
use serde::Serialize;

use crate::cli::{Api, Common, Target, duration, rate, seconds, some_seconds, within};
use crate::proc::{self, ProcessUse, Samples};
use crate::report::{self, Percentiles};
use crate::wire::{self, Client, Fleet, Opening, PATIENCE, Plan, Requests, Tally, Template, Verb};
use counters::Counters;
pub(crate) use counters::{four_letters, http};
pub(crate) use mix::{Keys, Mix, Random};

/// Folders whose children are listed, and children in each.
const FOLDERS: u32 = 16;
const CHILDREN: u32 = 10;

/// Flags of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Server and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// A verb (get, exists, children, set, create, create-ephemeral, delete, multi), `mixed:R`
    /// where R is the share of gets, or shares like `get=90,set=9,create=1`. Deletes take what
    /// the same session created.
    #[arg(long, default_value = "get")]
    pub(crate) op: Mix,
    /// Sessions.
    #[arg(long, default_value_t = 64, value_parser = within(1, 25_000))]
    pub(crate) connections: u32,
    /// Requests in flight per session.
    #[arg(long, default_value_t = 16, value_parser = within(1, 10_000))]
    pub(crate) outstanding: u32,
    /// Bytes of data per znode.
    #[arg(long, default_value_t = 100, value_parser = within(0, 1_000_000))]
    pub(crate) size: u32,
    /// Znodes to read and write.
    #[arg(long, default_value_t = 1000, value_parser = within(1, 1_000_000))]
    pub(crate) keys: u32,
    /// Zipf exponent of their choice: 0 is all alike, 0.99 is a usual skew.
    #[arg(long, default_value_t = 0.0, value_parser = skew)]
    pub(crate) skew: f64,
    /// Znodes set by one multi.
    #[arg(long, default_value_t = 10, value_parser = within(1, 1000))]
    pub(crate) multi: u32,
    /// Measured seconds.
    #[arg(long, default_value_t = 10.0, value_parser = some_seconds)]
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
    /// Reads of etcd ask the leader first; otherwise they promise what ZooKeeper's do.
    #[arg(long)]
    pub(crate) linearizable: bool,
    /// Compare what was sent with the server's own counters (mntr), and fail if they differ.
    #[arg(long)]
    pub(crate) verify_counters: bool,
    /// Also print the whole table of percentiles.
    #[arg(long)]
    pub(crate) percentiles: bool,
    /// Print what goes on once a second, even if nobody seems to look.
    #[arg(long)]
    pub(crate) progress: bool,
}

fn skew(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=10.0).contains(value))
        .ok_or_else(|| "an exponent from 0 to 10".to_owned())
}

/// What `load` measured.
#[derive(Debug, Serialize)]
pub(crate) struct LoadResult {
    pub(crate) op: String,
    pub(crate) connections: u32,
    pub(crate) outstanding: u32,
    pub(crate) size: u32,
    pub(crate) keys: u32,
    pub(crate) skew: f64,
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) latency: Percentiles,
    /// By verb, when there are several.
    pub(crate) latency_by_verb: BTreeMap<Verb, Percentiles>,
    /// (upper bound in us, count) of every step of the histogram.
    pub(crate) histogram: Vec<(f64, u64)>,
    pub(crate) backlog_max: usize,
    pub(crate) generator_cpu_us_per_request: f64,
    pub(crate) server_cpu_us_per_request: f64,
    /// Cores that anything else on this machine kept busy meanwhile; with servers that are not
    /// watched by `--pid`, those too.
    pub(crate) others_cores: f64,
    pub(crate) counters: Option<Counters>,
    pub(crate) servers: Vec<ProcessUse>,
}

/// Runs `load`.
pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)?;
    if let Some(counters) = result.counters.as_ref().filter(|_| args.verify_counters) {
        counters.agree()?;
    }
    Ok(())
}

/// Loads the servers and prints what came out.
pub(crate) fn measure(args: &LoadArgs) -> Result<LoadResult> {
    let common = &args.common;
    let target = common.target()?;
    ensure!(
        target.api == Api::ZooKeeper || args.size as usize <= wire::VALUE_MAX,
        "--size {}: at most {} with etcd",
        args.size,
        wire::VALUE_MAX
    );
    ensure!(
        args.multi <= args.keys || !args.op.has(Verb::Multi),
        "--multi {} sets different znodes and there are --keys {}",
        args.multi,
        args.keys
    );
    proc::allow_open_files(u64::from(args.connections) + 64)?;
    let names = prepare(args, &target)?;
    let counted = Counters::before(&target, args.verify_counters)?;

    let begin = Instant::now();
    let threads = args.threads.min(args.connections);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = std::sync::Barrier::new(threads as usize + 1);
    let (measured, from) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let share =
                    args.connections / threads + u32::from(thread < args.connections % threads);
                let (target, started, stop, count) = (&target, &started, &stop, &count);
                let work = Work { args, names: &names, api: target.api, thread };
                scope.spawn(move || {
                    let fleet = Fleet::open(target, share as usize, Opening::default(), |_| {});
                    if fleet.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    started.wait();
                    let outcome = fleet.and_then(|fleet| work.drive(fleet, threads, (stop, count)));
                    if outcome.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        started.wait();
        let from = Instant::now() + duration(args.warmup);
        let sampled = sample_window(args, from, &stop, &count);
        let tallies: Vec<Result<(Tally, u64)>> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a generator failed"))))
            .collect();
        (join(tallies, sampled), from)
    });
    let (tally, pings, window) = measured?;
    let counters = counted.map(|before| {
        // A session begins and ends with a packet each; a connection to etcd begins with a call.
        let besides = match target.api {
            Api::ZooKeeper => pings + 2 * u64::from(args.connections),
            Api::Etcd => u64::from(args.connections),
        };
        before.after(&target, tally.answered + besides)
    });
    let seconds = args.duration;
    let all = tally.all(|_| true);
    let by_verb: BTreeMap<Verb, Percentiles> = Verb::ALL
        .into_iter()
        .filter_map(|verb| Some((verb, Percentiles::of(tally.of(verb)?))))
        .collect();
    let result = LoadResult {
        op: args.op.to_string(),
        connections: args.connections,
        outstanding: args.outstanding,
        size: args.size,
        keys: args.keys,
        skew: args.skew,
        rate: args.rate,
        seconds,
        requests: tally.completed,
        requests_per_second: tally.completed as f64 / seconds,
        latency: Percentiles::of(&all),
        latency_by_verb: if by_verb.len() > 1 { by_verb } else { BTreeMap::new() },
        histogram: report::steps(&all),
        backlog_max: tally.backlog_max,
        generator_cpu_us_per_request: report::per(window.own_cpu.as_secs_f64(), tally.completed),
        server_cpu_us_per_request: report::cpu_us_per(&window.servers, tally.completed),
        others_cores: window.others_cores,
        counters: counters.transpose()?,
        servers: window.servers,
    };
    print(&result, from.duration_since(begin));
    if args.percentiles {
        report::print_table("latency", &all);
    }
    Ok(result)
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
    for (verb, latency) in &result.latency_by_verb {
        latency.print(verb.name());
    }
    if let Some(rate) = result.rate {
        println!("open loop at {rate:.0}/s; at most {} requests waited", result.backlog_max);
    }
    println!("generator: {:.2} us CPU per request", result.generator_cpu_us_per_request);
    report::print_processes(&result.servers, result.requests, "request");
    if result.others_cores > proc::CALM_CORES && !result.servers.is_empty() {
        println!("other programs kept {:.1} cores busy meanwhile", result.others_cores);
    }
    if let Some(counters) = &result.counters {
        counters.print();
    }
}

/// What is known only from outside the pumps.
struct Window {
    servers: Vec<ProcessUse>,
    own_cpu: Duration,
    others_cores: f64,
}

/// Sleeps through warm-up and measurement, sampling at both ends; says once a second what goes on
/// if somebody looks.
fn sample_window(
    args: &LoadArgs,
    from: Instant,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> Result<Window> {
    let shown = args.progress || std::io::stderr().is_terminal();
    let end = from + duration(args.duration);
    let (mut said, mut counted) = (Instant::now(), 0);
    let mut pause = |until: Instant| {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
            if shown && said.elapsed() >= Duration::from_secs(1) {
                let total = count.load(Ordering::Relaxed);
                let rate = (total - counted) as f64 / said.elapsed().as_secs_f64();
                let what = if now < from { "warming up" } else { "measuring" };
                let left = end.saturating_duration_since(now).as_secs_f64();
                eprint!("\r{what}: {rate:.0} requests/s, {left:.0} s to go   ");
                let _ = std::io::stderr().flush();
                (said, counted) = (Instant::now(), total);
            }
        }
    };
    pause(from);
    let (servers, own) = (Samples::take(&args.common.pid)?, proc::own_cpu());
    let (machine, begin) = (proc::machine_cpu(), Instant::now());
    pause(end);
    let own_cpu = proc::own_cpu().saturating_sub(own);
    let (machine, elapsed) = (proc::machine_cpu().saturating_sub(machine), begin.elapsed());
    if shown {
        eprintln!();
    }
    let servers = Samples::take(&args.common.pid)?.since(&servers);
    let ours = servers.iter().map(|server| server.cpu_seconds).sum::<f64>() + own_cpu.as_secs_f64();
    let others_cores = (machine.as_secs_f64() - ours).max(0.0) / elapsed.as_secs_f64().max(1e-9);
    Ok(Window { servers, own_cpu, others_cores })
}

/// The first cause counts: a pump that was only told to stop is not it.
fn join(
    tallies: Vec<Result<(Tally, u64)>>,
    window: Result<Window>,
) -> Result<(Tally, u64, Window)> {
    let (mut total, mut pings) = (Tally::default(), 0);
    let mut stopped = None;
    for tally in tallies {
        match tally {
            Ok((tally, pinged)) => {
                total.add(&tally)?;
                pings += pinged;
            }
            Err(error) if error.is::<wire::Stopped>() => stopped = Some(error),
            Err(error) => return Err(error),
        }
    }
    match stopped {
        Some(error) => Err(error),
        None => Ok((total, pings, window?)),
    }
}

/// Where the znodes of a load are.
struct Names {
    /// Front of the names of those that are read and set.
    keys: String,
    /// Front of the names of folders with children.
    folders: String,
    /// Parent for new ones, unused so far.
    fresh: String,
}

/// One thread's part.
struct Work<'a> {
    args: &'a LoadArgs,
    names: &'a Names,
    api: Api,
    thread: u32,
}

impl Work<'_> {
    fn drive(
        &self,
        mut fleet: Fleet,
        threads: u32,
        shared: (&AtomicBool, &AtomicU64),
    ) -> Result<(Tally, u64)> {
        let args = self.args;
        let requests = Requests::new(self.api, args.linearizable);
        let data = vec![b'x'; args.size as usize];
        let (keys, folders) = (&self.names.keys, &self.names.folders);
        let new = format!("{}/t{}-", self.names.fresh, self.thread);
        let templates: [Template; Verb::ALL.len()] = Verb::ALL.map(|verb| match verb {
            Verb::Get => requests.get(keys),
            Verb::Exists => requests.exists(keys),
            Verb::Children => requests.children(folders),
            Verb::Set => requests.set(keys, &data),
            Verb::Create => requests.create(&new, &data),
            Verb::CreateEphemeral => requests.create_ephemeral(&new, &data),
            Verb::Delete => requests.delete(&new),
            Verb::Multi => requests.multi(keys, &data, args.multi as usize),
        });
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15 ^ (u64::from(self.thread) << 32 | 1));
        let key = Keys::new(args.keys, args.skew);
        // What each session created and has not deleted, oldest first.
        let mut created = vec![VecDeque::new(); fleet.len()];
        let deletes = args.op.has(Verb::Delete);
        let ephemeral = args.op.has(Verb::CreateEphemeral);
        let mut fresh = 0_u32;
        if args.rate.is_some() {
            proc::stay_on_core(self.thread as usize);
        }
        let from = Instant::now() + duration(args.warmup);
        let plan = Plan {
            outstanding: args.outstanding as usize,
            rate: args.rate.map(|rate| rate / f64::from(threads)),
            from,
            upto: from + duration(args.duration),
            tolerate: 0,
        };
        let tally = wire::run(&mut fleet, &plan, shared, |index, tag, out| {
            let mut verb = args.op.pick(random.unit());
            if verb == Verb::Delete && created[index].is_empty() {
                verb = if ephemeral { Verb::CreateEphemeral } else { Verb::Create };
            }
            let template = &templates[verb as usize];
            match verb {
                Verb::Get | Verb::Exists | Verb::Set => {
                    template.append(tag, || key.pick(&mut random), out);
                }
                Verb::Multi => {
                    // Neighbours, because etcd refuses one key twice.
                    let mut next = key.pick(&mut random);
                    let number = || {
                        next = (next + 1) % args.keys;
                        next
                    };
                    template.append(tag, number, out);
                }
                Verb::Children => template.append(tag, || random.below(FOLDERS), out),
                Verb::Create | Verb::CreateEphemeral => {
                    if deletes {
                        created[index].push_back(fresh);
                    }
                    template.append(tag, || fresh, out);
                    fresh += 1;
                }
                Verb::Delete => {
                    let number = created[index].pop_front().unwrap_or_default();
                    template.append(tag, || number, out);
                }
            }
            Some(verb)
        })?;
        let pings = fleet.pings;
        fleet.close(PATIENCE)?;
        Ok((tally, pings))
    }
}

/// Makes the znodes that are read and set, all with data of the wanted size.
fn prepare(args: &LoadArgs, target: &Target) -> Result<Names> {
    let root = &args.common.root;
    let names = Names {
        keys: format!("{root}/k"),
        folders: format!("{root}/f"),
        fresh: format!("{root}/load-{}", unix_ms()),
    };
    let mut client = Client::open(target)?;
    client.ensure_path(root)?;
    client.ensure_path(&names.fresh)?;
    client.close()?;
    let requests = Requests::new(target.api, false);
    let data = vec![b'x'; args.size as usize];
    let mut fleet = Fleet::open(target, 1, Opening::default(), |_| {})?;
    let mut write = |template: &Template, count: u32| {
        let mut numbers = 0..count;
        let plan = Plan {
            outstanding: 256,
            rate: None,
            from: Instant::now(),
            upto: Instant::now() + Duration::from_secs(3600),
            tolerate: ErrorCode::NodeExists.code(),
        };
        let idle = (&AtomicBool::new(false), &AtomicU64::new(0));
        wire::run(&mut fleet, &plan, idle, |_, tag, out| {
            let number = numbers.next()?;
            template.append(tag, || number, out);
            Some(Verb::Set)
        })
        .context("preparing the znodes")
    };
    let uses_keys =
        [Verb::Get, Verb::Exists, Verb::Set, Verb::Multi].iter().any(|&verb| args.op.has(verb));
    if uses_keys {
        write(&requests.create(&names.keys, &data), args.keys)?;
        write(&requests.set(&names.keys, &data), args.keys)?;
    }
    if args.op.has(Verb::Children) {
        write(&requests.create(&names.folders, b""), FOLDERS)?;
        for folder in 0..FOLDERS {
            let child = format!("{}{folder:010}/c", names.folders);
            write(&requests.create(&child, b""), CHILDREN)?;
        }
    }
    fleet.close(PATIENCE)?;
    Ok(names)
}

/// Milliseconds since 1970, for names that were not used before.
pub(crate) fn unix_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
