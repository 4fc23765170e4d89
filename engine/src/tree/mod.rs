//! The tree: a persistent map from path to znode. One writer, any number of frozen versions.
//!
//! Beside the znodes themselves a tree gives a snapshot writer what it stores
//! ([`TreeView::records`], [`TreeView::name_pages`]), and is rebuilt from that by
//! [`TreeLoader`], which leaves the records where they are.
//!
//! First stage: a safe persistent map. The final layout keeps this interface.

mod load;
mod record;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{Stat, Zxid, path};

pub use load::{LoadError, MappedNames, MappedRecords, TreeLoader};
pub use record::{Record, RecordError};

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

#[derive(Clone)]
struct Node {
    bytes: Arc<[u8]>,
    children: OrdSet<Arc<[u8]>>,
}

impl Node {
    fn new(path: &[u8], meta: Meta, data: Option<&[u8]>, children: OrdSet<Arc<[u8]>>) -> Node {
        let znode = Znode { meta, data, children: children.len() as u32 };
        let draft = record::Draft::new(path, &znode, 1);
        let mut bytes = vec![0; draft.len()];
        draft.write(&mut bytes);
        Node { bytes: bytes.into(), children }
    }

    fn record(&self) -> Record<'_> {
        Record::within(&self.bytes)
    }

    fn change(&mut self, data: Option<Option<&[u8]>>, change: impl FnOnce(&mut Meta)) {
        let bytes = self.bytes.clone();
        let record = Record::within(&bytes);
        let znode = record.znode();
        let mut meta = znode.meta;
        change(&mut meta);
        let children = std::mem::take(&mut self.children);
        *self = Node::new(record.path(), meta, data.unwrap_or(znode.data), children);
    }
}

/// Where an iteration over records or pages of names stands; valid for the version it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    skip: usize,
}

/// Records of a version, see [`TreeView::records`].
pub struct Records<'a> {
    nodes: &'a OrdMap<Arc<[u8]>, Node>,
    at: Cursor,
}

impl Records<'_> {
    /// Where to go on later, at the record that comes next.
    pub fn cursor(&self) -> Cursor {
        self.at.clone()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let node = self.nodes.values().nth(self.at.skip)?;
        self.at.skip += 1;
        Some(&node.bytes)
    }
}

/// Pages of child names of a version, see [`TreeView::name_pages`].
pub struct NamePages<'a> {
    of: std::marker::PhantomData<&'a [u8]>,
    at: Cursor,
}

impl NamePages<'_> {
    /// Where to go on later, at the page that comes next.
    pub fn cursor(&self) -> Cursor {
        self.at.clone()
    }
}

impl<'a> Iterator for NamePages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        None
    }
}

/// The writer's tree. The root always exists.
#[derive(Clone)]
pub struct Tree {
    nodes: OrdMap<Arc<[u8]>, Node>,
}

/// A frozen tree.
#[derive(Clone)]
pub struct TreeVersion {
    nodes: OrdMap<Arc<[u8]>, Node>,
}

/// A point to roll back to.
pub struct Savepoint(OrdMap<Arc<[u8]>, Node>);

impl Tree {
    /// A tree that holds only the root. `seed` keys the path hash; it never influences anything
    /// logical.
    pub fn new(seed: u64) -> Tree {
        let _ = seed;
        let meta = Meta { acl: AclRef::OPEN, ..Meta::default() };
        let root = Node::new(b"/", meta, Some(b""), OrdSet::new());
        Tree { nodes: OrdMap::unit(Arc::from(&b"/"[..]), root) }
    }

    fn empty(seed: u64) -> Tree {
        let _ = seed;
        Tree { nodes: OrdMap::new() }
    }

    fn adopt(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let path = Record::within(bytes).path();
        let node = Node { bytes: Arc::from(bytes), children: OrdSet::new() };
        match self.nodes.insert(Arc::from(path), node) {
            None => Ok(()),
            Some(_) => Err(LoadError::Twice(String::from_utf8_lossy(path).into_owned())),
        }
    }

    fn adopted(mut self) -> Result<Tree, LoadError> {
        let paths: Vec<Arc<[u8]>> = self.nodes.keys().cloned().collect();
        for (above, name) in paths.iter().filter_map(|path| path::split(path)) {
            if name.is_empty() {
                continue;
            }
            if let Some(parent) = self.nodes.get_mut(above) {
                parent.children.insert(Arc::from(name));
            }
        }
        if self.nodes.contains_key(&b"/"[..]) { Ok(self) } else { Err(LoadError::NoRoot) }
    }

    /// Reads the working copy.
    pub fn view(&self) -> TreeView<'_> {
        TreeView { nodes: &self.nodes }
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
        let record = self.nodes.get_mut(above).expect("the parent exists");
        record.children.insert(Arc::from(name));
        record.change(None, parent);
        let node = Node::new(path, *meta, data, OrdSet::new());
        let old = self.nodes.insert(Arc::from(path), node);
        assert!(old.is_none(), "a created path is new");
    }

    /// Removes an existing childless znode, and changes the parent's facts.
    pub fn delete(&mut self, path: &[u8], parent: impl FnOnce(&mut Meta)) {
        let (above, name) = path::split(path).expect("a deleted path has a parent");
        let gone = self.nodes.remove(path).expect("a deleted path exists");
        assert!(gone.children.is_empty(), "a deleted znode has no children");
        let record = self.nodes.get_mut(above).expect("the parent exists");
        record.children.remove(name);
        record.change(None, parent);
    }

    /// Changes an existing znode's facts, and its data if `data` is `Some`.
    pub fn update(
        &mut self,
        path: &[u8],
        data: Option<Option<&[u8]>>,
        change: impl FnOnce(&mut Meta),
    ) {
        let record = self.nodes.get_mut(path).expect("an updated path exists");
        record.change(data, change);
    }

    /// Marks the present for [`Tree::rollback`].
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.nodes.clone())
    }

    /// Undoes everything since the savepoint.
    pub fn rollback(&mut self, to: Savepoint) {
        self.nodes = to.0;
    }

    /// The present as a value.
    pub fn freeze(&mut self) -> TreeVersion {
        TreeVersion { nodes: self.nodes.clone() }
    }

    /// Continues from a frozen version, forgetting everything after it.
    pub fn reset(&mut self, to: &TreeVersion) {
        self.nodes = to.nodes.clone();
    }
}

impl TreeVersion {
    /// Reads this version.
    pub fn view(&self) -> TreeView<'_> {
        TreeView { nodes: &self.nodes }
    }
}

/// Reads one moment of the tree. Not to be kept across a scheduling point.
#[derive(Clone, Copy)]
pub struct TreeView<'a> {
    nodes: &'a OrdMap<Arc<[u8]>, Node>,
}

impl<'a> TreeView<'a> {
    /// The znode at a path; `/` is the root.
    pub fn get(&self, path: &[u8]) -> Option<Znode<'a>> {
        self.nodes.get(path).map(|node| node.record().znode())
    }

    /// Names of the children, in no promised order; `None` if the znode does not exist.
    pub fn children(&self, path: &[u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        self.nodes.get(path).map(|record| record.children.iter().map(|name| &**name))
    }

    /// All znodes with their paths, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Znode<'a>)> + use<'a> {
        self.nodes.values().map(|node| (node.record().path(), node.record().znode()))
    }

    /// All records, from `from` on, in the order in which [`TreeLoader`] takes them fastest. A
    /// writer that must pause keeps [`Records::cursor`] and comes back with it to the same version.
    pub fn records(&self, from: Cursor) -> Records<'a> {
        Records { nodes: self.nodes, at: from }
    }

    /// The pages of child names, from `from` on, in the order in which [`TreeLoader`] wants them.
    /// A page is self-contained, in general below 1 KiB, and never above 64 KiB plus the length
    /// of its longest name.
    pub fn name_pages(&self, from: Cursor) -> NamePages<'a> {
        let _ = self;
        NamePages { of: std::marker::PhantomData, at: from }
    }

    /// Number of znodes, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: the root always exists.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
