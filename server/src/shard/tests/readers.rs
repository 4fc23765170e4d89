//! Read-only mode (`client-protocol` 7.6): no quorum, and clients that only want to read.

use super::*;
use crate::link::Service;

fn connect_reader(last_zxid_seen: i64, read_only: Option<bool>) -> Vec<u8> {
    let mut frame = Vec::new();
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(last_zxid_seen),
        timeout_ms: 4000,
        session: SessionId::NONE,
        password: Some(&[0; 16]),
        read_only,
    }
    .encode(&mut frame);
    frame
}

fn serve(world: &mut World, service: Service) {
    world.tell(ToShard::Serving { service, upto: Zxid::ZERO });
}

/// A server with `/a` that has lost its quorum.
fn alone() -> World {
    let mut world = World::new();
    world.elsewhere(&create("/a"));
    world.publish();
    world.turn(ShardInput::Feed);
    serve(&mut world, Service::Nobody);
    serve(&mut world, Service::Readers);
    world.mail.clear();
    world
}

fn reader(world: &mut World) -> ConnId {
    let conn = world.accept();
    world.bytes(conn, &connect_reader(0, Some(true)));
    let asks = |m: &ToCore| matches!(m, ToCore::Attach { conn: asking, .. } if *asking == conn);
    assert!(world.mail.iter().any(asks), "{:?}", world.mail);
    let (session, password) = (SessionId(7), PASSWORD);
    let attached =
        ToShard::Attached { conn, session, timeout_ms: 4000, password, zxid: Zxid::ZERO };
    world.tell(attached);
    let frames = world.frames(conn);
    assert_eq!((frames.len(), frames[0].len()), (1, 37));
    assert_eq!(frames[0][36], 1, "the response says that it is read-only");
    conn
}

#[test]
fn only_clients_that_ask_to_read_are_let_in() {
    for asks in [None, Some(false)] {
        let mut world = alone();
        let conn = world.accept();
        world.bytes(conn, &connect_reader(0, asks));
        assert!(world.socket(conn).closed && world.got(conn).is_empty(), "{asks:?}");
        assert!(world.mail.is_empty());
    }
    let mut world = alone();
    let ahead = world.accept();
    world.bytes(ahead, &connect_reader(99, Some(true)));
    assert!(world.socket(ahead).closed, "it has seen more than there is to read");
    reader(&mut world);
    let refused = world.accept();
    world.bytes(refused, &connect_reader(0, Some(true)));
    world.tell(ToShard::Refused { conn: refused });
    assert_eq!(world.frames(refused)[0][36], 1);
}

#[test]
fn reads_and_watches_work_and_writes_and_syncs_do_not() {
    let mut world = alone();
    let conn = reader(&mut world);
    world.mail.clear();
    world.ask(conn, 1, &get("/a", true));
    world.write(conn, 2, &create("/b"));
    world.ask(conn, 3, &Request::Sync { path: Some(b"/") });
    world.ask(conn, 4, &Request::Ping);
    world.write(conn, 5, &delete("/a"));
    let here = world.shard.zxid().0;
    let refused = |xid| format!("r{xid}@{here}!-119");
    let read = format!("r1@{here}");
    let ping = format!("r-2@{here}");
    assert_eq!(world.story(conn), [read, refused(2), refused(3), ping, refused(5)]);
    assert!(world.mail.is_empty(), "nothing of it is the core's: {:?}", world.mail);
    // What a leader has committed before arrives late, but it arrives.
    world.elsewhere(&set("/a", "new"));
    world.publish();
    world.turn(ShardInput::Feed);
    assert_eq!(world.story(conn).len(), 1, "the watch fires");
}

#[test]
fn a_reader_may_say_goodbye() {
    let mut world = alone();
    let conn = reader(&mut world);
    world.mail.clear();
    world.ask(conn, 1, &Request::CloseSession);
    assert_eq!(world.story(conn), [format!("r1@{}", world.shard.zxid().0)]);
    assert!(world.socket(conn).closed);
    let gone = |m: &ToCore| matches!(m, ToCore::Detached { session: SessionId(7), .. });
    assert!(world.mail.iter().any(gone) && world.mail.len() == 1, "{:?}", world.mail);
}

#[test]
fn readers_are_closed_when_the_quorum_is_back() {
    for service in [Service::Nobody, Service::Everybody] {
        let mut world = alone();
        let conn = reader(&mut world);
        serve(&mut world, Service::Readers);
        assert!(!world.socket(conn).closed, "said twice");
        serve(&mut world, service);
        assert!(world.socket(conn).closed, "{service:?}");
    }
    let mut world = World::new();
    let conn = world.client();
    serve(&mut world, Service::Everybody);
    assert!(!world.socket(conn).closed, "a new leader alone closes nobody");
}

#[test]
fn isro_tells_clients_where_to_go() {
    let mut world = World::new();
    for (service, text) in
        [(Service::Everybody, "rw"), (Service::Readers, "ro"), (Service::Nobody, "null")]
    {
        serve(&mut world, service);
        let conn = world.accept();
        world.bytes(conn, b"isro");
        assert_eq!(world.got(conn), text.as_bytes());
    }
    let mut world = alone();
    let conn = world.accept();
    world.bytes(conn, b"srvr");
    assert!(world.mail.iter().any(|m| matches!(m, ToCore::Query(_))), "other words are answered");
}
