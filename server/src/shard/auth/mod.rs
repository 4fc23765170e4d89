//! Who a connection has proven to be (`client-protocol` 5). One file per scheme.
//!
//! Identities belong to the connection and are replaced as a whole when one is added, so that a
//! request keeps the identities it was received with by cloning one pointer.

pub mod digest;
pub mod ip;

use std::net::IpAddr;
use std::sync::Arc;

use model::AuthId;

use super::ShardConfig;

/// Why an auth packet proves nothing; the client is told only that it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthFault {
    /// The server has no such scheme, or it cannot be claimed by an auth packet.
    UnknownScheme,
    /// The scheme needs a credential.
    NoCredential,
}

impl std::fmt::Display for AuthFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuthFault::UnknownScheme => f.write_str("unknown authentication scheme"),
            AuthFault::NoCredential => f.write_str("authentication without a credential"),
        }
    }
}

/// The identities every connection has: its address.
pub fn initial(peer: IpAddr) -> Arc<[AuthId]> {
    Arc::from([ip::identity(peer)])
}

/// Judges an auth packet: the identities it proves.
pub fn prove(
    config: &ShardConfig,
    peer: IpAddr,
    scheme: Option<&[u8]>,
    credential: Option<&[u8]>,
) -> Result<Vec<AuthId>, AuthFault> {
    match scheme {
        Some(b"ip") => Ok(vec![ip::identity(peer)]),
        Some(b"digest") if config.digest_scheme => {
            let credential = credential.ok_or(AuthFault::NoCredential)?;
            Ok(digest::identities(credential, config.super_digest.as_deref()))
        }
        _ => Err(AuthFault::UnknownScheme),
    }
}

/// Adds identities; they are a set. `None` if all were there.
pub fn join(have: &Arc<[AuthId]>, new: Vec<AuthId>) -> Option<Arc<[AuthId]>> {
    let mut all: Vec<AuthId> = have.to_vec();
    for id in new {
        if !all.contains(&id) {
            all.push(id);
        }
    }
    (all.len() > have.len()).then(|| Arc::from(all))
}

/// The name that whoAmI shows for an identity.
pub fn user(id: &AuthId) -> &[u8] {
    match id.scheme.as_slice() {
        b"digest" => id.id.split(|&b| b == b':').next().unwrap_or(&[]),
        _ => &id.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_a_set() {
        let have = initial(IpAddr::from([127, 0, 0, 1]));
        assert!(join(&have, vec![ip::identity(IpAddr::from([127, 0, 0, 1]))]).is_none());
        let more = join(&have, vec![AuthId::new("digest", "u:h")]).expect("a new one");
        assert_eq!(more.len(), 2);
        assert_eq!(user(&more[0]), b"127.0.0.1");
        assert_eq!(user(&more[1]), b"u");
        assert_eq!(user(&AuthId::new("super", "")), b"");
    }
}
