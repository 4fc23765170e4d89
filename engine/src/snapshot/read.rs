//! From a mapped file to a tree that refers to it.
//!
//! Three steps. The *outline* walks from page header to page header and reads the first and the
//! last page: cheap, and enough to know that a file is complete. Then all pages are *checked*, in
//! parallel: checksum, archive, and every record in it. What was checked is *pushed* into the
//! tree in order, as places in the file.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use model::{SessionId, Zxid};
use rkyv::Portable;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;

use super::format::{
    ArchivedAccessLists, ArchivedEnd, ArchivedPieces, ArchivedSessions, ArchivedStart, End,
    FILE_VERSION, HEADER_BYTES, Kind, PAGE_VERSION, PageHeader, page_checksum, prologue_version,
};
use crate::recover::{Image, Parallel};
use crate::restore::{Census, Stored};
use crate::state::Session;
use crate::tree::{AclRef, MappedNames, MappedRecords, Tree, TreeLoader};

/// File pages that are checked as one piece of work (about 4 MiB).
const PAGES_PER_PIECE: usize = 16;
/// Pieces whose results wait at the same time.
const PIECES_PER_WAVE: usize = 32;

/// Why a file is not a usable snapshot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// Incomplete or damaged; another snapshot may serve.
    #[error("{0}")]
    Damaged(String),
    /// Written by a program that knows more than this one.
    #[error("{0}")]
    UnknownFormat(String),
}

/// What the first and last page of a complete file say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// The snapshot's zxid.
    pub zxid: Zxid,
    /// State digest after it.
    pub digest: u64,
    /// Znodes, the root included.
    pub znodes: u64,
    /// Seed of the path hash in whose order the records are; 0 if not recorded.
    pub hash_seed: u64,
    end: End,
    /// Every page before the last.
    pages: Vec<Page>,
}

/// A snapshot, loaded.
pub struct Loaded {
    /// Refers to the image, which stays alive with it.
    pub tree: Tree,
    /// What is beside the tree.
    pub stored: Stored,
    /// Counted while loading.
    pub census: Census,
    /// Znodes, the root included.
    pub znodes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    kind: Kind,
    /// Where its header is.
    start: usize,
    length: usize,
}

impl Page {
    fn body(&self) -> Range<usize> {
        self.start + HEADER_BYTES..self.start + HEADER_BYTES + self.length
    }
}

fn damaged(what: impl Into<String>) -> SnapshotFault {
    SnapshotFault::Damaged(what.into())
}

/// Reads a file's first and last page and finds all others.
pub fn outline(file: &[u8]) -> Result<Outline, SnapshotFault> {
    match prologue_version(file) {
        Some(FILE_VERSION) => {}
        Some(version) => {
            return Err(SnapshotFault::UnknownFormat(format!(
                "snapshot has file version {version}; this program reads version {FILE_VERSION}"
            )));
        }
        None => return Err(damaged("snapshot has no intact prologue")),
    }
    let mut pages: Vec<Page> = Vec::new();
    let mut checksums = crc32fast::Hasher::new();
    let mut at = HEADER_BYTES;
    let end = loop {
        let rest = file.get(at..).unwrap_or_default();
        let header = PageHeader::decode(rest)
            .filter(|header| header.stride() <= rest.len())
            .ok_or_else(|| damaged(format!("snapshot ends early, at byte {at}")))?;
        if header.number as usize != pages.len() {
            return Err(damaged(format!("snapshot page at byte {at} is out of place")));
        }
        let length = header.length as usize;
        let Some(kind) = header.known() else {
            return Err(unknown_page(rest, &header, at));
        };
        let page = Page { kind, start: at, length };
        let after = pages.last().map(|before| before.kind);
        if !may_follow(after, kind) {
            return Err(damaged(format!("snapshot page at byte {at} is out of order")));
        }
        at += header.stride();
        if kind == Kind::End {
            break page;
        }
        checksums.update(&header.checksum.to_le_bytes());
        pages.push(page);
    };
    if at != file.len() {
        return Err(damaged(format!("snapshot goes on after its last page, at byte {at}")));
    }
    let start = with_archive(file, &pages[0], |start: &ArchivedStart| {
        (start.zxid.to_native(), start.hash_seed.to_native(), start.znodes.to_native())
    })?;
    let end = with_archive(file, &end, |end: &ArchivedEnd| End {
        zxid: end.zxid.to_native(),
        digest: end.digest.to_native(),
        records: end.records.to_native(),
        names: end.names.to_native(),
        sessions: end.sessions.to_native(),
        access_lists: end.access_lists.to_native(),
        pages: end.pages.to_native(),
        checksum: end.checksum.to_native(),
    })?;
    let (zxid, hash_seed, znodes) = start;
    let agrees = end.zxid == zxid
        && end.pages as usize == pages.len()
        && end.checksum == checksums.finalize()
        && end.records == znodes;
    if !agrees {
        return Err(damaged("snapshot's last page does not match the others"));
    }
    Ok(Outline { zxid: Zxid(zxid), digest: end.digest, znodes, hash_seed, end, pages })
}

/// A page that is intact but unknown is refused, a damaged one is damage.
fn unknown_page(rest: &[u8], header: &PageHeader, at: usize) -> SnapshotFault {
    if page_checksum(rest, header.length as usize) == Some(header.checksum) {
        SnapshotFault::UnknownFormat(format!(
            "snapshot has at byte {at} a page of version {} and kind {}; this program reads \
             version {PAGE_VERSION}",
            header.version, header.kind
        ))
    } else {
        damaged(format!("snapshot page at byte {at} is damaged"))
    }
}

fn may_follow(before: Option<Kind>, kind: Kind) -> bool {
    match before {
        None => kind == Kind::Start,
        Some(before) => kind != Kind::Start && kind >= before,
    }
}

/// Checks a page's checksum and archive, and reads from it.
fn with_archive<T, R>(
    file: &[u8],
    page: &Page,
    read: impl FnOnce(&T) -> R,
) -> Result<R, SnapshotFault>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
{
    let bytes = &file[page.start..page.body().end];
    let header = PageHeader::decode(bytes).ok_or_else(|| broken(page))?;
    if page_checksum(bytes, page.length) != Some(header.checksum) {
        return Err(broken(page));
    }
    let body = &bytes[HEADER_BYTES..];
    if body.as_ptr().align_offset(HEADER_BYTES) == 0 {
        return rkyv::access::<T, Error>(body).map(read).map_err(|_| broken(page));
    }
    // Archives need an aligned place. A mapping always is; plain memory may not be.
    let mut copy = AlignedVec::<HEADER_BYTES>::with_capacity(body.len());
    copy.extend_from_slice(body);
    rkyv::access::<T, Error>(&copy).map(read).map_err(|_| broken(page))
}

fn broken(page: &Page) -> SnapshotFault {
    damaged(format!("snapshot page at byte {} is damaged", page.start))
}

/// The places of the pieces of a page, as ranges of the file.
fn places(file: &[u8], page: &Page) -> Result<Vec<Range<usize>>, SnapshotFault> {
    // The archive's root is its last part. How far the bytes lie before its end is the same in a
    // copy of the page as in the file.
    let found = with_archive(file, page, |pieces: &ArchivedPieces| {
        let root = std::ptr::from_ref(pieces).addr() + size_of::<ArchivedPieces>();
        let before_end = root.checked_sub(pieces.bytes.as_ptr().addr())?;
        let start = page.body().end.checked_sub(before_end)?;
        split(pieces.bytes.len(), pieces.ends.iter().map(|end| end.to_native())).map(
            |ranges| -> Vec<_> {
                ranges.into_iter().map(|range| start + range.start..start + range.end).collect()
            },
        )
    })?;
    found.ok_or_else(|| broken(page))
}

/// Consecutive ranges that end where `ends` says and fill `length`; `None` if they do not.
fn split(length: usize, ends: impl ExactSizeIterator<Item = u32>) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::with_capacity(ends.len());
    let mut start = 0;
    for end in ends {
        let end = end as usize;
        if end < start {
            return None;
        }
        ranges.push(start..end);
        start = end;
    }
    (start == length).then_some(ranges)
}

/// What a page holds, found sound.
enum Checked {
    Records(MappedRecords, Census),
    Names(MappedNames),
    Sessions(Vec<(SessionId, Session)>),
    AccessLists(Vec<(AclRef, Arc<[u8]>)>),
}

fn check(image: &Image, seed: u64, page: &Page) -> Result<Option<Checked>, SnapshotFault> {
    let file = (**image).as_ref();
    let because = |error: &dyn std::fmt::Display| {
        damaged(format!("snapshot page at byte {}: {error}", page.start))
    };
    Ok(Some(match page.kind {
        Kind::Records => {
            let places = places(file, page)?;
            let mut census = Census::default();
            let records = MappedRecords::validate(image, seed, places, |record| {
                let znode = record.znode();
                census.note(record.path(), &znode.meta, znode.data.map_or(0, <[u8]>::len));
            });
            let records = records.map_err(|e| because(&e))?;
            Checked::Records(records, census)
        }
        Kind::Names => {
            let places = places(file, page)?;
            Checked::Names(MappedNames::validate(image, places).map_err(|e| because(&e))?)
        }
        Kind::Sessions => {
            let rows = with_archive(file, page, |rows: &ArchivedSessions| {
                (rows.ids.len() == rows.timeouts_ms.len()).then(|| {
                    let timeouts = rows.timeouts_ms.iter().map(|ms| ms.to_native());
                    let ids = rows.ids.iter().map(|id| SessionId(id.to_native()));
                    ids.zip(timeouts.map(|timeout_ms| Session { timeout_ms })).collect()
                })
            })?;
            Checked::Sessions(rows.ok_or_else(|| broken(page))?)
        }
        Kind::AccessLists => {
            let rows = with_archive(file, page, |rows: &ArchivedAccessLists| {
                let ranges = split(rows.bytes.len(), rows.ends.iter().map(|e| e.to_native()))?;
                (ranges.len() == rows.references.len()).then(|| {
                    let lists = ranges.into_iter().map(|range| Arc::from(&rows.bytes[range]));
                    rows.references.iter().map(|r| AclRef(r.to_native())).zip(lists).collect()
                })
            })?;
            Checked::AccessLists(rows.ok_or_else(|| broken(page))?)
        }
        Kind::Start | Kind::End => return Ok(None),
    }))
}

type Outcome = Result<Vec<Checked>, SnapshotFault>;

/// Loads a snapshot whose file is `image`. `seed` is used if the file does not record one.
pub fn load(image: &Image, seed: u64, parallel: &dyn Parallel) -> Result<Loaded, SnapshotFault> {
    let outline = outline((**image).as_ref())?;
    let seed = if outline.hash_seed == 0 { seed } else { outline.hash_seed };
    let mut loader = TreeLoader::new(seed);
    let mut census = Census::default();
    let mut stored = Stored { zxid: outline.zxid, digest: outline.digest, ..Stored::default() };
    let (mut records, mut names) = (0, 0);
    let pieces: Vec<&[Page]> = outline.pages.chunks(PAGES_PER_PIECE).collect();
    for wave in pieces.chunks(PIECES_PER_WAVE) {
        let slots: Vec<Mutex<Option<Outcome>>> = wave.iter().map(|_| Mutex::default()).collect();
        let work = wave.iter().zip(&slots).map(|(pages, slot)| {
            Box::new(move || {
                let checked = pages.iter().filter_map(|p| check(image, seed, p).transpose());
                let outcome: Outcome = checked.collect();
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            }) as Box<dyn FnOnce() + Send + '_>
        });
        parallel.run(work.collect());
        for slot in slots {
            let outcome = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            for checked in outcome.expect("all work was done")? {
                match checked {
                    Checked::Records(mapped, counted) => {
                        records += mapped.len() as u64;
                        census.merge(counted);
                        loader.push_records(mapped);
                    }
                    Checked::Names(mapped) => {
                        names += mapped.len() as u64;
                        loader.push_names(mapped).map_err(|e| damaged(e.to_string()))?;
                    }
                    Checked::Sessions(rows) => stored.sessions.extend(rows),
                    Checked::AccessLists(rows) => stored.acls.extend(rows),
                }
            }
        }
    }
    let end = &outline.end;
    let counted = (records, names, stored.sessions.len() as u64, stored.acls.len() as u64);
    if counted != (end.records, end.names, end.sessions, end.access_lists) {
        return Err(damaged("snapshot does not hold what its last page says"));
    }
    let tree = loader.finish().map_err(|e| damaged(e.to_string()))?;
    Ok(Loaded { tree, stored, census, znodes: records })
}
