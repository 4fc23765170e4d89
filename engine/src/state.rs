//! The state at one zxid, as a value.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{SessionId, Zxid};

use crate::tree::{AclRef, TreeVersion, TreeView};

/// What the log knows of a session; who was heard from when is not replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// Timeout at creation, ms.
    pub timeout_ms: i32,
}

/// An access list in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// Encoded list.
    pub list: Arc<[u8]>,
    /// Znodes that refer to it.
    pub uses: u64,
}

/// Everything beside the tree. Cloning is O(1).
#[derive(Clone, Default)]
pub struct Tables {
    /// Last applied transaction.
    pub zxid: Zxid,
    /// Sum of all znode digests (`zab-wire` 4.5).
    pub digest: u64,
    /// Live sessions.
    pub sessions: OrdMap<SessionId, Session>,
    /// Ephemeral paths by owner; no empty sets.
    pub ephemerals: OrdMap<SessionId, OrdSet<Arc<[u8]>>>,
    /// Ephemeral znodes in all.
    pub ephemeral_count: u64,
    /// Container paths.
    pub containers: OrdSet<Arc<[u8]>>,
    /// TTL paths.
    pub ttls: OrdSet<Arc<[u8]>>,
    /// Access lists by reference.
    pub acls: OrdMap<u32, AclEntry>,
    /// References by encoded list.
    pub acl_index: OrdMap<Arc<[u8]>, u32>,
    /// Highest reference given out.
    pub acl_last: u32,
    /// Quotas by the path they govern.
    pub quotas: OrdMap<Arc<[u8]>, crate::quota::Quota>,
    /// Bytes of all paths and data, as `approximate_data_size` reports them.
    pub data_bytes: u64,
}

/// The state at one zxid: immutable, cheap to clone, readable from any thread.
#[derive(Clone)]
pub struct Version {
    inner: Arc<Inner>,
}

struct Inner {
    tree: TreeVersion,
    tables: Tables,
}

impl Version {
    /// Joins a frozen tree with its tables.
    pub fn new(tree: TreeVersion, tables: Tables) -> Version {
        Version { inner: Arc::new(Inner { tree, tables }) }
    }

    /// The tree.
    pub fn view(&self) -> TreeView<'_> {
        self.inner.tree.view()
    }

    /// The frozen tree itself.
    pub fn tree(&self) -> &TreeVersion {
        &self.inner.tree
    }

    /// Everything beside the tree.
    pub fn tables(&self) -> &Tables {
        &self.inner.tables
    }

    /// Last applied transaction.
    pub fn zxid(&self) -> Zxid {
        self.inner.tables.zxid
    }

    /// ZooKeeper's tree digest, version 2.
    pub fn digest(&self) -> u64 {
        self.inner.tables.digest
    }

    /// An access list, encoded.
    pub fn acl(&self, acl: AclRef) -> &[u8] {
        self.inner.tables.acls.get(&acl.0).map_or(&[0, 0, 0, 0], |entry| &entry.list)
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({:?}, digest {})", self.zxid(), self.digest())
    }
}
