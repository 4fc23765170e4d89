//! The file as written: forms are checked here, relations in `resolved`.

use std::collections::BTreeMap;
use std::fmt;

use super::administration::AdminKeys;
use super::authentication::AuthKeys;
use super::ensemble::EnsembleKeys;
use super::keys::{Fate, fate};
use super::properties::Property;

/// Something that the operator should know although the server starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Worth a warning, not only a remark.
    pub warn: bool,
    /// In words, beginning with the key.
    pub text: String,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// The keys that this server acts on, as written. None: not written.
#[derive(Clone, Debug, Default)]
pub struct ZooCfg {
    /// `dataDir`
    pub data_dir: Option<String>,
    /// `dataLogDir`
    pub data_log_dir: Option<String>,
    /// `clientPort`
    pub client_port: Option<u16>,
    /// `clientPortAddress`
    pub client_port_address: Option<String>,
    /// `clientPortListenBacklog`
    pub backlog: Option<i32>,
    /// `secureClientPort` is set
    pub secure_port: bool,
    /// `secureClientPortAddress` is set
    pub secure_address: bool,
    /// `tickTime`, ms
    pub tick_time: Option<i64>,
    /// `minSessionTimeout`, ms
    pub min_session_timeout: Option<i32>,
    /// `maxSessionTimeout`, ms
    pub max_session_timeout: Option<i32>,
    /// `maxClientCnxns`
    pub max_client_cnxns: Option<i64>,
    /// `maxCnxns`
    pub max_cnxns: Option<i64>,
    /// `jute.maxbuffer`, bytes
    pub jute_maxbuffer: Option<i64>,
    /// `4lw.commands.whitelist`
    pub whitelist: Option<String>,
    /// `DigestAuthenticationProvider.superDigest`
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.enabled`
    pub digest_enabled: Option<bool>,
    /// What clients must prove.
    pub auth: AuthKeys,
    /// Where administrators connect.
    pub admin: AdminKeys,
    /// `leaderServes`
    pub leader_serves: Option<bool>,
    /// `extendedTypesEnabled`
    pub extended_types: Option<bool>,
    /// `enforceQuota`
    pub enforce_quota: Option<bool>,
    /// `skipACL`
    pub skip_acl: Option<bool>,
    /// `reconfigEnabled`
    pub reconfig: Option<bool>,
    /// `readonlymode.enabled`
    pub read_only_mode: Option<bool>,
    /// `standaloneEnabled`
    pub standalone: Option<bool>,
    /// `authProvider.*`: class names
    pub auth_providers: Vec<String>,
    /// `snapCount`
    pub snap_count: Option<i64>,
    /// `snapSizeLimitInKb`
    pub snap_size_kb: Option<i64>,
    /// `autopurge.snapRetainCount`
    pub snaps_kept: Option<i64>,
    /// `preAllocSize`, KB
    pub pre_alloc_kb: Option<i64>,
    /// `znode.container.checkIntervalMs`
    pub container_check_ms: Option<i64>,
    /// `znode.container.maxPerMinute`
    pub container_per_minute: Option<i64>,
    /// `znode.container.maxNeverUsedIntervalMs`
    pub container_never_used_ms: Option<i64>,
    /// `globalOutstandingLimit`
    pub outstanding_max: Option<i64>,
    /// `nio.sessionlessCnxnTimeout`, ms
    pub sessionless_ms: Option<i64>,
    /// What concerns the other servers.
    pub ensemble: EnsembleKeys,
    /// `ringkeeper.shards`
    pub shards: Option<i64>,
    /// `ringkeeper.coreExecutor` is `own`
    pub core_apart: Option<bool>,
    /// `ringkeeper.pin`
    pub pin: Option<bool>,
    /// `ringkeeper.logBackend`
    pub log_backend: Option<String>,
    /// `ringkeeper.logWrites`
    pub log_writes: Option<i64>,
    /// `ringkeeper.maxSessions`
    pub sessions_max: Option<i64>,
    /// `ringkeeper.reserveBytes`
    pub reserve_bytes: Option<i64>,
    /// `ringkeeper.zookeeperPasswords`
    pub zookeeper_passwords: Option<bool>,
}

/// The properties not yet taken, and what was found on the way.
#[derive(Default)]
pub(super) struct Reader {
    left: BTreeMap<String, Property>,
    notices: Vec<Notice>,
    pub(super) problems: Problems,
}

impl Reader {
    /// True if a key is written and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Property> {
        self.left.remove(key)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|property| property.value)
    }

    pub(super) fn problem(&mut self, line: usize, text: impl fmt::Display) {
        self.problems.0.push(format!("line {line}: {text}"));
    }

    pub(super) fn notice(&mut self, warn: bool, text: impl Into<String>) {
        self.notices.push(Notice { warn, text: text.into() });
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, want: &str) -> Option<T> {
        let property = self.left.remove(key)?;
        if let Ok(value) = property.value.parse() {
            Some(value)
        } else {
            self.problem(property.line, format!("{key}={}: {want}", property.value));
            None
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Option<i64> {
        self.parsed(key, "not a whole number")
    }

    /// A number as Java's `Integer.getInteger` reads one: hexadecimal too, as guides write it.
    fn java_number(&mut self, key: &str) -> Option<i64> {
        let text = self.left.get(key).map(|property| property.value.to_ascii_lowercase());
        let hex =
            text.as_deref().and_then(|text| text.strip_prefix("0x").or(text.strip_prefix('#')));
        match hex.and_then(|digits| i64::from_str_radix(digits, 16).ok()) {
            Some(number) => {
                self.left.remove(key);
                Some(number)
            }
            None => self.number(key),
        }
    }

    pub(super) fn port(&mut self, key: &str) -> Option<u16> {
        self.parsed(key, "not a port (0 to 65535)")
    }

    /// ZooKeeper's recognised keys: literally true or false, in any case.
    pub(super) fn strict_bool(&mut self, key: &str) -> Option<bool> {
        let property = self.left.remove(key)?;
        match property.value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let text = format!("{key}={}: must be true or false", property.value);
                self.problem(property.line, text);
                None
            }
        }
    }

    /// System properties: only `true` is true.
    pub(super) fn lenient_bool(&mut self, key: &str) -> Option<bool> {
        let text = self.text(key)?;
        let known = ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
        if !known {
            self.notice(true, format!("{key}={text}: anything but true means false"));
        }
        Some(text.eq_ignore_ascii_case("true"))
    }
}

impl ZooCfg {
    /// Reads a file's properties. Later lines win over earlier ones.
    pub fn read(properties: Vec<Property>) -> Result<(ZooCfg, Vec<Notice>), Problems> {
        let (left, notices) = (BTreeMap::new(), Vec::new());
        let mut reader = Reader { left, notices, problems: Problems::default() };
        for property in properties {
            let key = property.key.strip_prefix("zookeeper.").unwrap_or(&property.key).to_owned();
            if let Some(earlier) = reader.left.insert(key, property) {
                let Property { key, line, .. } = earlier;
                reader.notice(true, format!("{key}: line {line} is overruled by a later one"));
            }
        }
        let mut cfg = ZooCfg {
            data_dir: reader.text("dataDir"),
            data_log_dir: reader.text("dataLogDir"),
            client_port: reader.port("clientPort"),
            client_port_address: reader.text("clientPortAddress").map(unbracketed),
            backlog: reader.number("clientPortListenBacklog").map(|n| n.clamp(-1, 65535) as i32),
            secure_port: reader.left.contains_key("secureClientPort"),
            secure_address: reader.left.contains_key("secureClientPortAddress"),
            tick_time: reader.number("tickTime"),
            min_session_timeout: reader.parsed("minSessionTimeout", "not a number of ms"),
            max_session_timeout: reader.parsed("maxSessionTimeout", "not a number of ms"),
            max_client_cnxns: reader.number("maxClientCnxns"),
            max_cnxns: reader.number("maxCnxns"),
            jute_maxbuffer: reader.java_number("jute.maxbuffer"),
            whitelist: reader.text("4lw.commands.whitelist"),
            super_digest: reader.text("DigestAuthenticationProvider.superDigest"),
            digest_enabled: reader.lenient_bool("DigestAuthenticationProvider.enabled"),
            auth: AuthKeys::take(&mut reader),
            admin: AdminKeys::take(&mut reader),
            leader_serves: reader.text("leaderServes").map(|text| text != "no"),
            extended_types: reader.lenient_bool("extendedTypesEnabled"),
            enforce_quota: reader.lenient_bool("enforceQuota"),
            skip_acl: reader.text("skipACL").map(|text| text == "yes"),
            reconfig: reader.strict_bool("reconfigEnabled"),
            read_only_mode: reader.lenient_bool("readonlymode.enabled"),
            standalone: reader.strict_bool("standaloneEnabled"),
            auth_providers: Vec::new(),
            snap_count: reader.number("snapCount"),
            snap_size_kb: reader.number("snapSizeLimitInKb"),
            snaps_kept: reader.number("autopurge.snapRetainCount"),
            pre_alloc_kb: reader.number("preAllocSize"),
            container_check_ms: reader.number("znode.container.checkIntervalMs"),
            container_per_minute: reader.number("znode.container.maxPerMinute"),
            container_never_used_ms: reader.number("znode.container.maxNeverUsedIntervalMs"),
            outstanding_max: reader.java_number("globalOutstandingLimit"),
            sessionless_ms: reader.number("nio.sessionlessCnxnTimeout"),
            ensemble: EnsembleKeys::take(&mut reader),
            shards: reader.number("ringkeeper.shards"),
            core_apart: None,
            pin: reader.strict_bool("ringkeeper.pin"),
            log_backend: reader.text("ringkeeper.logBackend"),
            log_writes: reader.number("ringkeeper.logWrites"),
            sessions_max: reader.number("ringkeeper.maxSessions"),
            reserve_bytes: reader.number("ringkeeper.reserveBytes"),
            zookeeper_passwords: reader.strict_bool("ringkeeper.zookeeperPasswords"),
        };
        cfg.core_apart = core_executor(&mut reader);
        checked_only(&mut reader);
        let rest = std::mem::take(&mut reader.left);
        for (key, property) in rest {
            if key.starts_with("authProvider.") {
                cfg.auth_providers.push(property.value);
            } else if cfg.ensemble.take_member(&mut reader, &key, &property) {
                if cfg.ensemble.dynamic_file.is_some() {
                    let text = format!("{key}: belongs into the file that dynamicConfigFile names");
                    reader.problem(property.line, text);
                }
            } else {
                pass_over(&mut reader, &key, &property);
            }
        }
        if reader.problems.0.is_empty() { Ok((cfg, reader.notices)) } else { Err(reader.problems) }
    }

    /// True if an `authProvider.*` names this class of ZooKeeper's.
    pub(super) fn has_provider(&self, class: &str) -> bool {
        self.auth_providers.iter().any(|name| name.rsplit('.').next() == Some(class))
    }

    /// Reads the properties of the file that `dynamicConfigFile` names.
    pub fn read_dynamic(&mut self, properties: Vec<Property>) -> Result<(), Problems> {
        self.ensemble.take_dynamic(properties)
    }
}

/// An address of version 6 may stand in brackets, as Java's may.
fn unbracketed(host: String) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) if inside.contains(':') => inside.to_owned(),
        _ => host,
    }
}

fn core_executor(reader: &mut Reader) -> Option<bool> {
    let property = reader.left.remove("ringkeeper.coreExecutor")?;
    match property.value.as_str() {
        "own" => Some(true),
        "shared" => Some(false),
        other => {
            let text = format!("ringkeeper.coreExecutor={other}: must be own or shared");
            reader.problem(property.line, text);
            None
        }
    }
}

/// Keys without effect here whose values ZooKeeper checks: anything but true or false stops it.
const BOOLEANS: &[&str] = &[
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "portUnification",
    "sslQuorumReloadCertFiles",
    "syncEnabled",
];

/// Keys that change nothing but may be wrong, or that deserve words of their own.
fn checked_only(reader: &mut Reader) {
    for key in BOOLEANS {
        if let Some(property) = reader.left.get(*key).cloned()
            && reader.strict_bool(key).is_some()
        {
            // What becomes of it is said with the other keys.
            reader.left.insert((*key).to_owned(), property);
        }
    }
    if let Some(property) = reader.left.remove("electionAlg")
        && property.value != "3"
    {
        reader.problem(property.line, format!("electionAlg={}: only 3", property.value));
    }
    if reader.number("connectToLearnerMasterLimit").is_some_and(|ticks| ticks > 0) {
        let text = "connectToLearnerMasterLimit: no effect, initLimit is the limit";
        reader.notice(false, text);
    }
    if reader.text("forceSync").is_some_and(|text| text == "no") {
        let text = "forceSync=no: not obeyed, a write is answered only when it is durable";
        reader.notice(true, text);
    }
}

fn pass_over(reader: &mut Reader, key: &str, property: &Property) {
    match fate(key) {
        Some(Fate::Inside(why)) => reader.notice(false, format!("{key}: no effect, {why}")),
        Some(Fate::Missing(why)) => reader.notice(true, format!("{key}: {why}")),
        Some(Fate::Only(values, why)) => {
            if !values.iter().any(|value| property.value.eq_ignore_ascii_case(value)) {
                reader.problem(property.line, format!("{key}={}: {why}", property.value));
            }
        }
        None => reader.notice(true, format!("{key}: unknown key on line {}", property.line)),
    }
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
