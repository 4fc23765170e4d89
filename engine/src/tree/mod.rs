//! The tree: a persistent map from path to znode. One writer, any number of frozen versions.
//!
//! First stage: a safe persistent map. The final layout keeps this interface.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{Stat, Zxid, path};

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
struct Record {
    meta: Meta,
    data: Option<Arc<[u8]>>,
    children: OrdSet<Arc<[u8]>>,
}

impl Record {
    fn znode(&self) -> Znode<'_> {
        Znode { meta: self.meta, data: self.data.as_deref(), children: self.children.len() as u32 }
    }
}

/// The writer's tree. The root always exists.
#[derive(Clone)]
pub struct Tree {
    nodes: OrdMap<Arc<[u8]>, Record>,
}

/// A frozen tree.
#[derive(Clone)]
pub struct TreeVersion {
    nodes: OrdMap<Arc<[u8]>, Record>,
}

/// A point to roll back to.
pub struct Savepoint(OrdMap<Arc<[u8]>, Record>);

impl Tree {
    /// A tree that holds only the root. `seed` keys the path hash; it never influences anything
    /// logical.
    pub fn new(seed: u64) -> Tree {
        let _ = seed;
        let root = Record {
            meta: Meta { acl: AclRef::OPEN, ..Meta::default() },
            data: Some(Arc::from(&b""[..])),
            children: OrdSet::new(),
        };
        Tree { nodes: OrdMap::unit(Arc::from(&b"/"[..]), root) }
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
        parent(&mut record.meta);
        record.children.insert(Arc::from(name));
        let data = data.map(Arc::from);
        let old = self
            .nodes
            .insert(Arc::from(path), Record { meta: *meta, data, children: OrdSet::new() });
        assert!(old.is_none(), "a created path is new");
    }

    /// Removes an existing childless znode, and changes the parent's facts.
    pub fn delete(&mut self, path: &[u8], parent: impl FnOnce(&mut Meta)) {
        let (above, name) = path::split(path).expect("a deleted path has a parent");
        let gone = self.nodes.remove(path).expect("a deleted path exists");
        assert!(gone.children.is_empty(), "a deleted znode has no children");
        let record = self.nodes.get_mut(above).expect("the parent exists");
        parent(&mut record.meta);
        record.children.remove(name);
    }

    /// Changes an existing znode's facts, and its data if `data` is `Some`.
    pub fn update(
        &mut self,
        path: &[u8],
        data: Option<Option<&[u8]>>,
        change: impl FnOnce(&mut Meta),
    ) {
        let record = self.nodes.get_mut(path).expect("an updated path exists");
        change(&mut record.meta);
        if let Some(data) = data {
            record.data = data.map(Arc::from);
        }
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
    nodes: &'a OrdMap<Arc<[u8]>, Record>,
}

impl<'a> TreeView<'a> {
    /// The znode at a path; `/` is the root.
    pub fn get(&self, path: &[u8]) -> Option<Znode<'a>> {
        self.nodes.get(path).map(Record::znode)
    }

    /// Names of the children, in no promised order; `None` if the znode does not exist.
    pub fn children(&self, path: &[u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        self.nodes.get(path).map(|record| record.children.iter().map(|name| &**name))
    }

    /// All znodes with their paths, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Znode<'a>)> + use<'a> {
        self.nodes.iter().map(|(path, record)| (&**path, record.znode()))
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
