//! ZooKeeper's keys that this server does not act on, and what becomes of each.
//!
//! A key that promises safety or security is never passed over in silence: either its value asks
//! for nothing, or the start is refused.

/// What becomes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Accepted; concerns something inside ZooKeeper that has no counterpart here.
    Inside(&'static str),
    /// Accepted with a warning: the feature is not there, and nothing is less safe without it.
    Missing(&'static str),
    /// Accepted if the value is one of these, refused otherwise.
    Only(&'static [&'static str], &'static str),
}

use Fate::{Inside, Missing, Only};

const TLS: Fate = Missing("TLS listener not available yet: not listening");
const SNAPSHOTS: Fate = Inside("snapshots and logs are removed as soon as newer ones cover them");
const THREADS: Fate = Inside("there is one executor per shard (ringkeeper.shards)");
const CACHES: Fate = Inside("replies are encoded from the tree itself, nothing is cached");
const GROUPING: Fate = Inside("a batch is written when the previous write completes");
const WATCHES: Fate = Inside("watches are tables of each shard");
const PEERS: Fate = Inside("concerns the inside of ZooKeeper's own servers");
const HISTORY: Fate = Inside("what a learner misses is sent from memory, else as a snapshot");
const REQUESTS: Fate = Missing("requests are bounded per connection only");
const CONNECTIONS: Fate = Missing("connections are bounded by maxClientCnxns and maxCnxns only");
const HTTP: Fate = Inside("every connection carries one request of HTTP/1.1");
const RESTORE: Fate = Missing("snapshot and restore over HTTP are not available yet");
const KERBEROS: Fate = Missing("SASL is not available yet");

/// Keys without their `zookeeper.` prefix. One that ends in a dot stands for all that begin so.
pub(super) const FATES: &[(&str, Fate)] = &[
    ("admin.httpVersion", HTTP),
    ("admin.rateLimiterIntervalInMS", RESTORE),
    ("admin.restore.enabled", RESTORE),
    ("admin.snapshot.enabled", RESTORE),
    ("allowSaslFailedClients", KERBEROS),
    ("audit.enable", Missing("the audit log is not available yet: nothing is recorded")),
    ("audit.impl.class", Missing("the audit log is not available yet")),
    ("autopurge.purgeInterval", SNAPSHOTS),
    ("bitHashCacheSize", WATCHES),
    ("client.certReload", TLS),
    ("client.portUnification", TLS),
    ("clientTcpKeepAlive", Missing("sessions notice dead clients; no probes are sent")),
    ("closeSessionTxn.enabled", Inside("closing transactions always list their ephemerals")),
    ("commitLogCount", HISTORY),
    ("commitProcessor.", THREADS),
    ("connection_throttle_", CONNECTIONS),
    ("controllerPort", Inside("belongs to ZooKeeper's own tests")),
    ("datadir.autocreate", Inside("data directories are created when missing")),
    ("digest.enabled", Inside("the state digest is always kept")),
    ("emulate353TTLNodes", Missing("owners of TTL nodes made by ZooKeeper 3.5.3 are not known")),
    ("enableEagerACLCheck", Inside("requests are judged once, in order")),
    ("fastleader.", PEERS),
    ("fips-mode", Inside("concerns Java's cryptography")),
    ("flushDelay", GROUPING),
    ("follower.", PEERS),
    ("forward_learner_requests_to_commit_processor_disabled", PEERS),
    ("fsync.warningthresholdms", Missing("slow log writes are measured, not logged, so far")),
    ("intBufferStartingSizeBytes", Inside("concerns Java's buffers")),
    ("IPAuthenticationProvider.usexforwardedfor", RESTORE),
    ("jmx.", Inside("there is no JMX")),
    ("jute.maxbuffer.extrasize", Inside("entries between servers have no limit of their own")),
    ("jvm.pause.monitor", Inside("there is no JVM")),
    ("jvm.pause.", Inside("there is no JVM")),
    ("kerberos.", KERBEROS),
    ("largeRequestMaxBytes", REQUESTS),
    ("largeRequestThreshold", REQUESTS),
    ("leader.", PEERS),
    ("leaderConnectDelayDuringRetryMs", PEERS),
    ("learner.", PEERS),
    ("letAnySaslUserDoX", Only(&["", "false"], "SASL users get no rights that were not granted")),
    ("localSessionsEnabled", Missing("all sessions are global")),
    ("localSessionsUpgradingEnabled", Missing("all sessions are global")),
    ("maxBatchSize", GROUPING),
    ("maxGetChildrenResponseCacheSize", CACHES),
    ("maxInProcessingDeadWatchers", WATCHES),
    ("maxResponseCacheSize", CACHES),
    ("maxWriteQueuePollTime", GROUPING),
    ("messageTracker.", PEERS),
    ("metricsProvider.", Inside("there is no JVM, and metrics have no queue")),
    ("metricsProvider.httpsPort", TLS),
    ("metricsProvider.ssl.", TLS),
    ("multiAddress.", Inside("the addresses of a server are tried in order")),
    ("netty.", Inside("there is no Netty")),
    ("nio.", THREADS),
    ("observer.", PEERS),
    ("observerMaster.", Missing("observers learn from the leader only")),
    ("observerMasterPort", Missing("observers learn from the leader only")),
    ("oraclePath", Missing("there is no oracle: two voters need both")),
    ("pathStats.", Missing("paths are not counted")),
    ("portUnification", Missing("servers do not speak TLS to each other yet")),
    ("quorum.", PEERS),
    ("quorumCnxnTimeoutMs", Inside("an election connection has syncLimit ticks to say who it is")),
    ("request_", REQUESTS),
    ("request_throttler.shutdownTimeout", REQUESTS),
    ("requireKerberosConfig", KERBEROS),
    ("sasl.", KERBEROS),
    ("SASLAuthenticationProvider.superPassword", KERBEROS),
    ("secureClientPort", TLS),
    ("secureClientPortAddress", TLS),
    ("security.auth_to_local", KERBEROS),
    ("serializeLastProcessedZxid.enabled", Inside("snapshots are exact at their zxid")),
    ("serverCnxnFactory", Inside("there is one network layer")),
    ("skipLearnerRequestToNextProcessor", PEERS),
    ("snapshot.compression.method", Inside("snapshots are mapped as they are")),
    ("snapshot.trust.empty", Inside("checksums tell an empty database from a lost one")),
    ("snapshotSizeFactor", HISTORY),
    ("ssl.", TLS),
    ("sslQuorumReloadCertFiles", Missing("servers do not speak TLS to each other yet")),
    ("superUser", KERBEROS),
    ("superUser.", KERBEROS),
    ("syncEnabled", Inside("observers keep a log and snapshots like everybody")),
    ("tcpKeepAlive", Inside("connections between servers are always probed")),
    ("test.", Inside("belongs to ZooKeeper's own tests")),
    ("testingonly.", Only(&[""], "the first zxid cannot be chosen")),
    ("throttled_op_wait_time", REQUESTS),
    ("txnLogSizeLimitInKb", Inside("log segments have one size (preAllocSize)")),
    ("watchManagerName", WATCHES),
    ("watcherCleanIntervalInSeconds", WATCHES),
    ("watcherCleanThreadsNum", WATCHES),
    ("watcherCleanThreshold", WATCHES),
    ("X509AuthenticationProvider.superUser", TLS),
    ("clientCnxnSocket", Inside("concerns clients")),
    ("client.secure", Inside("concerns clients")),
    ("disableAutoWatchReset", Inside("concerns clients")),
    ("request.timeout", Inside("concerns clients")),
    ("server.principal", Inside("concerns clients")),
    ("server.realm", Inside("concerns clients")),
    ("kinit", Inside("concerns clients")),
    // Headings of ZooKeeper's guide that do nothing in a zoo.cfg either (client-protocol 10.1).
    ("advancedFlowControlEnabled", Inside("does nothing in ZooKeeper either")),
    ("connectionDecreaseRatio", Inside("does nothing in ZooKeeper either")),
    ("connectionDropDecrease", Inside("does nothing in ZooKeeper either")),
    ("connectionDropIncrease", Inside("does nothing in ZooKeeper either")),
    ("connectionFreezeTime", Inside("does nothing in ZooKeeper either")),
    ("connectionMaxTokens", Inside("does nothing in ZooKeeper either")),
    ("connectionTokenFillCount", Inside("does nothing in ZooKeeper either")),
    ("connectionTokenFillTime", Inside("does nothing in ZooKeeper either")),
    ("maxConcurrentDiffSyncs", Inside("does nothing in ZooKeeper either")),
    ("maxConcurrentSnapSyncs", Inside("does nothing in ZooKeeper either")),
    ("maxTimeToWaitForEpoch", Inside("does nothing in ZooKeeper either")),
    ("requestStaleConnectionCheck", Inside("does nothing in ZooKeeper either")),
    ("requestStaleLatencyCheck", Inside("does nothing in ZooKeeper either")),
    ("requestThrottleDropStale", Inside("does nothing in ZooKeeper either")),
    ("requestThrottleLimit", Inside("does nothing in ZooKeeper either")),
    ("requestThrottleStallTime", Inside("does nothing in ZooKeeper either")),
];

/// The fate of a key, the most specific entry first.
pub(super) fn fate(key: &str) -> Option<Fate> {
    let exact = FATES.iter().find(|(name, _)| *name == key);
    let family = || {
        let family = |name: &str| name.ends_with(['.', '_']) && key.starts_with(name);
        FATES.iter().filter(|(name, _)| family(name)).max_by_key(|(name, _)| name.len())
    };
    exact.or_else(family).map(|(_, fate)| *fate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_give_way_to_single_keys() {
        let inside = |key| matches!(fate(key), Some(Inside(_)));
        assert!(inside("nio.numWorkerThreads"));
        assert!(inside("jute.maxbuffer.extrasize"));
        assert_eq!(fate("server.1"), None, "no family of its own");
        assert!(inside("server.realm"));
        assert_eq!(fate("connection_throttle_tokens"), Some(CONNECTIONS));
        assert_eq!(fate("nonsense"), None);
    }

    #[test]
    fn no_key_has_two_fates() {
        for (at, (name, _)) in FATES.iter().enumerate() {
            let again = FATES[at + 1..].iter().any(|(other, _)| other == name);
            assert!(!again, "{name}");
        }
    }
}
