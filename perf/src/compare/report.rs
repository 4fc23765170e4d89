//! The report: one Markdown page, plots, constants, and everything that was measured.

mod goals;
mod words;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::plot::{Plot, Scale, Series};
use super::results::{Query, Summary};
use super::rival::Kind;
use super::{Comparison, Constants, ENSEMBLE};
use crate::report::write_whole;
use words::{Unit, list};

/// Writes all files of a report into `out`: first under other names, so that a disk that is full
/// leaves the earlier report as it was; the page comes last.
pub(super) fn write(comparison: &Comparison, out: &Path) -> Result<()> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut pictures = Vec::new();
    for (name, plot) in plots(comparison) {
        if plot.series.iter().any(|series| !series.points.is_empty()) {
            pictures.push((name, plot.title.clone()));
            files.push((format!("{name}.svg"), plot.svg()));
        }
    }
    let json = |value: serde_json::Result<String>| value.context("results as JSON");
    if let Some(constants) = Constants::of(comparison) {
        let text = json(serde_json::to_string_pretty(&constants))?;
        files.push(("constants.json".to_owned(), text));
    }
    files.push(("runs.json".to_owned(), json(serde_json::to_string(comparison))?));
    files.push(("table.md".to_owned(), table(comparison)));
    files.push(("report.md".to_owned(), page(comparison, &pictures)));
    let new = |name: &str| out.join(format!(".{name}.new"));
    let outcome = files
        .iter()
        .try_for_each(|(name, text)| write_whole(&new(name), text.as_bytes()))
        .and_then(|()| {
            files.iter().try_for_each(|(name, _)| {
                fs::rename(new(name), out.join(name)).with_context(|| format!("writing {name}"))
            })
        });
    if outcome.is_err() {
        for (name, _) in &files {
            let _ = fs::remove_file(new(name));
        }
    }
    outcome
}

/// One row of a table: what, how it is measured, and what the machine itself does.
struct Row {
    what: String,
    servers: usize,
    case: &'static str,
    x: f64,
    metric: &'static str,
    unit: Unit,
    floor: Option<Summary>,
}

impl Comparison {
    fn kinds(&self) -> Vec<Kind> {
        self.contenders.iter().map(|contender| contender.kind).collect()
    }

    fn title(&self, kind: Kind) -> String {
        let version = self.contenders.iter().find(|contender| contender.kind == kind);
        match version {
            Some(found) if kind != Kind::Ringkeeper => format!("{kind} {}", found.version),
            _ => kind.to_string(),
        }
    }

    /// The machine's own figure over all rounds.
    fn floor(&self, of: impl Fn(&crate::check::Floor) -> f64) -> Option<Summary> {
        Summary::of(&self.floors.iter().map(of).collect::<Vec<_>>())
    }

    fn summary(&self, kind: Kind, row: &Row) -> Option<Summary> {
        let Row { servers, case, x, metric, .. } = *row;
        self.results.summary(kind, Query { servers, case, x, metric })
    }

    /// The largest value of a case that all who were measured at any have in common, but for
    /// etcd if there are others: its trees are smaller.
    fn largest(&self, case: &str) -> f64 {
        let mut kinds: Vec<Kind> = self
            .kinds()
            .into_iter()
            .filter(|&kind| !self.results.places(kind, 1, case).is_empty())
            .collect();
        if kinds.len() > 1 {
            kinds.retain(|&kind| kind != Kind::Etcd);
        }
        self.results.common_largest(&kinds, 1, case).unwrap_or(0.0)
    }
}

/// The table that stands in the README.
fn table(comparison: &Comparison) -> String {
    let echo_cpu = comparison.floor(|floor| floor.echo_server_cpu_us_per_request);
    let echo_rate = comparison.floor(|floor| floor.echo_requests_per_second);
    let send = comparison.floor(|floor| floor.send_cpu_us);
    let write = comparison.floor(|floor| floor.write_floor_p50_us);
    let row = |what: &str, case, metric, unit, floor| Row {
        what: what.to_owned(),
        servers: 1,
        case,
        x: 0.0,
        metric,
        unit,
        floor,
    };
    let (watchers, znodes) = (comparison.largest("watch"), comparison.largest("fill"));
    let sessions = comparison.largest("idle-watch");
    let mut rows = vec![
        row(
            "get, 64 connections x 16 outstanding, 100 B: server CPU per request",
            "get",
            "cpu_us",
            Unit::Micros,
            echo_cpu,
        ),
        row("the same, requests/s", "get", "per_second", Unit::Count, echo_rate),
        row(
            "set, 64 x 16, every write durable: server CPU per request",
            "set",
            "cpu_us",
            Unit::Micros,
            None,
        ),
        row("the same, requests/s", "set", "per_second", Unit::Count, None),
        row(
            "one client, one set outstanding: p50",
            "set-one",
            "latency_p50_us",
            Unit::Micros,
            write,
        ),
    ];
    let sized = |what: String, case, x, metric, unit, floor| Row {
        what,
        x,
        ..row("", case, metric, unit, floor)
    };
    let many = list(watchers);
    rows.extend([
        sized(
            format!("{many} watchers of one znode: CPU per notification"),
            "watch",
            watchers,
            "cpu_us",
            Unit::Micros,
            send,
        ),
        sized("all told after".to_owned(), "watch", watchers, "all_p50_us", Unit::Micros, None),
        sized(
            "memory per connected session with one watch".to_owned(),
            "idle-watch",
            sessions,
            "bytes_each",
            Unit::Bytes,
            None,
        ),
        sized(
            format!("resident with {} znodes of 100 B", list(znodes)),
            "fill",
            znodes,
            "rss_bytes",
            Unit::Bytes,
            None,
        ),
        sized("restart with them".to_owned(), "restart", znodes, "seconds", Unit::Seconds, None),
    ]);
    for (what, case, metric, unit) in [
        (
            "three servers, set, 64 x 16: CPU per request, all servers",
            "set",
            "cpu_us",
            Unit::Micros,
        ),
        ("of it the leader's", "set", "leader_cpu_us", Unit::Micros),
        ("and each follower's", "set", "follower_cpu_us", Unit::Micros),
        ("the same, requests/s", "set", "per_second", Unit::Count),
        ("three servers, one set outstanding: p50", "set-one", "latency_p50_us", Unit::Micros),
        ("leader killed: longest time without a write", "failover", "gap_ms", Unit::Millis),
        ("leader's disk hangs: the same", "failover-disk", "gap_ms", Unit::Millis),
    ] {
        rows.push(Row { servers: ENSEMBLE, ..row(what, case, metric, unit, None) });
    }
    rows.retain(|row| {
        comparison.kinds().iter().any(|&kind| comparison.summary(kind, row).is_some())
    });
    tabulate(comparison, &rows, false)
}

/// Rows for every server, ratios to ours, and the floor where there is one.
fn tabulate(comparison: &Comparison, rows: &[Row], spreads: bool) -> String {
    let kinds = comparison.kinds();
    let ours = kinds.contains(&Kind::Ringkeeper);
    let others: Vec<Kind> =
        kinds.iter().copied().filter(|&kind| kind != Kind::Ringkeeper).collect();
    let mut text = String::from("| what | this machine's floor |");
    for &kind in &kinds {
        let _ = write!(text, " {} |", comparison.title(kind));
    }
    for &kind in others.iter().filter(|_| ours) {
        let _ = write!(text, " {kind} to Ringkeeper |");
    }
    let columns = 2 + kinds.len() + if ours { others.len() } else { 0 };
    let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
    for row in rows {
        let show = |summary: Option<Summary>| match summary {
            None => "-".to_owned(),
            Some(summary) if spreads && summary.runs > 1 => format!(
                "{} ({} to {})",
                row.unit.show(summary.median),
                row.unit.show(summary.low),
                row.unit.show(summary.high)
            ),
            Some(summary) => row.unit.show(summary.median),
        };
        let _ = write!(text, "| {} | {} |", row.what, show(row.floor));
        for &kind in &kinds {
            let _ = write!(text, " {} |", show(comparison.summary(kind, row)));
        }
        let mine = comparison.summary(Kind::Ringkeeper, row);
        for &kind in others.iter().filter(|_| ours) {
            let ratio = mine.zip(comparison.summary(kind, row));
            let ratio =
                ratio.map_or("-".to_owned(), |(mine, other)| mine.ratio_to(&other).to_string());
            let _ = write!(text, " {ratio} |");
        }
        text.push('\n');
    }
    text
}

/// Every interleaved load with its spread.
fn details(comparison: &Comparison, servers: usize) -> String {
    let mut rows = Vec::new();
    for (case, name) in [
        ("get", "get, 64 x 16"),
        ("set", "set, 64 x 16"),
        ("set-1k", "set of 1,024 B, 64 x 16"),
        ("get-one", "get, one at a time"),
        ("set-one", "set, one at a time"),
        ("tail", "set at 70 % of the most, snapshots running"),
    ] {
        for (metric, what, unit) in [
            ("cpu_us", "CPU per request", Unit::Micros),
            ("leader_cpu_us", "of it the leader's", Unit::Micros),
            ("follower_cpu_us", "and each follower's", Unit::Micros),
            ("per_second", "requests/s", Unit::Count),
            ("latency_p50_us", "p50", Unit::Micros),
            ("latency_p99_us", "p99", Unit::Micros),
            ("latency_p999_us", "p99.9", Unit::Micros),
            ("generator_cpu_us", "the generator's own CPU per request", Unit::Micros),
            ("others_cores", "cores that other programs kept busy", Unit::Few),
        ] {
            let what = format!("{name}: {what}");
            rows.push(Row { what, servers, case, x: 0.0, metric, unit, floor: None });
        }
    }
    let watchers = comparison.largest("watch");
    for (metric, what) in [
        ("all_p50_us", "all told after"),
        ("acknowledged_p50_us", "the writer's own acknowledgement, p50"),
        ("quiet_acknowledged_p50_us", "the same with nobody watching"),
    ] {
        let what = format!("{} watchers of one znode: {what}", list(watchers));
        let (case, x, unit) = ("watch", watchers, Unit::Micros);
        rows.push(Row { what, servers, case, x, metric, unit, floor: None });
    }
    for (case, what) in [
        ("failover", "leader killed: longest time without a write"),
        ("failover-disk", "leader's disk hangs: the same"),
    ] {
        let (what, metric, unit) = (what.to_owned(), "gap_ms", Unit::Millis);
        rows.push(Row { what, servers, case, x: 0.0, metric, unit, floor: None });
    }
    rows.retain(|row| {
        comparison.kinds().iter().any(|&kind| comparison.summary(kind, row).is_some())
    });
    if rows.is_empty() {
        return "Nothing was measured.\n".to_owned();
    }
    tabulate(comparison, &rows, true)
}

fn page(comparison: &Comparison, pictures: &[(&str, String)]) -> String {
    let mut text = String::new();
    let host = comparison.floors.first().map(|floor| &floor.host);
    let _ = writeln!(
        text,
        "# Servers compared\n\nMade {} by one command, in {:.0} minutes:\n\n    {}\n",
        comparison.made, comparison.minutes, comparison.command
    );
    let loads: Vec<f64> = comparison.floors.iter().map(|floor| floor.host.load_average).collect();
    if let (Some(host), Some(load)) = (host, Summary::of(&loads)) {
        let _ = writeln!(
            text,
            "On {} cores ({}), {:.0} GiB, Linux {}, clock {}; load average {:.1} before, {:.1} \
             (median) during the run. Servers, load generator and whatever else runs share these \
             cores. {} interleaved rounds (A B C A B C); figures are medians, and where a \
             spread is given it is {}. A ratio is printed only if the runs of either side spread \
             over a smaller factor than the one between them. Everything outside the rounds \
             (curves, fan-out, trees) is one run each, rates a few.\n",
            host.cores,
            host.processor,
            host.memory_bytes as f64 / (1_u64 << 30) as f64,
            host.kernel,
            host.clock_source,
            loads.first().copied().unwrap_or(0.0),
            load.median,
            comparison.rounds,
            if comparison.rounds >= 5 { "from quartile to quartile" } else { "from least to most" }
        );
    }
    if comparison.short {
        text.push_str(
            "**The short form**: runs of a second, small trees. For figures to quote, leave \
             out --short.\n\n",
        );
    }
    let _ = writeln!(text, "## The table\n\n{}", table(comparison));
    if !comparison.missing.is_empty() {
        text.push_str("## Left out, or tried twice\n\n");
        for missing in &comparison.missing {
            let why = missing.why.replace('\n', " ");
            let _ = writeln!(text, "- {}: {why}", missing.what);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "## Goals\n\n{}", goals::table(comparison));
    text.push_str("## The machine itself\n\n");
    if let Some(floor) = comparison.floors.first() {
        let _ = writeln!(text, "Class {}.\n", floor.class);
        for finding in &floor.findings {
            let _ = writeln!(text, "- Would hurt: {finding}.");
        }
        text.push_str(
            "\n| durable writes of 4 KiB in flight | a second | p50 | p99 |\n|---|---|---|---|\n",
        );
        for writes in &floor.durable_writes {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                writes.in_flight,
                Unit::Count.show(writes.per_second),
                Unit::Micros.show(writes.latency.p50_us),
                Unit::Micros.show(writes.latency.p99_us)
            );
        }
        let _ = writeln!(
            text,
            "\nRound trip over loopback: p50 {}, p99 {}. An acknowledged write is at least both.\n",
            Unit::Micros.show(floor.round_trip.p50_us),
            Unit::Micros.show(floor.round_trip.p99_us)
        );
    }
    let _ = writeln!(text, "## One server\n\n{}", details(comparison, 1));
    let _ = writeln!(text, "## Three servers\n\n{}", details(comparison, ENSEMBLE));
    text.push_str("## Curves\n\n");
    for (name, title) in pictures {
        let _ = writeln!(text, "![{title}]({name}.svg)\n");
    }
    text.push_str("## Who ran, and how it was tuned\n\n");
    for contender in &comparison.contenders {
        let _ = writeln!(
            text,
            "**{} {}** ({}).\n\n| setting | why |\n|---|---|",
            contender.kind, contender.version, contender.origin
        );
        for (setting, why) in &contender.settings {
            let _ = writeln!(text, "| `{setting}` | {why} |");
        }
        text.push('\n');
    }
    text.push_str(
        "## Commands\n\nEach figure can be taken alone, with `--server` and `--pid`:\n\n",
    );
    let mut commands: Vec<(&str, &str)> = Vec::new();
    for sample in &comparison.results.samples {
        if !commands.iter().any(|(case, _)| *case == sample.case) {
            commands.push((&sample.case, &sample.command));
        }
    }
    for (case, command) in commands {
        let _ = writeln!(text, "- {case}: `{command}`");
    }
    text
}

fn plots(comparison: &Comparison) -> Vec<(&'static str, Plot)> {
    let results = &comparison.results;
    let series = |servers: usize, case: &str, metric: &str, factor: f64| -> Vec<Series> {
        let of = |kind: Kind| Series {
            name: comparison.title(kind),
            colour: kind as usize,
            dashed: false,
            points: results
                .curve(kind, servers, case, metric)
                .into_iter()
                .map(|(x, y)| (x, y * factor))
                .collect(),
        };
        comparison.kinds().into_iter().map(of).collect()
    };
    let plot = |title: &str, x: (&str, Scale), y: (&str, Scale), series: Vec<Series>| Plot {
        title: title.to_owned(),
        x: (x.0.to_owned(), x.1),
        y: (y.0.to_owned(), y.1),
        series,
    };
    let (log, linear) = (Scale::Log, Scale::Linear);
    let latency = |op: &str| -> Vec<Series> {
        let case = format!("{op}-rate");
        let mut all = Vec::new();
        for (metric, name) in [("latency_p50_us", "p50"), ("latency_p99_us", "p99")] {
            for mut one in series(1, &case, metric, 1e-3) {
                one.name = format!("{}, {name}", one.name);
                one.dashed = name == "p99";
                all.push(one);
            }
        }
        all
    };
    let timeline: Vec<Series> = comparison
        .kinds()
        .into_iter()
        .filter_map(|kind| {
            let (_, result) = comparison.timelines.iter().find(|(of, _)| *of == kind)?;
            let killed = result.killed_at_ms.unwrap_or(0.0);
            let step = result.step_ms as f64;
            let points = result.timeline.iter().enumerate();
            Some(Series {
                name: comparison.title(kind),
                colour: kind as usize,
                dashed: false,
                points: points
                    .map(|(index, &count)| {
                        ((index as f64 * step - killed) / 1e3 + 2.0, f64::from(count) * 1e3 / step)
                    })
                    .collect(),
            })
        })
        .collect();
    vec![
        (
            "latency-get",
            plot(
                "get: latency from the intended moment, by rate (open loop)",
                ("requests a second", log),
                ("ms", log),
                latency("get"),
            ),
        ),
        (
            "latency-set",
            plot(
                "set: latency from the intended moment, by rate (open loop)",
                ("requests a second", log),
                ("ms", log),
                latency("set"),
            ),
        ),
        (
            "read-ratio",
            plot(
                "throughput by share of reads, 64 x 16, one server",
                ("share of reads", linear),
                ("requests a second", log),
                series(1, "ratio", "per_second", 1.0),
            ),
        ),
        (
            "fan-out",
            plot(
                "one change, many watchers: until all are told",
                ("watchers", log),
                ("ms", log),
                series(1, "watch", "all_p50_us", 1e-3),
            ),
        ),
        (
            "memory",
            plot(
                "resident memory by znodes of 100 B",
                ("znodes", log),
                ("MB", log),
                series(1, "fill", "rss_bytes", 1e-6),
            ),
        ),
        (
            "restart",
            plot(
                "killed and started: until a write is acknowledged",
                ("znodes", log),
                ("s", log),
                series(1, "restart", "seconds", 1.0),
            ),
        ),
        (
            "failover",
            plot(
                "three servers, the leader killed at 2 s: acknowledged writes",
                ("s", linear),
                ("writes a second", linear),
                timeline,
            ),
        ),
    ]
}
