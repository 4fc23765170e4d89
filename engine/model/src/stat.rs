//! The 68 bytes that describe a znode to clients.

use crate::jute::{DecodeError, Reader, Writer};
use crate::zxid::Zxid;

/// A znode's public facts, in wire order (`client-protocol` 2.1 and 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Zxid of the create.
    pub czxid: Zxid,
    /// Zxid of the create or the last setData.
    pub mzxid: Zxid,
    /// Wall-clock ms of the create.
    pub ctime: i64,
    /// Wall-clock ms of the create or the last setData.
    pub mtime: i64,
    /// Count of setData.
    pub version: i32,
    /// Count of child creates and deletes, as clients see it.
    pub cversion: i32,
    /// Count of setACL.
    pub aversion: i32,
    /// Owning session of an ephemeral; zero for every other kind.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// Zxid of the last create or delete of a direct child; at first the node's own create.
    pub pzxid: Zxid,
}

impl Stat {
    /// Encoded size in bytes.
    pub const LEN: usize = 68;

    /// Appends the 68 bytes.
    #[inline]
    pub fn encode(&self, out: &mut Writer<'_>) {
        let to = out.room::<{ Stat::LEN }>();
        to[0..8].copy_from_slice(&self.czxid.0.to_be_bytes());
        to[8..16].copy_from_slice(&self.mzxid.0.to_be_bytes());
        to[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        to[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        to[32..36].copy_from_slice(&self.version.to_be_bytes());
        to[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        to[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        to[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        to[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        to[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        to[60..68].copy_from_slice(&self.pzxid.0.to_be_bytes());
    }

    /// Reads the 68 bytes.
    pub fn decode(from: &mut Reader<'_>) -> Result<Stat, DecodeError> {
        Ok(Stat {
            czxid: Zxid(from.long()?),
            mzxid: Zxid(from.long()?),
            ctime: from.long()?,
            mtime: from.long()?,
            version: from.int()?,
            cversion: from.int()?,
            aversion: from.int()?,
            ephemeral_owner: from.long()?,
            data_length: from.int()?,
            num_children: from.int()?,
            pzxid: Zxid(from.long()?),
        })
    }
}
