//! ZooKeeper's atomic broadcast as a pure state machine over (zxid, opaque transaction bytes).
//! It knows no znode, no disk, no clock.
//!
//! The caller's loop: give every input to [`Replica::step`], carry out the outputs in order, and
//! return their completions as inputs. Each output says what must have happened before it.

pub mod wire;

use model::{Batch, Epoch, Mono, ServerId, Zxid};

/// What a replica can be told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The leader's caller proposes transactions; only valid while leading.
    Propose(Batch),
    /// Everything appended up to here is durable in the own log.
    Appended {
        /// Last durable entry.
        upto: Zxid,
    },
}

/// What a replica wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Append to the own log; report [`Input::Appended`] when durable.
    Append(Batch),
    /// Everything up to here is committed: apply (followers), publish, answer.
    Commit {
        /// Last committed entry.
        upto: Zxid,
    },
    /// The role changed. A leader may propose from now on, with zxids of this epoch.
    RoleChanged(RoleKind),
}

/// What a server is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleKind {
    /// Searching for a leader.
    Looking,
    /// The only member: leads without an election, in the epoch of its last transaction.
    Standalone,
    /// Leads this epoch.
    Leading(Epoch),
    /// Follows a leader.
    Following(ServerId, Epoch),
    /// Observes a leader.
    Observing(ServerId, Epoch),
}

/// One server's part in the ensemble.
pub struct Replica {
    committed: Zxid,
    durable: Zxid,
    announced: bool,
}

impl Replica {
    /// An ensemble of one, whose log ends (durably) at `last`.
    pub fn standalone(last: Zxid) -> Replica {
        Replica { committed: last, durable: last, announced: false }
    }

    /// Takes one input.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) {
        let _ = now;
        match input {
            Input::Tick => {
                if !self.announced {
                    self.announced = true;
                    out.push(Output::RoleChanged(RoleKind::Standalone));
                }
            }
            Input::Propose(batch) => out.push(Output::Append(batch)),
            Input::Appended { upto } => {
                self.durable = self.durable.max(upto);
                if self.durable > self.committed {
                    self.committed = self.durable;
                    out.push(Output::Commit { upto: self.committed });
                }
            }
        }
    }

    /// Last committed entry.
    pub fn committed(&self) -> Zxid {
        self.committed
    }
}
