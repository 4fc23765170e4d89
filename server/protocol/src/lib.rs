//! ZooKeeper's client protocol, both directions: bytes in, borrowed records out, and back.
//!
//! A connection is a stream of frames ([`frame`]). The first frame each way is the handshake
//! ([`connect`]); every later one is a request ([`request`], [`write`]) or a reply or event
//! ([`reply`] writes them, [`answer`] reads them).
//!
//! **Invariant:** no IO, no state, no clock; decoding borrows and never panics, whatever the
//! bytes. Judging a request (paths, access lists, versions) is not done here, only what the bytes
//! alone decide: is it a record, and do opcode and flags go together.

pub mod answer;
pub mod connect;
pub mod frame;
pub mod names;
pub mod reply;
pub mod request;
pub mod write;

pub use answer::{Answer, MultiResult, ReplyHeader, ServerFrame, WatchEvent};
pub use connect::{ConnectRequest, ConnectResponse};
pub use frame::Split;
pub use names::Names;
pub use reply::MultiReply;
pub use request::{AddWatchMode, Class, ReadPart, Refusal, Request, RequestHeader, SetWatches};
pub use request::{WatcherType, classify};
pub use write::{decode_write, encode_write};

#[cfg(test)]
mod tests;
