//! The tree: a persistent map from path to znode. One writer, any number of frozen versions.
//!
//! Beside the znodes themselves a tree gives a snapshot writer what it stores
//! ([`TreeView::records`], [`TreeView::name_pages`]), and is rebuilt from that by
//! [`TreeLoader`], which leaves the records where they are.
//!
//! # Layout
//!
//! - `record`: a znode is one immutable block of bytes: facts, path, data.
//! - `trie`: a 32-way hash trie leads from the seeded hash of a path to its record.
//! - `names`: one ordered tree of packed pages holds the names of everybody's children.
//! - `store`: blocks, the epochs that tell who sees them, versions, and when blocks are freed.
//! - `slab`: memory for blocks, by size class.
//!
//! A parent's record holds the number of its children and the id under which their names are
//! kept, so a setData touches no names, and a getData needs one lookup. `store` and `slab` are
//! the only files with `unsafe`; everything above them cannot break their rules. Measurements and
//! reasons: `docs/adr/0004-tree-layout.md`, which also has the sanitizer commands.

mod load;
mod names;
mod record;
mod slab;
mod store;
mod trie;
mod walk;

use std::sync::Arc;

use ahash::RandomState;
use model::{Stat, Zxid, path};

pub use load::{LoadError, MappedNames, MappedRecords, TreeLoader};
pub use record::{Record, RecordError};
pub use walk::Cursor;

use names::{Builder, Names};
use record::Draft;
use store::{Edge, Kind, Pin, Roots, Store};
use walk::Walk;

/// Index of an access list in the state's table; 0 is reserved, 1 is `world:anyone:31`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AclRef(pub u32);

impl AclRef {
    /// `world:anyone` with all permissions, the list nearly every znode has.
    pub const OPEN: AclRef = AclRef(1);
}

/// Stored facts of a znode, apart from path, data and number of children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Zxid of the create.
    pub czxid: Zxid,
    /// Zxid of the create or last setData.
    pub mzxid: Zxid,
    /// Zxid of the last child create or delete.
    pub pzxid: Zxid,
    /// Wall-clock ms of the create.
    pub ctime: i64,
    /// Wall-clock ms of the create or last setData.
    pub mtime: i64,
    /// Count of setData.
    pub version: i32,
    /// Count of child creates ever: the stored counter C, not the wire's cversion
    /// (`client-protocol` 4.1).
    pub cversion: i32,
    /// Count of setACL.
    pub aversion: i32,
    /// Raw owner: session, or the container or TTL marker (`client-protocol` 4.4).
    pub owner: i64,
    /// Access list.
    pub acl: AclRef,
}

/// A znode, borrowed from the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Znode<'a> {
    /// Facts.
    pub meta: Meta,
    /// Data; null is not empty.
    pub data: Option<&'a [u8]>,
    /// Direct children.
    pub children: u32,
}

/// Stored owner of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// Top byte of the stored owner of a TTL znode.
pub const TTL_OWNER_BITS: i64 = 0xff00_0000_0000_0000_u64 as i64;

impl Znode<'_> {
    /// The Stat clients see: derived cversion, masked owner.
    pub fn stat(&self) -> Stat {
        let meta = &self.meta;
        let special = meta.owner == CONTAINER_OWNER || self.ttl_ms().is_some();
        Stat {
            czxid: meta.czxid,
            mzxid: meta.mzxid,
            ctime: meta.ctime,
            mtime: meta.mtime,
            version: meta.version,
            cversion: meta.cversion.wrapping_mul(2).wrapping_sub(self.children as i32),
            aversion: meta.aversion,
            ephemeral_owner: if special { 0 } else { meta.owner },
            data_length: self.data.map_or(0, <[u8]>::len) as i32,
            num_children: self.children as i32,
            pzxid: meta.pzxid,
        }
    }

    /// Time to live of a TTL znode, ms.
    pub fn ttl_ms(&self) -> Option<i64> {
        let ttl = self.meta.owner & !TTL_OWNER_BITS;
        (self.meta.owner & TTL_OWNER_BITS == TTL_OWNER_BITS).then_some(ttl & 0xff_ffff_ffff)
    }

    /// True for a znode that a session owns.
    pub fn is_ephemeral(&self) -> bool {
        self.meta.owner != 0 && self.meta.owner != CONTAINER_OWNER && self.ttl_ms().is_none()
    }
}

/// Keys the path hash.
fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, 0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, !seed)
}

/// The writer's tree. The root always exists.
pub struct Tree {
    store: Store,
    roots: Roots,
    hasher: RandomState,
    builder: Builder,
}

/// A frozen tree: cheap to clone, readable from any thread. Holding it keeps what it can reach,
/// and nothing else; dropping it never frees memory of a tree that is still there, the writer
/// does that. The last of tree and versions frees everything.
#[derive(Clone)]
pub struct TreeVersion {
    pin: Arc<Pin>,
}

/// A point to roll back to.
pub struct Savepoint(TreeVersion);

/// What a tree takes of memory beside mapped records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Blocks in use by the working copy, by held versions, or waiting to be freed.
    pub blocks: usize,
    /// Bytes of these blocks.
    pub bytes: usize,
}

/// Bytes left free behind a new record: about what the first setData adds to its facts.
const SPARE: usize = 13;
/// Most bytes left free behind a record that is written again.
const LOOSE: usize = 32;

/// Makes a record. `old` is the one it replaces, if any: blocks of the same size, when they are
/// not too loose, let the new record take the place of one retired before. If instead all records
/// moved on to another size with their first setData, the blocks of the old size would stay behind
/// half empty.
fn record(store: &mut Store, old: &Edge, hash: u64, draft: &Draft<'_>) -> Edge {
    let len = draft.len();
    let spare = match Store::room(old) {
        0 => SPARE,
        room => room.checked_sub(len).filter(|spare| *spare <= LOOSE).unwrap_or(0),
    };
    store.bytes(Kind::Record, trie::mark(hash), len, spare, |out| draft.write(out))
}

impl Tree {
    /// A tree that holds only the root. `seed` keys the path hash; it never influences anything
    /// logical.
    pub fn new(seed: u64) -> Tree {
        Tree::with_root(Tree::empty(seed, false))
    }

    /// A tree whose blocks are allocated one by one, so that an address sanitizer sees each.
    #[doc(hidden)]
    pub fn with_separate_blocks(seed: u64) -> Tree {
        Tree::with_root(Tree::empty(seed, true))
    }

    fn empty(seed: u64, all_separate: bool) -> Tree {
        Tree::keyed(hasher(seed), all_separate)
    }

    fn keyed(hasher: RandomState, all_separate: bool) -> Tree {
        let store = Store::new(hasher.clone(), all_separate);
        Tree { store, roots: Roots::empty(), hasher, builder: Builder::default() }
    }

    fn with_root(mut self) -> Tree {
        let meta = Meta { acl: AclRef::OPEN, ..Meta::default() };
        self.add(b"/", &Znode { meta, data: Some(b""), children: 0 });
        self
    }

    fn hash(&self, path: &[u8]) -> u64 {
        trie::hash(&self.hasher, path)
    }

    /// Adds a record for a new path.
    fn add(&mut self, path: &[u8], znode: &Znode<'_>) {
        let hash = self.hash(path);
        let record = record(&mut self.store, &Edge::NONE, hash, &Draft::new(path, znode, 0));
        assert!(self.place(hash, record).is_ok(), "a created path is new");
    }

    /// Puts a record into the trie; gives it back if its path is there already.
    fn place(&mut self, hash: u64, record: Edge) -> Result<(), Edge> {
        trie::insert(&mut self.store, &self.hasher, &mut self.roots.trie, hash, record)?;
        self.roots.len += 1;
        Ok(())
    }

    /// Writes a record anew. `change` gets the znode and the id of its names, to be set when the
    /// znode gets its first child.
    fn rewrite(&mut self, path: &[u8], change: impl FnOnce(&mut Znode<'_>, &mut u64)) {
        let hash = self.hash(path);
        let slot = trie::slot(&mut self.store, &mut self.roots.trie, hash, path);
        let slot = slot.expect("a changed path exists");
        let (mut znode, mut names) = Record::within(slot.bytes()).decode();
        change(&mut znode, &mut names);
        let new = record(&mut self.store, slot, hash, &Draft::new(path, &znode, names));
        self.store.retire(std::mem::replace(slot, new));
    }

    /// Reads the working copy.
    pub fn view(&self) -> TreeView<'_> {
        TreeView { roots: &self.roots, hasher: &self.hasher }
    }

    /// Adds a childless znode under an existing parent, and changes the parent's facts.
    /// The path must not exist, the parent must.
    pub fn create(
        &mut self,
        path: &[u8],
        meta: &Meta,
        data: Option<&[u8]>,
        parent: impl FnOnce(&mut Meta),
    ) {
        let (above, name) = path::split(path).expect("a created path has a parent");
        let fresh = self.roots.next_id;
        let mut id = 0;
        self.rewrite(above, |znode, names| {
            if znode.children == 0 {
                *names = fresh;
            }
            id = *names;
            znode.children += 1;
            parent(&mut znode.meta);
        });
        self.roots.next_id += u64::from(id == fresh);
        let names = &mut self.roots.names;
        let new = names::insert(&mut self.store, names, id, name, &mut self.builder);
        assert!(new, "a created path is new");
        self.add(path, &Znode { meta: *meta, data, children: 0 });
    }

    /// Removes an existing childless znode, and changes the parent's facts.
    pub fn delete(&mut self, path: &[u8], parent: impl FnOnce(&mut Meta)) {
        let (above, name) = path::split(path).expect("a deleted path has a parent");
        let hash = self.hash(path);
        let gone = trie::remove(&mut self.store, &mut self.roots.trie, hash, path);
        let gone = gone.expect("a deleted path exists");
        let children = Record::within(gone.bytes()).znode().children;
        assert!(children == 0, "a deleted znode has no children");
        self.store.retire(gone);
        self.roots.len -= 1;
        let mut id = 0;
        self.rewrite(above, |znode, names| {
            id = *names;
            znode.children = znode.children.saturating_sub(1);
            parent(&mut znode.meta);
        });
        let names = &mut self.roots.names;
        let known = names::remove(&mut self.store, names, id, name, &mut self.builder);
        assert!(known, "a parent knows its children");
    }

    /// Changes an existing znode's facts, and its data if `data` is `Some`.
    pub fn update(
        &mut self,
        path: &[u8],
        data: Option<Option<&[u8]>>,
        change: impl FnOnce(&mut Meta),
    ) {
        let hash = self.hash(path);
        let slot = trie::slot(&mut self.store, &mut self.roots.trie, hash, path);
        let slot = slot.expect("an updated path exists");
        let (old, names) = Record::within(slot.bytes()).decode();
        let mut meta = old.meta;
        change(&mut meta);
        let znode = Znode { meta, data: data.unwrap_or(old.data), children: old.children };
        let new = record(&mut self.store, slot, hash, &Draft::new(path, &znode, names));
        self.store.retire(std::mem::replace(slot, new));
    }

    /// Replaces an existing znode's data, and changes its facts, in one pass: `change` sees the
    /// znode as it was and gives its new facts. `None`, and nothing changed, if the path does not
    /// exist.
    pub fn set_data<R>(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        change: impl FnOnce(&Znode<'_>) -> (Meta, R),
    ) -> Option<R> {
        let hash = self.hash(path);
        let slot = trie::slot(&mut self.store, &mut self.roots.trie, hash, path)?;
        let (old, names) = Record::within(slot.bytes()).decode();
        let (meta, result) = change(&old);
        let znode = Znode { meta, data, children: old.children };
        let new = record(&mut self.store, slot, hash, &Draft::new(path, &znode, names));
        self.store.retire(std::mem::replace(slot, new));
        Some(result)
    }

    /// Marks the present for [`Tree::rollback`].
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.freeze())
    }

    /// Undoes everything since the savepoint.
    pub fn rollback(&mut self, to: Savepoint) {
        self.reset(&to.0);
    }

    /// The present as a value.
    pub fn freeze(&mut self) -> TreeVersion {
        TreeVersion { pin: self.store.freeze(&self.roots) }
    }

    /// Continues from a frozen version, forgetting everything after it. A version of another tree
    /// is copied.
    pub fn reset(&mut self, to: &TreeVersion) {
        if !self.store.restore(&mut self.roots, &to.pin) {
            *self = Tree::copy(&to.pin);
        }
    }

    /// A tree of its own with a version's content.
    fn copy(from: &Pin) -> Tree {
        let mut tree = Tree::keyed(from.home.hasher.clone(), false);
        let start = Cursor::default();
        for edge in Walk::new(&from.roots.trie, &start) {
            let bytes = Record::within(edge.bytes()).bytes();
            let hash = tree.hash(Record::within(bytes).path());
            let write = |out: &mut [u8]| out.copy_from_slice(bytes);
            let record = tree.store.bytes(Kind::Record, edge.mark(), bytes.len(), 0, write);
            assert!(tree.place(hash, record).is_ok(), "a version has each path once");
        }
        let mut leaves = Vec::new();
        for edge in Walk::new(&from.roots.names, &start) {
            let bytes = names::Page::within(edge.bytes()).bytes();
            let write = |out: &mut [u8]| out.copy_from_slice(bytes);
            leaves.push(tree.store.bytes(Kind::Names, 0, bytes.len(), 0, write));
        }
        tree.roots.names = names::build(&mut tree.store, leaves, &mut tree.builder);
        tree.roots.next_id = from.roots.next_id;
        tree
    }

    /// Frees at once whatever no held version can see. [`Tree::freeze`] does the same bit by bit,
    /// so this is for whoever wants exact numbers.
    pub fn reclaim(&mut self) {
        self.store.reclaim();
    }

    /// What the tree takes of memory.
    pub fn memory(&self) -> Memory {
        let (blocks, bytes) = self.store.in_use();
        Memory { blocks, bytes }
    }

    /// Counts the blocks of the working copy and those waiting to be freed, by looking at each:
    /// [`Memory::blocks`] the long way, for tests that look for leaks.
    #[doc(hidden)]
    pub fn accounted_blocks(&self) -> usize {
        self.store.accounted(&self.roots)
    }
}

impl TreeVersion {
    /// Reads this version.
    pub fn view(&self) -> TreeView<'_> {
        TreeView { roots: &self.pin.roots, hasher: &self.pin.home.hasher }
    }
}

/// Records of a version, see [`TreeView::records`].
pub struct Records<'a>(Walk<'a>);

impl Records<'_> {
    /// Where to go on later, at the record that comes next.
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        Some(Record::within(self.0.next()?.bytes()).bytes())
    }
}

/// Pages of child names of a version, see [`TreeView::name_pages`].
pub struct NamePages<'a>(Walk<'a>);

impl NamePages<'_> {
    /// Where to go on later, at the page that comes next.
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }
}

impl<'a> Iterator for NamePages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        Some(names::Page::within(self.0.next()?.bytes()).bytes())
    }
}

/// Reads one moment of the tree. Not to be kept across a scheduling point.
#[derive(Clone, Copy)]
pub struct TreeView<'a> {
    roots: &'a Roots,
    hasher: &'a RandomState,
}

impl<'a> TreeView<'a> {
    #[inline]
    fn record(&self, path: &[u8]) -> Option<Record<'a>> {
        trie::get(&self.roots.trie, trie::hash(self.hasher, path), path)
    }

    /// The znode at a path; `/` is the root.
    pub fn get(&self, path: &[u8]) -> Option<Znode<'a>> {
        self.record(path).map(|record| record.znode())
    }

    /// Names of the children, in no promised order; `None` if the znode does not exist.
    pub fn children(&self, path: &[u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let (znode, id) = self.record(path)?.decode();
        Some(Names::new(&self.roots.names, id, znode.children))
    }

    /// Goes on in the order of [`TreeView::children`] of the same version: the names after
    /// `last`, which was the `passed`-th of them. `None` if the znode does not exist.
    pub fn children_after(
        &self,
        path: &[u8],
        last: &[u8],
        passed: u32,
    ) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let (znode, id) = self.record(path)?.decode();
        Some(Names::after(&self.roots.names, id, last, znode.children.saturating_sub(passed)))
    }

    /// All znodes with their paths, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Znode<'a>)> + use<'a> {
        Walk::new(&self.roots.trie, &Cursor::default()).map(|edge| {
            let record = Record::within(edge.bytes());
            (record.path(), record.znode())
        })
    }

    /// All records, from `from` on, in the order in which [`TreeLoader`] takes them fastest: that
    /// of the trie. A writer that must pause keeps [`Records::cursor`] and comes back with it to
    /// the same version.
    pub fn records(&self, from: Cursor) -> Records<'a> {
        Records(Walk::new(&self.roots.trie, &from))
    }

    /// The pages of child names, from `from` on, in the order in which [`TreeLoader`] wants them.
    /// A page is self-contained and below 1 KiB, unless it holds a single longer name.
    pub fn name_pages(&self, from: Cursor) -> NamePages<'a> {
        NamePages(Walk::new(&self.roots.names, &from))
    }

    /// Number of znodes, the root included.
    pub fn len(&self) -> usize {
        self.roots.len as usize
    }

    /// Never true: the root always exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
