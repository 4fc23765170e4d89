//! What administrators ask, with four-letter words and over HTTP.

use replication::{Membership, ReplicaConfig};

use super::bench::{Bench, config, conn};
use crate::admin::HostFacts;
use crate::admin::command::{Command, Question};
use crate::core::{CoreConfig, CoreInput};
use crate::link::{Query, ShardId, ShardReport, ToCore, ToShard};

#[test]
fn questions_are_answered_when_every_shard_has_reported() {
    let mut bench = Bench::new();
    bench.told();
    let host = HostFacts {
        data_dir_bytes: 5,
        log_dir_bytes: 6,
        open_fds: 7,
        max_fds: 8,
        connections_rejected: 9,
        last_snapshot: None,
    };
    bench.turn(CoreInput::Host(host));
    let admin = conn(1, 3);
    let ask =
        |word: &[u8; 4]| ToCore::Query(Query { conn: admin, word: *word, argument: Vec::new() });
    bench.say(1, ask(b"srvr"));
    let numbers: Vec<u64> = bench
        .told()
        .into_iter()
        .map(|(_, message)| match message {
            ToShard::Report { number, word } => {
                assert_eq!(&word, b"srvr");
                number
            }
            other => panic!("a report was expected, not {other:?}"),
        })
        .collect();
    assert_eq!(numbers.len(), 2);
    for (shard, number) in numbers.into_iter().enumerate() {
        assert!(bench.told().is_empty());
        let report = ShardReport { received: 2, connection_count: 1, ..ShardReport::default() };
        bench.say(shard as u16, ToCore::Report { number, report: Box::new(report) });
    }
    let answer = |bench: &mut Bench| match &bench.told()[..] {
        [(ShardId(1), ToShard::Answer { conn, text })] if *conn == admin => {
            String::from_utf8_lossy(text).into_owned()
        }
        other => panic!("an answer was expected, not {other:?}"),
    };
    assert_eq!(
        answer(&mut bench),
        "Zookeeper version: 3.9.5-test\nLatency min/avg/max: 0/0.0/0\nReceived: 4\nSent: 0\n\
         Connections: 2\nOutstanding: 0\nZxid: 0x0\nMode: standalone\nNode count: 5\n"
    );
    bench.say(1, ask(b"mntr"));
    let told = bench.told();
    let [(_, ToShard::Report { number, .. }), _] = told[..] else { panic!("two asked: {told:?}") };
    for shard in 0..2 {
        let counters = vec![("auth_failed_count", 2), ("max_client_response_size", 3)];
        let (read_ms, update_ms) = ((1, 2, 1, 2), (7, 7, 7, 1));
        let report = ShardReport { read_ms, update_ms, counters, ..Default::default() };
        bench.say(shard, ToCore::Report { number, report: Box::new(report) });
    }
    let text = answer(&mut bench);
    for line in [
        "zk_version\t3.9.5-test\nzk_server_state\tstandalone\n",
        "zk_avg_latency\t3.0\n",
        "zk_min_readlatency\t1\n",
        "zk_cnt_readlatency\t4\n",
        "zk_avg_updatelatency\t7.0\n",
        "zk_znode_count\t5\n",
        "zk_auth_failed_count\t4\n",
        "zk_max_client_response_size\t3\n",
        "zk_last_client_response_size\t-1\n",
        "zk_open_file_descriptor_count\t7\n",
        "zk_connection_rejected\t9\n",
        "zk_proposal_count\t0\n",
        "zk_cnt_fsynctime\t0\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing from {text}");
    }
    bench.say(1, ask(b"dirs"));
    assert_eq!(answer(&mut bench), "datadir_size: 5\nlogdir_size: 6\n");
    bench.say(1, ask(b"conf"));
    assert_eq!(
        answer(&mut bench),
        "clientPort=1\ndataDir=/d\ndataDirSize=5\ndataLogDir=/l\ndataLogSize=6\ntickTime=2000\n"
    );
    let mut gathered = |word| {
        bench.say(1, ask(word));
        let told = bench.told();
        let [(_, ToShard::Report { number, .. }), _] = told[..] else { panic!("{told:?}") };
        for shard in 0..2 {
            bench.say(shard, ToCore::Report { number, report: Box::default() });
        }
        answer(&mut bench)
    };
    assert_eq!(gathered(b"srst"), "Server stats reset.\n");
    assert!(gathered(b"mntr").contains("zk_connection_rejected\t0\n"), "counted since srst");
}

/// Administrators over HTTP get JSON by number; a server that does not serve says what it can.
#[test]
fn administrators_are_answered_by_number() {
    let mut bench = Bench::new();
    bench.told();
    let ask = |bench: &mut Bench, number, question| {
        bench.turn(CoreInput::Ask { number, question });
        let told = bench.told();
        for (_, message) in &told {
            if let ToShard::Report { number, .. } = message {
                for shard in 0..2 {
                    let report = Box::new(ShardReport { sent: 1, ..ShardReport::default() });
                    bench.say(shard, ToCore::Report { number: *number, report });
                }
                break;
            }
        }
        match &std::mem::take(&mut bench.out.answers)[..] {
            [(to, material)] if *to == number => {
                String::from_utf8_lossy(&material.answer()).into_owned()
            }
            other => panic!("one answer to {number} was expected: {other:?}"),
        }
    };
    let command = Question::Command;
    assert!(ask(&mut bench, 1, command(Command::Ruok)).contains("\"error\" : null"));
    let stats = ask(&mut bench, 2, command(Command::ServerStats));
    assert!(stats.contains("\"packets_sent\" : 2,"), "{stats}");
    let metrics = ask(&mut bench, 3, Question::Metrics);
    assert!(metrics.contains("\n# TYPE packets_sent counter\npackets_sent 2\n"), "{metrics}");
    let mask = ask(&mut bench, 4, command(Command::SetTraceMask(7)));
    assert!(mask.contains("\"tracemask\" : 7,"), "{mask}");
    assert!(ask(&mut bench, 5, command(Command::GetTraceMask)).contains("\"tracemask\" : 7,"));
    ask(&mut bench, 6, command(Command::StatReset));

    let members = Membership::parse("server.1=a:1:2\nserver.2=b:1:2").expect("two servers");
    let ensemble = Some(ReplicaConfig::new(model::ServerId(1), members));
    let config = CoreConfig { ensemble, read_only_mode: false, ..config() };
    let mut bench = Bench::with(config, 64);
    bench.told();
    let refused = ask(&mut bench, 1, command(Command::Ruok));
    assert!(refused.contains("not currently serving requests\"\n"), "{refused}");
    let state = ask(&mut bench, 2, command(Command::Zabstate));
    assert!(state.contains("\"zabstate\" : \"election\","), "{state}");
    assert!(ask(&mut bench, 3, Question::Metrics).contains("\nquorum_size 2\n"));
}

/// Whichever shard a client sets the trace mask on, all show it.
#[test]
fn every_shard_hears_of_the_trace_mask() {
    let mut bench = Bench::new();
    bench.told();
    bench.say(1, ToCore::TraceMask(5));
    let told = bench.told();
    assert!(
        matches!(
            told[..],
            [(ShardId(0), ToShard::TraceMask(5)), (ShardId(1), ToShard::TraceMask(5))]
        ),
        "{told:?}"
    );
}
