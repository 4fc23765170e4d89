//! The one writer's working copy of the state.

use std::sync::Arc;

use model::{AuthId, ErrorCode, Op, Perms, SessionId, Txn, TxnDigest, TxnHeader, Zxid};
use model::{acl, path};

use crate::access;
use crate::digest;
use crate::effect::{Effects, Outcome};
use crate::op;
use crate::state::{Tables, Version};
use crate::tree::{AclRef, Meta, Tree, Znode};

/// Switches that change how operations are judged. All servers of an ensemble must agree on them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TTL znodes are allowed (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Hard quota limits refuse writes (`enforceQuota`).
    pub enforce_quota: bool,
    /// Access lists are not consulted (`skipACL`).
    pub skip_acl: bool,
    /// `reconfigEnabled`.
    pub reconfig: bool,
    /// Scheme `digest` exists (`DigestAuthenticationProvider.enabled`).
    pub digest_scheme: bool,
    /// Scheme `sasl` may stand in access lists (provider registered).
    pub sasl_scheme: bool,
    /// Scheme `x509` may stand in access lists (provider registered).
    pub x509_scheme: bool,
    /// Keys the path hash; influences nothing logical.
    pub hash_seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            extended_types: false,
            enforce_quota: false,
            skip_acl: false,
            reconfig: false,
            digest_scheme: true,
            sasl_scheme: false,
            x509_scheme: false,
            hash_seed: 0,
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The session; [`SessionId::NONE`] for the server's own housekeeping.
    pub session: SessionId,
    /// Identities proven when the request was received.
    pub identities: Arc<[AuthId]>,
}

/// Where and when a transaction takes its place.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Its zxid.
    pub zxid: Zxid,
    /// The request's xid.
    pub cxid: i32,
    /// Leader's wall clock, ms.
    pub time_ms: i64,
}

/// A decided request: what to log, and what to answer once it is committed.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided<'a> {
    /// Goes into the log with `digest`.
    pub header: TxnHeader,
    /// The change; [`Txn::Error`] if the request was refused.
    pub txn: Txn<'a>,
    /// Digest after it; none on error transactions.
    pub digest: Option<TxnDigest>,
    /// For the client.
    pub outcome: Outcome,
}

/// A point to roll back to.
pub struct Savepoint {
    tree: crate::tree::Savepoint,
    tables: Tables,
}

/// The working copy: all proposed transactions applied.
pub struct Draft {
    pub(crate) settings: Settings,
    pub(crate) tree: Tree,
    pub(crate) tables: Tables,
}

impl Draft {
    /// A fresh database: root, `/zookeeper`, its `quota` and `config` (`zab-wire` 4.1).
    pub fn new(settings: Settings) -> Draft {
        let mut tree = Tree::new(settings.hash_seed);
        let mut tables = Tables { digest: digest::FRESH, data_bytes: 1, ..Tables::default() };
        let readable = tables.acquire_acl(&acl::world(Perms::READ));
        let open = Meta { acl: AclRef::OPEN, ..Meta::default() };
        let config = Meta { acl: readable, aversion: -1, ..open };
        for (path, meta) in [(path::SYSTEM, open), (path::QUOTA, open), (path::CONFIG, config)] {
            tree.create(path, &meta, Some(b""), |_| {});
            tables.data_bytes += path.len() as u64;
        }
        Draft { settings, tree, tables }
    }

    /// Judges an operation against the working copy and applies the decision. Never fails: a
    /// refused operation becomes an error transaction. Changes are appended to `effects`.
    pub fn execute<'a>(
        &mut self,
        op: &Op<'a>,
        who: &Caller,
        at: Stamp,
        effects: &mut Effects,
    ) -> Decided<'a> {
        let header =
            TxnHeader { session: who.session, cxid: at.cxid, zxid: at.zxid, time_ms: at.time_ms };
        let (txn, outcome) = op::execute(self, op, who, at, &header, effects);
        self.tables.zxid = at.zxid;
        let is_error = matches!(txn, Txn::Error { .. });
        let digest = (!is_error).then_some(TxnDigest(self.tables.digest));
        Decided { header, txn, digest, outcome }
    }

    /// Applies a decided transaction (replay, follower) by the rules of `zab-wire` 4.2, and says
    /// what its client is to be answered.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, effects: &mut Effects) -> Outcome {
        let outcome = op::apply(self, header, txn, effects);
        self.tables.zxid = self.tables.zxid.max(header.zxid);
        outcome
    }

    /// Marks the present.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint { tree: self.tree.savepoint(), tables: self.tables.clone() }
    }

    /// Undoes everything since the savepoint.
    pub fn rollback(&mut self, to: Savepoint) {
        self.tree.rollback(to.tree);
        self.tables = to.tables;
    }

    /// The present as a value.
    pub fn freeze(&mut self) -> Version {
        Version::new(self.tree.freeze(), self.tables.clone())
    }

    /// Continues from a frozen version, forgetting everything after it.
    pub fn reset(&mut self, to: &Version) {
        self.tree.reset(to.tree());
        self.tables = to.tables().clone();
    }

    /// The tables of the working copy.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tree of the working copy.
    pub fn view(&self) -> crate::tree::TreeView<'_> {
        self.tree.view()
    }

    /// How operations are judged.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Paths of containers and TTL znodes that the leader should remove now (`zab-wire` 4.9), at
    /// most `limit`, in path order.
    pub fn expired_containers(
        &self,
        now_ms: i64,
        never_used_ms: i64,
        limit: usize,
    ) -> Vec<Vec<u8>> {
        op::container::expired(self, now_ms, never_used_ms, limit)
    }

    /// Writes the configuration in force to `/zookeeper/config`, with version -1 and the zxid of
    /// the configuration as mzxid. Every server does this for itself, outside of any transaction
    /// (`zab-wire` 4.8).
    pub fn install_config(
        &mut self,
        text: &[u8],
        config: Zxid,
        time_ms: i64,
        effects: &mut Effects,
    ) {
        op::reconfig::install(self, text, config, time_ms, effects);
    }

    /// Refuses a caller whom a znode's access list does not let do any of `need`.
    pub(crate) fn demand(
        &self,
        znode: &Znode<'_>,
        need: Perms,
        who: &Caller,
    ) -> Result<(), ErrorCode> {
        if self.settings.skip_acl || znode.meta.acl == AclRef::OPEN {
            return Ok(());
        }
        let list = self.tables.acl(znode.meta.acl);
        if access::permits(list, &who.identities, need) { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    /// The list that guards events of a znode; `None` when everyone may see them.
    pub(crate) fn guard(&self, acl: AclRef) -> Option<Arc<[u8]>> {
        if self.settings.skip_acl { None } else { self.tables.guard(acl) }
    }

    /// Takes a removed znode out of every table but the quotas.
    pub(crate) fn forget(&mut self, path: &[u8], meta: &Meta, data_length: usize) {
        let tables = &mut self.tables;
        tables.data_bytes -= (path.len() + data_length) as u64;
        tables.unregister(path, meta.owner);
        tables.release_acl(meta.acl);
    }
}

/// Result of judging: the change or the code that refuses it.
pub type Judgement<'a> = Result<Txn<'a>, ErrorCode>;
