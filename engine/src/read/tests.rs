use super::*;
use crate::op::tests::{Scene, create, ephemeral, only, set, set_acl};
use model::{AuthId, EventKind, OpCode, Stat, Zxid};

const NOBODY: Credentials<'_> = Credentials { identities: &[], skip_acl: false };

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.make(&["/a", "/a/b", "/a/b/c", "/a/d", "/secret"]);
    scene.ok(&set_acl("/secret", &only(31, "digest", "u:hash"), -1));
    scene
}

#[test]
fn missing_comes_before_forbidden_and_nothing_is_validated() {
    let version = scene().draft.freeze();
    let paths: [(&[u8], i32); 6] = [
        (b"foo", -101),
        (b"/a//b", -101),
        (b"/a/", -101),
        (b"/nul\0", -101),
        (b"/secret", -102),
        (b"/secret/x", -101),
    ];
    for (path, expect) in paths {
        let codes = [
            data(&version, path, NOBODY).err(),
            acl(&version, path, NOBODY).err(),
            children(&version, path, NOBODY).err(),
            all_children_number(&version, path, NOBODY).err(),
        ];
        for code in codes {
            assert_eq!(code.map(ErrorCode::code), Some(expect), "{path:?}");
        }
        let nul = if path.contains(&0) { -8 } else { expect };
        assert_eq!(exists(&version, path, NOBODY).map_err(ErrorCode::code), Err(nul));
    }
    let skip = Credentials { skip_acl: true, ..NOBODY };
    assert!(data(&version, b"/secret", skip).is_ok());
}

#[test]
fn the_empty_path_is_the_root() {
    let version = scene().draft.freeze();
    assert_eq!(data(&version, b"", NOBODY), data(&version, b"/", NOBODY));
    assert_eq!(exists(&version, b"", NOBODY), exists(&version, b"/", NOBODY));
    let (names, stat) = children(&version, b"", NOBODY).expect("the root is open");
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, [&b"a"[..], b"secret", b"zookeeper"]);
    assert_eq!(stat.num_children, 3);
}

#[test]
fn descendants_are_counted_strictly() {
    let version = scene().draft.freeze();
    for (path, expect) in [(&b"/a"[..], 3), (b"/a/b", 1), (b"/a/d", 0), (b"/", 8)] {
        assert_eq!(all_children_number(&version, path, NOBODY), Ok(expect), "{path:?}");
    }
}

#[test]
fn hashes_are_shown_to_administrators_only() {
    let mut scene = scene();
    let list = model::acl::encode_list(
        [&only(31, "digest", "u:hash"), &only(1, "digest", "v:hash")]
            .into_iter()
            .flat_map(|list| model::acl::entries(list))
            .collect::<Vec<_>>()
            .into_iter(),
    );
    scene.make(&["/both"]);
    scene.ok(&set_acl("/both", &list, -1));
    let version = scene.draft.freeze();
    let seen_by = |id: &str| {
        let identities = [AuthId::new("digest", id)];
        let who = Credentials { identities: &identities, skip_acl: false };
        acl(&version, b"/both", who).map(|(list, _)| list.into_owned())
    };
    assert_eq!(seen_by("u:hash"), Ok(list));
    let shown = seen_by("v:hash").expect("may read");
    assert_eq!(model::acl::entries(&shown).next().and_then(|entry| entry.id), Some(&b"u:x"[..]));
    assert_eq!(seen_by("w:hash"), Err(ErrorCode::NoAuth));
}

#[test]
fn ephemerals_match_by_plain_prefix() {
    let mut scene = scene();
    for path in ["/a/e1", "/a/e2", "/ae"] {
        scene.ok(&ephemeral(path));
    }
    let version = scene.draft.freeze();
    let owned = |prefix: Option<&[u8]>| {
        ephemerals(&version, crate::op::tests::SESSION, prefix).collect::<Vec<_>>().concat()
    };
    for all in [None, Some(&b""[..]), Some(b" "), Some(b"/")] {
        assert_eq!(owned(all), b"/a/e1/a/e2/ae");
    }
    assert_eq!(owned(Some(b"/a/")), b"/a/e1/a/e2");
    assert_eq!(owned(Some(b"/a/e2")), b"/a/e2");
    let nobody = model::SessionId(9);
    assert_eq!(ephemerals(&version, nobody, None).count(), 0);
}

#[test]
fn reads_of_a_multi_fail_alone() {
    let version = scene().draft.freeze();
    let read = |opcode, path: &'static [u8]| multi_read(&version, opcode, path, NOBODY);
    assert_eq!(read(OpCode::GetChildren, b"/a/b"), MultiRead::Children(vec![b"c"]));
    assert!(matches!(read(OpCode::GetData, b"/a"), MultiRead::Data(Some(b"x"), Stat { .. })));
    assert_eq!(read(OpCode::GetData, b"/no"), MultiRead::Failed(ErrorCode::NoNode));
    assert_eq!(read(OpCode::GetChildren, b"/secret"), MultiRead::Failed(ErrorCode::NoAuth));
}

#[test]
fn watches_catch_up_by_zxid() {
    let mut scene = Scene::new();
    scene.make(&["/a"]);
    let seen = Zxid(scene.zxid - 1);
    scene.make(&["/quiet"]);
    scene.ok(&set("/a", "new", -1));
    scene.ok(&create("/a/child"));
    let version = scene.draft.freeze();
    let now = version.zxid();
    let fire = CatchUp::Fire;
    for (path, list, seen, expect) in [
        ("/a", Rewatch::Data, seen, fire(EventKind::NodeDataChanged)),
        ("/a", Rewatch::Data, now, CatchUp::Register),
        ("/a", Rewatch::Child, seen, fire(EventKind::NodeChildrenChanged)),
        ("/a", Rewatch::Child, now, CatchUp::Register),
        ("/a", Rewatch::Exist, now, fire(EventKind::NodeCreated)),
        ("/no", Rewatch::Data, now, fire(EventKind::NodeDeleted)),
        ("/no", Rewatch::Child, now, fire(EventKind::NodeDeleted)),
        ("/no", Rewatch::Exist, seen, CatchUp::Register),
        ("/quiet", Rewatch::Data, Zxid(seen.0 + 1), CatchUp::Register),
    ] {
        let found = catch_up(&version, path.as_bytes(), list, seen);
        assert_eq!(found, expect, "{path} {list:?} {seen:?}");
    }
}
