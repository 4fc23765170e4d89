//! What a member of an ensemble tells administrators.

use model::{CreateMode, Zxid};
use replication::{Membership, ReplicaConfig, RoleKind};

use super::bench::{Bench, config, conn, create};
use crate::core::{CoreConfig, CoreOutputs};
use crate::link::{Query, Service, ToCore, ToShard};

/// The only voter, which therefore leads.
fn voter(leader_serves: bool) -> Bench {
    let members =
        Membership::parse("server.1=a:1:2\nserver.2=b:1:2:observer").expect("two servers");
    let ensemble = Some(ReplicaConfig::new(model::ServerId(1), members));
    Bench::with(CoreConfig { ensemble, leader_serves, ..config() }, 64)
}

fn leader() -> Bench {
    let mut bench = voter(true);
    bench.pass(300, &[]);
    bench.settle();
    bench.told();
    assert!(matches!(bench.core.pipeline.role(), RoleKind::Leading(_)));
    bench
}

fn ask(bench: &mut Bench, word: [u8; 4]) -> String {
    let query = Query { conn: conn(0, 9), word, argument: Vec::new() };
    bench.say(0, ToCore::Query(query));
    let told = bench.told();
    let Some((_, ToShard::Report { number, .. })) = told.first() else { panic!("{told:?}") };
    for shard in 0..2 {
        bench.say(shard, ToCore::Report { number: *number, report: Box::default() });
    }
    let told = bench.told();
    let [(_, ToShard::Answer { text, .. })] = &told[..] else { panic!("{told:?}") };
    String::from_utf8_lossy(text).into_owned()
}

fn holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(&format!("zk_{line}\n")), "{line:?} is missing from {text}");
    }
}

/// `leaderServes=no`: its clients are to go to the others.
#[test]
fn a_leader_may_keep_to_itself() {
    for (leader_serves, expect) in [(true, Service::Everybody), (false, Service::Nobody)] {
        let mut bench = voter(leader_serves);
        bench.pass(300, &[]);
        bench.settle();
        assert!(matches!(bench.core.pipeline.role(), RoleKind::Leading(_)));
        let mut out = CoreOutputs::default();
        bench.core.tell_serving(&mut out);
        let [(_, ToShard::Serving { service, .. }), ..] = out.to_shards[..] else {
            panic!("{:?}", out.to_shards)
        };
        assert_eq!(service, expect, "leaderServes={leader_serves}");
    }
}

#[test]
fn a_leader_tells_of_its_ensemble() {
    let mut bench = leader();
    let text = ask(&mut bench, *b"mntr");
    holds(
        &text,
        &[
            "server_state\tleader",
            "peer_state\tleading - broadcast",
            "quorum_size\t1",
            "learners\t0",
            "followers\t0",
            "synced_followers\t0",
            "synced_non_voting_followers\t0",
            "synced_observers\t0",
            "pending_syncs\t0",
            "last_proposal_size\t-1",
            "looking_count\t1",
            "cnt_election_time\t1",
            "snap_count\t0",
            "diff_count\t0",
            "digest_mismatches_count\t0",
        ],
    );
    assert!(text.contains("zk_leader_uptime\t"), "{text}");
    assert!(ask(&mut bench, *b"srvr").ends_with("\nProposal sizes last/min/max: -1/-1/-1\n"));

    let (session, password) = bench.connect(conn(0, 1));
    bench.attach(conn(0, 2), session, &password);
    bench.told();
    bench.submit(conn(0, 2), session, &[(1, create("/longer", CreateMode::Persistent))]);
    bench.settle();
    let srvr = ask(&mut bench, *b"srvr");
    let sizes = srvr.trim_end().rsplit(' ').next().expect("a last word");
    let sizes: Vec<u64> = sizes.split('/').map(|n| n.parse().expect("a number")).collect();
    assert!(sizes[0] == sizes[2] && sizes[0] > sizes[1] && sizes[1] > 0, "{srvr}");
    holds(&ask(&mut bench, *b"mntr"), &["connection_revalidate_count\t1"]);
    ask(&mut bench, *b"srst");
    let text = ask(&mut bench, *b"mntr");
    holds(&text, &["connection_revalidate_count\t0", "looking_count\t0", "max_proposal_size\t-1"]);
    assert!(bench.core.pipeline.published() > Zxid::ZERO);
}

#[test]
fn a_server_alone_tells_of_none() {
    let mut bench = Bench::new();
    bench.told();
    let text = ask(&mut bench, *b"mntr");
    for key in ["quorum_size", "peer_state", "learners", "leader_uptime", "diff_count"] {
        assert!(!text.contains(&format!("zk_{key}\t")), "{key}");
    }
}
