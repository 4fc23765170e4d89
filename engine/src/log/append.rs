//! From the queue into frames, from completions to durable positions.

use model::{Batch, Zxid};

use super::frame::{self, Header, Kind, Piece};
use super::{Log, LogFact};
use crate::disk::{DiskOp, DiskToken, SegmentId};

/// Waits for a write slot.
pub(super) enum Item {
    /// Entries, possibly the rest of a batch.
    Entries(Piece),
    /// Forgets entries.
    Cut {
        kind: Kind,
        /// Position afterwards.
        to: Zxid,
        /// Last entry before.
        from: Zxid,
    },
}

/// A frame being written.
pub(super) struct Flight {
    pub(super) token: DiskToken,
    pub(super) sequence: u64,
    /// What becomes durable with it.
    pub(super) upto: Zxid,
    /// It forgets entries: its completion is reported although no new entry became durable.
    pub(super) cut: bool,
    pub(super) done: bool,
}

impl Log {
    pub(super) fn enqueue(&mut self, batch: Batch) {
        let piece = Piece::whole(batch);
        let longest = (0..piece.count())
            .map(|i| piece.batch.ends()[i] - if i == 0 { 0 } else { piece.batch.ends()[i - 1] })
            .max();
        let longest = longest.expect("a batch has entries") as usize;
        assert!(longest <= self.entry_bytes_max(), "an entry of {longest} bytes fits no segment");
        self.queue.push_back(Item::Entries(piece));
    }

    /// Writes what waits as long as there are slots and segments, and keeps a spare segment.
    pub(super) fn pump(&mut self, out: &mut Vec<DiskOp>) {
        if self.poisoned {
            return;
        }
        while self.flights.len() < self.writes_max() && self.write_next(out) {}
        if let Some(segment) = self.segments.wanted() {
            let token = self.token();
            self.segments.ordered(token);
            out.push(DiskOp::PrepareSegment { token, segment, bytes: self.segments.bytes });
        }
    }

    /// Makes one frame of what waits. False if nothing waits or there is no room.
    fn write_next(&mut self, out: &mut Vec<DiskOp>) -> bool {
        let least = match self.queue.front() {
            None => return false,
            Some(Item::Entries(piece)) => piece.payload_bytes(1),
            Some(Item::Cut { .. }) => 0,
        };
        let least = frame::frame_bytes(least) as u64;
        if !self.segments.make_room(least, self.chain.sequence) {
            return false;
        }
        let live = self.segments.live.expect("there is room in it");
        let mut pieces = Vec::new();
        let (kind, first, last) = match self.queue.front() {
            Some(&Item::Cut { kind, to, from }) => {
                self.queue.pop_front();
                (kind, to, from)
            }
            Some(Item::Entries(_)) | None => {
                self.gather(live.remaining() as usize, &mut pieces);
                let first = pieces.first().expect("the first entry fits").first();
                (Kind::Entries, first, pieces.last().map_or(first, Piece::last))
            }
        };
        let mut header = Header {
            kind,
            log: self.id,
            segment: live.id,
            offset: live.offset,
            incarnation: self.incarnation,
            sequence: self.chain.sequence + 1,
            acknowledged: self.acknowledged,
            before: self.chain.position,
            first,
            last,
            count: 0,
            payload_bytes: 0,
            payload_crc: 0,
            previous_crc: self.chain.crc,
            segment_bytes: live.bytes,
        };
        let (data, crc) = frame::encode(&mut header, &pieces);
        self.chain.sequence = header.sequence;
        self.chain.crc = crc;
        self.chain.position = position_after(&header);
        self.segments.highest = self.segments.highest.max(last).max(first);
        if let Some(live) = &mut self.segments.live {
            live.offset += data.len() as u64;
        }
        let token = self.token();
        self.flights.push_back(Flight {
            token,
            sequence: header.sequence,
            upto: self.chain.position,
            cut: kind != Kind::Entries,
            done: false,
        });
        let (segment, offset): (SegmentId, u64) = (live.id, live.offset);
        out.push(DiskOp::WriteSegment { token, segment, offset, data });
        true
    }

    /// Takes consecutive entries off the queue: as many as one frame holds in `room` bytes.
    fn gather(&mut self, room: usize, pieces: &mut Vec<Piece>) {
        let room = room - frame::HEADER_BYTES;
        let mut budget = room.min(frame::PAYLOAD_BYTES_MAX);
        while let Some(Item::Entries(piece)) = self.queue.front_mut() {
            if pieces.last().is_some_and(|before: &Piece| before.last().next() != piece.first()) {
                break;
            }
            let mut count = piece.fitting(budget);
            if count == 0 {
                if !pieces.is_empty() {
                    break;
                }
                // One entry above the limit goes alone; make_room saw to its room.
                count = 1;
            }
            let taken = piece.split_front(count);
            budget = budget.saturating_sub(taken.payload_bytes(count));
            let finished = piece.count() == 0;
            pieces.push(taken);
            if !finished {
                break;
            }
            self.queue.pop_front();
        }
    }

    /// Reports what has become durable without a break.
    pub(super) fn acknowledge(&mut self, facts: &mut Vec<LogFact>) {
        let mut upto = None;
        while self.flights.front().is_some_and(|flight| flight.done) {
            let flight = self.flights.pop_front().expect("just looked at");
            self.acknowledged = flight.sequence;
            self.cuts_pending -= usize::from(flight.cut);
            if flight.cut {
                facts.push(LogFact::Cut { end: flight.upto });
            }
            // Entries before a truncation that is under way may be among the forgotten; the
            // completion of the last truncation speaks for all that went before.
            if self.cuts_pending == 0 && (flight.cut || flight.upto > self.durable) {
                self.durable = flight.upto;
                upto = Some(flight.upto).filter(|_| !flight.cut);
            }
        }
        facts.extend(upto.map(|upto| LogFact::Durable { upto }));
    }
}

/// Where the log stands after a frame.
pub(super) fn position_after(header: &Header) -> Zxid {
    match header.kind {
        Kind::Entries => header.last,
        Kind::Truncation | Kind::Reset => header.first,
    }
}
