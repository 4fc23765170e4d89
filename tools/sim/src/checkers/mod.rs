//! One guarantee per file. A checker sees what clients and the feed see, in true order, and says
//! what is wrong in words. Each has a test that doctors a history and sees it caught.

use engine::Version;
use model::{Epoch, SessionId, Zxid};
use protocol::{Answer, ReplyHeader, WatchEvent};
use replication::wire::packet::Packet;
use server::feed::CommitBatch;

use crate::client::Pending;
use crate::history::History;

mod acknowledged_is_durable;
mod agreed_runs;
mod bounded_queues;
mod committed_prefix;
mod committed_states;
mod converges;
mod digest_agrees;
mod durable_after_ack;
mod effects_match;
mod ephemeral_lifetime;
mod event_order;
mod multi_atomic;
mod one_leader_per_epoch;
mod own_writes;
mod proposed_once;
mod real_time_order;
mod reply_matches_version;
mod session_expiry;
mod session_fifo;
mod snapshot_equals_replay;
mod sync_sees_all;
mod together;
mod write_replies;
mod zxid_monotonic;

pub use converges::Converges;
pub use together::Together;

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A node published a batch; the history already holds it.
    Published {
        /// Node.
        node: usize,
        /// What its listener got.
        batch: &'a CommitBatch,
    },
    /// A client got a session, new or again.
    Attached {
        /// Client.
        client: usize,
        /// Session.
        session: SessionId,
        /// Granted timeout, ms.
        timeout_ms: i32,
    },
    /// A client's connection ended, by whomever.
    Dropped {
        /// Client.
        client: usize,
    },
    /// A client was answered. `answer` is `None` for errors.
    Replied {
        /// Client.
        client: usize,
        /// Its session.
        session: SessionId,
        /// Oldest request it was owed.
        pending: &'a Pending,
        /// Reply header.
        header: ReplyHeader,
        /// Body.
        answer: Option<&'a Answer<'a>>,
    },
    /// A client was told of a change.
    Event {
        /// Client.
        client: usize,
        /// What it was told.
        event: WatchEvent<'a>,
    },
    /// A node started from its disk; the history already holds the version.
    Recovered {
        /// Node.
        node: usize,
        /// State that its disk holds.
        version: &'a Version,
        /// State that its shards begin with: a member of an ensemble may have to take back more.
        first: &'a Version,
        /// Last transaction that it had published before.
        published_before: Zxid,
    },
    /// A state was made a second time, from files.
    Rebuilt {
        /// What it should be.
        from: &'a Version,
        /// What came out.
        rebuilt: &'a Version,
        /// In which way.
        how: &'static str,
    },
    /// A server said something to another on a quorum connection.
    Said {
        /// Who.
        from: usize,
        /// To whom.
        to: usize,
        /// What.
        packet: &'a Packet<'a>,
    },
    /// A learner said that it has something, and its disk was looked at in that moment.
    Acknowledged {
        /// Who.
        node: usize,
        /// What it said that it has; with the counter zero, a leader's history and epoch.
        zxid: Zxid,
        /// Where the history ends that its disk holds.
        durable: Zxid,
        /// The current epoch that its disk holds.
        epoch: Epoch,
    },
    /// Lengths of queues inside the node: links to the core, links to shards, largest outbox.
    Queues {
        /// Messages waiting for the core.
        to_core: usize,
        /// Messages waiting for shards.
        to_shards: usize,
        /// Bytes waiting for the slowest client.
        outbox: usize,
    },
}

/// Judges one guarantee.
pub trait Checker {
    /// The guarantee's name.
    fn name(&self) -> &'static str;

    /// Takes notice; an error ends the run.
    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(session_fifo::SessionFifo),
        Box::new(zxid_monotonic::ZxidMonotonic::default()),
        Box::new(reply_matches_version::ReplyMatchesVersion),
        Box::new(own_writes::OwnWrites::default()),
        Box::new(event_order::EventOrder::default()),
        Box::new(real_time_order::RealTimeOrder),
        Box::new(durable_after_ack::DurableAfterAck),
        Box::new(multi_atomic::MultiAtomic),
        Box::new(ephemeral_lifetime::EphemeralLifetime),
        Box::new(session_expiry::SessionExpiry::default()),
        Box::new(digest_agrees::DigestAgrees::default()),
        Box::new(effects_match::EffectsMatch::default()),
        Box::new(snapshot_equals_replay::SnapshotEqualsReplay),
        Box::new(write_replies::WriteReplies),
        Box::new(bounded_queues::BoundedQueues),
        Box::new(one_leader_per_epoch::OneLeaderPerEpoch::default()),
        Box::new(proposed_once::ProposedOnce::default()),
        Box::new(acknowledged_is_durable::AcknowledgedIsDurable::default()),
        Box::new(agreed_runs::AgreedRuns::default()),
        Box::new(committed_prefix::CommittedPrefix::default()),
        Box::new(committed_states::CommittedStates::default()),
        Box::new(sync_sees_all::SyncSeesAll),
    ]
}

#[cfg(test)]
pub(crate) mod doctored {
    //! Histories and sightings made by hand.

    use engine::draft::{Caller, Draft, Settings, Stamp};
    use engine::{Effects, Version};
    use model::{CreateMode, Op, OpCode, SessionId, Xid, Zxid, acl, op::Create};
    use protocol::ReplyHeader;

    use crate::client::{Asked, Pending};
    use crate::history::{Floor, History};

    /// A state machine to make histories with.
    pub(crate) struct Maker {
        draft: Draft,
        /// The history so far.
        pub(crate) history: History,
        zxid: Zxid,
    }

    impl Maker {
        pub(crate) fn new() -> Maker {
            let mut maker = Maker {
                draft: Draft::new(Settings::default()),
                history: History::of(1),
                zxid: Zxid::ZERO,
            };
            // Session 1 is there from the beginning.
            let caller = Caller { session: SessionId(1), identities: [].into() };
            let stamp = Stamp { zxid: Zxid::ZERO, cxid: 0, time_ms: 0 };
            let op = Op::CreateSession { timeout_ms: 4000 };
            maker.draft.execute(&op, &caller, stamp, &mut Effects::default());
            let version = maker.draft.freeze();
            maker.history.recover(0, &version);
            maker
        }

        pub(crate) fn run(&mut self, op: &Op<'_>, session: i64) -> (Version, Effects) {
            self.zxid = self.zxid.next();
            let mut effects = Effects::default();
            let caller = Caller { session: SessionId(session), identities: [].into() };
            let stamp = Stamp { zxid: self.zxid, cxid: 1, time_ms: 1000 };
            self.draft.execute(op, &caller, stamp, &mut effects);
            let version = self.draft.freeze();
            let segment = server::feed::Segment {
                version: version.clone(),
                effects: effects.clone(),
                entries: Vec::new(),
            };
            self.history.publish(0, &server::feed::CommitBatch { segments: vec![segment] });
            (version, effects)
        }

        pub(crate) fn create(&mut self, path: &str) -> Version {
            let open = acl::world(model::Perms::ALL);
            let op = Op::Create(Create {
                opcode: OpCode::Create,
                path: path.as_bytes(),
                data: Some(b"x"),
                acl: Some(&open),
                mode: CreateMode::Persistent,
                sequential: false,
            });
            self.run(&op, 1).0
        }
    }

    pub(crate) fn pending(opcode: OpCode, asked: Asked, floor: i64) -> Pending {
        let floor = Floor { here: Zxid(floor), anywhere: Zxid(floor) };
        Pending { xid: Xid(1), opcode, asked, floor }
    }

    pub(crate) fn header(xid: i32, zxid: i64, err: i32) -> ReplyHeader {
        ReplyHeader { xid: Xid(xid), zxid: Zxid(zxid), err }
    }
}
