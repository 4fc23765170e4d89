//! One durable unit of the log: a 128-byte header, then a payload, padded to whole blocks.
//!
//! The bytes are drawn in `docs/disk-format.md`. Two rules matter to readers of the code:
//!
//! - The header has a checksum of its own, so that *where* and *what* a frame is can be known
//!   although its payload was torn. The payload's checksum lies in the header.
//! - A frame names the header checksum of the frame before it. A frame that does not follow
//!   exactly the frame that was accepted before it is not part of the log.

use model::{Batch, Zxid};

use crate::disk::{ALIGN, AlignedBuf, SegmentId};

/// Bytes of a frame's header; the payload follows at once.
pub const HEADER_BYTES: usize = 128;
/// Largest payload of a frame that joins entries. A frame of one entry may exceed it.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The only frame version this program knows.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"RKLOGFRM";
/// Each entry is preceded, in a table at the payload's start, by the offset of its end.
pub(super) const END_BYTES: usize = 4;

/// What a frame does to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Kind {
    /// Appends entries with consecutive zxids `first..=last`.
    Entries = 1,
    /// Forgets all entries after `first`; `last` was the last one then.
    Truncation = 2,
    /// Forgets all entries: the log continues behind a snapshot at `first`. `last` was the last
    /// entry then.
    Reset = 3,
}

impl Kind {
    fn from_code(code: u16) -> Option<Kind> {
        match code {
            1 => Some(Kind::Entries),
            2 => Some(Kind::Truncation),
            3 => Some(Kind::Reset),
            _ => None,
        }
    }
}

/// A frame's own description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it does.
    pub kind: Kind,
    /// The log it belongs to. Not guessable from outside: a client's data must not pass for a
    /// frame.
    pub log: u64,
    /// The segment it was written into.
    pub segment: SegmentId,
    /// Where in the segment.
    pub offset: u64,
    /// Grows with every recovery, so that leftovers of an earlier run never follow a new frame.
    pub incarnation: u64,
    /// Position among all frames of this log, from 1.
    pub sequence: u64,
    /// Sequence of the last frame known durable when this one was made. A readable frame proves
    /// that everything up to here had been on disk.
    pub acknowledged: u64,
    /// Position of the log before this frame.
    pub before: Zxid,
    /// First entry; see [`Kind`] for the others.
    pub first: Zxid,
    /// Last entry; see [`Kind`] for the others.
    pub last: Zxid,
    /// Number of entries.
    pub count: u32,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// Checksum of the payload.
    pub payload_crc: u32,
    /// Header checksum of the frame before; 0 for the first of a log.
    pub previous_crc: u32,
    /// Bytes of the segment's file, so that one that was cut off at its end is noticed; 0 in
    /// frames from before this was recorded.
    pub segment_bytes: u64,
}

/// Why a block does not start with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// No frame, or a damaged one.
    Unreadable,
    /// An intact header of a version or kind this program does not know. Up to and including
    /// the address, the header is the same in all versions.
    Unknown {
        /// Version.
        version: u16,
        /// Number of the kind.
        kind: u16,
        /// The log it belongs to.
        log: u64,
        /// Where it was written.
        segment: SegmentId,
        /// Where in the segment.
        offset: u64,
    },
}

impl Header {
    /// Bytes that the frame occupies on disk.
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize) as u64
    }

    /// Reads the header at the start of `block`, with its checksum.
    pub fn decode(block: &[u8]) -> Result<(Header, u32), HeaderFault> {
        let bytes: &[u8; HEADER_BYTES] =
            block.first_chunk().filter(|b| b[..8] == MAGIC).ok_or(HeaderFault::Unreadable)?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let crc = u32_at(bytes, 12);
        if header_crc(bytes) != crc {
            return Err(HeaderFault::Unreadable);
        }
        let (version, code) = (u16_at(8), u16_at(10));
        let Some(kind) = Kind::from_code(code).filter(|_| version == VERSION) else {
            return Err(HeaderFault::Unknown {
                version,
                kind: code,
                log: u64_at(bytes, 16),
                segment: SegmentId(u64_at(bytes, 24)),
                offset: u64_at(bytes, 32),
            });
        };
        let header = Header {
            kind,
            log: u64_at(bytes, 16),
            segment: SegmentId(u64_at(bytes, 24)),
            offset: u64_at(bytes, 32),
            incarnation: u64_at(bytes, 40),
            sequence: u64_at(bytes, 48),
            acknowledged: u64_at(bytes, 56),
            before: Zxid(u64_at(bytes, 64) as i64),
            first: Zxid(u64_at(bytes, 72) as i64),
            last: Zxid(u64_at(bytes, 80) as i64),
            count: u32_at(bytes, 88),
            payload_bytes: u32_at(bytes, 92),
            payload_crc: u32_at(bytes, 96),
            previous_crc: u32_at(bytes, 100),
            segment_bytes: u64_at(bytes, 104),
        };
        // No log gets there: only forged numbers do, and theirs could not go on.
        if header.sequence == u64::MAX || header.incarnation == u64::MAX {
            return Err(HeaderFault::Unreadable);
        }
        Ok((header, crc))
    }

    /// Writes the header over the start of `block` and returns its checksum.
    fn encode(&self, block: &mut [u8]) -> u32 {
        let bytes: &mut [u8; HEADER_BYTES] =
            block.first_chunk_mut().expect("a frame has room for its header");
        bytes.fill(0);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &(self.kind as u16).to_le_bytes());
        put(16, &self.log.to_le_bytes());
        put(24, &self.segment.0.to_le_bytes());
        put(32, &self.offset.to_le_bytes());
        put(40, &self.incarnation.to_le_bytes());
        put(48, &self.sequence.to_le_bytes());
        put(56, &self.acknowledged.to_le_bytes());
        put(64, &self.before.0.to_le_bytes());
        put(72, &self.first.0.to_le_bytes());
        put(80, &self.last.0.to_le_bytes());
        put(88, &self.count.to_le_bytes());
        put(92, &self.payload_bytes.to_le_bytes());
        put(96, &self.payload_crc.to_le_bytes());
        put(100, &self.previous_crc.to_le_bytes());
        put(104, &self.segment_bytes.to_le_bytes());
        let crc = header_crc(bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        crc
    }
}

/// Bytes on disk of a frame with such a payload.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// Some of a batch's entries.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The batch.
    pub batch: Batch,
    /// Index of the first entry.
    pub from: usize,
    /// Index behind the last entry; greater than `from`.
    pub to: usize,
}

impl Piece {
    /// The whole batch.
    pub fn whole(batch: Batch) -> Piece {
        let to = batch.count();
        Piece { batch, from: 0, to }
    }

    /// Zxid of the first entry.
    pub fn first(&self) -> Zxid {
        Zxid(self.batch.first().0 + self.from as i64)
    }

    /// Zxid of the last entry.
    pub fn last(&self) -> Zxid {
        Zxid(self.batch.first().0 + self.to as i64 - 1)
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.to - self.from
    }

    /// Bytes that the first `count` entries take in a payload.
    pub fn payload_bytes(&self, count: usize) -> usize {
        self.end(self.from + count) - self.end(self.from) + END_BYTES * count
    }

    /// How many entries fit into `budget` bytes of payload.
    pub fn fitting(&self, budget: usize) -> usize {
        if self.payload_bytes(self.count()) <= budget {
            return self.count();
        }
        let start = self.end(self.from);
        self.batch.ends()[self.from..self.to]
            .iter()
            .enumerate()
            .take_while(|&(i, &end)| end as usize - start + END_BYTES * (i + 1) <= budget)
            .count()
    }

    /// Takes the first `count` entries away.
    pub fn split_front(&mut self, count: usize) -> Piece {
        let front = Piece { batch: self.batch.clone(), from: self.from, to: self.from + count };
        self.from += count;
        front
    }

    fn end(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.batch.ends()[index - 1] as usize }
    }
}

/// Builds a frame. Counts, lengths and checksums of `header` are filled in; `pieces` must be
/// consecutive. Returns the blocks and the header's checksum.
///
/// Every entry is copied once, into the buffer that goes to the device, and read once more for
/// the checksum.
pub fn encode(header: &mut Header, pieces: &[Piece]) -> (AlignedBuf, u32) {
    let count: usize = pieces.iter().map(Piece::count).sum();
    let payload_bytes: usize = pieces.iter().map(|p| p.payload_bytes(p.count())).sum();
    let mut frame = AlignedBuf::zeroed(HEADER_BYTES + payload_bytes);
    let (head, rest) = frame.as_mut_slice().split_at_mut(HEADER_BYTES);
    let payload = &mut rest[..payload_bytes];

    let (table, mut bytes) = payload.split_at_mut(END_BYTES * count);
    let mut slots = table.chunks_exact_mut(END_BYTES);
    let mut base = 0usize;
    for piece in pieces {
        let (start, end) = (piece.end(piece.from), piece.end(piece.to));
        // The ends come first: zip must not take a slot when they are exhausted.
        for (entry_end, slot) in piece.batch.ends()[piece.from..piece.to].iter().zip(&mut slots) {
            let end_in_frame = (base + *entry_end as usize - start) as u32;
            slot.copy_from_slice(&end_in_frame.to_le_bytes());
        }
        let (here, behind) = bytes.split_at_mut(end - start);
        here.copy_from_slice(&piece.batch.bytes()[start..end]);
        bytes = behind;
        base += end - start;
    }

    header.count = u32::try_from(count).expect("a frame has far less than 2^32 entries");
    header.payload_bytes = u32::try_from(payload_bytes).expect("a payload is far below 4 GiB");
    header.payload_crc = crc32fast::hash(payload);
    let crc = header.encode(head);
    (frame, crc)
}

/// A payload whose checksum was found right, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    ends: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Takes a payload of `count` entries apart; `None` if it is not one.
    pub fn decode(payload: &'a [u8], count: u32) -> Option<Entries<'a>> {
        let table = (count as usize).checked_mul(END_BYTES)?;
        let (ends, bytes) = payload.split_at_checked(table)?;
        let entries = Entries { ends, bytes };
        let mut before = 0;
        for index in 0..count as usize {
            let end = entries.end(index);
            if end < before {
                return None;
            }
            before = end;
        }
        (before == bytes.len()).then_some(entries)
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.ends.len() / END_BYTES
    }

    /// The entry at `index`, which must be below the count.
    pub fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.end(index - 1) };
        &self.bytes[start..self.end(index)]
    }

    fn end(&self, index: usize) -> usize {
        u32_at(self.ends, END_BYTES * index) as usize
    }
}

/// The checksum of a header: of everything in it but the checksum itself.
fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the offset lies inside"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the offset lies inside"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            kind: Kind::Entries,
            log: 0x1122_3344_5566_7788,
            segment: SegmentId(3),
            offset: 8192,
            incarnation: 2,
            sequence: 9,
            acknowledged: 7,
            before: Zxid(41),
            first: Zxid(42),
            last: Zxid(44),
            count: 0,
            payload_bytes: 0,
            payload_crc: 0,
            previous_crc: 0xdead_beef,
            segment_bytes: 16 << 10,
        }
    }

    #[test]
    fn a_frame_joins_pieces() {
        let one = Batch::new(Zxid(41), &b"xabb"[..], &[1u32, 2, 4][..]);
        let two = Batch::new(Zxid(44), &b"ccc"[..], &[3u32][..]);
        let mut piece = Piece::whole(one);
        assert_eq!(piece.split_front(1).last(), Zxid(41));
        let mut header = header();
        let (frame, crc) = encode(&mut header, &[piece, Piece::whole(two)]);
        assert_eq!((frame.len(), header.count, header.payload_bytes), (ALIGN, 3, 12 + 6));
        assert_eq!(Header::decode(frame.as_slice()), Ok((header, crc)));
        let payload = &frame.as_slice()[HEADER_BYTES..HEADER_BYTES + 18];
        let entries = Entries::decode(payload, 3).expect("well formed");
        let all: Vec<_> = (0..entries.count()).map(|i| entries.get(i)).collect();
        assert_eq!(all, [&b"a"[..], b"bb", b"ccc"]);
    }

    #[test]
    fn pieces_fit_by_payload_bytes() {
        let piece = Piece::whole(Batch::new(Zxid(1), &b"abbccc"[..], &[1u32, 3, 6][..]));
        let cases = [(0, 0), (4, 0), (5, 1), (10, 1), (11, 2), (17, 2), (18, 3), (99, 3)];
        for (budget, fits) in cases {
            assert_eq!(piece.fitting(budget), fits, "budget {budget}");
        }
    }

    #[test]
    fn unknown_versions_and_kinds_are_told_from_damage() {
        let (frame, _) = encode(&mut header(), &[]);
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&frame.as_slice()[..HEADER_BYTES]);
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Unreadable));
        let seal = |bytes: &mut [u8; HEADER_BYTES]| {
            let crc = header_crc(bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        };
        seal(&mut bytes);
        let unknown = |version, kind| {
            let (log, segment, offset) = (header().log, SegmentId(3), 8192);
            Err(HeaderFault::Unknown { version, kind, log, segment, offset })
        };
        assert_eq!(Header::decode(&bytes), unknown(9, 1));
        (bytes[8], bytes[10]) = (1, 77);
        seal(&mut bytes);
        assert_eq!(Header::decode(&bytes), unknown(1, 77));
    }

    /// Found by fuzzing: the next number of such a frame overflowed.
    #[test]
    fn numbers_that_cannot_go_on_are_no_frame() {
        for forged in [
            Header { sequence: u64::MAX, ..header() },
            Header { incarnation: u64::MAX, ..header() },
        ] {
            let (frame, _) = encode(&mut forged.clone(), &[]);
            assert_eq!(Header::decode(frame.as_slice()), Err(HeaderFault::Unreadable));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            count: u32,
        ) {
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend_from_slice(&bytes);
            prop_assert!(Header::decode(&with_magic).is_err());
            if let Some(entries) = Entries::decode(&bytes, count % 32) {
                for index in 0..entries.count() {
                    let _ = entries.get(index);
                }
            }
        }

        #[test]
        fn any_flipped_header_bit_is_noticed(bit in 0usize..HEADER_BYTES * 8) {
            let (mut frame, _) = encode(&mut header(), &[]);
            frame.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(frame.as_slice()).is_err());
        }
    }
}
