//! Blocks, the edges between them, and when they may be freed. The only other file with `unsafe`
//! is the slab below it.
//!
//! # Blocks and edges
//!
//! The tree is made of blocks. An [`Edge`] is the one link from a block's parent to it. There is
//! no way to copy an edge outside of this file, so whoever has `&mut Edge` is alone with the edge;
//! whether he is alone with the block behind it is a matter of epochs:
//!
//! - `now` counts freezes. A block's header holds the epoch it was *born* in.
//! - A version frozen in epoch `e` holds copies of the root edges and so sees only blocks with
//!   `born <= e`; freezing makes `now` greater than `e`.
//! - Hence a block with `born == now` is seen by the working tree alone and is changed in place;
//!   any other block is copied first ([`Store::own`]), which copies the edges in it, and the old
//!   block is *retired*: it is no longer part of the working tree, but old versions see it.
//!
//! **Invariant E.** An edge that can be reached through `&Edge` (from the working tree's roots,
//! or from the roots of a version somebody holds) leads to a live block of its kind, whose content
//! does not change while that reference lives.
//!
//! # Freeing
//!
//! Each frozen version is a [`Pin`], shared by `Arc` between its holders and the writer. A block
//! retired now is seen by versions with `born <= e < now`. It is put on the list of the newest
//! pin if that is in the range, and freed at once if it is not, since all others are older. When
//! the writer finds that it is the only one left who refers to a pin, nobody can read that version
//! any more; each block on its list goes to the next older pin that is still held if that is in
//! range, and is freed if not. So a block is freed by the writer alone, when no held version can
//! see it, and a pin held for long keeps only what it can reach.
//!
//! "The only one left" is `Arc::get_mut`, whose acquire pairs with the release of the last drop:
//! all reads through the version happen before the block is reused.
//!
//! # Going back
//!
//! Returning to a held version `e` ([`Store::restore`]) retires what the working tree has and the
//! version has not, and takes off the lists what the version has and the working tree has not. If
//! the version is an ancestor of the working tree, the former are the reachable blocks with
//! `born > e` and the latter the listed ones with `born <= e` that died after `e`, which are all
//! on the lists of `e` and of younger pins. Otherwise (the tree went back behind the version
//! before) both are found by walking everything.

#![allow(unsafe_code)]
// Blocks and prefixes are aligned to 8, which the lint cannot know.
#![allow(clippy::cast_ptr_alignment)]

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use super::slab::Slab;
use super::{names, record};
use crate::recover::Image;

/// What an edge leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing.
    None = 0,
    /// Trie node: bitmap and an edge per bit.
    Inner = 1,
    /// Trie leaf: edges to records.
    Bucket = 2,
    /// Record on the heap.
    Record = 3,
    /// Record in an image.
    MappedRecord = 4,
    /// Page of names on the heap.
    Names = 5,
    /// Page of names in an image.
    MappedNames = 6,
    /// Inner node over pages of names: edges, then a page of keys.
    Index = 7,
}

const KINDS: [Kind; 8] = [
    Kind::None,
    Kind::Inner,
    Kind::Bucket,
    Kind::Record,
    Kind::MappedRecord,
    Kind::Names,
    Kind::MappedNames,
    Kind::Index,
];

const HEADER: usize = 8;
const ADDR: u64 = (1 << 48) - 1;
/// Bits of an edge that are free for its owner: part of the hash.
pub(super) const MARK_BITS: u32 = 13;
/// Most edges in a block.
pub(super) const MAX_EDGES: usize = 4095;

/// A link: kind in the top 3 bits, mark in the next 13, address in the lower 48. See the module's
/// documentation for what holding one means.
pub(super) struct Edge(u64);

const _: () = assert!(size_of::<Edge>() == 8);

impl Edge {
    pub(super) const NONE: Edge = Edge(0);

    fn new(kind: Kind, mark: u16, addr: usize) -> Edge {
        debug_assert!(mark < 1 << MARK_BITS);
        Edge((kind as u64) << 61 | u64::from(mark) << 48 | addr as u64)
    }

    /// What it leads to.
    #[inline]
    pub(super) fn kind(&self) -> Kind {
        KINDS[(self.0 >> 61) as usize]
    }

    /// The bits that were given to it. The edge to a bucket is marked with the number of edges in
    /// the bucket, so that a search knows its length before the bucket is in the cache, and the
    /// processor can run ahead of it.
    #[inline]
    pub(super) fn mark(&self) -> u16 {
        (self.0 >> 48) as u16 & ((1 << MARK_BITS) - 1)
    }

    /// The same edge with another mark.
    pub(super) fn marked(self, mark: u16) -> Edge {
        Edge::new(self.kind(), mark, self.addr())
    }

    #[inline]
    fn addr(&self) -> usize {
        (self.0 & ADDR) as usize
    }

    #[inline]
    fn at(&self, offset: usize) -> *const u8 {
        std::ptr::with_exposed_provenance(self.addr() + offset)
    }

    fn on_heap(&self) -> bool {
        !matches!(self.kind(), Kind::None | Kind::MappedRecord | Kind::MappedNames)
    }

    /// Header of a heap block: born in the upper 44 bits, edges in 12, class in 8.
    ///
    /// # Safety
    ///
    /// The edge leads to a live heap block.
    #[inline]
    unsafe fn header(&self) -> u64 {
        // SAFETY: blocks are aligned to 8 and begin with their header.
        unsafe { *self.at(0).cast::<u64>() }
    }

    /// # Safety
    ///
    /// As [`Edge::header`].
    unsafe fn born(&self) -> u64 {
        // SAFETY: passed on.
        unsafe { self.header() >> 20 }
    }

    /// Where the edges of this kind begin.
    #[inline]
    fn edges_offset(&self) -> Option<usize> {
        match self.kind() {
            Kind::Inner => Some(HEADER + 8),
            Kind::Bucket | Kind::Index => Some(HEADER),
            Kind::None | Kind::Record | Kind::MappedRecord | Kind::Names | Kind::MappedNames => {
                None
            }
        }
    }

    /// The edges of an inner node, bucket or index; none for other kinds.
    #[inline]
    pub(super) fn edges(&self) -> &[Edge] {
        let Some(offset) = self.edges_offset() else { return &[] };
        // SAFETY: by invariant E the block is live and unchanged for the borrow's duration; these
        // kinds hold as many edges at this offset as the header says, and the mark of a bucket's
        // edge says the same.
        unsafe {
            let count = if self.kind() == Kind::Bucket {
                usize::from(self.mark())
            } else {
                (self.header() >> 8) as usize & MAX_EDGES
            };
            std::slice::from_raw_parts(self.at(offset).cast::<Edge>(), count)
        }
    }

    /// An inner node's bitmap; zero for other kinds.
    #[inline]
    pub(super) fn bitmap(&self) -> u64 {
        if self.kind() != Kind::Inner {
            return 0;
        }
        // SAFETY: by invariant E; an inner node's second word is its bitmap.
        unsafe { *self.at(HEADER).cast::<u64>() }
    }

    /// Content of a record or a page of names, followed by unused bytes; the page of keys of an
    /// index; nothing for other kinds.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self.kind() {
            // SAFETY: by invariant E; the block has as many bytes as its class says.
            Kind::Record | Kind::Names | Kind::Index => unsafe {
                let offset = HEADER + ((self.header() >> 8) as usize & MAX_EDGES) * 8;
                std::slice::from_raw_parts(self.at(offset), Slab::capacity(self.addr()) - offset)
            },
            // SAFETY: the bytes were a whole record when the edge was made, whose header tells
            // their number, and the tree holds the image they are in.
            Kind::MappedRecord => unsafe {
                std::slice::from_raw_parts(self.at(0), record::extent(|at| *self.at(at)))
            },
            // SAFETY: the same for a page of names.
            Kind::MappedNames => unsafe {
                std::slice::from_raw_parts(self.at(0), names::extent(|at| *self.at(at)))
            },
            Kind::None | Kind::Inner | Kind::Bucket => &[],
        }
    }
}

/// A whole record or page of names inside of an image, not yet in a tree. Dereferenced only once
/// a store holds the image.
pub(super) struct Adopted(Edge);

impl Adopted {
    /// `bytes` are a whole record.
    pub(super) fn record(record: record::Record<'_>, mark: u16) -> Adopted {
        Adopted(Edge::new(Kind::MappedRecord, mark, exposed(record.bytes())))
    }

    /// `page` is a whole page.
    pub(super) fn names(page: names::Page<'_>) -> Adopted {
        Adopted(Edge::new(Kind::MappedNames, 0, exposed(page.bytes())))
    }
}

fn exposed(bytes: &[u8]) -> usize {
    let addr = bytes.as_ptr().expose_provenance();
    assert!(addr + bytes.len() < 1 << 48, "addresses fit into 48 bits");
    addr
}

/// A version's content.
pub(super) struct Roots {
    /// Trie of records.
    pub(super) trie: Edge,
    /// Tree of child names.
    pub(super) names: Edge,
    /// Number of records.
    pub(super) len: u64,
    /// Next id for a parent's names.
    pub(super) next_id: u64,
}

impl Roots {
    pub(super) fn empty() -> Roots {
        Roots { trie: Edge::NONE, names: Edge::NONE, len: 0, next_id: 1 }
    }

    /// The one place where edges are copied into another owner.
    fn copy(&self) -> Roots {
        Roots {
            trie: Edge(self.trie.0),
            names: Edge(self.names.0),
            len: self.len,
            next_id: self.next_id,
        }
    }
}

/// What keeps all memory of a tree alive: held by the writer and by every version.
pub(super) struct Home {
    /// Keys of the path hash.
    pub(super) hasher: ahash::RandomState,
    /// Images that mapped edges lead into.
    images: Mutex<Vec<Image>>,
    /// The memory itself, once the writer is gone.
    left_behind: Mutex<Option<Slab>>,
}

/// A frozen version. Its blocks stay while anyone but the writer refers to it.
pub(super) struct Pin {
    pub(super) roots: Roots,
    pub(super) home: Arc<Home>,
    epoch: u64,
}

struct Pinned {
    pin: Arc<Pin>,
    /// Retired blocks that this is the newest pin to see.
    dead: Vec<Edge>,
}

/// The writer's side: memory, epochs and pins.
pub(super) struct Store {
    slab: Option<Slab>,
    home: Arc<Home>,
    now: u64,
    /// Something changed in this epoch.
    changed: bool,
    /// Ascending by epoch.
    pins: Vec<Pinned>,
    /// Where the next sweep goes on looking for pins that were let go.
    hand: usize,
    /// Lists of pins that were let go, with their epochs, to be worked off in slices.
    dying: VecDeque<(u64, Vec<Edge>)>,
    /// Blocks retired since the last freeze.
    retired: usize,
    /// Epochs `(after, until]` that the tree went back behind.
    abandoned: Vec<(u64, u64)>,
    /// Pins older than this are not known to be ancestors.
    known_since: u64,
}

impl Store {
    pub(super) fn new(hasher: ahash::RandomState, all_separate: bool) -> Store {
        let home = Home { hasher, images: Mutex::new(Vec::new()), left_behind: Mutex::new(None) };
        Store {
            slab: Some(Slab::new(all_separate)),
            home: Arc::new(home),
            now: 1,
            changed: true,
            pins: Vec::new(),
            hand: 0,
            dying: VecDeque::new(),
            retired: 0,
            abandoned: Vec::new(),
            known_since: 0,
        }
    }

    fn slab(&mut self) -> &mut Slab {
        self.slab.as_mut().expect("only the drop takes the slab")
    }

    /// Blocks in use and their bytes, retired ones included.
    pub(super) fn in_use(&self) -> (usize, usize) {
        self.slab.as_ref().map_or((0, 0), Slab::in_use)
    }

    /// A block born now, with room for `size` bytes after the header; its header says `edges`.
    ///
    /// # Safety
    ///
    /// The caller writes the edges before anyone can look at them.
    unsafe fn block(&mut self, kind: Kind, mark: u16, edges: usize, size: usize) -> Edge {
        assert!(edges <= MAX_EDGES, "nodes split before they are full");
        self.changed = true;
        let header = self.now << 20 | (edges as u64) << 8;
        let (addr, class) = self.slab().take(HEADER + size);
        // SAFETY: the block is fresh and has at least a header's size.
        unsafe {
            *std::ptr::with_exposed_provenance_mut::<u64>(addr) = header | u64::from(class);
        }
        Edge::new(kind, mark, addr)
    }

    /// A record or page of names of `len` bytes, and room for `spare` more.
    pub(super) fn bytes(
        &mut self,
        kind: Kind,
        mark: u16,
        len: usize,
        spare: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Edge {
        assert!(matches!(kind, Kind::Record | Kind::Names), "a block of bytes");
        // SAFETY: it has no edges.
        let edge = unsafe { self.block(kind, mark, 0, len + spare) };
        // SAFETY: a fresh block of at least this size, which nobody else refers to; the slab's
        // memory is initialised.
        write(unsafe {
            let start = std::ptr::with_exposed_provenance_mut::<u8>(edge.addr() + HEADER);
            std::slice::from_raw_parts_mut(start, len)
        });
        edge
    }

    /// A node of the given edges. `bitmap` counts for inner nodes, `keys` for an index.
    pub(super) fn node(
        &mut self,
        kind: Kind,
        bitmap: u64,
        edges: impl ExactSizeIterator<Item = Edge>,
        keys: &[u8],
    ) -> Edge {
        let count = edges.len();
        let keys = if kind == Kind::Index { keys } else { &[] };
        let offset = if kind == Kind::Inner { 8 } else { 0 };
        assert!(matches!(kind, Kind::Inner | Kind::Bucket | Kind::Index), "a block of edges");
        let mark = if kind == Kind::Bucket { count as u16 } else { 0 };
        // SAFETY: the edges are written below, before the edge is given away.
        let node = unsafe { self.block(kind, mark, count, offset + count * 8 + keys.len()) };
        // SAFETY: a fresh block that nobody refers to, of the size of what is written: the bitmap
        // if any, `count` edges, the keys. `written` guards against a lying iterator.
        unsafe {
            let base = std::ptr::with_exposed_provenance_mut::<u8>(node.addr() + HEADER);
            if kind == Kind::Inner {
                base.cast::<u64>().write(bitmap);
            }
            let first = base.add(offset).cast::<Edge>();
            let mut written = 0;
            for edge in edges.take(count) {
                first.add(written).write(edge);
                written += 1;
            }
            assert_eq!(written, count, "as many edges as announced");
            base.add(offset + count * 8).copy_from_nonoverlapping(keys.as_ptr(), keys.len());
        }
        node
    }

    /// The edges of a node, to be changed. A block that a version may see is copied first.
    #[inline]
    pub(super) fn own<'e>(&mut self, edge: &'e mut Edge) -> &'e mut [Edge] {
        let Some(offset) = edge.edges_offset() else { return &mut [] };
        // SAFETY: by invariant E the block is live. After the copy, if one was needed, it is born
        // now, so that only the working tree leads to it, and only through `edge`, which is
        // borrowed uniquely for as long as the result.
        unsafe {
            if edge.born() != self.now {
                self.copy(edge);
            }
            let count = (edge.header() >> 8) as usize & MAX_EDGES;
            let first = std::ptr::with_exposed_provenance_mut::<Edge>(edge.addr() + offset);
            std::slice::from_raw_parts_mut(first, count)
        }
    }

    /// Replaces a heap block by a copy born now.
    ///
    /// # Safety
    ///
    /// `edge` leads to a live heap block.
    unsafe fn copy(&mut self, edge: &mut Edge) {
        // SAFETY: the old block is live, the new one at least as large and fresh. The edges in it
        // now exist twice, but the old ones belong to old versions only, since the old block is
        // retired.
        let new = unsafe {
            let size = Slab::capacity(edge.addr()) - HEADER;
            let count = (edge.header() >> 8) as usize & MAX_EDGES;
            let new = self.block(edge.kind(), edge.mark(), count, size);
            let to = std::ptr::with_exposed_provenance_mut::<u8>(new.addr() + HEADER);
            to.copy_from_nonoverlapping(edge.at(HEADER), size);
            new
        };
        let old = std::mem::replace(edge, new);
        self.retire(old);
    }

    /// Bytes that a heap record's block has room for; zero for what is not on the heap.
    pub(super) fn room(edge: &Edge) -> usize {
        if edge.kind() == Kind::Record { edge.bytes().len() } else { 0 }
    }

    /// All bytes of a page of names, if it may be changed in place.
    pub(super) fn own_bytes<'e>(&self, edge: &'e mut Edge) -> Option<&'e mut [u8]> {
        if edge.kind() != Kind::Names {
            return None;
        }
        // SAFETY: as in `own`.
        unsafe {
            (edge.born() == self.now).then(|| {
                let size = Slab::capacity(edge.addr()) - HEADER;
                let start = std::ptr::with_exposed_provenance_mut(edge.addr() + HEADER);
                std::slice::from_raw_parts_mut(start, size)
            })
        }
    }

    /// Puts an edge into an inner node or bucket, in front of the one at `at`. An inner node gets
    /// the new bitmap.
    pub(super) fn insert(&mut self, node: &mut Edge, at: usize, edge: Edge, bitmap: u64) {
        let offset = match node.kind() {
            Kind::Inner => 8,
            Kind::Bucket => 0,
            kind => unreachable!("{kind:?} does not grow"),
        };
        // SAFETY: the block is live by invariant E.
        let (count, capacity, born) = unsafe {
            let count = (node.header() >> 8) as usize & MAX_EDGES;
            (count, Slab::capacity(node.addr()) - HEADER, node.born())
        };
        assert!(at <= count && count < MAX_EDGES, "inside of the node");
        let need = offset + (count + 1) * 8;
        if born != self.now || capacity < need {
            // Room for a few more, since nodes that grow go on growing.
            let room = if offset == 0 { need.next_multiple_of(16) } else { need + 24 };
            // SAFETY: the new block is fresh and large enough for what the old one holds; the
            // edges beyond the old count are written below. For the copies see `copy`.
            let new = unsafe {
                let new = self.block(node.kind(), node.mark(), count, room);
                let to = std::ptr::with_exposed_provenance_mut::<u8>(new.addr() + HEADER);
                to.copy_from_nonoverlapping(node.at(HEADER), offset + count * 8);
                new
            };
            let old = std::mem::replace(node, new);
            self.retire(old);
        }
        self.changed = true;
        // SAFETY: the block is born now, has room for one more edge, and only `node` leads to it.
        unsafe {
            let base = std::ptr::with_exposed_provenance_mut::<u8>(node.addr());
            if node.kind() == Kind::Inner {
                base.add(HEADER).cast::<u64>().write(bitmap);
            }
            let place = base.add(HEADER + offset).cast::<Edge>().add(at);
            place.add(1).copy_from(place, count - at);
            place.write(edge);
            *base.cast::<u64>() += 1 << 8;
        }
        Store::mark_count(node, count + 1);
    }

    /// Marks the edge to a bucket with its number of edges.
    fn mark_count(node: &mut Edge, count: usize) {
        if node.kind() == Kind::Bucket {
            *node = Edge::new(Kind::Bucket, count as u16, node.addr());
        }
    }

    /// Takes an edge out of an inner node or bucket. An inner node gets the new bitmap.
    pub(super) fn remove(&mut self, node: &mut Edge, at: usize, bitmap: u64) -> Edge {
        let count = self.own(node).len();
        assert!(at < count, "inside of the node");
        let offset = node.edges_offset().expect("own gave edges");
        self.changed = true;
        // SAFETY: `own` made the block one that only `node` leads to; it has `count` edges.
        let removed = unsafe {
            let base = std::ptr::with_exposed_provenance_mut::<u8>(node.addr());
            if node.kind() == Kind::Inner {
                base.add(HEADER).cast::<u64>().write(bitmap);
            }
            let place = base.add(offset).cast::<Edge>().add(at);
            let removed = place.read();
            place.copy_from(place.add(1), count - at - 1);
            *base.cast::<u64>() -= 1 << 8;
            removed
        };
        Store::mark_count(node, count - 1);
        let keep = offset - HEADER + (count - 1) * 8;
        // SAFETY: the block is live.
        if unsafe { Slab::capacity(node.addr()) } > 64 + 2 * keep {
            // SAFETY: as in `insert`.
            let new = unsafe {
                let new = self.block(node.kind(), node.mark(), count - 1, keep);
                let to = std::ptr::with_exposed_provenance_mut::<u8>(new.addr() + HEADER);
                to.copy_from_nonoverlapping(node.at(HEADER), keep);
                new
            };
            let old = std::mem::replace(node, new);
            self.retire(old);
        }
        removed
    }

    /// Makes room for an image that adopted edges lead into.
    pub(super) fn hold(&mut self, image: &Image) {
        let mut images = self.home.images.lock().unwrap_or_else(PoisonError::into_inner);
        if !images.last().is_some_and(|last| Arc::ptr_eq(last, image)) {
            images.push(image.clone());
        }
    }

    /// Makes an edge of what lies in `image`, which the tree keeps from now on.
    pub(super) fn adopt(&mut self, adopted: Adopted) -> Edge {
        self.changed = true;
        adopted.0
    }

    /// Takes a block out of the working tree; what its edges lead to is the caller's affair.
    #[inline]
    pub(super) fn retire(&mut self, edge: Edge) {
        if !edge.on_heap() {
            return;
        }
        // SAFETY: by invariant E the block was live, and nothing of the working tree leads to it
        // any more, since the edge was given away.
        let born = unsafe { edge.born() };
        self.changed = true;
        self.retired += 1;
        match self.pins.last_mut() {
            Some(pinned) if pinned.pin.epoch >= born => pinned.dead.push(edge),
            // SAFETY: no pin is as young as the block, so no version sees it.
            _ => unsafe { self.slab().give_back(edge.addr()) },
        }
    }

    /// The present as a version. Also works off a part of what died, in proportion to what changed
    /// since the last time.
    pub(super) fn freeze(&mut self, roots: &Roots) -> Arc<Pin> {
        if !self.changed
            && let Some(last) = self.pins.last().filter(|last| last.pin.epoch + 1 == self.now)
        {
            return last.pin.clone();
        }
        let pin = Arc::new(Pin { roots: roots.copy(), home: self.home.clone(), epoch: self.now });
        self.pins.push(Pinned { pin: pin.clone(), dead: Vec::new() });
        self.now += 1;
        self.changed = false;
        self.sweep();
        let budget = 256 + 2 * self.retired;
        self.retired = 0;
        self.bury(budget);
        pin
    }

    /// Looks at the oldest pins and at a few others, and lets those go that nobody holds.
    fn sweep(&mut self) {
        let mut oldest = 0;
        while oldest + 1 < self.pins.len() && Arc::get_mut(&mut self.pins[oldest].pin).is_some() {
            oldest += 1;
        }
        if oldest > 0 {
            for pinned in self.pins.drain(..oldest) {
                self.dying.push_back((pinned.pin.epoch, pinned.dead));
            }
        }
        for _ in 0..4 {
            if self.hand + 1 >= self.pins.len() {
                self.hand = 0;
                return;
            }
            self.let_go(self.hand);
            self.hand += 1;
        }
    }

    /// Lets the pin at `at` go if nobody holds it.
    fn let_go(&mut self, at: usize) -> bool {
        let unheld = Arc::get_mut(&mut self.pins[at].pin).is_some();
        if unheld {
            let pinned = self.pins.remove(at);
            self.dying.push_back((pinned.pin.epoch, pinned.dead));
        }
        unheld
    }

    /// Passes at most `budget` blocks of dead pins on to older pins or frees them.
    fn bury(&mut self, mut budget: usize) {
        while let Some((epoch, mut dead)) = self.dying.pop_front() {
            let older = self.pins.partition_point(|pinned| pinned.pin.epoch < epoch);
            while let Some(edge) = dead.pop() {
                // SAFETY: listed blocks are live.
                let born = unsafe { edge.born() };
                match older.checked_sub(1).map(|at| &mut self.pins[at]) {
                    Some(pinned) if pinned.pin.epoch >= born => pinned.dead.push(edge),
                    // SAFETY: the block was seen by no pin younger than the one it was listed
                    // with, that one is gone, and the next older one does not see it.
                    _ => unsafe { self.slab().give_back(edge.addr()) },
                }
                budget -= 1;
                if budget == 0 {
                    if !dead.is_empty() {
                        self.dying.push_front((epoch, dead));
                    }
                    return;
                }
            }
        }
    }

    /// Frees everything that no held version can see.
    pub(super) fn reclaim(&mut self) {
        let mut at = self.pins.len();
        while at > 0 {
            at -= 1;
            self.let_go(at);
        }
        self.bury(usize::MAX);
    }

    fn is_ancestor(&self, epoch: u64) -> bool {
        let inside = |&(after, until): &(u64, u64)| after < epoch && epoch <= until;
        epoch >= self.known_since && !self.abandoned.iter().any(inside)
    }

    /// Makes `to` the working tree. False, and nothing done, if it is a version of another tree.
    pub(super) fn restore(&mut self, roots: &mut Roots, to: &Pin) -> bool {
        if !Arc::ptr_eq(&self.home, &to.home) {
            return false;
        }
        if self.is_ancestor(to.epoch) {
            self.restore_ancestor(roots, to.epoch);
        } else {
            self.restore_any(roots, to);
        }
        *roots = to.roots.copy();
        self.changed = true;
        true
    }

    fn restore_ancestor(&mut self, roots: &Roots, epoch: u64) {
        // SAFETY: listed blocks are live.
        let young = |edge: &Edge| unsafe { edge.born() } > epoch;
        for pinned in self.pins.iter_mut().rev().take_while(|pinned| pinned.pin.epoch >= epoch) {
            pinned.dead.retain(young);
        }
        for (_, dead) in self.dying.iter_mut().filter(|(of, _)| *of >= epoch) {
            dead.retain(young);
        }
        self.retire_young(&roots.trie, epoch);
        self.retire_young(&roots.names, epoch);
        if self.pins.last().is_some_and(|last| last.pin.epoch > epoch) {
            let pins = &self.pins;
            self.abandoned.retain(|&(after, until)| {
                let next = pins.partition_point(|pinned| pinned.pin.epoch <= after);
                pins.get(next).is_some_and(|pinned| pinned.pin.epoch <= until)
            });
            self.abandoned.push((epoch, self.now));
            self.now += 1;
        }
    }

    /// Retires what is reachable from `edge` and born after `epoch`. Whatever leads to a young
    /// block is as young itself, so old blocks need no look inside.
    fn retire_young(&mut self, edge: &Edge, epoch: u64) {
        // SAFETY: the edge is part of the working tree.
        if !edge.on_heap() || unsafe { edge.born() } <= epoch {
            return;
        }
        for below in edge.edges() {
            self.retire_young(below, epoch);
        }
        self.retire(Edge(edge.0));
    }

    fn restore_any(&mut self, roots: &Roots, to: &Pin) {
        let mut keep = std::collections::BTreeSet::new();
        let mut present = Vec::new();
        reach(&to.roots.trie, &mut |edge| {
            keep.insert(edge.addr());
        });
        reach(&to.roots.names, &mut |edge| {
            keep.insert(edge.addr());
        });
        reach(&roots.trie, &mut |edge| present.push(Edge(edge.0)));
        reach(&roots.names, &mut |edge| present.push(Edge(edge.0)));
        for pinned in &mut self.pins {
            pinned.dead.retain(|edge| !keep.contains(&edge.addr()));
        }
        for (_, dead) in &mut self.dying {
            dead.retain(|edge| !keep.contains(&edge.addr()));
        }
        for edge in present {
            if !keep.contains(&edge.addr()) {
                self.retire(edge);
            }
        }
        self.now += 1;
        self.known_since = self.now;
        self.abandoned.clear();
    }

    /// Heap blocks that are part of the working tree or on a list: all there should be.
    pub(super) fn accounted(&self, roots: &Roots) -> usize {
        let mut count = 0;
        reach(&roots.trie, &mut |_| count += 1);
        reach(&roots.names, &mut |_| count += 1);
        let lists = self.pins.iter().map(|pinned| pinned.dead.len());
        count + lists.sum::<usize>() + self.dying.iter().map(|(_, dead)| dead.len()).sum::<usize>()
    }
}

/// Calls `found` for every heap block that `edge` leads to, from below.
fn reach(edge: &Edge, found: &mut impl FnMut(&Edge)) {
    if edge.on_heap() {
        edge.edges().iter().for_each(|below| reach(below, found));
        found(edge);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Versions may live on; the last of them lets go of the memory.
        let mut left = self.home.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        *left = self.slab.take();
    }
}

/// Shows that a version can be read from any thread.
const _: PhantomData<fn() -> Pin> = {
    const fn shared<T: Send + Sync>() {}
    shared::<Pin>();
    PhantomData
};
