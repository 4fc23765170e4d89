//! A Ringkeeper node: sessions, connections, watches, the ordering core, and the runtime skin.
//!
//! `core` and `shard` are plain structs that the runtime and the simulator drive alike. They do
//! not know each other: both speak [`link`] and [`feed`]. Only `runtime` touches the machine.

pub mod admin;
pub mod admission;
pub mod config;
pub mod core;
pub mod feed;
pub mod limits;
pub mod link;
pub mod peer;
pub mod runtime;
pub mod shard;
