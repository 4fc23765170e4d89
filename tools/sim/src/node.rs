//! One server as the world sees it: its disk outlives it; core, shards and links die with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::Version;
use engine::draft::Settings;
use engine::log::LogSettings;
use engine::recover::{DiskImage, Inline, RecoverError, Recovered, recover};
use model::{Mono, Now, Zxid};
use replication::wire::handshake::WireOptions;
use replication::{Membership, ReplicaConfig, Retention};
use server::core::{Core, CoreConfig, CoreInput, CoreOutputs};
use server::feed::{Subscriber, feed};
use server::link::{ConnId, ShardId, ToCore, ToShard};
use server::shard::{Shard, ShardConfig, ShardOutputs};

use crate::disk::{Reading, SimDisk};
use crate::peers::{host, server_id};
use crate::swarm::Options;

/// Least session timeout, ms.
pub const TIMEOUT_MS_MIN: i32 = 4000;
/// Greatest session timeout, ms.
pub const TIMEOUT_MS_MAX: i32 = 40_000;

/// A shard with its links and the network connections it owns.
pub struct ShardSlot {
    /// The shard.
    pub shard: Shard,
    /// Messages on their way to the core.
    pub to_core: VecDeque<ToCore>,
    /// Messages on their way from the core.
    pub to_shard: VecDeque<ToShard>,
    /// It was given input since its turn last ended.
    pub dirty: bool,
    /// Its connections, by the network's number.
    pub links: BTreeMap<ConnId, usize>,
    /// Connections not to be read.
    pub paused: BTreeSet<ConnId>,
    /// Connections to close when their outbox is empty.
    pub closing: BTreeSet<ConnId>,
    /// When it ticks next, true time in ns.
    pub tick_at: u64,
}

/// A running process.
pub struct Process {
    /// The core.
    pub core: Core,
    /// The shards.
    pub shards: Vec<ShardSlot>,
    /// A listener on the feed that is never late.
    pub listener: Subscriber,
    /// The core was given input since its turn last ended.
    pub core_dirty: bool,
    /// When the core ticks next, true time in ns.
    pub tick_at: u64,
}

/// One server.
pub struct Node {
    /// Its place in the world.
    pub place: usize,
    /// Its disk.
    pub disk: SimDisk,
    /// Its process, if it runs.
    pub process: Option<Process>,
    /// It runs again at this true time, ns.
    pub start_at: u64,
    /// It does nothing until this true time, ns.
    pub paused_until: u64,
    /// Its wall clock's error, ms.
    pub wall_error_ms: i64,
    /// Its clock runs this many parts per million fast.
    pub fast_ppm: u64,
    /// It was refused its own disk after damage; it stays down.
    pub refused: bool,
    /// Starts so far.
    pub starts: u64,
    /// Crashes that a restart loop has still in store.
    pub loop_left: u32,
    /// Its disk has failed since it started: it may end itself.
    pub disk_failed: bool,
}

/// What a start yields.
pub enum Started {
    /// It runs: what its disk holds, and what its shards begin with.
    Running(Version, Version),
    /// Its disk cannot be trusted.
    Refused(RecoverError),
    /// Its disk could not be read; it is started again later.
    Failed,
}

impl Node {
    /// A server that has never run.
    pub fn new(place: usize, disk: SimDisk, options: &Options) -> Node {
        Node {
            place,
            disk,
            process: None,
            start_at: 0,
            paused_until: 0,
            wall_error_ms: 0,
            fast_ppm: options.clock_fast_ppm,
            refused: false,
            starts: 0,
            loop_left: 0,
            disk_failed: false,
        }
    }

    /// Both clocks of this server at a true time.
    pub fn now(&self, true_ns: u64) -> Now {
        let fast = true_ns / 1_000_000 * self.fast_ppm;
        let wall = 1_700_000_000_000 + (true_ns / 1_000_000) as i64 + self.wall_error_ms;
        Now { mono: Mono(1_000_000_000 + true_ns + fast), wall_ms: wall }
    }

    /// True time at which the core must be given a tick, if it is earlier than usual, ns.
    pub fn due(&self, true_ns: u64) -> Option<u64> {
        let at = self.process.as_ref()?.core.next_deadline()?;
        let now = self.now(true_ns).mono;
        Some(true_ns + at.0.saturating_sub(now.0).max(1000))
    }

    /// True if it can do anything at this true time.
    pub fn is_awake(&self, now: u64) -> bool {
        self.process.is_some() && self.paused_until <= now
    }

    /// Starts the process from what the disk holds.
    pub fn start(
        &mut self,
        true_ns: u64,
        options: &Options,
        faults: bool,
        out: &mut CoreOutputs,
    ) -> Started {
        let settings = settings(self.starts);
        let log = log_settings(options);
        self.starts += 1;
        let Reading::Files(image) = self.disk.read(options, faults) else {
            return Started::Failed;
        };
        let recovered = recover(&image, settings.clone(), log, &Inline);
        let alone = ensemble(self.place, options).is_none();
        let recovered = if alone { recovered.and_then(Recovered::agreeing) } else { recovered };
        let mut recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                self.refused = true;
                return Started::Refused(error);
            }
        };
        let now = self.now(true_ns);
        let shards = usize::from(options.shards);
        let (publisher, mut subscribers) = feed(shards + 1, options.feed_slots);
        let listener = subscribers.pop().expect("one more than shards");
        let config = CoreConfig {
            server: server_id(self.place),
            ensemble: ensemble(self.place, options),
            read_only_mode: false,
            leader_serves: true,
            shards: options.shards,
            tick_ms: 2000,
            session_timeout_ms_min: TIMEOUT_MS_MIN,
            session_timeout_ms_max: TIMEOUT_MS_MAX,
            settings,
            session_secret: [7; 32],
            zookeeper_passwords: false,
            disk_hang_ms: options.disk_hang_ms,
            container_check_ms: 2000,
            container_per_minute: 10_000,
            container_never_used_ms: 0,
            snapshot_entries: options.snapshot_entries,
            snapshot_bytes: 1 << 30,
            snapshots_kept: 3,
            reserve_bytes: 1 << 20,
            sessions_max: server::limits::SESSIONS_MAX,
            texts: std::sync::Arc::default(),
        };
        let version = recovered.draft.freeze();
        let first = Core::first_version(&config, &mut recovered);
        let core = Core::new(config, recovered, publisher, now, out);
        let shards = subscribers
            .into_iter()
            .enumerate()
            .map(|(index, subscriber)| ShardSlot {
                shard: Shard::new(shard_config(index), first.clone(), subscriber),
                to_core: VecDeque::new(),
                to_shard: VecDeque::new(),
                dirty: true,
                links: BTreeMap::new(),
                paused: BTreeSet::new(),
                closing: BTreeSet::new(),
                tick_at: true_ns,
            })
            .collect();
        self.process = Some(Process { core, shards, listener, core_dirty: true, tick_at: true_ns });
        Started::Running(version, first)
    }
}

/// The ensemble as its members are told of it.
pub fn membership(options: &Options) -> Membership {
    let line = |node: usize| {
        let role = if node < options.servers { "participant" } else { "observer" };
        format!("server.{}={}:2888:3888:{role}\n", node + 1, host(node))
    };
    let text: String = (0..options.nodes()).map(line).collect();
    Membership::parse(&text).expect("made by the rules")
}

/// What a member must know to take part; nothing for a lone server.
pub fn ensemble(place: usize, options: &Options) -> Option<ReplicaConfig> {
    let plain = options.plain >> place & 1 == 1;
    (options.nodes() > 1).then(|| ReplicaConfig {
        wire_options: if plain { WireOptions::NONE } else { WireOptions::ALL },
        tick_ms: options.peer_tick_ms,
        notify_ms_min: 20,
        notify_ms_max: 500,
        finalize_ms: 20,
        retention: Retention { entries_max: options.retained, bytes_max: 1 << 20 },
        ..ReplicaConfig::new(server_id(place), membership(options))
    })
}

fn settings(seed: u64) -> Settings {
    Settings { extended_types: true, hash_seed: seed, ..Settings::default() }
}

fn log_settings(options: &Options) -> LogSettings {
    LogSettings { segment_bytes: options.segment_bytes, writes_max: options.log_writes, log_id: 1 }
}

/// The state that these files make, without starting anything.
pub fn replay(image: &DiskImage, options: &Options) -> Result<Version, RecoverError> {
    let recovered = recover(image, settings(0), log_settings(options), &Inline);
    recovered.map(|mut recovered| recovered.draft.freeze())
}

fn shard_config(index: usize) -> ShardConfig {
    ShardConfig {
        shard: ShardId(index as u16),
        frame_bytes_max: 0xf_ffff,
        words: None,
        super_digest: None,
        digest_scheme: true,
        digest_algorithm: server::shard::auth::digest::Algorithm::default(),
        ensemble_names: None,
        required_schemes: Vec::new(),
        sasl_expected: false,
        skip_acl: false,
        outstanding_max: 20,
        crowd: 2,
        sessionless_ms: 10_000,
        version_text: "3.9.5-sim".to_owned(),
        envi_text: String::new(),
    }
}

impl Process {
    /// Gives the core an input.
    pub fn core_step(&mut self, now: Now, input: CoreInput, out: &mut CoreOutputs) {
        self.core_dirty = true;
        self.core.step(now, input, out);
    }

    /// Gives a shard an input.
    pub fn shard_step(
        &mut self,
        index: usize,
        now: Now,
        input: server::shard::ShardInput<'_>,
        out: &mut ShardOutputs,
    ) {
        self.shards[index].dirty = true;
        self.shards[index].shard.step(now, input, out);
    }

    /// Last transaction in the hands of any shard.
    pub fn slowest_view(&self) -> Zxid {
        self.shards.iter().map(|slot| slot.shard.zxid()).min().unwrap_or_default()
    }
}
