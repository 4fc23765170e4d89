//! Scheme `digest`: anyone may claim `user:password`; the identity is a hash of it
//! (`client-protocol` 5.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::AuthId;
use sha1::{Digest, Sha1};

/// `user:base64(sha1(credential))`, the user being the text before the first colon.
pub fn id(credential: &[u8]) -> Vec<u8> {
    let user = credential.split(|&b| b == b':').next().unwrap_or(&[]);
    let mut id = user.to_vec();
    id.push(b':');
    id.extend_from_slice(STANDARD.encode(Sha1::digest(credential)).as_bytes());
    id
}

/// The identities a credential proves: its own, and `super` if it is the configured one.
pub fn identities(credential: &[u8], super_digest: Option<&[u8]>) -> Vec<AuthId> {
    let id = id(credential);
    let is_super = super_digest == Some(id.as_slice());
    let mut all = vec![AuthId::new("digest", id)];
    if is_super {
        all.push(AuthId::new("super", ""));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_ones_zookeeper_makes() {
        for (credential, expect) in [
            ("super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("user:pass", "user:smGaoVKd/cQkjm7b88GyorAUz20="),
            ("abc", "abc:qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
            ("a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0="),
        ] {
            assert_eq!(id(credential.as_bytes()), expect.as_bytes(), "{credential}");
        }
    }

    #[test]
    fn the_configured_digest_is_also_super() {
        let digest = id(b"super:test");
        assert_eq!(identities(b"super:test", Some(&digest)).len(), 2);
        assert_eq!(identities(b"super:other", Some(&digest)).len(), 1);
        assert_eq!(identities(b"super:test", None).len(), 1);
    }
}
