//! The goals that the project holds itself to, each beside its figure.

use std::fmt::Write as _;

use super::Comparison;
use crate::compare::ENSEMBLE;
use crate::compare::results::{Query, Summary};
use crate::compare::rival::Kind;

/// How a figure is held against its goal.
struct Goal {
    what: String,
    /// What was measured, as a factor or in the goal's unit.
    figure: Option<f64>,
    /// At most, or at least.
    bound: Bound,
    unit: &'static str,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One line for each part of a goal.
pub(super) fn table(comparison: &Comparison) -> String {
    let mut text = "Ratios of medians. A goal whose figure is missing was not measured.\n\n\
                    | what | goal | figure | |\n|---|---|---|---|\n"
        .to_owned();
    for goal in goals(comparison) {
        let (sign, bound) = match goal.bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
        };
        let figure = goal.figure.map_or("-".to_owned(), |figure| {
            format!("{}{}", (figure * 1000.0).round() / 1000.0, goal.unit)
        });
        let verdict = match (&goal.bound, goal.figure) {
            (_, None) => "not measured",
            (Bound::AtMost(bound), Some(figure)) if figure <= *bound => "met",
            (Bound::AtLeast(bound), Some(figure)) if figure >= *bound => "met",
            _ => "**not met**",
        };
        let _ = writeln!(
            text,
            "| {} | {sign} {bound}{} | {figure} | {verdict} |",
            goal.what, goal.unit
        );
    }
    text
}

fn goals(comparison: &Comparison) -> Vec<Goal> {
    let get = |kind: Kind, servers: usize, case: &str, x: f64, metric: &str| -> Option<f64> {
        let query = Query { servers, case, x, metric };
        Some(comparison.results.summary(kind, query)?.median)
    };
    let ours =
        |servers, case: &str, x, metric: &str| get(Kind::Ringkeeper, servers, case, x, metric);
    // Ours by ZooKeeper's.
    let to_zookeeper = |servers, case: &str, x, metric: &str| -> Option<f64> {
        Some(ours(servers, case, x, metric)? / get(Kind::ZooKeeper, servers, case, x, metric)?)
    };
    let to_floor = |figure: Option<f64>, floor: Option<Summary>| Some(figure? / floor?.median);
    let echo = comparison.floor(|floor| floor.echo_server_cpu_us_per_request);
    let send = comparison.floor(|floor| floor.send_cpu_us);
    let write = comparison.floor(|floor| floor.write_floor_p50_us);
    let (watchers, znodes) = (comparison.largest("watch"), comparison.largest("fill"));
    let sessions = comparison.largest("idle-watch");
    let goal =
        |what: &str, figure, bound, unit| Goal { what: what.to_owned(), figure, bound, unit };
    let x = "x";
    let most = Bound::AtMost;
    // At the rate that is nearest to seven tenths of the most.
    let tail = || -> Option<f64> {
        let full = ours(1, "set", 0.0, "per_second")?;
        let rates = comparison.results.places(Kind::Ringkeeper, 1, "set-rate");
        let off = |rate: &f64| (rate / full - 0.7).abs();
        let rate = rates.into_iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
        let at = |metric| ours(1, "set-rate", rate, metric);
        Some(at("latency_p999_us")? / at("latency_p50_us")?)
    };
    let beyond = || -> Option<f64> {
        // Path and data are not overhead; an empty server is no znode.
        let curve = comparison.results.curve(Kind::Ringkeeper, 1, "fill", "rss_bytes");
        let (first, last) = (curve.first()?, curve.last()?);
        let path = ours(1, "fill", last.0, "path_bytes")?;
        (last.0 > first.0).then(|| (last.1 - first.1) / (last.0 - first.0) - path - 100.0)
    };
    vec![
        goal("get, CPU, to ZooKeeper", to_zookeeper(1, "get", 0.0, "cpu_us"), most(0.1), x),
        goal(
            "get, CPU, to the bare echo",
            to_floor(ours(1, "get", 0.0, "cpu_us"), echo),
            most(3.0),
            x,
        ),
        goal("set, CPU, to ZooKeeper", to_zookeeper(1, "set", 0.0, "cpu_us"), most(0.125), x),
        goal(
            "set, requests/s, to ZooKeeper",
            to_zookeeper(1, "set", 0.0, "per_second"),
            Bound::AtLeast(5.0),
            x,
        ),
        goal(
            "three servers, set, CPU, to ZooKeeper",
            to_zookeeper(ENSEMBLE, "set", 0.0, "cpu_us"),
            most(0.125),
            x,
        ),
        goal(
            "three servers, set, requests/s, to ZooKeeper",
            to_zookeeper(ENSEMBLE, "set", 0.0, "per_second"),
            Bound::AtLeast(6.0),
            x,
        ),
        goal(
            "one set at a time, p50, to ZooKeeper",
            to_zookeeper(1, "set-one", 0.0, "latency_p50_us"),
            most(0.75),
            x,
        ),
        goal(
            "the same, to a durable write and a round trip",
            to_floor(ours(1, "set-one", 0.0, "latency_p50_us"), write),
            most(1.3),
            x,
        ),
        goal(
            "three servers, one set at a time, p50, to ZooKeeper",
            to_zookeeper(ENSEMBLE, "set-one", 0.0, "latency_p50_us"),
            most(0.5),
            x,
        ),
        goal("set, p99.9 to p50 near 70 % of the most", tail(), most(4.0), x),
        goal(
            "notification, CPU, to a bare send",
            to_floor(ours(1, "watch", watchers, "cpu_us"), send),
            most(1.2),
            x,
        ),
        goal(
            "notification, CPU, to ZooKeeper",
            to_zookeeper(1, "watch", watchers, "cpu_us"),
            most(0.5),
            x,
        ),
        goal(
            "idle session with one watch",
            ours(1, "idle-watch", sessions, "bytes_each"),
            most(2048.0),
            " B",
        ),
        goal(
            "largest tree, resident, to ZooKeeper",
            to_zookeeper(1, "fill", znodes, "rss_bytes"),
            most(0.25),
            x,
        ),
        goal("znode beyond path and data", beyond(), most(120.0), " B"),
        goal(
            "restart with the largest tree",
            ours(1, "restart", znodes, "seconds"),
            most(0.3),
            " s",
        ),
        goal(
            "the same, to ZooKeeper",
            to_zookeeper(1, "restart", znodes, "seconds"),
            most(0.025),
            x,
        ),
        goal(
            "leader killed, longest time without a write",
            ours(ENSEMBLE, "failover", 0.0, "gap_ms"),
            most(300.0),
            " ms",
        ),
    ]
}
