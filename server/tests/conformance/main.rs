//! The real process, driven by a client written elsewhere (the `zookeeper-client` crate) and by raw
//! sockets where that client is too polite.

mod admin;
mod api;
mod bad_input;
mod crash;
mod failed_write;
mod limits;
mod node;
mod ordering;
mod raw;
mod sessions;
mod watches;

// Linked for its side: it lets the foreign client start its tasks on tokio.
use spawns as _;
