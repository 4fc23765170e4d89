//! What was measured, and what may be said about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rival::Kind;

/// One measurement of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Which server.
    pub(crate) rival: Kind,
    /// Servers in the ensemble.
    pub(crate) servers: usize,
    /// Which measurement.
    pub(crate) case: String,
    /// What varies within the case: a rate, a number of watchers; 0 if nothing does.
    pub(crate) x: f64,
    /// What came out, by name; units are in the names.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// The command that measures the same.
    pub(crate) command: String,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// In the order in which it was measured.
    pub(crate) samples: Vec<Sample>,
}

/// Which numbers are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    /// Servers in the ensemble.
    pub(crate) servers: usize,
    /// Which measurement.
    pub(crate) case: &'a str,
    /// Which of its values.
    pub(crate) x: f64,
    /// Which number.
    pub(crate) metric: &'a str,
}

impl Results {
    /// The numbers of one server, in the order of the rounds.
    pub(crate) fn values(&self, rival: Kind, query: Query<'_>) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|sample| {
                sample.rival == rival
                    && sample.servers == query.servers
                    && sample.case == query.case
                    && sample.x.total_cmp(&query.x).is_eq()
            })
            .filter_map(|sample| sample.metrics.get(query.metric).copied())
            .collect()
    }

    /// One number, of whatever it was measured of.
    pub(crate) fn all(&self, metric: &str) -> Vec<f64> {
        self.samples.iter().filter_map(|sample| sample.metrics.get(metric).copied()).collect()
    }

    /// Median and spread of [`Results::values`].
    pub(crate) fn summary(&self, rival: Kind, query: Query<'_>) -> Option<Summary> {
        Summary::of(&self.values(rival, query))
    }

    /// What a case was measured at, in order.
    pub(crate) fn places(&self, rival: Kind, servers: usize, case: &str) -> Vec<f64> {
        let mut places: Vec<f64> = self
            .samples
            .iter()
            .filter(|s| s.rival == rival && s.servers == servers && s.case == case)
            .map(|sample| sample.x)
            .collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        places
    }

    /// A curve of medians: (x, metric).
    pub(crate) fn curve(
        &self,
        rival: Kind,
        servers: usize,
        case: &str,
        metric: &str,
    ) -> Vec<(f64, f64)> {
        let at = |x| {
            let query = Query { servers, case, x, metric };
            Some((x, self.summary(rival, query)?.median))
        };
        self.places(rival, servers, case).into_iter().filter_map(at).collect()
    }

    /// The largest value that a case was measured at by every one of these.
    pub(crate) fn common_largest(
        &self,
        rivals: &[Kind],
        servers: usize,
        case: &str,
    ) -> Option<f64> {
        let mut places = rivals.iter().map(|&rival| self.places(rival, servers, case));
        let first = places.next()?;
        let others: Vec<Vec<f64>> = places.filter(|places| !places.is_empty()).collect();
        first.into_iter().rev().find(|x| others.iter().all(|places| places.contains(x)))
    }
}

/// Several runs of one measurement.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Half are below.
    pub(crate) median: f64,
    /// Lower end of the spread: the first quartile of five runs or more, else the least.
    pub(crate) low: f64,
    /// Upper end of the spread.
    pub(crate) high: f64,
    /// Runs.
    pub(crate) runs: usize,
}

impl Summary {
    /// Of at least one number.
    pub(crate) fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.retain(|value| value.is_finite());
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        let (low, high) = if sorted.len() >= 5 { (0.25, 0.75) } else { (0.0, 1.0) };
        Some(Summary { median: at(0.5), low: at(low), high: at(high), runs: sorted.len() })
    }

    /// How many times as much `other` is; nothing if the runs of either spread over a wider
    /// factor than the one between them, because such a ratio says nothing.
    pub(crate) fn ratio_to(&self, other: &Summary) -> Ratio {
        let sound = |s: &Summary| s.low > 0.0 && s.median > 0.0;
        if !sound(self) || !sound(other) {
            return Ratio::Refused;
        }
        let ratio = other.median / self.median;
        let spread = (self.high / self.low).max(other.high / other.low);
        if spread >= ratio.max(1.0 / ratio) { Ratio::Refused } else { Ratio::Times(ratio) }
    }
}

/// How two servers compare.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Ratio {
    /// So many times as much.
    Times(f64),
    /// The runs spread too widely to say.
    Refused,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ratio::Times(ratio) if *ratio >= 10.0 => write!(f, "{ratio:.0}x"),
            Ratio::Times(ratio) if *ratio >= 1.0 => write!(f, "{ratio:.1}x"),
            Ratio::Times(ratio) => write!(f, "1/{:.1}", 1.0 / ratio),
            Ratio::Refused => write!(f, "spread too wide"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_and_its_spread() {
        let three = Summary::of(&[3.0, 1.0, 2.0]).expect("numbers");
        assert_eq!((three.median, three.low, three.high), (2.0, 1.0, 3.0));
        let five = Summary::of(&[5.0, 1.0, 2.0, 3.0, 100.0]).expect("numbers");
        assert_eq!((five.median, five.low, five.high), (3.0, 2.0, 5.0), "one outlier is left out");
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_ratio_needs_a_difference_wider_than_the_spread() {
        let of = |values: &[f64]| Summary::of(values).expect("numbers");
        assert_eq!(of(&[9.0, 10.0, 11.0]).ratio_to(&of(&[99.0, 100.0, 110.0])), Ratio::Times(10.0));
        assert_eq!(of(&[9.0, 10.0, 13.0]).ratio_to(&of(&[11.0, 12.0, 13.0])), Ratio::Refused);
        assert_eq!(of(&[0.0, 10.0]).ratio_to(&of(&[100.0])), Ratio::Refused, "a zero spreads");
        assert_eq!(Ratio::Times(0.1).to_string(), "1/10.0");
        assert_eq!(Ratio::Times(12.3).to_string(), "12x");
    }

    #[test]
    fn results_are_found_by_what_they_are() {
        let sample = |rival, x, value| Sample {
            rival,
            servers: 1,
            case: "watch".to_owned(),
            x,
            metrics: BTreeMap::from([("cpu_us".to_owned(), value)]),
            command: String::new(),
        };
        let results = Results {
            samples: vec![
                sample(Kind::Ringkeeper, 100.0, 1.0),
                sample(Kind::Ringkeeper, 10.0, 2.0),
                sample(Kind::Ringkeeper, 10.0, 4.0),
                sample(Kind::Etcd, 10.0, 9.0),
            ],
        };
        let curve = results.curve(Kind::Ringkeeper, 1, "watch", "cpu_us");
        assert_eq!(curve, [(10.0, 3.0), (100.0, 1.0)]);
        let both = [Kind::Ringkeeper, Kind::Etcd];
        assert_eq!(results.common_largest(&both, 1, "watch"), Some(10.0));
        assert_eq!(results.common_largest(&both, 3, "watch"), None);
    }
}
