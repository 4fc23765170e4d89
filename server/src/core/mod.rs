//! The core: the one ordering actor of a node. It routes; judgement lives in `engine`, votes in
//! `replication`.

use engine::disk::{DiskDone, DiskOp};
use engine::draft::Settings;
use engine::recover::Recovered;
use model::{Now, ServerId};

use crate::feed::Publisher;
use crate::link::{ShardId, ToCore, ToShard};

/// What the core must know.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This server (1 when standalone).
    pub server: ServerId,
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
    /// Text of `conf`, without the dynamic part.
    pub conf_text: String,
    /// Text of `envi`.
    pub envi_text: String,
    /// Version line of `srvr`, after `Zookeeper version: `.
    pub version_text: String,
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
    /// Time passed; at least ten times a second.
    Tick,
    /// Stop cleanly: take nothing more, wait for the log, then [`CoreOutputs::stopped`].
    Stop,
}

/// What the core wants done, in order within each list.
#[derive(Debug, Default)]
pub struct CoreOutputs {
    /// Disk work.
    pub disk: Vec<DiskOp>,
    /// Messages to shards.
    pub to_shards: Vec<(ShardId, ToShard)>,
    /// Shards that have something to do in the feed and should be woken.
    pub wake: Vec<ShardId>,
    /// The node must end now, for this reason; nothing further may be acknowledged.
    pub halt: Option<String>,
    /// A requested stop is complete: everything accepted is durable and published.
    pub stopped: bool,
}

/// The ordering actor.
pub struct Core {}

impl Core {
    /// Takes over a recovered state.
    pub fn new(
        config: CoreConfig,
        recovered: Recovered,
        feed: Publisher,
        now: Now,
        out: &mut CoreOutputs,
    ) -> Core {
        let _ = (config, recovered, feed, now, out);
        unimplemented!()
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: CoreInput, out: &mut CoreOutputs) {
        let _ = (now, input, out);
        unimplemented!()
    }

    /// Ends a turn: all inputs at hand have been given. Closes the open batch if the log can take
    /// it now.
    pub fn end_turn(&mut self, now: Now, out: &mut CoreOutputs) {
        let _ = (now, out);
        unimplemented!()
    }
}
