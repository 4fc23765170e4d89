//! What a replica can be told.

use model::{Batch, SessionId, Zxid};

use crate::output::{LinkId, Port};

/// The two durable epoch numbers. `accepted >= current` always holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    /// Greatest epoch this server has promised to take part in (ZooKeeper's `acceptedEpoch`).
    pub accepted: model::Epoch,
    /// Epoch of the last leader whose history this server took over (`currentEpoch`).
    pub current: model::Epoch,
}

/// What recovery found on this server's disk.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// The epochs; zero on a server that never took part.
    pub epochs: Epochs,
    /// zxid of the snapshot (or of whatever comes directly before `tail`).
    pub snapshot: Zxid,
    /// Digest of the state there, if known.
    pub digest: Option<u64>,
    /// Log entries that follow `snapshot`, without a gap inside an epoch. As many as recovery
    /// cares to hand over: they save learners a snapshot transfer.
    pub tail: Vec<Batch>,
    /// What is known to be committed. Zero is always right; a snapshot received from a leader is
    /// not known to be committed before this server was told that it is up to date.
    pub committed: Zxid,
    /// False if this history must not be relied upon (an operator's restore, a truncation that
    /// did not end where it should): the server cannot be elected until a leader sent it
    /// a snapshot.
    pub trusted: bool,
}

/// A client's write or sync on its way between a learner and the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Session that asks.
    pub session: SessionId,
    /// The request's number in that session.
    pub cxid: i32,
    /// Operation number.
    pub opcode: i32,
    /// The client's request record, verbatim. Learners must have parsed it completely before
    /// they forward it (`zab-wire` F-20).
    pub body: Vec<u8>,
    /// Scheme and id of each authenticated identity.
    pub auth: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a replica can be told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; at the latest when `Replica::next_deadline` is reached.
    Tick,
    /// The leader's caller proposes transactions; they must continue the order of this epoch.
    /// Dropped unless leading, which `Output::RoleChanged` tells.
    Propose(Batch),
    /// Everything appended up to here is durable in the own log.
    Appended {
        /// Last durable entry.
        upto: Zxid,
    },
    /// Answer to `Output::SaveEpochs`: durable now.
    EpochsSaved(Epochs),
    /// Answer to `Output::TruncateTo`: the log was cut durably.
    Truncated {
        /// Where it ends now. Less than asked for means the log did not contain that entry.
        end: Zxid,
        /// Digest of the state there, if known.
        digest: Option<u64>,
    },
    /// Answer to `Output::InstallSnapshot`: durable now, and everything older is gone.
    SnapshotInstalled {
        /// Its zxid.
        at: Zxid,
        /// Digest of the state, if known.
        digest: Option<u64>,
    },
    /// Answer to `Output::SendSnapshot`: the last byte of the stream was written.
    SnapshotSent {
        /// The learner's connection.
        link: LinkId,
    },
    /// Somebody connected to one of our ports. The id is chosen by the caller
    /// ([`LinkId::accepted`]). Transport security is complete.
    Accepted {
        /// The new connection.
        link: LinkId,
        /// Where.
        port: Port,
    },
    /// Answer to `Output::Dial`: connected, transport security complete.
    Connected {
        /// As given in `Output::Dial`.
        link: LinkId,
    },
    /// Bytes arrived.
    Received {
        /// From there.
        link: LinkId,
        /// In order, cut anywhere.
        bytes: Vec<u8>,
    },
    /// A connection ended or could not be established. Not needed after `Output::Close`.
    Disconnected {
        /// Which.
        link: LinkId,
    },
    /// A learner's caller has a client's write or sync for the leader. Dropped unless following
    /// or observing.
    Forward(Request),
    /// A learner's caller asks whether a session that moved here is alive; dropped likewise.
    Revalidate {
        /// Which.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// Answer to `Output::CollectTouches`: the sessions heard from since the last time.
    Touches(Vec<(SessionId, i32)>),
    /// Leader: every request that this learner sent before a sync has been judged and, if it
    /// changes anything, proposed. Answered to the learner when all of that is committed.
    SyncReached {
        /// The learner's connection, as in `Output::Forwarded`.
        learner: LinkId,
    },
    /// Leader: answer to `Output::RevalidateFor`.
    RevalidatedFor {
        /// The learner's connection.
        learner: LinkId,
        /// Which session.
        session: SessionId,
        /// Tracked and not closing.
        valid: bool,
    },
    /// Give up leading or following and elect anew.
    Abdicate,
    /// The state that follows from the history differs from the leader's: appended batches from
    /// the last one on were not logged, and this server cannot be elected until a leader sent it a
    /// snapshot. It votes for whoever has all that it acknowledged.
    Distrust {
        /// Where the own log ends.
        end: Zxid,
    },
}
