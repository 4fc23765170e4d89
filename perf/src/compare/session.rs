//! What is measured, in which order, and what happens when a measurement fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::measure::{self, Budget, Failure};
use super::results::{Query, Sample};
use super::rival::{Ensemble, Kind, Rival, find};
use super::{CompareArgs, Comparison, Contender, ENSEMBLE, Missing, Scratch, unfinished};
use crate::check::{self, CheckArgs};
use crate::proc;
use crate::report::write_whole;

/// The smallest rate of an open loop, requests a second.
const LEAST_RATE: f64 = 300.0;

/// A comparison on its way.
pub(super) struct Session {
    budget: Budget,
    scratch: Scratch,
    /// What was measured so far.
    comparison: Comparison,
    begin: Instant,
    /// Nothing begins after this.
    end: Option<Instant>,
    /// Where everything is kept until the report is written.
    kept: std::path::PathBuf,
}

impl Session {
    /// Before anything was measured.
    pub(super) fn new(
        comparison: Comparison,
        budget: Budget,
        scratch: Scratch,
        args: &CompareArgs,
    ) -> Session {
        let begin = Instant::now();
        let end = args.at_most.map(|minutes| begin + Duration::from_secs(60 * u64::from(minutes)));
        Session { budget, scratch, comparison, begin, end, kept: unfinished(&args.out) }
    }

    /// Everything, in turn.
    pub(super) fn measure(&mut self, args: &CompareArgs) -> Result<()> {
        self.fit()?;
        println!(
            "takes some {:.0} minutes on two quiet cores",
            self.budget.minutes(args.only.len(), !args.standalone)
        );
        self.floor(if args.short { 6.0 } else { 20.0 })?;
        let sources = args.places.sources();
        let mut rivals = Vec::new();
        for &kind in &args.only {
            match find(kind, &sources) {
                Ok(rival) => rivals.push(rival),
                Err(error) => self.miss(&kind.to_string(), &error),
            }
        }
        ensure!(!rivals.is_empty(), "no server to measure: {}", self.reasons());
        let contender = |rival: &Rival| Contender {
            kind: rival.kind,
            version: rival.version.clone(),
            origin: rival.origin.clone(),
            settings: rival.settings(),
        };
        self.comparison.contenders = rivals.iter().map(contender).collect();
        self.alone(&rivals);
        self.trees(&rivals);
        if !args.standalone {
            self.ensembles(&rivals);
        }
        self.tails(&rivals, !args.standalone);
        ensure!(
            !self.comparison.results.samples.is_empty(),
            "nothing was measured: {}",
            self.reasons()
        );
        Ok(())
    }

    /// What was measured.
    pub(super) fn into_comparison(mut self) -> Comparison {
        self.comparison.minutes = self.begin.elapsed().as_secs_f64() / 60.0;
        self.comparison
    }

    /// Keeps what there is so far, in case that something ends this before its time.
    fn keep(&mut self) {
        self.comparison.minutes = self.begin.elapsed().as_secs_f64() / 60.0;
        let text = serde_json::to_string(&self.comparison).context("results as JSON");
        if let Err(error) = text.and_then(|text| write_whole(&self.kept, text.as_bytes())) {
            self.miss("keeping what was measured so far", &error);
        }
    }

    fn miss(&mut self, what: &str, error: &anyhow::Error) {
        let why = format!("{error:#}");
        eprintln!("left out: {what}: {why}");
        self.comparison.missing.push(Missing { what: what.to_owned(), why });
    }

    fn reasons(&self) -> String {
        let missing = self.comparison.missing.iter();
        let reasons = missing.map(|missing| format!("{}: {}", missing.what, missing.why));
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
        let args = CheckArgs { seconds, ..CheckArgs::brief(self.scratch.path()) };
        let floor = check::measure(&args)?;
        if self.comparison.floors.is_empty() {
            floor.print();
        }
        self.comparison.floors.push(floor);
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
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return self.miss(what, &anyhow!("--at-most: the time was up"));
        }
        let mut index = 0;
        while index < ensembles.len() {
            let ensemble = &mut ensembles[index];
            let (kind, servers) = (ensemble.kind, ensemble.len());
            println!(
                "\n== {:.1} min: {what}: {kind}, {servers} server{}",
                self.begin.elapsed().as_secs_f64() / 60.0,
                if servers == 1 { "" } else { "s" }
            );
            let mut attempt = |session: &mut Session, ensemble: &mut Ensemble| {
                measure(session, ensemble)
                    .map_err(|error| anyhow!("{error:#} ({})", ensemble.said()))
            };
            let mut outcome = attempt(self, ensemble);
            // A busy machine makes leaders change, and then every client is cut off.
            if let (Err(error), Ok(())) = (&outcome, ensemble.settle()) {
                self.miss(&format!("{kind}, {servers}: {what}, first try"), error);
                outcome = attempt(self, ensemble);
            }
            match outcome {
                Ok(samples) => self.comparison.results.samples.extend(samples),
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
            self.keep();
        }
    }

    /// Open loops: cost and latency by rate, from a few requests a second to nearly the most.
    fn rates(&mut self, ensembles: &mut Vec<Ensemble>, servers: usize) {
        let budget = self.budget.clone();
        let times = format!("--duration {} --warmup {}", budget.curve_seconds, budget.curve_warmup);
        let parts = budget.parts.repeat(budget.passes);
        for op in ["get", "set"] {
            for &part in &parts {
                self.turn(
                    &format!("{op} at {part} of the most"),
                    ensembles,
                    |session, ensemble| {
                        let query = Query { servers, case: op, x: 0.0, metric: "per_second" };
                        let most = session.comparison.results.summary(ensemble.kind, query);
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
        let times = format!("--duration {} --warmup {}", budget.curve_seconds, budget.curve_warmup);
        for &share in &budget.shares {
            self.turn(&format!("{share} reads"), ensembles, |_, ensemble| {
                let words = format!("--op mixed:{share} {times}");
                Ok(vec![measure::steady(ensemble, "ratio", share, &words)?])
            });
        }
        for &watchers in &budget.watchers {
            let largest = budget.watchers.last() == Some(&watchers);
            for _ in 0..if largest { budget.fan_outs } else { 1 } {
                self.turn(&format!("{watchers} watchers"), ensembles, |_, ensemble| {
                    // Small fan-outs are short, and CPU time is counted coarsely.
                    let rounds = (2000 / watchers).clamp(5, 100);
                    Ok(vec![measure::fan_out(ensemble, watchers, rounds)?])
                });
            }
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
        self.keep();
        let mut ensembles = self.start(rivals, 1);
        let mut before = 0;
        for znodes in self.budget.znodes.clone() {
            let most = self.budget.etcd_znodes;
            ensembles.retain(|ensemble| ensemble.kind != Kind::Etcd || znodes <= most);
            self.turn(&format!("{znodes} znodes"), &mut ensembles, |session, ensemble| {
                let grown = measure::grow(ensemble, "fill", znodes - before, znodes, 100)?;
                // Kept whether or not it comes back.
                session.comparison.results.samples.push(grown);
                Ok(vec![measure::restart(ensemble, znodes)?])
            });
            self.keep();
            before = znodes;
        }
        drop(ensembles);
        // What a byte of data takes: as many znodes with ten times the data.
        let mut ensembles = self.start(rivals, 1);
        self.turn("few requests", &mut ensembles, |_, ensemble| {
            let words = "--op mixed:0.5 --rate 2000 --duration 2 --warmup 0";
            Ok(vec![measure::steady(ensemble, "calm", 0.0, words)?])
        });
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
        self.keep();
    }

    /// Three servers each.
    fn ensembles(&mut self, rivals: &[Rival]) {
        let mut ensembles = self.start(rivals, ENSEMBLE);
        self.rounds(&mut ensembles);
        self.rates(&mut ensembles, ENSEMBLE);
        for round in 0..self.budget.failovers {
            for (failure, what) in
                [(Failure::Dies, "leader killed"), (Failure::DiskHangs, "leader's disk hangs")]
            {
                let what = format!("{what}, {}", round + 1);
                self.turn(&what, &mut ensembles, |session, ensemble| {
                    let (sample, result) = measure::lose_leader(ensemble, failure)?;
                    if failure == Failure::Dies {
                        session.comparison.timelines.push((ensemble.kind, result));
                    }
                    Ok(vec![sample])
                });
            }
        }
        self.keep();
        drop(ensembles);
        self.ensemble_state(rivals);
    }

    /// What sessions, watches and trees take where three servers have them.
    fn ensemble_state(&mut self, rivals: &[Rival]) {
        let Budget { sessions, ensemble_znodes, .. } = self.budget;
        let watchers = self.budget.watchers.last().copied();
        let rivals: Vec<Rival> =
            rivals.iter().filter(|rival| rival.kind != Kind::Etcd).cloned().collect();
        let mut ensembles = self.start(&rivals, ENSEMBLE);
        self.turn("idle sessions", &mut ensembles, |_, ensemble| {
            Ok(vec![measure::idle(ensemble, sessions, true)?])
        });
        if let Some(watchers) = watchers {
            self.turn(&format!("{watchers} watchers"), &mut ensembles, |_, ensemble| {
                Ok(vec![measure::fan_out(ensemble, watchers, 5)?])
            });
        }
        drop(ensembles);
        let mut ensembles = self.start(&rivals, ENSEMBLE);
        self.turn(&format!("{ensemble_znodes} znodes"), &mut ensembles, |session, ensemble| {
            let grown = measure::grow(ensemble, "fill", ensemble_znodes, ensemble_znodes, 100)?;
            session.comparison.results.samples.push(grown);
            Ok(vec![measure::restart(ensemble, ensemble_znodes)?])
        });
        self.keep();
    }

    /// Writes beside snapshots, where servers have such.
    fn tails(&mut self, rivals: &[Rival], ensembles: bool) {
        let Budget { tails, tail_znodes, seconds, .. } = self.budget;
        // About one in a second or two.
        let often = format!("snapCount={}\n", 2 * tail_znodes);
        let rivals: Vec<Rival> =
            rivals.iter().filter(|rival| rival.kind != Kind::Etcd).cloned().collect();
        for servers in [1, ENSEMBLE].into_iter().filter(|&servers| servers == 1 || ensembles) {
            let mut ensembles = self.start_with(&rivals, servers, &often);
            self.turn("a tree for snapshots", &mut ensembles, |_, ensemble| {
                measure::grow(ensemble, "tail-fill", tail_znodes, tail_znodes, 100)?;
                Ok(Vec::new())
            });
            for round in 0..tails {
                let what = format!("writes beside snapshots, {}", round + 1);
                self.turn(&what, &mut ensembles, |_, ensemble| {
                    Ok(vec![measure::tail(ensemble, 1.0 + seconds)?])
                });
            }
            self.keep();
        }
    }
}
