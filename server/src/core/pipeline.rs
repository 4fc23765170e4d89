//! The way of a write through the core: executed on the head, collected in the open batch,
//! proposed, appended to the log, committed, published.

use engine::disk::DiskDone;
use engine::draft::{Caller, Stamp};
use engine::log::{Log, LogFact};
use engine::{Draft, Outcome, Version};
use model::{Now, Op, Zxid};
use replication::{Input, Output, Replica, RoleKind};

use super::CoreOutputs;
use super::administration::DigestHistory;
use super::apply::Publication;
use super::batcher::Batcher;
use super::speculate::Head;
use crate::admin::metrics::Summary;
use crate::feed::{Completion, Publisher};
use crate::link::{ShardId, ToShard};
use crate::peer::{PeerEvent, PeerOrder};

/// What [`Pipeline::disk`] found out beside durability.
pub(super) enum Finding {
    /// The log cannot grow.
    OutOfSpace,
    /// The log can grow again.
    SpaceBack,
}

/// Head, open batch, log, replica and feed, joined in the one order that is right.
pub(super) struct Pipeline {
    shards: u16,
    head: Head,
    batcher: Batcher,
    log: Log,
    replica: Replica,
    publication: Publication,
    role: RoleKind,
    proposed: u64,
    batch_sizes: Summary,
    digests: DigestHistory,
    /// Why the node must end.
    halt: Option<String>,
    orders: Vec<Output>,
    facts: Vec<LogFact>,
}

impl Pipeline {
    pub(super) fn new(shards: u16, draft: Draft, log: Log, feed: Publisher) -> Pipeline {
        let last = draft.tables().zxid.max(log.appended());
        let mut head = Head::new(draft, last);
        let publication = Publication::new(feed, head.version());
        Pipeline {
            shards,
            head,
            batcher: Batcher::default(),
            log,
            replica: Replica::standalone(last),
            publication,
            role: RoleKind::Looking,
            proposed: 0,
            batch_sizes: Summary::default(),
            digests: DigestHistory::default(),
            halt: None,
            orders: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// Makes room for a write of about so many bytes; false if it has to wait.
    pub(super) fn make_room(&mut self, now: Now, bytes: usize, out: &mut CoreOutputs) -> bool {
        if !self.fits(bytes) {
            self.close(now, out);
        }
        self.halt.is_none() && self.fits(bytes)
    }

    fn fits(&self, bytes: usize) -> bool {
        // A batch never spans two epochs.
        let next = self.head.next().is_none_or(|next| self.batcher.continues(next));
        next && !self.batcher.is_full(bytes)
    }

    /// Executes a write. There must be room.
    pub(super) fn write(
        &mut self,
        now: Now,
        op: &Op<'_>,
        who: &Caller,
        cxid: i32,
        completion: impl FnOnce(Outcome) -> Option<Completion>,
    ) {
        let Some(zxid) = self.head.next() else {
            self.halt = Some("all transaction ids are used up; restore into a new ensemble".into());
            return;
        };
        let at = Stamp { zxid, cxid, time_ms: now.wall_ms };
        let mut decided = self.head.execute(op, who, at, &mut self.batcher.effects);
        let outcome = std::mem::replace(&mut decided.outcome, Outcome::Done);
        self.batcher.push(&decided, completion(outcome));
        self.digests.note(zxid, self.head.draft().tables().digest);
        self.proposed += 1;
    }

    /// Answers in order without a transaction.
    pub(super) fn note(&mut self, completion: Completion) {
        self.batcher.note(self.head.last(), Some(completion));
    }

    /// Freezes a version of what was executed so far.
    pub(super) fn cut(&mut self) {
        let head = &mut self.head;
        self.batcher.cut(|| head.version());
    }

    /// Closes the open batch and proposes it, unless too many are on their way.
    fn close(&mut self, now: Now, out: &mut CoreOutputs) {
        if self.batcher.is_empty() || !self.publication.has_room() || self.halt.is_some() {
            return;
        }
        let head = &mut self.head;
        let closed = self.batcher.close(|| head.version());
        let (last, log) = (self.head.last(), closed.log.clone());
        self.publication.push(last, closed);
        if let Some(batch) = log {
            self.batch_sizes.record(batch.count() as u64);
            self.replicate(now, Input::Propose(batch), out);
        }
        self.publication.publish(self.shards);
    }

    fn replicate(&mut self, now: Now, input: Input, out: &mut CoreOutputs) {
        let mut orders = std::mem::take(&mut self.orders);
        self.replica.step(now.mono, input, &mut orders);
        for order in orders.drain(..) {
            match order {
                Output::Append(batch) => self.log.append(batch, &mut out.disk),
                Output::Commit { upto } => self.publication.commit(upto),
                Output::RoleChanged(role) => {
                    self.role = role;
                    let serving = ToShard::Serving(self.is_serving());
                    for shard in (0..self.shards).map(ShardId) {
                        out.to_shards.push((shard, serving.clone()));
                    }
                }
                Output::Listen { open } => out.peers.push(PeerOrder::Listen { open }),
                Output::Dial { link, peer, port, to } => {
                    out.peers.push(PeerOrder::Dial { link, peer, port, to });
                }
                Output::Send { link, bytes } => out.peers.push(PeerOrder::Send { link, bytes }),
                Output::Close { link } => out.peers.push(PeerOrder::Close { link }),
                Output::Halt(reason) => self.halt = Some(reason),
                Output::SaveEpochs(..)
                | Output::TruncateTo { .. }
                | Output::SnapshotBegin { .. }
                | Output::SnapshotPiece(..)
                | Output::SnapshotEnd
                | Output::SnapshotReplay(..)
                | Output::InstallSnapshot { .. }
                | Output::SnapshotAbandoned
                | Output::SendSnapshot { .. }
                | Output::Forwarded { .. }
                | Output::RevalidateFor { .. }
                | Output::Touched { .. }
                | Output::LearnerLost { .. }
                | Output::CollectTouches
                | Output::Synced
                | Output::Revalidated { .. } => {
                    unreachable!("an ensemble of one has nobody to talk to")
                }
            }
        }
        self.orders = orders;
    }

    /// Takes a completion of disk work; what is not the log's is ignored.
    pub(super) fn disk(
        &mut self,
        now: Now,
        done: &DiskDone,
        out: &mut CoreOutputs,
    ) -> Option<Finding> {
        let mut finding = None;
        let mut facts = std::mem::take(&mut self.facts);
        self.log.done(done, &mut out.disk, &mut facts);
        for fact in facts.drain(..) {
            match fact {
                LogFact::Durable { upto } => {
                    self.replicate(now, Input::Appended { upto }, out);
                }
                // A server of its own never cuts its log.
                LogFact::Cut { .. } => {}
                LogFact::Poisoned(fault) => {
                    self.halt =
                        Some(format!("the log failed, nothing may be acknowledged: {fault}"));
                }
                LogFact::OutOfSpace => finding = Some(Finding::OutOfSpace),
                LogFact::SpaceBack => finding = Some(Finding::SpaceBack),
            }
        }
        self.facts = facts;
        if self.halt.is_none() {
            self.publication.publish(self.shards);
        }
        finding
    }

    /// Takes what happened on a connection to a fellow server.
    pub(super) fn peer(&mut self, now: Now, event: PeerEvent, out: &mut CoreOutputs) {
        let input = match event {
            PeerEvent::Accepted { link, port } => Input::Accepted { link, port },
            PeerEvent::Connected { link } => Input::Connected { link },
            PeerEvent::Received { link, bytes } => Input::Received { link, bytes },
            PeerEvent::SnapshotSent { link } => Input::SnapshotSent { link },
            PeerEvent::Disconnected { link } => Input::Disconnected { link },
        };
        self.replicate(now, input, out);
        self.publication.publish(self.shards);
    }

    /// Time passed.
    pub(super) fn tick(&mut self, now: Now, out: &mut CoreOutputs) {
        self.replicate(now, Input::Tick, out);
        self.publication.publish(self.shards);
    }

    /// Starts the log.
    pub(super) fn start(&mut self, out: &mut CoreOutputs) {
        self.log.start(&mut out.disk);
    }

    /// Closes the open batch if the log can take it now or it holds nothing for the log, and
    /// names the shards to wake.
    pub(super) fn end_turn(&mut self, now: Now, stopping: bool, out: &mut CoreOutputs) {
        if self.halt.is_some() {
            return;
        }
        if stopping || self.log.is_ready() || !self.batcher.has_transactions() {
            self.close(now, out);
        }
        self.publication.publish(self.shards);
        self.publication.end_turn(self.shards, &mut out.wake);
    }

    /// True if everything executed is durable and published.
    pub(super) fn is_drained(&self) -> bool {
        self.batcher.is_empty() && self.publication.is_empty()
    }

    /// True if what was executed cannot become durable before there is space on the disk.
    pub(super) fn is_stuck(&self) -> bool {
        self.log.is_stuck()
    }

    /// Why the node must end, if it must.
    pub(super) fn halt(&self) -> Option<&String> {
        self.halt.as_ref()
    }

    /// What this server is.
    pub(super) fn role(&self) -> RoleKind {
        self.role
    }

    /// True if clients can be served.
    pub(super) fn is_serving(&self) -> bool {
        self.role != RoleKind::Looking
    }

    /// Everything up to here is visible to the shards.
    pub(super) fn published(&self) -> Zxid {
        self.publication.published()
    }

    /// State after the last committed batch.
    pub(super) fn version(&self) -> &Version {
        self.publication.version()
    }

    /// The working copy, to be read.
    pub(super) fn draft(&self) -> &Draft {
        self.head.draft()
    }

    /// The log, for retention.
    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Transactions proposed, and committed, since start.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.proposed, self.publication.transactions())
    }

    /// Transactions per proposed batch.
    pub(super) fn batch_sizes(&self) -> &Summary {
        &self.batch_sizes
    }

    /// Starts [`Pipeline::batch_sizes`] anew.
    pub(super) fn reset_batch_sizes(&mut self) {
        self.batch_sizes = Summary::default();
    }

    /// Digests of committed positions, for `hash`.
    pub(super) fn digests(&self) -> Vec<(Zxid, u64)> {
        self.digests.upto(self.publication.version().zxid())
    }

    /// The node must end, for a reason found elsewhere.
    pub(super) fn fail(&mut self, cause: String) {
        self.halt.get_or_insert(cause);
    }
}
