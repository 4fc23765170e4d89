//! Znode paths: which ones may be created, and how they split.

/// The name under the root that belongs to the server.
pub const SYSTEM: &[u8] = b"/zookeeper";
/// Where the ensemble's configuration text lives.
pub const CONFIG: &[u8] = b"/zookeeper/config";
/// Root of the quota tree.
pub const QUOTA: &[u8] = b"/zookeeper/quota";
/// Leaf that holds a quota's limits.
pub const QUOTA_LIMITS: &[u8] = b"zookeeper_limits";
/// Leaf that holds a quota's usage.
pub const QUOTA_STATS: &[u8] = b"zookeeper_stats";

/// Why a path may not be written to (`client-protocol` 4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathFault {
    /// No bytes at all.
    Empty,
    /// Does not start with a slash.
    NotAbsolute,
    /// Ends with a slash and is not the root.
    TrailingSlash,
    /// Two slashes in a row.
    EmptyComponent,
    /// A component that is `.` or `..`.
    Relative,
    /// A character that may not stand in a path, or bytes that are not UTF-8.
    BadCharacter,
}

/// Checks the full rules of `client-protocol` 4.6; reads and deletes do not call this.
pub fn validate(path: &[u8]) -> Result<(), PathFault> {
    if is_plain(path) { Ok(()) } else { validate_in_full(path) }
}

/// Whether one look at every byte is enough to see that nothing is wrong: printable ASCII, and no
/// component that is empty or starts with a dot.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else { return false };
    let mut before = b'/';
    for &byte in rest {
        if !(0x20..0x7f).contains(&byte) || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    before != b'/'
}

fn validate_in_full(path: &[u8]) -> Result<(), PathFault> {
    match path {
        [] => return Err(PathFault::Empty),
        [b'/'] => return Ok(()),
        [b'/', ..] => {}
        _ => return Err(PathFault::NotAbsolute),
    }
    if path.ends_with(b"/") {
        return Err(PathFault::TrailingSlash);
    }
    for component in path[1..].split(|&b| b == b'/') {
        match component {
            b"" => return Err(PathFault::EmptyComponent),
            b"." | b".." => return Err(PathFault::Relative),
            _ => {}
        }
    }
    if path.iter().all(|b| (0x20..0x7f).contains(b)) {
        return Ok(());
    }
    let text = std::str::from_utf8(path).map_err(|_| PathFault::BadCharacter)?;
    if text.chars().any(forbidden) { Err(PathFault::BadCharacter) } else { Ok(()) }
}

/// Characters by UTF-16 unit: controls, surrogates (so all of the supplementary planes), private
/// use, specials.
fn forbidden(c: char) -> bool {
    matches!(c as u32, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// Splits at the last slash: the parent and the child's name. The parent of `/x` is the root,
/// given as `/`; `None` when there is no slash. `/` itself gives (`/`, ``).
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&b| b == b'/')?;
    let parent = if slash == 0 { &path[..1] } else { &path[..slash] };
    Some((parent, &path[slash + 1..]))
}

/// The root is also addressed by the empty path; both mean `/`.
pub fn normalize(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"/" } else { path }
}

/// The paths above `path`, nearest first, ending with `/`. Empty for the root.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.len() <= 1 {
            return None;
        }
        rest = split(rest)?.0;
        Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses_like_zookeeper() {
        for good in ["/", "/a", "/a/b c", "/a/..b", "/a/.b", "/a/b.", "/\u{fc}n\u{ef}", "/\u{ffef}"]
        {
            assert_eq!(validate(good.as_bytes()), Ok(()), "{good}");
        }
        let bad: [(&[u8], PathFault); 12] = [
            (b"", PathFault::Empty),
            (b"a", PathFault::NotAbsolute),
            (b"/a/", PathFault::TrailingSlash),
            (b"//", PathFault::TrailingSlash),
            (b"/a//b", PathFault::EmptyComponent),
            (b"/a/./b", PathFault::Relative),
            (b"/..", PathFault::Relative),
            (b"/a\0", PathFault::BadCharacter),
            (b"/a\x7f", PathFault::BadCharacter),
            ("/\u{e000}".as_bytes(), PathFault::BadCharacter),
            ("/\u{1f600}".as_bytes(), PathFault::BadCharacter),
            (b"/\xff", PathFault::BadCharacter),
        ];
        for (path, fault) in bad {
            assert_eq!(validate(path), Err(fault), "{path:?}");
        }
    }

    #[test]
    fn splits_at_the_last_slash() {
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!(split(b"/"), Some((&b"/"[..], &b""[..])));
        assert_eq!(split(b"a"), None);
        let up: Vec<&[u8]> = ancestors(b"/a/b/c").collect();
        assert_eq!(up, [&b"/a/b"[..], b"/a", b"/"]);
        assert_eq!(ancestors(b"/").count(), 0);
    }
}
