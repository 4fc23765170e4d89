//! What transactions did, in ZooKeeper's trigger order, for watchers this crate knows nothing of,
//! and what each request is to be answered.

use std::ops::Range;
use std::sync::Arc;

use model::{ErrorCode, Stat, Zxid};

/// Kind of change to one znode. Which watches it fires is `client-protocol` 6.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The znode was created; its parent's children changed.
    Created,
    /// The znode was deleted; its parent's children changed.
    Deleted,
    /// The znode's data changed.
    DataChanged,
}

/// One change. The path lies in the [`Effects`] it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// Position of the transaction.
    pub zxid: Zxid,
    /// What happened.
    pub change: Change,
    /// Path, as a range of [`Effects::bytes`].
    pub path: Range<u32>,
    /// Encoded access list of the znode (for a delete: the one it had) when it does not let the
    /// whole world read; `None` means everyone may see the event (`client-protocol` 6.4).
    pub acl: Option<Arc<[u8]>>,
    /// The same for the parent, whose children-changed event it guards.
    pub parent_acl: Option<Arc<[u8]>>,
}

/// The changes of a run of transactions, with one arena for all their paths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Paths, back to back.
    pub bytes: Vec<u8>,
    /// Changes in trigger order.
    pub list: Vec<Effect>,
}

impl Effects {
    /// Copies a path into the arena.
    pub fn intern(&mut self, path: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(path);
        start..self.bytes.len() as u32
    }

    /// A path of the arena.
    pub fn path(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }
}

/// The answer to one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Success without a body: delete, check, create and close session, sync.
    Done,
    /// Path (in the arena of the transaction's [`Effects`]) and Stat of a new znode. Whether the
    /// Stat is sent depends on the opcode.
    Created {
        /// Final path.
        path: Range<u32>,
        /// Stat just after.
        stat: Stat,
    },
    /// Stat just after a setData or setACL.
    Stat(Stat),
    /// Every operation of a multi that succeeded, with the opcode of its result
    /// (`client-protocol` 2.6).
    Multi(Vec<(model::OpCode, Outcome)>),
    /// A multi that failed: one code per operation, 0 before the failing one, -2 after it.
    MultiFailed(Vec<i32>),
    /// The operation failed.
    Failed(ErrorCode),
}
