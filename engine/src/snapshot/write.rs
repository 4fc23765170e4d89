//! Streaming a version out, a page at a time.

use std::ops::Bound::{Excluded, Unbounded};

use model::SessionId;

use super::format::{
    AccessLists, End, Kind, PAGE_BYTES, PAGE_RECORDS_MAX, Pieces, Sessions, Start, append_page,
    prologue,
};
use crate::state::Version;
use crate::tree::Cursor;

/// Sessions or access lists in one page.
const PAGE_ROWS_MAX: usize = 4096;

/// Streams a version, page by page, exact at its zxid. Holds one page's worth of memory beside
/// the version.
pub struct Writer {
    version: Version,
    stage: Stage,
    pieces: Pieces,
    pages: u32,
    checksum: crc32fast::Hasher,
    records: u64,
    names: u64,
    sessions: u64,
    access_lists: u64,
}

/// What comes next.
enum Stage {
    Start,
    Records(Cursor),
    Names(Cursor),
    Sessions(Option<SessionId>),
    AccessLists(Option<u32>),
    End,
    Finished,
}

impl Writer {
    /// Starts with the file header.
    pub fn new(version: Version) -> Writer {
        Writer {
            version,
            stage: Stage::Start,
            pieces: Pieces::default(),
            pages: 0,
            checksum: crc32fast::Hasher::new(),
            records: 0,
            names: 0,
            sessions: 0,
            access_lists: 0,
        }
    }

    /// Replaces `page` by the next bytes of the file (about 256 KiB). False when the file is
    /// complete and nothing was produced.
    pub fn next(&mut self, page: &mut Vec<u8>) -> bool {
        page.clear();
        while page.is_empty() {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Finished) {
                Stage::Start => {
                    page.extend_from_slice(&prologue());
                    let start = Start {
                        zxid: self.version.zxid().0,
                        hash_seed: 0,
                        znodes: self.version.view().len() as u64,
                    };
                    let crc = append_page(Kind::Start, self.pages, &start, page);
                    self.count(crc);
                    Stage::Records(Cursor::default())
                }
                Stage::Records(from) => self.write_records(from, page),
                Stage::Names(from) => self.write_names(from, page),
                Stage::Sessions(after) => self.write_sessions(after, page),
                Stage::AccessLists(after) => self.write_access_lists(after, page),
                Stage::End => {
                    let end = End {
                        zxid: self.version.zxid().0,
                        digest: self.version.digest(),
                        records: self.records,
                        names: self.names,
                        sessions: self.sessions,
                        access_lists: self.access_lists,
                        pages: self.pages,
                        checksum: self.checksum.clone().finalize(),
                    };
                    append_page(Kind::End, self.pages, &end, page);
                    Stage::Finished
                }
                Stage::Finished => return false,
            };
        }
        true
    }

    fn count(&mut self, crc: u32) {
        self.pages += 1;
        self.checksum.update(&crc.to_le_bytes());
    }

    fn write_records(&mut self, from: Cursor, page: &mut Vec<u8>) -> Stage {
        let version = self.version.clone();
        let mut records = version.view().records(from);
        if gather(&mut self.pieces, &mut records) == 0 {
            return Stage::Names(Cursor::default());
        }
        self.records += self.pieces.ends.len() as u64;
        let crc = append_page(Kind::Records, self.pages, &self.pieces, page);
        self.count(crc);
        Stage::Records(records.cursor())
    }

    fn write_names(&mut self, from: Cursor, page: &mut Vec<u8>) -> Stage {
        let version = self.version.clone();
        let mut names = version.view().name_pages(from);
        if gather(&mut self.pieces, &mut names) == 0 {
            return Stage::Sessions(None);
        }
        self.names += self.pieces.ends.len() as u64;
        let crc = append_page(Kind::Names, self.pages, &self.pieces, page);
        self.count(crc);
        Stage::Names(names.cursor())
    }

    fn write_sessions(&mut self, after: Option<SessionId>, page: &mut Vec<u8>) -> Stage {
        let mut rows = Sessions::default();
        let mut last = after;
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        for (id, session) in self.version.tables().sessions.range(range).take(PAGE_ROWS_MAX) {
            rows.ids.push(id.0);
            rows.timeouts_ms.push(session.timeout_ms);
            last = Some(*id);
        }
        if rows.ids.is_empty() {
            return Stage::AccessLists(None);
        }
        self.sessions += rows.ids.len() as u64;
        let crc = append_page(Kind::Sessions, self.pages, &rows, page);
        self.count(crc);
        Stage::Sessions(last)
    }

    fn write_access_lists(&mut self, after: Option<u32>, page: &mut Vec<u8>) -> Stage {
        let mut rows = AccessLists::default();
        let mut last = after;
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        for (reference, entry) in self.version.tables().acls.range(range) {
            if rows.ends.len() == PAGE_ROWS_MAX || rows.bytes.len() >= PAGE_BYTES {
                break;
            }
            rows.references.push(*reference);
            rows.bytes.extend_from_slice(&entry.list);
            rows.ends.push(rows.bytes.len() as u32);
            last = Some(*reference);
        }
        if rows.ends.is_empty() {
            return Stage::End;
        }
        self.access_lists += rows.ends.len() as u64;
        let crc = append_page(Kind::AccessLists, self.pages, &rows, page);
        self.count(crc);
        Stage::AccessLists(last)
    }
}

/// Fills a page's worth; returns how many.
fn gather<'a>(pieces: &mut Pieces, from: &mut impl Iterator<Item = &'a [u8]>) -> usize {
    pieces.bytes.clear();
    pieces.ends.clear();
    while pieces.ends.len() < PAGE_RECORDS_MAX && pieces.bytes.len() < PAGE_BYTES {
        let Some(piece) = from.next() else { break };
        pieces.bytes.extend_from_slice(piece);
        pieces.ends.push(u32::try_from(pieces.bytes.len()).expect("a page is far below 4 GiB"));
    }
    pieces.ends.len()
}
