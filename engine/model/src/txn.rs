//! Transactions: the bytes of ZooKeeper's log records and proposals (`zab-wire` 3.2).
//!
//! An entry is header, record, and (except for error transactions) the digest of the tree after
//! it. Everything about a write that needed judgement is already decided here.

use std::borrow::Cow;

use crate::acl;
use crate::id::SessionId;
use crate::jute::{DecodeError, Reader, Writer};
use crate::op::OpCode;
use crate::zxid::Zxid;

/// Version number of the digest that ZooKeeper 3.6 and later carry.
pub const DIGEST_VERSION: i32 = 2;

/// Who, what number, when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnHeader {
    /// Session that asked.
    pub session: SessionId,
    /// The request's xid in that session.
    pub cxid: i32,
    /// Position in the order.
    pub zxid: Zxid,
    /// Leader's wall clock, ms.
    pub time_ms: i64,
}

/// State digest after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest(pub u64);

/// A create's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTxn<'a> {
    /// 1, 15, 19 or 21.
    pub opcode: OpCode,
    /// Final path.
    pub path: Cow<'a, [u8]>,
    /// Data, null kept.
    pub data: Option<Cow<'a, [u8]>>,
    /// Encoded access list, resolved.
    pub acl: Cow<'a, [u8]>,
    /// Owned by the header's session; only for opcodes 1 and 15.
    pub ephemeral: bool,
    /// The parent's create counter after this create; -1 in very old logs: derive it.
    pub parent_cversion: i32,
    /// Milliseconds to live; only for opcode 21.
    pub ttl_ms: i64,
}

/// One decided change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// A session begins.
    CreateSession {
        /// Negotiated, ms.
        timeout_ms: i32,
    },
    /// A session ends.
    CloseSession {
        /// Its ephemerals, in the order to delete them; `None` in records of old leaders.
        paths: Option<Vec<Cow<'a, [u8]>>>,
    },
    /// A write that was refused; keeps its place in the order.
    Error {
        /// Protocol error number.
        code: i32,
    },
    /// A znode is made.
    Create(CreateTxn<'a>),
    /// A znode goes.
    Delete {
        /// Which.
        path: Cow<'a, [u8]>,
        /// By the leader's container and TTL cleaning (type 20).
        container: bool,
    },
    /// New data.
    SetData {
        /// Which.
        path: Cow<'a, [u8]>,
        /// Data, null kept.
        data: Option<Cow<'a, [u8]>>,
        /// The version it gets.
        version: i32,
        /// The configuration znode, by reconfiguration (type 16).
        reconfig: bool,
    },
    /// New access list.
    SetAcl {
        /// Which.
        path: Cow<'a, [u8]>,
        /// Encoded list, resolved.
        acl: Cow<'a, [u8]>,
        /// The aversion it gets.
        version: i32,
    },
    /// Inside a multi: no effect.
    Check {
        /// Which.
        path: Cow<'a, [u8]>,
        /// Version + 1 as recorded by the leader.
        version: i32,
    },
    /// Several at once. If any is an error, nothing of it is applied.
    Multi(Vec<Txn<'a>>),
}

impl Txn<'_> {
    /// The type number of the record.
    pub fn type_code(&self) -> i32 {
        match self {
            Txn::CreateSession { .. } => OpCode::CreateSession,
            Txn::CloseSession { .. } => OpCode::CloseSession,
            Txn::Error { .. } => OpCode::Error,
            Txn::Create(create) => create.opcode,
            Txn::Delete { container: false, .. } => OpCode::Delete,
            Txn::Delete { container: true, .. } => OpCode::DeleteContainer,
            Txn::SetData { reconfig: false, .. } => OpCode::SetData,
            Txn::SetData { reconfig: true, .. } => OpCode::Reconfig,
            Txn::SetAcl { .. } => OpCode::SetAcl,
            Txn::Check { .. } => OpCode::Check,
            Txn::Multi(_) => OpCode::Multi,
        }
        .code()
    }

    /// Appends the record without header and digest.
    pub fn encode(&self, out: &mut Writer<'_>) {
        match self {
            Txn::CreateSession { timeout_ms } => out.int(*timeout_ms),
            Txn::CloseSession { paths } => {
                if let Some(paths) = paths {
                    out.count(paths.len());
                    for path in paths {
                        out.bytes(path);
                    }
                }
            }
            Txn::Error { code } => out.int(*code),
            Txn::Create(create) => {
                out.bytes(&create.path);
                out.buffer(create.data.as_deref());
                out.raw(&create.acl);
                if matches!(create.opcode, OpCode::Create | OpCode::Create2) {
                    out.bool(create.ephemeral);
                }
                out.int(create.parent_cversion);
                if create.opcode == OpCode::CreateTtl {
                    out.long(create.ttl_ms);
                }
            }
            Txn::Delete { path, .. } => out.bytes(path),
            Txn::SetData { path, data, version, .. } => {
                out.bytes(path);
                out.buffer(data.as_deref());
                out.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                out.bytes(path);
                out.raw(acl);
                out.int(*version);
            }
            Txn::Check { path, version } => {
                out.bytes(path);
                out.int(*version);
            }
            Txn::Multi(txns) => {
                out.count(txns.len());
                for txn in txns {
                    out.int(txn.type_code());
                    let length_at = out.position();
                    out.int(0);
                    txn.encode(out);
                    let length = out.position() - length_at - 4;
                    out.patch_int(length_at, length as i32);
                }
            }
        }
    }
}

impl<'a> Txn<'a> {
    /// Reads a record of the given type. A close-session record may be absent (`zab-wire` 3.2).
    pub fn decode(type_code: i32, from: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
        Self::decode_record(type_code, from, false)
    }

    fn decode_record(
        type_code: i32,
        from: &mut Reader<'a>,
        in_multi: bool,
    ) -> Result<Txn<'a>, DecodeError> {
        let unknown = DecodeError::UnknownTag(type_code);
        let opcode = OpCode::from_code(type_code).ok_or(unknown)?;
        Ok(match opcode {
            OpCode::CreateSession if !in_multi => Txn::CreateSession { timeout_ms: from.int()? },
            OpCode::CloseSession if !in_multi => {
                Txn::CloseSession { paths: close_session_paths(from) }
            }
            OpCode::Error => Txn::Error { code: from.int()? },
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Txn::Create(CreateTxn::decode(opcode, from)?)
            }
            OpCode::Delete | OpCode::DeleteContainer => Txn::Delete {
                path: Cow::Borrowed(from.required()?),
                container: opcode == OpCode::DeleteContainer,
            },
            OpCode::SetData | OpCode::Reconfig => Txn::SetData {
                path: Cow::Borrowed(from.required()?),
                data: from.buffer()?.map(Cow::Borrowed),
                version: from.int()?,
                reconfig: opcode == OpCode::Reconfig,
            },
            OpCode::SetAcl => Txn::SetAcl {
                path: Cow::Borrowed(from.required()?),
                acl: required_list(from)?,
                version: from.int()?,
            },
            OpCode::Check if in_multi => {
                Txn::Check { path: Cow::Borrowed(from.required()?), version: from.int()? }
            }
            OpCode::Multi if !in_multi => {
                let count = from.count()?.ok_or(DecodeError::UnexpectedNull)?;
                let mut txns = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    let inner_type = from.int()?;
                    let mut record = Reader::new(from.required()?);
                    txns.push(Self::decode_record(inner_type, &mut record, true)?);
                }
                Txn::Multi(txns)
            }
            _ => return Err(unknown),
        })
    }

    /// The same transaction, owning its bytes.
    pub fn into_owned(self) -> Txn<'static> {
        fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(bytes.into_owned())
        }
        match self {
            Txn::CreateSession { timeout_ms } => Txn::CreateSession { timeout_ms },
            Txn::CloseSession { paths } => {
                Txn::CloseSession { paths: paths.map(|all| all.into_iter().map(own).collect()) }
            }
            Txn::Error { code } => Txn::Error { code },
            Txn::Create(create) => Txn::Create(CreateTxn {
                opcode: create.opcode,
                path: own(create.path),
                data: create.data.map(own),
                acl: own(create.acl),
                ephemeral: create.ephemeral,
                parent_cversion: create.parent_cversion,
                ttl_ms: create.ttl_ms,
            }),
            Txn::Delete { path, container } => Txn::Delete { path: own(path), container },
            Txn::SetData { path, data, version, reconfig } => {
                Txn::SetData { path: own(path), data: data.map(own), version, reconfig }
            }
            Txn::SetAcl { path, acl, version } => {
                Txn::SetAcl { path: own(path), acl: own(acl), version }
            }
            Txn::Check { path, version } => Txn::Check { path: own(path), version },
            Txn::Multi(txns) => Txn::Multi(txns.into_iter().map(Txn::into_owned).collect()),
        }
    }
}

impl<'a> CreateTxn<'a> {
    fn decode(opcode: OpCode, from: &mut Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
        let path = Cow::Borrowed(from.required()?);
        let data = from.buffer()?.map(Cow::Borrowed);
        let acl = required_list(from)?;
        let plain = matches!(opcode, OpCode::Create | OpCode::Create2);
        let ephemeral = plain && from.bool()?;
        // Records of the 3.4 line end here: recognised by running out of bytes.
        let old = opcode == OpCode::Create && from.rest().len() < 4;
        let parent_cversion = if old { -1 } else { from.int()? };
        let ttl_ms = if opcode == OpCode::CreateTtl { from.long()? } else { 0 };
        Ok(CreateTxn { opcode, path, data, acl, ephemeral, parent_cversion, ttl_ms })
    }
}

fn required_list<'a>(from: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, DecodeError> {
    Ok(Cow::Borrowed(acl::take_list(from)?.ok_or(DecodeError::UnexpectedNull)?))
}

/// Old leaders write no record: then nothing is left, or exactly a digest is.
fn close_session_paths<'a>(from: &mut Reader<'a>) -> Option<Vec<Cow<'a, [u8]>>> {
    let mut ahead = *from;
    let only_digest = ahead.rest().len() == 12 && ahead.int() == Ok(DIGEST_VERSION);
    if from.is_empty() || only_digest {
        return None;
    }
    let mut ahead = *from;
    let count = ahead.count().ok().flatten()?;
    let mut paths = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        paths.push(Cow::Borrowed(ahead.required().ok()?));
    }
    *from = ahead;
    Some(paths)
}

/// Appends a whole entry: header, record, digest if there is one.
pub fn encode_entry(
    header: &TxnHeader,
    txn: &Txn<'_>,
    digest: Option<TxnDigest>,
    out: &mut Writer<'_>,
) {
    out.long(header.session.0);
    out.int(header.cxid);
    out.long(header.zxid.0);
    out.long(header.time_ms);
    out.int(txn.type_code());
    txn.encode(out);
    if let Some(TxnDigest(digest)) = digest {
        out.int(DIGEST_VERSION);
        out.long(digest as i64);
    }
}

/// Reads a whole entry. A digest of another version is ignored, as ZooKeeper does.
pub fn decode_entry(entry: &[u8]) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>), DecodeError> {
    let mut from = Reader::new(entry);
    let header = TxnHeader {
        session: SessionId(from.long()?),
        cxid: from.int()?,
        zxid: Zxid(from.long()?),
        time_ms: from.long()?,
    };
    let type_code = from.int()?;
    let txn = Txn::decode(type_code, &mut from)?;
    let digest = if from.is_empty() {
        None
    } else {
        let version = from.int()?;
        let digest = from.long()?;
        (version == DIGEST_VERSION).then_some(TxnDigest(digest as u64))
    };
    Ok((header, txn, digest))
}

#[cfg(test)]
mod tests;
