//! What administrators ask, and the answers in ZooKeeper's words.
//!
//! **Invariant:** nothing here asks or waits: facts in, text out. Gathering is the core's part.

pub mod command;
pub mod four_letter;
pub mod http;
mod json;
pub mod metrics;
mod prometheus;

use std::fmt;
use std::sync::Arc;

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
fn answer(question: Question, facts: &CoreFacts, reports: &[ShardReport]) -> Vec<u8> {
    match question {
        Question::Word(word) => four_letter::text(word, facts, reports),
        Question::Command(command) => json::answer(command, facts, reports),
        Question::Metrics => prometheus::text(facts, reports).into_bytes(),
    }
}

/// The answer while the server does not serve, or has too many questions already.
fn refusal(question: Question) -> Vec<u8> {
    match question {
        Question::Word(_) | Question::Metrics => four_letter::NOT_SERVING.into(),
        Question::Command(command) => {
            json::failure(command.name(), four_letter::NOT_SERVING.trim_end())
        }
    }
}

/// Texts that stay the same while the server runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    /// Version line, after `Zookeeper version: `.
    pub version: String,
    /// Text of `conf`, without the sizes of directories.
    pub conf: String,
    /// Text of `envi`.
    pub envi: String,
    /// The configuration file as it was read, without what must stay secret.
    pub file: String,
    /// Where clients connect.
    pub client_address: String,
}

/// The core's part of an answer. It borrows nothing, so that long answers can be written elsewhere.
#[derive(Clone)]
pub struct CoreFacts {
    /// What does not change.
    pub texts: Arc<Texts>,
    /// This server.
    pub server: ServerId,
    /// The ensemble that it belongs to.
    pub members: Option<Membership>,
    /// What `stmk` set.
    pub trace_mask: i64,
    /// What this server is.
    pub role: RoleKind,
    /// State after the last committed batch.
    pub state: Version,
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
    pub digests: Vec<(Zxid, u64)>,
    /// What the machine knows.
    pub host: HostFacts,
    /// What the core measured.
    pub measured: metrics::CoreMetrics,
}

/// All that an answer is made of. For some questions it is long: it is written by who asked, not by
/// the core.
#[derive(Clone)]
pub struct Material {
    /// What was asked.
    pub question: Question,
    /// The core's part; none while the server does not serve, or has too many questions already.
    pub facts: Option<CoreFacts>,
    /// The shards' parts, in their order.
    pub reports: Vec<ShardReport>,
}

impl Material {
    /// The answer.
    pub fn answer(&self) -> Vec<u8> {
        match &self.facts {
            Some(facts) => answer(self.question, facts, &self.reports),
            None => refusal(self.question),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("question", &self.question).finish_non_exhaustive()
    }
}
