//! A znode as one block of bytes: the same in memory, in a snapshot page and in its mapping.
//!
//! ```text
//! flags u16 LE | length of facts u8 | path length | data length | path | facts | data
//! ```
//!
//! Lengths and facts are varints (seven bits a byte, low bits first). The facts are, in this
//! order: czxid, ctime, then those whose flag is set: mzxid, mtime, pzxid, version, cversion,
//! aversion, owner, access list, children and the id of their names. A fact that is absent has
//! the value nearly every znode gives it: mzxid and pzxid equal czxid, mtime equals ctime, the
//! access list is open, the rest is zero. Times and zxids after the first are stored as
//! differences, since they are near it.
//!
//! Decoding never panics and never reads beyond the bytes it is given, whatever they are.
//! [`Record::new`] tells whether bytes are a whole, well formed record.

use model::Zxid;

use super::{AclRef, Meta, Znode};

const NULL: u16 = 1 << 0;
const MZXID: u16 = 1 << 1;
const MTIME: u16 = 1 << 2;
const PZXID: u16 = 1 << 3;
const VERSION: u16 = 1 << 4;
const CVERSION: u16 = 1 << 5;
const AVERSION: u16 = 1 << 6;
const OWNER: u16 = 1 << 7;
const ACL: u16 = 1 << 8;
const CHILDREN: u16 = 1 << 9;
const KNOWN: u16 = (1 << 10) - 1;

/// Bytes before the varints of the lengths.
const FIXED: usize = 3;
/// Longest path and longest data a record can hold, bytes. Far above any request limit.
const MAX_PART: usize = 1 << 30;

/// Why bytes are not a record or not a page of names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes end too early.
    #[error("record is cut short")]
    Short,
    /// A flag that this version does not know.
    #[error("record has unknown flags {0:#x}")]
    Flags(u16),
    /// The facts do not fill the room that is announced for them, or are out of range.
    #[error("record has malformed facts")]
    Facts,
    /// Not an absolute path.
    #[error("record has a malformed path")]
    Path,
    /// There are more bytes than the record announces.
    #[error("record is followed by {0} stray bytes")]
    Stray(usize),
    /// A page of child names whose entries do not fit it or are out of order.
    #[error("page of child names is malformed")]
    Names,
    /// A place outside of the image.
    #[error("record lies outside of its file")]
    Outside,
}

/// Reads varints; past the end everything is zero and `short` is set.
struct Reader<'a> {
    rest: &'a [u8],
    short: bool,
}

impl Reader<'_> {
    /// All at once where it is short enough and does not stand at the very end.
    #[inline]
    fn varint(&mut self) -> u64 {
        let Some(word) = self.rest.first_chunk() else { return self.varint_by_bytes() };
        let word = u64::from_le_bytes(*word);
        if word & 0x80 == 0 {
            self.rest = &self.rest[1..];
            return word & 0x7f;
        }
        // The first byte without the topmost bit is the last one.
        let last = !word & 0x8080_8080_8080_8080;
        if last == 0 {
            return self.varint_by_bytes();
        }
        let len = last.trailing_zeros() as usize / 8 + 1;
        self.rest = &self.rest[len..];
        // Seven of eight bits, moved together in three steps.
        let word = word & (last ^ (last - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
        let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
        let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
        word & 0x0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4
    }

    #[cold]
    fn varint_by_bytes(&mut self) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
        self.short = true;
        0
    }
}

/// Writes varints into a small buffer.
pub(super) struct Facts {
    bytes: [u8; 128],
    len: usize,
}

impl Facts {
    fn new() -> Facts {
        Facts { bytes: [0; 128], len: 0 }
    }

    fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Where the parts of a record lie.
#[derive(Clone, Copy)]
struct Shape {
    flags: u16,
    path: usize,
    facts: usize,
    data: usize,
    end: usize,
}

impl Shape {
    /// Bounds are not checked against `bytes` beyond the lengths themselves.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Shape> {
        let [low, high, facts_len, lengths @ ..] = bytes else { return None };
        let mut lengths = Reader { rest: lengths, short: false };
        let path_len = lengths.varint();
        let data_len = lengths.varint();
        if lengths.short || path_len > MAX_PART as u64 || data_len > MAX_PART as u64 {
            return None;
        }
        let path = bytes.len() - lengths.rest.len();
        let facts = path + path_len as usize;
        let data = facts + usize::from(*facts_len);
        let flags = u16::from_le_bytes([*low, *high]);
        Some(Shape { flags, path, facts, data, end: data + data_len as usize })
    }
}

/// Length of a whole record whose bytes are told by `byte_at`; asks only for bytes inside of it.
#[inline]
pub(super) fn extent(byte_at: impl Fn(usize) -> u8) -> usize {
    let mut at = FIXED;
    let mut varint = || {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = byte_at(at);
            at += 1;
            if shift < 64 {
                value |= usize::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    let (path, data) = (varint(), varint());
    at + path + usize::from(byte_at(2)) + data
}

/// A znode's record, borrowed.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    shape: Shape,
}

impl<'a> Record<'a> {
    /// Checks everything: bytes that pass decode to exactly what was encoded.
    pub fn new(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let shape = Shape::read(bytes).ok_or(RecordError::Short)?;
        if shape.flags & !KNOWN != 0 {
            return Err(RecordError::Flags(shape.flags & !KNOWN));
        }
        if shape.end > bytes.len() {
            return Err(RecordError::Short);
        }
        if shape.end < bytes.len() {
            return Err(RecordError::Stray(bytes.len() - shape.end));
        }
        let path = &bytes[shape.path..shape.facts];
        if path.first() != Some(&b'/') || (path.len() > 1 && path.ends_with(b"/")) {
            return Err(RecordError::Path);
        }
        let facts = &bytes[shape.facts..shape.data];
        let words = 2 + (shape.flags & KNOWN & !NULL).count_ones();
        let words = words + u32::from(shape.flags & CHILDREN != 0);
        // A varint ends in the byte whose top bit is clear.
        let ends = facts.iter().map(|byte| u32::from(byte >> 7 == 0)).sum::<u32>();
        let open = facts.last().is_none_or(|byte| byte >> 7 != 0);
        let null_with_data = shape.flags & NULL != 0 && shape.data != shape.end;
        if ends != words || open || null_with_data {
            return Err(RecordError::Facts);
        }
        Ok(Record { bytes, shape })
    }

    /// A record that is known to be whole, followed by any number of other bytes. Bytes that are
    /// not a record after all give an empty path.
    #[inline]
    pub(super) fn within(bytes: &'a [u8]) -> Record<'a> {
        const NOTHING: Shape = Shape { flags: NULL, path: 0, facts: 0, data: 0, end: 0 };
        match Shape::read(bytes) {
            Some(shape) if shape.end <= bytes.len() => Record { bytes, shape },
            _ => Record { bytes: &[], shape: NOTHING },
        }
    }

    /// The whole path.
    #[inline]
    pub fn path(&self) -> &'a [u8] {
        &self.bytes[self.shape.path..self.shape.facts]
    }

    /// The znode.
    pub fn znode(&self) -> Znode<'a> {
        self.decode().0
    }

    /// The record's own bytes, as [`super::TreeView::records`] gives them.
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[..self.shape.end]
    }

    /// Number of children and the id of their names, if there are any.
    pub(super) fn children(&self) -> Option<(u32, u64)> {
        (self.shape.flags & CHILDREN != 0).then(|| {
            let (znode, names) = self.decode();
            (znode.children, names)
        })
    }

    /// The znode, and the id of its children's names.
    #[inline]
    pub(super) fn decode(&self) -> (Znode<'a>, u64) {
        let shape = &self.shape;
        // The data behind the facts lets the last of them be read as fast as the others.
        let mut facts = Reader { rest: &self.bytes[shape.facts..], short: false };
        let czxid = facts.varint() as i64;
        let ctime = unzigzag(facts.varint());
        let has = |flag| shape.flags & flag != 0;
        let mut meta = Meta {
            czxid: Zxid(czxid),
            mzxid: Zxid(czxid),
            pzxid: Zxid(czxid),
            ctime,
            mtime: ctime,
            acl: AclRef::OPEN,
            ..Meta::default()
        };
        if has(MZXID) {
            meta.mzxid = Zxid(czxid.wrapping_add(unzigzag(facts.varint())));
        }
        if has(MTIME) {
            meta.mtime = ctime.wrapping_add(unzigzag(facts.varint()));
        }
        if has(PZXID) {
            meta.pzxid = Zxid(czxid.wrapping_add(unzigzag(facts.varint())));
        }
        if has(VERSION) {
            meta.version = facts.varint() as i32;
        }
        if has(CVERSION) {
            meta.cversion = facts.varint() as i32;
        }
        if has(AVERSION) {
            meta.aversion = facts.varint() as i32;
        }
        if has(OWNER) {
            meta.owner = facts.varint() as i64;
        }
        if has(ACL) {
            meta.acl = AclRef(facts.varint() as u32);
        }
        let (children, names) =
            if has(CHILDREN) { (facts.varint() as u32, facts.varint()) } else { (0, 0) };
        let data = (!has(NULL)).then(|| &self.bytes[shape.data..shape.end]);
        (Znode { meta, data, children }, names)
    }
}

/// A record to be written: everything but the place.
pub(super) struct Draft<'a> {
    head: [u8; FIXED + 10],
    head_len: usize,
    path: &'a [u8],
    facts: Facts,
    data: &'a [u8],
}

impl<'a> Draft<'a> {
    /// Encodes the facts. `names` counts only when there are children.
    pub(super) fn new(path: &'a [u8], znode: &Znode<'a>, names: u64) -> Draft<'a> {
        let meta = &znode.meta;
        let mut flags = 0;
        let mut facts = Facts::new();
        let czxid = meta.czxid.0;
        facts.push(czxid as u64);
        facts.push(zigzag(meta.ctime));
        let mut put = |flag, differs: bool, value: u64| {
            if differs {
                flags |= flag;
                facts.push(value);
            }
        };
        put(MZXID, meta.mzxid.0 != czxid, zigzag(meta.mzxid.0.wrapping_sub(czxid)));
        put(MTIME, meta.mtime != meta.ctime, zigzag(meta.mtime.wrapping_sub(meta.ctime)));
        put(PZXID, meta.pzxid.0 != czxid, zigzag(meta.pzxid.0.wrapping_sub(czxid)));
        put(VERSION, meta.version != 0, u64::from(meta.version as u32));
        put(CVERSION, meta.cversion != 0, u64::from(meta.cversion as u32));
        put(AVERSION, meta.aversion != 0, u64::from(meta.aversion as u32));
        put(OWNER, meta.owner != 0, meta.owner as u64);
        put(ACL, meta.acl != AclRef::OPEN, u64::from(meta.acl.0));
        put(CHILDREN, znode.children != 0, u64::from(znode.children));
        if znode.children != 0 {
            facts.push(names);
        }
        if znode.data.is_none() {
            flags |= NULL;
        }
        let data = znode.data.unwrap_or_default();
        assert!(path.len() <= MAX_PART && data.len() <= MAX_PART, "a znode is below 1 GiB");
        let mut lengths = Facts::new();
        lengths.push(path.len() as u64);
        lengths.push(data.len() as u64);
        let mut head = [0; FIXED + 10];
        head[..2].copy_from_slice(&flags.to_le_bytes());
        head[2] = facts.len as u8;
        let head_len = FIXED + lengths.len;
        head[FIXED..head_len].copy_from_slice(lengths.as_slice());
        Draft { head, head_len, path, facts, data }
    }

    /// Bytes that the record takes.
    pub(super) fn len(&self) -> usize {
        self.head_len + self.path.len() + self.facts.len + self.data.len()
    }

    /// Writes the record to the front of `out`, which has at least [`Draft::len`] bytes.
    pub(super) fn write(&self, out: &mut [u8]) {
        let mut rest = out;
        for part in [&self.head[..self.head_len], self.path, self.facts.as_slice(), self.data] {
            let (now, later) = rest.split_at_mut(part.len());
            now.copy_from_slice(part);
            rest = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(path: &[u8], znode: &Znode<'_>, names: u64) -> Vec<u8> {
        let draft = Draft::new(path, znode, names);
        let mut bytes = vec![0; draft.len()];
        draft.write(&mut bytes);
        bytes
    }

    fn any_meta() -> impl Strategy<Value = Meta> {
        let zxid = prop_oneof![Just(7), 0..100_i64, any::<i64>()];
        let time = prop_oneof![Just(1_700_000_000_000), any::<i64>()];
        let count = prop_oneof![Just(0), 0..300, any::<i32>()];
        let owner = prop_oneof![Just(0), any::<i64>()];
        let acl = prop_oneof![Just(1), any::<u32>()];
        let zxids = (zxid.clone(), zxid.clone(), zxid);
        (zxids, (time.clone(), time), (count.clone(), count.clone(), count), owner, acl).prop_map(
            |((c, m, p), (ctime, mtime), (version, cversion, aversion), owner, acl)| Meta {
                czxid: Zxid(c),
                mzxid: Zxid(m),
                pzxid: Zxid(p),
                ctime,
                mtime,
                version,
                cversion,
                aversion,
                owner,
                acl: AclRef(acl),
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_says_what_was_put_into_it(
            meta in any_meta(),
            name in "[a-z]{0,300}",
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            children in prop_oneof![Just(0), any::<u32>()],
            names in any::<u64>(),
        ) {
            let path = format!("/{name}");
            let znode = Znode { meta, data: data.as_deref(), children };
            let bytes = encode(path.as_bytes(), &znode, names);
            let record = Record::new(&bytes).expect("encoded records are valid");
            prop_assert_eq!(record.path(), path.as_bytes());
            prop_assert_eq!(record.znode(), znode);
            prop_assert_eq!(record.children(), (children > 0).then_some((children, names)));
            let mut longer = bytes.clone();
            longer.extend([0; 9]);
            prop_assert_eq!(Record::within(&longer).bytes(), &bytes[..]);
            prop_assert_eq!(extent(|at| bytes[at]), bytes.len());
            prop_assert!(Record::new(&longer).is_err());
            prop_assert!(Record::new(&bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn damage_is_never_a_panic(
            meta in any_meta(),
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let znode = Znode { meta, data: Some(b"data"), children: 3 };
            let mut bytes = encode(b"/some/path", &znode, 9);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(record) = Record::new(&bytes) {
                let _ = (record.path(), record.znode(), record.bytes());
            }
            let record = Record::within(&bytes);
            let _ = (record.path(), record.znode(), record.bytes());
        }
    }

    #[test]
    fn a_fresh_znode_costs_few_bytes() {
        let now = 1_700_000_000_000;
        let zxid = Zxid(0x3_0000_1234);
        let meta = Meta {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now,
            mtime: now,
            acl: AclRef::OPEN,
            ..Meta::default()
        };
        let znode = Znode { meta, data: Some(&[7; 100]), children: 0 };
        let path = b"/application/config/node-00000042";
        assert_eq!(encode(path, &znode, 0).len(), path.len() + 100 + 16);
    }
}
