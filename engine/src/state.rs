//! The state at one zxid, as a value.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{SessionId, Zxid};

use crate::access;
use crate::tree::{AclRef, CONTAINER_OWNER, TTL_OWNER_BITS, TreeVersion, TreeView};

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
#[derive(Clone, PartialEq, Debug, Default)]
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
    /// Access lists by reference, without [`AclRef::OPEN`], which is never counted.
    pub acls: OrdMap<u32, AclEntry>,
    /// References by encoded list.
    pub acl_index: OrdMap<Arc<[u8]>, u32>,
    /// Reference given out last.
    pub acl_last: u32,
    /// Usage of every quota, by the path it governs.
    pub quotas: OrdMap<Arc<[u8]>, crate::quota::Quota>,
    /// Bytes of all paths and data, as `approximate_data_size` reports them.
    pub data_bytes: u64,
}

/// What a znode's stored owner makes of it (`client-protocol` 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    Ttl,
}

impl Kind {
    pub(crate) fn of(owner: i64) -> Kind {
        match owner {
            0 => Kind::Persistent,
            CONTAINER_OWNER => Kind::Container,
            _ if owner & TTL_OWNER_BITS == TTL_OWNER_BITS => Kind::Ttl,
            _ => Kind::Ephemeral(SessionId(owner)),
        }
    }
}

impl Tables {
    /// The encoded access list behind a reference.
    pub fn acl(&self, acl: AclRef) -> &[u8] {
        if acl == AclRef::OPEN {
            return access::OPEN_LIST;
        }
        &self.acls.get(&acl.0).expect("znodes refer to lists that are in the table").list
    }

    /// Counts one more znode with this list and returns the reference to store.
    pub(crate) fn acquire_acl(&mut self, list: &[u8]) -> AclRef {
        if list == access::OPEN_LIST {
            return AclRef::OPEN;
        }
        if let Some(&known) = self.acl_index.get(list) {
            let entry = self.acls.get_mut(&known).expect("the index names lists of the table");
            entry.uses += 1;
            return AclRef(known);
        }
        let mut free = self.acl_last.wrapping_add(1);
        while free <= AclRef::OPEN.0 || self.acls.contains_key(&free) {
            free = free.wrapping_add(1);
        }
        let list: Arc<[u8]> = Arc::from(list);
        self.acl_last = free;
        self.acls.insert(free, AclEntry { list: list.clone(), uses: 1 });
        self.acl_index.insert(list, free);
        AclRef(free)
    }

    /// Counts one znode less; the last one takes the list out of the table.
    pub(crate) fn release_acl(&mut self, acl: AclRef) {
        if acl == AclRef::OPEN {
            return;
        }
        let entry = self.acls.get_mut(&acl.0).expect("a released list is in the table");
        entry.uses -= 1;
        if entry.uses == 0 {
            let gone = self.acls.remove(&acl.0).expect("it was just there");
            // Loaded tables may hold one list twice.
            if self.acl_index.get(&gone.list) == Some(&acl.0) {
                self.acl_index.remove(&gone.list);
            }
        }
    }

    /// The list that guards events of a znode; `None` when the whole world may read it.
    pub(crate) fn guard(&self, acl: AclRef) -> Option<Arc<[u8]>> {
        if acl == AclRef::OPEN {
            return None;
        }
        let list = &self.acls.get(&acl.0)?.list;
        (!access::is_world_readable(list)).then(|| list.clone())
    }

    /// Enters a new znode in the table of its kind.
    pub(crate) fn register(&mut self, path: &[u8], owner: i64) {
        match Kind::of(owner) {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(Arc::from(path));
                self.ephemeral_count += 1;
            }
            Kind::Container => {
                self.containers.insert(Arc::from(path));
            }
            Kind::Ttl => {
                self.ttls.insert(Arc::from(path));
            }
        }
    }

    /// Takes a znode that goes out of the table of its kind.
    pub(crate) fn unregister(&mut self, path: &[u8], owner: i64) {
        match Kind::of(owner) {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                self.ephemeral_count -= 1;
                // A closing session's set has been taken out already.
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Kind::Container => {
                self.containers.remove(path);
            }
            Kind::Ttl => {
                self.ttls.remove(path);
            }
        }
    }
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
        self.inner.tables.acl(acl)
    }

    /// Znodes as ZooKeeper counts them: it stores the root twice.
    pub fn node_count(&self) -> u64 {
        self.view().len() as u64 + 1
    }

    /// Bytes of all paths and data (`approximate_data_size`).
    pub fn data_bytes(&self) -> u64 {
        self.inner.tables.data_bytes
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({:?}, digest {})", self.zxid(), self.digest())
    }
}
