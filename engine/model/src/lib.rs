//! The vocabulary every other crate shares: numbers that must not be swapped, ZooKeeper's one
//! byte encoding, paths, access lists, operations, transactions, events and error codes.
//!
//! **Invariant:** nothing here owns state, allocates per request without need, or knows of
//! sockets, files, clocks or threads. Text that came from a client stays *bytes*: ZooKeeper's
//! writers emit CESU-8, which is not always valid UTF-8 (`zab-wire` 0.1).

pub mod acl;
pub mod batch;
pub mod error;
pub mod event;
pub mod id;
pub mod jute;
pub mod op;
pub mod path;
pub mod stat;
pub mod time;
pub mod txn;
pub mod zxid;

pub use acl::{Acl, AuthId, Perms};
pub use batch::Batch;
pub use error::ErrorCode;
pub use event::EventKind;
pub use id::{ServerId, SessionId, Xid};
pub use op::{CreateMode, Op, OpCode};
pub use stat::Stat;
pub use time::{Mono, Now};
pub use txn::{Txn, TxnDigest, TxnHeader};
pub use zxid::{Epoch, Zxid};
