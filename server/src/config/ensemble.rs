//! The keys that concern the servers of an ensemble: their lines, their ports, their limits.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use model::ServerId;
use replication::wire::handshake::WireOptions;
use replication::{Address, Membership, PeerAddress, ReplicaConfig};

use super::properties::Property;
use super::resolved::{CommandLine, Host, named};
use super::typed::{Notice, Problems, Reader, ZooCfg, is_number};

/// ZooKeeper's `electionPortBindRetry` unless configured.
const BIND_TRIES: i64 = 3;
/// ZooKeeper's `cnxTimeout` unless configured, ms.
const CONNECT_MS: i64 = 5000;
/// Most ticks a limit may have.
const TICKS_MAX: i64 = 1 << 20;

/// A `server.N` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerLine {
    /// N.
    pub id: u64,
    /// Where it meets its fellow servers; at least one.
    pub addresses: Vec<PeerAddress>,
    /// Takes part in votes.
    pub participant: bool,
    /// Client address after the semicolon: host, if named, and port.
    pub client: Option<(Option<String>, u16)>,
}

/// `server.N=...` as servers exchange it.
impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.{}=", self.id)?;
        for (i, PeerAddress { host, quorum_port, election_port }) in
            self.addresses.iter().enumerate()
        {
            let separator = if i == 0 { "" } else { "|" };
            let quorum = Address { host: host.clone(), port: *quorum_port };
            write!(f, "{separator}{quorum}:{election_port}")?;
        }
        f.write_str(if self.participant { ":participant" } else { ":observer" })?;
        if let Some((host, port)) = &self.client {
            let host = host.clone().unwrap_or_else(|| "0.0.0.0".into());
            write!(f, ";{}", Address { host, port: *port })?;
        }
        Ok(())
    }
}

/// What is written about the ensemble. None: not written.
#[derive(Clone, Debug, Default)]
pub struct EnsembleKeys {
    /// `server.N`, by N.
    pub servers: Vec<ServerLine>,
    /// `group.N` and `weight.N`, as `key=value`.
    pub groups: Vec<String>,
    /// `dynamicConfigFile`: the server lines are there.
    pub dynamic_file: Option<String>,
    /// The dynamic file's version.
    pub version: Option<i64>,
    /// `initLimit`, ticks
    pub init_limit: Option<i64>,
    /// `syncLimit`, ticks
    pub sync_limit: Option<i64>,
    /// `peerType` is `observer`
    pub observer: Option<bool>,
    /// `quorumListenOnAllIPs`
    pub listen_on_all: Option<bool>,
    /// `electionPortBindRetry`
    pub bind_tries: Option<i64>,
    /// `cnxTimeout`, ms
    pub connect_ms: Option<i64>,
    /// `multiAddress.enabled`
    pub multi_address: Option<bool>,
    /// `db.autocreate`
    pub autocreate: Option<bool>,
    /// `fastleader.minNotificationInterval`, ms
    pub notify_ms_min: Option<i64>,
    /// `fastleader.maxNotificationInterval`, ms
    pub notify_ms_max: Option<i64>,
    /// `forceSnapshotSync`
    pub force_snapshot: Option<bool>,
    /// `ringkeeper.diskHangLimit`, ms
    pub disk_hang_ms: Option<i64>,
    /// `ringkeeper.wireOptions` is `on`
    pub wire_options: Option<bool>,
    /// `ringkeeper.sessionKeyFile`
    pub session_key_file: Option<String>,
    /// Keys that ask for connections between servers to be secured.
    pub secured: Vec<&'static str>,
    /// Keys written that matter only in an ensemble.
    written: Vec<&'static str>,
}

/// Keys of ZooKeeper's that matter only between servers, and are acted on there.
const WRITTEN: &[&str] = &[
    "initLimit",
    "syncLimit",
    "peerType",
    "quorumListenOnAllIPs",
    "electionPortBindRetry",
    "cnxTimeout",
    "multiAddress.enabled",
    "db.autocreate",
    "fastleader.minNotificationInterval",
    "fastleader.maxNotificationInterval",
    "forceSnapshotSync",
    "sslQuorum",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
];
/// Those whose truth promises safety from strangers.
const SECURED: &[&str] = &[
    "sslQuorum",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
];

impl EnsembleKeys {
    /// Takes the ensemble's keys except the lines of its members.
    pub(super) fn take(reader: &mut Reader) -> EnsembleKeys {
        let written = WRITTEN.iter().copied().filter(|key| reader.has(key)).collect();
        let secured = |reader: &mut Reader| {
            SECURED.iter().copied().filter(|key| reader.strict_bool(key) == Some(true)).collect()
        };
        EnsembleKeys {
            written,
            secured: secured(reader),
            dynamic_file: reader.text("dynamicConfigFile").filter(|file| !file.is_empty()),
            init_limit: reader.number("initLimit"),
            sync_limit: reader.number("syncLimit"),
            observer: peer_type(reader),
            listen_on_all: reader.strict_bool("quorumListenOnAllIPs"),
            bind_tries: reader.number("electionPortBindRetry"),
            connect_ms: reader.number("cnxTimeout"),
            multi_address: reader.strict_bool("multiAddress.enabled"),
            autocreate: reader.lenient_bool("db.autocreate"),
            notify_ms_min: reader.number("fastleader.minNotificationInterval"),
            notify_ms_max: reader.number("fastleader.maxNotificationInterval"),
            force_snapshot: reader.lenient_bool("forceSnapshotSync"),
            disk_hang_ms: reader.number("ringkeeper.diskHangLimit"),
            wire_options: wire_options(reader),
            session_key_file: reader.text("ringkeeper.sessionKeyFile"),
            ..EnsembleKeys::default()
        }
    }

    /// Takes a `server.N`, `group.N` or `weight.N` line; false if it is none.
    pub(super) fn take_member(&mut self, reader: &mut Reader, key: &str, line: &Property) -> bool {
        if let Some(id) = key.strip_prefix("server.").filter(|id| is_number(id)) {
            match server_line(id, &line.value) {
                Ok(server) => self.servers.push(server),
                Err(why) => reader.problem(line.line, format!("{key}={}: {why}", line.value)),
            }
        } else if key.starts_with("group.") || key.starts_with("weight.") {
            self.groups.push(format!("{key}={}", line.value));
        } else {
            return false;
        }
        self.servers.sort_by_key(|server| server.id);
        true
    }

    /// Takes the members from the dynamic file's properties (client-protocol 10.8). The version is
    /// the hexadecimal end of the file's name, or written inside.
    pub(super) fn take_dynamic(&mut self, properties: Vec<Property>) -> Result<(), Problems> {
        let file = self.dynamic_file.clone().unwrap_or_default();
        let mut reader = Reader::default();
        let suffix = file.rsplit_once(".dynamic.").map(|(_, version)| version);
        self.version = suffix.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        for property in properties {
            let key = property.key.clone();
            if key == "version" {
                let written = i64::from_str_radix(&property.value, 16).ok();
                let fits = written.is_some() && self.version.is_none_or(|v| Some(v) == written);
                if !fits {
                    let text = format!(
                        "version={}: must be hexadecimal, as in the file's name",
                        property.value
                    );
                    reader.problem(property.line, text);
                }
                self.version = self.version.or(written);
            } else if !self.take_member(&mut reader, &key, &property) {
                reader.problem(property.line, format!("{key}: only server, group and weight here"));
            }
        }
        if self.servers.is_empty() {
            reader.problems.0.push("it lists no server".into());
        }
        if reader.problems.0.is_empty() { Ok(()) } else { Err(reader.problems) }
    }
}

fn peer_type(reader: &mut Reader) -> Option<bool> {
    let line = reader.take("peerType")?;
    match line.value.to_ascii_lowercase().as_str() {
        "observer" => Some(true),
        "participant" => Some(false),
        other => {
            let text = format!("peerType={other}: must be participant or observer");
            reader.problem(line.line, text);
            None
        }
    }
}

fn wire_options(reader: &mut Reader) -> Option<bool> {
    let line = reader.take("ringkeeper.wireOptions")?;
    match line.value.as_str() {
        "on" => Some(true),
        "off" => Some(false),
        other => {
            let text = format!("ringkeeper.wireOptions={other}: must be on or off");
            reader.problem(line.line, text);
            None
        }
    }
}

/// What stands in files of the data directory beside the data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    /// Content of `myid`, if it is there.
    pub my_id: Option<String>,
    /// The file `initialize` is there: an empty database is one on purpose.
    pub initialize: bool,
}

/// Where to listen for fellow servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerListen {
    /// While this server leads.
    pub quorum: Vec<(Host, u16)>,
    /// Always.
    pub election: Vec<(Host, u16)>,
    /// How often to try, a second apart, when an address is in use; None: for ever.
    pub bind_tries: Option<u32>,
    /// Longest that connecting to one address may take, ms.
    pub connect_ms: u64,
}

/// Who this server is, and how it meets the others.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// This server.
    pub(super) server: ServerId,
    /// Its own client address, where its line says one.
    pub(super) client: Option<(Option<String>, u16)>,
    /// None: alone.
    pub(super) ensemble: Option<(ReplicaConfig, PeerListen)>,
}

/// Finds this server among the listed ones.
pub(super) struct Finder<'a> {
    pub(super) cfg: &'a ZooCfg,
    pub(super) beside: &'a Beside,
    pub(super) data_dir: &'a Path,
    pub(super) tick_ms: i64,
    pub(super) frame_bytes: usize,
    pub(super) problems: &'a mut Problems,
    pub(super) notices: &'a mut Vec<Notice>,
}

impl Finder<'_> {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.0.push(text.into());
    }

    fn notice(&mut self, warn: bool, text: impl Into<String>) {
        self.notices.push(Notice { warn, text: text.into() });
    }

    fn within(&mut self, key: &str, value: i64, [least, most]: [i64; 2]) -> i64 {
        if !(least..=most).contains(&value) {
            self.problem(format!("{key}={value}: must be from {least} to {most}"));
        }
        value.clamp(least, most)
    }

    /// The rule of ZooKeeper's: one participant stands alone, unless `standaloneEnabled=false`.
    pub(super) fn find(mut self) -> Place {
        let keys = &self.cfg.ensemble;
        for server in keys.servers.iter().filter(|server| server.id > 255) {
            self.problem(format!("server.{}: ids go from 0 to 255", server.id));
        }
        let participants = keys.servers.iter().filter(|server| server.participant).count();
        let observers = keys.servers.len() - participants;
        let standalone = self.cfg.standalone.unwrap_or(true);
        if participants == 0 && observers > 0 {
            self.problem("server.N: observers need participants");
        } else if participants == 1 && observers > 0 && standalone {
            self.problem(
                "server.N: one participant stands alone and cannot have observers: list more \
                 participants, or set standaloneEnabled=false",
            );
        } else if participants + observers > 1 {
            return self.among_others();
        } else if participants == 1 && !standalone {
            let text = "standaloneEnabled=false: this one server cannot be joined by others yet";
            self.notice(true, text);
        }
        if keys.servers.is_empty() && !keys.groups.is_empty() {
            self.problem("group.N, weight.N: no server.N is listed");
        }
        for key in &keys.written {
            self.notice(false, format!("{key}: matters only in an ensemble"));
        }
        let only = keys.servers.first();
        Place {
            server: ServerId(only.map_or(1, |server| server.id as u8)),
            client: only.and_then(|server| server.client.clone()),
            ensemble: None,
        }
    }

    fn among_others(mut self) -> Place {
        let keys = &self.cfg.ensemble;
        for key in &keys.secured {
            self.problem(format!("{key}: connections between servers cannot be secured yet"));
        }
        if self.cfg.reconfig == Some(true) {
            let text = "reconfigEnabled: members cannot be changed while the ensemble runs yet";
            self.notice(true, text);
        }
        let server = self.my_id();
        let own = keys.servers.iter().find(|line| line.id == u64::from(server.0));
        if let (Some(own), Some(observer)) = (own, keys.observer)
            && observer == own.participant
        {
            self.notice(true, "peerType: the server line says something else, and counts");
        }
        let place =
            Place { server, client: own.and_then(|own| own.client.clone()), ensemble: None };
        let (Some(own), Some(members)) = (own, self.members()) else { return place };
        let config = self.replica_config(server, members);
        let listen = self.listen(own, &config);
        Place { ensemble: Some((config, listen)), ..place }
    }

    /// Reads `myid`, which must name a listed server.
    fn my_id(&mut self) -> ServerId {
        let path = self.data_dir.join("myid");
        let path = path.display();
        let Some(text) = &self.beside.my_id else {
            self.problem(format!("{path}: missing; it must hold this server's number"));
            return ServerId(0);
        };
        let text = text.lines().next().unwrap_or_default().trim();
        let Ok(id) = text.parse::<u8>() else {
            self.problem(format!("{path}: {text:?} is not a number from 0 to 255"));
            return ServerId(0);
        };
        if !self.cfg.ensemble.servers.iter().any(|line| line.id == u64::from(id)) {
            self.problem(format!("{path}: server {id} is not among the server.N lines"));
        }
        ServerId(id)
    }

    fn members(&mut self) -> Option<Membership> {
        let keys = &self.cfg.ensemble;
        let several = keys.servers.iter().find(|line| line.addresses.len() > 1);
        if let (Some(line), false) = (several, keys.multi_address.unwrap_or(false)) {
            let id = line.id;
            self.problem(format!("server.{id}: several addresses need multiAddress.enabled=true"));
        }
        let mut text = String::new();
        for line in &keys.servers {
            writeln!(text, "{line}").expect("a string takes everything");
        }
        for line in &keys.groups {
            writeln!(text, "{line}").expect("a string takes everything");
        }
        write!(text, "version={:x}", keys.version.unwrap_or(0)).expect("a string takes everything");
        match Membership::parse(&text) {
            Ok(members) => Some(members),
            Err(error) => {
                self.problem(format!("server.N, group.N, weight.N: {error}"));
                None
            }
        }
    }

    fn limit(&mut self, key: &str, value: Option<i64>) -> u32 {
        if value.is_none() {
            self.problem(format!("{key}: must be set in an ensemble"));
        }
        self.within(key, value.unwrap_or(1), [1, TICKS_MAX]) as u32
    }

    fn replica_config(&mut self, server: ServerId, members: Membership) -> ReplicaConfig {
        let keys = &self.cfg.ensemble;
        let mut config = ReplicaConfig::new(server, members);
        config.tick_ms = self.tick_ms as u64;
        config.init_limit = self.limit("initLimit", keys.init_limit);
        config.sync_limit = self.limit("syncLimit", keys.sync_limit);
        let minute = [1, 60_000];
        if let Some(ms) = keys.notify_ms_min {
            config.notify_ms_min =
                self.within("fastleader.minNotificationInterval", ms, minute) as u64;
        }
        if let Some(ms) = keys.notify_ms_max {
            config.notify_ms_max =
                self.within("fastleader.maxNotificationInterval", ms, minute) as u64;
        }
        config.notify_ms_max = config.notify_ms_max.max(config.notify_ms_min);
        config.empty_may_vote = keys.autocreate.unwrap_or(true) || self.beside.initialize;
        if !config.empty_may_vote {
            let text = "db.autocreate=false: while this server has no data it does not vote";
            self.notice(false, text);
        }
        config.force_snapshot = keys.force_snapshot.unwrap_or(false);
        if keys.wire_options == Some(false) {
            config.wire_options = WireOptions::NONE;
        }
        // A transaction is about as large as the request it came from.
        config.data_bytes_max = config.data_bytes_max.max(2 * self.frame_bytes);
        config
    }

    fn listen(&mut self, own: &ServerLine, config: &ReplicaConfig) -> PeerListen {
        let keys = &self.cfg.ensemble;
        let all = keys.listen_on_all.unwrap_or(false);
        let places = |port: fn(&PeerAddress) -> u16| {
            let mut places: Vec<(Host, u16)> = Vec::new();
            for address in &own.addresses {
                let host = if all { Host::Any } else { named(&address.host) };
                let place = (host, port(address));
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            places
        };
        let (quorum, election) = (places(|a| a.quorum_port), places(|a| a.election_port));
        let tries = keys.bind_tries.unwrap_or(BIND_TRIES);
        let tries = self.within("electionPortBindRetry", tries, [0, i64::from(i32::MAX)]);
        let silence_ms = (config.tick_ms as i64).saturating_mul(i64::from(config.sync_limit));
        let connect_ms = match keys.connect_ms {
            Some(ms) => self.within("cnxTimeout", ms, [1, 600_000]),
            None => CONNECT_MS.min(silence_ms),
        };
        let bind_tries = (tries > 0).then_some(tries as u32);
        PeerListen { quorum, election, bind_tries, connect_ms: connect_ms as u64 }
    }
}

/// Who makes session passwords, and from what. Every server must come to the same ones, since
/// sessions move.
pub(super) fn passwords(
    cfg: &ZooCfg,
    in_ensemble: bool,
    notices: &mut Vec<Notice>,
) -> (bool, Option<PathBuf>) {
    let key_file = cfg.ensemble.session_key_file.clone().map(PathBuf::from);
    let formula = match (cfg.zookeeper_passwords, &key_file, in_ensemble) {
        (Some(formula), ..) => formula,
        (None, None, in_ensemble) => in_ensemble,
        (None, Some(_), _) => false,
    };
    let mut notice = |warn: bool, text: &str| {
        notices.push(Notice { warn, text: text.to_owned() });
    };
    if in_ensemble && cfg.zookeeper_passwords.is_none() && formula {
        notice(
            false,
            "ringkeeper.zookeeperPasswords: true, since several servers are listed and no \
             ringkeeper.sessionKeyFile is set: session passwords follow ZooKeeper's formula, \
             which can be guessed from session numbers",
        );
    }
    if in_ensemble && !formula && key_file.is_none() {
        notice(
            true,
            "ringkeeper.zookeeperPasswords=false: session.key must be the same on every server, \
             or sessions cannot move",
        );
    }
    if formula && key_file.is_some() {
        notice(true, "ringkeeper.sessionKeyFile: not used, ZooKeeper's formula is asked for");
    }
    (formula, key_file)
}

/// Where the data directory is: the command line counts more than the file.
pub fn data_dir(cfg: &ZooCfg, line: &CommandLine) -> Option<PathBuf> {
    line.data_dir.clone().or_else(|| cfg.data_dir.clone().map(PathBuf::from))
}

/// `host:quorumPort:electionPort[:role][|...][;[clientHost:]clientPort]` (client-protocol 10.8).
fn server_line(id: &str, value: &str) -> Result<ServerLine, String> {
    let id = id.parse().map_err(|_| "the id is too large".to_owned())?;
    let (places, client) = match value.split_once(';') {
        Some((places, client)) => (places, Some(client)),
        None => (value, None),
    };
    let (mut addresses, mut role) = (Vec::new(), None);
    for place in places.split('|') {
        let (host, rest) = split_host(place).ok_or("must begin with host:port:port")?;
        if host.is_empty() {
            return Err("the host is empty".into());
        }
        let mut parts = rest.split(':');
        let mut port = || {
            let port: Option<u16> = parts.next().and_then(|part| part.trim().parse().ok());
            port.ok_or("must have a quorum port and an election port")
        };
        let (quorum_port, election_port) = (port()?, port()?);
        if quorum_port == election_port {
            return Err("quorum port and election port must differ".into());
        }
        if let Some(word) = parts.next() {
            let participant = match word.trim().to_ascii_lowercase().as_str() {
                "participant" => true,
                "observer" => false,
                word => return Err(format!("unknown role {word}")),
            };
            if role.is_some_and(|role| role != participant) {
                return Err("the roles of its addresses differ".into());
            }
            role = Some(participant);
        }
        if parts.next().is_some() {
            return Err("something follows the role".into());
        }
        addresses.push(PeerAddress { host: host.to_owned(), quorum_port, election_port });
    }
    let client = client.map(|client| {
        let (host, port) = match split_host(client) {
            Some(("", port)) => (None, port),
            Some((host, port)) => (Some(host.to_owned()), port),
            None => (None, client),
        };
        let port = port.trim().parse().map_err(|_| "the client port is not a port".to_owned())?;
        Ok::<_, String>((host, port))
    });
    let participant = role.unwrap_or(true);
    Ok(ServerLine { id, addresses, participant, client: client.transpose()? })
}

/// Splits `host:rest`, the host possibly in brackets.
fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.trim().strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.trim().split_once(':'),
    }
}
