//! Identities: servers, sessions, requests.

use std::fmt;

/// A member of the ensemble (`myid`, the sid of the wire): 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServerId(pub u8);

/// A client session. Top 8 bits: the server that created it; zero is never valid
/// (`client-protocol` 1.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: a fresh client, or the server's own housekeeping.
    pub const NONE: SessionId = SessionId(0);

    /// True for the id that means "no session".
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// `0x` and lower-case hexadecimal, as every ZooKeeper surface prints session ids.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A request's number, chosen by the client and echoed (`client-protocol` 1.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Xid(pub i32);

impl Xid {
    /// Server to client: a watch notification.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Heartbeat, both ways.
    pub const PING: Xid = Xid(-2);
    /// Authentication packets of most clients.
    pub const AUTH: Xid = Xid(-4);
    /// Set-watches packets of the C client.
    pub const SET_WATCHES: Xid = Xid(-8);
}
