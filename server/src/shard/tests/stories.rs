//! Orders that clients rely on (`client-protocol` 6.8 and 8, DESIGN 5).

use model::ErrorCode;
use model::acl::encode_list;
use model::{Acl, Perms};

use super::*;

/// The trap of DESIGN 5: `set x=1; get x; set x=2` sent together may land in one batch, and the
/// read must still see 1.
#[test]
fn write_read_write_in_one_batch() {
    let mut world = World::new();
    let conn = world.client();
    world.write(conn, 1, &create("/x"));
    world.commit();
    world.got(conn);
    let mut bytes = written(2, &set("/x", "1"));
    bytes.extend(asked(3, &get("/x", false)));
    bytes.extend(asked(4, &get("/x", true)));
    bytes.extend(asked(5, &Request::Ping));
    bytes.extend(written(6, &set("/x", "2")));
    bytes.extend(asked(7, &Request::Ping));
    bytes.extend(written(8, &set("/x", "3")));
    bytes.extend(asked(9, &get("/x", false)));
    world.bytes(conn, &bytes);
    let ToCore::Submit(submits) = &world.mail[0] else { panic!("writes first: {:?}", world.mail) };
    let cuts: Vec<bool> = submits.list.iter().map(|submit| submit.cut).collect();
    assert_eq!(cuts, [false, true, false], "a cut only where a read waits right ahead");
    world.decide();
    world.publish();
    assert!(world.got(conn).is_empty());
    world.turn(ShardInput::Feed);
    let frames = world.frames(conn);
    assert_eq!(data(&frames[1]), b"1");
    assert_eq!(data(&frames[2]), b"1");
    assert_eq!(data(&frames[8]), b"3");
    let story: Vec<String> = frames.iter().map(|f| short(f)).collect();
    let expect = ["r2@3", "r3@3", "r4@3", "r-2@3", "e3@4:/x", "r6@4", "r-2@4", "r8@5", "r9@5"];
    assert_eq!(story, expect);
}

#[test]
fn reads_of_others_are_not_held_up() {
    let mut world = World::new();
    let (busy, other) = (world.client(), world.client());
    world.write(busy, 1, &create("/a"));
    world.ask(busy, 2, &get("/a", false));
    world.ask(other, 1, &get("/a", false));
    assert_eq!(world.story(other), ["r1@2!-101"]);
    assert!(world.got(busy).is_empty());
    world.commit();
    assert_eq!(world.story(busy), ["r1@3", "r2@3"]);
}

/// Whoever learned of an acknowledged write finds it: what is published is consumed before newly
/// arrived bytes are looked at.
#[test]
fn a_request_sees_what_was_published_before_it_arrived() {
    let mut world = World::new();
    let conn = world.client();
    world.elsewhere(&create("/a"));
    world.publish();
    world.ask(conn, 1, &get("/a", false));
    assert_eq!(world.story(conn), ["r1@2"]);
}

#[test]
fn an_event_comes_before_the_reply_that_shows_its_change() {
    let mut world = World::new();
    let (watcher, writer) = (world.client(), world.client());
    world.ask(watcher, 1, &Request::Exists { path: b"/a", watch: true });
    world.ask(writer, 1, &Request::GetChildren { path: b"/", watch: true });
    world.got(watcher);
    world.got(writer);
    world.write(writer, 2, &create("/a"));
    world.decide();
    world.publish();
    // The read arrives after the change was published and before the shard looked.
    world.ask(watcher, 2, &get("/a", false));
    assert_eq!(world.story(watcher), ["e1@3:/a", "r2@3"]);
    assert_eq!(world.story(writer), ["e4@3:/", "r2@3"], "also the writer's own");
}

/// Identities are those of the moment a request was received, the reply keeps its turn.
#[test]
fn auth_takes_effect_behind_earlier_requests() {
    let mut world = World::new();
    let (owner, conn) = (world.client(), world.client());
    let id = auth::digest::id(auth::digest::Algorithm::Sha1, b"u:p");
    let mine = Acl { perms: Perms::ALL, scheme: Some(b"digest"), id: Some(&id) };
    let list = encode_list([mine].into_iter());
    world.write(owner, 1, &create_with("/mine", &list));
    world.commit();
    let proof = Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"u:p") };
    let mut bytes = written(1, &create("/other"));
    bytes.extend(asked(2, &get("/mine", false)));
    bytes.extend(written(3, &set("/mine", "no")));
    bytes.extend(asked(-4, &proof));
    bytes.extend(asked(4, &get("/mine", false)));
    bytes.extend(written(5, &set("/mine", "yes")));
    bytes.extend(asked(6, &Request::WhoAmI));
    world.bytes(conn, &bytes);
    assert!(world.got(conn).is_empty(), "the auth reply waits for its turn");
    world.commit();
    let story = world.story(conn);
    assert_eq!(story, ["r1@4", "r2@4!-102", "r3@5!-102", "r-4@0", "r4@5", "r5@6", "r6@6"],);
}

#[test]
fn a_failed_proof_is_answered_in_turn_and_closes() {
    let mut world = World::new();
    let conn = world.client();
    let proof = Request::Auth { kind: 0, scheme: Some(b"world"), auth: Some(b"x") };
    let mut bytes = written(1, &create("/a"));
    bytes.extend(asked(-4, &proof));
    bytes.extend(asked(2, &get("/a", false)));
    world.bytes(conn, &bytes);
    assert!(!world.socket(conn).closed);
    world.commit();
    assert_eq!(world.story(conn), ["r1@2", "r-4@0!-115"]);
    assert!(world.socket(conn).closed);
    assert!(matches!(&world.mail[..], [ToCore::Detached { .. }]), "the session lives on");
}

/// `enforce.auth.schemes` and `sessionRequireClientSASLAuth` (`client-protocol` 5.8).
#[test]
fn who_must_authenticate_gets_nothing_before() {
    let mut world = World::with(ShardConfig {
        required_schemes: vec!["sasl".to_owned(), "digest".to_owned()],
        ..config()
    });
    let proof = Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"u:p") };
    let (late, never) = (world.client(), world.client());
    let mut bytes = asked(-4, &proof);
    bytes.extend(asked(1, &get("/", false)));
    world.bytes(late, &bytes);
    assert_eq!(world.story(late), ["r-4@0", "r1@2"]);
    world.mail.clear();
    let mut bytes = written(1, &create("/a"));
    bytes.extend(asked(-4, &proof));
    world.bytes(never, &bytes);
    assert_eq!(world.story(never), ["r1@0!-124"], "and nothing is read behind it");
    assert!(world.socket(never).closed);
    assert!(matches!(&world.mail[..], [ToCore::Detached { .. }]), "{:?}", world.mail);
    // Not even a ping.
    let pinging = world.client();
    world.ask(pinging, -2, &Request::Ping);
    assert_eq!(world.story(pinging), ["r-2@0!-124"]);
    assert!(world.socket(pinging).closed);
}

/// Scheme `ensemble` (`ensembleAuthName`).
#[test]
fn a_client_that_means_another_ensemble_is_turned_away() {
    let names = Some(vec!["one".to_owned(), "uno".to_owned()]);
    let proof = |auth| Request::Auth { kind: 0, scheme: Some(b"ensemble"), auth };
    let mut world = World::with(ShardConfig { ensemble_names: names, ..config() });
    for (auth, expect) in [
        (Some(&b"uno"[..]), &["r-4@0"][..]),
        (Some(b""), &["r-4@0"]),
        (None, &["r-4@0"]),
        (Some(b"two"), &[]),
    ] {
        let conn = world.client();
        world.ask(conn, -4, &proof(auth));
        assert_eq!(world.story(conn), expect, "{auth:?}");
        assert_eq!(world.socket(conn).closed, auth == Some(b"two"));
    }
    let mut world = World::new();
    let conn = world.client();
    world.ask(conn, -4, &proof(Some(b"uno")));
    assert_eq!(world.story(conn), ["r-4@0!-115"], "there is no such scheme");
}

#[test]
fn sasl_that_is_not_configured_gets_a_null_token() {
    let mut world = World::new();
    let conn = world.client();
    world.ask(conn, 1, &Request::Sasl { token: Some(b"") });
    assert_eq!(world.got(conn), hex("00000014 00000001 0000000000000000 00000000 ffffffff"));
}

/// kazoo answers a null token with another empty one, for ever: where the operator announced a
/// SASL provider, the exchange must fail instead.
#[test]
fn sasl_that_is_announced_and_not_available_fails_and_closes() {
    let mut world = World::with(ShardConfig { sasl_expected: true, ..config() });
    let conn = world.client();
    world.ask(conn, 1, &Request::Sasl { token: Some(b"") });
    let mut failed = Vec::new();
    protocol::reply::sasl(&mut failed, Xid(1), Some(ErrorCode::AuthFailed), None);
    assert_eq!(world.got(conn), failed);
    assert!(world.socket(conn).closed);
}

#[test]
fn sync_echoes_its_path_in_order() {
    let mut world = World::new();
    let conn = world.client();
    let mut bytes = written(1, &create("/a"));
    bytes.extend(asked(2, &Request::Sync { path: Some(b"/no") }));
    bytes.extend(asked(3, &Request::Sync { path: None }));
    bytes.extend(hex("00000008 00000004 00000009"));
    bytes.extend(asked(5, &get("/a", false)));
    world.bytes(conn, &bytes);
    world.commit();
    let got = world.got(conn);
    let from = 4 + 16 + 4 + 2;
    assert_eq!(
        got[from..from + 27],
        hex("00000017 00000002 0000000000000002 00000000 00000003 2f6e6f")
    );
    assert_eq!(
        got[from + 27..from + 27 + 24 + 20],
        hex("00000014 00000003 0000000000000002 00000000 ffffffff
             00000010 00000004 0000000000000002 fffffffb")
    );
}

#[test]
fn nothing_is_answered_behind_close_session() {
    let mut world = World::new();
    let conn = world.client();
    let mut bytes = written(1, &create("/a"));
    bytes.extend(asked(2, &Request::CloseSession));
    bytes.extend(asked(3, &get("/a", false)));
    world.bytes(conn, &bytes);
    world.bytes(conn, &asked(4, &Request::Ping));
    world.commit();
    assert_eq!(world.story(conn), ["r1@2", "r2@3"]);
    assert!(world.socket(conn).closed);
    assert!(world.mail.is_empty(), "the core knows that the session has ended: {:?}", world.mail);
}

#[test]
fn a_moved_session_is_closed_without_a_word() {
    let mut world = World::new();
    let conn = world.client();
    world.write(conn, 1, &create("/a"));
    let outcome = Outcome::Failed(ErrorCode::SessionMoved);
    let answer = Answer::Reply { xid: Xid(1), opcode: 1, outcome, received: world.now.mono };
    world.elsewhere(&create("/b"));
    world.entries[0].completion = Some(Completion { conn, answer });
    world.publish();
    world.turn(ShardInput::Feed);
    assert!(world.got(conn).is_empty() && world.socket(conn).closed);
}

#[test]
fn an_expired_session_loses_its_connection_and_its_watches() {
    let mut world = World::new();
    let conn = world.client();
    world.ask(conn, 1, &Request::Exists { path: b"/a", watch: true });
    world.got(conn);
    assert!(world.shard.has_watches());
    world.elsewhere(&create("/b"));
    world.entries[0].completion = Some(Completion { conn, answer: Answer::SessionEnded });
    world.publish();
    world.turn(ShardInput::Feed);
    assert!(world.got(conn).is_empty() && world.socket(conn).closed);
    assert!(!world.shard.has_watches() && world.mail.is_empty());
}

/// A connection that is gone must not be mistaken for the one that has its slot now.
#[test]
fn answers_for_a_gone_connection_are_dropped() {
    let mut world = World::new();
    let conn = world.client();
    world.write(conn, 1, &create("/a"));
    world.turn(ShardInput::Closed { conn });
    let next = world.accept();
    assert_eq!((conn.slot, conn.generation + 1), (next.slot, next.generation));
    assert!(world.mail.iter().any(|m| matches!(m, ToCore::Detached { conn: c, .. } if *c == conn)));
    assert!(matches!(world.mail[0], ToCore::Submit(_)), "earlier writes stay earlier");
    world.commit();
    assert!(world.got(next).is_empty());
    let next = world.client();
    world.ask(next, 1, &get("/a", false));
    assert_eq!(world.story(next), ["r1@3"]);
}

/// The bad inputs of `client-protocol` 1.8 and 11.6 no. 11.
#[test]
fn bad_input() {
    let path = "00000002 2f61";
    // Bytes, what is answered, whether it closes.
    let cases: [(&str, &[&str], bool); 14] = [
        ("ffffffff", &[], true),
        ("00100000", &[], true),
        ("00000000", &[], true),
        ("00000007 00000001 000000", &[], true),
        ("72756f6b", &[], true),
        ("00000008 00000001 00000000", &["r1@-1!-6"], true),
        ("00000008 00000001 0000000a", &["r1@-1!-6"], true),
        ("00000008 00000001 0000000d", &["r1@-1!-6"], true),
        ("00000008 00000001 00000014", &["r1@-1!-6"], true),
        ("00000008 00000001 fffffff6", &["r1@-1!-6"], true),
        ("00000008 fffffffc 00000064", &[], true),
        // Null path, unknown watch mode, cut record: -5 and open.
        ("0000000d 00000001 00000004 ffffffff 00", &["r1@1!-5"], false),
        ("00000012 00000001 0000006a 00000002 2f61 00000002", &["r1@1!-5"], false),
        ("00000009 00000001 00000004 00", &["r1@1!-5"], false),
    ];
    for (bytes, answers, closes) in cases {
        let mut world = World::new();
        let conn = world.client();
        world.bytes(conn, &hex(bytes));
        assert_eq!(world.story(conn), *answers, "{bytes}");
        assert_eq!(world.socket(conn).closed, closes, "{bytes}");
    }
    // A malformed write is the core's to answer, and takes its position.
    let mut world = World::new();
    let conn = world.client();
    world.bytes(conn, &hex("00000008 00000001 00000001"));
    world.bytes(conn, &hex(&format!("0000000f 00000002 00000004 {path} 00")));
    world.commit();
    assert_eq!(world.story(conn), ["r1@2!-5", "r2@2!-101"]);
}

#[test]
fn sessions_heard_from_are_reported_every_tick() {
    let mut world = World::new();
    let conn = world.client();
    world.turn(ShardInput::Tick);
    let session = SessionId(world.next_session - 1);
    let heard = |world: &mut World| {
        let mail = std::mem::take(&mut world.mail);
        match &mail[..] {
            [.., ToCore::Heard { at, sessions }] => (*at, sessions.clone()),
            other => panic!("{other:?}"),
        }
    };
    let start = world.now.mono;
    assert_eq!(heard(&mut world), (start, vec![(session, start)]));
    world.now.mono = Mono::from_millis(1_100);
    world.turn(ShardInput::Tick);
    assert_eq!(heard(&mut world), (world.now.mono, vec![]));
    world.now.mono = Mono::from_millis(1_150);
    world.ask(conn, -2, &Request::Ping);
    let pinged = world.now.mono;
    world.now.mono = Mono::from_millis(1_200);
    world.turn(ShardInput::Closed { conn });
    world.turn(ShardInput::Tick);
    assert_eq!(heard(&mut world), (world.now.mono, vec![(session, pinged)]));
}

#[test]
fn a_connection_without_a_session_is_closed_in_time() {
    let mut world = World::new();
    let (silent, served) = (world.accept(), world.client());
    world.now.mono = Mono::from_millis(10_999);
    world.turn(ShardInput::Tick);
    assert!(closed(&world).is_empty());
    world.now.mono = Mono::from_millis(11_000);
    world.turn(ShardInput::Tick);
    assert_eq!(closed(&world), BTreeSet::from([silent]));
    assert!(!world.socket(served).closed);
}

#[test]
fn a_server_that_stops_serving_drops_its_clients() {
    let mut world = World::new();
    let (conn, fresh) = (world.client(), world.accept());
    world.tell(ToShard::serving(false));
    assert!(world.socket(conn).closed && !world.socket(fresh).closed);
    world.bytes(fresh, b"ruok");
    assert_eq!(world.got(fresh), b"imok");
}
