//! From loaded parts back to a working copy: whatever is not stored is derived from the tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Perms, SessionId, Zxid, acl};

use crate::draft::{Draft, Settings};
use crate::quota;
use crate::state::{AclEntry, Kind, Session, Tables};
use crate::tree::{AclRef, Meta, Tree};

/// What must be stored beside the tree; everything else is derived.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stored {
    /// Last applied transaction.
    pub zxid: Zxid,
    /// Tree digest after it.
    pub digest: u64,
    /// Live sessions.
    pub sessions: Vec<(SessionId, Session)>,
    /// Access lists in use, encoded, by the reference that znodes carry; without
    /// [`AclRef::OPEN`].
    pub acls: Vec<(AclRef, Arc<[u8]>)>,
}

impl Tables {
    /// The part of the tables that cannot be derived from the tree.
    pub fn stored(&self) -> Stored {
        let sessions = self.sessions.iter().map(|(id, session)| (*id, *session)).collect();
        let acls = self.acls.iter().map(|(acl, entry)| (AclRef(*acl), entry.list.clone()));
        Stored { zxid: self.zxid, digest: self.digest, sessions, acls: acls.collect() }
    }
}

/// Facts gathered from every znode while a tree is loaded, in any order and in any number of
/// pieces.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Census {
    bytes: u64,
    owned: Vec<(i64, Arc<[u8]>)>,
    acl_uses: BTreeMap<u32, u64>,
    limits: Vec<Arc<[u8]>>,
}

impl Census {
    /// Counts one znode.
    #[inline]
    pub fn note(&mut self, path: &[u8], meta: &Meta, data_length: usize) {
        self.bytes += (path.len() + data_length) as u64;
        if meta.owner != 0 {
            self.owned.push((meta.owner, Arc::from(path)));
        }
        if meta.acl != AclRef::OPEN {
            *self.acl_uses.entry(meta.acl.0).or_default() += 1;
        }
        if quota::limits_target(path).is_some() {
            self.limits.push(Arc::from(path));
        }
    }

    /// Adds what another piece of the tree gave.
    pub fn merge(&mut self, other: Census) {
        self.bytes += other.bytes;
        self.owned.extend(other.owned);
        self.limits.extend(other.limits);
        for (acl, uses) in other.acl_uses {
            *self.acl_uses.entry(acl).or_default() += uses;
        }
    }
}

impl Draft {
    /// Joins a loaded tree with what was stored beside it, deriving the rest by one walk.
    pub fn restore(settings: Settings, tree: Tree, stored: Stored) -> Draft {
        let mut census = Census::default();
        for (path, znode) in tree.view().iter() {
            census.note(path, &znode.meta, znode.data.map_or(0, <[u8]>::len));
        }
        Draft::restore_counted(settings, tree, stored, census)
    }

    /// Joins a tree with tables of which only the stored part is trusted.
    pub fn from_parts(settings: Settings, tree: Tree, tables: &Tables) -> Draft {
        Draft::restore(settings, tree, tables.stored())
    }

    /// [`Draft::restore`] without the walk: the caller took the census while it loaded the tree.
    pub fn restore_counted(
        settings: Settings,
        tree: Tree,
        stored: Stored,
        census: Census,
    ) -> Draft {
        let mut tables = Tables {
            zxid: stored.zxid,
            digest: stored.digest,
            sessions: stored.sessions.into_iter().collect(),
            data_bytes: census.bytes,
            ..Tables::default()
        };
        fill_acls(&mut tables, stored.acls, &census.acl_uses);
        for (owner, path) in census.owned {
            match Kind::of(owner) {
                Kind::Persistent => {}
                Kind::Ephemeral(session) => {
                    tables.ephemerals.entry(session).or_default().insert(path);
                    tables.ephemeral_count += 1;
                }
                Kind::Container => {
                    tables.containers.insert(path);
                }
                Kind::Ttl => {
                    tables.ttls.insert(path);
                }
            }
        }
        let mut draft = Draft { settings, tree, tables };
        quota::rebuild(&mut draft, &census.limits);
        draft
    }
}

/// Keeps the lists that are in use. A znode may refer to a list that is missing (ZooKeeper's own
/// snapshots are fuzzy): until the replay repairs it, nobody may use that znode.
fn fill_acls(tables: &mut Tables, lists: Vec<(AclRef, Arc<[u8]>)>, uses: &BTreeMap<u32, u64>) {
    let lists: BTreeMap<u32, Arc<[u8]>> =
        lists.into_iter().map(|(acl, list)| (acl.0, list)).collect();
    tables.acl_last = lists.keys().next_back().copied().unwrap_or(AclRef::OPEN.0);
    for (&acl, &uses) in uses {
        let known = lists.get(&acl).cloned();
        if let Some(list) = &known {
            tables.acl_index.insert(list.clone(), acl);
        }
        let list = known.unwrap_or_else(|| Arc::from(acl::world(Perms(0))));
        tables.acls.insert(acl, AclEntry { list, uses });
    }
}
