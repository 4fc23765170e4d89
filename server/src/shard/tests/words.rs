//! Four-letter words (`client-protocol` 9.1).

use super::*;
use crate::link::Query;

#[test]
fn words_answered_at_once_whatever_the_cut() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"ruok", b"imok"),
        (b"ruok\n", b"imok"),
        (b"isro", b"rw"),
        (b"envi", b"Environment:\nzookeeper.version=3.9.5\n"),
        (b"gtmk", b"306"),
        (b"\xff\xf4\xff\xfd", b""),
    ];
    for (word, answer) in cases {
        for step in [1, 3, word.len()] {
            let mut world = World::new();
            let conn = world.accept();
            for piece in word.chunks(step) {
                world.bytes(conn, piece);
            }
            assert_eq!(world.got(conn), answer, "{word:?} in steps of {step}");
            assert!(world.socket(conn).closed);
            assert!(world.mail.is_empty());
        }
    }
}

/// The mask comes with its word or not at all; nobody waits for it.
#[test]
fn the_mask_of_stmk_comes_at_once() {
    let stmk = [b"stmk".as_slice(), &[0, 0, 0, 0, 0, 0, 1, 0]].concat();
    for (sent, answer) in [(&stmk[..], b"256".as_slice()), (&stmk[..11], b""), (&stmk[..4], b"")] {
        let mut world = World::new();
        let conn = world.accept();
        world.bytes(conn, sent);
        assert_eq!(world.got(conn), answer, "{sent:?}");
        assert!(world.socket(conn).closed, "{sent:?}");
        let conn = world.accept();
        world.bytes(conn, b"gtmk");
        let mask: &[u8] = if answer.is_empty() { b"306" } else { answer };
        assert_eq!(world.got(conn), mask, "{sent:?}");
    }
}

/// It is set on one shard and shown by all.
#[test]
fn the_mask_is_the_whole_servers() {
    let mut world = World::new();
    let conn = world.accept();
    world.bytes(conn, &[b"stmk".as_slice(), &[0, 0, 0, 0, 0, 0, 1, 0]].concat());
    let told = |m: &ToCore| matches!(m, ToCore::TraceMask(256));
    assert!(world.mail.iter().any(told), "{:?}", world.mail);
    world.tell(ToShard::TraceMask(7));
    let conn = world.accept();
    world.bytes(conn, b"gtmk");
    assert_eq!(world.got(conn), b"7");
}

#[test]
fn other_words_are_queries() {
    let mut world = World::new();
    let conn = world.accept();
    world.bytes(conn, b"srvr\n");
    let asked = |m: &ToCore| matches!(m, ToCore::Query(Query { word, .. }) if word == b"srvr");
    assert!(world.mail.iter().any(asked), "{:?}", world.mail);
    assert!(world.socket(conn).paused, "the peer may close its side; that is no reason to stop");
    assert!(!world.socket(conn).closed);
    world.tell(ToShard::Answer { conn, text: b"the answer".to_vec() });
    assert_eq!(world.got(conn), b"the answer");
    assert!(world.socket(conn).closed);
}

#[test]
fn the_whitelist_and_a_server_that_does_not_serve() {
    let mut world = World::with(ShardConfig { words: Some(vec![*b"srvr"]), ..config() });
    let conn = world.accept();
    world.bytes(conn, b"ruok");
    let refusal = b"ruok is not executed because it is not in the whitelist.\n";
    assert_eq!(world.got(conn), refusal);
    assert!(world.socket(conn).closed);

    let mut world = World::new();
    world.tell(ToShard::serving(false));
    let text = "This ZooKeeper instance is not currently serving requests";
    let line = format!("{text}\n");
    for (word, answer) in
        [("ruok", "imok"), ("isro", "null"), ("mntr", line.as_str()), ("hash", text)]
    {
        let conn = world.accept();
        world.bytes(conn, word.as_bytes());
        assert_eq!(world.got(conn), answer.as_bytes(), "{word}");
    }
}

/// A word is one only at the very start; letters that are none are the length of a frame.
#[test]
fn words_mean_nothing_later() {
    let mut world = World::new();
    let conn = world.client();
    world.bytes(conn, b"ruok");
    assert!(world.got(conn).is_empty() && world.socket(conn).closed);
    let conn = world.accept();
    world.bytes(conn, b"kill");
    assert!(world.got(conn).is_empty() && world.socket(conn).closed);
}

#[test]
fn reports_and_resets() {
    let mut world = World::new();
    let conn = world.client();
    world.ask(conn, 1, &get("/", true));
    world.ask(conn, 2, &Request::GetChildren { path: b"/", watch: true });
    world.write(conn, 3, &create("/a"));
    world.now.mono = Mono::from_millis(1_007);
    world.commit();
    let report = |world: &mut World, word: &[u8; 4]| {
        world.mail.clear();
        world.tell(ToShard::Report { number: 5, word: *word });
        match world.mail.pop() {
            Some(ToCore::Report { number: 5, report }) => *report,
            other => panic!("{other:?}"),
        }
    };
    let all = report(&mut world, b"cons");
    let session = all.connections[0].session.as_ref().expect("it has one");
    assert_eq!((session.last_op, session.last_xid), ("CREA", Some(Xid(3))));
    assert_eq!((session.last_zxid, session.last_latency_ms), (Zxid(2), 7));
    assert_eq!((session.max_latency_ms, session.avg_latency_ms), (7, 1));
    assert_eq!((all.received, all.sent), (4, 5), "with the event");
    assert_eq!(all.watch_count, 1, "the child watch has fired");
    assert_eq!(all.watch_summary, (1, 1, 1));
    assert_eq!((all.read_ms, all.update_ms), ((0, 0, 0, 2), (7, 7, 7, 1)));
    let watches = report(&mut world, b"wchp").watches;
    assert_eq!(watches, [(b"/".to_vec(), SessionId(world.next_session - 1))]);
    report(&mut world, b"srst");
    assert_eq!(report(&mut world, b"mntr").received, 0);
    assert_eq!(report(&mut world, b"crst").connection_count, 1);
    assert_eq!(report(&mut world, b"cons").connections[0].received, 0);
}
