//! Scenarios in plain words: those of the catalogue of known bugs (`zab-wire` 9.1) that can befall
//! a lone server (docs/simulation.md has the whole list), and what a client must be able to rely
//! on. Each is told with several seeds: the seed chooses the order of what may happen at once. All
//! checkers listen.

use engine::draft::{Caller, Draft, Settings, Stamp};
use engine::{Effects, Version};
use model::op::Create;
use model::{CreateMode, Epoch, ErrorCode, EventKind, Op, OpCode, SessionId, Zxid};
use sim::story::{Ask, FINE, Told, error};
use sim::swarm::Options;
use sim::world::World;

const SEEDS: u64 = 8;

/// F-14: a log write fails. What waited for it is not acknowledged, the process ends, and after
/// the next start everything acknowledged is there.
#[test]
fn a_failed_log_write_is_acknowledged_to_nobody() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        w.attach(0);
        w.done(0, &[Ask::Create("/kept")]);
        assert_eq!(w.told(0), [FINE]);
        w.fail_next_write();
        w.pipeline(0, &[Ask::Create("/unknown")]);
        w.restart();
        assert_eq!(w.told(0), [], "nobody may say that it succeeded");
        assert!(w.exists("/kept"));
        w.attach(0);
        w.done(0, &[Ask::Get("/kept")]);
        assert_eq!(w.told(0), [FINE]);
    }
}

/// F-07, F-13: the process dies at any point of a write's way. Acknowledged means there.
#[test]
fn a_crash_anywhere_loses_nothing_acknowledged() {
    for after in 0..60 {
        let mut w = World::calm(after, 1, 1);
        w.attach(0);
        w.pipeline(0, &[Ask::Create("/a"), Ask::Set("/a", "x"), Ask::Create("/b")]);
        w.events(after);
        w.crash();
        let acknowledged = w.told(0).len();
        w.restart();
        for path in ["/a", "/b"].iter().take(if acknowledged < 3 { acknowledged.min(1) } else { 2 })
        {
            assert!(w.exists(path), "{path} had been acknowledged");
        }
        w.attach(0);
    }
}

/// F-19: snapshots are taken while writes go on; a crash after any of them and the state is what
/// the log says (`snapshot_equals_replay` compares).
#[test]
fn snapshots_amid_writes_are_whole() {
    for seed in 0..SEEDS {
        let options = Options { snapshot_entries: 3, ..Options::calm(2, 2) };
        let mut w = World::story(seed, options);
        w.attach(0);
        w.attach(1);
        for round in 0..5 {
            let path = format!("/p{round}");
            w.pipeline(0, &[Ask::Create(&path), Ask::Set(&path, "x"), Ask::Set("/p0", "y")]);
            w.pipeline(1, &[Ask::Set("/p0", "z"), Ask::Ephemeral("/e"), Ask::Delete("/e")]);
            w.events(40 * round);
            w.crash();
            w.restart();
            w.attach(0);
            w.attach(1);
        }
    }
}

/// F-20: a create that ends in the middle takes its own place in the order, and nothing behind it
/// waits for ever.
#[test]
fn a_malformed_request_blocks_nobody() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 2, 2);
        w.attach(0);
        w.attach(1);
        w.pipeline(0, &[Ask::Malformed, Ask::Create("/a"), Ask::Malformed]);
        w.done(1, &[Ask::Create("/b")]);
        w.settle(0);
        let bad = error(ErrorCode::MarshallingError);
        assert_eq!(w.told(0), [bad.clone(), FINE, bad]);
        assert!(w.exists("/a") && w.exists("/b"));
    }
}

/// What another program left: `/a` and, of a session, the ephemeral `/left`, at this position.
fn state(zxid: Zxid, session: SessionId) -> Version {
    let mut draft = Draft::new(Settings::default());
    let open = model::acl::world(model::Perms::ALL);
    let create = |path, mode| {
        Op::Create(Create {
            opcode: OpCode::Create,
            path,
            data: Some(b""),
            acl: Some(&open),
            mode,
            sequential: false,
        })
    };
    let ops = [
        Op::CreateSession { timeout_ms: 4000 },
        create(b"/a", CreateMode::Persistent),
        create(b"/left", CreateMode::Ephemeral),
    ];
    for (back, op) in (0..3).rev().zip(ops) {
        let stamp = Stamp { zxid: Zxid(zxid.0 - back), cxid: 0, time_ms: 1000 };
        let caller = Caller { session, identities: [].into() };
        draft.execute(&op, &caller, stamp, &mut Effects::default());
    }
    draft.freeze()
}

/// F-21: the counter of an epoch is used up. The last number is never given, the next epoch
/// begins, and a restart goes on from there.
#[test]
fn a_used_up_counter_is_followed_by_the_next_epoch() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 2);
        let before = Zxid::new(Epoch(7), Zxid::COUNTER_MAX - 4);
        w.inherit(state(before, SessionId(9)), &[]);
        w.attach(0);
        w.pipeline(0, &[Ask::Create("/b"), Ask::Set("/b", "x"), Ask::Set("/b", "y")]);
        w.events(30 * seed);
        w.crash();
        w.restart();
        w.attach(0);
        w.told(0);
        w.done(0, &[Ask::Set("/a", "z"), Ask::Set("/a", "z"), Ask::Set("/a", "z")]);
        assert_eq!(w.told(0), [FINE, FINE, FINE]);
        assert_eq!(w.zxid().epoch(), Epoch(8), "{:?}", w.zxid());
        let zxids = w.zxids();
        assert!(zxids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(zxids.iter().all(|zxid| zxid.counter() != Zxid::COUNTER_MAX));
    }
}

/// F-26: a session owns more than a transaction may list. It ends all the same, with everything
/// that it owned, and the log can be read again.
#[test]
fn a_session_that_owns_too_much_to_list_ends_whole() {
    let options = Options { segment_bytes: 1 << 20, ..Options::calm(2, 1) };
    let mut w = World::story(1, options);
    w.attach(0);
    let paths: Vec<String> = (0..80).map(|n| format!("/{n:0>8000}")).collect();
    let asks: Vec<Ask<'_>> = paths.iter().map(|path| Ask::Ephemeral(path)).collect();
    for some in asks.chunks(10) {
        w.done(0, some);
    }
    assert_eq!(w.told(0), vec![FINE; 80]);
    let session = w.session(0).expect("it is attached");
    w.done(0, &[Ask::Close]);
    assert!(!w.lives(session));
    assert!(!paths.iter().any(|path| w.exists(path)));
    w.crash();
    w.restart();
    assert!(!w.lives(session));
    assert!(!paths.iter().any(|path| w.exists(path)));
}

/// F-29a: a session was silent for its whole timeout, and its end waits in a log that stands
/// still. That it speaks again meanwhile does not undo what was decided.
#[test]
fn an_end_that_was_decided_is_not_undone() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        w.attach(0);
        w.done(0, &[Ask::Ephemeral("/e")]);
        w.told(0);
        let session = w.session(0).expect("it is attached");
        w.cut(0, false, 45_000);
        w.stall_disk(70_000);
        w.pass(50_000);
        assert!(w.lives(session), "its end cannot be durable yet");
        w.run_until("the session is gone", |w| !w.lives(session));
        w.run_until("the client knows", |w| w.session(0).is_none_or(|now| now != session));
        assert!(!w.exists("/e"));
    }
}

/// F-32: a ZooKeeper left ephemerals of a session that has ended. They go by a transaction, which
/// the log has and every other server would see, and not on this server's own account.
#[test]
fn ephemerals_that_were_left_behind_go_by_transaction() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        let (before, session) = (Zxid::new(Epoch(3), 9), SessionId(0x900));
        let whole = state(before, session);
        let mut tables = whole.tables().clone();
        tables.sessions.remove(&session);
        w.inherit(Version::new(whole.tree().clone(), tables), &[session]);
        w.stay_away(0);
        w.run_until("it is gone", |w| w.is_running() && !w.exists("/left"));
        assert_eq!(w.zxid(), before.next());
        w.crash();
        w.restart();
        assert!(w.exists("/a") && !w.exists("/left"));
        w.attach(0);
    }
}

/// F-29c: what a session creates before it closes goes with it, and nothing it sent afterwards is
/// done.
#[test]
fn nothing_ephemeral_outlives_its_session() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 2, 2);
        w.attach(0);
        w.attach(1);
        let session = w.session(0).expect("it is attached");
        w.pipeline(0, &[Ask::Ephemeral("/e"), Ask::Close, Ask::Ephemeral("/late")]);
        w.run_until("the session is gone", |w| !w.lives(session));
        w.done(1, &[Ask::Get("/e"), Ask::Get("/late")]);
        let missing = error(ErrorCode::NoNode);
        assert_eq!(w.told(1), [missing.clone(), missing]);
    }
}

/// F-29b: a session has moved. What its old connection had on the way takes no effect later.
#[test]
fn what_the_old_connection_sent_does_not_come_after_the_new_one() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 2, 2);
        w.stay_away(1);
        w.attach(0);
        w.done(0, &[Ask::Create("/a")]);
        w.cut(0, false, 3000);
        w.pipeline(0, &[Ask::Create("/stale")]);
        w.stay_away(0);
        w.steal(1, 0);
        w.done(1, &[Ask::Set("/a", "new")]);
        assert_eq!(w.told(1), [FINE]);
        w.pass(5000);
        assert!(!w.exists("/stale"));
    }
}

/// A client whose machine lost power: no packet says so. Its ephemerals go after its timeout.
#[test]
fn a_half_open_connection_does_not_keep_a_session() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        w.attach(0);
        w.done(0, &[Ask::Ephemeral("/e")]);
        let session = w.session(0).expect("it is attached");
        w.vanish(0, true);
        w.run_until("the session is gone", |w| !w.lives(session));
        assert!(!w.exists("/e"));
    }
}

/// Only one direction is cut: the client hears the server, the server does not hear the client.
#[test]
fn a_client_that_is_not_heard_expires_and_learns_it() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        w.attach(0);
        w.done(0, &[Ask::Ephemeral("/e")]);
        w.told(0);
        let session = w.session(0).expect("it is attached");
        w.cut(0, false, 120_000);
        w.run_until("the session is gone", |w| !w.lives(session));
        w.run_until("the client knows", |w| w.session(0).is_none_or(|now| now != session));
        assert_eq!(w.told(0), [Told::Refused]);
        assert!(!w.exists("/e"));
    }
}

/// The server itself stood still for a minute: nobody expires by its fault.
#[test]
fn a_pause_of_the_server_expires_nobody() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 3, 2);
        for client in 0..3 {
            w.attach(client);
        }
        w.done(0, &[Ask::Ephemeral("/e")]);
        w.pause(60_000);
        w.pass(70_000);
        for client in 0..3 {
            let session = w.session(client).expect("it keeps its session");
            assert!(w.lives(session));
        }
        assert!(w.exists("/e"));
    }
}

/// The disk stands still for a minute. Reads go on, writes wait, and nobody expires.
#[test]
fn a_stall_of_the_disk_expires_nobody() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 2, 1);
        w.attach(0);
        w.attach(1);
        w.done(0, &[Ask::Ephemeral("/e")]);
        w.told(0);
        w.stall_disk(60_000);
        w.pipeline(0, &[Ask::Create("/slow")]);
        w.done(1, &[Ask::Get("/e")]);
        assert_eq!(w.told(1), [FINE], "a read does not wait for the disk");
        assert_eq!(w.told(0), []);
        w.settle(0);
        assert_eq!(w.told(0), [FINE]);
        let there = ["/e", "/slow"].map(|path| w.exists(path));
        assert_eq!(there, [true, true], "seed {seed} at {:?}", w.zxid());
    }
}

/// Found by the simulator: a session was created while the log stood still, and expired before
/// its client had been told of it.
#[test]
fn a_session_that_is_born_in_a_stall_lives_to_be_used() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 1);
        w.run_until("the server runs", World::is_running);
        w.stall_disk(30_000);
        w.attach(0);
        let session = w.session(0).expect("it is attached");
        w.done(0, &[Ask::Create("/a")]);
        assert!(w.lives(session));
        assert_eq!(w.told(0), [FINE]);
    }
}

/// Events come before the answers that show what they are about, across shards.
#[test]
fn a_watcher_hears_before_it_sees() {
    for seed in 0..4 * SEEDS {
        let mut w = World::calm(seed, 2, 3);
        w.attach(0);
        w.attach(1);
        w.done(0, &[Ask::Watch("/a")]);
        w.pipeline(1, &[Ask::Create("/a"), Ask::Delete("/a"), Ask::Create("/a")]);
        w.pipeline(0, &[Ask::Watch("/a"), Ask::Get("/a")]);
        w.settle(0);
        w.settle(1);
        w.done(0, &[Ask::Create("/end")]);
        let told = w.told(0);
        let created = Told::Event(EventKind::NodeCreated, "/a".to_owned());
        assert!(told.contains(&created), "{told:?}");
    }
}

/// A server that dies again and again while it starts still comes up with everything.
#[test]
fn a_restart_loop_loses_nothing() {
    for seed in 0..SEEDS {
        let mut w = World::calm(seed, 1, 2);
        w.attach(0);
        w.done(0, &[Ask::Create("/a")]);
        let session = w.session(0).expect("it is attached");
        for round in 0..10 {
            w.crash();
            w.restart();
            w.events(3 * round);
        }
        assert!(w.exists("/a") && w.lives(session));
        w.attach(0);
        assert_eq!(w.session(0), Some(session), "it takes its session up again");
    }
}
