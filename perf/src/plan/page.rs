//! A plan as a page that needs nothing but itself.

use std::fmt::Write as _;

use super::model::{Costs, Goals, Load, Prediction};
use crate::compare::{Plot, Scale, Series};

/// Factors of the planned load that the curves show.
const FACTORS: [f64; 11] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0];

/// Writes the page.
pub(super) fn page(
    title: &str,
    costs: &Costs<'_>,
    load: &Load,
    goals: &Goals,
    lines: &[(String, String)],
    prediction: &Prediction,
) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:15px/1.5 sans-serif;max-width:760px;margin:2em auto;padding:0 1em}}\
         td,th{{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}}\
         .less{{color:#b00020;font-weight:bold}}</style>\n<h1>{title}</h1>\n<table>\n"
    );
    for (what, value) in lines {
        let _ = writeln!(text, "<tr><td>{what}</td><td>{value}</td></tr>");
    }
    text.push_str(
        "</table>\n<h2>What runs out first</h2>\n<table>\n<tr><th>what</th><th>needed</th>\
         <th>there</th><th>headroom</th></tr>\n",
    );
    for room in &prediction.headroom {
        let class = if room.times < 1.0 { " class=\"less\"" } else { "" };
        let _ = writeln!(
            text,
            "<tr{class}><td>{}</td><td>{:.4}</td><td>{:.4}</td><td>{:.1}x</td></tr>",
            room.what, room.need, room.have, room.times
        );
    }
    text.push_str("</table>\n");
    for caveat in &prediction.caveats {
        let _ = writeln!(text, "<p>Caveat: {caveat}.</p>");
    }
    for plot in plots(costs, load, goals) {
        text.push_str(&plot.svg());
    }
    text.push_str("</html>\n");
    text
}

fn plots(costs: &Costs<'_>, load: &Load, goals: &Goals) -> Vec<Plot> {
    let by_rate = |of: &dyn Fn(&Prediction) -> f64| -> Vec<(f64, f64)> {
        let at = |factor: f64| {
            let scaled =
                Load { writes: load.writes * factor, reads: load.reads * factor, ..load.clone() };
            (load.writes * factor + load.reads * factor, of(&costs.predict(&scaled, goals)))
        };
        FACTORS.into_iter().map(at).collect()
    };
    let by_size = |of: &dyn Fn(&Prediction) -> f64| -> Vec<(f64, f64)> {
        let at = |factor: f64| {
            let znodes = (f64::from(load.znodes) * factor) as u32;
            let scaled = Load { znodes, ..load.clone() };
            (f64::from(znodes), of(&costs.predict(&scaled, goals)))
        };
        FACTORS.into_iter().map(at).collect()
    };
    let plot = |title: &str, x: &str, y: &str, series: Vec<(&str, Vec<(f64, f64)>)>| Plot {
        title: title.to_owned(),
        x: (x.to_owned(), Scale::Log),
        y: (y.to_owned(), Scale::Linear),
        series: series
            .into_iter()
            .enumerate()
            .map(|(colour, (name, points))| Series {
                name: name.to_owned(),
                colour,
                dashed: false,
                points,
            })
            .collect(),
    };
    let requests = "requests a second, in the planned proportion";
    vec![
        plot(
            "cores by load",
            requests,
            "cores",
            vec![
                ("all servers", by_rate(&|plan| plan.cores)),
                ("the busiest", by_rate(&|plan| plan.cores_per_server)),
            ],
        ),
        plot(
            "latency by load",
            requests,
            "ms",
            vec![
                ("write, p99", by_rate(&|plan| plan.write_p99_us / 1e3)),
                ("write, p50", by_rate(&|plan| plan.write_p50_us / 1e3)),
                ("read, p99", by_rate(&|plan| plan.read_p99_us / 1e3)),
            ],
        ),
        plot(
            "memory by znodes",
            "znodes",
            "MB",
            vec![("each server", by_size(&|plan| plan.memory_bytes / 1e6))],
        ),
        plot(
            "restart by znodes",
            "znodes",
            "s",
            vec![("one server", by_size(&|plan| plan.restart_seconds))],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{constants, floor, load};
    use super::*;

    #[test]
    fn a_page_holds_the_plan_and_needs_nothing_else() {
        let (one, floor) = (constants(), floor());
        let costs = Costs { one: &one, three: None, floor: &floor };
        let goals = Goals { cores: None, memory_mb: None, recovery_goal: 1.0, latency_goal: 1.0 };
        let prediction = costs.predict(&load(), &goals);
        let lines = [("cores".to_owned(), "0.05".to_owned())];
        let page = page("Plan", &costs, &load(), &goals, &lines, &prediction);
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(!page.contains("NaN") && !page.contains("src=") && !page.contains("href="));
    }
}
