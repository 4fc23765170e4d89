//! The whole interface of a client that was written elsewhere.

use std::time::Duration;

use zookeeper_client::{
    Acl, Acls, AuthId, AuthUser, CreateMode, CreateOptions, Error, MultiReadResult,
    MultiWriteResult, Permission,
};

use crate::node::{Node, story};

const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());

#[test]
fn create_read_update_delete() {
    let node = Node::start();
    story(async {
        let client = node.client().await;
        let (created, _) = client.create("/a", b"one", &OPEN).await.expect("created");
        assert_eq!((created.version, created.data_length, created.num_children), (0, 3, 0));
        assert_eq!(client.create("/a", b"", &OPEN).await, Err(Error::NodeExists));
        assert_eq!(client.create("/x/y", b"", &OPEN).await, Err(Error::NoNode));

        let (data, stat) = client.get_data("/a").await.expect("read");
        assert_eq!((data.as_slice(), stat), (&b"one"[..], created));
        let stat = client.set_data("/a", b"two", Some(0)).await.expect("version 0");
        assert_eq!(stat.version, 1);
        assert!(stat.mzxid > created.mzxid && stat.czxid == created.czxid);
        assert_eq!(client.set_data("/a", b"", Some(0)).await, Err(Error::BadVersion));
        assert_eq!(client.check_stat("/a").await, Ok(Some(stat)));
        assert_eq!(client.check_stat("/none").await, Ok(None));

        client.create("/a/b", b"", &OPEN).await.expect("child");
        client.create("/a/c", b"", &OPEN).await.expect("child");
        let (mut names, stat) = client.get_children("/a").await.expect("children");
        names.sort();
        assert_eq!((names, stat.num_children, stat.cversion), (vec!["b".into(), "c".into()], 2, 2));
        assert_eq!(client.count_descendants_number("/a").await, Ok(2));
        assert_eq!(client.delete("/a", None).await, Err(Error::NotEmpty));
        assert_eq!(client.delete("/a/b", Some(7)).await, Err(Error::BadVersion));
        client.delete("/a/b", Some(0)).await.expect("deleted");
        assert_eq!(client.delete("/a/b", None).await, Err(Error::NoNode));
        client.sync("/a").await.expect("sync");
        assert_eq!(client.list_children("/a").await, Ok(vec!["c".into()]));
    });
}

#[test]
fn sequences_count_every_create() {
    let node = Node::start();
    story(async {
        let client = node.client().await;
        client.create("/s", b"", &OPEN).await.expect("parent");
        let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        let mut numbers = Vec::new();
        for round in 0..3 {
            client.create(&format!("/s/plain{round}"), b"", &OPEN).await.expect("plain");
            let (_, number) = client.create("/s/n-", b"", &sequential).await.expect("sequential");
            numbers.push(number.into_i64());
            client.delete(&format!("/s/n-{number}"), None).await.expect("deleted");
        }
        assert_eq!(numbers, [1, 3, 5]);
    });
}

#[test]
fn ephemerals_belong_to_sessions() {
    let node = Node::start();
    story(async {
        let (owner, other) = (node.client().await, node.client().await);
        let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        let (stat, _) = owner.create("/e", b"", &ephemeral).await.expect("ephemeral");
        assert_ne!(stat.ephemeral_owner, 0);
        assert_eq!(owner.create("/e/child", b"", &OPEN).await, Err(Error::NoChildrenForEphemerals));
        assert_eq!(owner.list_ephemerals("/").await, Ok(vec!["/e".into()]));
        assert_eq!(other.list_ephemerals("/").await, Ok(vec![]));
        let (_, _, gone) = other.get_and_watch_data("/e").await.expect("seen by others");
        drop(owner);
        let event = gone.changed().await;
        assert_eq!(event.event_type, zookeeper_client::EventType::NodeDeleted);
        assert_eq!(other.check_stat("/e").await, Ok(None));
    });
}

#[test]
fn containers_and_ttl_znodes_look_persistent() {
    let node = Node::start();
    story(async {
        let client = node.client().await;
        let container = CreateMode::Container.with_acls(Acls::anyone_all());
        let (stat, _) = client.create("/c", b"", &container).await.expect("container");
        assert_eq!(stat.ephemeral_owner, 0);
        let ttl = OPEN.with_ttl(Duration::from_mins(1));
        let (stat, _) = client.create("/t", b"x", &ttl).await.expect("ttl");
        assert_eq!(stat.ephemeral_owner, 0);
    });
}

#[test]
fn multis_are_all_or_nothing() {
    let node = Node::start();
    story(async {
        let client = node.client().await;
        let mut writer = client.new_multi_writer();
        writer.add_create("/m", b"1", &OPEN).expect("added");
        writer.add_create("/m/c", b"", &OPEN).expect("added");
        writer.add_set_data("/m", b"22", Some(0)).expect("added");
        writer.add_check_version("/m", 1).expect("added");
        writer.add_delete("/m/c", None).expect("added");
        let results = writer.commit().await.expect("committed");
        assert_eq!(results.len(), 5);
        assert!(matches!(&results[0], MultiWriteResult::Create { path, .. } if path == "/m"));
        assert!(matches!(&results[2], MultiWriteResult::SetData { stat } if stat.version == 1));

        let mut writer = client.new_multi_writer();
        writer.add_create("/m/x", b"", &OPEN).expect("added");
        writer.add_delete("/none", None).expect("added");
        assert!(writer.commit().await.is_err());
        assert_eq!(client.check_stat("/m/x").await, Ok(None));

        let mut reader = client.new_multi_reader();
        reader.add_get_data("/m").expect("added");
        reader.add_get_children("/m").expect("added");
        reader.add_get_data("/none").expect("added");
        let results = reader.commit().await.expect("read");
        assert!(matches!(&results[0], MultiReadResult::Data { data, .. } if data == b"22"));
        assert!(
            matches!(&results[1], MultiReadResult::Children { children } if children.is_empty())
        );
        assert!(matches!(&results[2], MultiReadResult::Error { err: Error::NoNode }));
    });
}

#[test]
fn access_lists_guard_znodes() {
    let node = Node::start();
    story(async {
        let (client, stranger) = (node.client().await, node.client().await);
        client.auth("digest", b"me:secret").await.expect("digest");
        let mut users = client.list_auth_users().await.expect("whoami");
        users.sort_by_key(|user| user.scheme().to_owned());
        assert_eq!(users, [AuthUser::new("digest", "me"), AuthUser::new("ip", "127.0.0.1")]);

        let mine = CreateMode::Persistent.with_acls(Acls::creator_all());
        client.create("/mine", b"secret", &mine).await.expect("created");
        assert_eq!(stranger.get_data("/mine").await, Err(Error::NoAuth));
        assert_eq!(stranger.set_data("/mine", b"", None).await, Err(Error::NoAuth));
        assert_eq!(stranger.create("/mine/x", b"", &OPEN).await, Err(Error::NoAuth));

        let lists = [
            Acl::new(Permission::READ, AuthId::anyone()),
            Acl::new(Permission::ALL, AuthId::authed()),
        ];
        let stat = client.set_acl("/mine", &lists, Some(0)).await.expect("set");
        assert_eq!(stat.aversion, 1);
        assert_eq!(client.set_acl("/mine", &lists, Some(0)).await, Err(Error::BadVersion));
        stranger.get_data("/mine").await.expect("now readable");
        let (seen, _) = stranger.get_acl("/mine").await.expect("redacted");
        assert_eq!(seen[1].id(), "me:x");
        let (full, _) = client.get_acl("/mine").await.expect("full");
        assert!(full[1].id().len() > "me:x".len());

        stranger.auth("digest", b"super:test").await.expect("super");
        stranger.set_data("/mine", b"by super", None).await.expect("super may");
    });
}

#[test]
fn everything_survives_a_restart() {
    let mut node = Node::start();
    let before = {
        let node = &node;
        let mut kept = None;
        story(async {
            let client = node.client().await;
            client.create("/r", b"kept", &OPEN).await.expect("created");
            for number in 0..100 {
                client.create(&format!("/r/{number}"), b"x", &OPEN).await.expect("created");
            }
            client.delete("/r/7", None).await.expect("deleted");
            kept = Some(client.set_data("/r", b"changed", None).await.expect("set"));
        });
        kept.expect("the story ran")
    };
    assert_eq!(node.stop(), Some(0), "a clean stop");
    node.launch();
    story(async {
        let client = node.client().await;
        let (data, stat) = client.get_data("/r").await.expect("still there");
        assert_eq!((data.as_slice(), stat), (&b"changed"[..], before));
        assert_eq!(client.list_children("/r").await.expect("children").len(), 99);
    });
}
