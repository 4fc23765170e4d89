//! Read-only mode (`client-protocol` 7.6): a member of three that finds nobody.

use model::{Mono, SessionId, Zxid};
use replication::wire::election::{Initiation, Notification, PeerState};
use replication::{LinkId, Membership, Port, ReplicaConfig};

use super::bench::{Bench, config, conn};
use crate::core::{CoreConfig, CoreInput};
use crate::link::{ConnId, DropReason, Password, Query, Service, ShardId, ToCore, ToShard};
use crate::peer::PeerEvent;

fn one_of_three(read_only_mode: bool) -> CoreConfig {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2";
    let members = Membership::parse(text).expect("three servers");
    let ensemble = Some(ReplicaConfig::new(model::ServerId(1), members));
    CoreConfig { ensemble, read_only_mode, ..config() }
}

fn member(read_only_mode: bool) -> Bench {
    Bench::with(one_of_three(read_only_mode), 64)
}

/// What the shards were told about whom to serve.
fn services(bench: &mut Bench) -> Vec<Service> {
    let service = |(shard, message)| match message {
        ToShard::Serving { service, .. } if shard == ShardId(0) => Some(service),
        _ => None,
    };
    bench.told().into_iter().filter_map(service).collect()
}

fn attached(bench: &mut Bench, conn: ConnId) -> (SessionId, Password) {
    match bench.told()[..] {
        [(_, ToShard::Attached { conn: to, session, timeout_ms, password, .. })] => {
            assert_eq!((to, timeout_ms), (conn, 4000));
            (session, password)
        }
        ref other => panic!("a session was expected, not {other:?}"),
    }
}

fn alone() -> Bench {
    let mut bench = member(true);
    bench.pass(2200, &[]);
    assert_eq!(services(&mut bench), [Service::Readers]);
    bench
}

/// Servers 2 and 3 say who leads.
fn hear_of_a_leader(bench: &mut Bench) {
    for (n, state) in [(2, PeerState::Leading), (3, PeerState::Following)] {
        let link = LinkId::accepted(n);
        let hello = Initiation { server: n as i64, addresses: vec!["b:2"], multi_address: false };
        let mut bytes = hello.to_bytes();
        let zxid = Zxid::new(model::Epoch(4), 0);
        let vote = Notification {
            state,
            leader: 2,
            zxid,
            round: 9,
            peer_epoch: 4,
            version: 2,
            config: None,
        };
        vote.encode(&mut bytes);
        let port = Port::Election;
        bench.turn(CoreInput::Peer(PeerEvent::Accepted { link, port }));
        bench.turn(CoreInput::Peer(PeerEvent::Received { link, bytes }));
    }
}

#[test]
fn readers_are_served_after_a_while_and_only_where_it_is_wanted() {
    let mut bench = member(true);
    bench.pass(1900, &[]);
    assert_eq!(services(&mut bench), []);
    bench.attach(conn(0, 1), SessionId::NONE, &[]);
    assert!(matches!(bench.told()[..], [(_, ToShard::Drop { .. })]));
    bench.pass(300, &[]);
    assert_eq!(services(&mut bench), [Service::Readers]);

    let mut bench = member(false);
    bench.pass(60_000, &[]);
    assert_eq!(services(&mut bench), []);
}

#[test]
fn sessions_of_readers_are_this_servers_alone() {
    let mut bench = alone();
    let before = bench.core.pipeline.counts();
    bench.attach(conn(0, 1), SessionId::NONE, &[]);
    let (session, password) = attached(&mut bench, conn(0, 1));
    assert!(!session.is_none());
    bench.attach(conn(1, 1), SessionId::NONE, &[]);
    let (other, _) = attached(&mut bench, conn(1, 1));
    assert_ne!(session, other);
    // The same client on another connection.
    bench.attach(conn(1, 2), session, &password);
    let told = bench.told();
    let [(ShardId(0), ToShard::Drop { why: DropReason::Reattached, .. }), (_, again)] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(matches!(again, ToShard::Attached { session: same, .. } if *same == session));
    bench.attach(conn(1, 3), session, &[0; 16]);
    assert!(matches!(bench.told()[..], [(_, ToShard::Refused { .. })]));
    assert_eq!(bench.core.pipeline.counts(), before, "nothing is logged");
    // Silence ends them.
    bench.pass_with(3000, &[session]);
    assert!(bench.told().is_empty());
    bench.pass_with(4000, &[session]);
    let told = bench.told();
    let [(ShardId(1), ToShard::Drop { conn: gone, why: DropReason::Expired })] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(gone, conn(1, 1));
    bench.pass(8000, &[]);
    assert_eq!(bench.told().len(), 1);
    assert_eq!(bench.core.sessions.len(), 0);
}

#[test]
fn a_reader_of_another_server_keeps_its_session() {
    let mut bench = alone();
    let session = SessionId(0x0200_0000_0000_0001);
    let password = bench.core.passwords.of(session);
    bench.attach(conn(0, 1), session, &password);
    assert_eq!(attached(&mut bench, conn(0, 1)), (session, password));
}

/// Whether a session of the ensemble lives cannot be told here, so its client is not told that
/// it does not.
#[test]
fn sessions_of_the_ensemble_are_neither_granted_nor_refused() {
    let mut bench = Bench::new();
    let (session, password) = bench.connect(conn(0, 1));
    let mut bench = bench.restart_as(one_of_three(true));
    bench.pass(2200, &[]);
    bench.told();
    for password in [&password[..], &[0; 16]] {
        bench.attach(conn(0, 2), session, password);
        let told = bench.told();
        assert!(matches!(told[..], [(_, ToShard::Drop { .. })]), "{told:?}");
    }
}

#[test]
fn the_mode_ends_once_a_leader_is_known() {
    let mut bench = alone();
    bench.attach(conn(0, 1), SessionId::NONE, &[]);
    attached(&mut bench, conn(0, 1));
    hear_of_a_leader(&mut bench);
    bench.pass(100, &[]);
    assert_eq!(services(&mut bench), [Service::Nobody]);
    assert_eq!((bench.core.sessions.len(), bench.core.expiry.due()), (0, None));
    // That leader is not to be reached; the wait begins anew.
    bench.now.mono = Mono(bench.now.mono.0 + 1);
    bench.attach(conn(0, 2), SessionId::NONE, &[]);
    assert!(matches!(bench.told()[..], [(_, ToShard::Drop { why: DropReason::NotServing, .. })]));
}

#[test]
fn words_are_answered_for_readers() {
    let mut bench = alone();
    let ask = |word: &[u8; 4]| {
        ToCore::Query(Query { conn: conn(0, 3), word: *word, argument: Vec::new() })
    };
    bench.say(0, ask(b"srvr"));
    let told = bench.told();
    let Some((_, ToShard::Report { number, .. })) = told.first() else { panic!("{told:?}") };
    for shard in 0..2 {
        let report = Box::default();
        bench.say(shard, ToCore::Report { number: *number, report });
    }
    let told = bench.told();
    let [(_, ToShard::Answer { text, .. })] = &told[..] else { panic!("{told:?}") };
    let text = String::from_utf8_lossy(text);
    assert!(text.contains("\nREAD-ONLY mode; serving only read-only clients\n"), "{text}");
    assert!(text.contains("\nMode: read-only\n"), "{text}");
}
