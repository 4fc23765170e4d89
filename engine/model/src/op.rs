//! Write operations as the state machine sees them, and the numbers of all operations.

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Every operation number of the 3.9 protocol (`client-protocol` 2.2).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $code,)* }

        impl OpCode {
            /// Every operation.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name,)*];

            /// The operation with this number.
            pub fn from_code(code: i32) -> Option<OpCode> {
                match code { $($code => Some(OpCode::$name),)* _ => None }
            }
        }
    };
}

opcodes! {
    /// Closes the session and deletes its ephemerals.
    CloseSession = -11,
    /// Internal: made from a connect request.
    CreateSession = -10,
    /// Internal: the transaction of a failed write; in multi bodies the end marker.
    Error = -1,
    /// Create, answering with the path.
    Create = 1,
    /// Delete a childless znode.
    Delete = 2,
    /// Stat, if it exists.
    Exists = 3,
    /// Data and Stat.
    GetData = 4,
    /// Replace data.
    SetData = 5,
    /// Access list and Stat.
    GetAcl = 6,
    /// Replace the access list.
    SetAcl = 7,
    /// Names of the children.
    GetChildren = 8,
    /// Catch up with the leader.
    Sync = 9,
    /// Heartbeat.
    Ping = 11,
    /// Names of the children, and Stat.
    GetChildren2 = 12,
    /// Version check; only inside a multi.
    Check = 13,
    /// All or nothing.
    Multi = 14,
    /// Create, answering with path and Stat.
    Create2 = 15,
    /// Change the ensemble's membership.
    Reconfig = 16,
    /// Is there such a watch?
    CheckWatches = 17,
    /// Drop watches.
    RemoveWatches = 18,
    /// Create a container.
    CreateContainer = 19,
    /// Internal: removal of an empty container or expired TTL znode.
    DeleteContainer = 20,
    /// Create a znode with a time to live.
    CreateTtl = 21,
    /// Several reads of one moment.
    MultiRead = 22,
    /// Prove an identity.
    Auth = 100,
    /// Restore watches after a reconnect.
    SetWatches = 101,
    /// One step of a SASL exchange.
    Sasl = 102,
    /// The session's own ephemerals.
    GetEphemerals = 103,
    /// Number of descendants.
    GetAllChildrenNumber = 104,
    /// Restore watches, persistent ones too.
    SetWatches2 = 105,
    /// Register a persistent watch.
    AddWatch = 106,
    /// The identities of this connection.
    WhoAmI = 107,
}

impl OpCode {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// What kind of znode a create makes (`client-protocol` 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CreateMode {
    /// Lives until deleted.
    Persistent,
    /// Lives as long as its session.
    Ephemeral,
    /// Removed by the leader once its last child is gone.
    Container,
    /// Removed by the leader once it has been childless and unchanged this many ms.
    Ttl(i64),
}

/// A create, whichever of the four opcodes it came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// 1, 15, 19 or 21: decides the transaction's type and the form of the answer.
    pub opcode: OpCode,
    /// Path as sent, without a sequence suffix.
    pub path: &'a [u8],
    /// Data; null stays null.
    pub data: Option<&'a [u8]>,
    /// Encoded access list as sent, or null.
    pub acl: Option<&'a [u8]>,
    /// Kind of znode.
    pub mode: CreateMode,
    /// Append the parent's counter to the name.
    pub sequential: bool,
}

/// A write request, decoded and not yet judged. Paths are bytes as sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// Start a session with this negotiated timeout.
    CreateSession {
        /// Milliseconds.
        timeout_ms: i32,
    },
    /// End the caller's session.
    CloseSession,
    /// Make a znode.
    Create(Create<'a>),
    /// Remove a znode.
    Delete {
        /// Which.
        path: &'a [u8],
        /// Expected version, -1 for any.
        version: i32,
    },
    /// Remove an empty container or expired TTL znode; made by the leader only.
    DeleteContainer {
        /// Which.
        path: &'a [u8],
    },
    /// Replace data.
    SetData {
        /// Which.
        path: &'a [u8],
        /// New data.
        data: Option<&'a [u8]>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// Replace the access list.
    SetAcl {
        /// Which.
        path: &'a [u8],
        /// Encoded list as sent, or null.
        acl: Option<&'a [u8]>,
        /// Expected aversion, -1 for any.
        version: i32,
    },
    /// Only inside a multi: demand a version.
    Check {
        /// Which.
        path: &'a [u8],
        /// Expected version, -1 for any.
        version: i32,
    },
    /// All or nothing, in order.
    Multi(Vec<Op<'a>>),
    /// Change the ensemble's membership.
    Reconfig {
        /// Servers to add, incremental form.
        joining: Option<&'a [u8]>,
        /// Ids to remove, incremental form.
        leaving: Option<&'a [u8]>,
        /// Complete new membership, or null.
        members: Option<&'a [u8]>,
        /// Expected configuration version, -1 for any.
        config_id: i64,
    },
    /// A request that could not be judged: it still takes its place in the order and is answered
    /// with this code (`client-protocol` 1.7).
    Refused(crate::ErrorCode),
}
