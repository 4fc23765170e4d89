//! The protocol's error codes (`client-protocol` 3). Never invent one: clients throw on a code
//! they do not know.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// An outcome other than success, as clients see it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code,)* }

        impl ErrorCode {
            /// Every code, in the order of their numbers from high to low.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code with this number, if the protocol has one.
            pub fn from_code(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Internal fault.
    SystemError = -1,
    /// In multi results: an operation after the one that failed.
    RuntimeInconsistency = -2,
    /// The request record cannot be decoded.
    MarshallingError = -5,
    /// Unknown operation, or one that is switched off.
    Unimplemented = -6,
    /// A path, flag or number that is not acceptable.
    BadArguments = -8,
    /// Session not known here.
    UnknownSession = -12,
    /// Reconfiguration: no quorum of the new configuration is connected.
    NewConfigNoQuorum = -13,
    /// Another reconfiguration is pending.
    ReconfigInProgress = -14,
    /// Node does not exist.
    NoNode = -101,
    /// The access list does not permit this.
    NoAuth = -102,
    /// Version differs from the one expected.
    BadVersion = -103,
    /// Ephemeral nodes cannot have children.
    NoChildrenForEphemerals = -108,
    /// Node exists already.
    NodeExists = -110,
    /// Node has children.
    NotEmpty = -111,
    /// Session expired.
    SessionExpired = -112,
    /// Access list is not acceptable.
    InvalidAcl = -114,
    /// Authentication failed.
    AuthFailed = -115,
    /// Session has moved to another server.
    SessionMoved = -118,
    /// Write sent to a read-only server.
    NotReadOnly = -119,
    /// Ephemeral node on a local session.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// Reconfiguration is disabled.
    ReconfigDisabled = -123,
    /// A request before the authentication this server demands.
    SessionClosedRequireSaslAuth = -124,
    /// Quota would be exceeded.
    QuotaExceeded = -125,
    /// The request waited too long to be admitted.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.code())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_maps_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(-126), None);
    }
}
