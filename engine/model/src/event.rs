//! What a watch can report (`client-protocol` 6.1).

/// Kind of a watch notification. Servers send only these four.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum EventKind {
    /// The znode came to be.
    NodeCreated = 1,
    /// The znode is gone.
    NodeDeleted = 2,
    /// The znode's data changed.
    NodeDataChanged = 3,
    /// A direct child came or went.
    NodeChildrenChanged = 4,
}

impl EventKind {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        self as i32
    }
}
