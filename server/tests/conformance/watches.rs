//! Watches as a foreign client sees them.

use zookeeper_client::{Acls, AddWatchMode, CreateMode, CreateOptions, EventType};

use crate::node::{Node, story};

const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());

#[test]
fn one_shot_watches_fire_once() {
    let node = Node::start();
    story(async {
        let (watcher, writer) = (node.client().await, node.client().await);
        let (stat, created) = watcher.check_and_watch_stat("/w").await.expect("exists");
        assert_eq!(stat, None);
        writer.create("/w", b"", &OPEN).await.expect("created");
        assert_eq!(created.changed().await.event_type, EventType::NodeCreated);

        let (_, _, data) = watcher.get_and_watch_data("/w").await.expect("data");
        let (_, children) = watcher.list_and_watch_children("/w").await.expect("children");
        let stat = writer.set_data("/w", b"1", None).await.expect("set");
        let event = data.changed().await;
        assert_eq!((event.event_type, event.zxid), (EventType::NodeDataChanged, stat.mzxid));
        writer.create("/w/c", b"", &OPEN).await.expect("child");
        assert_eq!(children.changed().await.event_type, EventType::NodeChildrenChanged);

        let (_, _, deleted) = watcher.get_and_watch_data("/w/c").await.expect("data");
        writer.delete("/w/c", None).await.expect("deleted");
        assert_eq!(deleted.changed().await.event_type, EventType::NodeDeleted);
    });
}

#[test]
fn recursive_watches_see_the_subtree_in_order() {
    let node = Node::start();
    story(async {
        let (watcher, writer) = (node.client().await, node.client().await);
        writer.create("/p", b"", &OPEN).await.expect("created");
        let mut recursive =
            watcher.watch("/p", AddWatchMode::PersistentRecursive).await.expect("watch");
        let mut persistent = watcher.watch("/p", AddWatchMode::Persistent).await.expect("watch");
        writer.create("/p/a", b"", &OPEN).await.expect("created");
        writer.create("/p/a/b", b"", &OPEN).await.expect("created");
        writer.set_data("/p/a/b", b"1", None).await.expect("set");
        writer.delete("/p/a/b", None).await.expect("deleted");
        writer.set_data("/p", b"1", None).await.expect("set");
        let wanted = [
            (EventType::NodeCreated, "/p/a"),
            (EventType::NodeCreated, "/p/a/b"),
            (EventType::NodeDataChanged, "/p/a/b"),
            (EventType::NodeDeleted, "/p/a/b"),
            (EventType::NodeDataChanged, "/p"),
        ];
        for (kind, path) in wanted {
            let event = recursive.changed().await;
            assert_eq!((event.event_type, event.path.as_str()), (kind, path));
        }
        for kind in [EventType::NodeChildrenChanged, EventType::NodeDataChanged] {
            let event = persistent.changed().await;
            assert_eq!((event.event_type, event.path.as_str()), (kind, "/p"));
        }
        drop(recursive);
        writer.set_data("/p", b"2", None).await.expect("set");
        assert_eq!(persistent.changed().await.event_type, EventType::NodeDataChanged);
    });
}
