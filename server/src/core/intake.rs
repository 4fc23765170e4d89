//! What the shards asked for and was not executed yet, in order of arrival.
//!
//! Usually empty after every input. It fills only while the pipeline is full, and is bounded by
//! the shards' credit: a shard has at most `limits::SHARD_SUBMITS_MAX` unanswered requests.

use std::collections::VecDeque;

use model::SessionId;
use replication::{LinkId, Request};

use crate::link::{ConnId, Submit, Submits};

/// Something to execute.
pub(super) enum Work {
    /// A shard's writes.
    Writes {
        /// Their bodies.
        bytes: Vec<u8>,
        /// Those still to execute.
        list: std::vec::IntoIter<Submit>,
    },
    /// A new session for a connection, with the timeout it asked for.
    NewSession { conn: ConnId, timeout_ms: i32 },
    /// A write or sync of a learner's client.
    Forwarded { learner: LinkId, request: Request },
    /// A session that is gone and left ephemerals.
    Orphaned(SessionId),
}

impl Work {
    pub(super) fn writes(submits: Submits) -> Work {
        Work::Writes { bytes: submits.bytes, list: submits.list.into_iter() }
    }

    /// About how many bytes the next piece adds to the log; none if nothing is left.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        match self {
            Work::Writes { list, .. } => list.as_slice().first().map(|submit| submit.body.len()),
            Work::Forwarded { request, .. } => Some(request.body.len()),
            Work::NewSession { .. } | Work::Orphaned(_) => Some(0),
        }
    }
}

/// The queue.
pub(super) type Intake = VecDeque<Work>;
