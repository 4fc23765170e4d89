use std::sync::Arc;

use engine::Draft;
use engine::draft::Settings;
use model::{Epoch, Xid, Zxid};
use replication::{Learners, Standing};

use super::*;
use crate::admin::four_letter::TRACE_MASK_DEFAULT;
use crate::admin::metrics::{CoreMetrics, Sizes};
use crate::admin::{EnsembleFacts, HostFacts, SessionSet, Texts};
use crate::link::SessionReport;

fn asked(command: Command, change: impl FnOnce(&mut CoreFacts)) -> String {
    let reports = [ShardReport {
        sent: 3,
        read_ms: (1, 1, 1, 1),
        update_ms: (1, 3, 2, 2),
        ..ShardReport::default()
    }];
    asked_with(command, &reports, None, change)
}

fn asked_with(
    command: Command,
    reports: &[ShardReport],
    members: Option<&Membership>,
    change: impl FnOnce(&mut CoreFacts),
) -> String {
    let mut facts = CoreFacts {
        texts: Arc::new(Texts {
            version: "3.9.5-test".into(),
            conf: "clientPort=2181\nsecureClientPort=-1\ndataDir=/1\nmaxClientCnxns=60\n\
                   membership: \nserver.1=a:1:2"
                .into(),
            envi: "Environment:\nzookeeper.version=3.9.5-test\nos.name=Linux\n".into(),
            file: "dataDir=/1\n".into(),
            client_address: "h:2181".into(),
        }),
        server: ServerId(1),
        members: members.cloned(),
        trace_mask: TRACE_MASK_DEFAULT,
        role: RoleKind::Standalone,
        state: Draft::new(Settings::default()).freeze(),
        uptime_ms: 5,
        session_sets: Vec::new(),
        session_count: 0,
        local_sessions: 0,
        ensemble: None,
        digests: vec![(Zxid(128), u64::MAX)],
        host: HostFacts { last_snapshot: Some((Zxid(0xab), 7)), ..HostFacts::default() },
        measured: CoreMetrics { counters: vec![("commit_count", 9)], summaries: Vec::new() },
    };
    change(&mut facts);
    String::from_utf8(answer(command, &facts, reports)).expect("JSON is UTF-8")
}

#[test]
fn the_form_is_jacksons() {
    assert_eq!(
        asked(Command::Hash, |_| {}),
        "{\n  \"digests\" : [ {\n    \"digest\" : -1,\n    \"digest_version\" : 2,\n    \
         \"zxid\" : 128\n  } ],\n  \"command\" : \"hash\",\n  \"error\" : null\n}"
    );
    assert_eq!(
        asked(Command::VotingView, |_| {}),
        "{\n  \"current_config\" : { },\n  \"command\" : \"voting_view\",\n  \"error\" : null\n}"
    );
    assert_eq!(
        asked(Command::Connections, |_| {}),
        "{\n  \"connections\" : [ ],\n  \"secure_connections\" : [ ],\n  \
         \"command\" : \"connections\",\n  \"error\" : null\n}"
    );
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn every_command_answers_with_its_fields() {
    for (command, fields) in [
        (Command::Configuration, &["client_port", "data_dir", "max_client_cnxns"][..]),
        (Command::Dirs, &["datadir_size", "logdir_size"]),
        (Command::Dump, &["expiry_time_to_session_ids", "session_id_to_ephemeral_paths"]),
        (Command::Environment, &["zookeeper.version", "os.name"]),
        (Command::GetTraceMask, &["tracemask"]),
        (Command::InitialConfiguration, &["initial_configuration"]),
        (Command::IsReadOnly, &["read_only"]),
        (Command::LastSnapshot, &["zxid", "timestamp"]),
        (Command::Leader, &[]),
        (Command::Observers, &["synced_observers", "observers"]),
        (Command::Ruok, &[]),
        (
            Command::ServerStats,
            &["version", "read_only", "server_stats", "client_response", "node_count"],
        ),
        (
            Command::Stats,
            &[
                "version",
                "read_only",
                "server_stats",
                "client_response",
                "node_count",
                "connections",
                "secure_connections",
            ],
        ),
        (Command::WatchSummary, &["num_connections", "num_paths", "num_total_watches"]),
        (Command::Watches, &["session_id_to_watched_paths"]),
        (Command::WatchesByPath, &["path_to_session_ids"]),
        (Command::Zabstate, &["voting", "zabstate"]),
    ] {
        let text = asked(command, |_| {});
        let all = value(&text);
        let all = all.as_object().expect("an object");
        for field in fields.iter().chain(&["command", "error"]) {
            assert!(all.contains_key(*field), "{field} is missing from {text}");
        }
        assert_eq!(all.len(), fields.len() + 2, "{text}");
        assert!(text.contains("\"command\" : ") && text.ends_with("\n}"));
    }
    let conf = value(&asked(Command::Configuration, |_| {}));
    assert_eq!((&conf["client_port"], &conf["data_dir"]), (&json!(2181), &json!("/1")));
    let snapshot = value(&asked(Command::LastSnapshot, |_| {}));
    assert_eq!((&snapshot["zxid"], &snapshot["timestamp"]), (&json!("ab"), &json!(7)));
    let stats = value(&asked(Command::ServerStats, |_| {}));
    assert_eq!(stats["server_stats"]["packets_sent"], json!(3));
    assert_eq!(stats["server_stats"]["avg_latency"], json!(1.3333));
    let monitor = value(&asked(Command::Monitor, |_| {}));
    assert_eq!(monitor["commit_count"], json!(9));
    assert_eq!(monitor["server_state"], json!("standalone"));
}

#[test]
fn members_say_who_they_are() {
    let members = Membership::parse(
        "server.1=a:1:2;2181\nserver.2=b:1:2\nserver.3=c:1:2:observer\nserver.4=d:1:2",
    )
    .expect("four");
    let learners = Learners { connected: 3, observers: 1, ..Learners::default() };
    let standing =
        Standing { activity: Activity::Broadcasting, voters: 3, learners: Some(learners) };
    let ensemble = EnsembleFacts {
        standing,
        observers: vec![ServerId(3)],
        leading_ms: Some(1),
        proposal_bytes: Sizes::default(),
    };
    let ask = |command, role| {
        value(&asked_with(command, &[], Some(&members), |facts| {
            facts.role = role;
            facts.ensemble = Some(ensemble.clone());
        }))
    };
    let leading = RoleKind::Leading(Epoch(1));
    let leader = ask(Command::Leader, leading);
    assert_eq!(
        (&leader["is_leader"], &leader["leader_id"], &leader["leader_ip"]),
        (&json!(true), &json!(1), &json!("a"))
    );
    let follower = ask(Command::Leader, RoleKind::Following(ServerId(2), Epoch(1)));
    assert_eq!((&follower["is_leader"], &follower["leader_ip"]), (&json!(false), &json!("b")));
    let alone = value(&asked(Command::Leader, |_| {}));
    assert_eq!(alone["error"], json!("server is not initialized"));
    let observers = ask(Command::Observers, leading);
    assert_eq!(observers["observers"], json!([{ "sid": 3 }]));
    let view = ask(Command::VotingView, leading);
    let view = view["current_config"].as_object().expect("by server");
    assert_eq!(view.keys().collect::<Vec<_>>(), ["1", "2", "4"]);
    assert_eq!(
        view["1"],
        json!({
            "server_addresses": ["a:1"],
            "election_addresses": ["a:2"],
            "client_address": "h:2181",
            "learner_type": "participant",
        })
    );
    let state = ask(Command::Zabstate, leading);
    assert_eq!((&state["zabstate"], &state["voting"]), (&json!("broadcast"), &json!(true)));
    assert_eq!((&state["myid"], &state["client_address"]), (&json!(1), &json!("h:2181")));
    assert_eq!(
        state["quorum_address"],
        json!({
            "empty": false,
            "all_addresses": ["a:1"],
            "wildcard_addresses": ["0.0.0.0:1"],
            "all_ports": [1],
            "all_host_strings": ["a"],
            "one": "a:1",
        })
    );
    assert!(ask(Command::ServerStats, leading)["proposal_stats"].is_object());
    assert_eq!(ask(Command::IsReadOnly, RoleKind::Looking)["read_only"], json!(true));
}

#[test]
fn sessions_and_their_watches_are_listed() {
    let session = SessionReport {
        session: SessionId(5),
        last_op: "GETD",
        established_ms: 1,
        timeout_ms: 2,
        last_xid: Some(Xid(16)),
        last_zxid: Zxid(17),
        last_response_ms: 3,
        last_latency_ms: 4,
        min_latency_ms: 5,
        avg_latency_ms: 6,
        max_latency_ms: 7,
    };
    let connection = ConnectionReport {
        peer: ([127, 0, 0, 1].into(), 9),
        interest: 1,
        queued: 0,
        received: 2,
        sent: 3,
        session: Some(session),
    };
    let bare = ConnectionReport { session: None, ..connection.clone() };
    let reports = [ShardReport {
        connections: vec![connection, bare],
        watches: vec![(b"/b".to_vec(), SessionId(5)), (b"/a".to_vec(), SessionId(5))],
        ..ShardReport::default()
    }];
    let ask = |command| value(&asked_with(command, &reports, None, |_| {}));
    let all = ask(Command::Connections);
    let first = &all["connections"][0];
    assert_eq!(first["remote_socket_address"], json!("127.0.0.1:9"));
    assert_eq!((&first["session_id"], &first["last_cxid"]), (&json!(5), &json!(16)));
    assert_eq!(all["connections"][1].as_object().map(serde_json::Map::len), Some(5));
    assert_eq!(
        ask(Command::Stats)["connections"][0].as_object().map(serde_json::Map::len),
        Some(5)
    );
    assert_eq!(ask(Command::Watches)["session_id_to_watched_paths"], json!({ "5": ["/a", "/b"] }));
    assert_eq!(ask(Command::WatchesByPath)["path_to_session_ids"], json!({ "/a": [5], "/b": [5] }));
    let dump = value(&asked(Command::Dump, |facts| {
        facts.session_sets = vec![SessionSet { expires_ms: 8, sessions: vec![SessionId(5)] }];
    }));
    assert_eq!(dump["expiry_time_to_session_ids"], json!({ "8": [5] }));
}
