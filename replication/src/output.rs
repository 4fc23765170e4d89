//! What a replica wants done. The caller carries outputs out in order; each says what must have
//! happened before it.

use std::sync::Arc;

use model::{Batch, Epoch, ServerId, SessionId, Zxid};

use crate::input::{Epochs, Request};
use crate::membership::Address;

/// A connection to another server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(u64);

impl LinkId {
    /// For the caller: the n-th accepted connection. Never reused within a process.
    pub fn accepted(n: u64) -> LinkId {
        LinkId(n << 1)
    }

    /// For the replica: the n-th connection it asked for.
    pub(crate) fn dialed(n: u64) -> LinkId {
        LinkId(n << 1 | 1)
    }
}

/// A server's two ports for its fellow servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// Votes; open for the whole life of the process.
    Election,
    /// History and broadcast; open only between `Listen { open: true }` and `false`.
    Quorum,
}

/// Bytes that may be on their way to several peers at once.
pub type Bytes = Arc<[u8]>;

/// What a replica wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Append to the own log; report `Input::Appended` when durable. Batches follow each other in
    /// zxid order.
    Append(Batch),
    /// Everything up to here is committed, and durable here: apply (followers), publish, answer.
    Commit {
        /// Last committed entry.
        upto: Zxid,
    },
    /// The role changed. A leader may propose from now on, with zxids of this epoch. On `Looking`
    /// nothing further is answered: proposals and forwarded requests in flight are of unknown
    /// fate, and appended entries may still be cut off.
    RoleChanged(RoleKind),
    /// Make the epochs durable, then report `Input::EpochsSaved`. Only after everything appended,
    /// truncated or installed by earlier outputs is durable.
    SaveEpochs(Epochs),
    /// Cut the own log after this entry, durably, with every snapshot above it; go back to a state
    /// at or before it; then report `Input::Truncated`.
    TruncateTo {
        /// Last entry to keep.
        to: Zxid,
    },
    /// The leader begins to send its state: start an empty state beside the own one.
    SnapshotBegin {
        /// The stream contains at least everything up to here.
        at: Zxid,
    },
    /// Bytes of ZooKeeper's snapshot stream (`zab-wire` 2.8), cut anywhere.
    SnapshotPiece(Vec<u8>),
    /// The stream is complete, with its signature.
    SnapshotEnd,
    /// Apply to the received state. Entries may be older than the stream's zxid and may fail:
    /// a ZooKeeper leader's stream is taken while it works (`zab-wire` 4.4).
    SnapshotReplay(Batch),
    /// The received state, with everything replayed, is the history up to `at`: make it durable,
    /// atomically replacing the log and all snapshots, and use it; then report
    /// `Input::SnapshotInstalled`.
    InstallSnapshot {
        /// zxid it gets.
        at: Zxid,
    },
    /// Learner, before it serves: the state after the entry `at` is exact (a received one may have
    /// been ahead of its position until then), and the entries up to it are all ordered by now or
    /// will be next. Compare; if it differs, report `Input::Distrust`.
    Exact {
        /// The last committed entry of the leader's history.
        at: Zxid,
        /// Digest of the leader's tree after it, if the leader says.
        digest: Option<u64>,
    },
    /// The transfer broke off: drop the received state, the own one stays.
    SnapshotAbandoned,
    /// Open or close the quorum port.
    Listen {
        /// Open it.
        open: bool,
    },
    /// Connect; report `Input::Connected`, or `Input::Disconnected` if that fails.
    Dial {
        /// Id the connection shall have.
        link: LinkId,
        /// Whom.
        peer: ServerId,
        /// Where.
        port: Port,
        /// Alternatives; the first that answers. Resolve names anew each time.
        to: Vec<Address>,
    },
    /// Write, in one piece where it fits, after everything sent there before. A caller whose
    /// queue for a link exceeds its bound ends the link.
    Send {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// Write the state at exactly `at` as ZooKeeper's snapshot stream, before anything that is sent
    /// there later; then report `Input::SnapshotSent`. `at` is the end of the last batch that is
    /// committed as a whole; or, before this leader is established, the last entry of the own log.
    SendSnapshot {
        /// Where.
        link: LinkId,
        /// Which state.
        at: Zxid,
    },
    /// End a connection after writing what was sent there.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Leader: a learner forwards a client's write or sync (opcode 9). Judge it in the order
    /// received; answer a sync with `Input::SyncReached`.
    Forwarded {
        /// The learner's connection: owner of the session.
        learner: LinkId,
        /// The learner.
        server: Option<ServerId>,
        /// What.
        request: Request,
    },
    /// Leader: a session moved to that learner; answer with `Input::RevalidatedFor`.
    RevalidateFor {
        /// The learner's connection: new owner of the session if it is valid.
        learner: LinkId,
        /// Which session.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// Leader: a learner heard from these sessions. Unknown or closing ones are ignored.
    Touched {
        /// Session and timeout in ms.
        sessions: Vec<(SessionId, i32)>,
    },
    /// Leader: a learner is gone, and with it the answers it would have got.
    LearnerLost {
        /// Its connection.
        learner: LinkId,
    },
    /// Learner: answer with `Input::Touches` at once; an empty list is an answer too.
    CollectTouches,
    /// Learner: the oldest sync forwarded and not answered is done; everything it must wait for
    /// was reported as `Commit` before.
    Synced,
    /// Learner: answer to `Input::Revalidate`.
    Revalidated {
        /// Which session.
        session: SessionId,
        /// Alive.
        valid: bool,
    },
    /// Committed history is missing or contradicts itself: this server must stop.
    Halt(String),
}

/// What a server is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleKind {
    /// Searching for a leader, or not yet at its history's end.
    Looking,
    /// The only member: leads without an election, in the epoch of its last transaction.
    Standalone,
    /// Leads this epoch.
    Leading(Epoch),
    /// Follows a leader.
    Following(ServerId, Epoch),
    /// Observes a leader.
    Observing(ServerId, Epoch),
}
