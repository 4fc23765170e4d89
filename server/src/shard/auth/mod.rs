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
use crate::limits::{CONNECTION_IDENTITIES_MAX, CONNECTION_IDENTITY_BYTES_MAX};

/// Why an auth packet proves nothing; the client is told only that it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthFault {
    /// The server has no such scheme, or it cannot be claimed by an auth packet.
    UnknownScheme,
    /// The scheme needs a credential.
    NoCredential,
    /// The client means another ensemble.
    OtherEnsemble,
    /// The connection has as many identities as it may.
    TooMany,
}

impl std::fmt::Display for AuthFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuthFault::UnknownScheme => f.write_str("unknown authentication scheme"),
            AuthFault::NoCredential => f.write_str("authentication without a credential"),
            AuthFault::OtherEnsemble => f.write_str("the client means another ensemble"),
            AuthFault::TooMany => f.write_str("too many identities on one connection"),
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
            let super_digest = config.super_digest.as_deref();
            Ok(digest::identities(config.digest_algorithm, credential, super_digest))
        }
        // Proves nothing: it keeps clients from an ensemble that they do not mean.
        Some(b"ensemble") => match &config.ensemble_names {
            None => Err(AuthFault::UnknownScheme),
            Some(names) => {
                let said = credential.unwrap_or_default();
                let open = said.is_empty() || names.is_empty();
                let meant = open || names.iter().any(|name| name.as_bytes() == said);
                if meant { Ok(Vec::new()) } else { Err(AuthFault::OtherEnsemble) }
            }
        },
        _ => Err(AuthFault::UnknownScheme),
    }
}

/// True if a connection with these identities may use the server: no scheme is required, or it
/// has an identity of one that is.
pub fn suffices(config: &ShardConfig, identities: &[AuthId]) -> bool {
    let required = &config.required_schemes;
    required.is_empty()
        || identities.iter().any(|id| required.iter().any(|scheme| id.scheme == scheme.as_bytes()))
}

/// Adds identities; they are a set, of bounded size.
pub fn join(have: &Arc<[AuthId]>, new: Vec<AuthId>) -> Result<Arc<[AuthId]>, AuthFault> {
    if new.iter().all(|id| have.contains(id)) {
        return Ok(have.clone());
    }
    let mut all: Vec<AuthId> = have.to_vec();
    all.extend(new.into_iter().filter(|id| !have.contains(id)));
    let bytes: usize = all.iter().map(|id| id.scheme.len() + id.id.len()).sum();
    if all.len() > CONNECTION_IDENTITIES_MAX || bytes > CONNECTION_IDENTITY_BYTES_MAX {
        return Err(AuthFault::TooMany);
    }
    Ok(Arc::from(all))
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
        let same = join(&have, vec![ip::identity(IpAddr::from([127, 0, 0, 1]))]);
        assert!(same.is_ok_and(|same| Arc::ptr_eq(&same, &have)));
        let more = join(&have, vec![AuthId::new("digest", "u:h")]).expect("a new one");
        assert_eq!(more.len(), 2);
        assert_eq!(user(&more[0]), b"127.0.0.1");
        assert_eq!(user(&more[1]), b"u");
        assert_eq!(user(&AuthId::new("super", "")), b"");
    }

    #[test]
    fn the_set_is_bounded() {
        let mut have = initial(IpAddr::from([127, 0, 0, 1]));
        let fault = (0..=CONNECTION_IDENTITIES_MAX).find_map(|number| {
            match join(&have, vec![AuthId::new("digest", format!("u:{number}"))]) {
                Ok(more) => have = more,
                Err(fault) => return Some(fault),
            }
            None
        });
        assert_eq!(fault, Some(AuthFault::TooMany));
        assert_eq!(have.len(), CONNECTION_IDENTITIES_MAX);
        let long = AuthId::new("digest", vec![b'u'; CONNECTION_IDENTITY_BYTES_MAX]);
        let have = initial(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(join(&have, vec![long]), Err(AuthFault::TooMany));
    }
}
