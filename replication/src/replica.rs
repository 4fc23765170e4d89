//! The router: gives an input to where it belongs and collects the outputs. Everything that is
//! judged is judged in the roles.

use model::{Mono, ServerId, Zxid};

use crate::body::{Body, ReplicaConfig};
use crate::input::{Durable, Input};
use crate::mesh::Heard;
use crate::output::{LinkId, Output, Port, RoleKind};
use crate::role::Role;
use crate::role::looking::Looking;
use crate::standing::{Activity, Counts, Standing};
use crate::timers::Timer;

/// One server's part in the ensemble.
pub struct Replica {
    mode: Mode,
}

enum Mode {
    Standalone(Standalone),
    Ensemble(Box<Ensemble>),
}

impl Replica {
    /// An ensemble of one, whose log ends (durably) at `last`. It needs no connections and saves
    /// no epochs.
    pub fn standalone(last: Zxid) -> Replica {
        let standalone = Standalone { committed: last, durable: last, announced: false };
        Replica { mode: Mode::Standalone(standalone) }
    }

    /// A member of an ensemble, with what its disk holds. Nothing happens before the first input;
    /// give it a `Tick`.
    pub fn new(config: ReplicaConfig, durable: Durable) -> Replica {
        let body = Body::new(config, durable);
        Replica { mode: Mode::Ensemble(Box::new(Ensemble { body, role: None })) }
    }

    /// Takes one input.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) {
        match &mut self.mode {
            Mode::Standalone(standalone) => standalone.step(input, out),
            Mode::Ensemble(ensemble) => ensemble.step(now, input, out),
        }
    }

    /// When the next `Tick` is due at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.mode {
            Mode::Standalone(_) => None,
            Mode::Ensemble(ensemble) => match ensemble.role {
                Some(_) => ensemble.body.timers.next(),
                None => Some(Mono(0)),
            },
        }
    }

    /// Last entry reported as committed.
    pub fn committed(&self) -> Zxid {
        match &self.mode {
            Mode::Standalone(standalone) => standalone.committed,
            Mode::Ensemble(ensemble) => ensemble.body.history.committed(),
        }
    }

    /// False from [`Input::Distrust`] until a snapshot took the place of the state given up.
    pub fn is_trusted(&self) -> bool {
        match &self.mode {
            Mode::Standalone(_) => true,
            Mode::Ensemble(ensemble) => ensemble.body.trusted,
        }
    }

    /// What it is doing, for operators; none for an ensemble of one.
    pub fn standing(&self) -> Option<Standing> {
        match &self.mode {
            Mode::Standalone(_) => None,
            Mode::Ensemble(ensemble) => Some(ensemble.standing()),
        }
    }

    /// Observers that it keeps up to date as a leader, for operators.
    pub fn observers(&self) -> Vec<ServerId> {
        match &self.mode {
            Mode::Standalone(_) => Vec::new(),
            Mode::Ensemble(ensemble) => match &ensemble.role {
                Some(Role::Leading(role)) => role.observers(),
                // Only a leader has any.
                Some(_) | None => Vec::new(),
            },
        }
    }

    /// What it has done, for operators.
    pub fn counts(&self) -> Counts {
        match &self.mode {
            Mode::Standalone(_) => Counts::default(),
            Mode::Ensemble(ensemble) => ensemble.body.counts,
        }
    }

    #[cfg(test)]
    pub(crate) fn plant(&mut self, plant: crate::body::Plant) {
        if let Mode::Ensemble(ensemble) = &mut self.mode {
            ensemble.body.plant = Some(plant);
        }
    }
}

struct Standalone {
    committed: Zxid,
    durable: Zxid,
    announced: bool,
}

impl Standalone {
    fn step(&mut self, input: Input, out: &mut Vec<Output>) {
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
            Input::Accepted { link, .. } => out.push(Output::Close { link }),
            Input::EpochsSaved(_)
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Connected { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_)
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. }
            | Input::Distrust { .. }
            | Input::Abdicate => {}
        }
    }
}

struct Ensemble {
    body: Body,
    /// `None` before the first input.
    role: Option<Role>,
}

impl Ensemble {
    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) {
        if self.role.is_none() {
            self.role = Some(Looking::enter(&mut self.body, now, out));
        }
        self.record(&input);
        match self.route(now, input, out) {
            Routed::Mesh(heard) => {
                self.body.watch_link_setup();
                for heard in &heard {
                    self.change(|role, body| role.on_heard(body, now, heard, out));
                }
            }
            Routed::Unreachable => {
                self.body.watch_link_setup();
                self.change(|role, body| role.on_unreachable(body, now, out));
            }
            Routed::Role(input) => {
                self.change(|role, body| role.on_input(body, now, input, out));
            }
        }
        while let Some(timer) = self.body.timers.expire(now) {
            if timer == Timer::LinkSetup {
                self.body.mesh.on_link_setup(now, out);
                self.body.watch_link_setup();
            } else {
                self.change(|role, body| role.on_timer(body, now, timer, out));
            }
        }
    }

    fn standing(&self) -> Standing {
        let members = &self.body.config.members;
        let (activity, learners) = match &self.role {
            None | Some(Role::Looking(_)) => (Activity::Electing, None),
            Some(Role::Discovering(_)) => (Activity::Discovering, None),
            Some(Role::Synchronizing(_)) => (Activity::Synchronizing, None),
            Some(Role::Following(_) | Role::Observing(_)) => (Activity::Broadcasting, None),
            Some(Role::Leading(role)) => (role.activity(), Some(role.learners(members))),
        };
        Standing { activity, voters: members.quorum().voters().len(), learners }
    }

    fn change(&mut self, step: impl FnOnce(Role, &mut Body) -> Role) {
        let role = self.role.take().expect("a step leaves a role behind");
        self.role = Some(step(role, &mut self.body));
    }

    /// What the disk did is true in every role.
    fn record(&mut self, input: &Input) {
        let body = &mut self.body;
        match *input {
            Input::Appended { upto } => body.history.persisted(upto),
            Input::EpochsSaved(epochs) => {
                body.epochs = epochs;
                body.saving = body.saving.filter(|wanted| *wanted != epochs);
            }
            Input::Truncated { end, digest } => {
                body.rebuilding = false;
                body.history.truncated(end, digest);
            }
            Input::SnapshotInstalled { at, digest } => {
                body.rebuilding = false;
                body.trusted = true;
                body.history.replaced(at, digest);
            }
            Input::Distrust { end } => {
                body.trusted = false;
                body.history.truncated(end, None);
            }
            Input::Tick
            | Input::Propose(_)
            | Input::SnapshotSent { .. }
            | Input::Accepted { .. }
            | Input::Connected { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_)
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. }
            | Input::Abdicate => {}
        }
    }

    /// Election connections are nobody's role.
    fn route(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) -> Routed {
        let Body { mesh, config, .. } = &mut self.body;
        let mine = |link: LinkId| mesh.has(link);
        match input {
            Input::Accepted { link, port: Port::Election } => {
                mesh.on_accepted(link, now, out);
                Routed::Mesh(Vec::new())
            }
            Input::Connected { link } if mine(link) => {
                mesh.on_connected(link, out);
                Routed::Mesh(Vec::new())
            }
            Input::Received { link, bytes } if mine(link) => {
                let configured = |id| {
                    let member = config.members.member(id);
                    member.map(super::membership::Member::election_addresses).unwrap_or_default()
                };
                Routed::Mesh(mesh.on_received(link, &bytes, now, configured, out))
            }
            Input::Disconnected { link } if mine(link) => {
                mesh.on_disconnected(link);
                Routed::Unreachable
            }
            other => Routed::Role(other),
        }
    }
}

/// Where an input went.
enum Routed {
    Mesh(Vec<Heard>),
    /// An election connection ended, or did not come about.
    Unreachable,
    Role(Input),
}
