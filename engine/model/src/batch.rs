//! Entries that travel, are logged and are acknowledged together.

use std::ops::Range;
use std::sync::Arc;

use crate::zxid::Zxid;

/// A run of transaction entries with consecutive zxids, shared by the log and by every peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    first: Zxid,
    bytes: Arc<[u8]>,
    ends: Arc<[u32]>,
}

impl Batch {
    /// Joins entries (as [`crate::txn::encode_entry`] writes them) that lie back to back in
    /// `bytes`, each ending at the given offset. There must be at least one; the first has zxid
    /// `first` and each following one the next.
    pub fn new(first: Zxid, bytes: impl Into<Arc<[u8]>>, ends: impl Into<Arc<[u32]>>) -> Batch {
        let (bytes, ends) = (bytes.into(), ends.into());
        assert!(!ends.is_empty(), "a batch has entries");
        assert_eq!(ends.last().copied(), Some(bytes.len() as u32), "entries fill the bytes");
        Batch { first, bytes, ends }
    }

    /// Zxid of the first entry.
    pub fn first(&self) -> Zxid {
        self.first
    }

    /// Zxid of the last entry.
    pub fn last(&self) -> Zxid {
        Zxid(self.first.0 + self.ends.len() as i64 - 1)
    }

    /// Number of entries; never zero.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// All entries back to back.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offsets in [`Batch::bytes`] at which the entries end.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The entries with their zxids.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (Zxid, &[u8])> {
        (0..self.count()).map(|i| (Zxid(self.first.0 + i as i64), &self.bytes[self.range(i)]))
    }

    /// The part up to and with `last`; `None` if it begins later.
    pub fn upto(&self, last: Zxid) -> Option<Batch> {
        if last >= self.last() {
            return Some(self.clone());
        }
        let count = usize::try_from(last.0 - self.first.0 + 1).ok().filter(|count| *count > 0)?;
        let ends = &self.ends[..count];
        let end = ends[count - 1] as usize;
        Some(Batch::new(self.first, &self.bytes[..end], ends))
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        start..self.ends[index] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_zxids() {
        let batch = Batch::new(Zxid(7), &b"abbccc"[..], &[1u32, 3, 6][..]);
        assert_eq!((batch.first(), batch.last(), batch.count()), (Zxid(7), Zxid(9), 3));
        let all: Vec<_> = batch.entries().collect();
        assert_eq!(all, [(Zxid(7), &b"a"[..]), (Zxid(8), b"bb"), (Zxid(9), b"ccc")]);
    }
}
