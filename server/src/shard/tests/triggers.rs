//! Which watch tells what (`client-protocol` 6.3 to 6.7).

use model::Acl;
use model::Perms;
use model::acl::encode_list;
use protocol::names::Names;
use protocol::{AddWatchMode, SetWatches, WatcherType};

use super::*;

/// Leaves one kind of watch on a path.
fn watch(world: &mut World, conn: ConnId, kind: &str, path: &str) {
    let path = path.as_bytes();
    let request = match kind {
        "data" => Request::GetData { path, watch: true },
        "exists" => Request::Exists { path, watch: true },
        "children" => Request::GetChildren { path, watch: true },
        "children2" => Request::GetChildren2 { path, watch: true },
        "persistent" => Request::AddWatch { path, mode: AddWatchMode::Persistent },
        "recursive" => Request::AddWatch { path, mode: AddWatchMode::PersistentRecursive },
        other => panic!("no such watch: {other}"),
    };
    world.ask(conn, 1, &request);
    assert!(!world.got(conn).is_empty());
}

/// Kinds and paths of the events a watch gives for some changes, without their zxids.
fn events(kind: &str, before: &[Op<'_>], changes: &[Op<'_>]) -> Vec<String> {
    let mut world = World::new();
    let conn = world.client();
    for op in before {
        world.elsewhere(op);
    }
    world.publish();
    world.turn(ShardInput::Feed);
    watch(&mut world, conn, kind, "/x");
    for op in changes {
        world.elsewhere(op);
    }
    world.publish();
    world.turn(ShardInput::Feed);
    let story = world.story(conn);
    story
        .into_iter()
        .map(|event| {
            let (kind, path) = (&event[..2], event.split_once(':').expect("an event").1);
            format!("{kind} {path}")
        })
        .collect()
}

#[test]
fn every_kind_of_watch_against_every_change() {
    let x = create("/x");
    let c = create("/x/c");
    let d = create("/x/c/d");
    // Per row: what is there, what happens, events of data, exists, children, persistent and
    // recursive watches on /x.
    type Row<'a> = (&'a [Op<'a>], &'a [Op<'a>], [&'a [&'a str]; 5]);
    let rows: [Row<'_>; 7] = [
        (&[], std::slice::from_ref(&x), [&[], &["e1 /x"], &[], &["e1 /x"], &["e1 /x"]]),
        (
            std::slice::from_ref(&x),
            &[delete("/x")],
            [&["e2 /x"], &["e2 /x"], &["e2 /x"], &["e2 /x"], &["e2 /x"]],
        ),
        (
            std::slice::from_ref(&x),
            &[set("/x", "1"), set("/x", "2")],
            [&["e3 /x"], &["e3 /x"], &[], &["e3 /x", "e3 /x"], &["e3 /x", "e3 /x"]],
        ),
        (
            std::slice::from_ref(&x),
            std::slice::from_ref(&c),
            [&[], &[], &["e4 /x"], &["e4 /x"], &["e1 /x/c"]],
        ),
        (
            &[x.clone(), c.clone()],
            &[delete("/x/c")],
            [&[], &[], &["e4 /x"], &["e4 /x"], &["e2 /x/c"]],
        ),
        (&[x.clone(), c.clone()], &[set("/x/c", "1")], [&[], &[], &[], &[], &["e3 /x/c"]]),
        (
            &[x.clone(), c.clone()],
            &[d, delete("/x/c/d"), create("/xy")],
            [&[], &[], &[], &[], &["e1 /x/c/d", "e2 /x/c/d"]],
        ),
    ];
    for (number, (before, changes, expect)) in rows.into_iter().enumerate() {
        let kinds = ["data", "exists", "children", "persistent", "recursive"];
        for (kind, expect) in kinds.into_iter().zip(expect) {
            // Without the znode only exists and addWatch leave a watch.
            let found = events(kind, before, changes);
            assert_eq!(found, expect, "row {number}, {kind}");
        }
    }
}

#[test]
fn reads_that_fail_leave_no_watch_except_exists() {
    let mut world = World::new();
    let conn = world.client();
    for kind in ["data", "children", "children2"] {
        watch(&mut world, conn, kind, "/none");
        assert!(!world.shard.has_watches(), "{kind}");
    }
    watch(&mut world, conn, "exists", "/none");
    assert!(world.shard.has_watches());
}

#[test]
fn deleted_once_then_the_parent() {
    let mut world = World::new();
    let conn = world.client();
    world.elsewhere(&create("/x"));
    world.publish();
    for kind in ["data", "children", "persistent", "recursive"] {
        watch(&mut world, conn, kind, "/x");
    }
    watch(&mut world, conn, "children", "/");
    watch(&mut world, conn, "recursive", "/");
    world.elsewhere(&delete("/x"));
    world.publish();
    world.turn(ShardInput::Feed);
    assert_eq!(world.story(conn), ["e2@3:/x", "e4@3:/"]);
}

/// Everything a multi did is told in its order, before its reply; a failed one tells nothing.
#[test]
fn a_multi_tells_each_part() {
    let mut world = World::new();
    let conn = world.client();
    watch(&mut world, conn, "recursive", "/");
    let whole = Op::Multi(vec![create("/x"), set("/x", "1"), delete("/x")]);
    world.write(conn, 2, &whole);
    world.write(conn, 3, &Op::Multi(vec![create("/y"), delete("/none")]));
    world.commit();
    assert_eq!(world.story(conn), ["e1@2:/x", "e3@2:/x", "e2@2:/x", "r2@2", "r3@3"]);
}

/// Without READ the event is kept back, but the one-shot watch is used up (6.4).
#[test]
fn access_lists_guard_events() {
    let mut world = World::new();
    let (conn, owner) = (world.client(), world.client());
    let id = auth::digest::id(auth::digest::Algorithm::Sha1, b"u:p");
    let mine = Acl { perms: Perms::ALL, scheme: Some(b"digest"), id: Some(&id) };
    let list = encode_list([mine].into_iter());
    let proof = Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"u:p") };
    world.ask(owner, 1, &proof);
    for each in [conn, owner] {
        watch(&mut world, each, "exists", "/s");
        watch(&mut world, each, "persistent", "/s");
        watch(&mut world, each, "recursive", "/");
        world.got(each);
    }
    world.write(owner, 2, &create_with("/s", &list));
    world.write(owner, 3, &create("/s/open"));
    world.write(owner, 4, &set("/s", "1"));
    world.write(owner, 5, &delete("/s/open"));
    world.write(owner, 6, &delete("/s"));
    world.commit();
    let full = [
        "e1@3:/s",
        "r2@3",
        "e1@4:/s/open",
        "e4@4:/s",
        "r3@4",
        "e3@5:/s",
        "r4@5",
        "e2@6:/s/open",
        "e4@6:/s",
        "r5@6",
        "e2@7:/s",
        "r6@7",
    ];
    assert_eq!(world.story(owner), full);
    assert_eq!(world.story(conn), ["e1@4:/s/open", "e2@6:/s/open"]);
    // Identities at the time of delivery count.
    world.ask(conn, -4, &proof);
    world.got(conn);
    world.write(owner, 7, &create_with("/s", &list));
    world.commit();
    assert_eq!(world.story(conn), ["e1@8:/s"]);
}

#[test]
fn set_watches_catches_up() {
    let mut world = World::new();
    let conn = world.client();
    for op in [create("/old"), create("/new"), create("/dir"), set("/new", "1"), create("/dir/c")] {
        world.elsewhere(&op);
    }
    world.publish();
    // /old 2, /new 3 and 5, /dir 4 and its child 6; the client has seen 4.
    let names = |all: &[&str]| Names::build(all.iter().map(|path| path.as_bytes()));
    let lists = [
        names(&["/old", "/new", "/gone"]),
        names(&["/old", "/never"]),
        names(&["/old", "/dir", "/gone"]),
        names(&["/p"]),
        names(&["/old"]),
    ];
    let list = |index: usize| {
        Names::decode(&mut model::jute::Reader::new(&lists[index])).expect("well formed")
    };
    let request = Request::SetWatches2(SetWatches {
        relative_zxid: Zxid(4),
        data: list(0),
        exist: list(1),
        child: list(2),
        persistent: list(3),
        persistent_recursive: list(4),
    });
    world.ask(conn, 9, &request);
    let made_up = ["e3@-1:/new", "e2@-1:/gone", "e1@-1:/old", "e4@-1:/dir", "e2@-1:/gone", "r9@6"];
    assert_eq!(world.story(conn), made_up);
    let kinds = [
        ("/old", WatcherType::Data, true),
        ("/old", WatcherType::Children, true),
        ("/old", WatcherType::PersistentRecursive, true),
        ("/old", WatcherType::Persistent, false),
        ("/new", WatcherType::Any, false),
        ("/never", WatcherType::Data, true),
        ("/dir", WatcherType::Any, false),
        ("/p", WatcherType::Persistent, true),
        ("/p", WatcherType::Data, false),
    ];
    for (path, kind, there) in kinds {
        world.ask(conn, 1, &Request::CheckWatches { path: path.as_bytes(), kind });
        let expect = if there { "r1@6" } else { "r1@6!-121" };
        assert_eq!(world.story(conn), [expect], "{path} {kind:?}");
    }
    for expect in ["r1@6", "r1@6!-121"] {
        world.ask(conn, 1, &Request::RemoveWatches { path: b"/old", kind: WatcherType::Any });
        assert_eq!(world.story(conn), [expect]);
    }
}

/// A watch is left at the moment of the read, also when the read had to wait between two writes.
#[test]
fn a_parked_read_leaves_its_watch_at_its_own_moment() {
    let mut world = World::new();
    let conn = world.client();
    let mut bytes = written(1, &create("/a"));
    bytes.extend(asked(2, &get("/a", true)));
    bytes.extend(written(3, &set("/a", "1")));
    bytes.extend(asked(4, &Request::GetChildren { path: b"/", watch: true }));
    bytes.extend(written(5, &delete("/a")));
    world.bytes(conn, &bytes);
    world.commit();
    let expect = ["r1@2", "r2@2", "e3@3:/a", "r3@3", "r4@3", "e4@4:/", "r5@4"];
    assert_eq!(world.story(conn), expect);
}

/// A world in which three clients, which are a crowd here, watch `/hot`, and another one.
fn crowd() -> (World, Vec<ConnId>, ConnId) {
    let mut world = World::new();
    world.elsewhere(&create("/hot"));
    world.publish();
    let watchers: Vec<ConnId> = (0..3).map(|_| world.client()).collect();
    for &conn in &watchers {
        world.ask(conn, 1, &get("/hot", true));
        world.got(conn);
    }
    let writer = world.client();
    (world, watchers, writer)
}

/// The writer's acknowledgement must not wait until everybody else has been sent an event.
#[test]
fn answers_are_named_before_events() {
    let (mut world, watchers, _) = crowd();
    let mut out = ShardOutputs::default();
    let writer = watchers[2];
    world.write(writer, 2, &set("/hot", "1"));
    world.decide();
    world.publish();
    world.shard.step(world.now, ShardInput::Feed, &mut out);
    world.shard.end_turn(world.now, &mut out);
    assert_eq!((out.answers, out.flush), (1, vec![writer, watchers[0], watchers[1]]));
}

#[test]
fn a_writer_has_its_answer_before_a_crowd_is_told() {
    let (mut world, watchers, writer) = crowd();
    let mut bytes = written(7, &set("/hot", "1"));
    bytes.extend(asked(8, &get("/hot", false)));
    world.bytes(writer, &bytes);
    // A watcher writes as well: its own event comes before its answer, as ever.
    world.write(watchers[1], 2, &set("/hot", "2"));
    world.decide();
    world.publish();
    world.turn(ShardInput::Feed);
    assert!(world.shard.owes_events());
    assert_eq!(world.story(writer), ["r7@6"], "and the read waits for the view");
    assert!(watchers.iter().all(|conn| world.shard.outbox(*conn).is_empty()));
    world.turn(ShardInput::Feed);
    assert!(!world.shard.owes_events() && world.shard.feed_pending() == 0);
    let stories: Vec<_> = watchers.iter().map(|conn| world.story(*conn)).collect();
    assert_eq!(stories, [vec!["e3@6:/hot"], vec!["e3@6:/hot", "r2@7"], vec!["e3@6:/hot"]]);
    assert_eq!(world.story(writer).len(), 1);
}

/// Whoever learns from the writer that it has its answer, and looks, is told of the change first.
#[test]
fn nobody_sees_the_change_before_its_event() {
    let looks: [fn(&mut World, ConnId); 3] = [
        |world, watcher| world.ask(watcher, 2, &get("/hot", false)),
        |world, watcher| {
            world.turn(ShardInput::Tick);
            world.ask(watcher, 2, &get("/hot", false));
        },
        |world, watcher| {
            world.tell(ToShard::serving(true));
            world.ask(watcher, 2, &get("/hot", false));
        },
    ];
    for look in looks {
        let (mut world, watchers, writer) = crowd();
        world.write(writer, 7, &set("/hot", "1"));
        world.decide();
        world.publish();
        world.turn(ShardInput::Feed);
        assert_eq!(world.story(writer), ["r7@6"]);
        assert!(world.shard.owes_events());
        look(&mut world, watchers[0]);
        assert_eq!(world.story(watchers[0]), ["e3@6:/hot", "r2@6"]);
    }
}

#[test]
fn ten_thousand_watchers_of_one_znode() {
    let mut world = World::new();
    world.elsewhere(&create("/hot"));
    world.publish();
    let conns: Vec<ConnId> = (0..10_000).map(|_| world.accept()).collect();
    let mut out = ShardOutputs::default();
    for &conn in &conns {
        let bytes = connect(0);
        world.shard.step(world.now, ShardInput::Bytes { conn, bytes: &bytes }, &mut out);
    }
    world.finish(std::mem::take(&mut out));
    world.commit();
    for &conn in &conns {
        world.got(conn);
        let bytes = asked(1, &get("/hot", true));
        world.shard.step(world.now, ShardInput::Bytes { conn, bytes: &bytes }, &mut out);
    }
    world.finish(std::mem::take(&mut out));
    world.elsewhere(&set("/hot", "1"));
    world.publish();
    world.shard.step(world.now, ShardInput::Feed, &mut out);
    world.shard.end_turn(world.now, &mut out);
    assert!(out.flush == conns, "each once, in the order of registration");
    assert!(!world.shard.has_watches());
}
