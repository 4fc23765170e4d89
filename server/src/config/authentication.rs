//! What clients must prove, and how.

use super::typed::{Problems, Reader};
use crate::shard::auth::digest::Algorithm;

/// The keys that say so.
#[derive(Clone, Debug, Default)]
pub struct AuthKeys {
    /// `DigestAuthenticationProvider.digestAlg`
    digest_algorithm: Option<String>,
    /// `sessionRequireClientSASLAuth`
    sasl_required: bool,
    /// `enforce.auth.enabled`
    enforced: bool,
    /// `enforce.auth.schemes`
    schemes: Vec<String>,
    /// `ensembleAuthName`
    ensemble_names: Option<String>,
}

impl AuthKeys {
    pub(super) fn take(reader: &mut Reader) -> AuthKeys {
        let schemes = reader.text("enforce.auth.schemes").unwrap_or_default();
        let schemes = schemes.split(',').map(str::trim).filter(|scheme| !scheme.is_empty());
        AuthKeys {
            digest_algorithm: reader.text("DigestAuthenticationProvider.digestAlg"),
            sasl_required: reader.lenient_bool("sessionRequireClientSASLAuth").unwrap_or(false),
            enforced: reader.lenient_bool("enforce.auth.enabled").unwrap_or(false),
            schemes: schemes.map(str::to_owned).collect(),
            ensemble_names: reader.text("ensembleAuthName"),
        }
    }

    /// How credentials of scheme `digest` are hashed.
    pub(super) fn algorithm(&self, problems: &mut Problems) -> Algorithm {
        let Some(name) = &self.digest_algorithm else { return Algorithm::default() };
        Algorithm::named(name).unwrap_or_else(|| {
            let text = format!(
                "DigestAuthenticationProvider.digestAlg={name}: must be SHA1, SHA-224, SHA-256, \
                 SHA-384 or SHA-512"
            );
            problems.0.push(text);
            Algorithm::default()
        })
    }

    /// The names by which clients may call the ensemble; empty: they are not looked at.
    pub(super) fn ensemble_names(&self) -> Vec<String> {
        let names = self.ensemble_names.as_deref().unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Schemes of which a session must have an identity; none: nobody must authenticate.
    /// `exists` tells which schemes there are (`client-protocol` 5.8).
    pub(super) fn required(
        &self,
        exists: impl Fn(&str) -> bool,
        problems: &mut Problems,
    ) -> Vec<String> {
        let (key, schemes) = match self {
            AuthKeys { sasl_required: true, .. } => {
                ("sessionRequireClientSASLAuth", vec!["sasl".to_owned()])
            }
            AuthKeys { enforced: true, schemes, .. } => ("enforce.auth.schemes", schemes.clone()),
            AuthKeys { .. } => return Vec::new(),
        };
        if schemes.is_empty() {
            problems.0.push("enforce.auth.enabled: needs enforce.auth.schemes".to_owned());
        }
        for scheme in schemes.iter().filter(|scheme| !exists(scheme)) {
            problems.0.push(format!("{key}: nobody can authenticate with the scheme {scheme}"));
        }
        schemes
    }
}
