//! Scheme `digest`: anyone may claim `user:password`; the identity is a hash of it
//! (`client-protocol` 5.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::AuthId;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// How credentials are hashed (`DigestAuthenticationProvider.digestAlg`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// ZooKeeper's default, and what every client computes ids with.
    #[default]
    Sha1,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Algorithm {
    /// The algorithm of this name, in any case, with or without the dash, as Java takes it.
    pub fn named(name: &str) -> Option<Algorithm> {
        match name.to_ascii_uppercase().replace('-', "").as_str() {
            "SHA" | "SHA1" => Some(Algorithm::Sha1),
            "SHA224" => Some(Algorithm::Sha224),
            "SHA256" => Some(Algorithm::Sha256),
            "SHA384" => Some(Algorithm::Sha384),
            "SHA512" => Some(Algorithm::Sha512),
            _ => None,
        }
    }

    /// The hash, in base64.
    fn text(self, credential: &[u8]) -> String {
        match self {
            Algorithm::Sha1 => STANDARD.encode(Sha1::digest(credential)),
            Algorithm::Sha224 => STANDARD.encode(Sha224::digest(credential)),
            Algorithm::Sha256 => STANDARD.encode(Sha256::digest(credential)),
            Algorithm::Sha384 => STANDARD.encode(Sha384::digest(credential)),
            Algorithm::Sha512 => STANDARD.encode(Sha512::digest(credential)),
        }
    }
}

/// `user:base64(hash(credential))`, the user being the text before the first colon.
pub fn id(algorithm: Algorithm, credential: &[u8]) -> Vec<u8> {
    let user = credential.split(|&b| b == b':').next().unwrap_or(&[]);
    let mut id = user.to_vec();
    id.push(b':');
    id.extend_from_slice(algorithm.text(credential).as_bytes());
    id
}

/// The identities a credential proves: its own, and `super` if it is the configured one.
pub fn identities(
    algorithm: Algorithm,
    credential: &[u8],
    super_digest: Option<&[u8]>,
) -> Vec<AuthId> {
    let id = id(algorithm, credential);
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
            let id = id(Algorithm::Sha1, credential.as_bytes());
            assert_eq!(id, expect.as_bytes(), "{credential}");
        }
    }

    /// The hashes are those of `printf super:test | openssl dgst -sha256 -binary | base64`.
    #[test]
    fn other_algorithms_make_other_ids() {
        for (name, hash) in [
            ("sha-1", "D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("SHA-256", "wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig="),
            (
                "SHA512",
                "cMAGk13FCMtJkaVQImGEKhjqoGELCiVjYdIhiD8stB1\
                 FnIpdGeFvKwAHh5mf4tUYmBR2ZY9181dZTXEHMlkVhg==",
            ),
        ] {
            let algorithm = Algorithm::named(name).expect("a known name");
            let id = id(algorithm, b"super:test");
            assert_eq!(String::from_utf8_lossy(&id), format!("super:{hash}"), "{name}");
        }
        for unknown in ["MD4", "", "SHA-3"] {
            assert_eq!(Algorithm::named(unknown), None);
        }
    }

    #[test]
    fn the_configured_digest_is_also_super() {
        let of = |credential, digest| identities(Algorithm::Sha1, credential, digest).len();
        let digest = id(Algorithm::Sha1, b"super:test");
        assert_eq!(of(b"super:test", Some(&digest)), 2);
        assert_eq!(of(b"super:other", Some(&digest)), 1);
        assert_eq!(of(b"super:test", None), 1);
    }
}
