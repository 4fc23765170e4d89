//! Files of the log: prepared ahead, filled one after the other, removed when covered.

use std::collections::VecDeque;

use model::Zxid;

use crate::disk::{ALIGN, DiskToken, SegmentId};

/// Space that must be left in the last segment when no further one can be prepared: what may
/// still be in flight and queued when writes begin to be refused.
const RESERVE_BYTES: u64 = 4 << 20;

/// The segment being filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Live {
    pub(super) id: SegmentId,
    pub(super) bytes: u64,
    /// Where the next frame goes.
    pub(super) offset: u64,
}

impl Live {
    pub(super) fn remaining(&self) -> u64 {
        self.bytes.saturating_sub(self.offset)
    }
}

/// A segment that takes no more frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closed {
    pub(super) id: SegmentId,
    /// No entry up to the end of this segment lies behind this position, forgotten ones included:
    /// a truncation counts only once it is durable, and by then new entries lie further on.
    pub(super) last: Zxid,
    /// Sequence of the last frame up to the end of this segment.
    pub(super) sequence: u64,
}

/// All segments of a log, in the order of their numbers: closed, live, spare, being prepared.
pub(super) struct Segments {
    /// Size of new ones.
    pub(super) bytes: u64,
    pub(super) closed: VecDeque<Closed>,
    pub(super) live: Option<Live>,
    /// Ready to be filled, with their sizes.
    pub(super) spare: VecDeque<(SegmentId, u64)>,
    /// One at a time: were the second of two ready and the first not when the node stops, the
    /// numbers would have a hole.
    pub(super) preparing: Option<(DiskToken, SegmentId)>,
    /// The last preparation failed for lack of space.
    pub(super) refused: bool,
    /// Highest zxid in any frame so far.
    pub(super) highest: Zxid,
    /// Next number to give out.
    pub(super) next: SegmentId,
    /// Left over before a hole in the numbers; not part of the log.
    pub(super) strays: Vec<SegmentId>,
}

impl Segments {
    /// No segment yet.
    pub(super) fn none(bytes: u64) -> Segments {
        Segments {
            bytes,
            closed: VecDeque::new(),
            live: None,
            spare: VecDeque::new(),
            preparing: None,
            refused: false,
            highest: Zxid::ZERO,
            next: SegmentId(1),
            strays: Vec::new(),
        }
    }

    /// The number of the segment to prepare now, if one is needed.
    pub(super) fn wanted(&self) -> Option<SegmentId> {
        let ready = self.spare.len() + usize::from(self.live.is_some());
        (self.preparing.is_none() && !self.refused && ready < 2).then_some(self.next)
    }

    /// The preparation of [`Segments::wanted`] was ordered.
    pub(super) fn ordered(&mut self, token: DiskToken) {
        self.preparing = Some((token, self.next));
        self.next = SegmentId(self.next.0 + 1);
    }

    pub(super) fn is_preparing(&self, token: DiskToken) -> bool {
        self.preparing.is_some_and(|(ordered, _)| ordered == token)
    }

    pub(super) fn prepared(&mut self) {
        let (_, id) = self.preparing.take().expect("asked for with is_preparing");
        self.spare.push_back((id, self.bytes));
    }

    pub(super) fn refused(&mut self) {
        let (_, id) = self.preparing.take().expect("asked for with is_preparing");
        self.next = id;
        self.refused = true;
    }

    pub(super) fn retry(&mut self) {
        self.refused = false;
    }

    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    /// True if a frame of so many bytes has a place now.
    pub(super) fn has_room(&self, frame_bytes: u64) -> bool {
        self.live.is_some_and(|live| live.remaining() >= frame_bytes)
            || self.spare.iter().any(|&(_, bytes)| bytes >= frame_bytes)
    }

    /// Makes the live segment one with room for such a frame. `sequence` is that of the last
    /// frame made.
    pub(super) fn make_room(&mut self, frame_bytes: u64, sequence: u64) -> bool {
        if self.live.is_some_and(|live| live.remaining() >= frame_bytes) {
            return true;
        }
        if !self.has_room(frame_bytes) {
            return false;
        }
        // Spares of an earlier configuration may be too small: they are passed over, empty.
        while let Some((id, bytes)) = self.spare.pop_front() {
            if let Some(full) = self.live.replace(Live { id, bytes, offset: 0 }) {
                self.closed.push_back(Closed { id: full.id, last: self.highest, sequence });
            }
            if bytes >= frame_bytes {
                break;
            }
        }
        true
    }

    /// Takes out the oldest closed segment if a snapshot at `zxid` covers it. A segment stays
    /// until a frame behind it is durable, so that recovery always finds the end of the chain.
    pub(super) fn releasable(&mut self, zxid: Zxid, acknowledged: u64) -> Option<SegmentId> {
        if let Some(stray) = self.strays.pop() {
            return Some(stray);
        }
        let oldest = self.closed.front()?;
        let covered = oldest.last <= zxid && oldest.sequence < acknowledged;
        covered.then(|| self.closed.pop_front().map(|closed| closed.id))?
    }

    /// True if writes must be refused: no further segment can be had and this one is nearly full.
    pub(super) fn starved(&self) -> bool {
        let reserve = (self.bytes / 8).max(RESERVE_BYTES).min(self.bytes / 2).max(ALIGN as u64);
        let left = self.live.map_or(0, |live| live.remaining());
        self.refused && self.spare.is_empty() && left < reserve
    }
}
