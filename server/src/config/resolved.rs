//! What a configuration means: defaults filled in, relations checked.

use std::fmt::Write;
use std::path::PathBuf;

use engine::disk::ALIGN;
use engine::draft::Settings;
use engine::log::LogSettings;
use model::ServerId;
use replication::{PeerAddress, ReplicaConfig};

use super::administration::AdminPort;
use super::ensemble::{self, Beside, Finder, PeerListen, Place};
use super::typed::{Notice, Problems, ZooCfg};
use crate::limits::{LOG_WRITES_MAX, SESSIONS_MAX};
use crate::shard::auth::digest::Algorithm;

/// What `srvr` and `envi` say. Clients and tools take the first x.y.z for the version of
/// ZooKeeper's protocol, and parse a date behind it.
const VERSION: &str =
    concat!("3.9.5-ringkeeper-", env!("CARGO_PKG_VERSION"), ", built on ", env!("RINGKEEPER_DATE"));
/// Largest request frame unless configured (client-protocol 1.1).
const FRAME_BYTES: usize = 1_048_575;
/// Four-letter words that anybody may use unless configured: those that change nothing, reveal
/// little, and are what probes and tools ask.
const WORDS: &[&str] = &["srvr", "ruok", "isro", "mntr"];
const TICK_MS: i64 = 3000;
const CLIENT_PORT: u16 = 2181;
const SNAPSHOTS_KEPT_MIN: i64 = 3;
/// Transactions between snapshots unless configured. A snapshot costs nobody a pause, so this
/// only weighs disk traffic against the tail that a restart replays.
const SNAPSHOT_ENTRIES: u64 = 500_000;
const SNAPSHOT_KB: i64 = 4_194_304;
const SEGMENT_KB: i64 = 65_536;
/// A segment must hold several of the largest frames.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const RESERVE_BYTES: i64 = 256 << 20;
const SESSIONLESS_MS: i64 = 10_000;
/// How long a leader's log write may take before another server should lead.
const DISK_HANG_MS: i64 = 700;

/// How log writes reach the device; see `docs/adr/0005-log-backend.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogBackend {
    /// io_uring, a ring of the executor's own.
    Ring,
    /// io_uring, a ring on an unpinned thread.
    RingThread,
    /// glommio's direct-I/O files.
    Glommio,
    /// Plain threads: for hosts that refuse io_uring for files, and the yardstick.
    Threads,
}

impl LogBackend {
    /// All of them, with the names used in configurations.
    pub const ALL: [(&'static str, LogBackend); 4] = [
        ("ring", LogBackend::Ring),
        ("ring-thread", LogBackend::RingThread),
        ("glommio", LogBackend::Glommio),
        ("threads", LogBackend::Threads),
    ];
    /// Unless configured.
    pub const DEFAULT: LogBackend = LogBackend::Ring;

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        let entry = LogBackend::ALL.iter().find(|(_, backend)| *backend == self);
        entry.map_or("?", |(name, _)| name)
    }
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// Every address of the machine.
    Any,
    /// A name or an address.
    Named(String),
}

/// What the command line adds to the file, or overrules in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandLine {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`: host and port.
    pub listen: Option<(String, u16)>,
    /// `--shards`
    pub shards: Option<usize>,
    /// No file was named: serve for oneself, on this machine.
    pub no_file: bool,
}

/// What the server does.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Where to listen for clients.
    pub host: Host,
    /// Their port; 0 lets the system choose.
    pub port: u16,
    /// Length of the queue of clients that are not accepted yet.
    pub backlog: Option<i32>,
    /// Snapshots, small files, the session key.
    pub data_dir: PathBuf,
    /// The log.
    pub log_dir: PathBuf,
    /// This server.
    pub server: ServerId,
    /// How it works with others; None: it stands alone.
    pub ensemble: Option<ReplicaConfig>,
    /// Where it listens for them; None: it stands alone.
    pub peer_listen: Option<PeerListen>,
    /// Readers are served without a quorum.
    pub read_only_mode: bool,
    /// Shards; None: by the machine's cores.
    pub shards: Option<usize>,
    /// The core has an executor of its own.
    pub core_apart: bool,
    /// Executors are pinned to cores; None: by the machine's cores.
    pub pin: Option<bool>,
    /// How the log is written.
    pub backend: LogBackend,
    /// The log's sizes.
    pub log: LogSettings,
    /// How operations are judged.
    pub settings: Settings,
    /// Base unit of time, ms.
    pub tick_ms: u64,
    /// Least session timeout, ms.
    pub session_timeout_ms_min: i32,
    /// Greatest session timeout, ms.
    pub session_timeout_ms_max: i32,
    /// Clients per address; 0: no limit.
    pub connections_per_address_max: u32,
    /// Clients; 0: no limit.
    pub connections_max: u32,
    /// Largest request frame, bytes.
    pub frame_bytes_max: usize,
    /// Four-letter words that may be used; None: all.
    pub words: Option<Vec<[u8; 4]>>,
    /// Clients may use this server while it leads.
    pub leader_serves: bool,
    /// How credentials of scheme `digest` are hashed.
    pub digest_algorithm: Algorithm,
    /// Schemes of which every session must have an identity; none: nobody must.
    pub required_schemes: Vec<String>,
    /// Scheme `ensemble` exists, and these are the names it takes; no names: every one.
    pub ensemble_names: Option<Vec<String>>,
    /// Digest id that is also super.
    pub super_digest: Option<Vec<u8>>,
    /// Unanswered requests of the whole server beyond which connections that have one are not read
    /// from; None: what each shard has credit for.
    pub outstanding_max: Option<usize>,
    /// A connection without a session is closed after this long, ms.
    pub sessionless_ms: u64,
    /// Session passwords by ZooKeeper's formula.
    pub zookeeper_passwords: bool,
    /// A leader whose log write takes longer gives way to another server, ms; 0: never.
    pub disk_hang_ms: u64,
    /// A file with the key of session passwords, shared by all servers.
    pub session_key_file: Option<PathBuf>,
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
    /// Sessions at once.
    pub sessions_max: usize,
    /// Where administrators connect.
    pub admin: Vec<AdminPort>,
    /// The configuration file as it was read, without what must stay secret.
    pub file_text: String,
    /// Version line.
    pub version_text: String,
}

impl Resolved {
    /// The answer to `conf`, without what changes while the server runs. `port` is the one really
    /// listened on.
    pub fn conf_text(&self, port: u16) -> String {
        let mut text = String::new();
        let directory = |dir: &PathBuf| dir.to_string_lossy().into_owned();
        for (key, value) in [
            ("clientPort", port.to_string()),
            ("secureClientPort", "-1".into()),
            ("dataDir", directory(&self.data_dir)),
            ("dataLogDir", directory(&self.log_dir)),
            ("tickTime", self.tick_ms.to_string()),
            ("maxClientCnxns", self.connections_per_address_max.to_string()),
            ("minSessionTimeout", self.session_timeout_ms_min.to_string()),
            ("maxSessionTimeout", self.session_timeout_ms_max.to_string()),
            ("clientPortListenBacklog", self.backlog.unwrap_or(-1).to_string()),
            ("serverId", self.server.0.to_string()),
        ] {
            writeln!(text, "{key}={value}").expect("a string takes everything");
        }
        if let Some(config) = &self.ensemble {
            push_ensemble(&mut text, config);
        }
        text
    }
}

/// The part of `conf` that only members of an ensemble have.
fn push_ensemble(text: &mut String, config: &ReplicaConfig) {
    let own = config.members.member(config.id).and_then(|member| member.addresses.first());
    let port = |port: fn(&PeerAddress) -> u16| own.map_or(0, port);
    for (key, value) in [
        ("initLimit", config.init_limit),
        ("syncLimit", config.sync_limit),
        ("electionAlg", 3),
        ("electionPort", u32::from(port(|own| own.election_port))),
        ("quorumPort", u32::from(port(|own| own.quorum_port))),
        ("peerType", u32::from(config.members.is_observer(config.id))),
    ] {
        writeln!(text, "{key}={value}").expect("a string takes everything");
    }
    writeln!(text, "membership: \n{}", config.members).expect("a string takes everything");
}

/// Fills in the defaults and checks what belongs together.
pub fn resolve(
    cfg: &ZooCfg,
    line: &CommandLine,
    beside: &Beside,
) -> Result<(Resolved, Vec<Notice>), Problems> {
    let (problems, notices) = (Problems::default(), Vec::new());
    let mut resolver = Resolver { cfg, line, beside, problems, notices };
    let resolved = resolver.resolve();
    if resolver.problems.0.is_empty() {
        Ok((resolved, resolver.notices))
    } else {
        Err(resolver.problems)
    }
}

struct Resolver<'a> {
    cfg: &'a ZooCfg,
    line: &'a CommandLine,
    beside: &'a Beside,
    problems: Problems,
    notices: Vec<Notice>,
}

impl Resolver<'_> {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.0.push(text.into());
    }

    fn notice(&mut self, warn: bool, text: impl Into<String>) {
        self.notices.push(Notice { warn, text: text.into() });
    }

    /// A number within bounds, or a problem and the default.
    fn within(&mut self, key: &str, value: Option<i64>, bounds: [i64; 2], default: i64) -> i64 {
        let [least, most] = bounds;
        let value = value.unwrap_or(default);
        if (least..=most).contains(&value) {
            return value;
        }
        self.problem(format!("{key}={value}: must be from {least} to {most}"));
        default
    }

    fn resolve(&mut self) -> Resolved {
        let cfg = self.cfg;
        let data_dir = ensemble::data_dir(cfg, self.line);
        if data_dir.is_none() && !self.line.no_file {
            self.problem("dataDir: must be set");
        }
        let data_dir = data_dir.unwrap_or_else(|| "./data".into());
        let log_dir = cfg.data_log_dir.clone().map_or_else(|| data_dir.clone(), PathBuf::from);
        let tick_ms =
            self.within("tickTime", cfg.tick_time, [1, i64::from(i32::MAX / 20)], TICK_MS);
        let (least, greatest) = self.session_timeouts(tick_ms);
        let limit = [0, i64::from(i32::MAX)];
        let day_ms = 86_400_000;
        let frame = self.frame_bytes();
        let Place { server, client, ensemble } = Finder {
            cfg,
            beside: self.beside,
            data_dir: &data_dir,
            tick_ms,
            frame_bytes: frame,
            problems: &mut self.problems,
            notices: &mut self.notices,
        }
        .find();
        let (ensemble, peer_listen) = ensemble.unzip();
        let (host, port) = self.client_address(client);
        let (zookeeper_passwords, session_key_file) =
            ensemble::passwords(cfg, ensemble.is_some(), &mut self.notices);
        let settings = self.settings(server);
        Resolved {
            host,
            port,
            backlog: cfg.backlog,
            data_dir,
            log_dir,
            server,
            ensemble,
            peer_listen,
            shards: self.shards(),
            core_apart: cfg.core_apart.unwrap_or(false),
            pin: cfg.pin,
            backend: self.backend(),
            log: self.log(frame),
            required_schemes: cfg
                .auth
                .required(|scheme| exists(&settings, scheme), &mut self.problems),
            ensemble_names: cfg
                .has_provider("EnsembleAuthenticationProvider")
                .then(|| cfg.auth.ensemble_names()),
            digest_algorithm: cfg.auth.algorithm(&mut self.problems),
            leader_serves: cfg.leader_serves.unwrap_or(true),
            settings,
            tick_ms: tick_ms as u64,
            session_timeout_ms_min: least,
            session_timeout_ms_max: greatest,
            connections_per_address_max: self.per_address(limit),
            connections_max: self.within("maxCnxns", cfg.max_cnxns, limit, 0) as u32,
            frame_bytes_max: frame,
            words: self.words(),
            read_only_mode: self.read_only_mode(),
            super_digest: cfg.super_digest.clone().map(String::into_bytes),
            outstanding_max: cfg.outstanding_max.map(|wanted| {
                let bounds = [1, limit[1]];
                self.within("globalOutstandingLimit", Some(wanted), bounds, 1) as usize
            }),
            sessionless_ms: self.within(
                "nio.sessionlessCnxnTimeout",
                cfg.sessionless_ms,
                [1, day_ms],
                SESSIONLESS_MS,
            ) as u64,
            zookeeper_passwords,
            disk_hang_ms: self.within(
                "ringkeeper.diskHangLimit",
                cfg.ensemble.disk_hang_ms,
                [0, day_ms],
                DISK_HANG_MS,
            ) as u64,
            session_key_file,
            container_check_ms: self.within(
                "znode.container.checkIntervalMs",
                cfg.container_check_ms,
                [1, day_ms],
                60_000,
            ) as u64,
            container_per_minute: self.within(
                "znode.container.maxPerMinute",
                cfg.container_per_minute,
                [1, i64::from(i32::MAX)],
                10_000,
            ) as u32,
            container_never_used_ms: self.within(
                "znode.container.maxNeverUsedIntervalMs",
                cfg.container_never_used_ms,
                [0, i64::MAX],
                0,
            ),
            snapshot_entries: self.within(
                "snapCount",
                cfg.snap_count,
                // ZooKeeper's own minimum.
                [2, i64::MAX],
                SNAPSHOT_ENTRIES as i64,
            ) as u64,
            snapshot_bytes: match cfg.snap_size_kb.unwrap_or(SNAPSHOT_KB) {
                ..=0 => u64::MAX,
                kb => (kb as u64).saturating_mul(1024),
            },
            snapshots_kept: self.snapshots_kept(),
            reserve_bytes: self.within(
                "ringkeeper.reserveBytes",
                cfg.reserve_bytes,
                [0, i64::MAX],
                RESERVE_BYTES,
            ) as u64,
            sessions_max: self.within(
                "ringkeeper.maxSessions",
                cfg.sessions_max,
                [1, SESSIONS_MAX as i64],
                SESSIONS_MAX as i64,
            ) as usize,
            admin: cfg.admin.ports(self.line.no_file),
            // Whoever has read the file adds it.
            file_text: String::new(),
            version_text: VERSION.to_owned(),
        }
    }

    /// `listed` is what the own server line says.
    fn client_address(&mut self, listed: Option<(Option<String>, u16)>) -> (Host, u16) {
        let cfg = self.cfg;
        if cfg.client_port.is_none() && cfg.client_port_address.is_some() {
            self.problem("clientPortAddress: needs clientPort");
        }
        if cfg.secure_address && !cfg.secure_port {
            self.problem("secureClientPortAddress: needs secureClientPort");
        }
        if let (Some((host, port)), Some(fixed)) = (&listed, cfg.client_port) {
            if *port != fixed {
                self.problem(format!("clientPort={fixed}: the server line says {port}"));
            }
            let disagree = host.is_some() && cfg.client_port_address.is_some();
            if disagree && *host != cfg.client_port_address {
                self.problem("clientPortAddress: the server line says something else");
            }
        }
        if let Some((host, port)) = &self.line.listen {
            return (named(host), *port);
        }
        let host = cfg.client_port_address.clone();
        let host = host.or_else(|| listed.as_ref().and_then(|(host, _)| host.clone()));
        let port = cfg.client_port.or(listed.map(|(_, port)| port));
        match (host, port) {
            (Some(host), Some(port)) => (named(&host), port),
            (None, Some(port)) => (Host::Any, port),
            (_, None) if self.line.no_file => (named("127.0.0.1"), CLIENT_PORT),
            // Who does not know which line is its own has been told so.
            (_, None) if cfg.ensemble.servers.len() > 1 && !self.problems.0.is_empty() => {
                (Host::Any, CLIENT_PORT)
            }
            (_, None) => {
                self.problem("clientPort: must be set, or nothing would listen");
                (Host::Any, CLIENT_PORT)
            }
        }
    }

    fn session_timeouts(&mut self, tick_ms: i64) -> (i32, i32) {
        let or = |value: Option<i32>, default: i64| match value {
            None | Some(-1) => default as i32,
            Some(value) => value,
        };
        let least = or(self.cfg.min_session_timeout, 2 * tick_ms);
        let greatest = or(self.cfg.max_session_timeout, 20 * tick_ms);
        if least > greatest {
            self.problem(format!("minSessionTimeout={least}: above maxSessionTimeout={greatest}"));
        }
        if least < 1 {
            self.problem(format!("minSessionTimeout={least}: must be at least 1 ms"));
        }
        (least, greatest)
    }

    fn per_address(&mut self, limit: [i64; 2]) -> u32 {
        // A server for oneself has all its clients on one address.
        let default = if self.line.no_file { 0 } else { 60 };
        self.within("maxClientCnxns", self.cfg.max_client_cnxns, limit, default) as u32
    }

    fn frame_bytes(&mut self) -> usize {
        let Some(bytes) = self.cfg.jute_maxbuffer else { return FRAME_BYTES };
        let text = "jute.maxbuffer: obeyed here, though ZooKeeper ignores it in this file";
        self.notice(false, text);
        self.within("jute.maxbuffer", Some(bytes), [1024, 256 << 20], FRAME_BYTES as i64) as usize
    }

    fn shards(&mut self) -> Option<usize> {
        let configured = self.line.shards.map(|shards| shards as i64).or(self.cfg.shards);
        let shards = configured?;
        Some(self.within("ringkeeper.shards", Some(shards), [1, 1024], 1) as usize)
    }

    fn backend(&mut self) -> LogBackend {
        let Some(name) = &self.cfg.log_backend else { return LogBackend::DEFAULT };
        let entry = LogBackend::ALL.iter().find(|(known, _)| known == name);
        if entry.is_none() {
            let known = LogBackend::ALL.map(|(name, _)| name).join(", ");
            self.problem(format!("ringkeeper.logBackend={name}: must be one of {known}"));
        }
        entry.map_or(LogBackend::DEFAULT, |(_, backend)| *backend)
    }

    fn log(&mut self, frame_bytes: usize) -> LogSettings {
        let most = 4 << 20;
        let kb = self.within("preAllocSize", self.cfg.pre_alloc_kb, [1, most], SEGMENT_KB);
        let wanted = kb as u64 * 1024;
        let least = SEGMENT_BYTES_MIN.max(4 * frame_bytes as u64);
        if wanted < least {
            let text = format!("preAllocSize={kb}: a log segment has at least {least} bytes");
            self.notice(false, text);
        }
        let segment_bytes = wanted.max(least).next_multiple_of(ALIGN as u64);
        let writes = [1, LOG_WRITES_MAX as i64];
        let writes_max =
            self.within("ringkeeper.logWrites", self.cfg.log_writes, writes, LOG_WRITES_MAX as i64);
        // The runtime draws the id.
        LogSettings { segment_bytes, writes_max: writes_max as usize, log_id: 0 }
    }

    fn settings(&mut self, server: ServerId) -> Settings {
        let cfg = self.cfg;
        let mut settings = Settings {
            extended_types: cfg.extended_types.unwrap_or(false),
            enforce_quota: cfg.enforce_quota.unwrap_or(false),
            skip_acl: cfg.skip_acl.unwrap_or(false),
            reconfig: cfg.reconfig.unwrap_or(false),
            digest_scheme: cfg.digest_enabled.unwrap_or(true),
            ..Settings::default()
        };
        if settings.extended_types && u64::from(server.0) > 254 {
            self.problem("extendedTypesEnabled: the server's id must be 254 or less");
        }
        if settings.skip_acl {
            self.notice(true, "skipACL=yes: access lists are not consulted");
        }
        for class in &cfg.auth_providers {
            match class.rsplit('.').next().unwrap_or_default() {
                "SASLAuthenticationProvider" => {
                    settings.sasl_scheme = true;
                    let text = "authProvider: sasl may stand in access lists, but nobody can \
                                authenticate with it yet";
                    self.notice(true, text);
                }
                "X509AuthenticationProvider" => {
                    settings.x509_scheme = true;
                    let text = "authProvider: x509 may stand in access lists, but nobody can \
                                authenticate with it yet";
                    self.notice(true, text);
                }
                "DigestAuthenticationProvider"
                | "IPAuthenticationProvider"
                | "EnsembleAuthenticationProvider" => {}
                _ => self.notice(true, format!("authProvider: {class} is not known")),
            }
        }
        settings
    }

    /// On unless switched off: only clients that say they are content with reading notice.
    fn read_only_mode(&mut self) -> bool {
        let enabled = self.cfg.read_only_mode != Some(false);
        if self.cfg.read_only_mode.is_some() {
            let text = "readonlymode.enabled: obeyed here, though ZooKeeper ignores it in this \
                        file and takes the property of the JVM";
            self.notice(false, text);
        }
        enabled
    }

    fn words(&mut self) -> Option<Vec<[u8; 4]>> {
        let list = self.cfg.whitelist.clone().unwrap_or_else(|| WORDS.join(","));
        let mut words = Vec::new();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == "*" {
                return None;
            }
            match <[u8; 4]>::try_from(word.as_bytes()) {
                Ok(word) => words.push(word),
                Err(_) => {
                    self.notice(true, format!("4lw.commands.whitelist: {word} is not a word"));
                }
            }
        }
        Some(words)
    }

    fn snapshots_kept(&mut self) -> usize {
        let kept = self.cfg.snaps_kept.unwrap_or(SNAPSHOTS_KEPT_MIN);
        if kept < SNAPSHOTS_KEPT_MIN {
            let text = format!("autopurge.snapRetainCount={kept}: at least {SNAPSHOTS_KEPT_MIN}");
            self.notice(true, text);
        }
        kept.max(SNAPSHOTS_KEPT_MIN) as usize
    }
}

/// True if a connection can have identities of this scheme.
fn exists(settings: &Settings, scheme: &str) -> bool {
    match scheme {
        "ip" => true,
        "digest" => settings.digest_scheme,
        "sasl" => settings.sasl_scheme,
        "x509" => settings.x509_scheme,
        _ => false,
    }
}

pub(super) fn named(host: &str) -> Host {
    match host {
        "" | "*" | "0.0.0.0" | "::" => Host::Any,
        host => Host::Named(host.to_owned()),
    }
}
