//! When every fault has healed and nobody asks for anything more, every server of an ensemble
//! serves, and all have the same state.

use crate::history::History;

/// Looks until all are together.
#[derive(Default)]
pub struct Together {
    done: bool,
    last: String,
}

impl Together {
    /// Looks at what every server has published.
    pub fn look(&mut self, history: &History) {
        let state = |seat: &crate::history::Seat| {
            let version = seat.version.as_ref()?;
            seat.serves
                .then(|| (version.zxid(), version.digest(), version.tables().sessions.clone()))
        };
        let states: Vec<_> = history.seats.iter().map(state).collect();
        self.done = states.iter().all(|state| state.is_some() && *state == states[0]);
        if !self.done {
            let seat = |seat: &crate::history::Seat| (seat.published, seat.serves);
            self.last = format!("{:?}", history.seats.iter().map(seat).collect::<Vec<_>>());
        }
    }

    /// All are together.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Time is up.
    pub fn verdict(&self) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        Err(format!("servers stay apart: (published, serves) {}", self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;

    #[test]
    fn a_server_that_stays_behind_is_caught() {
        let mut maker = Maker::new();
        let (old, new) = (maker.create("/p0"), maker.create("/p1"));
        let look = |states: &[(Option<&engine::Version>, bool)]| {
            let mut history = History::of(states.len());
            for (seat, (version, serves)) in history.seats.iter_mut().zip(states) {
                (seat.version, seat.serves) = (version.cloned(), *serves);
            }
            let mut together = Together::default();
            together.look(&history);
            together.verdict().is_ok()
        };
        assert!(look(&[(Some(&new), true), (Some(&new), true)]));
        assert!(!look(&[(Some(&new), true), (Some(&old), true)]));
        assert!(!look(&[(Some(&new), true), (Some(&new), false)]));
        assert!(!look(&[(Some(&new), true), (None, true)]));
    }
}
