//! The whole node under a deterministic world.
//!
//! A [`world::World`] holds the production `Core` and `Shard`s, a disk, a network and clients that
//! speak the real protocol. One seeded generator chooses every event. Checkers compare what
//! clients saw with the history that the node's own feed tells.
//!
//! **Invariant:** no clock, thread, socket, file, or unseeded hash: the same seed is the same
//! trace, byte for byte.

pub mod checkers;
pub mod client;
pub mod dice;
pub mod disk;
pub mod history;
pub mod network;
pub mod node;
pub mod peers;
pub mod shrink;
pub mod story;
pub mod swarm;
pub mod trace;
pub mod world;
