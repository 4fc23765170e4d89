//! Reads: judged by the engine against the view, encoded straight from the tree into the outbox.
//! The watch a read leaves is registered in the same step, so no change can fall in between.

use engine::Version;
use engine::access::Credentials;
use engine::read::{self, CatchUp, Rewatch};
use model::{AuthId, ErrorCode, SessionId, Xid, Zxid};
use protocol::{MultiReply, ReadPart, Request, SetWatches, reply};

use super::auth;
use super::watches::{Modes, WatchTable};

/// Everything a read may look at: one moment of the state, and who asks.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// State to read.
    pub(super) view: &'a Version,
    /// Connection that asks, as the watch table names it.
    pub(super) slot: u32,
    /// Its session.
    pub(super) session: SessionId,
    /// Its identities when the request was received.
    pub(super) identities: &'a [AuthId],
    /// Access lists are not consulted.
    pub(super) skip_acl: bool,
}

impl Reading<'_> {
    /// Appends the reply to a request, preceded by the events that setWatches makes up for.
    /// Returns how many events those were.
    pub(super) fn answer(
        &self,
        xid: Xid,
        opcode: i32,
        body: &[u8],
        watches: &mut WatchTable,
        out: &mut Vec<u8>,
    ) -> u64 {
        let zxid = self.view.zxid();
        let mut events = 0;
        let done = match Request::decode(opcode, body) {
            Ok(request) => self.perform(&request, xid, watches, &mut events, out),
            Err(refusal) => Err(refusal.code()),
        };
        if let Err(code) = done {
            reply::error(out, xid, zxid, code);
        }
        events
    }

    #[inline]
    fn perform(
        &self,
        request: &Request<'_>,
        xid: Xid,
        watches: &mut WatchTable,
        events: &mut u64,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let zxid = self.view.zxid();
        let who = Credentials { identities: self.identities, skip_acl: self.skip_acl };
        match *request {
            Request::GetData { path, watch } => {
                let (data, stat) = read::data(self.view, path, who)?;
                reply::data_stat(out, xid, zxid, data, &stat);
                if watch {
                    watches.add(self.slot, path, Modes::DATA);
                }
            }
            Request::Exists { path, watch } => {
                let found = read::exists(self.view, path, who);
                // Here alone the watch outlives the error: it waits for the znode.
                if watch && matches!(found, Ok(_) | Err(ErrorCode::NoNode)) {
                    watches.add(self.slot, path, Modes::DATA);
                }
                reply::stat(out, xid, zxid, &found?);
            }
            Request::GetChildren { path, watch } => {
                let (names, _) = read::children(self.view, path, who)?;
                reply::children(out, xid, zxid, names);
                if watch {
                    watches.add(self.slot, path, Modes::CHILD);
                }
            }
            Request::GetChildren2 { path, watch } => {
                let (names, stat) = read::children(self.view, path, who)?;
                reply::children_stat(out, xid, zxid, names, &stat);
                if watch {
                    watches.add(self.slot, path, Modes::CHILD);
                }
            }
            Request::GetAcl { path } => {
                let (list, stat) = read::acl(self.view, path, who)?;
                reply::acl_stat(out, xid, zxid, &list, &stat);
            }
            Request::MultiRead(ref parts) => {
                let mut multi = MultiReply::begin(out, xid, zxid);
                for &part in parts {
                    self.part(part, who, &mut multi);
                }
                multi.end();
            }
            Request::GetEphemerals { prefix } => {
                let paths = read::ephemerals(self.view, self.session, prefix);
                reply::children(out, xid, zxid, paths);
            }
            Request::GetAllChildrenNumber { path } => {
                let count = read::all_children_number(self.view, path, who)?;
                reply::count(out, xid, zxid, count);
            }
            Request::SetWatches(ref lists) | Request::SetWatches2(ref lists) => {
                *events = self.set_watches(lists, watches, out);
                reply::done(out, xid, zxid);
            }
            Request::AddWatch { path, mode } => {
                watches.add(self.slot, path, Modes::added(mode));
                reply::watch_added(out, xid, zxid);
            }
            Request::CheckWatches { path, kind } => {
                if !watches.contains(self.slot, path, Modes::of(kind)) {
                    return Err(ErrorCode::NoWatcher);
                }
                reply::done(out, xid, zxid);
            }
            Request::RemoveWatches { path, kind } => {
                if !watches.remove(self.slot, path, Modes::of(kind)) {
                    return Err(ErrorCode::NoWatcher);
                }
                reply::done(out, xid, zxid);
            }
            Request::WhoAmI => {
                let names = self.identities.iter().map(|id| (&id.scheme[..], auth::user(id)));
                reply::who_am_i(out, xid, zxid, names);
            }
            Request::Sync { .. }
            | Request::Auth { .. }
            | Request::Sasl { .. }
            | Request::Ping
            | Request::CloseSession => unreachable!("only reads come here"),
        }
        Ok(())
    }

    /// One read of a multiRead; its failure leaves the others alone.
    fn part(&self, part: ReadPart<'_>, who: Credentials<'_>, multi: &mut MultiReply<'_>) {
        let done = match part {
            ReadPart::Data(path) => {
                read::data(self.view, path, who).map(|(data, stat)| multi.data(data, &stat))
            }
            ReadPart::Children(path) => {
                read::children(self.view, path, who).map(|(names, _)| multi.children(names))
            }
        };
        if let Err(code) = done {
            multi.failed(code.code());
        }
    }

    /// Restores watches, or sends the events that they missed, without asking access lists
    /// (`client-protocol` 6.5). Returns the number of events.
    fn set_watches(
        &self,
        lists: &SetWatches<'_>,
        watches: &mut WatchTable,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut events = 0;
        let one_shot = [
            (lists.data, Rewatch::Data, Modes::DATA),
            (lists.exist, Rewatch::Exist, Modes::DATA),
            (lists.child, Rewatch::Child, Modes::CHILD),
        ];
        for (paths, list, modes) in one_shot {
            for path in paths.iter() {
                match read::catch_up(self.view, path, list, lists.relative_zxid) {
                    CatchUp::Register => watches.add(self.slot, path, modes),
                    CatchUp::Fire(kind) => {
                        reply::event(out, Zxid(-1), kind, path);
                        events += 1;
                    }
                }
            }
        }
        let lasting =
            [(lists.persistent, Modes::PERSISTENT), (lists.persistent_recursive, Modes::RECURSIVE)];
        for (paths, modes) in lasting {
            for path in paths.iter() {
                watches.add(self.slot, path, modes);
            }
        }
        events
    }
}
