//! What a server sends after the handshake (`client-protocol` 1.6, 2.2, 2.6, 6.1). Every function
//! appends one whole frame.
//!
//! Strings and vectors are never null: the Go client cannot read those. Only data may be (and the
//! echo of a sync, which returns what it was given).

use model::jute::Writer;
use model::{ErrorCode, EventKind, OpCode, Stat, Xid, Zxid, acl};

use crate::answer::ReplyHeader;
use crate::frame;
use crate::names;
use crate::request::MultiHeader;

/// The only state a server puts into an event: connected.
pub(crate) const SYNC_CONNECTED: i32 = 3;

/// A frame whose body is still being written.
#[must_use = "a frame has no length until it is ended"]
struct Open<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> Open<'a> {
    /// Length (to be patched) and header in one piece.
    #[inline]
    fn new(out: &'a mut Vec<u8>, xid: Xid, zxid: Zxid, err: i32) -> Open<'a> {
        let at = out.len();
        // In place: an array filled by halves and copied whole stalls the processor.
        let mut to = Writer::new(out);
        let head = to.room::<{ frame::PREFIX + ReplyHeader::LEN }>();
        head[4..8].copy_from_slice(&xid.0.to_be_bytes());
        head[8..16].copy_from_slice(&zxid.0.to_be_bytes());
        head[16..20].copy_from_slice(&err.to_be_bytes());
        Open { out, at }
    }

    #[inline]
    fn body(&mut self) -> Writer<'_> {
        Writer::new(self.out)
    }

    #[inline]
    fn end(self) {
        frame::end(self.out, self.at);
    }
}

/// Success without a body: delete, check and remove watches, set watches, auth, closeSession.
pub fn done(out: &mut Vec<u8>, xid: Xid, zxid: Zxid) {
    Open::new(out, xid, zxid, 0).end();
}

/// Failure: a header alone.
pub fn error(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: ErrorCode) {
    Open::new(out, xid, zxid, code.code()).end();
}

/// Unknown operation: -6 and zxid -1; the connection closes after it.
pub fn unknown_operation(out: &mut Vec<u8>, xid: Xid) {
    error(out, xid, Zxid(-1), ErrorCode::Unimplemented);
}

/// Ping; the xid is -2 whatever the client sent.
pub fn ping(out: &mut Vec<u8>, zxid: Zxid) {
    done(out, Xid::PING, zxid);
}

/// exists, setData, setACL.
pub fn stat(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, stat: &Stat) {
    let mut open = Open::new(out, xid, zxid, 0);
    stat.encode(&mut open.body());
    open.end();
}

/// create by opcode 1.
pub fn path(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, path: &[u8]) {
    let mut open = Open::new(out, xid, zxid, 0);
    open.body().bytes(path);
    open.end();
}

/// sync: the path as it was sent, null too.
pub fn sync(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, path: Option<&[u8]>) {
    let mut open = Open::new(out, xid, zxid, 0);
    open.body().buffer(path);
    open.end();
}

/// create by opcodes 15, 19 and 21.
pub fn path_stat(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, path: &[u8], stat: &Stat) {
    let mut open = Open::new(out, xid, zxid, 0);
    open.body().bytes(path);
    stat.encode(&mut open.body());
    open.end();
}

/// getData and reconfig; null data stays null.
pub fn data_stat(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, data: Option<&[u8]>, stat: &Stat) {
    out.reserve(frame::PREFIX + ReplyHeader::LEN + 4 + data.map_or(0, <[u8]>::len) + Stat::LEN);
    let mut open = Open::new(out, xid, zxid, 0);
    open.body().buffer(data);
    stat.encode(&mut open.body());
    open.end();
}

/// getChildren, and getEphemerals with whole paths.
pub fn children<'c>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    children: impl IntoIterator<Item = &'c [u8]>,
) {
    let open = Open::new(out, xid, zxid, 0);
    names::append(open.out, children);
    open.end();
}

/// getChildren2.
pub fn children_stat<'c>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    children: impl IntoIterator<Item = &'c [u8]>,
    stat: &Stat,
) {
    let mut open = Open::new(out, xid, zxid, 0);
    names::append(open.out, children);
    stat.encode(&mut open.body());
    open.end();
}

/// getACL; `list` is an encoded list, already redacted. Null text in it is sent as empty text.
pub fn acl_stat(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, list: &[u8], stat: &Stat) {
    let mut open = Open::new(out, xid, zxid, 0);
    let mut to = open.body();
    let count_at = to.position();
    to.count(0);
    let mut count = 0;
    for entry in acl::entries(list) {
        to.int(entry.perms.0);
        to.bytes(entry.scheme.unwrap_or_default());
        to.bytes(entry.id.unwrap_or_default());
        count += 1;
    }
    to.patch_int(count_at, count);
    stat.encode(&mut to);
    open.end();
}

/// getAllChildrenNumber.
pub fn count(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, count: i32) {
    let mut open = Open::new(out, xid, zxid, 0);
    open.body().int(count);
    open.end();
}

/// addWatch, whose body is one more zero.
pub fn watch_added(out: &mut Vec<u8>, xid: Xid, zxid: Zxid) {
    count(out, xid, zxid, 0);
}

/// whoAmI: scheme and user of every identity.
pub fn who_am_i<'c>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    identities: impl IntoIterator<Item = (&'c [u8], &'c [u8])>,
) {
    let mut open = Open::new(out, xid, zxid, 0);
    let mut to = open.body();
    let count_at = to.position();
    to.count(0);
    let mut count = 0;
    for (scheme, user) in identities {
        to.bytes(scheme);
        to.bytes(user);
        count += 1;
    }
    to.patch_int(count_at, count);
    open.end();
}

/// One step of a SASL exchange; zxid is 0. Unlike every other failure this one has a body.
pub fn sasl(out: &mut Vec<u8>, xid: Xid, failure: Option<ErrorCode>, token: Option<&[u8]>) {
    let mut open = Open::new(out, xid, Zxid::ZERO, failure.map_or(0, ErrorCode::code));
    open.body().buffer(token);
    open.end();
}

/// A watch notification. `zxid` is the transaction's, or -1 when setWatches produced it.
pub fn event(out: &mut Vec<u8>, zxid: Zxid, kind: EventKind, path: &[u8]) {
    let mut open = Open::new(out, Xid::NOTIFICATION, zxid, 0);
    let mut to = open.body();
    to.int(kind.code());
    to.int(SYNC_CONNECTED);
    to.bytes(path);
    open.end();
}

/// The answer to a multi or multiRead, written result by result. Call [`MultiReply::end`] last.
#[must_use = "the frame is not valid until it is ended"]
pub struct MultiReply<'a> {
    open: Open<'a>,
}

impl<'a> MultiReply<'a> {
    /// Starts the frame. Its header says success even when the results are failures.
    pub fn begin(out: &'a mut Vec<u8>, xid: Xid, zxid: Zxid) -> MultiReply<'a> {
        MultiReply { open: Open::new(out, xid, zxid, 0) }
    }

    fn result(&mut self, opcode: OpCode) -> Writer<'_> {
        let mut to = self.open.body();
        MultiHeader { kind: opcode.code(), done: false, err: 0 }.encode(&mut to);
        to
    }

    /// Result of a create by opcode 1.
    pub fn created(&mut self, path: &[u8]) {
        self.result(OpCode::Create).bytes(path);
    }

    /// Result of a create by opcode 15, 19 or 21: always typed 15.
    pub fn created_stat(&mut self, path: &[u8], stat: &Stat) {
        let mut to = self.result(OpCode::Create2);
        to.bytes(path);
        stat.encode(&mut to);
    }

    /// Result of a delete.
    pub fn deleted(&mut self) {
        self.result(OpCode::Delete);
    }

    /// Result of a setData.
    pub fn data_set(&mut self, stat: &Stat) {
        stat.encode(&mut self.result(OpCode::SetData));
    }

    /// Result of a check.
    pub fn checked(&mut self) {
        self.result(OpCode::Check);
    }

    /// Result of a getChildren of a multiRead.
    pub fn children<'c>(&mut self, children: impl IntoIterator<Item = &'c [u8]>) {
        self.result(OpCode::GetChildren);
        names::append(self.open.out, children);
    }

    /// Result of a getData of a multiRead.
    pub fn data(&mut self, data: Option<&[u8]>, stat: &Stat) {
        let mut to = self.result(OpCode::GetData);
        to.buffer(data);
        stat.encode(&mut to);
    }

    /// A failure, or in a failed multi any result: 0 before the operation that failed, -2 after
    /// it.
    pub fn failed(&mut self, code: i32) {
        let mut to = self.open.body();
        MultiHeader { kind: -1, done: false, err: code }.encode(&mut to);
        to.int(code);
    }

    /// Ends the frame.
    pub fn end(mut self) {
        MultiHeader::END.encode(&mut self.open.body());
        self.open.end();
    }
}
