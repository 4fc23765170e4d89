//! No watch is lost, none fires without cause, and an event reaches its client before any answer
//! that shows the change or what follows it, across reconnects too.
//!
//! Each client's watches are modelled from its own requests; the committed history then says
//! exactly which events it must have received before each answer, in which order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::Change;
use model::{ErrorCode, EventKind, Zxid, path};
use protocol::WatchEvent;
use protocol::request::AddWatchMode;

use super::{Checker, Seen};
use crate::client::{Asked, Pending};
use crate::history::{Changed, History};

type Paths = BTreeSet<Vec<u8>>;

/// An event that a client must be sent: zxid, kind, path.
type Due = (Zxid, EventKind, Vec<u8>);

/// One connection's watches as the protocol defines them (`client-protocol` 6.2).
#[derive(Default)]
struct Connection {
    /// Server that it is with.
    node: usize,
    /// May see private znodes.
    keeper: bool,
    data: Paths,
    child: Paths,
    persistent: Paths,
    recursive: Paths,
    /// Changes on that server that have been accounted for.
    next_change: usize,
    /// Events that are due by those changes and have not been received.
    due: VecDeque<Due>,
    /// Events without a zxid received since the last answer: they belong to a setWatches.
    restored: Vec<(EventKind, Vec<u8>)>,
}

impl Connection {
    /// Accounts for all changes up to a zxid.
    fn advance(&mut self, history: &History, upto: Zxid) {
        let changes = &history.seats[self.node].changes;
        while let Some(change) = changes.get(self.next_change)
            && change.zxid <= upto
        {
            self.next_change += 1;
            self.fire(change);
        }
    }

    /// The trigger table of `client-protocol` 6.3.
    fn fire(&mut self, change: &Changed) {
        let Changed { zxid, change, path, private, private_parent } = change;
        // Who may not read it is not told, but a one-shot watch is used up (6.4).
        let (told, told_of_parent) = (self.keeper || !private, self.keeper || !private_parent);
        let kind = match change {
            Change::Created => EventKind::NodeCreated,
            Change::Deleted => EventKind::NodeDeleted,
            Change::DataChanged => EventKind::NodeDataChanged,
        };
        let above = self.recursive.contains(path)
            || path::ancestors(path).any(|ancestor| self.recursive.contains(ancestor));
        let here = self.data.remove(path) || self.persistent.contains(path);
        if (here || above) && told {
            self.due.push_back((*zxid, kind, path.clone()));
        }
        if *change == Change::Deleted {
            let child = self.child.remove(path);
            if child && !here && !above && told {
                self.due.push_back((*zxid, kind, path.clone()));
            }
        }
        if *change != Change::DataChanged
            && let Some((parent, _)) = path::split(path)
            && (self.child.remove(parent) || self.persistent.contains(parent))
            && told_of_parent
        {
            self.due.push_back((*zxid, EventKind::NodeChildrenChanged, parent.to_vec()));
        }
    }

    fn received(&mut self, history: &History, event: &WatchEvent<'_>) -> Result<(), String> {
        if event.zxid.0 < 0 {
            self.restored.push((event.kind, event.path.to_vec()));
            return Ok(());
        }
        self.advance(history, event.zxid);
        match self.due.pop_front() {
            Some((zxid, kind, path))
                if (zxid, kind, path.as_slice()) == (event.zxid, event.kind, event.path) =>
            {
                Ok(())
            }
            other => Err(format!("received {event:?}, due was {other:?}")),
        }
    }

    fn answered(
        &mut self,
        history: &History,
        pending: &Pending,
        zxid: Zxid,
        err: i32,
    ) -> Result<(), String> {
        let fine = err == 0;
        if zxid.0 > 0 {
            self.advance(history, zxid);
        }
        if let Some(missing) = self.due.front() {
            return Err(format!(
                "{:?} was answered at {zxid:?} before the event {missing:?}",
                pending.asked
            ));
        }
        let restored = std::mem::take(&mut self.restored);
        let mut expected = Vec::new();
        match &pending.asked {
            // exists leaves its watch on a missing znode too.
            Asked::Exists(path, true) if fine || err == ErrorCode::NoNode.code() => {
                self.data.insert(path.clone());
            }
            Asked::GetData(path, true) if fine => {
                self.data.insert(path.clone());
            }
            Asked::GetChildren(path, true) if fine => {
                self.child.insert(path.clone());
            }
            Asked::AddWatch(path, mode) if fine => {
                let set = match mode {
                    AddWatchMode::Persistent => &mut self.persistent,
                    AddWatchMode::PersistentRecursive => &mut self.recursive,
                };
                set.insert(path.clone());
            }
            Asked::RemoveWatches(path) => {
                let mut any = false;
                for set in
                    [&mut self.data, &mut self.child, &mut self.persistent, &mut self.recursive]
                {
                    any |= set.remove(path);
                }
                if any != fine {
                    return Err(format!("removing watches on {path:?}: had {any}, told {fine}"));
                }
            }
            Asked::CheckWatches(path) => {
                let sets = [&self.data, &self.child, &self.persistent, &self.recursive];
                let any = sets.into_iter().any(|set| set.contains(path));
                if any != fine {
                    return Err(format!("checking watches on {path:?}: has {any}, told {fine}"));
                }
            }
            Asked::SetWatches(relative, lists) => {
                expected = self.restore(history, zxid, *relative, lists)?;
            }
            Asked::Exists(..)
            | Asked::GetData(..)
            | Asked::GetChildren(..)
            | Asked::AddWatch(..)
            | Asked::GetAcl(_)
            | Asked::GetEphemerals
            | Asked::CountAll(_)
            | Asked::WhoAmI
            | Asked::Auth
            | Asked::MultiRead(..)
            | Asked::Write(_)
            | Asked::Multi
            | Asked::Sync
            | Asked::Ping
            | Asked::Close
            | Asked::Malformed => {}
        }
        if restored == expected {
            return Ok(());
        }
        Err(format!("restoring watches told {restored:?}, due was {expected:?}"))
    }

    /// `client-protocol` 6.5.
    fn restore(
        &mut self,
        history: &History,
        at: Zxid,
        relative: Zxid,
        lists: &[Vec<Vec<u8>>; 5],
    ) -> Result<Vec<(EventKind, Vec<u8>)>, String> {
        let version = history.at(at)?;
        let mut expected = Vec::new();
        let [data, exist, child, persistent, recursive] = lists;
        for path in data {
            match version.view().get(path) {
                None => expected.push((EventKind::NodeDeleted, path.clone())),
                Some(znode) if znode.meta.mzxid > relative => {
                    expected.push((EventKind::NodeDataChanged, path.clone()));
                }
                Some(_) => {
                    self.data.insert(path.clone());
                }
            }
        }
        for path in exist {
            if version.view().get(path).is_some() {
                expected.push((EventKind::NodeCreated, path.clone()));
            } else {
                self.data.insert(path.clone());
            }
        }
        for path in child {
            match version.view().get(path) {
                None => expected.push((EventKind::NodeDeleted, path.clone())),
                Some(znode) if znode.meta.pzxid > relative => {
                    expected.push((EventKind::NodeChildrenChanged, path.clone()));
                }
                Some(_) => {
                    self.child.insert(path.clone());
                }
            }
        }
        self.persistent.extend(persistent.iter().cloned());
        self.recursive.extend(recursive.iter().cloned());
        Ok(expected)
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct EventOrder {
    connections: BTreeMap<usize, Connection>,
}

impl Checker for EventOrder {
    fn name(&self) -> &'static str {
        "watch_before_data_and_not_lost"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Attached { client, .. } => {
                // Without watches, nothing before the first one matters.
                let node = history.server_of(*client);
                let connection = Connection {
                    node,
                    keeper: history.keepers.contains(client),
                    next_change: history.seats[node].changes.len(),
                    ..Connection::default()
                };
                self.connections.insert(*client, connection);
                Ok(())
            }
            Seen::Dropped { client } => {
                self.connections.remove(client);
                Ok(())
            }
            Seen::Event { client, event } => match self.connections.get_mut(client) {
                Some(connection) => connection
                    .received(history, event)
                    .map_err(|why| format!("client {client} {why}")),
                None => Err(format!("client {client} has no session and received {event:?}")),
            },
            Seen::Replied { client, pending, header, .. } => {
                match self.connections.get_mut(client) {
                    Some(connection) => connection
                        .answered(history, pending, header.zxid, header.err)
                        .map_err(|why| format!("client {client}: {why}")),
                    None => Ok(()),
                }
            }
            Seen::Published { .. }
            | Seen::Recovered { .. }
            | Seen::Rebuilt { .. }
            | Seen::Said { .. }
            | Seen::Acknowledged { .. }
            | Seen::Queues { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use model::{OpCode, SessionId};

    struct Story {
        maker: Maker,
        checker: EventOrder,
    }

    impl Story {
        fn new() -> Story {
            let mut story = Story { maker: Maker::new(), checker: EventOrder::default() };
            let session = SessionId(1);
            story
                .checker
                .see(&story.maker.history, &Seen::Attached { client: 0, session, timeout_ms: 1 })
                .expect("nothing wrong");
            story
        }

        fn answer(&mut self, asked: Asked, zxid: i64, err: i32) -> Result<(), String> {
            let pending = pending(OpCode::Exists, asked, 0);
            let fine = protocol::Answer::Done;
            let seen = Seen::Replied {
                client: 0,
                session: SessionId(1),
                pending: &pending,
                header: header(1, zxid, err),
                answer: (err == 0).then_some(&fine),
            };
            self.checker.see(&self.maker.history, &seen)
        }

        fn event(&mut self, zxid: i64, kind: EventKind, path: &[u8]) -> Result<(), String> {
            let event = WatchEvent { zxid: Zxid(zxid), kind, path };
            self.checker.see(&self.maker.history, &Seen::Event { client: 0, event })
        }
    }

    fn watch() -> Asked {
        Asked::Exists(b"/p0".to_vec(), true)
    }

    #[test]
    fn the_right_order_passes() {
        let mut story = Story::new();
        story.answer(watch(), 0, -101).expect("fine");
        story.maker.create("/p0");
        story.event(1, EventKind::NodeCreated, b"/p0").expect("fine");
        story.answer(Asked::Ping, 1, 0).expect("fine");
    }

    #[test]
    fn data_before_its_event_is_caught() {
        let mut story = Story::new();
        story.answer(watch(), 0, -101).expect("fine");
        story.maker.create("/p0");
        assert!(story.answer(Asked::Ping, 1, 0).is_err());
    }

    #[test]
    fn an_event_without_a_watch_is_caught() {
        let mut story = Story::new();
        story.maker.create("/p0");
        assert!(story.event(1, EventKind::NodeCreated, b"/p0").is_err());
    }

    #[test]
    fn a_private_change_told_to_anybody_is_caught() {
        for keeper in [false, true] {
            let mut story = Story::new();
            if keeper {
                story.maker.history.keepers.insert(0);
            }
            let session = SessionId(1);
            let attached = Seen::Attached { client: 0, session, timeout_ms: 1 };
            story.checker.see(&story.maker.history, &attached).expect("nothing wrong");
            story.answer(watch(), 0, -101).expect("fine");
            story.maker.create("/p0");
            story.maker.history.seats[0].changes[0].private = true;
            assert_eq!(story.event(1, EventKind::NodeCreated, b"/p0").is_ok(), keeper);
        }
    }

    #[test]
    fn a_second_shot_of_a_one_shot_watch_is_caught() {
        let mut story = Story::new();
        story.answer(watch(), 0, -101).expect("fine");
        story.maker.create("/p0");
        story.event(1, EventKind::NodeCreated, b"/p0").expect("fine");
        assert!(story.event(1, EventKind::NodeCreated, b"/p0").is_err());
    }

    #[test]
    fn a_change_missed_while_away_is_caught() {
        let mut story = Story::new();
        story.maker.create("/p0");
        let lists = [vec![b"/p0".to_vec()], vec![], vec![], vec![], vec![]];
        let asked = Asked::SetWatches(Zxid(0), lists);
        assert!(story.answer(asked, 1, 0).is_err(), "mzxid 1 is after 0: an event was due");
    }
}
