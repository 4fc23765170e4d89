//! What a load consists of, and on which znodes.

use std::fmt;
use std::str::FromStr;

use crate::wire::Verb;

/// Requests by their share.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mix {
    shares: Vec<(Verb, f64)>,
}

impl Mix {
    /// True if this verb can come.
    pub(crate) fn has(&self, verb: Verb) -> bool {
        self.shares.iter().any(|&(listed, share)| listed == verb && share > 0.0)
    }

    /// The verb at this place between 0 and 1.
    pub(crate) fn pick(&self, place: f64) -> Verb {
        let total: f64 = self.shares.iter().map(|(_, share)| share).sum();
        let mut left = place * total;
        let mut picked = Verb::Get;
        for &(verb, share) in &self.shares {
            picked = verb;
            if left < share {
                break;
            }
            left -= share;
        }
        picked
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let refused = || {
            format!(
                "`{text}` is no mix: a verb ({}), mixed:R with R the share of gets from 0 to 1, \
                 or shares like get=90,set=9,create=1",
                Verb::ALL.map(Verb::name).join(", ")
            )
        };
        let verb = |name: &str| Verb::ALL.into_iter().find(|verb| verb.name() == name);
        let share =
            |text: &str| text.parse().ok().filter(|share: &f64| share.is_finite() && *share >= 0.0);
        let mut shares = Vec::new();
        if let Some(reads) = text.strip_prefix("mixed:") {
            let reads = share(reads).filter(|share| *share <= 1.0).ok_or_else(refused)?;
            shares.extend([(Verb::Get, reads), (Verb::Set, 1.0 - reads)]);
        } else if let Some(verb) = verb(text) {
            // A delete needs something to delete: the session creates it first.
            if verb == Verb::Delete {
                shares.push((Verb::Create, 1.0));
            }
            shares.push((verb, 1.0));
        } else {
            for part in text.split(',') {
                let (name, part) = part.split_once('=').ok_or_else(refused)?;
                shares.push((verb(name).ok_or_else(refused)?, share(part).ok_or_else(refused)?));
            }
        }
        if shares.iter().map(|(_, share)| share).sum::<f64>() <= 0.0 {
            return Err(refused());
        }
        Ok(Mix { shares })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: f64 = self.shares.iter().map(|(_, share)| share).sum();
        let mut parts = self.shares.iter().filter(|(_, share)| *share > 0.0);
        if let (Some((verb, _)), None) = (parts.next(), parts.next()) {
            return write!(f, "{}", verb.name());
        }
        for (index, (verb, share)) in self.shares.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Three significant decimals at most, none of them a closing zero.
            let percent = (1e5 * share / total).round() / 1e3;
            write!(f, "{comma}{percent} % {}", verb.name())?;
        }
        Ok(())
    }
}

/// A plain fast generator; good enough to pick keys.
pub(crate) struct Random(u64);

impl Random {
    /// The same numbers for the same seed, which must not be 0.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 2_f64.powi(53)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }
}

/// Which znode the next request is for: all alike, or few of them much more often (Zipf's law).
pub(crate) struct Keys {
    count: u32,
    /// Sums of the keys' shares; empty when all are alike.
    sums: Vec<f64>,
}

impl Keys {
    /// `skew` is the exponent: 0 for all alike, 0.99 as databases are usually measured.
    pub(crate) fn new(count: u32, skew: f64) -> Keys {
        let mut sums = Vec::new();
        if skew > 0.0 {
            let mut sum = 0.0;
            sums.extend((1..=count).map(|rank| {
                sum += f64::from(rank).powf(-skew);
                sum
            }));
        }
        Keys { count, sums }
    }

    /// Picks one.
    pub(crate) fn pick(&self, random: &mut Random) -> u32 {
        let Some(total) = self.sums.last() else { return random.below(self.count) };
        let place = random.unit() * total;
        (self.sums.partition_point(|sum| *sum <= place) as u32).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_parse_and_print() {
        for (text, printed) in [
            ("get", "get"),
            ("multi", "multi"),
            ("mixed:1", "get"),
            ("mixed:0.75", "75 % get, 25 % set"),
            ("get=3,set=1", "75 % get, 25 % set"),
            ("delete", "50 % create, 50 % delete"),
        ] {
            assert_eq!(text.parse::<Mix>().expect("known").to_string(), printed, "{text}");
        }
        for text in ["", "put", "mixed", "mixed:", "mixed:2", "mixed:-1", "mixed:NaN", "get=0"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_kept() {
        let mix: Mix = "get=90,set=10".parse().expect("a mix");
        let mut random = Random::new(1);
        let reads = (0..10_000).filter(|_| mix.pick(random.unit()) == Verb::Get).count();
        assert!((8_800..9_200).contains(&reads), "{reads}");
        assert!(mix.has(Verb::Set) && !mix.has(Verb::Create));
    }

    #[test]
    fn keys_stay_in_range_and_skew_prefers_the_first() {
        for (skew, first) in [(0.0, 100..200), (1.0, 350..420)] {
            let keys = Keys::new(7, skew);
            let mut random = Random::new(1);
            let mut seen = [0; 7];
            for _ in 0..1000 {
                seen[keys.pick(&mut random) as usize] += 1;
            }
            assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
            assert!(first.contains(&seen[0]), "skew {skew}: {seen:?}");
        }
    }
}
