//! Access lists and identities. Inside the node a list travels as its own jute bytes (a counted
//! vector of `perms, scheme, id`): nothing has to be built to store, compare or send one.

use crate::jute::{DecodeError, Reader, Writer};

/// Permission bits; any value is stored and returned as sent (`client-protocol` 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Perms(pub i32);

impl Perms {
    /// Read data, list children.
    pub const READ: Perms = Perms(1);
    /// Set data.
    pub const WRITE: Perms = Perms(2);
    /// Create children.
    pub const CREATE: Perms = Perms(4);
    /// Delete children.
    pub const DELETE: Perms = Perms(8);
    /// Set the access list.
    pub const ADMIN: Perms = Perms(16);
    /// All five.
    pub const ALL: Perms = Perms(31);

    /// Both sets together.
    pub const fn or(self, other: Perms) -> Perms {
        Perms(self.0 | other.0)
    }

    /// True if any bit is in both.
    pub fn intersects(self, other: Perms) -> bool {
        self.0 & other.0 != 0
    }
}

/// An identity a connection has proven, or that an access list names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AuthId {
    /// `ip`, `digest`, `world`, `super`, `sasl`, `x509`.
    pub scheme: Vec<u8>,
    /// Meaning depends on the scheme.
    pub id: Vec<u8>,
}

impl AuthId {
    /// Builds an identity from text.
    pub fn new(scheme: impl Into<Vec<u8>>, id: impl Into<Vec<u8>>) -> AuthId {
        AuthId { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry of an access list, borrowed from its encoded form. Null text (kazoo sends empty
/// strings as null) stays `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acl<'a> {
    /// What the identity may do.
    pub perms: Perms,
    /// Scheme of the identity.
    pub scheme: Option<&'a [u8]>,
    /// The identity itself.
    pub id: Option<&'a [u8]>,
}

impl<'a> Acl<'a> {
    /// Reads one entry.
    pub fn decode(from: &mut Reader<'a>) -> Result<Acl<'a>, DecodeError> {
        Ok(Acl { perms: Perms(from.int()?), scheme: from.buffer()?, id: from.buffer()? })
    }

    /// Appends one entry.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.int(self.perms.0);
        out.buffer(self.scheme);
        out.buffer(self.id);
    }
}

/// Skips over an encoded list and returns its bytes, count included; `None` is a null vector.
pub fn take_list<'a>(from: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    let start = from.rest();
    let Some(count) = from.count()? else { return Ok(None) };
    for _ in 0..count {
        Acl::decode(from)?;
    }
    Ok(Some(&start[..start.len() - from.rest().len()]))
}

/// The entries of an encoded list. Stops early at damage; lists are checked when they enter.
pub fn entries(list: &[u8]) -> impl Iterator<Item = Acl<'_>> {
    let mut from = Reader::new(list);
    let count = from.count().ok().flatten().unwrap_or(0);
    (0..count).map_while(move |_| Acl::decode(&mut from).ok())
}

/// Encodes entries as a list.
pub fn encode_list<'a>(entries: impl ExactSizeIterator<Item = Acl<'a>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    out.count(entries.len());
    for entry in entries {
        entry.encode(&mut out);
    }
    bytes
}

/// `world:anyone` with the given bits, encoded: the list nearly every znode has.
pub fn world(perms: Perms) -> Vec<u8> {
    encode_list([Acl { perms, scheme: Some(b"world"), id: Some(b"anyone") }].into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_its_bytes() {
        let mut bytes = world(Perms::ALL);
        bytes.extend_from_slice(b"tail");
        let mut from = Reader::new(&bytes);
        let list = take_list(&mut from).expect("well formed").expect("not null");
        assert_eq!(from.rest(), b"tail");
        let all: Vec<_> = entries(list).collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].id, Some(&b"anyone"[..]));
        assert_eq!(encode_list(all.into_iter()), list);
        assert_eq!(take_list(&mut Reader::new(&[0xff; 4])), Ok(None));
    }
}
