//! The core: the one ordering actor of a node. It routes; judgement lives in `engine`, votes in
//! `replication`.
//!
//! ```text
//!  ToCore --> intake --> head (Draft::execute) --> open batch --> replica --> log --> disk
//!                                                      |                               |
//!  shards <-- feed <-- publication (waits in order for the commit) <-- replica <-------+
//! ```
//!
//! **Invariants.** A reply to a write leaves only through the feed, after its transaction is
//! committed. What was executed is proposed, committed and published in the same order. After a
//! failed log write nothing is published.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::disk::{DiskDone, DiskOp, DiskToken};
use engine::draft::Settings;
use model::{AuthId, Mono, Now, ServerId, SessionId, Zxid};
use replication::ReplicaConfig;

use crate::admin::command::Question;
use crate::admin::{HostFacts, Material, Texts};
use crate::link::{ShardId, ToCore, ToShard};
use crate::peer::{PeerEvent, PeerOrder};

mod administration;
mod apply;
mod batcher;
mod ensemble;
mod evidence;
mod expiry;
mod forwards;
mod housekeeping;
mod intake;
mod pipeline;
mod queries;
mod readers;
mod reaper;
mod rebuild;
mod recovery;
mod requests;
mod retention;
mod sessions;
mod space;
mod speculate;
#[cfg(test)]
mod tests;

use administration::Observed;
use expiry::Expiry;
use forwards::Forwards;
use intake::Intake;
use pipeline::Pipeline;
use queries::{Asker, Queries};
use readers::Readers;
use reaper::Reaper;
use retention::Retention;
use sessions::{Passwords, Sessions};
use space::Space;

/// What the core must know.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This server (1 when standalone).
    pub server: ServerId,
    /// How it works with other servers; None: it stands alone.
    pub ensemble: Option<ReplicaConfig>,
    /// Without a quorum, let clients read that asked for no more (`readonlymode.enabled`).
    pub read_only_mode: bool,
    /// Clients may use this server while it leads (`leaderServes`).
    pub leader_serves: bool,
    /// Shards of this server.
    pub shards: u16,
    /// Base unit of time, ms.
    pub tick_ms: u64,
    /// Least session timeout, ms.
    pub session_timeout_ms_min: i32,
    /// Greatest session timeout, ms.
    pub session_timeout_ms_max: i32,
    /// How operations are judged.
    pub settings: Settings,
    /// Keys session passwords.
    pub session_secret: [u8; 32],
    /// Use ZooKeeper's predictable password formula instead, for ensembles shared with it.
    pub zookeeper_passwords: bool,
    /// Period of the container and TTL cleaning, ms.
    pub container_check_ms: u64,
    /// Removals per minute of that cleaning.
    pub container_per_minute: u32,
    /// Remove containers that never had a child after this long, ms; 0: never.
    pub container_never_used_ms: i64,
    /// Transactions between snapshots.
    pub snapshot_entries: u64,
    /// Log bytes between snapshots.
    pub snapshot_bytes: u64,
    /// Snapshots to keep.
    pub snapshots_kept: usize,
    /// Free bytes on a volume below which writes are refused.
    pub reserve_bytes: u64,
    /// Sessions at once; beyond it new ones are turned away, existing ones may re-attach.
    pub sessions_max: usize,
    /// A leader whose log write takes longer gives way to another server, ms; 0: never.
    pub disk_hang_ms: u64,
    /// What it says of itself to administrators.
    pub texts: Arc<Texts>,
}

/// What the core can be told.
#[derive(Clone, Debug)]
pub enum CoreInput {
    /// From a shard.
    Shard {
        /// Sender.
        from: ShardId,
        /// Message.
        message: ToCore,
    },
    /// Disk work completed.
    Disk(DiskDone),
    /// Something happened on a connection to a fellow server.
    Peer(PeerEvent),
    /// Time passed; at least ten times a second.
    Tick,
    /// What only the machine knows, about once a second.
    Host(HostFacts),
    /// An administrator asks over HTTP; answered in [`CoreOutputs::answers`].
    Ask {
        /// Chosen by the caller.
        number: u64,
        /// What.
        question: Question,
    },
    /// Stop cleanly: take nothing more, wait for the log, then [`CoreOutputs::stopped`].
    Stop,
}

/// What the core wants done, in order within each list.
#[derive(Debug, Default)]
pub struct CoreOutputs {
    /// Disk work.
    pub disk: Vec<DiskOp>,
    /// Work on connections to fellow servers.
    pub peers: Vec<PeerOrder>,
    /// Messages to shards.
    pub to_shards: Vec<(ShardId, ToShard)>,
    /// Shards that have something to do in the feed and should be woken.
    pub wake: Vec<ShardId>,
    /// Answers to [`CoreInput::Ask`], by number, to be written elsewhere.
    pub answers: Vec<(u64, Material)>,
    /// The node must end now, for this reason; nothing further may be acknowledged.
    pub halt: Option<String>,
    /// A requested stop is complete: everything accepted is durable and published.
    pub stopped: bool,
}

/// The ordering actor.
pub struct Core {
    config: CoreConfig,
    started: Mono,
    pipeline: Pipeline,
    intake: Intake,
    sessions: Sessions,
    forwards: Forwards,
    readers: Readers,
    /// Whoever has seen this has seen nothing that was not published here, although what was
    /// published may stand at an earlier position.
    floor: Zxid,
    leading_since: Option<Mono>,
    passwords: Passwords,
    expiry: Expiry,
    /// New sessions that their clients cannot know of yet, by position, with their timeouts in
    /// ms: silence counts from the publication of the session, not from its proposal.
    unborn: VecDeque<(Zxid, SessionId, i32)>,
    reaper: Reaper,
    retention: Retention,
    space: Space,
    queries: Queries,
    observed: Observed,
    host: HostFacts,
    /// What administrators set with `stmk`; nothing here depends on it.
    trace_mask: i64,
    next_token: u64,
    nobody: Arc<[AuthId]>,
    stopping: bool,
    stopped: bool,
}

impl Core {
    /// Takes one input. After [`CoreOutputs::halt`] nothing is taken any more.
    pub fn step(&mut self, now: Now, input: CoreInput, out: &mut CoreOutputs) {
        if self.pipeline.halt().is_some() {
            return;
        }
        match input {
            CoreInput::Shard { from, message } => self.on_shard(now, from, message, out),
            CoreInput::Disk(done) => self.on_disk(now, &done, out),
            CoreInput::Peer(event) => self.on_peer(now, event),
            CoreInput::Tick => self.on_tick(now, out),
            CoreInput::Host(facts) => self.host = facts,
            CoreInput::Ask { number, question } => {
                self.ask(now, Asker::Admin(number), question, out);
            }
            CoreInput::Stop => self.stopping = true,
        }
        self.carry_out(now, out);
        self.track_born(now);
        self.observed.log_writes(out, now.mono);
        self.announce_halt(out);
    }

    fn on_shard(&mut self, now: Now, from: ShardId, message: ToCore, out: &mut CoreOutputs) {
        match message {
            ToCore::Submit(submits) => self.on_submit(now, submits),
            ToCore::Attach { conn, session, password, timeout_ms } => {
                self.on_attach(now, conn, session, &password, timeout_ms, out);
            }
            ToCore::Detached { conn, session } => {
                self.sessions.detach(session, conn);
                self.forwards.detach(session, conn);
            }
            ToCore::Heard { at, sessions } => self.on_heard(from, at, &sessions),
            ToCore::Query(query) => self.on_query(now, &query, out),
            ToCore::TraceMask(mask) => self.trace(mask, out),
            ToCore::Report { number, report } => self.on_report(now, from, number, *report, out),
        }
    }

    /// Ends a turn: all inputs at hand have been given. Closes the open batch if the log can take
    /// it now.
    pub fn end_turn(&mut self, now: Now, out: &mut CoreOutputs) {
        if self.pipeline.halt().is_some() {
            return;
        }
        self.execute_intake(now);
        self.pipeline.end_turn(now, self.stopping);
        self.carry_out(now, out);
        self.pipeline.wake(out);
        self.track_born(now);
        self.observed.log_writes(out, now.mono);
        let stuck = self.pipeline.is_stuck();
        if self.stopping
            && !self.stopped
            && (stuck || (self.is_drained() && !self.awaits_last_snapshot(now, out)))
        {
            if stuck {
                tracing::warn!("no space for the last writes; they were not acknowledged");
            }
            self.stopped = true;
            out.stopped = true;
        }
        self.announce_halt(out);
    }

    /// Starts the clocks of sessions whose clients can know of them now.
    fn track_born(&mut self, now: Now) {
        while let Some(&(zxid, session, timeout_ms)) = self.unborn.front()
            && zxid <= self.pipeline.published()
        {
            self.unborn.pop_front();
            if self.sessions.owner(session).is_some() {
                self.expiry.track(session, timeout_ms, now.mono);
            }
        }
    }

    fn announce_halt(&self, out: &mut CoreOutputs) {
        if out.halt.is_none() {
            out.halt = self.pipeline.halt().cloned();
        }
    }

    fn is_drained(&self) -> bool {
        self.pipeline.is_drained() && (self.intake.is_empty() || !self.pipeline.orders())
    }

    fn token(&mut self) -> DiskToken {
        self.next_token += 1;
        DiskToken(self.next_token)
    }
}
