//! What stops a client from filling the server's memory.

use super::*;
use crate::limits::{
    CONNECTION_OUTSTANDING_BYTES_MAX, CONNECTION_OUTSTANDING_MAX, OUTBOX_BYTES_MAX,
    SHARD_OUTSTANDING_BYTES_MAX,
};

#[test]
fn a_full_pipeline_pauses_reading_until_answers_leave() {
    let mut world = World::new();
    let conn = world.client();
    let count = CONNECTION_OUTSTANDING_MAX + 10;
    let bytes: Vec<u8> = (0..count).flat_map(|i| written(i as i32, &set("/", "x"))).collect();
    world.bytes(conn, &bytes);
    assert!(world.socket(conn).paused);
    let submitted: usize = world.mail.iter().map(submits).sum();
    assert_eq!(submitted, CONNECTION_OUTSTANDING_MAX);
    world.commit();
    assert!(!world.socket(conn).paused);
    assert_eq!(world.frames(conn).len(), CONNECTION_OUTSTANDING_MAX);
    world.commit();
    assert_eq!(world.frames(conn).len(), 10);
}

fn submits(message: &ToCore) -> usize {
    if let ToCore::Submit(submits) = message { submits.list.len() } else { 0 }
}

#[test]
fn large_requests_count_by_their_bytes() {
    let mut world = World::new();
    let conn = world.client();
    let large = "x".repeat(1_000_000);
    for xid in 0..20 {
        world.write(conn, xid, &set("/", &large));
        if world.socket(conn).paused {
            break;
        }
    }
    let sent: usize = world.mail.iter().map(submits).sum();
    assert_eq!(sent, CONNECTION_OUTSTANDING_BYTES_MAX / 1_000_000 + 1);
    world.commit();
    assert!(!world.socket(conn).paused);
}

#[test]
fn writes_of_all_connections_share_a_budget() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..40).map(|_| world.client()).collect();
    let large = "x".repeat(1_000_000);
    let mut held = None;
    'all: for &conn in &conns {
        for xid in 0..8 {
            world.write(conn, xid, &set("/", &large));
            if world.socket(conn).paused {
                held = Some(conn);
                break 'all;
            }
        }
    }
    let held = held.expect("the budget ends");
    let sent: usize = world.mail.iter().map(submits).sum();
    assert_eq!(sent, SHARD_OUTSTANDING_BYTES_MAX / 1_000_000 + 1);
    // Reads and pings of others go on.
    let other = *conns.last().expect("forty");
    world.ask(other, 1, &get("/", false));
    assert_eq!(world.frames(other).len(), 1);
    // Waiting for the server is not silence.
    world.turn(ShardInput::Tick);
    world.now.mono = Mono::from_millis(2_000);
    world.turn(ShardInput::Tick);
    let Some(ToCore::Heard { sessions, .. }) = world.mail.pop() else { panic!("reported last") };
    assert_eq!(sessions.len(), 1);
    world.mail.retain(|message| submits(message) > 0);
    // One connection goes away with its share.
    world.turn(ShardInput::Closed { conn: conns[0] });
    assert!(!world.socket(held).paused, "the held write has gone to the core");
}

#[test]
fn a_client_that_does_not_take_answers_is_not_read_from() {
    let mut world = World::new();
    let conn = world.client();
    let large = "x".repeat(500_000);
    world.elsewhere(&set("/", &large));
    world.publish();
    world.socket(conn).stuck = true;
    let bytes: Vec<u8> = (0..20).flat_map(|xid| asked(xid, &get("/", false))).collect();
    world.bytes(conn, &bytes);
    assert!(world.socket(conn).paused);
    let waiting = world.shard.outbox(conn).len();
    assert!(waiting > 1 << 20 && waiting < 2 << 20, "{waiting}");
    // It takes what there is: the rest follows, in order.
    world.socket(conn).stuck = false;
    let mut answers = 0;
    for _ in 0..20 {
        let outbox = world.shard.outbox(conn).to_vec();
        if outbox.is_empty() {
            break;
        }
        world.socket(conn).got.extend(&outbox);
        world.turn(ShardInput::Sent { conn, bytes: outbox.len() });
        answers += world.frames(conn).len();
    }
    assert_eq!(answers, 20);
    assert!(!world.socket(conn).paused);
}

/// Reads that waited behind a write need not all be answered at once either.
#[test]
fn parked_reads_wait_for_room_when_no_write_is_behind_them() {
    let mut world = World::new();
    let conn = world.client();
    let large = "x".repeat(500_000);
    world.socket(conn).stuck = true;
    let mut bytes = written(0, &set("/", &large));
    bytes.extend((1..20).flat_map(|xid| asked(xid, &get("/", true))));
    world.bytes(conn, &bytes);
    world.commit();
    assert!(world.shard.outbox(conn).len() < 2 << 20);
    assert!(world.socket(conn).paused);
    // Bytes in flight when it was stopped.
    world.bytes(conn, &written(20, &set("/", "small")));
    assert!(world.mail.is_empty(), "not read: {:?}", world.mail);
    world.socket(conn).stuck = false;
    let mut story = Vec::new();
    for _ in 0..20 {
        let outbox = world.shard.outbox(conn).to_vec();
        world.socket(conn).got.extend(&outbox);
        world.turn(ShardInput::Sent { conn, bytes: outbox.len() });
        story.extend(world.story(conn));
    }
    world.commit();
    story.extend(world.story(conn));
    assert_eq!(story.len(), 22, "{story:?}");
    assert_eq!(story[20..], ["e3@3:/", "r20@3"]);
}

#[test]
fn a_watcher_that_never_reads_is_dropped() {
    let mut world = World::new();
    let (conn, other) = (world.client(), world.client());
    for each in [conn, other] {
        let mode = protocol::AddWatchMode::Persistent;
        world.ask(each, 1, &Request::AddWatch { path: b"/", mode });
    }
    world.socket(conn).stuck = true;
    let mut rounds = 0;
    while !world.socket(conn).closed {
        for _ in 0..10_000 {
            world.elsewhere(&set("/", ""));
        }
        world.publish();
        world.turn(ShardInput::Feed);
        world.got(other);
        rounds += 1;
        assert!(rounds < 100, "never dropped");
    }
    assert!(rounds * 10_000 * 33 > OUTBOX_BYTES_MAX);
    assert!(world.shard.outbox(conn).is_empty());
    assert!(!world.socket(other).closed);
    assert!(world.mail.iter().any(|m| matches!(m, ToCore::Detached { conn: c, .. } if *c == conn)));
}

/// A peer that is told to go and takes nothing is cut off.
#[test]
fn a_closing_connection_does_not_linger() {
    let mut world = World::new();
    let conn = world.accept();
    world.socket(conn).stuck = true;
    world.bytes(conn, b"ruok");
    assert_eq!(world.shard.outbox(conn), b"imok");
    world.now.mono = Mono::from_millis(30_000);
    world.turn(ShardInput::Tick);
    assert!(world.shard.outbox(conn).is_empty());
    assert_eq!(world.shard.population(), (0, 0));
}

#[test]
fn an_idle_session_gives_its_buffers_back() {
    let mut world = World::new();
    let conn = world.client();
    world.write(conn, 1, &create("/a"));
    world.ask(conn, 2, &get("/a", true));
    world.commit();
    for _ in 0..3 {
        world.now.mono = world.now.mono + Duration::from_millis(100);
        world.turn(ShardInput::Tick);
    }
    let idle = world.shard.connections.get(conn).expect("it lives");
    assert_eq!((idle.inbox.capacity(), idle.outbox.capacity()), (0, 0));
}

fn sets(xids: std::ops::Range<i32>) -> Vec<u8> {
    xids.flat_map(|xid| written(xid, &set("/", "x"))).collect()
}

fn sent_on(world: &World) -> usize {
    world.mail.iter().map(submits).sum()
}

/// `globalOutstandingLimit` (client-protocol 7.9): beyond it whoever has a request waiting is not
/// read from, whoever has none is; nobody gets an error, and all is answered in the end.
#[test]
fn beyond_the_global_limit_only_those_with_nothing_waiting_are_read_from() {
    let mut world = World::with(ShardConfig { outstanding_max: 10, ..config() });
    let [greedy, other, late] = [0; 3].map(|_| world.client());
    world.bytes(other, &sets(1..2));
    world.bytes(greedy, &sets(1..31));
    assert_eq!(sent_on(&world), 11, "the one that exceeds it still counts");
    assert!(world.socket(greedy).paused && !world.socket(other).paused);
    world.bytes(other, &sets(2..3));
    assert!(world.socket(other).paused, "it has one waiting");
    world.bytes(late, &sets(1..3));
    assert!(world.socket(late).paused, "the second of its requests waits");
    assert_eq!(sent_on(&world), 12);
    // Reads that nothing is ahead of are answered at once and wait for nobody.
    let reader = world.client();
    for xid in 0..50 {
        world.ask(reader, xid, &get("/", false));
    }
    assert_eq!(world.frames(reader).len(), 50);
    assert!(!world.socket(reader).paused);
    for _ in 0..10 {
        world.commit();
    }
    let answers = [greedy, other, late].map(|conn| world.frames(conn).len());
    assert_eq!(answers, [30, 2, 2]);
    assert!([greedy, other, late].iter().all(|&conn| !world.socket(conn).paused));
}

/// What waits behind a write counts as well, and leaves the count with its connection.
#[test]
fn the_share_of_a_connection_ends_with_it() {
    let mut world = World::with(ShardConfig { outstanding_max: 10, ..config() });
    let [greedy, other] = [0; 2].map(|_| world.client());
    let mut bytes = sets(1..2);
    bytes.extend((2..21).flat_map(|xid| asked(xid, &get("/", false))));
    world.bytes(greedy, &bytes);
    assert!(world.socket(greedy).paused);
    world.bytes(other, &sets(1..3));
    assert!(world.socket(other).paused);
    world.turn(ShardInput::Closed { conn: greedy });
    world.commit();
    world.commit();
    assert_eq!(world.frames(other).len(), 2);
    world.bytes(other, &sets(3..11));
    assert!(!world.socket(other).paused, "nobody else has anything waiting");
    world.commit();
    assert_eq!(world.frames(other).len(), 8);
}

/// Found by the simulator: while the core stood still, a client that went on pinging was no longer
/// read from, and its session would have expired for the server's own silence.
#[test]
fn not_being_read_from_is_not_silence() {
    let heard = |world: &mut World| {
        world.now.mono = world.now.mono + Duration::from_millis(500);
        world.turn(ShardInput::Tick);
        let Some(ToCore::Heard { sessions, .. }) = world.mail.pop() else { panic!("reported") };
        sessions.len()
    };
    let mut world = World::with(ShardConfig { outstanding_max: 10, ..config() });
    let conn = world.client();
    world.bytes(conn, &sets(1..3));
    for _ in 0..50 {
        world.ask(conn, -2, &Request::Ping);
    }
    assert!(!world.socket(conn).paused, "pings do not count");
    heard(&mut world);
    assert_eq!(heard(&mut world), 0, "a client that is read from and says nothing");
    world.bytes(conn, &sets(3..20));
    assert!(world.socket(conn).paused);
    for _ in 0..5 {
        assert_eq!(heard(&mut world), 1);
    }
    world.commit();
    world.commit();
    world.commit();
    assert!(!world.socket(conn).paused);
    heard(&mut world);
    assert_eq!(heard(&mut world), 0);
}
