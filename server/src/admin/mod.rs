//! What administrators ask, and the answers in ZooKeeper's words.
//!
//! **Invariant:** nothing here asks or waits: facts in, text out. Gathering is the core's part.

pub mod four_letter;
pub mod metrics;

use engine::Version;
use model::{SessionId, Zxid};
use replication::{RoleKind, Standing};

/// What only the machine knows; refreshed about once a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostFacts {
    /// Bytes of all files in the snapshot directory.
    pub data_dir_bytes: u64,
    /// Bytes of all files in the log directory.
    pub log_dir_bytes: u64,
    /// Open file descriptors of this process.
    pub open_fds: u64,
    /// Most it may open.
    pub max_fds: u64,
    /// Clients turned away since start because there were too many.
    pub connections_rejected: u64,
}

/// Sessions that expire at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSet {
    /// Wall clock, ms.
    pub expires_ms: i64,
    /// Which.
    pub sessions: Vec<SessionId>,
}

/// A member's part in its ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EnsembleFacts {
    /// What its replica is doing.
    pub standing: Standing,
    /// How long it has been leading, ms; none if it does not.
    pub leading_ms: Option<u64>,
    /// Bytes of the transactions that it has proposed.
    pub proposal_bytes: metrics::Sizes,
}

/// The core's part of an answer.
pub struct CoreFacts<'a> {
    /// Version line, after `Zookeeper version: `.
    pub version_text: &'a str,
    /// Text of `conf`, without the sizes of directories.
    pub conf_text: &'a str,
    /// What this server is.
    pub role: RoleKind,
    /// State after the last committed batch.
    pub state: &'a Version,
    /// Since start, ms.
    pub uptime_ms: u64,
    /// Live sessions, by expiry; only for `dump`.
    pub session_sets: Vec<SessionSet>,
    /// Live sessions.
    pub session_count: u64,
    /// Sessions that only this server knows.
    pub local_sessions: u64,
    /// What only a member of an ensemble can tell.
    pub ensemble: Option<EnsembleFacts>,
    /// Digests by zxid, oldest first.
    pub digests: &'a [(Zxid, u64)],
    /// What the machine knows.
    pub host: HostFacts,
    /// What the core measured.
    pub measured: metrics::CoreMetrics,
}
