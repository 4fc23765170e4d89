//! How far one learner is: the leader's side of its connection.

use model::{Mono, ServerId, Zxid};

use crate::wire::handshake::WireOptions;
use crate::wire::packet::PacketBuffer;

/// What a learner's connection is at. In order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    /// Nothing was said yet.
    Greeting,
    /// Introduced; the epoch is not decided.
    AwaitingEpoch,
    /// Was told the epoch.
    Promising,
    /// Promised; the leader has no quorum of promises yet.
    Promised,
    /// Gets the history; its acknowledgement of NEWLEADER is awaited.
    Syncing,
    /// Has the history durably; the leader is not established yet.
    Synced,
    /// Gets everything as it happens.
    Active,
}

/// One learner's connection.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Who it says it is; unknown before it introduced itself.
    pub(crate) server: Option<ServerId>,
    pub(crate) observer: bool,
    /// What it and this server agreed on beyond ZooKeeper's protocol.
    pub(crate) options: WireOptions,
    pub(crate) stage: Stage,
    pub(crate) packets: PacketBuffer,
    /// End of its log as it said in ACKEPOCH.
    pub(crate) position: Zxid,
    /// It was sent everything up to here.
    pub(crate) sent: Zxid,
    /// When it must have spoken, while it is its turn.
    pub(crate) deadline: Option<Mono>,
    /// A proposal it has not acknowledged, and since when; one at a time.
    pub(crate) oldest: Option<(Zxid, Mono)>,
}

impl Progress {
    pub(crate) fn new(deadline: Mono) -> Progress {
        Progress {
            server: None,
            observer: false,
            options: WireOptions::NONE,
            stage: Stage::Greeting,
            packets: PacketBuffer::default(),
            position: Zxid::ZERO,
            sent: Zxid::ZERO,
            deadline: Some(deadline),
            oldest: None,
        }
    }

    /// True if its proposals and acknowledgements flow.
    pub(crate) fn is_active_follower(&self) -> bool {
        self.stage == Stage::Active && !self.observer
    }

    /// Starts watching a proposal unless an earlier one is watched.
    pub(crate) fn proposed(&mut self, zxid: Zxid, now: Mono) {
        self.oldest = self.oldest.or(Some((zxid, now)));
    }

    /// It acknowledged; the next proposal it owes is watched from now on.
    pub(crate) fn acknowledged(&mut self, zxid: Zxid, proposed: Zxid, now: Mono) {
        if self.oldest.is_some_and(|(oldest, _)| oldest <= zxid) {
            self.oldest = (zxid < proposed).then_some((zxid.next(), now));
        }
    }

    /// True if it should have spoken or acknowledged by now.
    pub(crate) fn is_late(&self, now: Mono, sync_limit: std::time::Duration) -> bool {
        self.deadline.is_some_and(|at| at < now)
            || self.oldest.is_some_and(|(_, since)| now.since(since) > sync_limit)
    }
}
