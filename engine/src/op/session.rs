//! createSession and closeSession (`zab-wire` 3.4 and 4.2).

use std::borrow::Cow;

use model::{SessionId, Txn, TxnHeader};

use crate::draft::Draft;
use crate::effect::{Effects, Outcome};
use crate::op::delete;
use crate::state::Session;

/// Bytes of paths that a record lists at most. A session may own more than any log segment, and
/// any ZooKeeper beside this server, could take.
const LISTED_BYTES_MAX: usize = 512 * 1024;

/// Lists what a closing session leaves behind, in path order. If that is too long, nothing is
/// listed, as in records of leaders before 3.6: every server then takes it from its own table,
/// which is the same on all of them.
pub(crate) fn plan_close(draft: &Draft, session: SessionId) -> Txn<'static> {
    let owned = draft.tables.ephemerals.get(&session);
    let mut bytes = 0;
    let mut paths = Vec::new();
    for path in owned.into_iter().flatten() {
        bytes += size_of::<u32>() + path.len();
        if bytes > LISTED_BYTES_MAX {
            return Txn::CloseSession { paths: None };
        }
        paths.push(Cow::Owned(path.to_vec()));
    }
    Txn::CloseSession { paths: Some(paths) }
}

/// Makes the session known.
pub(crate) fn apply_create(draft: &mut Draft, session: SessionId, timeout_ms: i32) -> Outcome {
    draft.tables.sessions.insert(session, Session { timeout_ms });
    Outcome::Done
}

/// Forgets the session and deletes the listed znodes in order, then any other it still owns.
pub(crate) fn apply_close(
    draft: &mut Draft,
    header: &TxnHeader,
    listed: &[Cow<'_, [u8]>],
    effects: &mut Effects,
) -> Outcome {
    draft.tables.sessions.remove(&header.session);
    let owned = draft.tables.ephemerals.remove(&header.session);
    for path in listed {
        // One that is gone already is no fault.
        delete::apply(draft, header, path, effects);
    }
    for path in owned.iter().flatten() {
        let znode = draft.tree.view().get(path);
        if znode.is_some_and(|znode| znode.meta.owner == header.session.0) {
            delete::apply(draft, header, path, effects);
        }
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::tests::*;
    use model::{Op, Zxid};

    #[test]
    fn a_session_lives_in_the_table_until_it_closes() {
        let mut scene = Scene::new();
        assert_eq!(scene.draft.tables().sessions[&SESSION], Session { timeout_ms: 4000 });
        scene.ok(&Op::CloseSession);
        assert!(scene.draft.tables().sessions.is_empty());
        scene.ok(&Op::CloseSession);
    }

    #[test]
    fn closing_deletes_what_the_session_owns_in_one_transaction() {
        let mut scene = Scene::new();
        scene.make(&["/a", "/mine-not"]);
        for path in ["/a/z", "/e", "/a/y", "/a/gone"] {
            scene.ok(&ephemeral(path));
        }
        scene.who.session = SessionId(0x0200_0000_0000_0001);
        scene.ok(&Op::CreateSession { timeout_ms: 9 });
        scene.ok(&ephemeral("/other"));
        scene.ok(&delete("/a/gone", -1));
        assert_eq!(scene.draft.tables().ephemeral_count, 4);
        scene.who.session = SESSION;
        let zxid = Zxid(scene.zxid);
        scene.ok(&Op::CloseSession);
        assert_eq!(scene.events(), "-/a/y -/a/z -/e");
        assert_eq!((scene.stat("/a").pzxid, scene.stat("/").pzxid), (zxid, zxid));
        assert_eq!(scene.draft.tables().ephemeral_count, 1);
        assert_eq!(scene.draft.tables().ephemerals.len(), 1);
        assert!(scene.has("/other") && scene.has("/mine-not"));
    }

    /// Seventy ephemerals with names of almost a megabyte would make a record larger than a log
    /// segment, and one that does not fit stops the server at every start.
    #[test]
    fn a_list_that_no_log_can_hold_is_left_out() {
        let mut scene = Scene::new();
        let name = |n: usize| format!("/{n}{}", "x".repeat(LISTED_BYTES_MAX / 4));
        let paths: Vec<String> = (0..3).map(name).collect();
        for path in &paths {
            scene.ok(&ephemeral(path));
        }
        let Txn::CloseSession { paths: listed } = plan_close(&scene.draft, SESSION) else {
            panic!("a closing record")
        };
        assert_eq!(listed.map(|all| all.len()), Some(3), "three fit");
        let fourth = name(3);
        scene.ok(&ephemeral(&fourth));
        assert_eq!(plan_close(&scene.draft, SESSION), Txn::CloseSession { paths: None });
        scene.ok(&Op::CloseSession);
        assert_eq!(scene.draft.tables().ephemeral_count, 0);
        assert!(!paths.iter().chain([&fourth]).any(|path| scene.has(path)));
    }

    /// Records of leaders before 3.6 do not list the paths; a list may also be incomplete, or name
    /// what is gone.
    #[test]
    fn what_is_not_listed_is_deleted_too() {
        for paths in [None, Some(vec![Cow::Borrowed(&b"/z"[..]), Cow::Borrowed(b"/gone")])] {
            let mut scene = Scene::new();
            for path in ["/y", "/z"] {
                scene.ok(&ephemeral(path));
            }
            let header = TxnHeader { session: SESSION, zxid: Zxid(9), ..TxnHeader::default() };
            let order = if paths.is_some() { "/z/y" } else { "/y/z" };
            scene.effects.clear();
            scene.draft.apply(&header, &Txn::CloseSession { paths }, &mut scene.effects);
            assert_eq!(scene.effects.bytes, order.as_bytes());
            assert_eq!(scene.draft.tables().ephemeral_count, 0);
            assert_eq!(scene.draft.tables().digest, crate::digest::of_tree(scene.draft.view()));
        }
    }
}
