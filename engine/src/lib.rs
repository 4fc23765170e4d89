//! What the log determines, and the log itself. No threads, no clock, no sockets.
//!
//! - [`Draft`]: the one writer's working copy. It judges operations ([`Draft::execute`]), applies
//!   decided transactions ([`Draft::apply`]), and freezes into a [`Version`]. Each write operation
//!   is one file of `op`: its judgement beside its effect.
//! - [`Version`]: the state at one zxid, an immutable value that any thread may read for as long
//!   as it holds it.
//! - [`read`]: every read as a pure function over a version and the reader's credentials.
//! - [`restore`]: what must be stored beside the tree, and how the rest is derived from it.
//! - `log`: turns batches of entries into disk operations and completions into durable positions.
//! - `snapshot`: a version as pages on disk, and back without parsing.
//!
//! **Invariant:** nothing in this crate performs IO. Disk work leaves as a
//! [`disk::DiskOp`] and comes back as a [`disk::DiskDone`].

pub mod access;
pub mod digest;
pub mod disk;
pub mod draft;
pub mod effect;
pub mod epochs;
pub mod log;
pub(crate) mod op;
pub mod quota;
pub mod read;
pub mod recover;
pub mod restore;
pub mod snapshot;
pub mod state;
pub mod tree;

pub use draft::Draft;
pub use effect::{Change, Effect, Effects, Outcome};
pub use state::Version;
