//! The bytes that servers exchange (`zab-wire` 1 to 3), encoded and decoded without panics.
//!
//! Decoding borrows from the given slice. Every length is checked against a limit before anything
//! is reserved for it, so a hostile peer can cost a connection and never memory.

pub mod election;
pub mod handshake;
pub mod packet;
pub mod request;
pub mod snapshot;

use model::jute::DecodeError;

/// Why bytes of another server cannot be understood. Always ends that connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// A record inside a complete packet is malformed.
    #[error("malformed record: {0}")]
    Record(#[from] DecodeError),
    /// A length outside of what is allowed here.
    #[error("length {len} is outside 0..={max}")]
    Length {
        /// As announced.
        len: i32,
        /// Largest allowed.
        max: usize,
    },
    /// No packet of this number exists.
    #[error("unknown packet type {0}")]
    UnknownPacket(i32),
    /// Neither a version of the initiation message nor a server id.
    #[error("unknown initiation version {0}")]
    UnknownVersion(i64),
    /// A sender state that does not exist.
    #[error("unknown server state {0}")]
    UnknownState(i32),
    /// A notification below the smallest form.
    #[error("notification of {0} bytes is too short")]
    ShortNotification(usize),
    /// An address that is not `host:port`.
    #[error("not an address")]
    BadAddress,
    /// The snapshot stream does not end with its signature.
    #[error("snapshot without its signature")]
    BadSignature,
}

/// Reads a big-endian 32-bit number at `at`, if it is there.
pub(crate) fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_be_bytes(field.try_into().ok()?))
}
