//! The client's side of [`crate::reply`]: reading what servers send.

use model::jute::{DecodeError, Reader};
use model::{EventKind, OpCode, Stat, Xid, Zxid, acl};

use crate::names::Names;
use crate::reply::SYNC_CONNECTED;
use crate::request::MultiHeader;

/// The front of every server frame but the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// Of the request, or [`Xid::NOTIFICATION`].
    pub xid: Xid,
    /// See `client-protocol` 1.7.
    pub zxid: Zxid,
    /// 0, or the error's number.
    pub err: i32,
}

impl ReplyHeader {
    /// Encoded size in bytes.
    pub const LEN: usize = 16;

    /// Reads the header.
    #[inline]
    pub fn decode(from: &mut Reader<'_>) -> Result<ReplyHeader, DecodeError> {
        Ok(ReplyHeader { xid: Xid(from.int()?), zxid: Zxid(from.long()?), err: from.int()? })
    }
}

/// A watch notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchEvent<'a> {
    /// The transaction's zxid; -1 from setWatches and from servers before 3.9.
    pub zxid: Zxid,
    /// What happened.
    pub kind: EventKind,
    /// Where.
    pub path: &'a [u8],
}

/// A server frame, told apart by its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerFrame<'a> {
    /// A watch fired.
    Event(WatchEvent<'a>),
    /// The answer to a request; [`Answer::decode`] reads the body.
    Reply(ReplyHeader, &'a [u8]),
}

impl<'a> ServerFrame<'a> {
    /// Reads a frame's payload.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<ServerFrame<'a>, DecodeError> {
        let mut from = Reader::new(payload);
        let header = ReplyHeader::decode(&mut from)?;
        if header.xid != Xid::NOTIFICATION {
            return Ok(ServerFrame::Reply(header, from.rest()));
        }
        let kind = event_kind(from.int()?)?;
        let state = from.int()?;
        if state != SYNC_CONNECTED {
            return Err(DecodeError::UnknownTag(state));
        }
        Ok(ServerFrame::Event(WatchEvent { zxid: header.zxid, kind, path: from.required()? }))
    }
}

fn event_kind(code: i32) -> Result<EventKind, DecodeError> {
    let all = [
        EventKind::NodeCreated,
        EventKind::NodeDeleted,
        EventKind::NodeDataChanged,
        EventKind::NodeChildrenChanged,
    ];
    all.into_iter().find(|kind| kind.code() == code).ok_or(DecodeError::UnknownTag(code))
}

/// The body of a successful reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// No body.
    Done,
    /// exists, setData, setACL.
    Stat(Stat),
    /// create.
    Path(&'a [u8]),
    /// sync.
    Echo(Option<&'a [u8]>),
    /// create2, createContainer, createTTL.
    PathStat(&'a [u8], Stat),
    /// getData, reconfig.
    DataStat(Option<&'a [u8]>, Stat),
    /// getChildren, getEphemerals.
    Children(Names<'a>),
    /// getChildren2.
    ChildrenStat(Names<'a>, Stat),
    /// getACL, as an encoded list.
    AclStat(&'a [u8], Stat),
    /// getAllChildrenNumber, addWatch.
    Count(i32),
    /// whoAmI: scheme and user.
    Identities(Vec<(&'a [u8], &'a [u8])>),
    /// sasl.
    Token(Option<&'a [u8]>),
    /// multi, multiRead.
    Multi(Vec<MultiResult<'a>>),
}

/// One result of a multi or multiRead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultiResult<'a> {
    /// create.
    Created(&'a [u8]),
    /// create2, createContainer, createTTL.
    CreatedStat(&'a [u8], Stat),
    /// delete.
    Deleted,
    /// setData.
    DataSet(Stat),
    /// check.
    Checked,
    /// getChildren.
    Children(Names<'a>),
    /// getData.
    Data(Option<&'a [u8]>, Stat),
    /// An error's number; 0 and -2 around the one that failed.
    Failed(i32),
}

impl<'a> Answer<'a> {
    /// Reads the body of a reply whose header says success, to a request with this opcode.
    #[inline]
    pub fn decode(opcode: OpCode, body: &'a [u8]) -> Result<Answer<'a>, DecodeError> {
        let mut from = Reader::new(body);
        let from = &mut from;
        Ok(match opcode {
            OpCode::CloseSession
            | OpCode::CreateSession
            | OpCode::Error
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::Ping
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2 => Answer::Done,
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Answer::Stat(Stat::decode(from)?),
            OpCode::Create => Answer::Path(from.required()?),
            OpCode::Sync => Answer::Echo(from.buffer()?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Answer::PathStat(from.required()?, Stat::decode(from)?)
            }
            OpCode::GetData | OpCode::Reconfig => {
                Answer::DataStat(from.buffer()?, Stat::decode(from)?)
            }
            OpCode::GetChildren | OpCode::GetEphemerals => Answer::Children(Names::decode(from)?),
            OpCode::GetChildren2 => Answer::ChildrenStat(Names::decode(from)?, Stat::decode(from)?),
            OpCode::GetAcl => {
                let list = acl::take_list(from)?.ok_or(DecodeError::UnexpectedNull)?;
                Answer::AclStat(list, Stat::decode(from)?)
            }
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => Answer::Count(from.int()?),
            OpCode::WhoAmI => {
                let count = from.count()?.ok_or(DecodeError::UnexpectedNull)?;
                let mut identities = Vec::new();
                for _ in 0..count {
                    identities.push((from.required()?, from.required()?));
                }
                Answer::Identities(identities)
            }
            OpCode::Sasl => Answer::Token(from.buffer()?),
            OpCode::Multi | OpCode::MultiRead => Answer::Multi(decode_results(from)?),
        })
    }
}

fn decode_results<'a>(from: &mut Reader<'a>) -> Result<Vec<MultiResult<'a>>, DecodeError> {
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::decode(from)?;
        if header.done {
            return Ok(results);
        }
        results.push(match OpCode::from_code(header.kind) {
            Some(OpCode::Create) => MultiResult::Created(from.required()?),
            Some(OpCode::Create2) => {
                MultiResult::CreatedStat(from.required()?, Stat::decode(from)?)
            }
            Some(OpCode::Delete) => MultiResult::Deleted,
            Some(OpCode::SetData) => MultiResult::DataSet(Stat::decode(from)?),
            Some(OpCode::Check) => MultiResult::Checked,
            Some(OpCode::GetChildren) => MultiResult::Children(Names::decode(from)?),
            Some(OpCode::GetData) => MultiResult::Data(from.buffer()?, Stat::decode(from)?),
            Some(OpCode::Error) => MultiResult::Failed(from.int()?),
            _ => return Err(DecodeError::UnknownTag(header.kind)),
        });
    }
}
