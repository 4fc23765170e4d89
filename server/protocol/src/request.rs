//! Requests that do not change the tree, and what every opcode is (`client-protocol` 2.2).

use model::jute::{DecodeError, Reader, Writer};
use model::{ErrorCode, OpCode, Xid, Zxid};
use thiserror::Error;

use crate::frame;
use crate::names::Names;

/// The front of every request frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Chosen by the client, echoed in the reply.
    pub xid: Xid,
    /// Operation number as sent; [`classify`] tells what it is.
    pub opcode: i32,
}

impl RequestHeader {
    /// Encoded size in bytes.
    pub const LEN: usize = 8;

    /// Splits a payload into header and body. A payload too short for the header closes the
    /// connection (`client-protocol` 1.1).
    #[inline]
    pub fn decode(payload: &[u8]) -> Result<(RequestHeader, &[u8]), DecodeError> {
        let mut from = Reader::new(payload);
        let header = RequestHeader { xid: Xid(from.int()?), opcode: from.int()? };
        Ok((header, from.rest()))
    }
}

/// Which way a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Answered by the shard from its view, in the session's order.
    Read,
    /// Ordered by the core.
    Write,
    /// Ordered like a write, without a transaction.
    Sync,
    /// Ends the session: a write after which the connection closes.
    CloseSession,
    /// Authentication: concerns the connection, not the tree.
    Immediate,
    /// Heartbeat.
    Ping,
    /// Answered with -6 and zxid -1, then the connection closes.
    Unknown,
}

/// What a client may mean by this number. The numbers that are internal (20, -10, -1, 0) or
/// allowed only inside a multi (13) are unknown here (`client-protocol` 2.2, 14).
#[inline]
pub fn classify(opcode: i32) -> Class {
    let Some(opcode) = OpCode::from_code(opcode) else { return Class::Unknown };
    match opcode {
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::MultiRead
        | OpCode::SetWatches
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => Class::Read,
        OpCode::Create
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Multi
        | OpCode::Create2
        | OpCode::Reconfig
        | OpCode::CreateContainer
        | OpCode::CreateTtl => Class::Write,
        OpCode::Sync => Class::Sync,
        OpCode::CloseSession => Class::CloseSession,
        OpCode::Auth | OpCode::Sasl => Class::Immediate,
        OpCode::Ping => Class::Ping,
        OpCode::CreateSession | OpCode::Error | OpCode::Check | OpCode::DeleteContainer => {
            Class::Unknown
        }
    }
}

/// Why a request's bytes are refused, and with which code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// Not the record the opcode calls for.
    #[error("malformed record: {0}")]
    Malformed(#[from] DecodeError),
    /// Flags the protocol does not know, or not with this opcode.
    #[error("create flags {flags} with opcode {opcode}")]
    BadFlags {
        /// Operation number.
        opcode: i32,
        /// As sent.
        flags: i32,
    },
    /// No such operation in this place.
    #[error("operation {0} is not one")]
    NotAnOperation(i32),
}

impl Refusal {
    /// The code of the reply.
    pub fn code(&self) -> ErrorCode {
        match self {
            Refusal::Malformed(_) => ErrorCode::MarshallingError,
            Refusal::BadFlags { .. } => ErrorCode::BadArguments,
            Refusal::NotAnOperation(_) => ErrorCode::Unimplemented,
        }
    }
}

/// How long an added watch lives and what it covers (`client-protocol` 6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum AddWatchMode {
    /// Until removed; data and children of one path.
    Persistent = 0,
    /// Until removed; the whole subtree.
    PersistentRecursive = 1,
}

impl AddWatchMode {
    fn from_code(code: i32) -> Result<AddWatchMode, DecodeError> {
        match code {
            0 => Ok(AddWatchMode::Persistent),
            1 => Ok(AddWatchMode::PersistentRecursive),
            _ => Err(DecodeError::UnknownTag(code)),
        }
    }
}

/// Which watches a check or removal means (`client-protocol` 6.1, 6.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum WatcherType {
    /// The standard child watch.
    Children = 1,
    /// The standard data watch.
    Data = 2,
    /// Every mode in both tables.
    Any = 3,
    /// The persistent watch.
    Persistent = 4,
    /// The recursive watch.
    PersistentRecursive = 5,
}

impl WatcherType {
    fn from_code(code: i32) -> Result<WatcherType, DecodeError> {
        match code {
            1 => Ok(WatcherType::Children),
            2 => Ok(WatcherType::Data),
            3 => Ok(WatcherType::Any),
            4 => Ok(WatcherType::Persistent),
            5 => Ok(WatcherType::PersistentRecursive),
            _ => Err(DecodeError::UnknownTag(code)),
        }
    }
}

/// Watches to restore after a reconnect (`client-protocol` 6.5). The last two lists travel only
/// with opcode 105.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetWatches<'a> {
    /// Last zxid the client saw.
    pub relative_zxid: Zxid,
    /// Paths with a data watch that existed.
    pub data: Names<'a>,
    /// Paths with a data watch that did not exist.
    pub exist: Names<'a>,
    /// Paths with a child watch.
    pub child: Names<'a>,
    /// Paths with a persistent watch.
    pub persistent: Names<'a>,
    /// Paths with a recursive watch.
    pub persistent_recursive: Names<'a>,
}

impl<'a> SetWatches<'a> {
    fn decode(from: &mut Reader<'a>, five: bool) -> Result<SetWatches<'a>, DecodeError> {
        Ok(SetWatches {
            relative_zxid: Zxid(from.long()?),
            data: Names::decode(from)?,
            exist: Names::decode(from)?,
            child: Names::decode(from)?,
            persistent: if five { Names::decode(from)? } else { Names::EMPTY },
            persistent_recursive: if five { Names::decode(from)? } else { Names::EMPTY },
        })
    }

    fn encode(&self, out: &mut Writer<'_>, five: bool) {
        out.long(self.relative_zxid.0);
        self.data.encode(out);
        self.exist.encode(out);
        self.child.encode(out);
        if five {
            self.persistent.encode(out);
            self.persistent_recursive.encode(out);
        }
    }
}

/// One read of a multiRead. The watch flag is ignored (`client-protocol` 2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadPart<'a> {
    /// Names of the children.
    Children(&'a [u8]),
    /// Data and Stat.
    Data(&'a [u8]),
}

/// A request other than a write, borrowed from its frame. Paths are bytes as sent; the empty path
/// is the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// 3.
    Exists {
        /// Which.
        path: &'a [u8],
        /// Leave a data watch.
        watch: bool,
    },
    /// 4.
    GetData {
        /// Which.
        path: &'a [u8],
        /// Leave a data watch.
        watch: bool,
    },
    /// 8.
    GetChildren {
        /// Which.
        path: &'a [u8],
        /// Leave a child watch.
        watch: bool,
    },
    /// 12.
    GetChildren2 {
        /// Which.
        path: &'a [u8],
        /// Leave a child watch.
        watch: bool,
    },
    /// 6.
    GetAcl {
        /// Which.
        path: &'a [u8],
    },
    /// 9. The path is echoed, even if null.
    Sync {
        /// Any.
        path: Option<&'a [u8]>,
    },
    /// 22.
    MultiRead(Vec<ReadPart<'a>>),
    /// 103.
    GetEphemerals {
        /// Plain prefix; null, empty or blank is all.
        prefix: Option<&'a [u8]>,
    },
    /// 104.
    GetAllChildrenNumber {
        /// Which.
        path: &'a [u8],
    },
    /// 101.
    SetWatches(SetWatches<'a>),
    /// 105.
    SetWatches2(SetWatches<'a>),
    /// 106.
    AddWatch {
        /// Where.
        path: &'a [u8],
        /// Kind of watch.
        mode: AddWatchMode,
    },
    /// 17.
    CheckWatches {
        /// Where.
        path: &'a [u8],
        /// Kind of watch.
        kind: WatcherType,
    },
    /// 18.
    RemoveWatches {
        /// Where.
        path: &'a [u8],
        /// Kind of watch.
        kind: WatcherType,
    },
    /// 107.
    WhoAmI,
    /// 100. A malformed one closes the connection instead of being answered with -5.
    Auth {
        /// Sent as 0 and ignored.
        kind: i32,
        /// Scheme.
        scheme: Option<&'a [u8]>,
        /// What the scheme wants to know.
        auth: Option<&'a [u8]>,
    },
    /// 102.
    Sasl {
        /// Opaque.
        token: Option<&'a [u8]>,
    },
    /// 11.
    Ping,
    /// -11.
    CloseSession,
}

impl<'a> Request<'a> {
    /// Reads the body of any opcode that [`classify`] does not call a write; a write is
    /// [`Refusal::NotAnOperation`] here. Bytes after the record are ignored.
    #[inline]
    pub fn decode(opcode: i32, body: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let known = OpCode::from_code(opcode).ok_or(Refusal::NotAnOperation(opcode))?;
        let mut from = Reader::new(body);
        let from = &mut from;
        Ok(match known {
            OpCode::Exists => Request::Exists { path: from.required()?, watch: from.bool()? },
            OpCode::GetData => Request::GetData { path: from.required()?, watch: from.bool()? },
            OpCode::GetChildren => {
                Request::GetChildren { path: from.required()?, watch: from.bool()? }
            }
            OpCode::GetChildren2 => {
                Request::GetChildren2 { path: from.required()?, watch: from.bool()? }
            }
            OpCode::GetAcl => Request::GetAcl { path: from.required()? },
            OpCode::Sync => Request::Sync { path: from.buffer()? },
            OpCode::MultiRead => Request::MultiRead(decode_multi_read(from)?),
            OpCode::GetEphemerals => Request::GetEphemerals { prefix: from.buffer()? },
            OpCode::GetAllChildrenNumber => {
                Request::GetAllChildrenNumber { path: from.required()? }
            }
            OpCode::SetWatches => Request::SetWatches(SetWatches::decode(from, false)?),
            OpCode::SetWatches2 => Request::SetWatches2(SetWatches::decode(from, true)?),
            OpCode::AddWatch => Request::AddWatch {
                path: from.required()?,
                mode: AddWatchMode::from_code(from.int()?)?,
            },
            OpCode::CheckWatches => Request::CheckWatches {
                path: from.required()?,
                kind: WatcherType::from_code(from.int()?)?,
            },
            OpCode::RemoveWatches => Request::RemoveWatches {
                path: from.required()?,
                kind: WatcherType::from_code(from.int()?)?,
            },
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::Auth => {
                Request::Auth { kind: from.int()?, scheme: from.buffer()?, auth: from.buffer()? }
            }
            OpCode::Sasl => Request::Sasl { token: from.buffer()? },
            OpCode::Ping => Request::Ping,
            OpCode::CloseSession => Request::CloseSession,
            OpCode::CreateSession
            | OpCode::Error
            | OpCode::Create
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Check
            | OpCode::Multi
            | OpCode::Create2
            | OpCode::Reconfig
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl => return Err(Refusal::NotAnOperation(opcode)),
        })
    }

    /// The operation's number.
    pub fn opcode(&self) -> OpCode {
        match self {
            Request::Exists { .. } => OpCode::Exists,
            Request::GetData { .. } => OpCode::GetData,
            Request::GetChildren { .. } => OpCode::GetChildren,
            Request::GetChildren2 { .. } => OpCode::GetChildren2,
            Request::GetAcl { .. } => OpCode::GetAcl,
            Request::Sync { .. } => OpCode::Sync,
            Request::MultiRead(_) => OpCode::MultiRead,
            Request::GetEphemerals { .. } => OpCode::GetEphemerals,
            Request::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Request::SetWatches(_) => OpCode::SetWatches,
            Request::SetWatches2(_) => OpCode::SetWatches2,
            Request::AddWatch { .. } => OpCode::AddWatch,
            Request::CheckWatches { .. } => OpCode::CheckWatches,
            Request::RemoveWatches { .. } => OpCode::RemoveWatches,
            Request::WhoAmI => OpCode::WhoAmI,
            Request::Auth { .. } => OpCode::Auth,
            Request::Sasl { .. } => OpCode::Sasl,
            Request::Ping => OpCode::Ping,
            Request::CloseSession => OpCode::CloseSession,
        }
    }

    /// Appends a whole frame.
    pub fn encode(&self, xid: Xid, out: &mut Vec<u8>) {
        let at = frame::begin(out);
        let mut to = Writer::new(out);
        to.int(xid.0);
        to.int(self.opcode().code());
        self.encode_body(&mut to);
        frame::end(out, at);
    }

    fn encode_body(&self, to: &mut Writer<'_>) {
        match self {
            Request::Exists { path, watch }
            | Request::GetData { path, watch }
            | Request::GetChildren { path, watch }
            | Request::GetChildren2 { path, watch } => {
                to.bytes(path);
                to.bool(*watch);
            }
            Request::GetAcl { path } | Request::GetAllChildrenNumber { path } => to.bytes(path),
            Request::Sync { path } => to.buffer(*path),
            Request::MultiRead(parts) => {
                for part in parts {
                    let (opcode, path) = match part {
                        ReadPart::Children(path) => (OpCode::GetChildren, path),
                        ReadPart::Data(path) => (OpCode::GetData, path),
                    };
                    MultiHeader::request(opcode).encode(to);
                    to.bytes(path);
                    to.bool(false);
                }
                MultiHeader::END.encode(to);
            }
            Request::GetEphemerals { prefix } => to.buffer(*prefix),
            Request::SetWatches(lists) => lists.encode(to, false),
            Request::SetWatches2(lists) => lists.encode(to, true),
            Request::AddWatch { path, mode } => {
                to.bytes(path);
                to.int(*mode as i32);
            }
            Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
                to.bytes(path);
                to.int(*kind as i32);
            }
            Request::Auth { kind, scheme, auth } => {
                to.int(*kind);
                to.buffer(*scheme);
                to.buffer(*auth);
            }
            Request::Sasl { token } => to.buffer(*token),
            Request::WhoAmI | Request::Ping | Request::CloseSession => {}
        }
    }
}

fn decode_multi_read<'a>(from: &mut Reader<'a>) -> Result<Vec<ReadPart<'a>>, DecodeError> {
    let mut parts = Vec::new();
    loop {
        let header = MultiHeader::decode(from)?;
        if header.done {
            return Ok(parts);
        }
        let part = match OpCode::from_code(header.kind) {
            Some(OpCode::GetChildren) => ReadPart::Children(from.required()?),
            Some(OpCode::GetData) => ReadPart::Data(from.required()?),
            _ => return Err(DecodeError::UnknownTag(header.kind)),
        };
        from.bool()?;
        parts.push(part);
    }
}

/// What separates the parts of a multi, both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MultiHeader {
    /// Opcode, or -1 for an error result and the end.
    pub(crate) kind: i32,
    /// Nothing follows.
    pub(crate) done: bool,
    /// -1 in requests.
    pub(crate) err: i32,
}

impl MultiHeader {
    pub(crate) const END: MultiHeader = MultiHeader { kind: -1, done: true, err: -1 };

    pub(crate) fn request(opcode: OpCode) -> MultiHeader {
        MultiHeader { kind: opcode.code(), done: false, err: -1 }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<MultiHeader, DecodeError> {
        Ok(MultiHeader { kind: from.int()?, done: from.bool()?, err: from.int()? })
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.int(self.kind);
        out.bool(self.done);
        out.int(self.err);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_and_made_up_numbers_are_unknown() {
        for opcode in [0, -1, -10, 10, 13, 20, 23, 99, 108, i32::MIN, i32::MAX] {
            assert_eq!(classify(opcode), Class::Unknown, "{opcode}");
        }
        let rest = [
            (-11, Class::CloseSession),
            (1, Class::Write),
            (4, Class::Read),
            (9, Class::Sync),
            (11, Class::Ping),
            (14, Class::Write),
            (16, Class::Write),
            (22, Class::Read),
            (100, Class::Immediate),
            (102, Class::Immediate),
            (105, Class::Read),
        ];
        for (opcode, class) in rest {
            assert_eq!(classify(opcode), class, "{opcode}");
        }
    }

    /// Every number is read by exactly one of the two decoders, or by none if it is unknown.
    #[test]
    fn the_class_tells_which_decoder_reads() {
        for opcode in -20..120 {
            let here = Request::decode(opcode, &[]) != Err(Refusal::NotAnOperation(opcode));
            let write = crate::decode_write(opcode, &[]) != Err(Refusal::NotAnOperation(opcode));
            let expect = match classify(opcode) {
                Class::Unknown => (false, false),
                Class::Write => (false, true),
                Class::CloseSession => (true, true),
                Class::Read | Class::Sync | Class::Immediate | Class::Ping => (true, false),
            };
            assert_eq!((here, write), expect, "{opcode}");
        }
    }

    #[test]
    fn null_paths_and_unknown_tags_are_malformed() {
        let null = [0xff, 0xff, 0xff, 0xff, 0];
        for opcode in [3, 4, 8, 12, 6, 104] {
            let refusal = Request::decode(opcode, &null).expect_err("null path");
            assert_eq!(refusal.code(), ErrorCode::MarshallingError, "{opcode}");
        }
        assert_eq!(Request::decode(9, &null), Ok(Request::Sync { path: None }));
        assert_eq!(Request::decode(103, &null), Ok(Request::GetEphemerals { prefix: None }));
        let bad_tag = [0, 0, 0, 1, b'/', 0, 0, 0, 9];
        for opcode in [17, 18, 106] {
            assert_eq!(
                Request::decode(opcode, &bad_tag),
                Err(Refusal::Malformed(DecodeError::UnknownTag(9)))
            );
        }
    }

    #[test]
    fn a_write_inside_a_multi_read_is_malformed() {
        let mut body = Vec::new();
        let mut to = Writer::new(&mut body);
        MultiHeader::request(OpCode::Delete).encode(&mut to);
        to.bytes(b"/a");
        to.int(-1);
        MultiHeader::END.encode(&mut to);
        assert_eq!(Request::decode(22, &body), Err(Refusal::Malformed(DecodeError::UnknownTag(2))));
    }
}
