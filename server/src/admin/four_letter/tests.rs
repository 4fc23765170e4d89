use super::*;

#[test]
fn dates_are_javas() {
    for (ms, text) in [
        (0, "Thu Jan 01 00:00:00 UTC 1970"),
        (1_795_332_365_000, "Sun Nov 22 07:26:05 UTC 2026"),
        (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
        (4_107_542_399_999, "Sun Feb 28 23:59:59 UTC 2100"),
    ] {
        assert_eq!(date(ms), text);
    }
}

#[test]
fn averages_are_javas() {
    for (value, text) in [(0.0, "0.0"), (3.631_61, "3.6316"), (2.5, "2.5"), (10.0, "10.0")] {
        assert_eq!(decimal(value), text);
    }
}

#[test]
fn addresses_are_javas() {
    for (address, text) in
        [("127.0.0.1", "127.0.0.1"), ("::1", "0:0:0:0:0:0:0:1"), ("::ffff:10.0.0.1", "10.0.0.1")]
    {
        assert_eq!(host(address.parse().expect("an address")), text);
    }
}

#[test]
fn connections_print_like_upstreams() {
    // `client-protocol` 9.2.
    let connection = ConnectionReport {
        peer: ([127, 0, 0, 1].into(), 57000),
        interest: 1,
        queued: 0,
        received: 20,
        sent: 27,
        session: Some(crate::link::SessionReport {
            session: SessionId(0x0100_002c_84e4_0000),
            last_op: "STW2",
            established_ms: 1_795_332_361_300,
            timeout_ms: 4000,
            last_xid: Some(model::Xid(0x11)),
            last_zxid: model::Zxid(9),
            last_response_ms: 2_945_776,
            last_latency_ms: 1,
            min_latency_ms: 0,
            avg_latency_ms: 3,
            max_latency_ms: 17,
        }),
    };
    let bare = ConnectionReport { session: None, ..connection.clone() };
    let report = ShardReport { connections: vec![connection, bare], ..ShardReport::default() };
    assert_eq!(
        cons(&[report]),
        " /127.0.0.1:57000[1](queued=0,recved=20,sent=27,sid=0x100002c84e40000,lop=STW2,\
         est=1795332361300,to=4000,lcxid=0x11,lzxid=0x9,lresp=2945776,llat=1,minlat=0,avglat=3,\
         maxlat=17)\n /127.0.0.1:57000[1](queued=0,recved=20,sent=27)\n\n"
    );
}

#[test]
fn watches_are_joined_over_shards() {
    let (one, two) = (SessionId(1), SessionId(2));
    let report = |watches: &[(&str, SessionId)]| ShardReport {
        watches: watches.iter().map(|(path, by)| (path.as_bytes().to_vec(), *by)).collect(),
        watched: watches.iter().map(|(path, _)| u64::from(path.as_bytes()[1])).collect(),
        watch_summary: (1, watches.len() as u64, watches.len() as u64),
        ..ShardReport::default()
    };
    let reports = [report(&[("/b", one), ("/a", one)]), report(&[("/a", two)])];
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("ASCII");
    assert_eq!(text(watches_by_session(&reports)), "0x1\n\t/a\n\t/b\n0x2\n\t/a\n\n");
    assert_eq!(text(watches_by_path(&reports)), "/a\n\t0x1\n\t0x2\n/b\n\t0x1\n\n");
    assert_eq!(watch_summary(&reports), "2 connections watching 2 paths\nTotal watches:3\n");
}

#[test]
fn members_print_what_upstreams_do() {
    use crate::admin::{EnsembleFacts, metrics};
    use model::{Epoch, ServerId};
    use replication::{Activity, Learners, Standing};

    let standing = Standing { activity: Activity::Broadcasting, voters: 3, learners: None };
    let follower = EnsembleFacts { standing, ..EnsembleFacts::default() };
    let following = RoleKind::Following(ServerId(2), Epoch(1));
    let lines = |role, facts| {
        let lines = metrics::flat(metrics::ensemble_metrics(role, facts));
        lines.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(following, &follower),
        ["peer_state=following - broadcast", "quorum_size=3", "synced_observers=0"]
    );
    let electing = Standing { activity: Activity::Electing, ..standing };
    let reader = EnsembleFacts { standing: electing, ..follower.clone() };
    assert_eq!(lines(RoleKind::Looking, &reader), ["peer_state=looking", "quorum_size=3"]);
    let learners = Learners { connected: 5, followers: 3, without_vote: 1, observers: 1, syncs: 2 };
    let standing = Standing { learners: Some(learners), ..standing };
    let mut proposal_bytes = metrics::Sizes::default();
    for size in [70, 90, 50, 60] {
        proposal_bytes.record(size);
    }
    let leader =
        EnsembleFacts { standing, leading_ms: Some(7), proposal_bytes, ..EnsembleFacts::default() };
    assert_eq!(
        lines(RoleKind::Leading(Epoch(1)), &leader),
        [
            "peer_state=leading - broadcast",
            "quorum_size=3",
            "learners=5",
            "followers=5",
            "synced_followers=3",
            "synced_non_voting_followers=1",
            "synced_observers=1",
            "pending_syncs=2",
            "leader_uptime=7",
            "last_proposal_size=60",
            "min_proposal_size=50",
            "max_proposal_size=90",
        ]
    );
}
