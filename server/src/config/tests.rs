use super::*;
use crate::admin::http::Site;
use model::ServerId;

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

fn load(text: &str) -> Result<(Resolved, Vec<Notice>), Problems> {
    let (cfg, mut notices) = ZooCfg::read(parse(text))?;
    let (resolved, more) = resolve(&cfg, &CommandLine::default(), &Beside::default())?;
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
    assert_eq!(digits, "00/00/0000 00:00 UTC", "{date}");
}

/// Without a file: for oneself, on this machine.
#[test]
fn without_a_file_only_this_machine_is_served() {
    let (cfg, _) = ZooCfg::read(Vec::new()).expect("nothing is wrong with nothing");
    let line = CommandLine { no_file: true, ..CommandLine::default() };
    let (resolved, _) =
        resolve(&cfg, &line, &Beside::default()).expect("the defaults fit together");
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
    let (resolved, _) =
        resolve(&cfg, &line, &Beside::default()).expect("the line overrules the file");
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
    for written in ["::1", "[::1]"] {
        let host = with(&format!("clientPortAddress={written}")).host;
        assert_eq!(host, Host::Named("::1".into()), "{written}, as Java reads it");
    }
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
        ("server.1=a:1:2:observer", "observers need participants"),
        ("server.1=a:1:1", "must differ"),
        ("server.1=a:1", "quorum port and an election port"),
        ("server.1=a:1:2:king", "unknown role king"),
        ("server.1=a:1:2:observer|b:1:2:participant", "roles of its addresses differ"),
        ("server.1=a:1:2;5", "the server line says 5"),
        ("group.1=1:2", "no server.N"),
        ("server.1=a:1:2:participant:x", "follows the role"),
        ("peerType=king", "peerType=king"),
        ("dynamicConfigFile=/x\nserver.1=a:1:2", "the file that dynamicConfigFile names"),
        ("metricsProvider.className=com.example.Mine", "unknown"),
        ("extendedTypesEnabled=true\nserver.255=h:1:2", "254"),
        ("sessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth"),
        ("zookeeper.enforce.auth.enabled=true", "needs enforce.auth.schemes"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl", "the scheme sasl"),
        ("DigestAuthenticationProvider.digestAlg=MD4", "digestAlg"),
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
        ("admin.forceHttps=true", true, "does not listen"),
        ("admin.portUnification=true", true, "only HTTP"),
        ("admin.snapshot.enabled=true", true, "not available"),
        ("metricsProvider.exportJvmInfo=true", false, "no JVM"),
        ("forceSync=no", true, "not obeyed"),
        ("initLimit=10", false, "ensemble"),
        ("autopurge.purgeInterval=1", false, "removed"),
        ("commitProcessor.numWorkerThreads=4", false, "executor"),
        ("audit.enable=true", true, "audit"),
        ("emulate353TTLNodes=true", true, "3.5.3"),
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

/// ZooKeeper's admin server is there unless it is switched off; its metrics are if asked for.
#[test]
fn administrators_have_their_ports() {
    let commands = |path: &str| Site::Commands { path: path.into() };
    let ports = |text: &str| {
        let admin = with(text).admin.into_iter();
        admin.map(|port| (port.host, port.port, port.site, port.vital)).collect::<Vec<_>>()
    };
    assert_eq!(ports(""), [(Host::Any, 8080, commands("/commands"), false)]);
    let other = "admin.serverAddress=h\nadmin.serverPort=0\nadmin.commandURL=/c/";
    assert_eq!(ports(other), [(Host::Named("h".into()), 0, commands("/c"), false)]);
    for off in ["admin.enableServer=false", "admin.needClientAuth=true", "admin.forceHttps=true"] {
        assert_eq!(ports(off), [], "{off}");
    }
    let class = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let metrics = format!("admin.enableServer=false\nmetricsProvider.className={class}");
    assert_eq!(ports(&metrics), [(Host::Any, 7000, Site::Metrics, true)]);
    let elsewhere = format!("{metrics}\nmetricsProvider.httpHost=h\nmetricsProvider.httpPort=1");
    assert_eq!(ports(&elsewhere), [(Host::Named("h".into()), 1, Site::Metrics, true)]);
    let line = CommandLine { no_file: true, ..CommandLine::default() };
    let (cfg, _) = ZooCfg::read(Vec::new()).expect("nothing is wrong with nothing");
    let (alone, _) = resolve(&cfg, &line, &Beside::default()).expect("for oneself");
    assert_eq!(alone.admin, []);
}

#[test]
fn clients_can_be_required_to_authenticate() {
    assert!(with("enforce.auth.schemes=digest").required_schemes.is_empty(), "not enabled");
    let digest = "zookeeper.enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip";
    assert_eq!(with(digest).required_schemes, ["digest", "ip"]);
    let sasl = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
        sessionRequireClientSASLAuth=true\nenforce.auth.enabled=true\nenforce.auth.schemes=ip";
    assert_eq!(with(sasl).required_schemes, ["sasl"], "it goes before the other");
    let ensemble = "ensembleAuthName=one, uno\n\
        authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
    assert_eq!(with(ensemble).ensemble_names, Some(vec!["one".to_owned(), "uno".to_owned()]));
    assert_eq!(with("ensembleAuthName=one").ensemble_names, None, "it needs its provider");
    let algorithm = with("DigestAuthenticationProvider.digestAlg=SHA-256").digest_algorithm;
    assert_eq!(algorithm, crate::shard::auth::digest::Algorithm::Sha256);
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

const TRIO: &str = "dataDir=/d\ntickTime=500\ninitLimit=10\nsyncLimit=4\n\
    server.1=a:2881:3881;2181\nserver.2=[::1]:2882:3882:participant;10.0.0.2:2182\n\
    server.3=c:2883:3883:observer;2183\n";
/// Two voters beside the observer of `TRIO`.
const FOURTH: &str = "server.4=d:2884:3884\n";

fn join(text: &str, my_id: Option<&str>) -> Result<(Resolved, Vec<Notice>), Problems> {
    let beside = Beside { my_id: my_id.map(str::to_owned), initialize: false };
    let (cfg, mut notices) = ZooCfg::read(parse(text))?;
    let (resolved, more) = resolve(&cfg, &CommandLine::default(), &beside)?;
    notices.extend(more);
    Ok((resolved, notices))
}

fn member(text: &str, my_id: &str) -> Resolved {
    join(text, Some(my_id)).unwrap_or_else(|problems| panic!("{text}: {problems}")).0
}

#[test]
fn several_servers_are_an_ensemble() {
    let resolved = member(TRIO, " 2\n");
    assert_eq!(resolved.server.0, 2);
    assert_eq!((resolved.host, resolved.port), (Host::Named("10.0.0.2".into()), 2182));
    let config = resolved.ensemble.expect("an ensemble");
    assert_eq!((config.id.0, config.tick_ms), (2, 500));
    assert_eq!((config.init_limit, config.sync_limit), (10, 4));
    assert!(config.empty_may_vote && !config.force_snapshot);
    let text = "server.1=a:2881:3881:participant;0.0.0.0:2181\n\
        server.2=[::1]:2882:3882:participant;10.0.0.2:2182\n\
        server.3=c:2883:3883:observer;0.0.0.0:2183\nversion=0";
    assert_eq!(config.members.to_string(), text, "as ZooKeeper writes it");
    let listen = resolved.peer_listen.expect("ports");
    assert_eq!(listen.quorum, [(Host::Named("::1".into()), 2882)]);
    assert_eq!(listen.election, [(Host::Named("::1".into()), 3882)]);
    assert_eq!((listen.bind_tries, listen.connect_ms), (Some(3), 2000), "syncLimit ticks");
    assert!(member(TRIO, "3").ensemble.expect("an ensemble").members.is_observer(ServerId(3)));
}

#[test]
fn keys_of_the_ensemble_have_their_effect() {
    let with = |text: &str| member(&format!("{TRIO}{text}"), "1");
    let config = |text: &str| with(text).ensemble.expect("an ensemble");
    let listen = |text: &str| with(text).peer_listen.expect("ports");
    assert_eq!(listen("quorumListenOnAllIPs=true").quorum, [(Host::Any, 2881)]);
    assert_eq!(listen("quorumListenOnAllIPs=true").election, [(Host::Any, 3881)]);
    assert_eq!(listen("electionPortBindRetry=0").bind_tries, None, "for ever");
    assert_eq!(listen("electionPortBindRetry=7").bind_tries, Some(7));
    assert_eq!(listen("cnxTimeout=70").connect_ms, 70);
    assert_eq!(listen("tickTime=60000").connect_ms, 5000);
    assert!(!config("db.autocreate=false").empty_may_vote);
    assert!(config("forceSnapshotSync=true").force_snapshot);
    assert_eq!(config("fastleader.minNotificationInterval=7").notify_ms_min, 7);
    assert_eq!(config("fastleader.maxNotificationInterval=9000").notify_ms_max, 9000);
    assert!(config("jute.maxbuffer=67108864").data_bytes_max >= 64 << 20);
    let two = "multiAddress.enabled=true\nserver.4=d:1:2|[::2]:3:4:observer";
    let config = config(two);
    let four = config.members.member(ServerId(4)).expect("listed");
    assert_eq!(four.addresses[1].host, "::2");
    assert!(four.observer, "the role may stand at the end only, as ZooKeeper writes it");
    let groups = format!("{FOURTH}group.1=1:2\ngroup.2=4\nweight.1=3");
    let text = with(&groups).ensemble.expect("an ensemble").members.to_string();
    assert!(
        text.ends_with("group.1=1:2\ngroup.2=4\nweight.1=3\nweight.2=1\nweight.4=1\nversion=0")
    );
}

/// An operator who made a mistake in one of the many files learns which.
#[test]
fn an_ensemble_that_does_not_fit_together_is_refused() {
    let table = [
        ("", None, "/d/myid: missing"),
        ("", Some("x"), "/d/myid: \"x\" is not a number"),
        ("", Some("300"), "not a number from 0 to 255"),
        ("", Some("7"), "server 7 is not among the server.N lines"),
        ("initLimit=0", Some("1"), "initLimit=0"),
        ("syncLimit=x", Some("1"), "syncLimit=x: not a whole number"),
        ("server.4=d:1:2|e:1:2", Some("1"), "server.4: several addresses need multiAddress"),
        ("server.300=d:1:2", Some("1"), "server.300: ids go from 0 to 255"),
        ("server.4=d:1:2", Some("4"), "clientPort: must be set"),
        ("clientPort=9", Some("1"), "the server line says 2181"),
        ("group.1=1", Some("1"), "2 is in none"),
        ("weight.1=x", Some("1"), "weight.1=x"),
        ("sslQuorum=true", Some("1"), "sslQuorum: connections between servers"),
        ("quorum.auth.enableSasl=true", Some("1"), "quorum.auth.enableSasl"),
        ("electionPortBindRetry=-1", Some("1"), "electionPortBindRetry=-1"),
    ];
    for (text, my_id, words) in table {
        let said = join(&format!("{TRIO}{text}"), my_id).err();
        let said = said.unwrap_or_else(|| panic!("{text} must be refused")).to_string();
        assert!(said.contains(words), "{text}: {said}");
    }
    let lines = "server.1=a:1:2\nserver.2=b:1:2\n";
    let said = join(&format!("{BASE}{lines}"), Some("1")).expect_err("refused").to_string();
    assert!(said.contains("initLimit: must be set") && said.contains("syncLimit: must be set"));
    let observed =
        format!("{BASE}initLimit=1\nsyncLimit=1\nserver.1=a:1:2\nserver.2=b:1:2:observer\n");
    let said = join(&observed, Some("1")).expect_err("refused").to_string();
    assert!(said.contains("stands alone and cannot have observers"), "{said}");
    let (resolved, _) =
        join(&format!("{observed}standaloneEnabled=false"), Some("1")).expect("asked for");
    assert!(resolved.ensemble.is_some());
}

/// Sessions move between servers, so every server must come to the same passwords.
#[test]
fn an_ensemble_agrees_on_passwords() {
    assert!(!with("").zookeeper_passwords, "alone: by its own key");
    let (resolved, notices) = join(TRIO, Some("1")).expect("accepted");
    assert!(resolved.zookeeper_passwords);
    let said = |notices: &[Notice], words: &str| {
        notices.iter().find(|notice| notice.text.contains(words)).map(|notice| notice.warn)
    };
    assert_eq!(said(&notices, "which can be guessed"), Some(false), "{notices:?}");
    let keyed = member(&format!("{TRIO}ringkeeper.sessionKeyFile=/k"), "1");
    assert!(!keyed.zookeeper_passwords);
    assert_eq!(keyed.session_key_file.as_deref(), Some(std::path::Path::new("/k")));
    let off = format!("{TRIO}ringkeeper.zookeeperPasswords=false");
    let (resolved, notices) = join(&off, Some("1")).expect("accepted");
    assert!(!resolved.zookeeper_passwords);
    assert_eq!(said(&notices, "the same on every server"), Some(true), "{notices:?}");
}

#[test]
fn members_may_stand_in_a_file_of_their_own() {
    let dynamic = |file: &str, text: &str| {
        let main =
            format!("{BASE}initLimit=5\nsyncLimit=2\ndynamicConfigFile={file}\nserver.realm=x\n");
        let (mut cfg, _) = ZooCfg::read(parse(&main)).expect("the file is right");
        cfg.read_dynamic(parse(text)).map_err(|problems| problems.to_string())?;
        let beside = Beside { my_id: Some("2".into()), initialize: true };
        let resolved = resolve(&cfg, &CommandLine::default(), &beside);
        let (resolved, _) = resolved.map_err(|problems| problems.to_string())?;
        Ok::<_, String>(resolved.ensemble.expect("an ensemble").members.version())
    };
    let lines = "server.1=a:1:2\nserver.2=b:1:2\n";
    assert_eq!(dynamic("/x/zoo.cfg.dynamic.1f00000000", lines), Ok(0x1f_0000_0000));
    assert_eq!(dynamic("/x/members", lines), Ok(0));
    assert_eq!(dynamic("/x/members", &format!("{lines}version=1a")), Ok(0x1a));
    let table = [
        ("/x/zoo.cfg.dynamic.2", "server.1=a:1:2\nversion=3", "version=3"),
        ("/x/members", "server.1=a:1:2\ntickTime=3", "line 2: tickTime"),
        ("/x/members", "", "lists no server"),
        ("/x/members", "server.1=a:1:1", "must differ"),
    ];
    for (file, text, words) in table {
        let said = dynamic(file, text).expect_err(text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

/// `conf` of a member ends like ZooKeeper's (client-protocol 9.2).
#[test]
fn conf_of_a_member_shows_the_ensemble() {
    let text = member(TRIO, "3").conf_text(2183);
    let expect = "serverId=3\ninitLimit=10\nsyncLimit=4\nelectionAlg=3\nelectionPort=3883\n\
        quorumPort=2883\npeerType=1\nmembership: \n\
        server.1=a:2881:3881:participant;0.0.0.0:2181\n\
        server.2=[::1]:2882:3882:participant;10.0.0.2:2182\n\
        server.3=c:2883:3883:observer;0.0.0.0:2183\nversion=0\n";
    assert!(text.ends_with(expect), "{text}");
}

#[test]
fn readers_are_served_unless_that_is_switched_off() {
    assert!(with("").read_only_mode);
    assert!(!with("readonlymode.enabled=false").read_only_mode);
    for key in ["readonlymode.enabled", "zookeeper.readonlymode.enabled"] {
        assert!(with(&format!("{key}=true")).read_only_mode);
    }
}

/// Our own options of the protocol are known to both sides unless one is told to keep them.
#[test]
fn wire_options_can_be_switched_off() {
    use replication::wire::handshake::WireOptions;
    let options = |text: &str| {
        let resolved = member(&format!("{TRIO}{text}"), "1");
        resolved.ensemble.expect("several servers").wire_options
    };
    assert_eq!(options(""), WireOptions::ALL);
    assert_eq!(options("ringkeeper.wireOptions=on"), WireOptions::ALL);
    assert_eq!(options("ringkeeper.wireOptions=off"), WireOptions::NONE);
    let said = join(&format!("{TRIO}ringkeeper.wireOptions=no"), Some("1")).expect_err("neither");
    assert!(said.to_string().contains("must be on or off"), "{said}");
}
