//! ZooKeeper's atomic broadcast as a pure state machine over (zxid, opaque transaction bytes).
//! It knows no znode, no disk, no clock, no socket.

// Lets the simulated ensemble of `tests/` be used by unit tests as well.
#[cfg(test)]
extern crate self as replication;

mod body;
pub mod election;
pub mod history;
pub mod input;
pub mod membership;
mod mesh;
pub mod output;
#[cfg(test)]
mod planted;
mod progress;
pub mod quorum;
mod replica;
mod role;
pub mod timers;
pub mod wire;

pub use body::ReplicaConfig;
pub use history::Retention;
pub use input::{Durable, Epochs, Input, Request};
pub use membership::{Address, Member, Membership, MembershipError, PeerAddress};
pub use output::{Bytes, LinkId, Output, Port, RoleKind};
pub use replica::Replica;
