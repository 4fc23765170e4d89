use super::*;

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

fn load(text: &str) -> Result<(Resolved, Vec<Notice>), Problems> {
    let (cfg, mut notices) = ZooCfg::read(parse(text))?;
    let (resolved, more) = resolve(&cfg, &CommandLine::default())?;
    notices.extend(more);
    Ok((resolved, notices))
}

fn with(text: &str) -> Resolved {
    load(&format!("{BASE}{text}")).unwrap_or_else(|problems| panic!("{text}: {problems}")).0
}

fn refused(text: &str) -> String {
    load(text).err().unwrap_or_else(|| panic!("{text} must be refused")).to_string()
}

#[test]
fn defaults_are_zookeepers_where_it_has_some() {
    let resolved = with("");
    assert_eq!(resolved.host, Host::Any);
    assert_eq!(resolved.port, 2181);
    assert_eq!(resolved.log_dir, resolved.data_dir);
    assert_eq!(resolved.tick_ms, 3000);
    assert_eq!(resolved.session_timeout_ms_min, 6000);
    assert_eq!(resolved.session_timeout_ms_max, 60_000);
    assert_eq!(resolved.connections_per_address_max, 60);
    assert_eq!(resolved.connections_max, 0);
    assert_eq!(resolved.frame_bytes_max, 1_048_575);
    assert_eq!(resolved.outstanding_max, None);
    assert_eq!(resolved.snapshots_kept, 3);
    assert_eq!(resolved.log.segment_bytes, 64 << 20);
    assert!(resolved.settings.digest_scheme && !resolved.settings.extended_types);
    let words: Vec<[u8; 4]> = [b"srvr", b"ruok", b"isro", b"mntr"].map(|word| *word).into();
    assert_eq!(resolved.words, Some(words));
    let (version, date) = resolved.version_text.split_once(", built on ").expect("both");
    assert!(version.starts_with("3.9.5-ringkeeper-"));
    let digits = date.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(digits, "0000-00-00 00:00 UTC", "{date}");
}

/// Without a file: for oneself, on this machine.
#[test]
fn without_a_file_only_this_machine_is_served() {
    let (cfg, _) = ZooCfg::read(Vec::new()).expect("nothing is wrong with nothing");
    let line = CommandLine { no_file: true, ..CommandLine::default() };
    let (resolved, _) = resolve(&cfg, &line).expect("the defaults fit together");
    assert_eq!(resolved.host, Host::Named("127.0.0.1".into()));
    assert_eq!((resolved.port, resolved.connections_per_address_max), (2181, 0));
    assert_eq!(resolved.data_dir, std::path::Path::new("./data"));

    let line = CommandLine {
        data_dir: Some("/e".into()),
        listen: Some(("::1".into(), 0)),
        shards: Some(2),
        no_file: false,
    };
    let (cfg, _) = ZooCfg::read(parse(BASE)).expect("the file is right");
    let (resolved, _) = resolve(&cfg, &line).expect("the line overrules the file");
    assert_eq!(resolved.host, Host::Named("::1".into()));
    assert_eq!((resolved.port, resolved.shards), (0, Some(2)));
    assert_eq!(resolved.data_dir, std::path::Path::new("/e"));
}

#[test]
fn keys_have_their_effect() {
    assert_eq!(with("tickTime=2000").session_timeout_ms_max, 40_000);
    let both = with("minSessionTimeout=1000\nmaxSessionTimeout=9000");
    assert_eq!((both.session_timeout_ms_min, both.session_timeout_ms_max), (1000, 9000));
    assert_eq!(with("minSessionTimeout=-1").session_timeout_ms_min, 6000);
    assert_eq!(with("clientPortAddress=10.0.0.1").host, Host::Named("10.0.0.1".into()));
    assert_eq!(with("dataLogDir=/l").log_dir, std::path::Path::new("/l"));
    assert_eq!(with("maxClientCnxns=0").connections_per_address_max, 0);
    assert_eq!(with("zookeeper.maxCnxns=5").connections_max, 5, "as a system property");
    assert_eq!(with("maxCnxns=5").connections_max, 5);
    assert_eq!(with("jute.maxbuffer=4194304").frame_bytes_max, 4 << 20);
    assert_eq!(with("jute.maxbuffer=0x400000").frame_bytes_max, 4 << 20, "as guides write it");
    assert_eq!(with("4lw.commands.whitelist=*").words, None);
    let words: Vec<[u8; 4]> = [b"stat", b"wchs"].map(|word| *word).into();
    assert_eq!(with("4lw.commands.whitelist=stat, wchs,").words, Some(words));
    let id = with("DigestAuthenticationProvider.superDigest=super:x=").super_digest;
    assert_eq!(id.as_deref(), Some(&b"super:x="[..]));
    assert!(!with("DigestAuthenticationProvider.enabled=false").settings.digest_scheme);
    assert!(with("extendedTypesEnabled=true").settings.extended_types);
    assert!(with("enforceQuota=true").settings.enforce_quota);
    assert!(with("skipACL=yes").settings.skip_acl);
    assert!(!with("skipACL=true").settings.skip_acl, "only yes is yes");
    assert!(with("reconfigEnabled=TRUE").settings.reconfig);
    let sasl = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    assert!(with(sasl).settings.sasl_scheme);
    assert_eq!(with("snapCount=1000").snapshot_entries, 1000);
    assert_eq!(with("snapSizeLimitInKb=8").snapshot_bytes, 8192);
    assert_eq!(with("snapSizeLimitInKb=0").snapshot_bytes, u64::MAX);
    assert_eq!(with("autopurge.snapRetainCount=5").snapshots_kept, 5);
    assert_eq!(with("autopurge.snapRetainCount=1").snapshots_kept, 3);
    assert_eq!(with("preAllocSize=131072").log.segment_bytes, 128 << 20);
    assert!(with("preAllocSize=64").log.segment_bytes >= 4 << 20, "holds the largest frames");
    assert_eq!(with("znode.container.checkIntervalMs=100").container_check_ms, 100);
    assert_eq!(with("zookeeper.globalOutstandingLimit=7").outstanding_max, Some(7));
    assert_eq!(with("nio.sessionlessCnxnTimeout=500").sessionless_ms, 500);
    assert_eq!(with("ringkeeper.shards=3").shards, Some(3));
    assert_eq!(with("ringkeeper.logBackend=threads").backend, LogBackend::Threads);
    assert_eq!(with("ringkeeper.logWrites=1").log.writes_max, 1);
    assert!(with("ringkeeper.coreExecutor=own").core_apart);
    assert_eq!(with("ringkeeper.pin=true").pin, Some(true));
    assert_eq!(with("ringkeeper.reserveBytes=0").reserve_bytes, 0);
    assert_eq!(with("ringkeeper.maxSessions=7").sessions_max, 7);
    assert!(with("ringkeeper.zookeeperPasswords=true").zookeeper_passwords);
    let one = with("server.7=h:2888:3888;2181");
    assert_eq!(one.server.0, 7);
}

/// A server line may be the only place that names the client port.
#[test]
fn one_server_line_stands_alone() {
    let text = "dataDir=/d\nstandaloneEnabled=true\nserver.1=[::1]:2888:3888:participant;[::1]:99";
    let (resolved, _) = load(text).expect("one participant needs no ensemble");
    assert_eq!((resolved.host, resolved.port), (Host::Named("::1".into()), 99));
}

/// What would be unsafe to pass over stops the start, and says why (client-protocol 10.2).
#[test]
fn refusals_name_the_key() {
    let table = [
        ("clientPort=1", "dataDir"),
        ("dataDir=/d", "clientPort"),
        ("dataDir=/d\nsecureClientPort=1", "clientPort"),
        ("dataDir=/d\nclientPortAddress=h", "clientPortAddress: needs clientPort"),
        ("secureClientPortAddress=h", "secureClientPortAddress: needs secureClientPort"),
        ("tickTime=0", "tickTime=0"),
        ("tickTime=x", "line 3: tickTime=x: not a whole number"),
        ("clientPort=65536", "not a port"),
        ("minSessionTimeout=5\nmaxSessionTimeout=4", "above maxSessionTimeout"),
        ("electionAlg=1", "electionAlg=1"),
        ("standaloneEnabled=yes", "must be true or false"),
        ("localSessionsEnabled=maybe", "line 3: localSessionsEnabled=maybe: must be true or false"),
        ("server.1=a:1:2\nserver.2=b:1:2", "ensembles of several servers"),
        ("server.1=a:1:2:observer", "observers need participants"),
        ("server.1=a:1:1", "must differ"),
        ("server.1=a:1", "quorum port and an election port"),
        ("server.1=a:1:2:king", "unknown role king"),
        ("server.1=a:1:2:observer|b:1:2", "roles of its addresses differ"),
        ("server.1=a:1:2;5", "the server line says 5"),
        ("group.1=1:2", "ensembles"),
        ("dynamicConfigFile=/x", "dynamicConfigFile"),
        ("metricsProvider.className=com.example.Mine", "unknown"),
        ("extendedTypesEnabled=true\nserver.255=h:1:2", "254"),
        ("sessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth"),
        ("zookeeper.enforce.auth.enabled=true", "enforce.auth.enabled"),
        ("DigestAuthenticationProvider.digestAlg=SHA-256", "digestAlg"),
        ("emulate353TTLNodes=true", "emulate353TTLNodes"),
        ("ringkeeper.shards=0", "ringkeeper.shards"),
        ("globalOutstandingLimit=0", "globalOutstandingLimit=0"),
        ("ringkeeper.logBackend=tape", "one of ring"),
    ];
    for (text, words) in table {
        let whole = text.contains("dataDir") || text == "clientPort=1";
        let text = if whole { text.to_owned() } else { format!("{BASE}{text}") };
        let said = refused(&text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

/// Accepted, with a word about it; warnings where something is not there.
#[test]
fn the_rest_is_accepted_with_a_reason() {
    let table = [
        ("secureClientPort=2281", true, "not listening"),
        ("ssl.keyStore.location=/k.pem", true, "not listening"),
        ("admin.enableServer=true", true, "not listening"),
        ("forceSync=no", true, "not obeyed"),
        ("initLimit=10", false, "ensemble"),
        ("autopurge.purgeInterval=1", false, "removed"),
        ("commitProcessor.numWorkerThreads=4", false, "executor"),
        ("audit.enable=true", true, "audit"),
        ("nonsense=1", true, "unknown key on line 3"),
        ("jute.maxbuffer=4096", false, "obeyed"),
        ("clientPort=2182", true, "overruled"),
    ];
    for (text, warn, words) in table {
        let (_, notices) = load(&format!("{BASE}{text}")).expect("accepted");
        let said = notices.iter().find(|notice| notice.text.contains(words));
        assert_eq!(said.map(|notice| notice.warn), Some(warn), "{text}: {notices:?}");
    }
    let (_, notices) = load(BASE).expect("accepted");
    assert_eq!(notices, [], "nothing to say about a plain file");
}

/// kazoo's suite writes a file like this one for a single server.
#[test]
fn a_suites_file_is_accepted() {
    let text = "tickTime=2000\ndataDir=/d\nclientPort=20000\nmaxClientCnxns=0\n\
        admin.serverPort=20010\nadmin.enableServer=false\ninitLimit=4\nsyncLimit=2\n\
        4lw.commands.whitelist=*\nextendedTypesEnabled=true\nreconfigEnabled=true\n\
        secureClientPort=20001\nssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.pem\n\
        serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
        authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
        DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n";
    load(text).expect("accepted");
}

#[test]
fn conf_shows_what_is_in_force() {
    let text = with("tickTime=2000").conf_text(4711);
    assert!(text.starts_with("clientPort=4711\nsecureClientPort=-1\ndataDir=/d\n"), "{text}");
    assert!(text.contains("\nminSessionTimeout=4000\n"), "{text}");
}
