//! A learner finds its leader's epoch: connect, introduce, promise (`zab-wire` 2.2, 2.3).

use std::fmt::Display;
use std::time::Duration;

use model::{Epoch, Mono, ServerId, Zxid};

use crate::body::{Body, Plant, send};
use crate::input::{Epochs, Input};
use crate::output::{LinkId, Output, Port};
use crate::role::looking::Looking;
use crate::role::synchronizing::{Found, Synchronizing};
use crate::role::{Broken, ENDED, OWN_WISH, Role, left};
use crate::timers::Timer;
use crate::wire::handshake::{LearnerCard, PROTOCOL_VERSION, WireOptions};
use crate::wire::packet::{Packet, PacketBuffer};

/// Attempts to connect to a leader before it is given up, within about 1.2 s. ZooKeeper makes five
/// in 0.5 s; but a ZooKeeper leader opens its port up to 200 ms after others may know that it won.
const ATTEMPTS: u32 = 51;
/// First pause between two attempts; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// Getting in touch with the elected leader.
#[derive(Debug)]
pub(crate) struct Discovering {
    leader: ServerId,
    attempts: u32,
    stage: Stage,
    packets: PacketBuffer,
    /// Agreed with the leader.
    options: WireOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The leader is not reachable yet.
    Pausing,
    Dialing(LinkId),
    /// Introduced; the leader's epoch is awaited.
    Introduced(LinkId),
    /// The promise is on its way to the disk.
    Promising(LinkId, Epoch),
}

impl Discovering {
    pub(crate) fn enter(
        leader: ServerId,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        body.timers.set(Timer::Barrier, now + body.init_limit());
        let (packets, options) = (PacketBuffer::default(), WireOptions::NONE);
        let role = Discovering { leader, attempts: 0, stage: Stage::Pausing, packets, options };
        role.dial(body, now, out)
    }

    fn dial(mut self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        let member = body.config.members.member(self.leader);
        let to = member.map(super::super::membership::Member::quorum_addresses).unwrap_or_default();
        if self.attempts == ATTEMPTS || to.is_empty() {
            left(self.leader, "it cannot be reached");
            return Looking::enter(body, now, out);
        }
        self.attempts += 1;
        let link = body.mesh.new_link();
        self.stage = Stage::Dialing(link);
        out.push(Output::Dial { link, peer: self.leader, port: Port::Quorum, to });
        Role::Discovering(self)
    }

    fn link(&self) -> Option<LinkId> {
        match self.stage {
            Stage::Pausing => None,
            Stage::Dialing(link) | Stage::Introduced(link) | Stage::Promising(link, _) => {
                Some(link)
            }
        }
    }

    fn give_up(self, why: impl Display, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        left(self.leader, why);
        if let Some(link) = self.link() {
            out.push(Output::Close { link });
        }
        Looking::enter(body, now, out)
    }

    pub(crate) fn on_input(
        mut self,
        body: &mut Body,
        now: Mono,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Role {
        match input {
            Input::Connected { link } if self.stage == Stage::Dialing(link) => {
                self.stage = Stage::Introduced(link);
                introduce(link, body, out);
                Role::Discovering(self)
            }
            Input::Disconnected { link } if self.stage == Stage::Dialing(link) => {
                self.stage = Stage::Pausing;
                let pause = PAUSE_MIN * (1 << self.attempts.min(8)) / 2;
                body.timers.set(Timer::Redial, now + pause.min(PAUSE_MAX));
                Role::Discovering(self)
            }
            Input::Disconnected { link } if self.link() == Some(link) => {
                left(self.leader, ENDED);
                Looking::enter(body, now, out)
            }
            Input::Received { link, bytes } if self.link() == Some(link) => {
                self.packets.push(&bytes);
                match self.stage {
                    Stage::Introduced(link) => self.on_leader_info(link, body, now, out),
                    Stage::Pausing | Stage::Dialing(_) | Stage::Promising(..) => {
                        Role::Discovering(self)
                    }
                }
            }
            Input::EpochsSaved(_) => match self.stage {
                Stage::Promising(link, epoch) if body.saving.is_none() => {
                    self.acknowledge(link, epoch, body, now, out)
                }
                Stage::Pausing
                | Stage::Dialing(_)
                | Stage::Introduced(_)
                | Stage::Promising(..) => Role::Discovering(self),
            },
            Input::Connected { link } | Input::Accepted { link, .. } => {
                out.push(Output::Close { link });
                Role::Discovering(self)
            }
            Input::Abdicate | Input::Distrust { .. } => self.give_up(OWN_WISH, body, now, out),
            Input::Tick
            | Input::Propose(_)
            | Input::Appended { .. }
            | Input::Truncated { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Received { .. }
            | Input::Disconnected { .. }
            | Input::Forward(_)
            | Input::Revalidate { .. }
            | Input::Touches(_)
            | Input::SyncReached { .. }
            | Input::RevalidatedFor { .. } => Role::Discovering(self),
        }
    }

    pub(crate) fn on_timer(
        self,
        body: &mut Body,
        now: Mono,
        timer: Timer,
        out: &mut Vec<Output>,
    ) -> Role {
        match timer {
            Timer::Redial => self.dial(body, now, out),
            Timer::Barrier => self.give_up("it named no epoch within initLimit", body, now, out),
            Timer::Notify
            | Timer::Finalize
            | Timer::ReadLimit
            | Timer::HalfTick
            | Timer::LinkSetup => Role::Discovering(self),
        }
    }

    /// The leader names its epoch; nothing may be acknowledged before the promise is durable.
    fn on_leader_info(
        mut self,
        link: LinkId,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        let epoch = match self.packets.next(body.config.data_bytes_max) {
            Ok(None) => return Role::Discovering(self),
            Ok(Some(Packet::LeaderInfo { zxid, options, .. })) => {
                self.options = options.both(body.config.wire_options);
                Ok(zxid.epoch())
            }
            Ok(Some(_)) => Err(Broken::Unexpected("the leader must name its epoch first")),
            Err(error) => Err(error.into()),
        };
        match epoch {
            Ok(epoch) if epoch > body.epochs.accepted => {
                self.stage = Stage::Promising(link, epoch);
                let current = body.epochs.current;
                body.save_epochs(Epochs { accepted: epoch, current }, out);
                if body.planted(Plant::EpochNotSaved) {
                    self.acknowledge(link, epoch, body, now, out)
                } else {
                    Role::Discovering(self)
                }
            }
            Ok(epoch) if epoch == body.epochs.accepted => {
                let told = body.position();
                send(link, &Packet::AckEpoch { zxid: told, epoch: -1 }, out);
                Synchronizing::enter(self.found(link, epoch, told), body, now, out)
            }
            Ok(epoch) => {
                let promised = body.epochs.accepted;
                let why = format!("its {epoch:?} is before {promised:?}, promised to another");
                self.give_up(why, body, now, out)
            }
            Err(broken) => self.give_up(broken, body, now, out),
        }
    }

    fn acknowledge(
        self,
        link: LinkId,
        epoch: Epoch,
        body: &mut Body,
        now: Mono,
        out: &mut Vec<Output>,
    ) -> Role {
        let current = body.epochs.current.0 as i32;
        // The end of the log even if the state is not relied on: the promise counts, and a leader
        // that has less must be told. What is asked for instead of DIFF or TRUNC is a snapshot.
        let told = body.end();
        send(link, &Packet::AckEpoch { zxid: told, epoch: current }, out);
        Synchronizing::enter(self.found(link, epoch, told), body, now, out)
    }

    fn found(self, link: LinkId, epoch: Epoch, told: Zxid) -> Found {
        let Discovering { leader, packets, options, .. } = self;
        Found { leader, link, epoch, packets, options, told }
    }
}

fn introduce(link: LinkId, body: &Body, out: &mut Vec<Output>) {
    let learner = LearnerCard {
        server: i64::from(body.me().0),
        protocol: PROTOCOL_VERSION,
        config_version: body.config.members.version(),
        options: body.config.wire_options,
    };
    let zxid = Zxid::new(body.epochs.accepted, 0);
    let packet = if body.config.members.is_observer(body.me()) {
        Packet::ObserverInfo { zxid, learner }
    } else {
        Packet::FollowerInfo { zxid, learner }
    };
    send(link, &packet, out);
}
