//! The promises a server must not forget: which epoch it accepted, and whose history it took over
//! (`zab-wire` 2.10).
//!
//! They live in two small files, copies of each other, each replaced whole. A change is made by
//! replacing both, in any order, and counts once both are durable; so either copy alone holds
//! every change that counts, and one may rot. 48 bytes, drawn in `docs/disk-format.md`.

use model::Epoch;

use crate::disk::{DiskOp, DiskToken, SmallFile};

/// Bytes of the file.
pub const EPOCH_FILE_BYTES: usize = 48;
/// The only version this program knows.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"RKEPOCHS";

/// A server's promises, and how often they changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    /// Counts changes; of two copies the one with the higher revision is newer.
    pub revision: u64,
    /// Highest epoch proposed by a leader that this server accepted (`acceptedEpoch`).
    pub accepted: Epoch,
    /// Epoch of the last leader whose history this server took over (`currentEpoch`).
    /// Never above `accepted`.
    pub current: Epoch,
}

/// Why the copies cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochsFault {
    /// There is a copy, but none that is intact: what was promised is not known.
    #[error("no copy of the epoch file is intact")]
    Damaged,
    /// An intact copy of a version this program does not know.
    #[error("epoch file has version {0}; this program reads version {VERSION}")]
    UnknownVersion(u16),
}

impl Epochs {
    /// The operations that make this change durable: it counts when both have completed.
    pub fn replace(&self, tokens: [DiskToken; 2]) -> [DiskOp; 2] {
        let data = self.encode().to_vec();
        let [first, second] = tokens;
        [
            DiskOp::ReplaceFile { token: first, file: SmallFile::EpochA, data: data.clone() },
            DiskOp::ReplaceFile { token: second, file: SmallFile::EpochB, data },
        ]
    }

    /// The newest promises in the two copies; `None` where a file does not exist. `Ok(None)` if
    /// neither exists: nothing was ever promised.
    pub fn newest(
        first: Option<&[u8]>,
        second: Option<&[u8]>,
    ) -> Result<Option<Epochs>, EpochsFault> {
        let copies = [first, second].map(|copy| copy.map(Epochs::decode));
        let mut newest: Option<Epochs> = None;
        let mut exists = false;
        for copy in copies.into_iter().flatten() {
            exists = true;
            match copy {
                Ok(epochs) => {
                    newest = Some(newest.map_or(epochs, |other| {
                        if epochs.revision > other.revision { epochs } else { other }
                    }));
                }
                Err(EpochsFault::Damaged) => {}
                Err(fault @ EpochsFault::UnknownVersion(_)) => return Err(fault),
            }
        }
        if exists && newest.is_none() { Err(EpochsFault::Damaged) } else { Ok(newest) }
    }

    /// The content of one copy.
    pub fn encode(&self) -> [u8; EPOCH_FILE_BYTES] {
        let mut bytes = [0; EPOCH_FILE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.revision.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.accepted.0.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.current.0.to_le_bytes());
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads one copy.
    pub fn decode(bytes: &[u8]) -> Result<Epochs, EpochsFault> {
        let bytes: &[u8; EPOCH_FILE_BYTES] = bytes.try_into().map_err(|_| EpochsFault::Damaged)?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if bytes[..8] != MAGIC || crc(bytes) != u32_at(12) {
            return Err(EpochsFault::Damaged);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(EpochsFault::UnknownVersion(version));
        }
        let revision = u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32;
        Ok(Epochs { revision, accepted: Epoch(u32_at(24)), current: Epoch(u32_at(28)) })
    }
}

fn crc(bytes: &[u8; EPOCH_FILE_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(revision: u64) -> Epochs {
        Epochs { revision, accepted: Epoch(7), current: Epoch(revision as u32) }
    }

    #[test]
    fn the_newer_intact_copy_wins() {
        let (old, new) = (epochs(4).encode(), epochs(5).encode());
        let mut rotten = new;
        rotten[25] ^= 4;
        type Copy<'a> = Option<&'a [u8]>;
        let cases: [(Copy<'_>, Copy<'_>, _); 8] = [
            (None, None, Ok(None)),
            (Some(&old), None, Ok(Some(epochs(4)))),
            (None, Some(&old), Ok(Some(epochs(4)))),
            (Some(&old), Some(&new), Ok(Some(epochs(5)))),
            (Some(&new), Some(&old), Ok(Some(epochs(5)))),
            (Some(&old), Some(&rotten), Ok(Some(epochs(4)))),
            (Some(&rotten), None, Err(EpochsFault::Damaged)),
            (Some(&rotten), Some(&new[..20]), Err(EpochsFault::Damaged)),
        ];
        for (first, second, want) in cases {
            assert_eq!(Epochs::newest(first, second), want);
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let mut bytes = epochs(1).encode();
        bytes[8] = 2;
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let found = Epochs::newest(Some(&epochs(9).encode()), Some(&bytes));
        assert_eq!(found, Err(EpochsFault::UnknownVersion(2)));
    }

    proptest! {
        #[test]
        fn no_damage_goes_unnoticed(revision: u64, at in 0..EPOCH_FILE_BYTES, bit in 0..8) {
            let mut bytes = epochs(revision).encode();
            prop_assert_eq!(Epochs::decode(&bytes), Ok(epochs(revision)));
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(Epochs::decode(&bytes), Err(EpochsFault::Damaged));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = Epochs::newest(Some(&bytes), None);
        }
    }
}
