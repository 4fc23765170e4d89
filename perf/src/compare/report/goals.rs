//! The goals that the project holds itself to, each beside its figure, for one server and three.

use std::fmt::Write as _;

use super::Comparison;
use crate::compare::ENSEMBLE;
use crate::compare::results::{Query, Summary};
use crate::compare::rival::Kind;

/// How a figure is held against its goal.
struct Goal {
    what: &'static str,
    unit: &'static str,
    /// One server, and three; nothing where there is no such goal.
    sides: [Option<Side>; 2],
}

/// A bound and the figure that it is for.
struct Side {
    bound: Bound,
    /// As a factor or in the goal's unit, if it was measured.
    figure: Option<f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Side {
    fn is_met(&self) -> Option<bool> {
        self.figure.map(|figure| match self.bound {
            Bound::AtMost(bound) => figure <= bound,
            Bound::AtLeast(bound) => figure >= bound,
        })
    }

    /// Goal, figure and verdict.
    fn cells(&self, unit: &str) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
        };
        let figure =
            self.figure.map_or("-".to_owned(), |figure| format!("{}{unit}", short(figure)));
        let verdict = match self.is_met() {
            None => "not measured",
            Some(true) => "met",
            Some(false) => "**not met**",
        };
        format!("{sign} {bound}{unit} | {figure} | {verdict}")
    }
}

/// Three digits, where there are so many.
fn short(figure: f64) -> f64 {
    let digits = if figure.abs() >= 100.0 { 1.0 } else { 1000.0 };
    (figure * digits).round() / digits
}

/// One line for each part of a goal.
pub(super) fn table(comparison: &Comparison) -> String {
    let goals = goals(comparison);
    let sides = || goals.iter().flat_map(|goal| goal.sides.iter().flatten());
    let met = sides().filter(|side| side.is_met() == Some(true)).count();
    let measured = sides().filter(|side| side.figure.is_some()).count();
    let mut text = format!(
        "{met} of {measured} that were measured are met, of {} in all. Ratios are of medians; \
         trees are of {} znodes (one server) and {} (three), fan-outs of {} watchers.\n\n\
         | what | one server: goal | figure | | three servers: goal | figure | |\n\
         |---|---|---|---|---|---|---|\n",
        sides().count(),
        super::list(comparison.largest("fill")),
        super::list(last(comparison, ENSEMBLE, "fill")),
        super::list(comparison.largest("watch")),
    );
    for goal in &goals {
        let cells = goal.sides.each_ref().map(|side| {
            side.as_ref().map_or_else(|| "none | | ".to_owned(), |side| side.cells(goal.unit))
        });
        let _ = writeln!(text, "| {} | {} | {} |", goal.what, cells[0], cells[1]);
    }
    text
}

/// The largest value that both of us were measured at, 0 if there is none.
fn last(comparison: &Comparison, servers: usize, case: &str) -> f64 {
    let both: Vec<Kind> = [Kind::Ringkeeper, Kind::ZooKeeper]
        .into_iter()
        .filter(|&kind| !comparison.results.places(kind, servers, case).is_empty())
        .collect();
    comparison.results.common_largest(&both, servers, case).unwrap_or(0.0)
}

fn goals(comparison: &Comparison) -> Vec<Goal> {
    let get = |kind: Kind, servers: usize, case: &str, x: f64, metric: &str| -> Option<f64> {
        let query = Query { servers, case, x, metric };
        Some(comparison.results.summary(kind, query)?.median)
    };
    // Where nothing varies `x` is 0, which is also what is returned then.
    let at = |servers: usize, case: &str| last(comparison, servers, case);
    let ours = |servers: usize, case: &str, metric: &str| {
        get(Kind::Ringkeeper, servers, case, at(servers, case), metric)
    };
    // Ours by ZooKeeper's.
    let to_zookeeper = |servers: usize, case: &str, metric: &str| -> Option<f64> {
        let theirs = get(Kind::ZooKeeper, servers, case, at(servers, case), metric)?;
        Some(ours(servers, case, metric)? / theirs)
    };
    let to_floor = |figure: Option<f64>, floor: Option<Summary>| Some(figure? / floor?.median);
    let echo = comparison.floor(|floor| floor.echo_server_cpu_us_per_request);
    let send = comparison.floor(|floor| floor.send_cpu_us);
    let write = comparison.floor(|floor| floor.write_floor_p50_us);
    // Path and data are not overhead.
    let beyond = |servers: usize| -> Option<f64> {
        let path = ours(servers, "fill", "path_bytes")?;
        let each = if servers == 1 {
            // An empty server is no znode, so what it takes is left out.
            let curve = comparison.results.curve(Kind::Ringkeeper, 1, "fill", "rss_bytes");
            let (first, last) = (curve.first()?, curve.last()?);
            (last.0 > first.0).then(|| (last.1 - first.1) / (last.0 - first.0))?
        } else {
            ours(servers, "fill", "grown_bytes_each")?
        };
        Some(each - path - 100.0)
    };
    let acknowledged = |servers: usize| -> Option<f64> {
        let quiet = ours(servers, "watch", "quiet_acknowledged_p50_us")?;
        Some(ours(servers, "watch", "acknowledged_p50_us")? / quiet)
    };
    let both = |what, unit, bounds: [Option<Bound>; 2], figure: &dyn Fn(usize) -> Option<f64>| {
        let side = |bound: Option<Bound>, servers| {
            bound.map(|bound| Side { bound, figure: figure(servers) })
        };
        Goal { what, unit, sides: [side(bounds[0], 1), side(bounds[1], ENSEMBLE)] }
    };
    let most = |bound: f64| Some(Bound::AtMost(bound));
    let least = |bound: f64| Some(Bound::AtLeast(bound));
    let same = |bound: f64| [most(bound), most(bound)];
    vec![
        both("get, 64 x 16, CPU, to ZooKeeper", "x", same(0.1), &|servers| {
            to_zookeeper(servers, "get", "cpu_us")
        }),
        both("the same, to the bare echo", "x", same(3.0), &|servers| {
            to_floor(ours(servers, "get", "cpu_us"), echo)
        }),
        both("set, 64 x 16, CPU, to ZooKeeper", "x", same(0.125), &|servers| {
            to_zookeeper(servers, "set", "cpu_us")
        }),
        both("the same, requests/s, to ZooKeeper", "x", [least(5.0), least(6.0)], &|servers| {
            to_zookeeper(servers, "set", "per_second")
        }),
        both("one set at a time, p50, to ZooKeeper", "x", [most(0.75), most(0.5)], &|servers| {
            to_zookeeper(servers, "set-one", "latency_p50_us")
        }),
        both("the same, to a durable write and a round trip", "x", [most(1.3), None], &|servers| {
            to_floor(ours(servers, "set-one", "latency_p50_us"), write)
        }),
        both("set at 70 % of the most, snapshots running: p99.9 to p50", "x", same(4.0), &|n| {
            ours(n, "tail", "p999_to_p50")
        }),
        both("notification, CPU, to a bare send", "x", same(1.2), &|servers| {
            to_floor(ours(servers, "watch", "cpu_us"), send)
        }),
        both("the same, to ZooKeeper", "x", same(0.5), &|servers| {
            to_zookeeper(servers, "watch", "cpu_us")
        }),
        both(
            "the writer's own acknowledgement, p50, to that with nobody watching",
            "x",
            same(1.5),
            &acknowledged,
        ),
        both("idle session with one watch, all servers", " B", same(2048.0), &|servers| {
            ours(servers, "idle-watch", "bytes_each")
        }),
        both("the tree, resident, to ZooKeeper", "x", same(0.25), &|servers| {
            to_zookeeper(servers, "fill", "rss_bytes")
        }),
        both("znode of 100 B beyond path and data", " B", same(120.0), &beyond),
        both("restart with the tree", " s", same(0.3), &|servers| {
            ours(servers, "restart", "seconds")
        }),
        both("the same, to ZooKeeper", "x", same(0.025), &|servers| {
            to_zookeeper(servers, "restart", "seconds")
        }),
        both("leader killed, longest time without a write", " ms", [None, most(300.0)], &|n| {
            ours(n, "failover", "gap_ms")
        }),
        both("leader's disk hangs, the same", " ms", [None, most(1000.0)], &|servers| {
            ours(servers, "failover-disk", "gap_ms")
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let side = |bound, figure| Side { bound, figure };
        let cells = side(Bound::AtMost(0.3), Some(0.2)).cells(" s");
        assert_eq!(cells, "at most 0.3 s | 0.2 s | met");
        let cells = side(Bound::AtLeast(5.0), Some(4.25)).cells("x");
        assert_eq!(cells, "at least 5x | 4.25x | **not met**");
        let cells = side(Bound::AtMost(4.0), None).cells("x");
        assert_eq!(cells, "at most 4x | - | not measured");
    }
}
