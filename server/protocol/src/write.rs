//! Requests that change the tree (`client-protocol` 2.2, 2.3, 2.6).

use model::acl;
use model::jute::{DecodeError, Reader, Writer};
use model::op::Create;
use model::{CreateMode, Op, OpCode, Xid};

use crate::frame;
use crate::request::{MultiHeader, Refusal};

/// Reads the body of a write, or of closeSession. Bytes after the record are ignored.
///
/// What a create makes is decided by opcode and flags together, differently inside a multi
/// (`client-protocol` 2.3); the result's [`Create::opcode`] already says how it is recorded and
/// answered. Range of a TTL, paths and access lists are not judged.
///
/// A null path of setData, setACL or check becomes the empty path: both are -8 there, while a
/// null path of create and delete is -5 (`client-protocol` 2.2, 4.6).
pub fn decode_write(opcode: i32, body: &[u8]) -> Result<Op<'_>, Refusal> {
    let known = OpCode::from_code(opcode).ok_or(Refusal::NotAnOperation(opcode))?;
    let mut from = Reader::new(body);
    let from = &mut from;
    Ok(match known {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            let record = CreateRecord::decode(known, from)?;
            let bad = Refusal::BadFlags { opcode, flags: record.flags };
            Op::Create(record.alone(known).ok_or(bad)?)
        }
        OpCode::Delete | OpCode::SetData => plain(known, from)?,
        OpCode::SetAcl => Op::SetAcl {
            path: from.buffer()?.unwrap_or_default(),
            acl: acl::take_list(from)?,
            version: from.int()?,
        },
        OpCode::Multi => Op::Multi(decode_multi(from)?),
        OpCode::Reconfig => Op::Reconfig {
            joining: from.buffer()?,
            leaving: from.buffer()?,
            members: from.buffer()?,
            config_id: from.long()?,
        },
        OpCode::CloseSession => Op::CloseSession,
        OpCode::CreateSession
        | OpCode::Error
        | OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::GetChildren2
        | OpCode::Check
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::DeleteContainer
        | OpCode::MultiRead
        | OpCode::Auth
        | OpCode::SetWatches
        | OpCode::Sasl
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => return Err(Refusal::NotAnOperation(opcode)),
    })
}

/// The writes that read the same inside and outside a multi.
fn plain<'a>(opcode: OpCode, from: &mut Reader<'a>) -> Result<Op<'a>, DecodeError> {
    Ok(match opcode {
        OpCode::Delete => Op::Delete { path: from.required()?, version: from.int()? },
        OpCode::SetData => Op::SetData {
            path: from.buffer()?.unwrap_or_default(),
            data: from.buffer()?,
            version: from.int()?,
        },
        OpCode::Check => {
            Op::Check { path: from.buffer()?.unwrap_or_default(), version: from.int()? }
        }
        other => return Err(DecodeError::UnknownTag(other.code())),
    })
}

fn decode_multi<'a>(from: &mut Reader<'a>) -> Result<Vec<Op<'a>>, DecodeError> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::decode(from)?;
        if header.done {
            return Ok(ops);
        }
        let unknown = DecodeError::UnknownTag(header.kind);
        let opcode = OpCode::from_code(header.kind).ok_or(unknown)?;
        ops.push(match opcode {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                let record = CreateRecord::decode(opcode, from)?;
                let flags = DecodeError::UnknownTag(record.flags);
                Op::Create(record.in_multi(opcode).ok_or(flags)?)
            }
            other => plain(other, from)?,
        });
    }
}

/// A create as it stands in the request.
struct CreateRecord<'a> {
    path: &'a [u8],
    data: Option<&'a [u8]>,
    acl: Option<&'a [u8]>,
    flags: i32,
    ttl_ms: i64,
}

impl<'a> CreateRecord<'a> {
    fn decode(opcode: OpCode, from: &mut Reader<'a>) -> Result<CreateRecord<'a>, DecodeError> {
        Ok(CreateRecord {
            path: from.required()?,
            data: from.buffer()?,
            acl: acl::take_list(from)?,
            flags: from.int()?,
            ttl_ms: if opcode == OpCode::CreateTtl { from.long()? } else { 0 },
        })
    }

    /// As a request of its own; `None` for flags that do not go with the opcode.
    fn alone(self, opcode: OpCode) -> Option<Create<'a>> {
        let sequential = matches!(self.flags, 2 | 3 | 6);
        let mode = match (opcode, self.flags) {
            (OpCode::CreateTtl, 5 | 6) => CreateMode::Ttl(self.ttl_ms),
            (OpCode::CreateTtl, _) => return None,
            (OpCode::CreateContainer, 0..=4) => CreateMode::Container,
            // Container-ness comes from the opcode alone: flags 4 are an ordinary znode here.
            (OpCode::Create | OpCode::Create2, 0 | 2 | 4) => CreateMode::Persistent,
            (OpCode::Create | OpCode::Create2, 1 | 3) => CreateMode::Ephemeral,
            _ => return None,
        };
        Some(self.with(opcode, mode, sequential))
    }

    /// As a part of a multi, where the flags may change the opcode.
    fn in_multi(self, opcode: OpCode) -> Option<Create<'a>> {
        let sequential = matches!(self.flags, 2 | 3 | 6);
        let (opcode, mode) = match (opcode, self.flags) {
            (OpCode::CreateTtl, 5 | 6) => (OpCode::CreateTtl, CreateMode::Ttl(self.ttl_ms)),
            (OpCode::CreateContainer, 0..=4) | (_, 4) => {
                (OpCode::CreateContainer, CreateMode::Container)
            }
            (OpCode::CreateTtl, 1 | 3) => (OpCode::Create, CreateMode::Ephemeral),
            // The time to live is ignored, and flags that do not exist count as none.
            (OpCode::CreateTtl, _) => (OpCode::Create, CreateMode::Persistent),
            (OpCode::Create | OpCode::Create2, 0 | 2) => (opcode, CreateMode::Persistent),
            (OpCode::Create | OpCode::Create2, 1 | 3) => (opcode, CreateMode::Ephemeral),
            _ => return None,
        };
        Some(self.with(opcode, mode, sequential))
    }

    fn with(self, opcode: OpCode, mode: CreateMode, sequential: bool) -> Create<'a> {
        Create { opcode, path: self.path, data: self.data, acl: self.acl, mode, sequential }
    }
}

/// The number an operation travels under; `None` for [`Op::Refused`], which never travels.
pub fn opcode_of(op: &Op<'_>) -> Option<OpCode> {
    match op {
        Op::CreateSession { .. } => Some(OpCode::CreateSession),
        Op::CloseSession => Some(OpCode::CloseSession),
        Op::Create(create) => Some(create.opcode),
        Op::Delete { .. } => Some(OpCode::Delete),
        Op::DeleteContainer { .. } => Some(OpCode::DeleteContainer),
        Op::SetData { .. } => Some(OpCode::SetData),
        Op::SetAcl { .. } => Some(OpCode::SetAcl),
        Op::Check { .. } => Some(OpCode::Check),
        Op::Multi(_) => Some(OpCode::Multi),
        Op::Reconfig { .. } => Some(OpCode::Reconfig),
        Op::Refused(_) => None,
    }
}

/// Appends a whole request frame. Operations that servers refuse from clients are written all the
/// same, so that tests can send them; [`Op::Refused`] has no bytes and must not be given.
pub fn encode_write(xid: Xid, op: &Op<'_>, out: &mut Vec<u8>) {
    let at = frame::begin(out);
    let mut to = Writer::new(out);
    to.int(xid.0);
    to.int(opcode_of(op).expect("a refused operation is never sent").code());
    encode_body(op, &mut to);
    frame::end(out, at);
}

fn encode_body(op: &Op<'_>, to: &mut Writer<'_>) {
    match op {
        Op::CreateSession { timeout_ms } => to.int(*timeout_ms),
        Op::CloseSession | Op::Refused(_) => {}
        Op::Create(create) => {
            to.bytes(create.path);
            to.buffer(create.data);
            encode_acl(create.acl, to);
            to.int(flags(create));
            if create.opcode == OpCode::CreateTtl {
                to.long(match create.mode {
                    CreateMode::Ttl(ttl_ms) => ttl_ms,
                    CreateMode::Persistent | CreateMode::Ephemeral | CreateMode::Container => 0,
                });
            }
        }
        Op::Delete { path, version } | Op::Check { path, version } => {
            to.bytes(path);
            to.int(*version);
        }
        Op::DeleteContainer { path } => to.bytes(path),
        Op::SetData { path, data, version } => {
            to.bytes(path);
            to.buffer(*data);
            to.int(*version);
        }
        Op::SetAcl { path, acl, version } => {
            to.bytes(path);
            encode_acl(*acl, to);
            to.int(*version);
        }
        Op::Multi(ops) => {
            for op in ops {
                let opcode = opcode_of(op).expect("a refused operation is never sent");
                MultiHeader::request(opcode).encode(to);
                encode_body(op, to);
            }
            MultiHeader::END.encode(to);
        }
        Op::Reconfig { joining, leaving, members, config_id } => {
            to.buffer(*joining);
            to.buffer(*leaving);
            to.buffer(*members);
            to.long(*config_id);
        }
    }
}

/// A list is its own bytes; null is a null vector.
fn encode_acl(list: Option<&[u8]>, to: &mut Writer<'_>) {
    match list {
        Some(list) => to.raw(list),
        None => to.int(-1),
    }
}

fn flags(create: &Create<'_>) -> i32 {
    match (create.mode, create.sequential) {
        (CreateMode::Persistent, false) => 0,
        (CreateMode::Ephemeral, false) => 1,
        // With opcode 19 every flag up to 4 means a container; 2 adds the suffix.
        (CreateMode::Persistent | CreateMode::Container, true) => 2,
        (CreateMode::Ephemeral, true) => 3,
        (CreateMode::Container, false) => 4,
        (CreateMode::Ttl(_), false) => 5,
        (CreateMode::Ttl(_), true) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ErrorCode, Perms};

    fn body(opcode: i32, flags: i32, ttl_ms: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = Writer::new(&mut bytes);
        to.bytes(b"/a");
        to.buffer(None);
        to.raw(&acl::world(Perms::ALL));
        to.int(flags);
        if opcode == 21 {
            to.long(ttl_ms);
        }
        bytes
    }

    fn in_multi(opcode: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = Writer::new(&mut bytes);
        MultiHeader { kind: opcode, done: false, err: -1 }.encode(&mut to);
        to.raw(body);
        MultiHeader::END.encode(&mut to);
        bytes
    }

    /// Opcode and kind of what a create makes, `+` for a sequence suffix, or the error's number.
    fn outcome(op: Result<Op<'_>, Refusal>) -> String {
        let create = match op {
            Ok(Op::Create(create)) => create,
            Ok(Op::Multi(mut ops)) => match ops.pop() {
                Some(Op::Create(create)) => create,
                other => panic!("{other:?}"),
            },
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => return refusal.code().code().to_string(),
        };
        let kind = match create.mode {
            CreateMode::Persistent => "p",
            CreateMode::Ephemeral => "e",
            CreateMode::Container => "c",
            CreateMode::Ttl(_) => "t",
        };
        let suffix = if create.sequential { "+" } else { "" };
        format!("{}{kind}{suffix}", create.opcode.code())
    }

    /// The table of `client-protocol` 2.3, row by row; columns are flags -1 to 7.
    #[test]
    fn opcode_and_flags_together_decide() {
        let alone = [
            (1, "-8 1p 1e 1p+ 1e+ 1p -8 -8 -8"),
            (15, "-8 15p 15e 15p+ 15e+ 15p -8 -8 -8"),
            (19, "-8 19c 19c 19c+ 19c+ 19c -8 -8 -8"),
            (21, "-8 -8 -8 -8 -8 -8 21t 21t+ -8"),
        ];
        let multi = [
            (1, "-5 1p 1e 1p+ 1e+ 19c -5 -5 -5"),
            (15, "-5 15p 15e 15p+ 15e+ 19c -5 -5 -5"),
            (19, "-5 19c 19c 19c+ 19c+ 19c -5 -5 -5"),
            (21, "1p 1p 1e 1p+ 1e+ 19c 21t 21t+ 1p"),
        ];
        for ttl_ms in [60_000, 0, -1] {
            for (opcode, expect) in alone {
                let got: Vec<_> = (-1..=7)
                    .map(|flags| outcome(decode_write(opcode, &body(opcode, flags, ttl_ms))))
                    .collect();
                assert_eq!(got.join(" "), expect, "opcode {opcode}, ttl {ttl_ms}");
            }
            for (opcode, expect) in multi {
                let got: Vec<_> = (-1..=7)
                    .map(|flags| in_multi(opcode, &body(opcode, flags, ttl_ms)))
                    .map(|bytes| outcome(decode_write(14, &bytes)))
                    .collect();
                assert_eq!(got.join(" "), expect, "opcode {opcode} in multi, ttl {ttl_ms}");
            }
        }
    }

    #[test]
    fn only_writes_and_checks_go_into_a_multi() {
        for opcode in -20..120 {
            let bytes = in_multi(opcode, &[0; 64]);
            // As any of the allowed records, the zeros end in the wrong place at worst.
            let allowed = matches!(opcode, 1 | 2 | 5 | 13 | 15 | 19 | 21);
            let Err(refusal) = decode_write(14, &bytes) else {
                assert!(allowed, "{opcode}");
                continue;
            };
            assert_eq!(refusal.code(), ErrorCode::MarshallingError, "{opcode}");
            if !allowed {
                assert_eq!(refusal, Refusal::Malformed(DecodeError::UnknownTag(opcode)));
            }
        }
    }

    #[test]
    fn an_empty_multi_is_one_and_a_missing_end_is_not() {
        let mut bytes = Vec::new();
        assert!(matches!(decode_write(14, &bytes), Err(Refusal::Malformed(_))));
        MultiHeader::END.encode(&mut Writer::new(&mut bytes));
        assert_eq!(decode_write(14, &bytes), Ok(Op::Multi(Vec::new())));
    }

    #[test]
    fn null_paths() {
        let null = [0xff; 40];
        for (opcode, code) in [(1, -5), (2, -5), (15, -5), (19, -5), (21, -5)] {
            let refusal = decode_write(opcode, &null).expect_err("null path");
            assert_eq!(refusal.code().code(), code, "{opcode}");
        }
        assert_eq!(decode_write(5, &null), Ok(Op::SetData { path: b"", data: None, version: -1 }));
        assert_eq!(decode_write(7, &null), Ok(Op::SetAcl { path: b"", acl: None, version: -1 }));
    }
}
