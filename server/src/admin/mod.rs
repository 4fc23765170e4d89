//! What administrators ask, and the answers in ZooKeeper's words.
//!
//! **Invariant:** nothing here asks or waits: facts in, text out. Gathering is the core's part.

pub mod command;
pub mod four_letter;
pub mod http;
mod json;
pub mod metrics;
mod prometheus;

use engine::Version;
use model::{ServerId, SessionId, Zxid};
use replication::{Membership, RoleKind, Standing};

use crate::link::ShardReport;
use command::Question;

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
    /// Position of the newest snapshot on disk, and when it was written, s since 1970.
    pub last_snapshot: Option<(Zxid, i64)>,
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EnsembleFacts {
    /// What its replica is doing.
    pub standing: Standing,
    /// Observers that a leader keeps up to date.
    pub observers: Vec<ServerId>,
    /// How long it has been leading, ms; none if it does not.
    pub leading_ms: Option<u64>,
    /// Bytes of the transactions that it has proposed.
    pub proposal_bytes: metrics::Sizes,
}

/// The answer to a question. `reports` are the shards', in their order.
pub fn answer(question: Question, facts: &CoreFacts<'_>, reports: &[ShardReport]) -> Vec<u8> {
    match question {
        Question::Word(word) => four_letter::text(word, facts, reports),
        Question::Command(command) => json::answer(command, facts, reports),
        Question::Metrics => prometheus::text(facts, reports).into_bytes(),
    }
}

/// The answer while the server does not serve, or has too many questions already.
pub fn refusal(question: Question) -> Vec<u8> {
    match question {
        Question::Word(_) | Question::Metrics => four_letter::NOT_SERVING.into(),
        Question::Command(command) => {
            json::failure(command.name(), four_letter::NOT_SERVING.trim_end())
        }
    }
}

/// The core's part of an answer.
pub struct CoreFacts<'a> {
    /// Version line, after `Zookeeper version: `.
    pub version_text: &'a str,
    /// Text of `conf`, without the sizes of directories.
    pub conf_text: &'a str,
    /// Text of `envi`.
    pub envi_text: &'a str,
    /// The configuration file as it was read, without what must stay secret.
    pub file_text: &'a str,
    /// Where clients connect.
    pub client_address: &'a str,
    /// This server.
    pub server: ServerId,
    /// The ensemble that it belongs to.
    pub members: Option<&'a Membership>,
    /// What `stmk` set.
    pub trace_mask: i64,
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
