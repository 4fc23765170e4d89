//! Makes a failing world smaller: faults off, fewer clients, fewer events, for as long as the
//! same guarantee is still broken. Every attempt is a whole new run, so the result is a seed and
//! a list of options, which replays like any other.

use crate::swarm::Options;
use crate::world::Violation;

/// Attempts that change the number of events.
const EVENT_ATTEMPTS: u32 = 12;

/// Options changed, by name.
pub type Changes = Vec<(String, u64)>;

/// Runs a world with options changed, and says what broke.
pub type Attempt<'a> = dyn Fn(&Changes) -> Option<Violation> + 'a;

/// The smallest world found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smallest {
    /// Options to set, in order.
    pub changes: Changes,
    /// The guarantee that is still broken.
    pub checker: String,
    /// How.
    pub words: String,
    /// In which event.
    pub step: u64,
}

/// Shrinks; `None` if the world as drawn breaks nothing. `violation_of` runs a world with options
/// changed.
pub fn shrink(violation_of: &Attempt<'_>) -> Option<Smallest> {
    let first = violation_of(&Vec::new())?;
    let mut best = Smallest {
        changes: Vec::new(),
        checker: first.checker,
        words: first.words,
        step: first.step,
    };
    let off = Options::FAULTS.iter().map(|name| (*name, 0));
    for (name, value) in off.chain(Options::SMALLEST.iter().copied()) {
        attempt(&mut best, name, value, violation_of);
    }
    // Events: the safety phase need not be longer than where it broke, and maybe much shorter.
    let mut low = 0;
    let mut high = best.step;
    attempt(&mut best, "events", high, violation_of);
    for _ in 0..EVENT_ATTEMPTS {
        let middle = u64::midpoint(low, high);
        if middle == low {
            break;
        }
        if attempt(&mut best, "events", middle, violation_of) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(best)
}

/// Keeps a change if the same guarantee is broken with it, and not later.
fn attempt(best: &mut Smallest, name: &str, value: u64, violation_of: &Attempt<'_>) -> bool {
    let mut changes = best.changes.clone();
    changes.retain(|(known, _)| known != name);
    changes.push((name.to_owned(), value));
    let Some(violation) = violation_of(&changes) else { return false };
    if violation.checker != best.checker {
        return false;
    }
    *best = Smallest {
        changes,
        checker: violation.checker,
        words: violation.words,
        step: violation.step,
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world that breaks as long as it may crash and has at least seven events.
    #[test]
    fn what_does_not_matter_goes() {
        let run = |changes: &Changes| {
            let value = |name: &str, drawn| {
                changes.iter().find(|(known, _)| known == name).map_or(drawn, |(_, value)| *value)
            };
            let broken = value("crash", 4) > 0 && value("events", 800) >= 7;
            let checker = "durable_after_ack".to_owned();
            broken.then(|| Violation { checker, words: String::new(), step: 500 })
        };
        let found = shrink(&run).expect("it is broken");
        assert!(!found.changes.iter().any(|(name, _)| name == "crash"));
        assert!(found.changes.contains(&("rot".to_owned(), 0)));
        assert!(found.changes.contains(&("events".to_owned(), 7)));
    }
}
