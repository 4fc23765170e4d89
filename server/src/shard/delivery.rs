//! From a change to the outboxes of those who watch it (`client-protocol` 6.3, 6.4).

use engine::access::Credentials;
use engine::{Change, Effect, Effects};
use model::{EventKind, Perms, Zxid, path};
use protocol::reply;
use tracing::warn;

use super::connection::Connections;
use super::report::Stats;
use super::{Shard, ShardOutputs};
use crate::limits::OUTBOX_BYTES_MAX;

impl Shard {
    /// Delivers a change to whoever watches it: the trigger table of `client-protocol` 6.3.
    pub(super) fn fire(&mut self, effect: &Effect, effects: &Effects) {
        let path = effects.path(&effect.path);
        let Shard { watches, connections, told, overflowed, stats, event, .. } = self;
        let skip_acl = self.config.skip_acl;
        let mut delivery =
            Delivery { connections, told, overflowed, stats, event, skip_acl, zxid: effect.zxid };
        let acl = effect.acl.as_deref();
        match effect.change {
            Change::Created => {
                let mut each = delivery.of(EventKind::NodeCreated, path, acl);
                watches.created(path, |slot| each.deliver(slot));
            }
            Change::Deleted => {
                let mut each = delivery.of(EventKind::NodeDeleted, path, acl);
                watches.deleted(path, |slot| each.deliver(slot));
            }
            Change::DataChanged => {
                let mut each = delivery.of(EventKind::NodeDataChanged, path, acl);
                watches.data_changed(path, |slot| each.deliver(slot));
            }
        }
        let family = matches!(effect.change, Change::Created | Change::Deleted);
        if family && let Some((parent, _)) = path::split(path) {
            let acl = effect.parent_acl.as_deref();
            let mut each = delivery.of(EventKind::NodeChildrenChanged, parent, acl);
            watches.children_changed(parent, |slot| each.deliver(slot));
        }
    }

    pub(super) fn drop_overflowed(&mut self, out: &mut ShardOutputs) {
        while let Some(slot) = self.overflowed.pop() {
            self.drop_slow(slot, out);
        }
    }

    /// Ends a connection that takes nothing of what waits for it.
    pub(super) fn drop_slow(&mut self, slot: u32, out: &mut ShardOutputs) {
        let Some(conn) = self.connections.at(slot) else { return };
        if conn.is_closing() {
            return;
        }
        let waiting = conn.outbox.len();
        warn!(peer = %conn.peer, session = %conn.session, waiting, "client does not read, dropped");
        conn.outbox.discard();
        self.stats.slow_dropped += 1;
        self.close(slot, "client does not read", out);
    }
}

/// One change on its way to its watchers.
struct Delivery<'a> {
    connections: &'a mut Connections,
    told: &'a mut Vec<u32>,
    overflowed: &'a mut Vec<u32>,
    stats: &'a mut Stats,
    event: &'a mut Vec<u8>,
    skip_acl: bool,
    zxid: Zxid,
}

impl Delivery<'_> {
    /// One of the events that the change causes.
    fn of<'d>(&'d mut self, kind: EventKind, path: &'d [u8], acl: Option<&'d [u8]>) -> Event<'d> {
        self.event.clear();
        let Delivery { connections, told, overflowed, stats, event, skip_acl, zxid } = self;
        let acl = if *skip_acl { None } else { acl };
        let encoded = &mut **event;
        Event { connections, told, overflowed, stats, encoded, zxid: *zxid, kind, path, acl }
    }
}

/// One event, encoded when the first watcher is found and then copied to each.
struct Event<'a> {
    connections: &'a mut Connections,
    told: &'a mut Vec<u32>,
    overflowed: &'a mut Vec<u32>,
    stats: &'a mut Stats,
    encoded: &'a mut Vec<u8>,
    zxid: Zxid,
    kind: EventKind,
    path: &'a [u8],
    acl: Option<&'a [u8]>,
}

impl Event<'_> {
    #[inline]
    fn deliver(&mut self, slot: u32) {
        let Some(conn) = self.connections.at(slot) else { return };
        if let Some(list) = self.acl {
            let who = Credentials { identities: &conn.identities, skip_acl: false };
            if !who.permit(list, Perms::READ) {
                self.stats.events_withheld += 1;
                return;
            }
        }
        if self.encoded.is_empty() {
            reply::event(self.encoded, self.zxid, self.kind, self.path);
        }
        if conn.outbox.len() > OUTBOX_BYTES_MAX {
            self.overflowed.push(slot);
            return;
        }
        conn.outbox.back().extend_from_slice(self.encoded);
        conn.stats.sent += 1;
        self.stats.sent += 1;
        self.stats.events += 1;
        if !std::mem::replace(&mut conn.dirty, true) {
            self.told.push(slot);
        }
    }
}
