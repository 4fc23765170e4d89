//! What is measured in Prometheus' text format, version 0.0.4 (`client-protocol` 9.5). Series have
//! their count and sum: quantiles are not kept.

use std::fmt::Write;

use super::CoreFacts;
use super::metrics::{self, Kind, Metric, Reading, Value};
use crate::link::ShardReport;

/// Everything that has a number.
pub(super) fn text(facts: &CoreFacts, reports: &[ShardReport]) -> String {
    let mut text = String::new();
    for metric in metrics::gather(facts, reports) {
        push(&metric, &mut text);
    }
    text
}

fn push(metric: &Metric, text: &mut String) {
    let name: String = metric.name.chars().map(allowed).collect();
    let (kind, lines) = match &metric.reading {
        Reading::One(Value::Text(_)) => return,
        Reading::One(value) => {
            let kind = match metric.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            (kind, format!("{name} {value}\n"))
        }
        Reading::Series(series) => {
            let (count, sum) = series.count_and_sum();
            ("summary", format!("{name}_count {count}\n{name}_sum {sum}\n"))
        }
    };
    let _ = write!(text, "# HELP {name} {name}\n# TYPE {name} {kind}\n{lines}");
}

/// A namespace may have letters that a name may not.
fn allowed(letter: char) -> char {
    if letter.is_ascii_alphanumeric() || letter == '_' || letter == ':' { letter } else { '_' }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Summary;
    use super::*;

    #[test]
    fn every_kind_has_its_lines() {
        let mut series = Summary::default();
        series.record(3);
        series.record(4);
        let mut out = String::new();
        for (name, kind, reading) in [
            ("server_state", Kind::Gauge, Reading::One(Value::Text("leader".into()))),
            ("avg_latency", Kind::Gauge, Reading::One(Value::Decimal(0.5))),
            ("a-b_quota", Kind::Gauge, Reading::One(Value::Number(-1))),
            ("commit_count", Kind::Counter, Reading::One(Value::Number(7))),
            ("fsynctime", Kind::Gauge, Reading::Series(series)),
        ] {
            push(&Metric { name: name.into(), kind, reading }, &mut out);
        }
        assert_eq!(
            out,
            "# HELP avg_latency avg_latency\n# TYPE avg_latency gauge\navg_latency 0.5\n\
             # HELP a_b_quota a_b_quota\n# TYPE a_b_quota gauge\na_b_quota -1\n\
             # HELP commit_count commit_count\n# TYPE commit_count counter\ncommit_count 7\n\
             # HELP fsynctime fsynctime\n# TYPE fsynctime summary\n\
             fsynctime_count 2\nfsynctime_sum 7\n"
        );
    }
}
