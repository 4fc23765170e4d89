//! Every timer a replica can have; one deadline each.

use model::Mono;

/// What can run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Electing: say the own vote again.
    Notify,
    /// Electing: no better vote came, the winner stands.
    Finalize,
    /// Leading, not established: the quorum did not come in time. Learning: the handshake did
    /// not get ahead in time.
    Barrier,
    /// Electing: ask those again who are waited for and not connected any more. Learning: try to
    /// connect to the leader again.
    Redial,
    /// Learning: nothing heard from the leader for too long.
    ReadLimit,
    /// Leading: heartbeat, and every second time the check that a quorum is there.
    HalfTick,
    /// Election connections that did not come about in time.
    LinkSetup,
}

const ALL: [Timer; 7] = [
    Timer::Notify,
    Timer::Finalize,
    Timer::Barrier,
    Timer::Redial,
    Timer::ReadLimit,
    Timer::HalfTick,
    Timer::LinkSetup,
];

/// The deadlines.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    deadlines: [Option<Mono>; ALL.len()],
}

impl Timers {
    /// Sets a deadline, replacing an earlier one.
    pub fn set(&mut self, timer: Timer, at: Mono) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets a deadline unless an earlier one is set.
    pub fn set_no_later(&mut self, timer: Timer, at: Mono) {
        let deadline = &mut self.deadlines[timer as usize];
        *deadline = Some(deadline.map_or(at, |set| set.min(at)));
    }

    /// Removes a deadline.
    pub fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// Removes the deadlines that belong to a role; those of election connections stay.
    pub fn stop_role(&mut self) {
        for timer in ALL {
            if timer != Timer::LinkSetup {
                self.stop(timer);
            }
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Mono> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes one timer that has run out.
    pub fn expire(&mut self, now: Mono) -> Option<Timer> {
        let due = |timer: &Timer| self.deadlines[*timer as usize].is_some_and(|at| at <= now);
        let timer = ALL.into_iter().find(due)?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expires_once() {
        let mut timers = Timers::default();
        timers.set(Timer::HalfTick, Mono(20));
        timers.set(Timer::Notify, Mono(10));
        timers.set_no_later(Timer::Notify, Mono(15));
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.expire(Mono(9)), None);
        assert_eq!(timers.expire(Mono(30)), Some(Timer::Notify));
        assert_eq!(timers.expire(Mono(30)), Some(Timer::HalfTick));
        assert_eq!(timers.expire(Mono(30)), None);
        for (i, timer) in ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, i);
        }
    }
}
