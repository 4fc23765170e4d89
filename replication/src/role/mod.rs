//! The roles: each state of the protocol is a type that consumes itself when it is left.
//!
//! ```text
//!                 +--------------- leader lost, limit passed -----------------+
//!                 v                                                           |
//!            Looking --- leader found ---> Discovering -> Synchronizing -> Following / Observing
//!              ^  |
//!              |  +----- elected --------> Leading (epoch, history, broadcast)
//!              +-- no quorum --------------+
//! ```

pub(crate) mod discovering;
pub(crate) mod following;
pub(crate) mod leading;
pub(crate) mod looking;
pub(crate) mod observing;
pub(crate) mod synchronizing;
pub(crate) mod telling;
pub(crate) mod uplink;

use std::fmt::Display;

use model::{Mono, ServerId};

use crate::body::Body;
use crate::input::Input;
use crate::mesh::Heard;
use crate::output::Output;
use crate::timers::Timer;
use crate::wire::WireError;

use discovering::Discovering;
use following::Following;
use leading::Leading;
use looking::Looking;
use observing::Observing;
use synchronizing::Synchronizing;

/// The current state.
#[derive(Debug)]
pub(crate) enum Role {
    Looking(Looking),
    Discovering(Discovering),
    Synchronizing(Box<Synchronizing>),
    Following(Box<Following>),
    Observing(Box<Observing>),
    Leading(Box<Leading>),
}

/// Why a peer cannot be talked to any longer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Bytes that mean nothing.
    #[error("bytes that cannot be understood: {0}")]
    Wire(#[from] WireError),
    /// A packet that must not come now, with what was wrong.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The leader offers entries for a state that was given up.
    #[error("this server needs a snapshot")]
    NeedsSnapshot,
}

/// Says why a leader is followed no longer.
pub(crate) fn left(leader: ServerId, why: impl Display) {
    tracing::warn!(leader = leader.0, "leaving the leader: {why}");
}

/// Why a leader is left that closed the connection, or whose connection broke.
pub(crate) const ENDED: &str = "its connection ended";
/// Why a leader is left that says nothing any more.
pub(crate) const SILENT: &str = "it was silent for too long";
/// Why a leader is left, or leadership, although the ensemble gives no reason.
pub(crate) const OWN_WISH: &str = "this server asks for it";

impl Role {
    pub(crate) fn on_input(
        self,
        body: &mut Body,
        now: Mono,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Role {
        match self {
            Role::Looking(role) => role.on_input(body, now, input, out),
            Role::Discovering(role) => role.on_input(body, now, input, out),
            Role::Synchronizing(role) => role.on_input(body, now, input, out),
            Role::Following(role) => role.on_input(body, now, input, out),
            Role::Observing(role) => role.on_input(body, now, input, out),
            Role::Leading(role) => role.on_input(body, now, input, out),
        }
    }

    pub(crate) fn on_timer(
        self,
        body: &mut Body,
        now: Mono,
        timer: Timer,
        out: &mut Vec<Output>,
    ) -> Role {
        match self {
            Role::Looking(role) => role.on_timer(body, now, timer, out),
            Role::Discovering(role) => role.on_timer(body, now, timer, out),
            Role::Synchronizing(role) => role.on_timer(body, now, timer, out),
            Role::Following(role) => role.on_timer(body, now, timer, out),
            Role::Observing(role) => role.on_timer(body, now, timer, out),
            Role::Leading(role) => role.on_timer(body, now, timer, out),
        }
    }

    /// An election connection ended or could not be established.
    pub(crate) fn on_unreachable(self, body: &mut Body, now: Mono, out: &mut Vec<Output>) -> Role {
        match self {
            Role::Looking(role) => role.on_unreachable(body, now, out),
            role @ (Role::Discovering(_)
            | Role::Synchronizing(_)
            | Role::Following(_)
            | Role::Observing(_)
            | Role::Leading(_)) => role,
        }
    }

    /// A vote arrived. Only a server that looks for a leader weighs it; the others say what they
    /// know.
    pub(crate) fn on_heard(
        self,
        body: &mut Body,
        now: Mono,
        heard: &Heard,
        out: &mut Vec<Output>,
    ) -> Role {
        match self {
            Role::Looking(role) => role.on_heard(body, now, heard, out),
            role @ (Role::Discovering(_)
            | Role::Synchronizing(_)
            | Role::Following(_)
            | Role::Observing(_)
            | Role::Leading(_)) => {
                looking::tell(body, now, heard, out);
                role
            }
        }
    }
}
