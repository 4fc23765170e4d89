//! The way of a write through the core: executed on the head (or, on a learner, applied to it),
//! collected in the open batch, proposed, appended to the log, committed, published.
//!
//! What the replica orders is queued here and carried out by [`super::ensemble`], in order.

use std::collections::VecDeque;

use engine::disk::DiskDone;
use engine::draft::{Caller, Stamp};
use engine::log::{Log, LogFact};
use engine::recover::Past;
use engine::{Draft, Outcome, Version};
use model::{Batch, Epoch, Mono, Now, Op, ServerId, Txn, TxnDigest, TxnHeader, Zxid, txn};
use replication::{Activity, Counts, Input, LinkId, Output, Replica, RoleKind, Standing};

use super::CoreOutputs;
use super::administration::DigestHistory;
use super::apply::Publication;
use super::batcher::Batcher;
use super::rebuild::Rebuild;
use super::speculate::{Config, Head};
use crate::admin::metrics::{Sizes, Summary};
use crate::feed::{Completion, Publisher};
use crate::peer::PeerOrder;

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
    pub(super) head: Head,
    batcher: Batcher,
    pub(super) log: Log,
    replica: Replica,
    pub(super) publication: Publication,
    pub(super) rebuild: Rebuild,
    role: RoleKind,
    proposed: u64,
    batch_sizes: Summary,
    /// Bytes of proposed transactions.
    proposal_bytes: Sizes,
    digests: DigestHistory,
    /// Why the node must end.
    halt: Option<String>,
    pub(super) orders: VecDeque<Output>,
    fresh: Vec<Output>,
    facts: Vec<LogFact>,
}

impl Pipeline {
    /// A server alone, or (with a configuration to show) a member of an ensemble.
    pub(super) fn new(
        shards: u16,
        (draft, log, past): (Draft, Log, Past),
        feed: Publisher,
        replica: Replica,
        config: Option<Config>,
    ) -> Pipeline {
        let last = draft.tables().zxid.max(log.appended());
        let alone = config.is_none();
        let mut head = Head::new(draft, last, config);
        let publication = if alone {
            Publication::new(feed, head.version())
        } else {
            let mut publication = Publication::new(feed, past.base);
            if !past.tail.is_empty() {
                publication.push_state(head.version(), past.tail);
            }
            publication
        };
        Pipeline {
            shards,
            head,
            batcher: Batcher::default(),
            log,
            replica,
            publication,
            rebuild: Rebuild::new(past.epochs.revision),
            role: RoleKind::Looking,
            proposed: 0,
            batch_sizes: Summary::default(),
            proposal_bytes: Sizes::default(),
            digests: DigestHistory::default(),
            halt: None,
            orders: VecDeque::new(),
            fresh: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// Tells the replica something; what it orders is queued.
    pub(super) fn tell(&mut self, now: Mono, input: Input) {
        self.replica.step(now, input, &mut self.fresh);
        self.orders.extend(self.fresh.drain(..));
    }

    /// The oldest order not carried out, unless the node must end.
    pub(super) fn next_order(&mut self) -> Option<Output> {
        if self.halt.is_some() { None } else { self.orders.pop_front() }
    }

    // ----- writes made here ------------------------------------------------------------------

    /// Makes room for a write of about so many bytes; false if it has to wait.
    pub(super) fn make_room(&mut self, now: Now, bytes: usize) -> bool {
        if !self.fits(bytes) {
            self.close(now);
        }
        self.halt.is_none() && self.fits(bytes)
    }

    fn fits(&self, bytes: usize) -> bool {
        // A batch never spans two epochs. Without a next position there is either no leadership,
        // or a server alone that has used up all of them, which [`Pipeline::write`] reports.
        match self.head.next() {
            Some(next) => self.batcher.continues(next) && !self.batcher.is_full(bytes),
            None => self.role == RoleKind::Standalone,
        }
    }

    /// Proposes what is open; false if it has to wait.
    pub(super) fn flush(&mut self, now: Now) -> bool {
        self.close(now);
        self.batcher.is_empty()
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
        self.digests.note(zxid, self.head.digest());
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
    fn close(&mut self, now: Now) {
        if self.batcher.is_empty() || !self.publication.has_room() || self.halt.is_some() {
            return;
        }
        let head = &mut self.head;
        let closed = self.batcher.close(|| head.version());
        let (last, log) = (self.head.last(), closed.log.clone());
        self.publication.push(last, closed, false);
        if let Some(batch) = log {
            self.batch_sizes.record(batch.count() as u64);
            if matches!(self.role, RoleKind::Leading(_)) {
                for (_, entry) in batch.entries() {
                    self.proposal_bytes.record(entry.len() as u64);
                }
            }
            self.tell(now.mono, Input::Propose(batch));
        }
        self.publish();
    }

    // ----- writes made by a leader -----------------------------------------------------------

    /// Applies one entry. The leader's digest if the state differs from the leader's after it.
    pub(super) fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
    ) -> Result<Outcome, u64> {
        let outcome = self.head.apply(header, txn, digest, &mut self.batcher.effects);
        self.digests.note(header.zxid, self.head.digest());
        outcome
    }

    /// Puts an applied entry into the open batch.
    pub(super) fn note_applied(&mut self, zxid: Zxid, completion: Option<Completion>) {
        self.batcher.note(zxid, completion);
    }

    /// Closes the open batch, which holds these applied entries.
    pub(super) fn close_applied(&mut self, batch: Batch) {
        let head = &mut self.head;
        let mut closed = self.batcher.close(|| head.version());
        let last = batch.last();
        closed.log = Some(batch);
        self.publication.push(last, closed, true);
    }

    /// Forgets the open batch, and everything made here that the replica did not take.
    pub(super) fn drop_speculation(&mut self) {
        self.batcher = Batcher::default();
        let version = self.publication.drop_speculation();
        self.head.rewind(version);
    }

    /// Puts a batch into the log. True if it was made here, so that it is applied already.
    pub(super) fn append_own(&mut self, batch: &Batch, out: &mut CoreOutputs) -> bool {
        let own = self.publication.appended(batch);
        if own {
            self.log.append(batch.clone(), &mut out.disk);
        }
        own
    }

    /// Forgets entries and commits that were ordered and not carried out: they follow something
    /// that is not in the log, and would leave a hole there. Nor is a role taken up in which this
    /// server would serve; that it searches for a leader stays true.
    pub(super) fn drop_entries(&mut self) {
        let follows = |order: &Output| match order {
            Output::RoleChanged(role) => *role != RoleKind::Looking,
            order => {
                matches!(order, Output::Append(_) | Output::Commit { .. } | Output::Exact { .. })
            }
        };
        self.orders.retain(|order| !follows(order));
    }

    // ----- going back ------------------------------------------------------------------------

    /// Goes back to the state at `to`. False if that state is not in memory any more.
    pub(super) fn go_back(&mut self, to: Zxid) -> bool {
        self.batcher = Batcher::default();
        let Some(cut) = self.publication.cut(to) else { return false };
        self.head.rewind(&cut.version);
        for batch in cut.again {
            for (zxid, entry) in batch.entries() {
                let Ok((header, txn, _)) = txn::decode_entry(entry) else { return false };
                let effects = &mut self.batcher.effects;
                let _ = self.head.apply(&header, &txn, None, effects);
                self.batcher.note(zxid, None);
            }
            self.close_applied(batch);
        }
        true
    }

    /// Goes on from a received state, which stands for the history up to its zxid, and should have
    /// that digest.
    pub(super) fn go_on_from(&mut self, draft: Draft, digest: Option<u64>) -> Version {
        self.batcher = Batcher::default();
        self.publication.clear();
        self.head.replace(draft, digest);
        let version = self.head.version();
        self.publication.push_state(version.clone(), Vec::new());
        version
    }

    /// Digest of the state at `at`, if that is where this server is.
    pub(super) fn digest_at(&self, at: Zxid) -> Option<u64> {
        (self.head.last() == at).then(|| self.head.digest())
    }

    /// Sends the state at `at` to a learner.
    pub(super) fn send_snapshot(&mut self, link: LinkId, at: Zxid, out: &mut CoreOutputs) -> bool {
        let version = if self.publication.version().zxid() == at {
            self.publication.version().clone()
        } else if self.head.last() == at && self.batcher.is_empty() {
            self.head.version()
        } else {
            return false;
        };
        out.peers.push(PeerOrder::SendSnapshot { link, version });
        true
    }

    // ----- what comes back -------------------------------------------------------------------

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
                LogFact::Durable { upto } => self.tell(now.mono, Input::Appended { upto }),
                LogFact::Cut { end } => {
                    let end = end.min(self.head.last());
                    let digest = self.digest_at(end);
                    if let Some(input) = self.rebuild.on_cut(end, digest, out) {
                        self.tell(now.mono, input);
                    }
                }
                LogFact::Poisoned(fault) => {
                    self.halt =
                        Some(format!("the log failed, nothing may be acknowledged: {fault}"));
                }
                LogFact::OutOfSpace => finding = Some(Finding::OutOfSpace),
                LogFact::SpaceBack => finding = Some(Finding::SpaceBack),
            }
        }
        self.facts = facts;
        finding
    }

    /// Everything up to here is committed.
    pub(super) fn commit(&mut self, upto: Zxid) {
        self.publication.commit(upto);
    }

    /// What this server is from now on. What the replica has committed counts here too, also what
    /// a received state brought again.
    pub(super) fn set_role(&mut self, role: RoleKind) {
        self.role = role;
        let epoch = match role {
            RoleKind::Leading(epoch) => Some(epoch),
            RoleKind::Looking | RoleKind::Following(..) | RoleKind::Observing(..) => None,
            RoleKind::Standalone => return,
        };
        self.head.number(epoch);
        if self.is_serving() {
            self.publication.commit(self.replica.committed());
        }
    }

    /// Publishes what is committed.
    pub(super) fn publish(&mut self) {
        if self.halt.is_none() {
            self.publication.publish(self.shards);
        }
    }

    /// Starts the log.
    pub(super) fn start(&mut self, out: &mut CoreOutputs) {
        self.log.start(&mut out.disk);
    }

    /// Closes the open batch if the log can take it now or it holds nothing for the log.
    pub(super) fn end_turn(&mut self, now: Now, stopping: bool) {
        if self.halt.is_none()
            && (stopping || self.log.is_ready() || !self.batcher.has_transactions())
        {
            self.close(now);
        }
    }

    /// Names the shards to wake.
    pub(super) fn wake(&mut self, out: &mut CoreOutputs) {
        self.publish();
        self.publication.end_turn(self.shards, &mut out.wake);
    }

    /// True if everything executed is durable and published; on a server that does not lead, if
    /// everything it took over is durable.
    pub(super) fn is_drained(&self) -> bool {
        match self.role {
            RoleKind::Standalone | RoleKind::Leading(_) => {
                self.batcher.is_empty() && self.publication.is_empty()
            }
            RoleKind::Looking | RoleKind::Following(..) | RoleKind::Observing(..) => {
                self.log.durable() == self.log.appended()
            }
        }
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

    /// The epoch that this server is part of, if it serves in an ensemble.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self.role {
            RoleKind::Looking | RoleKind::Standalone => None,
            RoleKind::Leading(epoch)
            | RoleKind::Following(_, epoch)
            | RoleKind::Observing(_, epoch) => Some(epoch),
        }
    }

    /// False while the own state is one that was given up.
    pub(super) fn is_trusted(&self) -> bool {
        self.replica.is_trusted()
    }

    /// True while no leader is known.
    pub(super) fn is_electing(&self) -> bool {
        self.replica.standing().is_some_and(|standing| standing.activity == Activity::Electing)
    }

    /// True if clients can be served.
    pub(super) fn is_serving(&self) -> bool {
        self.role != RoleKind::Looking
    }

    /// True if writes are another server's to judge.
    pub(super) fn is_learner(&self) -> bool {
        matches!(self.role, RoleKind::Following(..) | RoleKind::Observing(..))
    }

    /// True if this server orders: expiry and cleaning are its task.
    pub(super) fn orders(&self) -> bool {
        matches!(self.role, RoleKind::Standalone | RoleKind::Leading(_))
    }

    /// When the replica wants to be told the time at the latest.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.replica.next_deadline()
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

    /// Bytes of the transactions proposed to others.
    pub(super) fn proposal_bytes(&self) -> Sizes {
        self.proposal_bytes
    }

    /// Starts [`Pipeline::batch_sizes`] and [`Pipeline::proposal_bytes`] anew.
    pub(super) fn reset_sizes(&mut self) {
        self.batch_sizes = Summary::default();
        self.proposal_bytes = Sizes::default();
    }

    /// What the replica is doing; none on a server alone.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.replica.standing()
    }

    /// Observers that this leader keeps up to date.
    pub(super) fn observers(&self) -> Vec<ServerId> {
        self.replica.observers()
    }

    /// What the replica has done.
    pub(super) fn replica_counts(&self) -> Counts {
        self.replica.counts()
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
