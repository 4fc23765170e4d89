//! Who may do what: pure functions over encoded access lists and proven identities
//! (`client-protocol` 5.3 to 5.5). Used by the writer when it judges and by reads.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use model::acl::{encode_list, entries};
use model::{Acl, AuthId, ErrorCode, Perms};

use crate::draft::Settings;

/// `world:anyone:31`, encoded.
pub const OPEN_LIST: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

/// What a reader brings along.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Identities its connection has proven.
    pub identities: &'a [AuthId],
    /// Access lists are not consulted (`skipACL`).
    pub skip_acl: bool,
}

impl Credentials<'_> {
    /// Whether an encoded list lets these identities do any of `need` (`client-protocol` 5.4).
    pub fn permit(&self, list: &[u8], need: Perms) -> bool {
        self.skip_acl || permits(list, self.identities, need)
    }
}

/// Whether an encoded list lets these identities do any of `need` (`client-protocol` 5.4).
pub fn permits(list: &[u8], identities: &[AuthId], need: Perms) -> bool {
    if list == OPEN_LIST && need.intersects(Perms::ALL) {
        return true;
    }
    if identities.iter().any(|id| id.scheme == b"super") {
        return true;
    }
    let mut is_empty = true;
    for entry in entries(list) {
        is_empty = false;
        if entry.perms.intersects(need) && names(&entry, identities) {
            return true;
        }
    }
    is_empty
}

/// True if everybody may read under this list: its events need no guard.
pub fn is_world_readable(list: &[u8]) -> bool {
    permits(list, &[], Perms::READ)
}

fn names(entry: &Acl<'_>, identities: &[AuthId]) -> bool {
    let (Some(scheme), Some(wanted)) = (entry.scheme, entry.id) else { return false };
    if scheme == b"world" && wanted == b"anyone" {
        return true;
    }
    identities.iter().any(|have| have.scheme == scheme && matches(scheme, &have.id, wanted))
}

fn matches(scheme: &[u8], have: &[u8], wanted: &[u8]) -> bool {
    match scheme {
        b"ip" => ip_matches(have, wanted),
        // The SASL identity `super` is an old super user.
        b"sasl" => have == b"super" || have == wanted,
        _ => have == wanted,
    }
}

/// Bytes that `auth` entries may add to the access lists of one request. Without a bound, each of
/// thousands of such entries would stand for everything that the connection has proven.
pub(crate) const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// Makes a list fit to be stored: duplicates go, `auth` becomes the caller's identities, every
/// other entry must be valid for its scheme (`client-protocol` 5.3). The common list is returned
/// as it came.
pub fn resolve<'a>(
    list: Option<&'a [u8]>,
    identities: &[AuthId],
    settings: &Settings,
) -> Result<Cow<'a, [u8]>, ErrorCode> {
    let list = list.ok_or(ErrorCode::InvalidAcl)?;
    if list == OPEN_LIST {
        return Ok(Cow::Borrowed(list));
    }
    let mut seen = BTreeSet::new();
    let mut resolved = Vec::new();
    let mut changed = false;
    let mut expanded = 0;
    for entry in entries(list) {
        if !seen.insert((entry.perms.0, entry.scheme, entry.id)) {
            changed = true;
            continue;
        }
        match entry.scheme.ok_or(ErrorCode::InvalidAcl)? {
            b"auth" => {
                changed = true;
                let before = resolved.len();
                resolved.extend(identities.iter().filter(|id| is_authenticated(id, settings)).map(
                    |id| Acl { perms: entry.perms, scheme: Some(&id.scheme), id: Some(&id.id) },
                ));
                let proven = &resolved[before..];
                if proven.is_empty() {
                    return Err(ErrorCode::InvalidAcl);
                }
                expanded += proven.iter().map(encoded_bytes).sum::<usize>();
                if expanded > EXPANDED_BYTES_MAX {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            scheme => {
                validate_id(scheme, entry.id, settings)?;
                resolved.push(entry);
            }
        }
    }
    if resolved.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    if changed {
        Ok(Cow::Owned(encode_list(resolved.into_iter())))
    } else {
        Ok(Cow::Borrowed(list))
    }
}

fn encoded_bytes(entry: &Acl<'_>) -> usize {
    let text = |text: Option<&[u8]>| size_of::<u32>() + text.map_or(0, <[u8]>::len);
    size_of::<u32>() + text(entry.scheme) + text(entry.id)
}

/// What a caller who may read but not administer gets to see: digest ids without their hash
/// (`client-protocol` 5.5).
pub fn redact(list: &[u8]) -> Cow<'_, [u8]> {
    if !entries(list).any(|entry| entry.scheme == Some(b"digest")) {
        return Cow::Borrowed(list);
    }
    let hidden: Vec<(Acl<'_>, Option<Vec<u8>>)> =
        entries(list).map(|entry| (entry, hidden_id(&entry))).collect();
    Cow::Owned(encode_list(hidden.iter().map(|(entry, id)| match id {
        Some(id) => Acl { id: Some(id), ..*entry },
        None => *entry,
    })))
}

fn hidden_id(entry: &Acl<'_>) -> Option<Vec<u8>> {
    let id = entry.id.filter(|_| entry.scheme == Some(b"digest"))?;
    let colon = id.iter().position(|&b| b == b':')?;
    Some([&id[..=colon], b"x"].concat())
}

/// Identities that `auth` stands for: those a client proved, not those every connection has.
fn is_authenticated(id: &AuthId, settings: &Settings) -> bool {
    match id.scheme.as_slice() {
        b"digest" => settings.digest_scheme,
        b"sasl" => settings.sasl_scheme,
        b"x509" => settings.x509_scheme,
        _ => false,
    }
}

fn validate_id(scheme: &[u8], id: Option<&[u8]>, settings: &Settings) -> Result<(), ErrorCode> {
    let is_valid: fn(&[u8]) -> bool = match scheme {
        b"world" => |id| id == b"anyone",
        b"ip" => is_ip_pattern,
        b"digest" if settings.digest_scheme => is_digest_id,
        b"sasl" if settings.sasl_scheme => is_sasl_name,
        b"x509" if settings.x509_scheme => is_distinguished_name,
        _ => return Err(ErrorCode::InvalidAcl),
    };
    // ZooKeeper stumbles over a null id and answers so.
    let id = id.ok_or(ErrorCode::MarshallingError)?;
    if is_valid(id) { Ok(()) } else { Err(ErrorCode::InvalidAcl) }
}

/// Two parts around one colon, colons at the very end not counted.
fn is_digest_id(id: &[u8]) -> bool {
    let end = id.iter().rposition(|&b| b != b':').map_or(0, |at| at + 1);
    id[..end].split(|&b| b == b':').count() == 2
}

/// A plain word, or `service[/host]@realm`.
fn is_sasl_name(id: &[u8]) -> bool {
    let mut at_signs = id.split(|&b| b == b'@');
    let (name, realm) = (at_signs.next().unwrap_or_default(), at_signs.next());
    let Some(realm) = realm else { return true };
    let parts = |text: &[u8]| text.split(|&b| b == b'/').count();
    at_signs.next().is_none() && parts(realm) == 1 && parts(name) <= 2
}

/// An X.500 name, as far as its shape goes: `type=value` pairs joined by `,`, `;` or `+`.
fn is_distinguished_name(id: &[u8]) -> bool {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, &byte) in id.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b';' | b'+' if !quoted => {
                parts.push(&id[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&id[start..]);
    !quoted && !escaped && (id.is_empty() || parts.into_iter().all(is_attribute))
}

fn is_attribute(part: &[u8]) -> bool {
    let Some(equals) = part.iter().position(|&b| b == b'=') else { return false };
    let name = part[..equals].trim_ascii();
    !name.is_empty()
        && name.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b' '))
}

fn is_ip_pattern(id: &[u8]) -> bool {
    ip_pattern(id).is_some()
}

/// An address and how many of its leading bits count.
fn ip_pattern(id: &[u8]) -> Option<(IpAddr, u32)> {
    let text = std::str::from_utf8(id).ok()?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (ip_address(address)?, Some(bits.parse::<u32>().ok()?)),
        None => (ip_address(text)?, None),
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some((address, bits))
}

/// IPv4 parts may have leading zeros, as in Java.
fn ip_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = parts.next()?.parse::<u8>().ok()?;
    }
    parts.next().is_none().then_some(IpAddr::from(octets))
}

fn ip_matches(have: &[u8], wanted: &[u8]) -> bool {
    let have = std::str::from_utf8(have).ok().and_then(ip_address);
    let (Some(have), Some((wanted, bits))) = (have, ip_pattern(wanted)) else { return false };
    match (have, wanted) {
        (IpAddr::V4(have), IpAddr::V4(wanted)) => {
            let differ = have.to_bits() ^ wanted.to_bits();
            differ.leading_zeros() >= bits
        }
        (IpAddr::V6(have), IpAddr::V6(wanted)) => {
            let differ = have.to_bits() ^ wanted.to_bits();
            differ.leading_zeros() >= bits
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(all: &[(i32, &str, Option<&str>)]) -> Vec<u8> {
        let all: Vec<Acl<'_>> = all
            .iter()
            .map(|(perms, scheme, id)| Acl {
                perms: Perms(*perms),
                scheme: Some(scheme.as_bytes()),
                id: id.map(str::as_bytes),
            })
            .collect();
        encode_list(all.into_iter())
    }

    fn ids(all: &[(&str, &str)]) -> Vec<AuthId> {
        all.iter().map(|(scheme, id)| AuthId::new(*scheme, *id)).collect()
    }

    fn everything() -> Settings {
        Settings { sasl_scheme: true, x509_scheme: true, ..Settings::default() }
    }

    #[test]
    fn the_open_list_is_what_clients_send() {
        assert_eq!(OPEN_LIST, model::acl::world(Perms::ALL));
    }

    #[test]
    fn any_bit_of_any_matching_entry_permits() {
        let mixed = list(&[(1, "world", Some("anyone")), (4, "digest", Some("u:h"))]);
        type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)], Perms, bool);
        let cases: [Case<'_>; 12] = [
            (&mixed, &[], Perms::READ, true),
            (&mixed, &[], Perms::CREATE, false),
            (&mixed, &[("digest", "u:h")], Perms::CREATE, true),
            (&mixed, &[("digest", "u:g")], Perms::CREATE, false),
            (&mixed, &[("sasl", "u:h")], Perms::CREATE, false),
            (&mixed, &[("digest", "u:h")], Perms::ADMIN, false),
            (&mixed, &[("super", "")], Perms::ADMIN, true),
            (&mixed, &[], Perms::READ.or(Perms::ADMIN), true),
            (&[0, 0, 0, 0], &[], Perms::ADMIN, true),
            (&list(&[(2, "sasl", Some("me"))]), &[("sasl", "super")], Perms::WRITE, true),
            (&list(&[(2, "world", Some("me"))]), &[("ip", "::1")], Perms::WRITE, false),
            (OPEN_LIST, &[], Perms::ALL, true),
        ];
        for (list, have, need, expect) in cases {
            assert_eq!(permits(list, &ids(have), need), expect, "{have:?} {need:?}");
        }
        let closed = list(&[(0, "world", Some("anyone"))]);
        assert!(!Credentials { identities: &[], skip_acl: false }.permit(&closed, Perms::READ));
        assert!(Credentials { identities: &[], skip_acl: true }.permit(&closed, Perms::READ));
    }

    #[test]
    fn addresses_match_by_prefix_within_a_family() {
        for (have, wanted, expect) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "010.1.2.3/32", true),
            ("2001:db8::7", "2001:db8::/32", true),
            ("2001:db9::7", "2001:db8::/32", false),
            ("2001:db8::7", "2001:db8:0:0:0:0:0:7", true),
            ("10.1.2.3", "::/0", false),
            ("::1", "0.0.0.0/0", false),
        ] {
            assert_eq!(ip_matches(have.as_bytes(), wanted.as_bytes()), expect, "{have} {wanted}");
        }
    }

    #[test]
    fn ids_must_fit_their_scheme() {
        let ok = Ok(());
        let bad = Err(ErrorCode::InvalidAcl);
        for (scheme, id, expect) in [
            ("world", Some("anyone"), ok),
            ("world", Some("me"), bad),
            ("world", None, Err(ErrorCode::MarshallingError)),
            ("digest", Some("u:h"), ok),
            ("digest", Some(":h"), ok),
            ("digest", Some("u:h::"), ok),
            ("digest", Some("u:"), bad),
            ("digest", Some("u"), bad),
            ("digest", Some(":"), bad),
            ("digest", Some("a:b:c"), bad),
            ("ip", Some("1.2.3.4"), ok),
            ("ip", Some("1.2.3.0/24"), ok),
            ("ip", Some("::1/128"), ok),
            ("ip", Some("1.2.3.4/33"), bad),
            ("ip", Some("1.2.3.4/-1"), bad),
            ("ip", Some("1.2.3"), bad),
            ("ip", Some("1.2.3.4.5"), bad),
            ("ip", Some("1.2.3.256"), bad),
            ("ip", Some("::1/129"), bad),
            ("ip", Some("host"), bad),
            ("sasl", Some("bob"), ok),
            ("sasl", Some("zk/host@REALM"), ok),
            ("sasl", Some("a@b@c"), bad),
            ("sasl", Some("a/b/c@d"), bad),
            ("sasl", Some("a@b/c"), bad),
            ("x509", Some("CN=me,O=We \\, us"), ok),
            ("x509", Some("CN"), bad),
            ("x509", Some("CN=\"open"), bad),
            ("super", Some("x"), bad),
            ("ensemble", Some("x"), bad),
            ("", Some("x"), bad),
        ] {
            let found = validate_id(scheme.as_bytes(), id.map(str::as_bytes), &everything());
            assert_eq!(found, expect, "{scheme} {id:?}");
        }
        for scheme in ["sasl", "x509"] {
            let found = validate_id(scheme.as_bytes(), Some(b"CN=x"), &Settings::default());
            assert_eq!(found, bad, "{scheme} without a provider");
        }
        let without = Settings { digest_scheme: false, ..Settings::default() };
        assert_eq!(validate_id(b"digest", Some(b"u:h"), &without), bad);
    }

    #[test]
    fn fix_up_removes_doubles_and_expands_auth() {
        let who = ids(&[("ip", "1.1.1.1"), ("digest", "u:h"), ("super", ""), ("digest", "v:i")]);
        let resolve = |list: &[u8], who: &[AuthId]| {
            resolve(Some(list), who, &Settings::default()).map(Cow::into_owned)
        };
        let asked = list(&[
            (3, "auth", None),
            (1, "world", Some("anyone")),
            (1, "world", Some("anyone")),
            (2, "world", Some("anyone")),
        ]);
        let stored = list(&[
            (3, "digest", Some("u:h")),
            (3, "digest", Some("v:i")),
            (1, "world", Some("anyone")),
            (2, "world", Some("anyone")),
        ]);
        assert_eq!(resolve(&asked, &who), Ok(stored));
        assert_eq!(resolve(&asked, &who[..1]), Err(ErrorCode::InvalidAcl));
        assert_eq!(resolve(&[0, 0, 0, 0], &who), Err(ErrorCode::InvalidAcl));
        let odd = list(&[(-1, "ip", Some("1.1.1.1"))]);
        assert_eq!(resolve(&odd, &who), Ok(odd.clone()), "bits are stored as sent");
        assert_eq!(super::resolve(None, &who, &Settings::default()), Err(ErrorCode::InvalidAcl));
        let nameless = encode_list([Acl { perms: Perms(1), scheme: None, id: None }].into_iter());
        assert_eq!(resolve(&nameless, &who), Err(ErrorCode::InvalidAcl));
    }

    /// A request of a megabyte holds fifty thousand `auth` entries that differ, and each would
    /// stand for 64 KB of identities.
    #[test]
    fn auth_entries_do_not_multiply_without_bound() {
        let name = "u".repeat(EXPANDED_BYTES_MAX / 4);
        let who = ids(&[("digest", &format!("{name}:h"))]);
        let asked = |count| list(&(0..count).map(|p| (p, "auth", None)).collect::<Vec<_>>());
        let resolve = |list: &[u8]| resolve(Some(list), &who, &Settings::default()).map(|_| ());
        assert_eq!(resolve(&asked(3)), Ok(()));
        assert_eq!(resolve(&asked(4)), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn redaction_hides_the_hash_only() {
        let full = list(&[(31, "digest", Some("u:secret:x")), (1, "sasl", Some("a:b"))]);
        let shown = list(&[(31, "digest", Some("u:x")), (1, "sasl", Some("a:b"))]);
        assert_eq!(redact(&full), shown);
        assert!(matches!(redact(OPEN_LIST), Cow::Borrowed(_)));
    }
}
