//! From a configuration to a serving node: checks, recovery, executors, supervision.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::Version;
use engine::recover::{Recovered, Report, recover};
use glommio::{LocalExecutorBuilder, Placement};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::clock::Clock;
use super::disk::Disk;
use super::executor::{CoreSeat, Door, Executor, Places, ShardSeat};
use super::mail::{Address, Mailbox};
use super::peers::{Peers, Ports};
use super::preflight::{self, StartError, cannot};
use super::pulse::{self, Heart};
use super::sockets::Listener;
use super::{admin, host, images, texts};
use crate::admin::Texts;
use crate::admin::http::Site;
use crate::admission::Admission;
use crate::config::{AdminPort, Host, Resolved};
use crate::core::{Core, CoreConfig, CoreOutputs};
use crate::feed::{Publisher, Subscriber, feed};
use crate::limits::{FEED_SLOTS, SHARD_SUBMITS_MAX};
use crate::link::ShardId;
use crate::shard::{Shard, ShardConfig};

/// Registered memory per executor: the log does not use glommio's buffers, so the least will do.
/// It is registered three times and counts against the limit on locked memory.
const IO_MEMORY: usize = 64 << 10;
/// Silence after which an executor counts as dead, at least.
const SILENCE_MIN: Duration = Duration::from_secs(10);
/// Cores from which on executors are pinned unless configured otherwise.
const PIN_CORES_MIN: usize = 4;
/// More shards than this need a reason that a default cannot know.
const SHARDS_DEFAULT_MAX: usize = 16;

/// Cores that this process may use, by number.
pub fn cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut allowed = parse_cores(list.unwrap_or_default());
    // A container's share of time may be less than its cores.
    let share = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    allowed.truncate(share);
    if allowed.is_empty() { vec![0] } else { allowed }
}

/// `0-3,8` as the kernel writes it.
fn parse_cores(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Shards unless configured. Up to two cores: one, since the log's threads and the kernel need
/// the rest; above: one core is left to them.
pub fn shards_default(cores: usize) -> usize {
    cores.saturating_sub(1).clamp(1, SHARDS_DEFAULT_MAX)
}

/// Blocks the signals that stop the server, so that only the descriptor sees them. Before any
/// thread starts.
///
/// The signal of a write beyond the limit on a file's size is blocked too: then the write fails
/// and the node halts with the cause in words, instead of dying without one.
fn take_signals() -> Result<SignalFd, StartError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    let mut blocked = signals;
    blocked.add(Signal::SIGXFSZ);
    let failed = |errno: nix::errno::Errno| cannot("taking signals")(errno.into());
    blocked.thread_block().map_err(failed)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// A panic anywhere ends the process: a node with a dead part must not look alive.
fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        tracing::error!(%panic, "a bug: the process ends");
        std::process::abort();
    }));
}

/// Serves until a signal stops it. Returns when everything accepted is durable and answered.
pub fn serve(mut config: Resolved) -> Result<(), StartError> {
    abort_on_panic();
    let signals = take_signals()?;
    let descriptors = preflight::raise_descriptor_limit(u64::from(config.connections_max))?;
    preflight::probe_io_uring()?;
    let owned = preflight::take_data_dirs(&config.data_dir, &config.log_dir)?;
    let mut secret = preflight::session_secret(&config.data_dir)?;
    // Nobody outside can tell which paths collide.
    config.settings.hash_seed = first_word(&secret);
    if let Some(file) = &config.session_key_file {
        secret = preflight::shared_secret(file)?;
    }
    if config.ensemble.is_some() {
        preflight::keep_initialize(&config.data_dir, &owned.dirs)?;
    }
    config.log.log_id = first_word(&preflight::random()?);

    let clock = Clock::start();
    let cores = cores();
    let mut recovered = read_back(&config, &owned.dirs, cores.len(), &clock)?;
    let listener = listen(&config)?;
    let address = listener.address().map_err(cannot("asking for the listener's address"))?;

    let ports = config.peer_listen.as_ref().map(Ports::open).transpose()?;

    let shards = config.shards.unwrap_or_else(|| shards_default(cores.len()));
    let envi_text = texts::envi(&config.version_text);
    let (publisher, subscribers) = feed(shards, FEED_SLOTS);
    let core_executors = usize::from(config.core_apart);
    let boxes = (0..shards + core_executors)
        .map(|_| Mailbox::new())
        .collect::<io::Result<Vec<_>>>()
        .map_err(cannot("creating letter boxes"))?;
    let (executors, mailboxes): (Vec<Address>, Vec<Mailbox>) = boxes.into_iter().unzip();
    let places = Places {
        executors,
        shards: (0..shards).map(|shard| shard + core_executors).collect(),
        core: 0,
        loads: Arc::new((0..shards).map(|_| AtomicUsize::new(0)).collect()),
        admission: Arc::new(Mutex::new(Admission::new(
            config.connections_per_address_max,
            preflight::clients_max(descriptors, config.connections_max),
        ))),
    };

    let core_config = core_config(&config, address, secret, shards, &envi_text);
    let version = Core::first_version(&core_config, &mut recovered);
    let mut core_parts = Some(CoreParts {
        config: core_config,
        recovered,
        publisher,
        dirs: owned.dirs.clone(),
        backend: config.backend,
        shards,
        ports: ports.zip(config.peer_listen.as_ref().map(|listen| listen.connect_ms)),
    });
    let mut door = Some(Door { listener: Some(listener), signals });
    let mut subscribers = subscribers.into_iter();
    let mut hearts = Vec::new();
    let mut handles = Vec::new();
    let (up, all_up) = flume::bounded(mailboxes.len());
    let pin = config.pin.unwrap_or(cores.len() >= PIN_CORES_MIN);
    for (number, mailbox) in mailboxes.into_iter().enumerate() {
        let name = format!("executor-{number}");
        let heart = Heart::default();
        hearts.push((name.clone(), heart.clone()));
        let shard = number.checked_sub(core_executors).map(|shard| ShardParts {
            config: shard_config(&config, ShardId(shard as u16), shards, &envi_text),
            version: version.clone(),
            feed: subscribers.next().expect("one per shard"),
        });
        let parts = Parts {
            number,
            clock,
            heart,
            mailbox,
            places: places.clone(),
            core: if number == places.core { core_parts.take() } else { None },
            door: if number == places.shards[0] { door.take() } else { None },
            shard,
            in_ensemble: config.ensemble.is_some(),
        };
        let placement =
            if pin { Placement::Fixed(cores[number % cores.len()]) } else { Placement::Unbound };
        let up = up.clone();
        let spawned = LocalExecutorBuilder::new(placement)
            .name(&name)
            .io_memory(IO_MEMORY)
            .spawn(move || async move { parts.assemble().await?.run(up).await });
        handles
            .push((name, spawned.map_err(|error| cannot("starting an executor")(error.into()))?));
    }
    drop((up, version));
    let (core, admission) = (places.executors[places.core].clone(), places.admission.clone());
    for port in &config.admin {
        open_admin(port, &core)?;
    }
    host::start(owned.dirs.clone(), descriptors, admission, core)
        .map_err(cannot("starting the watch on the machine"))?;
    let silence = Duration::from_millis(config.session_timeout_ms_max.max(0) as u64);
    pulse::start(hearts, silence.max(SILENCE_MIN)).map_err(cannot("starting the pulse"))?;

    if all_up.iter().take(handles.len()).count() == handles.len() {
        // Members of an ensemble serve clients as soon as there is a quorum, which may be never.
        let role = config.ensemble.as_ref().map(|_| "searching");
        tracing::info!(
            %address,
            data = %owned.dirs.snapshots.display(),
            log = %owned.dirs.log.display(),
            server = config.server.0,
            role,
            shards,
            descriptors,
            "ready",
        );
    }
    for (name, handle) in handles {
        match handle.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(cannot(name)(error)),
            // A panic has ended the process already; this is glommio's own refusal.
            Err(error) => return Err(cannot(format!("{name} cannot run"))(error.into())),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

fn first_word(bytes: &[u8; 32]) -> u64 {
    bytes[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Opens the listener on the first address that the configured host has. "Any" is both families
/// where the machine has both.
fn listen(config: &Resolved) -> Result<Listener, StartError> {
    let open = |address: SocketAddr| {
        Listener::open(address, config.backlog)
            .map_err(|error| StartError::Listen { address, error })
    };
    match &config.host {
        Host::Any => match open((Ipv6Addr::UNSPECIFIED, config.port).into()) {
            Err(StartError::Listen { error, .. })
                if error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                open((Ipv4Addr::UNSPECIFIED, config.port).into())
            }
            other => other,
        },
        Host::Named(host) => {
            let what = format!("looking up the client address {host}");
            let mut found =
                (host.as_str(), config.port).to_socket_addrs().map_err(cannot(&*what))?;
            let none = || io::Error::other("the name has no address");
            open(found.next().ok_or_else(none).map_err(cannot(&*what))?)
        }
    }
}

/// Opens a port for administrators.
fn open_admin(port: &AdminPort, core: &Address) -> Result<(), StartError> {
    let AdminPort { host, port, site, patience_ms, vital } = port;
    let opened = match host {
        Host::Any => Ok((Ipv4Addr::UNSPECIFIED, *port).into()),
        Host::Named(host) => (host.as_str(), *port).to_socket_addrs().and_then(|mut found| {
            found.next().ok_or_else(|| io::Error::other("the name has no address"))
        }),
    }
    .and_then(|address| {
        let patience = Duration::from_millis(*patience_ms);
        admin::serve(address, site.clone(), patience, core.clone())
    });
    let what = match site {
        Site::Commands { .. } => "admin server",
        Site::Metrics => "metrics for Prometheus",
    };
    match opened {
        Ok(address) => tracing::info!(%address, "{what}"),
        Err(error) if *vital => return Err(cannot(format!("{what}, port {port}"))(error)),
        Err(error) => tracing::warn!(port, %error, "{what} not available"),
    }
    Ok(())
}

/// Reads the files back, and tells the operator what was found.
fn read_back(
    config: &Resolved,
    dirs: &super::disk::Dirs,
    cores: usize,
    clock: &Clock,
) -> Result<Recovered, StartError> {
    let began = clock.now().mono;
    let image = images::map_all(dirs).map_err(cannot("reading the data directories"))?;
    let recovered = recover(&image, config.settings.clone(), config.log, &images::Cores(cores))?;
    let alone = config.ensemble.is_none();
    let recovered = if alone { recovered.agreeing()? } else { recovered };
    let Report {
        snapshot,
        znodes,
        replayed,
        warnings,
        snapshots: _,
        unusable: _,
        adopt: _,
        unusable_incoming: _,
        differs: _,
    } = &recovered.report;
    for warning in warnings {
        tracing::warn!("recovery: {warning}");
    }
    let took_ms = clock.now().mono.since(began).as_millis() as u64;
    tracing::info!(?snapshot, znodes, replayed, took_ms, "recovered");
    Ok(recovered)
}

/// What an executor needs to build its actors on its own thread.
struct Parts {
    number: usize,
    clock: Clock,
    heart: Heart,
    mailbox: Mailbox,
    places: Places,
    core: Option<CoreParts>,
    door: Option<Door>,
    shard: Option<ShardParts>,
    in_ensemble: bool,
}

struct CoreParts {
    config: CoreConfig,
    recovered: Recovered,
    publisher: Publisher,
    dirs: super::disk::Dirs,
    backend: super::disk::Backend,
    shards: usize,
    /// The ports for fellow servers, and how long to wait for one of them, ms.
    ports: Option<(Ports, u64)>,
}

struct ShardParts {
    config: ShardConfig,
    version: Version,
    feed: Subscriber,
}

impl Parts {
    async fn assemble(self) -> io::Result<Executor> {
        let core = match self.core {
            Some(parts) => Some(parts.assemble(&self.clock).await?),
            None => None,
        };
        let shard = self.shard.map(|parts| {
            let id = parts.config.shard;
            ShardSeat::new(id, Shard::new(parts.config, parts.version, parts.feed))
        });
        Ok(Executor {
            number: self.number,
            clock: self.clock,
            heart: self.heart,
            mailbox: self.mailbox,
            places: self.places,
            shard,
            core,
            door: self.door,
            in_ensemble: self.in_ensemble,
        })
    }
}

impl CoreParts {
    async fn assemble(self, clock: &Clock) -> io::Result<CoreSeat> {
        let disk = Disk::start(self.dirs, self.backend).await?;
        tracing::info!(backend = disk.backend().name(), "log");
        let silence_ms =
            self.config.ensemble.as_ref().map_or(0, |ensemble| {
                ensemble.tick_ms.saturating_mul(u64::from(ensemble.sync_limit))
            });
        let peers = match self.ports {
            Some((ports, connect_ms)) => Some(Peers::new(ports, *clock, connect_ms, silence_ms)?),
            None => None,
        };
        let mut out = CoreOutputs::default();
        let core = Core::new(self.config, self.recovered, self.publisher, clock.now(), &mut out);
        Ok(CoreSeat::new(core, out, disk, self.shards, peers))
    }
}

/// "Any" is written as ZooKeeper does, whichever families it means.
fn shown(address: SocketAddr) -> String {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    (if address.ip().is_unspecified() { any } else { address }).to_string()
}

fn core_config(
    config: &Resolved,
    address: SocketAddr,
    session_secret: [u8; 32],
    shards: usize,
    envi_text: &str,
) -> CoreConfig {
    CoreConfig {
        server: config.server,
        ensemble: config.ensemble.clone(),
        shards: shards as u16,
        tick_ms: config.tick_ms,
        session_timeout_ms_min: config.session_timeout_ms_min,
        session_timeout_ms_max: config.session_timeout_ms_max,
        settings: config.settings.clone(),
        session_secret,
        read_only_mode: config.read_only_mode,
        leader_serves: config.leader_serves,
        zookeeper_passwords: config.zookeeper_passwords,
        disk_hang_ms: config.disk_hang_ms,
        container_check_ms: config.container_check_ms,
        container_per_minute: config.container_per_minute,
        container_never_used_ms: config.container_never_used_ms,
        snapshot_entries: config.snapshot_entries,
        snapshot_bytes: config.snapshot_bytes,
        snapshots_kept: config.snapshots_kept,
        reserve_bytes: config.reserve_bytes,
        sessions_max: config.sessions_max,
        texts: Arc::new(Texts {
            version: config.version_text.clone(),
            conf: config.conf_text(address.port()),
            envi: envi_text.to_owned(),
            file: config.file_text.clone(),
            client_address: shown(address),
        }),
    }
}

fn shard_config(config: &Resolved, shard: ShardId, shards: usize, envi_text: &str) -> ShardConfig {
    ShardConfig {
        shard,
        frame_bytes_max: config.frame_bytes_max,
        words: config.words.clone(),
        super_digest: config.super_digest.clone(),
        digest_scheme: config.settings.digest_scheme,
        digest_algorithm: config.digest_algorithm,
        ensemble_names: config.ensemble_names.clone(),
        required_schemes: config.required_schemes.clone(),
        sasl_expected: config.settings.sasl_scheme,
        skip_acl: config.settings.skip_acl,
        // Each shard counts its own: a count that all share would cost every request a contended
        // store.
        outstanding_max: config
            .outstanding_max
            .map_or(SHARD_SUBMITS_MAX, |all| all.div_ceil(shards)),
        crowd: crate::limits::CROWD,
        sessionless_ms: config.sessionless_ms,
        version_text: config.version_text.clone(),
        envi_text: envi_text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_left_to_the_log_and_the_kernel() {
        let table = [(1, 1), (2, 1), (3, 2), (4, 3), (8, 7), (64, 16)];
        for (cores, shards) in table {
            assert_eq!(shards_default(cores), shards, "{cores} cores");
        }
        assert!(!cores().is_empty());
    }

    #[test]
    fn lists_of_cores_are_read() {
        let table: [(&str, &[usize]); 4] =
            [("\t0-1", &[0, 1]), ("3", &[3]), ("0-2,8", &[0, 1, 2, 8]), ("", &[])];
        for (text, expect) in table {
            assert_eq!(parse_cores(text), expect, "{text:?}");
        }
    }
}
