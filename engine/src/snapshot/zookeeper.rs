//! ZooKeeper's own serialization of a database, as a leader sends it to a learner (`zab-wire`
//! 2.8), in both directions.
//!
//! ```text
//!  stream ::= count  {session id i64, timeout i32}*
//!             count  {reference i64, access list}*
//!             {path, data, reference i64, stat 60 bytes}*  "/"  "BenWasHere"
//! ```
//!
//! Parents come before their children; the root's path is the empty string. It carries no length,
//! no checksum and no digest. A stream of ZooKeeper is fuzzy: taken while transactions were
//! applied. Those that follow it are replayed over what it holds, and make it exact.

mod intake;

use std::ops::Bound::{Excluded, Unbounded};

use model::SessionId;
use model::jute::Writer;

pub use intake::{SnapshotIntake, StreamFault};

use crate::state::Version;
use crate::tree::{AclRef, Znode};

/// Ends the znodes.
const END_PATH: &[u8] = b"/";
/// Ends the stream.
const SIGNATURE: &[u8] = b"BenWasHere";
/// Reference of the list that everyone has, which is in no table.
const OPEN_REFERENCE: i64 = -1;

/// Bytes after which a piece is complete.
const PIECE_BYTES: usize = 64 << 10;
/// Child names that are held at once for each level of the tree.
const NAMES_MAX: usize = 256;
/// Bytes of such names, apart from the last one.
const NAME_BYTES_MAX: usize = 8 << 10;

/// A version as ZooKeeper's stream, piece by piece, from the first count to the signature. Holds
/// the version, and a few names for each level it is deep.
pub struct SnapshotStream {
    version: Version,
    part: Part,
    /// Path of the znode that was written last; empty for the root.
    path: Vec<u8>,
    /// Its ancestors and itself, as far as they have children to come.
    levels: Vec<Level>,
}

/// What comes next.
enum Part {
    SessionCount,
    Sessions(Option<SessionId>),
    AccessListCount,
    AccessLists(Option<u32>),
    Root,
    Znodes,
    End,
    Finished,
}

/// Children of one znode.
struct Level {
    /// Length of the parent's path in [`SnapshotStream::path`].
    above: usize,
    /// Children not in `names` yet.
    left: u32,
    /// Children that were in `names` so far.
    passed: u32,
    /// Names, back to back.
    names: Vec<u8>,
    /// Where they end.
    ends: Vec<usize>,
    /// Index of the next one.
    next: usize,
}

impl SnapshotStream {
    /// At the beginning.
    pub fn new(version: Version) -> SnapshotStream {
        SnapshotStream { version, part: Part::SessionCount, path: Vec::new(), levels: Vec::new() }
    }

    /// Appends the next bytes: about 64 KiB, more where a single znode has more. False if
    /// everything had been given out before.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if matches!(self.part, Part::Finished) {
            return false;
        }
        let enough = out.len() + PIECE_BYTES;
        while out.len() < enough && !matches!(self.part, Part::Finished) {
            self.part = self.write(&mut Writer::new(out), enough);
        }
        true
    }

    fn write(&mut self, out: &mut Writer<'_>, enough: usize) -> Part {
        let tables = self.version.tables();
        match self.part {
            Part::SessionCount => {
                out.count(tables.sessions.len());
                Part::Sessions(None)
            }
            Part::Sessions(mut after) => {
                let range = (after.map_or(Unbounded, Excluded), Unbounded);
                for (id, session) in tables.sessions.range(range) {
                    if out.position() >= enough {
                        return Part::Sessions(after);
                    }
                    out.long(id.0);
                    out.int(session.timeout_ms);
                    after = Some(*id);
                }
                Part::AccessListCount
            }
            Part::AccessListCount => {
                out.count(tables.acls.len());
                Part::AccessLists(None)
            }
            Part::AccessLists(mut after) => {
                let range = (after.map_or(Unbounded, Excluded), Unbounded);
                for (reference, entry) in tables.acls.range(range) {
                    if out.position() >= enough {
                        return Part::AccessLists(after);
                    }
                    out.long(i64::from(*reference));
                    out.raw(&entry.list);
                    after = Some(*reference);
                }
                Part::Root
            }
            Part::Root => {
                self.write_znode(out);
                Part::Znodes
            }
            Part::Znodes => {
                while self.step_to_next() {
                    self.write_znode(out);
                    if out.position() >= enough {
                        return Part::Znodes;
                    }
                }
                Part::End
            }
            Part::End => {
                out.bytes(END_PATH);
                out.bytes(SIGNATURE);
                Part::Finished
            }
            Part::Finished => Part::Finished,
        }
    }

    /// Writes the znode at `path`, and has its children come next.
    fn write_znode(&mut self, out: &mut Writer<'_>) {
        let znode = self.version.view().get(model::path::normalize(&self.path));
        let znode = znode.expect("a version has the znodes whose names it lists");
        write_znode(&self.path, &znode, out);
        if znode.children > 0 {
            self.levels.push(Level {
                above: self.path.len(),
                left: znode.children,
                passed: 0,
                names: Vec::new(),
                ends: Vec::new(),
                next: 0,
            });
        }
    }

    /// Sets `path` to the znode that comes next. False if there is none.
    fn step_to_next(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.above);
            if level.next == level.ends.len() && level.left > 0 {
                level.refill(&self.version, &self.path);
            }
            if let Some(name) = level.next_name() {
                self.path.push(b'/');
                self.path.extend_from_slice(name);
                return true;
            }
            self.levels.pop();
        }
        false
    }
}

impl Level {
    fn refill(&mut self, version: &Version, above: &[u8]) {
        let above = model::path::normalize(above);
        let start = match self.ends[..] {
            [.., start, _] => start,
            _ => 0,
        };
        let last = self.names.split_off(start);
        self.names.clear();
        self.ends.clear();
        self.next = 0;
        let names = version.view().children_after(above, &last, self.passed);
        for name in names.into_iter().flatten().take(NAMES_MAX) {
            self.names.extend_from_slice(name);
            self.ends.push(self.names.len());
            if self.names.len() >= NAME_BYTES_MAX {
                break;
            }
        }
        let count = self.ends.len() as u32;
        assert!(count > 0 && count <= self.left, "a version lists as many names as it counts");
        self.passed += count;
        self.left -= count;
    }

    fn next_name(&mut self) -> Option<&[u8]> {
        let end = *self.ends.get(self.next)?;
        let start = if self.next == 0 { 0 } else { self.ends[self.next - 1] };
        self.next += 1;
        Some(&self.names[start..end])
    }
}

fn write_znode(path: &[u8], znode: &Znode<'_>, out: &mut Writer<'_>) {
    let meta = &znode.meta;
    out.bytes(path);
    out.buffer(znode.data);
    out.long(if meta.acl == AclRef::OPEN { OPEN_REFERENCE } else { i64::from(meta.acl.0) });
    for long in [meta.czxid.0, meta.mzxid.0, meta.ctime, meta.mtime] {
        out.long(long);
    }
    for int in [meta.version, meta.cversion, meta.aversion] {
        out.int(int);
    }
    out.long(meta.owner);
    out.long(meta.pzxid.0);
}
