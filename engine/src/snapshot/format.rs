//! Bytes of a snapshot file: prologue, page headers, archives.

use rkyv::api::high::HighSerializer;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Archive, Serialize};

/// Bytes of the prologue and of a page's header; pages start at multiples of it.
pub const HEADER_BYTES: usize = 16;
/// Version of the file's frame: prologue and page headers.
pub const FILE_VERSION: u16 = 1;
/// Version of every page kind so far.
pub const PAGE_VERSION: u16 = 1;
/// Records in a page.
pub const PAGE_RECORDS_MAX: usize = 1024;
/// A page of records is closed once it has so many bytes; a longer record has a page of its own.
pub const PAGE_BYTES: usize = 256 << 10;

const MAGIC: [u8; 8] = *b"RKSNAPSH";

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u16)]
pub enum Kind {
    /// [`Start`], once, first.
    Start = 1,
    /// [`Pieces`]: records of znodes, in the order of the tree.
    Records = 2,
    /// [`Pieces`]: the tree's pages of child names, in its order.
    Names = 3,
    /// [`Sessions`], in ascending order.
    Sessions = 4,
    /// [`AccessLists`], in ascending order.
    AccessLists = 5,
    /// [`End`], once, last.
    End = 6,
}

impl Kind {
    fn from_code(code: u16) -> Option<Kind> {
        match code {
            1 => Some(Kind::Start),
            2 => Some(Kind::Records),
            3 => Some(Kind::Names),
            4 => Some(Kind::Sessions),
            5 => Some(Kind::AccessLists),
            6 => Some(Kind::End),
            _ => None,
        }
    }
}

/// What a reader must know beforehand.
#[derive(Archive, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[rkyv(derive(Debug))]
pub struct Start {
    /// The snapshot's zxid.
    pub zxid: i64,
    /// Seed of the path hash in whose order the records are; 0 if not recorded.
    pub hash_seed: u64,
    /// Znodes, the root included.
    pub znodes: u64,
}

/// Byte strings back to back.
#[derive(Archive, Serialize, Clone, PartialEq, Eq, Debug, Default)]
#[rkyv(derive(Debug))]
pub struct Pieces {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    pub ends: Vec<u32>,
}

/// Live sessions.
#[derive(Archive, Serialize, Clone, PartialEq, Eq, Debug, Default)]
#[rkyv(derive(Debug))]
pub struct Sessions {
    /// Session ids.
    pub ids: Vec<i64>,
    /// Their timeouts, ms.
    pub timeouts_ms: Vec<i32>,
}

/// Access lists in use.
#[derive(Archive, Serialize, Clone, PartialEq, Eq, Debug, Default)]
#[rkyv(derive(Debug))]
pub struct AccessLists {
    /// References that records carry.
    pub references: Vec<u32>,
    /// The encoded lists back to back.
    pub bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    pub ends: Vec<u32>,
}

/// What the whole file adds up to.
#[derive(Archive, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[rkyv(derive(Debug))]
pub struct End {
    /// The snapshot's zxid, once more.
    pub zxid: i64,
    /// State digest after that transaction.
    pub digest: u64,
    /// Records in the file.
    pub records: u64,
    /// Pages of child names in the file (pieces, not file pages).
    pub names: u64,
    /// Sessions in the file.
    pub sessions: u64,
    /// Access lists in the file.
    pub access_lists: u64,
    /// File pages before this one.
    pub pages: u32,
    /// CRC-32 over the checksums of all pages before this one, four bytes each. As every page's
    /// checksum covers its kind, number, length and body, this covers the whole file.
    pub checksum: u32,
}

/// The header of a page, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageHeader {
    /// Bytes of the archive, without padding.
    pub length: u32,
    /// CRC-32 of the header without this field, and of the archive.
    pub checksum: u32,
    /// Layout of the archive.
    pub version: u16,
    /// Number of the kind.
    pub kind: u16,
    /// Position of the page in the file, from 0.
    pub number: u32,
}

impl PageHeader {
    /// Reads the header at the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<PageHeader> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        Some(PageHeader {
            length: u32_at(0),
            checksum: u32_at(4),
            version: u16_at(8),
            kind: u16_at(10),
            number: u32_at(12),
        })
    }

    /// The kind, if this program knows it in this version.
    pub fn known(&self) -> Option<Kind> {
        Kind::from_code(self.kind).filter(|_| self.version == PAGE_VERSION)
    }

    /// Bytes from this page's start to the next one's.
    pub fn stride(&self) -> usize {
        HEADER_BYTES + (self.length as usize).next_multiple_of(HEADER_BYTES)
    }
}

/// The file's first bytes.
pub fn prologue() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&FILE_VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Version in an intact prologue; `None` if it is damaged or something else.
pub fn prologue_version(bytes: &[u8]) -> Option<u16> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let sound = bytes[..8] == MAGIC && bytes[12..] == crc32fast::hash(&bytes[..12]).to_le_bytes();
    sound.then(|| u16::from_le_bytes([bytes[8], bytes[9]]))
}

/// The checksum of the page at the front of `bytes`, of which `length` bytes are archive.
pub fn page_checksum(bytes: &[u8], length: usize) -> Option<u32> {
    let page = bytes.get(..HEADER_BYTES.checked_add(length)?)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&page[..4]);
    crc.update(&page[8..]);
    Some(crc.finalize())
}

/// Appends a page to `out`, which must end at a multiple of [`HEADER_BYTES`]. Returns the page's
/// checksum.
pub(super) fn append_page<T>(kind: Kind, number: u32, archive: &T, out: &mut Vec<u8>) -> u32
where
    T: for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Error>>,
{
    let start = out.len();
    assert!(start.is_multiple_of(HEADER_BYTES), "pages are aligned");
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let bytes = std::mem::take(out);
    *out = rkyv::api::high::to_bytes_in::<_, Error>(archive, bytes)
        .expect("vectors of numbers always have an archive");
    let length = out.len() - start - HEADER_BYTES;
    let page = &mut out[start..];
    let length_field = u32::try_from(length).expect("a page is far below 4 GiB");
    page[..4].copy_from_slice(&length_field.to_le_bytes());
    page[8..10].copy_from_slice(&PAGE_VERSION.to_le_bytes());
    page[10..12].copy_from_slice(&(kind as u16).to_le_bytes());
    page[12..16].copy_from_slice(&number.to_le_bytes());
    let crc = page_checksum(page, length).expect("the page is all there");
    page[4..8].copy_from_slice(&crc.to_le_bytes());
    out.resize(out.len().next_multiple_of(HEADER_BYTES), 0);
    crc
}
