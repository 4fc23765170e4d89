//! Stories of the core, told through its inputs and outputs alone.

mod bench;
mod crash;
mod members;
mod questions;
mod readers;
mod three;

use engine::disk::DiskOp;
use model::{CreateMode, Op, OpCode, SessionId, Zxid};

use super::{CoreConfig, CoreInput};
use crate::feed::{Answer, Completion};
use crate::limits::{BATCH_ENTRIES_MAX, PIPELINE_BATCHES_MAX};
use crate::link::{DropReason, ShardId, ToCore, ToShard};
use bench::{Bench, config, conn, create, is_log_write, set};

const SYNC: i32 = OpCode::Sync as i32;
const PERSISTENT: CreateMode = CreateMode::Persistent;

#[test]
fn a_write_is_answered_only_after_it_is_durable() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT)), (2, set("/a", b"x"))]);
    assert!(bench.disk.ordered.iter().any(is_log_write), "the log write was ordered at once");
    assert_eq!(bench.replies(0), []);
    assert!(!bench.exists("/a"));
    assert!(bench.out.wake.is_empty());
    bench.complete(is_log_write);
    assert_eq!(bench.replies(0), [(1, 2, Ok(())), (2, 3, Ok(()))]);
    assert!(bench.exists("/a"));
    assert_eq!(bench.out.wake, [ShardId(0)], "only the shard that asked is woken");
}

#[test]
fn log_writes_that_complete_out_of_order_are_answered_in_order() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.submit(client, session, &[(2, create("/b", PERSISTENT))]);
    let writes: Vec<usize> =
        (0..bench.disk.ordered.len()).filter(|&at| is_log_write(&bench.disk.ordered[at])).collect();
    assert_eq!(writes.len(), 2, "two writes are in flight");
    bench.complete_at(writes[1]);
    assert_eq!(bench.replies(0), []);
    bench.complete(is_log_write);
    assert_eq!(bench.replies(0), [(1, 2, Ok(())), (2, 3, Ok(()))]);
}

/// Group commit without a timer: what arrives while the log is busy shares the next write.
#[test]
fn writes_gather_while_the_log_is_busy() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    for xid in 2..100 {
        bench.submit(client, session, &[(xid, set("/a", b"x"))]);
    }
    assert_eq!(bench.disk.ordered.iter().filter(|op| is_log_write(op)).count(), 2);
    bench.complete(is_log_write);
    bench.complete(is_log_write);
    bench.complete(is_log_write);
    assert_eq!(bench.replies(0).len(), 99);
}

/// `set 1; get; set 2` sent together: the read between must find a version with the first write
/// and without the second, although both become durable together.
#[test]
fn a_read_between_two_writes_finds_its_version() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit_cutting(
        client,
        session,
        &[
            (1, create("/a", PERSISTENT), false),
            (2, set("/a", b"one"), false),
            (4, set("/a", b"two"), true),
        ],
    );
    bench.settle();
    let batches = bench.batches(0);
    let [batch] = &batches[..] else { panic!("one batch, not {}", batches.len()) };
    let data: Vec<_> = batch
        .segments
        .iter()
        .map(|segment| {
            let znode = segment.version.view().get(b"/a").expect("created");
            (segment.entries.len(), segment.version.zxid().0, znode.data.map(<[u8]>::to_vec))
        })
        .collect();
    assert_eq!(data, [(2, 3, Some(b"one".to_vec())), (1, 4, Some(b"two".to_vec()))]);
    let ends: Vec<u32> = batch.segments[0].entries.iter().map(|entry| entry.effects_end).collect();
    assert_eq!(ends, [1, 2]);
    assert_eq!(batch.segments[1].effects.list.len(), 1, "effects lie in their own segment");
}

#[test]
fn a_cut_at_the_beginning_of_a_batch_needs_no_segment() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit_cutting(client, session, &[(1, create("/a", PERSISTENT), true)]);
    bench.settle();
    assert_eq!(bench.batches(0)[0].segments.len(), 1);
}

#[test]
fn a_sync_takes_its_place_without_a_transaction() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.submit_raw(client, session, 2, SYNC, b"\0\0\0\x01/");
    assert_eq!(bench.replies(0), [], "it waits for the write before it");
    bench.settle();
    assert_eq!(bench.replies(0), [(1, 2, Ok(())), (2, 2, Ok(()))]);
    bench.submit_raw(client, session, 3, SYNC, b"\0\0\0\x01/");
    assert_eq!(bench.replies(0), [(3, 2, Ok(()))], "with nothing under way it is answered at once");
    bench.submit_raw(client, session, 4, SYNC, b"\0\0\0\x09/");
    assert_eq!(bench.replies(0), [(4, 2, Err(-5))]);
}

#[test]
fn refused_and_malformed_writes_use_up_a_zxid() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, set("/none", b""))]);
    bench.submit_raw(client, session, 2, 5, b"\0");
    bench.submit_raw(client, session, 3, 20, b"\0\0\0\x02/a");
    bench.settle();
    assert_eq!(bench.replies(0), [(1, 2, Err(-101)), (2, 3, Err(-5)), (3, 4, Err(-6))]);
}

#[test]
fn a_new_session_gets_a_negotiated_timeout_and_its_own_id() {
    let mut bench = Bench::new();
    for (asked, given) in [(0, 4000), (-5, 4000), (10_000, 10_000), (1 << 30, 40_000)] {
        let message = ToCore::Attach {
            conn: conn(1, 0),
            session: SessionId::NONE,
            password: Vec::new(),
            timeout_ms: asked,
        };
        bench.say(1, message);
        bench.settle();
        let [(_, completion)] = &bench.answers(1)[..] else { panic!("one answer") };
        let Answer::SessionCreated { session, timeout_ms, .. } = completion.answer else {
            panic!("a session")
        };
        assert_eq!((timeout_ms, session.0 >> 56), (given, 1));
    }
    assert_eq!(bench.core.sessions.allocate(|_| false).0 & 0xffff, 4);
}

#[test]
fn a_session_is_attached_again_with_its_password() {
    let mut bench = Bench::new();
    let (first, second) = (conn(0, 1), conn(1, 7));
    let (session, password) = bench.connect(first);
    bench.say(0, ToCore::Detached { conn: first, session });
    bench.attach(second, session, &password);
    let told = bench.told();
    let [(ShardId(1), ToShard::Attached { conn, zxid, timeout_ms, .. })] = &told[..] else {
        panic!("attached, not {told:?}")
    };
    assert_eq!((*conn, *zxid, *timeout_ms), (second, Zxid(1), 4000));
}

/// Upstream closes the connection that holds a session before it looks at the password, so that
/// anybody who reads session numbers in a log can disconnect their owners.
#[test]
fn only_the_right_password_drives_out_the_first_connection() {
    let mut bench = Bench::new();
    let (first, second) = (conn(0, 1), conn(1, 7));
    let (session, password) = bench.connect(first);
    bench.attach(second, session, &[0; 16]);
    let told = bench.told();
    let refused = matches!(told[..], [(ShardId(1), ToShard::Refused { conn })] if conn == second);
    assert!(refused, "{told:?}");
    bench.attach(second, session, &password);
    let told = bench.told();
    assert!(
        matches!(
            &told[..],
            [
                (ShardId(0), ToShard::Drop { conn: dropped, why: DropReason::Reattached }),
                (ShardId(1), ToShard::Attached { .. })
            ] if *dropped == first
        ),
        "{told:?}"
    );
}

#[test]
fn unknown_sessions_are_refused_whatever_the_password() {
    let mut bench = Bench::new();
    let ghost = SessionId(0x0100_0000_0000_0042);
    let password = bench.core.passwords.of(ghost);
    bench.attach(conn(0, 1), ghost, &password);
    assert!(matches!(bench.told()[..], [(ShardId(0), ToShard::Refused { .. })]));
}

/// The client reconnected and wrote; what its old connection still had under way must not take
/// effect after that.
#[test]
fn writes_of_a_connection_that_was_replaced_are_dropped() {
    let mut bench = Bench::new();
    let (first, second) = (conn(0, 1), conn(1, 7));
    let (session, password) = bench.connect(first);
    bench.attach(second, session, &password);
    bench.submit(second, session, &[(2, create("/new", PERSISTENT))]);
    bench.submit(first, session, &[(1, create("/old", PERSISTENT))]);
    bench.settle();
    assert!(bench.exists("/new") && !bench.exists("/old"));
    assert_eq!(bench.replies(0), []);
    // A connection that is merely gone had its say before.
    bench.say(1, ToCore::Detached { conn: second, session });
    bench.submit(second, session, &[(3, create("/late", PERSISTENT))]);
    bench.settle();
    assert!(bench.exists("/late"));
}

#[test]
fn closing_takes_the_ephemerals_and_silences_the_session() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, password) = bench.connect(client);
    bench.submit(
        client,
        session,
        &[
            (1, create("/e", CreateMode::Ephemeral)),
            (2, Op::CloseSession),
            (3, create("/after", PERSISTENT)),
        ],
    );
    bench.settle();
    assert_eq!(bench.replies(0), [(1, 2, Ok(())), (2, 3, Ok(()))], "nothing after the close");
    assert!(!bench.exists("/e") && !bench.exists("/after"));
    bench.attach(client, session, &password);
    assert!(matches!(bench.told()[..], [(_, ToShard::Refused { .. })]));
}

#[test]
fn a_silent_session_expires_with_its_ephemerals_and_its_connection_learns() {
    let mut bench = Bench::new();
    let (silent, lively) = (conn(0, 1), conn(1, 2));
    let (session, _) = bench.connect(silent);
    let (other, _) = bench.connect(lively);
    bench.submit(silent, session, &[(1, create("/e", CreateMode::Ephemeral))]);
    bench.settle();
    bench.replies(0);
    for _ in 0..60 {
        bench.heard(1, &[other]);
        bench.pass(100, &[]);
    }
    bench.settle();
    let answers = bench.answers(0);
    let ended = Completion { conn: silent, answer: Answer::SessionEnded };
    assert_eq!(answers, [(Zxid(4), ended)]);
    assert!(!bench.exists("/e"));
    assert!(bench.core.sessions.owner(other).is_some(), "the other one was heard");
}

/// A shard that does not report may have heard from any session.
#[test]
fn nobody_expires_while_a_shard_is_silent() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(conn(0, 1));
    bench.pass(20_000, &[1]);
    assert!(bench.core.sessions.owner(session).is_some());
    // When it reports again, the sessions get the time that it missed.
    bench.pass(3000, &[]);
    assert!(bench.core.sessions.owner(session).is_some());
    bench.pass(30_000, &[]);
    assert!(bench.core.sessions.owner(session).is_none());
}

#[test]
fn a_pause_of_the_whole_server_expires_nobody() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(conn(0, 1));
    bench.now.mono = bench.now.mono + std::time::Duration::from_secs(120);
    bench.pass(1000, &[]);
    assert!(bench.core.sessions.owner(session).is_some());
}

#[test]
fn a_failed_log_write_halts_and_nothing_is_acknowledged_any_more() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.submit(client, session, &[(2, create("/b", PERSISTENT))]);
    bench.fail(is_log_write, false);
    let cause = bench.out.halt.clone().expect("the node must end");
    assert!(cause.contains("the story says so"), "{cause}");
    // The other write completes, clients go on, time passes: not a word.
    bench.complete(is_log_write);
    bench.submit(client, session, &[(3, create("/c", PERSISTENT))]);
    bench.pass(1000, &[]);
    bench.told();
    assert_eq!(bench.replies(0), []);
    assert!(bench.disk.ordered.iter().all(|op| !is_log_write(op)));
}

/// Reads go on without the core, so it is enough that sessions live and closing works.
#[test]
fn while_space_is_short_writes_are_refused_in_order_and_come_back_by_themselves() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.disk.free = 999;
    bench.settle();
    bench.replies(0);
    bench.pass_with(10_000, &[session]);
    bench.settle();
    bench.submit(client, session, &[(2, set("/a", b"x"))]);
    bench.submit_raw(client, session, 3, SYNC, b"\0\0\0\x01/");
    bench.settle();
    assert_eq!(bench.replies(0), [(2, 2, Err(-1)), (3, 2, Ok(()))], "no zxid is used up");
    let (second, _) = bench.connect(conn(1, 1));
    bench.submit(conn(1, 1), second, &[(1, Op::CloseSession)]);
    bench.settle();
    assert_eq!(bench.replies(1).len(), 1, "sessions still begin and end");

    bench.disk.free = 1050;
    bench.pass(2000, &[]);
    bench.settle();
    bench.submit(client, session, &[(4, set("/a", b"x"))]);
    assert_eq!(bench.replies(0)[0].2, Err(-1), "a little above the reserve is not enough");
    bench.disk.free = 1 << 20;
    bench.pass(2000, &[]);
    bench.settle();
    bench.submit(client, session, &[(5, set("/a", b"x"))]);
    bench.settle();
    assert_eq!(bench.replies(0), [(5, 5, Ok(()))]);
}

/// The file system is full: the log cannot prepare its next segment.
#[test]
fn a_log_that_cannot_grow_refuses_until_it_can() {
    let is_prepare = |op: &DiskOp| matches!(op, DiskOp::PrepareSegment { .. });
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    let big = vec![7; 50_000];
    bench.submit(client, session, &[(0, create("/a", PERSISTENT))]);
    let mut xid = 0;
    while !bench.disk.ordered.iter().any(is_prepare) {
        xid += 1;
        bench.submit(client, session, &[(xid, set("/a", &big))]);
        bench.complete(is_log_write);
    }
    while bench.complete(is_log_write) {}
    bench.fail(is_prepare, true);
    bench.replies(0);
    bench.told();
    for xid in 100..110 {
        bench.submit(client, session, &[(xid, set("/a", &big))]);
        while bench.complete(is_log_write) {}
    }
    let refused = bench.replies(0).iter().filter(|reply| reply.2 == Err(-1)).count();
    assert!(refused > 0, "sooner or later the last segment is full");
    bench.attach(conn(1, 1), SessionId::NONE, &[]);
    assert!(matches!(
        bench.told()[..],
        [(ShardId(1), ToShard::Drop { why: DropReason::NotServing, .. })]
    ));
    assert!(bench.out.halt.is_none());
    // Space comes back; nobody has to say so.
    bench.pass_with(10_000, &[session]);
    bench.settle();
    bench.pass_with(10_000, &[session]);
    bench.settle();
    bench.replies(0);
    bench.submit(client, session, &[(200, set("/a", &big))]);
    bench.settle();
    assert!(matches!(bench.replies(0)[..], [(200, _, Ok(()))]));
}

#[test]
fn restart_brings_back_everything_acknowledged() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, password) = bench.connect(client);
    bench.submit(
        client,
        session,
        &[(1, create("/a", PERSISTENT)), (2, create("/e", CreateMode::Ephemeral))],
    );
    bench.settle();
    bench.submit(client, session, &[(3, create("/lost", PERSISTENT))]);
    let mut bench = bench.restart();
    assert!(bench.exists("/a") && bench.exists("/e") && !bench.exists("/lost"));
    bench.told();
    // The session lives: it has a full timeout, its password works, the next zxid follows.
    bench.pass(3900, &[]);
    bench.attach(client, session, &password);
    assert!(matches!(bench.told()[..], [(_, ToShard::Attached { zxid: Zxid(3), .. })]));
    bench.submit(client, session, &[(4, set("/a", b"x"))]);
    bench.settle();
    assert_eq!(bench.replies(0), [(4, 4, Ok(()))]);
    let (fresh, _) = bench.connect(conn(1, 1));
    assert_ne!(fresh, session);
}

/// One shard stands still. The others get no answers either once the ring is full, but the core
/// keeps a bounded number of batches and loses nothing.
#[test]
fn a_shard_that_stands_still_holds_the_core_up_without_piling_up() {
    let mut bench = Bench::with(config(), 8);
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.batches(1);
    let total = 3 * BATCH_ENTRIES_MAX as i32;
    bench.submit(client, session, &[(0, create("/a", PERSISTENT))]);
    bench.settle();
    for xid in 1..=total {
        bench.submit(client, session, &[(xid, set("/a", b"x"))]);
        bench.settle();
        if bench.core.intake.len() > 5 {
            break;
        }
    }
    assert!(!bench.core.pipeline.is_drained());
    let before = bench.replies(0).len();
    assert!(before <= 8, "the ring holds {before}");
    let mut rest = 0;
    for _ in 0..=PIPELINE_BATCHES_MAX {
        bench.batches(1);
        bench.turn(CoreInput::Tick);
        bench.settle();
        rest += bench.replies(0).len();
    }
    assert!(bench.core.intake.is_empty() && bench.core.pipeline.is_drained());
    assert!(rest > 0);
}

#[test]
fn a_shard_with_watches_is_woken_for_every_batch() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.ends[1].set_interested(true);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.settle();
    assert_eq!(bench.out.wake, [ShardId(0), ShardId(1)]);
}

/// It has no watches and asks for nothing, but it must not hold the ring up, nor old versions.
#[test]
fn an_idle_shard_is_woken_before_the_ring_fills() {
    let mut bench = Bench::with(config(), 16);
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(0, create("/a", PERSISTENT))]);
    bench.settle();
    let mut published = bench.replies(0).len() + 1;
    while !bench.out.wake.contains(&ShardId(1)) {
        bench.submit(client, session, &[(1, set("/a", b"x"))]);
        bench.settle();
        published += bench.replies(0).len();
    }
    assert_eq!(published, 7, "half of what the ring can hold");
}

#[test]
fn stopping_waits_for_what_was_taken_and_takes_nothing_more() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.turn(CoreInput::Stop);
    assert!(!bench.out.stopped);
    bench.submit(client, session, &[(2, create("/b", PERSISTENT))]);
    bench.settle();
    assert!(bench.out.stopped);
    assert_eq!(bench.replies(0), [(1, 2, Ok(()))]);
    assert!(!bench.exists("/b"));
}

/// The next start would replay what is not in a snapshot, so a stop writes one that is worth it.
#[test]
fn stopping_waits_for_a_snapshot_of_a_long_tail() {
    let mut bench = Bench::with(CoreConfig { snapshot_entries: 16, ..config() }, 64);
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    for (xid, path) in ["/a", "/b", "/c"].into_iter().enumerate() {
        bench.submit(client, session, &[(xid as i32, create(path, PERSISTENT))]);
        bench.settle();
    }
    let is_snapshot = |op: &DiskOp| matches!(op, DiskOp::WriteSnapshot { .. });
    assert!(!bench.disk.ordered.iter().any(is_snapshot), "a quarter of 16 is 4 with the session");
    bench.turn(CoreInput::Stop);
    assert!(!bench.out.stopped && bench.disk.ordered.iter().any(is_snapshot));
    assert!(bench.complete(is_snapshot));
    assert!(bench.out.stopped);
}

/// What was taken before the log found the disk full waits for space. A stop does not: nobody was
/// told that it is done.
#[test]
fn stopping_does_not_wait_for_space() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    bench.settle();
    let is_prepare = |op: &DiskOp| matches!(op, DiskOp::PrepareSegment { .. });
    let big = vec![7; 30_000];
    for xid in 2..60 {
        bench.submit(client, session, &[(xid, set("/a", &big))]);
    }
    loop {
        if bench.disk.ordered.iter().any(is_prepare) {
            bench.fail(is_prepare, true);
        } else if !bench.complete(is_log_write) {
            break;
        }
    }
    bench.replies(0);
    assert!(bench.core.pipeline.is_stuck(), "the story is about this");
    bench.turn(CoreInput::Stop);
    assert!(bench.out.stopped);
    assert!(bench.replies(0).is_empty(), "what is not durable is not answered");
    let bench = bench.restart();
    assert!(bench.exists("/a"));
}

/// The disk is full of log, and what the log says in a megabyte is a state of 30 KB.
#[test]
fn a_log_that_fills_the_disk_gives_way_to_a_snapshot() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(1, create("/a", PERSISTENT))]);
    let big = vec![7; 30_000];
    for xid in 2..40 {
        bench.submit(client, session, &[(xid, set("/a", &big))]);
        bench.settle();
    }
    bench.replies(0);
    let before = bench.disk.segments.len();
    bench.disk.free = 999;
    bench.pass(10_000, &[]);
    bench.settle();
    bench.pass(1000, &[]);
    bench.settle();
    assert_eq!(bench.disk.snapshots.len(), 1);
    assert!(bench.disk.segments.len() < before, "{} of {before}", bench.disk.segments.len());
    let bench = bench.restart();
    assert!(bench.exists("/a"));
}

fn often(entries: u64) -> CoreConfig {
    CoreConfig { snapshot_entries: entries, ..config() }
}

#[test]
fn snapshots_are_taken_kept_and_retired() {
    let mut bench = Bench::with(often(10), 1024);
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(client, session, &[(0, create("/a", PERSISTENT))]);
    let big = vec![7; 10_000];
    for xid in 1..100 {
        bench.submit(client, session, &[(xid, set("/a", &big))]);
        bench.settle();
        bench.heard(0, &[session]);
        bench.pass(100, &[]);
        bench.settle();
        bench.batches(0);
        bench.batches(1);
    }
    let kept: Vec<i64> = bench.disk.snapshots.keys().map(|zxid| zxid.0).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept[1] > 80, "{kept:?}");
    let first = bench.disk.segments.keys().next().expect("a segment").0;
    assert!(first > 1, "old segments went");
    let version = bench.core.pipeline.version().digest();
    // The newest snapshot is damaged later: the one before and the log make up for it.
    let newest = bench.disk.snapshots.get_mut(&Zxid(kept[1])).expect("kept");
    newest.truncate(100);
    let bench = bench.restart();
    assert_eq!(bench.core.pipeline.version().digest(), version);
    assert!(!bench.disk.snapshots.contains_key(&Zxid(kept[1])), "the damaged one is removed");
}

#[test]
fn a_snapshot_that_finds_no_space_is_survived_but_a_broken_disk_is_not() {
    let is_snapshot = |op: &DiskOp| matches!(op, DiskOp::WriteSnapshot { .. });
    for out_of_space in [true, false] {
        let mut bench = Bench::with(often(1), 1024);
        bench.connect(conn(0, 1));
        bench.turn(CoreInput::Tick);
        bench.fail(is_snapshot, out_of_space);
        assert_eq!(bench.out.halt.is_none(), out_of_space);
        bench.pass(10_000, &[]);
        assert!(!bench.disk.ordered.iter().any(is_snapshot), "not again at once");
    }
}

#[test]
fn empty_containers_go_after_a_while() {
    let mut bench = Bench::new();
    let client = conn(0, 1);
    let (session, _) = bench.connect(client);
    bench.submit(
        client,
        session,
        &[
            (1, create("/c", CreateMode::Container)),
            (2, create("/c/x", PERSISTENT)),
            (3, Op::Delete { path: b"/c/x", version: -1 }),
            (4, create("/unused", CreateMode::Container)),
        ],
    );
    bench.settle();
    bench.pass_with(59_000, &[session]);
    bench.settle();
    assert!(bench.exists("/c"));
    bench.pass(1000, &[]);
    bench.settle();
    assert!(!bench.exists("/c"));
    assert!(bench.exists("/unused"), "one that never had a child stays");
}

/// Whoever holds a session keeps it when there is no room for another.
#[test]
fn beyond_the_session_limit_new_ones_are_turned_away() {
    let mut bench = Bench::with(CoreConfig { sessions_max: 1, ..config() }, 64);
    let (session, password) = bench.connect(conn(0, 1));
    bench.told();
    bench.attach(conn(1, 1), SessionId::NONE, &[]);
    assert!(matches!(
        bench.told()[..],
        [(ShardId(1), ToShard::Drop { why: DropReason::NotServing, .. })]
    ));
    bench.attach(conn(1, 2), session, &password);
    let told = bench.told();
    assert!(
        told.iter().any(|(_, message)| matches!(message, ToShard::Attached { .. })),
        "{told:?}"
    );
}
