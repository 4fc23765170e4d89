//! ZooKeeper's tree digest, version 2: the wrapping sum of one CRC-32 per znode (`zab-wire` 4.5).
//! It is kept up to date by taking out a znode's old part and adding its new one.

use crc32fast::Hasher;
use model::path;

use crate::tree::{Meta, TreeView};

/// Digest of a fresh database: the root and `/zookeeper`, everything zero.
pub const FRESH: u64 = 1_371_985_504;

/// The part of a znode's checksum that its facts do not change: path and data. Everything below
/// `/zookeeper/` counts as nothing.
pub(crate) enum Prefix<'a> {
    Nothing,
    /// Checksummed in one go, which is much faster than in three short pieces.
    Short(&'a [u8], &'a [u8]),
    /// Passed over once, however many facts follow.
    Long(Hasher),
}

/// Path and data up to this length are joined with the facts.
const SHORT_BYTES_MAX: usize = 452;
/// Most are much shorter and get a smaller room, which must be cleared.
const USUAL_BYTES_MAX: usize = 196;

impl<'a> Prefix<'a> {
    pub(crate) fn new(path: &'a [u8], data: Option<&'a [u8]>) -> Prefix<'a> {
        if is_excluded(path) {
            return Prefix::Nothing;
        }
        // The root's path is the empty string.
        let path = if path == b"/" { b"" } else { path };
        let data = data.unwrap_or_default();
        if path.len() + data.len() <= SHORT_BYTES_MAX {
            return Prefix::Short(path, data);
        }
        let mut crc = Hasher::new();
        crc.update(path);
        crc.update(data);
        Prefix::Long(crc)
    }

    /// The znode's part of the sum with these facts.
    pub(crate) fn with(&self, meta: &Meta) -> u64 {
        u64::from(match self {
            Prefix::Nothing => 0,
            Prefix::Short(path, data) if path.len() + data.len() <= USUAL_BYTES_MAX => {
                joined(&mut [0; USUAL_BYTES_MAX + FACTS], path, data, meta)
            }
            Prefix::Short(path, data) => {
                joined(&mut [0; SHORT_BYTES_MAX + FACTS], path, data, meta)
            }
            Prefix::Long(crc) => {
                let mut crc = crc.clone();
                let mut bytes = [0; FACTS];
                facts(meta, &mut bytes);
                crc.update(&bytes);
                crc.finalize()
            }
        })
    }
}

/// Checksum of path, data and facts, brought together in `room`. The facts are written where they
/// are checksummed: copying what was just written in smaller pieces stalls the processor.
#[inline]
fn joined(room: &mut [u8], path: &[u8], data: &[u8], meta: &Meta) -> u32 {
    let (data_at, facts_at) = (path.len(), path.len() + data.len());
    room[..data_at].copy_from_slice(path);
    room[data_at..facts_at].copy_from_slice(data);
    let bytes = room[facts_at..].first_chunk_mut().expect("room for the facts is left");
    facts(meta, bytes);
    crc32fast::hash(&room[..facts_at + FACTS])
}

/// One znode's part of the sum.
pub(crate) fn of(path: &[u8], data: Option<&[u8]>, meta: &Meta) -> u64 {
    Prefix::new(path, data).with(meta)
}

/// The digest from scratch: one pass over everything, for checks.
pub fn of_tree(view: TreeView<'_>) -> u64 {
    view.iter()
        .fold(0, |sum: u64, (path, znode)| sum.wrapping_add(of(path, znode.data, &znode.meta)))
}

fn is_excluded(path: &[u8]) -> bool {
    path.strip_prefix(path::SYSTEM).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Bytes of facts.
const FACTS: usize = 60;

/// The facts in the order of the checksum (not of the Stat).
#[inline]
fn facts(meta: &Meta, bytes: &mut [u8; FACTS]) {
    let longs = [meta.czxid.0, meta.mzxid.0, meta.pzxid.0, meta.ctime, meta.mtime];
    for (at, long) in longs.into_iter().enumerate() {
        bytes[8 * at..8 * at + 8].copy_from_slice(&long.to_be_bytes());
    }
    for (at, int) in [meta.version, meta.cversion, meta.aversion].into_iter().enumerate() {
        bytes[40 + 4 * at..44 + 4 * at].copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&meta.owner.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::AclRef;

    #[test]
    fn the_system_name_counts_and_everything_below_it_does_not() {
        let meta = Meta { acl: AclRef::OPEN, ..Meta::default() };
        assert_eq!(of(b"/zookeeper/config", Some(b"x"), &meta), 0);
        assert_ne!(of(b"/zookeeperx", None, &meta), 0);
        let both = of(b"/", Some(b""), &meta).wrapping_add(of(b"/zookeeper", Some(b""), &meta));
        assert_eq!(both, FRESH);
    }

    #[test]
    fn long_and_short_are_summed_alike() {
        let meta = Meta { mtime: 77, ..Meta::default() };
        for length in [
            0,
            1,
            USUAL_BYTES_MAX - 2,
            USUAL_BYTES_MAX - 1,
            300,
            SHORT_BYTES_MAX - 2,
            SHORT_BYTES_MAX - 1,
            100_000,
        ] {
            let data: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let mut bytes = [0; FACTS];
            facts(&meta, &mut bytes);
            let whole = [b"/a", &data[..], &bytes].concat();
            let expect = u64::from(crc32fast::hash(&whole));
            assert_eq!(of(b"/a", Some(&data), &meta), expect, "{length}");
        }
    }

    #[test]
    fn null_data_counts_as_empty_and_the_access_list_not_at_all() {
        let meta = Meta { version: 3, ..Meta::default() };
        let other = Meta { acl: AclRef(9), ..meta };
        assert_eq!(of(b"/a", None, &meta), of(b"/a", Some(b""), &other));
        assert_ne!(of(b"/a", None, &meta), of(b"/a", None, &Meta { version: 4, ..meta }));
    }
}
