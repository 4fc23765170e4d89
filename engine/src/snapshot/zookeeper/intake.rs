//! From ZooKeeper's stream to a state of our own, while it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::jute::{DecodeError, Reader};
use model::{Batch, Perms, SessionId, Txn, TxnDigest, Zxid, acl, path, txn};

use super::{END_PATH, OPEN_REFERENCE, SIGNATURE};
use crate::access;
use crate::digest;
use crate::draft::{Draft, Settings};
use crate::effect::Effects;
use crate::restore::{Census, Stored};
use crate::state::Session;
use crate::tree::{AclRef, Meta, Tree};

/// Longest path, data or text of an access list that is taken, bytes. Far above what any ZooKeeper
/// can be configured to in earnest; the transport has its own, lower limit.
const FIELD_BYTES_MAX: i32 = 256 << 20;
/// Bytes of a path shown in a message.
const SHOWN_BYTES: usize = 200;

/// Why bytes are not a snapshot of a database.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamFault {
    /// A length or count that no field can have.
    #[error("snapshot stream has a {field} of length {length}")]
    Length {
        /// Which field.
        field: &'static str,
        /// As announced.
        length: i32,
    },
    /// The first znode is not the root.
    #[error("snapshot stream begins with {0} instead of the root")]
    NoRoot(String),
    /// A znode that is not below one sent earlier.
    #[error("snapshot stream has {0}, but not its parent")]
    NoParent(String),
    /// A path that is none.
    #[error("snapshot stream has the malformed path {0}")]
    Path(String),
    /// Two znodes of one path.
    #[error("snapshot stream has {0} twice")]
    Twice(String),
    /// A database always has this znode.
    #[error("snapshot stream lacks {0}")]
    Lacks(&'static str),
    /// The znodes are not followed by the signature.
    #[error("snapshot stream does not end in its signature")]
    Signature,
    /// The stream goes on after its signature.
    #[error("snapshot stream goes on after its end")]
    Trailing,
    /// The stream ended, or entries were to be replayed, before its signature.
    #[error("snapshot stream is incomplete after {bytes} bytes")]
    Incomplete {
        /// Bytes that arrived.
        bytes: u64,
    },
    /// A transaction to be replayed cannot be read.
    #[error("transaction {zxid:?} after the snapshot stream is malformed: {cause}")]
    Entry {
        /// Which.
        zxid: Zxid,
        /// What is wrong with it.
        cause: String,
    },
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    SessionCount,
    /// So many are left.
    Sessions(u32),
    AccessListCount,
    /// So many are left.
    AccessLists(u32),
    Znodes,
    Signature,
    End,
}

/// Builds a state out of a stream, beside the own one. Memory is that of the state, and of the
/// field that is arriving.
pub struct SnapshotIntake {
    settings: Settings,
    phase: Phase,
    /// The stream contradicted itself: nothing more is taken.
    fault: Option<StreamFault>,
    /// The last digest that a replayed transaction carried.
    recorded: Option<(Zxid, u64)>,
    /// The last transaction after which the state's digest is known: `recorded`, or one after it
    /// that changed nothing.
    known: Option<(Zxid, u64)>,
}

enum Phase {
    Arriving(Box<Arriving>),
    Complete(Box<Draft>),
}

struct Arriving {
    expect: Expect,
    /// The beginning of a part whose end is still to come.
    held: Vec<u8>,
    /// Bytes that must be there before it is looked at again.
    need: usize,
    /// Bytes taken in all.
    bytes: u64,
    tree: Tree,
    has_root: bool,
    stored: Stored,
    census: Census,
    /// Local references by the sender's.
    references: BTreeMap<i64, AclRef>,
    /// Lists met so far.
    lists: BTreeMap<Arc<[u8]>, AclRef>,
    last_reference: u32,
}

/// A part cannot be read: more bytes are needed, or no bytes can help.
enum Stop {
    Need(usize),
    Fault(StreamFault),
}

impl From<StreamFault> for Stop {
    fn from(fault: StreamFault) -> Stop {
        Stop::Fault(fault)
    }
}

impl SnapshotIntake {
    /// Nothing has arrived.
    pub fn new(settings: Settings) -> SnapshotIntake {
        let arriving = Arriving {
            expect: Expect::SessionCount,
            held: Vec::new(),
            need: 0,
            bytes: 0,
            tree: Tree::new(settings.hash_seed),
            has_root: false,
            stored: Stored::default(),
            census: Census::default(),
            references: BTreeMap::new(),
            lists: BTreeMap::new(),
            last_reference: AclRef::OPEN.0,
        };
        let phase = Phase::Arriving(Box::new(arriving));
        SnapshotIntake { settings, phase, fault: None, recorded: None, known: None }
    }

    /// Takes the next bytes, cut anywhere. After an error every further call gives the same.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), StreamFault> {
        self.sound()?;
        let taken = match &mut self.phase {
            Phase::Arriving(arriving) => arriving.push(piece),
            Phase::Complete(_) if piece.is_empty() => Ok(()),
            Phase::Complete(_) => Err(StreamFault::Trailing),
        };
        self.keep(taken)
    }

    /// The stream ends here: everything up to its signature must have arrived. The state then
    /// takes transactions.
    pub fn finish(&mut self) -> Result<(), StreamFault> {
        self.sound()?;
        let Phase::Arriving(arriving) = &mut self.phase else { return Ok(()) };
        let finished = arriving.finish(&self.settings);
        let finished = finished.map(|draft| self.phase = Phase::Complete(Box::new(draft)));
        self.keep(finished)
    }

    /// Applies transactions that follow the stream, as ZooKeeper does: the stream may contain
    /// what they did, and more. What cannot be done again is passed over (`zab-wire` 4.4).
    pub fn replay(&mut self, batch: &Batch) -> Result<(), StreamFault> {
        self.sound()?;
        let Phase::Complete(draft) = &mut self.phase else {
            return self.finish_first();
        };
        let mut effects = Effects::default();
        for (zxid, entry) in batch.entries() {
            let malformed = |cause: String| StreamFault::Entry { zxid, cause };
            let read = txn::decode_entry(entry).map_err(|cause| malformed(cause.to_string()));
            let (header, txn, recorded) = match read {
                Ok((header, ..)) if header.zxid != zxid => {
                    let cause = malformed(format!("it calls itself {:?}", header.zxid));
                    return self.keep(Err(cause));
                }
                Ok(parts) => parts,
                Err(fault) => return self.keep(Err(fault)),
            };
            draft.apply(&header, &txn, &mut effects);
            effects.clear();
            if let Some(TxnDigest(digest)) = recorded {
                self.recorded = Some((zxid, digest));
            }
            self.known = match (recorded, &txn) {
                (Some(TxnDigest(digest)), _) => Some((zxid, digest)),
                (None, Txn::Error { .. }) => self.known.map(|(_, digest)| (zxid, digest)),
                (None, _) => None,
            };
        }
        Ok(())
    }

    /// What the digest of the state must be if it is the state at exactly `at`, as far as the
    /// replayed transactions tell. A fuzzy stream may hold more than they say.
    pub fn digest_at(&self, at: Zxid) -> Option<u64> {
        self.known.filter(|(known, _)| *known == at).map(|(_, digest)| digest)
    }

    /// The last transaction among the replayed that carried a digest, and that digest. If it is
    /// also the last that had an effect, it must equal the digest of the state, provided that the
    /// stream held nothing of later ones. (The stream itself carries none: `zab-wire` 4.5.)
    pub fn recorded_digest(&self) -> Option<(Zxid, u64)> {
        self.recorded
    }

    /// The state after everything that was replayed, as the history up to `at`. Its digest is
    /// that of its znodes. Ephemerals whose session is unknown are kept, as ZooKeeper does: the
    /// leader closes such sessions by transactions.
    ///
    /// # Panics
    /// If [`SnapshotIntake::finish`] has not succeeded.
    pub fn into_draft(self, at: Zxid) -> Draft {
        match self.phase {
            Phase::Complete(mut draft) => {
                draft.tables.zxid = at;
                *draft
            }
            Phase::Arriving(_) => panic!("a state is taken only after the end of its stream"),
        }
    }

    fn sound(&self) -> Result<(), StreamFault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, result: Result<(), StreamFault>) -> Result<(), StreamFault> {
        self.fault = result.as_ref().err().cloned();
        result
    }

    fn finish_first(&mut self) -> Result<(), StreamFault> {
        let bytes = match &self.phase {
            Phase::Arriving(arriving) => arriving.bytes,
            Phase::Complete(_) => 0,
        };
        self.keep(Err(StreamFault::Incomplete { bytes }))
    }
}

impl Arriving {
    fn push(&mut self, piece: &[u8]) -> Result<(), StreamFault> {
        self.bytes += piece.len() as u64;
        if self.held.is_empty() {
            let left = self.take(piece)?;
            self.held.extend_from_slice(left);
            return Ok(());
        }
        self.held.extend_from_slice(piece);
        if self.held.len() < self.need {
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        let left = self.take(&held)?.len();
        held.drain(..held.len() - left);
        // A large field must not hold its memory for ever.
        held.shrink_to(left.max(64 << 10));
        self.held = held;
        Ok(())
    }

    /// Takes as many parts as are complete, and returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], StreamFault> {
        let mut rest = bytes;
        loop {
            let mut from = Reader::new(rest);
            match self.take_part(&mut from) {
                Ok(()) if self.expect == Expect::End => {
                    let trailing = !from.is_empty();
                    return if trailing { Err(StreamFault::Trailing) } else { Ok(&[]) };
                }
                Ok(()) => rest = from.rest(),
                Err(Stop::Need(bytes)) => {
                    self.need = bytes;
                    return Ok(rest);
                }
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        }
    }

    fn take_part(&mut self, from: &mut Reader<'_>) -> Result<(), Stop> {
        let whole = from.rest().len();
        let mut part = Fields { from, whole };
        self.expect = match self.expect {
            Expect::SessionCount => Expect::Sessions(part.count("list of sessions")?),
            Expect::Sessions(0) => Expect::AccessListCount,
            Expect::Sessions(left) => {
                let (id, timeout_ms) = (SessionId(part.long()?), part.int()?);
                self.stored.sessions.push((id, Session { timeout_ms }));
                Expect::Sessions(left - 1)
            }
            Expect::AccessListCount => Expect::AccessLists(part.count("table of access lists")?),
            Expect::AccessLists(0) => Expect::Znodes,
            Expect::AccessLists(left) => {
                let reference = part.long()?;
                let start = part.from.rest();
                for _ in 0..part.count("access list")? {
                    part.int()?;
                    part.buffer("scheme")?;
                    part.buffer("identity")?;
                }
                let list = &start[..start.len() - part.from.rest().len()];
                self.add_list(reference, list);
                Expect::AccessLists(left - 1)
            }
            Expect::Znodes => {
                let path = part.buffer("path")?.unwrap_or_default();
                if path == END_PATH {
                    Expect::Signature
                } else {
                    self.take_znode(path, &mut part)?;
                    Expect::Znodes
                }
            }
            Expect::Signature => match part.buffer("signature") {
                Ok(Some(SIGNATURE)) => Expect::End,
                Err(Stop::Need(bytes)) if bytes <= 4 + SIGNATURE.len() => {
                    return Err(Stop::Need(bytes));
                }
                Ok(_) | Err(_) => return Err(StreamFault::Signature.into()),
            },
            Expect::End => Expect::End,
        };
        Ok(())
    }

    fn take_znode(&mut self, path: &[u8], part: &mut Fields<'_, '_>) -> Result<(), Stop> {
        let data = part.buffer("data of a znode")?;
        let reference = part.long()?;
        let mut meta = Meta {
            czxid: Zxid(part.long()?),
            mzxid: Zxid(part.long()?),
            ctime: part.long()?,
            mtime: part.long()?,
            version: part.int()?,
            cversion: part.int()?,
            aversion: part.int()?,
            owner: part.long()?,
            pzxid: Zxid(part.long()?),
            acl: AclRef::OPEN,
        };
        meta.acl = self.reference(reference);
        self.add_znode(path, &meta, data).map_err(Stop::Fault)
    }

    fn add_znode(
        &mut self,
        path: &[u8],
        meta: &Meta,
        data: Option<&[u8]>,
    ) -> Result<(), StreamFault> {
        let whole = path::normalize(path);
        if self.has_root {
            self.create(path, meta, data)?;
        } else if path.is_empty() {
            self.tree.update(whole, Some(data), |old| *old = *meta);
            self.has_root = true;
        } else {
            return Err(StreamFault::NoRoot(shown(path)));
        }
        self.census.note(whole, meta, data.map_or(0, <[u8]>::len));
        let part = digest::of(whole, data, meta);
        self.stored.digest = self.stored.digest.wrapping_add(part);
        Ok(())
    }

    fn create(&mut self, path: &[u8], meta: &Meta, data: Option<&[u8]>) -> Result<(), StreamFault> {
        if path.is_empty() {
            return Err(StreamFault::Twice(shown(path::normalize(path))));
        }
        let (above, name) = path::split(path).ok_or_else(|| StreamFault::Path(shown(path)))?;
        if path[0] != b'/' || name.is_empty() {
            return Err(StreamFault::Path(shown(path)));
        }
        let view = self.tree.view();
        if view.get(path).is_some() {
            return Err(StreamFault::Twice(shown(path)));
        }
        if view.get(above).is_none() {
            return Err(StreamFault::NoParent(shown(path)));
        }
        self.tree.create(path, meta, data, |_| {});
        Ok(())
    }

    /// Enters a list under the sender's reference. References are the sender's own affair; equal
    /// lists share one here.
    fn add_list(&mut self, reference: i64, list: &[u8]) {
        let local = self.local(list);
        self.references.insert(reference, local);
    }

    fn local(&mut self, list: &[u8]) -> AclRef {
        if list == access::OPEN_LIST {
            return AclRef::OPEN;
        }
        if let Some(known) = self.lists.get(list) {
            return *known;
        }
        self.last_reference += 1;
        let local = AclRef(self.last_reference);
        let list: Arc<[u8]> = Arc::from(list);
        self.stored.acls.push((local, Arc::clone(&list)));
        self.lists.insert(list, local);
        local
    }

    /// The local reference. One without a list is kept apart from all others: in a fuzzy stream
    /// the replay repairs the znodes that carry it.
    fn reference(&mut self, reference: i64) -> AclRef {
        if reference == OPEN_REFERENCE {
            return AclRef::OPEN;
        }
        *self.references.entry(reference).or_insert_with(|| {
            self.last_reference += 1;
            AclRef(self.last_reference)
        })
    }

    fn finish(&mut self, settings: &Settings) -> Result<Draft, StreamFault> {
        if self.expect != Expect::End {
            return Err(StreamFault::Incomplete { bytes: self.bytes });
        }
        if self.tree.view().get(path::SYSTEM).is_none() {
            return Err(StreamFault::Lacks("/zookeeper"));
        }
        // Databases of old ZooKeepers have no configuration; each server makes it for itself.
        let open = Meta { acl: AclRef::OPEN, ..Meta::default() };
        if self.tree.view().get(path::QUOTA).is_none() {
            self.add_znode(path::QUOTA, &open, Some(b""))?;
        }
        if self.tree.view().get(path::CONFIG).is_none() {
            let acl = self.local(&acl::world(Perms::READ));
            self.add_znode(path::CONFIG, &Meta { acl, aversion: -1, ..open }, Some(b""))?;
        }
        let tree = std::mem::replace(&mut self.tree, Tree::new(0));
        let stored = std::mem::take(&mut self.stored);
        let census = std::mem::take(&mut self.census);
        Ok(Draft::restore_counted(settings.clone(), tree, stored, census))
    }
}

/// Reads a part of which the end may be missing.
struct Fields<'r, 'a> {
    from: &'r mut Reader<'a>,
    /// Bytes there were at its start.
    whole: usize,
}

impl<'a> Fields<'_, 'a> {
    fn long(&mut self) -> Result<i64, Stop> {
        self.from.long().map_err(|error| self.stop(error))
    }

    fn int(&mut self) -> Result<i32, Stop> {
        self.from.int().map_err(|error| self.stop(error))
    }

    /// Bytes, or null.
    fn buffer(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, Stop> {
        match self.int()? {
            -1 => Ok(None),
            length if !(0..=FIELD_BYTES_MAX).contains(&length) => {
                Err(StreamFault::Length { field, length }.into())
            }
            length => {
                let bytes = self.from.take(length as usize);
                bytes.map(Some).map_err(|error| self.stop(error))
            }
        }
    }

    fn count(&mut self, field: &'static str) -> Result<u32, Stop> {
        let length = self.int()?;
        u32::try_from(length).map_err(|_| StreamFault::Length { field, length }.into())
    }

    /// The only way in which numbers and bytes fail is that they end too early.
    fn stop(&self, error: DecodeError) -> Stop {
        match error {
            DecodeError::Truncated { need, have } => Stop::Need(self.whole - have + need),
            DecodeError::BadLength(_)
            | DecodeError::UnexpectedNull
            | DecodeError::UnknownTag(_) => Stop::Need(self.whole + 1),
        }
    }
}

fn shown(path: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(&path[..path.len().min(SHOWN_BYTES)]).into_owned();
    if path.len() > SHOWN_BYTES {
        shown.push_str("...");
    }
    shown
}
