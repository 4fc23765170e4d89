//! The captured frames of `client-protocol` 15, sent to a shard and compared byte for byte.

use super::*;

/// Bytes a client got, without the whole of any Stat marked as not captured.
fn expect(world: &mut World, conn: ConnId, frames: &str) {
    let got = world.got(conn);
    let want = hex(frames);
    assert_eq!(got, want, "\ngot  {}\nwant {}", show(&got), show(&want));
}

fn show(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A write: sent, decided, published.
fn write(world: &mut World, conn: ConnId, frame: &str) {
    world.bytes(conn, &hex(frame));
    assert!(world.got(conn).is_empty(), "a write is answered by the feed alone");
    world.commit();
}

#[test]
fn one_connection_from_connect_to_close() {
    let mut world = World::new();
    let conn = world.accept();
    let w = &mut world;

    let ask = "0000002d 00000000 0000000000000000 00000fa0 0000000000000000
        00000010 00000000000000000000000000000000 00";
    write(w, conn, ask);
    expect(
        w,
        conn,
        "00000025 00000000 00000fa0 0100002c84e40000 00000010 5ef4335d93b1e8f36c7922bf9403f787 00",
    );

    w.bytes(conn, &hex("00000008 fffffffe 0000000b"));
    expect(w, conn, "00000010 fffffffe 0000000000000001 00000000");

    w.bytes(conn, &hex("0000000f 00000001 00000003 00000002 2f61 01"));
    expect(w, conn, "00000010 00000001 0000000000000001 ffffff9b");

    w.now.wall_ms = 0x01a2_0225_cc7c;
    write(
        w,
        conn,
        "00000033 00000002 00000001 00000002 2f61 00000002 6869 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000000",
    );
    expect(
        w,
        conn,
        "0000001e ffffffff 0000000000000002 00000000 00000001 00000003 00000002 2f61
         00000016 00000002 0000000000000002 00000000 00000002 2f61",
    );

    w.bytes(conn, &hex("0000000f 00000003 00000004 00000002 2f61 00"));
    expect(
        w,
        conn,
        "0000005a 00000003 0000000000000002 00000000 00000002 6869
         0000000000000002 0000000000000002 000001a20225cc7c 000001a20225cc7c
         00000000 00000000 00000000 0000000000000000 00000002 00000000 0000000000000002",
    );

    w.now.wall_ms = 0x01a2_0225_cc8f;
    write(
        w,
        conn,
        "00000034 00000004 0000000f 00000005 2f612f732d 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000002",
    );
    expect(
        w,
        conn,
        "00000067 00000004 0000000000000003 00000000 0000000f 2f612f732d30303030303030303030
         0000000000000003 0000000000000003 000001a20225cc8f 000001a20225cc8f
         00000000 00000000 00000000 0000000000000000 00000000 00000000 0000000000000003",
    );

    write(w, conn, "00000017 00000005 00000005 00000002 2f61 00000001 78 00000007");
    expect(w, conn, "00000010 00000005 0000000000000004 ffffff99");

    w.bytes(conn, &hex("00000012 00000006 0000006a 00000002 2f61 00000001"));
    expect(w, conn, "00000014 00000006 0000000000000004 00000000 00000000");

    w.now.wall_ms = 0x01a2_0225_cc9a;
    write(
        w,
        conn,
        "00000089 00000007 0000000e
         0000000d 00 ffffffff 00000002 2f61 ffffffff
         00000001 00 ffffffff 00000004 2f612f6d 00000001 31 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000000
         00000005 00 ffffffff 00000004 2f612f6d 00000002 3232 00000000
         00000002 00 ffffffff 00000004 2f612f6d ffffffff
         ffffffff 01 ffffffff",
    );
    expect(
        w,
        conn,
        "00000020 ffffffff 0000000000000005 00000000 00000001 00000003 00000004 2f612f6d
         00000020 ffffffff 0000000000000005 00000000 00000003 00000003 00000004 2f612f6d
         00000020 ffffffff 0000000000000005 00000000 00000002 00000003 00000004 2f612f6d
         00000089 00000007 0000000000000005 00000000
         0000000d 00 00000000
         00000001 00 00000000 00000004 2f612f6d
         00000005 00 00000000 0000000000000005 0000000000000005 000001a20225cc9a
         000001a20225cc9a 00000001 00000000 00000000 0000000000000000 00000002 00000000
         0000000000000005
         00000002 00 00000000
         ffffffff 01 ffffffff",
    );

    write(
        w,
        conn,
        "0000004d 00000008 0000000e 0000000d 00 ffffffff 00000002 2f61 ffffffff
         00000002 00 ffffffff 00000005 2f6e6f7065 ffffffff
         00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff",
    );
    expect(
        w,
        conn,
        "00000040 00000008 0000000000000006 00000000
         ffffffff 00 00000000 00000000
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe
         ffffffff 01 ffffffff",
    );

    let auth = "00000024 fffffffc 00000064 00000000 00000006 646967657374
        0000000a 73757065723a74657374";
    w.bytes(conn, &hex(auth));
    expect(w, conn, "00000010 fffffffc 0000000000000000 00000000");
    w.bytes(conn, &hex("00000008 00000009 0000006b"));
    expect(
        w,
        conn,
        "0000003a 00000009 0000000000000006 00000000 00000002 00000002 6970
         00000009 3132372e302e302e31 00000006 646967657374 00000005 7375706572",
    );

    write(
        w,
        conn,
        "0000003b 0000000a 00000015 00000004 2f74746c 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000005 000000000000ea60",
    );
    let got = w.got(conn);
    assert_eq!(got[..28], hex("0000005c 0000000a 0000000000000007 00000000 00000004 2f74746c"));
    assert_eq!(got.len(), 28 + 68);
    write(
        w,
        conn,
        "00000034 0000000b 00000013 00000005 2f636f6e74 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000004",
    );
    let got = w.got(conn);
    assert_eq!(got[..29], hex("0000005d 0000000b 0000000000000008 00000000 00000005 2f636f6e74"));

    w.bytes(conn, &hex("0000000e 0000000c 0000000c 00000001 2f 00"));
    let got = w.got(conn);
    assert_eq!(got[..24], hex("00000079 0000000c 0000000000000008 00000000 00000004"));
    assert_eq!(
        got[125 - 68..],
        hex("0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000
             00000002 00000000 0000000000000000 00000000 00000004 0000000000000008")
    );

    w.bytes(conn, &hex("0000000d 0000000d 00000006 00000001 2f"));
    let got = w.got(conn);
    assert_eq!(
        got[..47],
        hex("0000006f 0000000d 0000000000000008 00000000 00000001 0000001f
             00000005 776f726c64 00000006 616e796f6e65")
    );
    assert_eq!(got.len(), 47 + 68);

    write(
        w,
        conn,
        "00000033 0000000e 00000001 00000004 2f612f65 00000000 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000001",
    );
    assert_eq!(w.story(conn), ["e1@9:/a/e", "r14@9"]);

    w.bytes(conn, &hex("0000000d 0000000f 00000067 00000001 2f"));
    expect(w, conn, "0000001c 0000000f 0000000000000009 00000000 00000001 00000004 2f612f65");
    w.bytes(conn, &hex("0000000e 00000010 00000068 00000002 2f61"));
    expect(w, conn, "00000014 00000010 0000000000000009 00000000 00000002");

    w.bytes(
        conn,
        &hex("00000040 00000011 00000069 0000000000000000 00000001 00000002 2f61
             00000001 00000003 2f7a7a 00000001 00000005 2f676f6e65 00000000
             00000001 00000002 2f61"),
    );
    expect(
        w,
        conn,
        "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61
         00000021 ffffffff ffffffffffffffff 00000000 00000002 00000003 00000005 2f676f6e65
         00000010 00000011 0000000000000009 00000000",
    );

    write(w, conn, "00000008 00000012 fffffff5");
    expect(
        w,
        conn,
        "00000020 ffffffff 000000000000000a 00000000 00000002 00000003 00000004 2f612f65
         00000010 00000012 000000000000000a 00000000",
    );
    assert!(w.socket(conn).closed);
    assert_eq!(w.shard.population(), (0, 0));
}

/// Every answer is the same when bytes arrive one at a time.
#[test]
fn byte_at_a_time() {
    let mut world = World::new();
    let conn = world.accept();
    let drip = |world: &mut World, bytes: &[u8]| {
        for byte in bytes {
            world.bytes(conn, &[*byte]);
        }
    };
    // The ping comes right behind the connect request and is kept.
    drip(&mut world, &connect(0));
    assert!(world.socket(conn).paused, "nothing is read while the session is made");
    drip(&mut world, &hex("00000008 fffffffe 0000000b"));
    assert!(world.got(conn).is_empty());
    world.commit();
    let got = world.got(conn);
    assert_eq!(got.len(), 41 + 20);
    assert_eq!(got[41..], hex("00000010 fffffffe 0000000000000001 00000000"));
    assert!(!world.socket(conn).paused);

    drip(&mut world, &written(1, &create("/a")));
    drip(&mut world, &asked(2, &get("/a", true)));
    drip(&mut world, &written(3, &set("/a", "1")));
    world.commit();
    assert_eq!(world.story(conn), ["r1@2", "r2@2", "e3@3:/a", "r3@3"]);
}

#[test]
fn refused_sessions_and_unheard_clients() {
    // The read-only byte is answered only to those who sent it.
    let zeros = "00000000000000000000000000000000";
    for (byte, length) in [("00", "00000025"), ("", "00000024")] {
        let mut world = World::new();
        let conn = world.accept();
        let request = format!(
            "{} 00000000 0000000000000000 00000fa0 0100001234560001 00000010 {zeros} {byte}",
            if byte.is_empty() { "0000002c" } else { "0000002d" },
        );
        world.bytes(conn, &hex(&request));
        assert!(matches!(
            &world.mail[..],
            [ToCore::Attach { session: SessionId(0x0100_0012_3456_0001), timeout_ms: 4000, .. }]
        ));
        world.tell(ToShard::Refused { conn });
        let answer = format!("{length} 00000000 00000000 0000000000000000 00000010 {zeros} {byte}");
        assert_eq!(world.got(conn), hex(&answer));
        assert!(world.socket(conn).closed);
    }

    // Ahead of this server, and not serving: closed without a word.
    let mut world = World::new();
    let conn = world.accept();
    world.bytes(conn, &connect(1));
    assert!(world.socket(conn).closed && world.got(conn).is_empty() && world.mail.is_empty());
    world.tell(ToShard::serving(false));
    let conn = world.accept();
    world.bytes(conn, &connect(0));
    assert!(world.socket(conn).closed && world.got(conn).is_empty() && world.mail.is_empty());
}

/// A client moves here from a server that was ahead; what it saw is published here already, only
/// not consumed.
#[test]
fn a_client_ahead_of_the_view_is_served_from_the_feed() {
    let mut world = World::new();
    world.elsewhere(&create("/a"));
    world.publish();
    assert_eq!(world.shard.feed_pending(), 1);
    let conn = world.accept();
    world.bytes(conn, &connect(1));
    assert!(!world.socket(conn).closed);
    assert_eq!(world.mail.len(), 1);
}

#[test]
fn a_reattached_session_waits_for_its_own_past() {
    let mut world = World::new();
    let conn = world.accept();
    let mut bytes = connect(0);
    bytes.extend(asked(1, &get("/a", false)));
    world.bytes(conn, &bytes);
    world.mail.clear();
    let attached = ToShard::Attached {
        conn,
        session: SessionId(7),
        timeout_ms: 6000,
        password: PASSWORD,
        zxid: Zxid(1),
    };
    world.tell(attached.clone());
    assert!(world.got(conn).is_empty(), "the view is behind the session");
    world.elsewhere(&create("/a"));
    world.publish();
    world.turn(ShardInput::Feed);
    let got = world.got(conn);
    assert_eq!(got[..12], hex("00000025 00000000 00001770"));
    assert_eq!(got[41 + 4..41 + 20], hex("00000001 0000000000000001 00000000"));

    // The client has gone meanwhile: the core hears of it.
    let gone = world.accept();
    world.bytes(gone, &connect(0));
    world.turn(ShardInput::Closed { conn: gone });
    world.mail.clear();
    let ToShard::Attached { session, timeout_ms, password, zxid, .. } = attached else {
        unreachable!("made above")
    };
    world.tell(ToShard::Attached { conn: gone, session, timeout_ms, password, zxid });
    assert!(matches!(&world.mail[..], [ToCore::Detached { conn, .. }] if *conn == gone));
}
