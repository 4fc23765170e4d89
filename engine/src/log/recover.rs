//! Reading a log back: which frames are part of it, where it ends, and whether that end is a torn
//! tail or a hole in what had been acknowledged.
//!
//! The walk follows the chain from the oldest segment. It stops at the first block that does not
//! follow. Everything behind that point is then searched for an intact header whose
//! `acknowledged` reaches it: such a header proves that the missing frame had been durable, so
//! the disk lost it. Without proof the point is a tail that was never acknowledged, and is cut.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::Zxid;

use super::append::position_after;
use super::frame::{Entries, HEADER_BYTES, Header, HeaderFault, Kind, VERSION};
use super::segment::{Closed, Live, Segments};
use super::truncate::Held;
use super::{Chain, Log, LogSettings};
use crate::disk::{ALIGN, SegmentId};
use crate::recover::{Parallel, RecoverError};

/// Payload bytes that are checked as one piece of work.
const CHECK_BYTES: usize = 8 << 20;

/// The frames of a log, all intact, in order.
pub struct Contents<'a> {
    /// Segments with consecutive numbers, up to the newest.
    segments: Vec<(SegmentId, &'a [u8])>,
    /// Segments before a hole in the numbers.
    strays: Vec<SegmentId>,
    /// Each with the index of its segment.
    frames: Vec<(usize, Header)>,
    /// Id of the log, if there is a frame.
    id: Option<u64>,
    chain: Chain,
    /// Index of the segment to continue in, and where.
    end: (usize, u64),
    /// Highest incarnation met anywhere, leftovers included.
    incarnation: u64,
    /// For the operator.
    warnings: Vec<String>,
}

/// A frame that follows: index of its segment, header, header checksum.
type Link = (usize, Header, u32);

/// Entries that survived later truncations.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Position before the first entry of the frame.
    pub before: Zxid,
    /// Zxid of the frame's first entry.
    pub first: Zxid,
    /// Last entry that counts.
    pub last: Zxid,
    /// All entries of the frame.
    pub entries: Entries<'a>,
    /// For messages.
    pub segment: SegmentId,
    /// For messages.
    pub offset: u64,
}

impl<'a> Run<'a> {
    /// The entries after `position` that count.
    pub fn after(self, position: Zxid) -> impl Iterator<Item = (Zxid, &'a [u8])> {
        let from = self.first.0.max(position.0.saturating_add(1));
        let first = self.first.0;
        (from..=self.last.0).map(move |z| (Zxid(z), self.entries.get((z - first) as usize)))
    }
}

/// What the log holds after all its truncations.
pub struct Surviving<'a> {
    /// In order.
    pub runs: Vec<Run<'a>>,
    /// Positions `(to, from]` that were forgotten once: snapshots in between are suspect.
    pub voids: Vec<(Zxid, Zxid)>,
    /// The last reset: a received snapshot at this zxid took the place of everything before.
    pub reset: Option<Zxid>,
}

impl<'a> Contents<'a> {
    /// Walks a log's segments.
    pub fn read(
        mut segments: Vec<(SegmentId, &'a [u8])>,
        parallel: &dyn Parallel,
    ) -> Result<Contents<'a>, RecoverError> {
        segments.sort_by_key(|&(id, _)| id);
        let hole = segments.windows(2).rposition(|w| w[0].0.0 + 1 != w[1].0.0);
        let kept = segments.split_off(hole.map_or(0, |at| at + 1));
        let mut contents = Contents {
            segments: kept,
            strays: segments.iter().map(|&(id, _)| id).collect(),
            frames: Vec::new(),
            id: None,
            chain: Chain { sequence: 0, crc: 0, position: Zxid::ZERO },
            end: (0, 0),
            incarnation: 0,
            warnings: Vec::new(),
        };
        let mut sound = 0;
        let mut next = contents.follower(0)?;
        while let Some(found) = next.take() {
            contents.walk(found)?;
            let bad = contents.first_bad_payload(sound, parallel);
            if let Some(damaged) = contents.cut_at(bad) {
                // A run that was cut here may have gone on in the next segment, for want of room
                // in this one, and left the old frame's header behind.
                next = contents.follower(1)?;
                next = next.filter(|(_, header, _)| header.incarnation > damaged.incarnation);
                sound = bad;
            }
        }
        contents.check_sizes()?;
        contents.judge_end()?;
        Ok(contents)
    }

    /// Segments are made whole and never shortened. One that lost its end to somebody else may
    /// have lost frames that nothing else proves.
    fn check_sizes(&self) -> Result<(), RecoverError> {
        let cut_off = |segment, bytes, made| RecoverError::SegmentCutOff { segment, bytes, made };
        for &(segment, bytes) in &self.segments {
            let bytes = bytes.len() as u64;
            if bytes == 0 || !bytes.is_multiple_of(ALIGN as u64) {
                return Err(cut_off(segment, bytes, None));
            }
        }
        for (index, header) in &self.frames {
            let (segment, bytes) = self.segments[*index];
            let bytes = bytes.len() as u64;
            if bytes < header.segment_bytes {
                return Err(cut_off(segment, bytes, Some(header.segment_bytes)));
            }
        }
        Ok(())
    }

    /// Position after the last frame.
    pub fn position(&self) -> Zxid {
        self.chain.position
    }

    /// True if the log holds no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Headers of all frames, for tools.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.frames.iter().map(|(_, header)| header)
    }

    /// Damage that was stepped around, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Applies the log's truncations to its entries.
    pub fn surviving(&self) -> Surviving<'a> {
        let mut runs: Vec<Run<'a>> = Vec::new();
        let mut voids = Vec::new();
        let mut reset = None;
        for (index, header) in &self.frames {
            match header.kind {
                Kind::Entries => {
                    let Some(entries) = self.entries(*index, header) else { continue };
                    let (before, first, last) = (header.before, header.first, header.last);
                    let (segment, offset) = (header.segment, header.offset);
                    runs.push(Run { before, first, last, entries, segment, offset });
                }
                Kind::Truncation => {
                    while let Some(run) = runs.last_mut().filter(|run| run.last > header.first) {
                        if run.first > header.first {
                            runs.pop();
                        } else {
                            run.last = header.first;
                        }
                    }
                    voids.push((header.first, header.last));
                }
                Kind::Reset => {
                    runs.clear();
                    reset = Some(header.first);
                    voids.push((header.first, header.last));
                }
            }
        }
        Surviving { runs, voids, reset }
    }

    /// The log, ready to continue. `position` is where the state stands: at or behind the log's
    /// own end. `bytes` of entries lie behind the snapshot that was used; `snapshots` are all
    /// that can be, oldest first.
    pub fn resume(
        self,
        settings: LogSettings,
        position: Zxid,
        bytes: u64,
        snapshots: &[Zxid],
    ) -> Log {
        let held = self.held(position, snapshots);
        let mut segments = Segments::none(settings.segment_bytes);
        segments.strays = self.strays;
        let newest = self.segments.iter().map(|&(id, _)| id).max();
        segments.next = newest.map_or(SegmentId(1), |id| SegmentId(id.0 + 1));
        let mut frames = self.frames.iter().peekable();
        let mut sequence = 0;
        for (index, &(id, bytes)) in self.segments.iter().enumerate() {
            let bytes = whole_blocks(bytes);
            if index > self.end.0 {
                segments.spare.push_back((id, bytes));
                continue;
            }
            while let Some((_, header)) = frames.next_if(|(at, _)| *at == index) {
                sequence = header.sequence;
                segments.highest = segments.highest.max(header.last).max(header.first);
            }
            if index == self.end.0 {
                segments.live = Some(Live { id, bytes, offset: self.end.1 });
            } else {
                let last = segments.highest;
                segments.closed.push_back(Closed { id, last, sequence });
            }
        }
        segments.highest = segments.highest.max(position);
        Log {
            settings,
            id: self.id.unwrap_or(settings.log_id),
            incarnation: self.incarnation + 1,
            acknowledged: self.chain.sequence,
            chain: Chain { position, ..self.chain },
            appended: position,
            durable: position,
            bytes_since_snapshot: bytes,
            queue: VecDeque::new(),
            flights: VecDeque::new(),
            cuts_pending: 0,
            segments,
            held,
            next_token: 0,
            poisoned: false,
            starved: false,
        }
    }

    /// The positions to which the log can be cut back so that recovery finds a way there: from
    /// the oldest snapshot on that the log covers.
    fn held(&self, position: Zxid, snapshots: &[Zxid]) -> Held {
        let runs = self.surviving().runs;
        let mut start = position;
        let mut from = runs.len();
        while let Some(run) = from.checked_sub(1).map(|at| &runs[at]) {
            if run.last != start {
                break;
            }
            start = run.before;
            from -= 1;
        }
        let covered = snapshots.iter().find(|zxid| start <= **zxid && **zxid <= position);
        let oldest = covered.copied().unwrap_or(position);
        let floor = if start == Zxid::ZERO { start } else { oldest };
        let mut held = Held::from(floor);
        for run in &runs[from..] {
            held.extend(run.first, run.last);
        }
        held.raise_floor(floor);
        held
    }

    /// Follows the headers, from a frame that was found to follow.
    fn walk(&mut self, found: Link) -> Result<(), RecoverError> {
        let mut next = Some(found);
        while let Some((index, header, crc)) = next {
            self.id = Some(header.log);
            self.incarnation = self.incarnation.max(header.incarnation);
            self.chain =
                Chain { sequence: header.sequence, crc, position: position_after(&header) };
            self.end = (index, header.offset + header.frame_bytes());
            self.frames.push((index, header));
            next = self.follower(0)?;
        }
        Ok(())
    }

    /// The frame that follows the last one: behind it, or at the start of a later segment.
    /// Passes over the first `skip` of these places.
    fn follower(&self, skip: usize) -> Result<Option<Link>, RecoverError> {
        let (index, offset) = self.end;
        let later = (index + 1..self.segments.len()).map(|index| (index, 0));
        let mut unknown = None;
        for (index, offset) in std::iter::once((index, offset)).chain(later).skip(skip) {
            let Some(&(id, bytes)) = self.segments.get(index) else { break };
            let Some(block) = bytes.get(offset as usize..) else { continue };
            match Header::decode(block) {
                Ok((header, crc)) => {
                    let here = header.segment == id && header.offset == offset;
                    let whole = header.frame_bytes() <= block.len() as u64;
                    if here && whole && self.follows(index, &header) {
                        return Ok(Some((index, header, crc)));
                    }
                }
                Err(fault) => unknown = unknown.or_else(|| self.refusal(fault, id, offset)),
            }
        }
        unknown.map_or(Ok(None), Err)
    }

    fn follows(&self, index: usize, header: &Header) -> bool {
        let sound = match header.kind {
            Kind::Entries => {
                header.count > 0
                    && header.first > header.before
                    && header.first.0.checked_add(i64::from(header.count) - 1)
                        == Some(header.last.0)
            }
            Kind::Truncation | Kind::Reset => header.count == 0,
        };
        let chained = match self.id {
            // The oldest segment that is left may start anywhere; a later one only with the very
            // first frame, if the ones before it were too small for that.
            None => index == 0 || (header.sequence == 1 && header.previous_crc == 0),
            Some(id) => {
                header.log == id
                    && header.sequence == self.chain.sequence + 1
                    && header.previous_crc == self.chain.crc
                    && header.incarnation >= self.incarnation
                    && (header.before == self.chain.position
                        // After a recovery from a snapshot that was ahead of the log.
                        || (header.before > self.chain.position
                            && header.incarnation > self.incarnation))
            }
        };
        sound && chained && header.acknowledged < header.sequence
    }

    fn entries(&self, index: usize, header: &Header) -> Option<Entries<'a>> {
        let start = header.offset as usize + HEADER_BYTES;
        let end = start.checked_add(header.payload_bytes as usize)?;
        Entries::decode(self.segments[index].1.get(start..end)?, header.count)
    }

    /// Index of the first frame from `sound` on whose payload is not what its header says; the
    /// number of frames if there is none.
    fn first_bad_payload(&self, sound: usize, parallel: &dyn Parallel) -> usize {
        let bad = AtomicUsize::new(self.frames.len());
        let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        let mut start = sound;
        while start < self.frames.len() {
            let mut bytes = 0;
            let length = self.frames[start..]
                .iter()
                .take_while(|(_, header)| {
                    let more = bytes < CHECK_BYTES;
                    bytes += header.payload_bytes as usize;
                    more
                })
                .count();
            let (range, bad) = (start..start + length, &bad);
            start += length;
            work.push(Box::new(move || {
                for at in range {
                    if !self.payload_is_sound(at) {
                        bad.fetch_min(at, Ordering::Relaxed);
                        break;
                    }
                }
            }));
        }
        parallel.run(work);
        bad.into_inner()
    }

    /// Takes back the frame at `bad` and all after it. Returns its header.
    fn cut_at(&mut self, bad: usize) -> Option<Header> {
        let &(index, damaged) = self.frames.get(bad)?;
        self.frames.truncate(bad);
        self.end = (index, damaged.offset);
        self.chain = match self.frames.last() {
            Some((_, last)) => Chain {
                sequence: last.sequence,
                crc: damaged.previous_crc,
                position: position_after(last),
            },
            None => Chain { sequence: 0, crc: 0, position: Zxid::ZERO },
        };
        // Only a frame proves which log this is.
        if self.frames.is_empty() {
            self.id = None;
        }
        Some(damaged)
    }

    fn payload_is_sound(&self, at: usize) -> bool {
        let (index, header) = &self.frames[at];
        let start = header.offset as usize + HEADER_BYTES;
        let payload = &self.segments[*index].1[start..start + header.payload_bytes as usize];
        crc32fast::hash(payload) == header.payload_crc
            && Entries::decode(payload, header.count).is_some()
    }

    /// Decides whether the end is a torn tail.
    fn judge_end(&mut self) -> Result<(), RecoverError> {
        let Some(&(first, _)) = self.segments.first() else { return Ok(()) };
        let (index, offset) = self.end;
        let missing = self.chain.sequence + 1;
        let full = self.segments[index].1.len() as u64 <= offset;
        let (at, at_offset) = if full && index + 1 < self.segments.len() {
            (self.segments[index + 1].0, 0)
        } else {
            (self.segments[index].0, offset)
        };
        let damaged = RecoverError::LogDamaged { segment: at, offset: at_offset };
        // Segments go only when a frame behind them is durable: one must be here.
        if self.frames.is_empty() && first != SegmentId(1) {
            return Err(damaged);
        }
        let mut leftovers = false;
        for (i, &(id, bytes)) in self.segments.iter().enumerate().skip(index) {
            let start = if i == index { offset as usize } else { 0 };
            let blocks = bytes.get(start..).unwrap_or_default().chunks(ALIGN);
            for (number, block) in blocks.enumerate() {
                let here = (start + number * ALIGN) as u64;
                match Header::decode(block) {
                    Ok((header, _)) => {
                        let ours = self.id.is_none_or(|log| log == header.log);
                        if ours && header.segment == id && header.offset == here {
                            leftovers = true;
                            self.incarnation = self.incarnation.max(header.incarnation);
                            if header.acknowledged >= missing {
                                return Err(damaged);
                            }
                        }
                    }
                    Err(fault) => {
                        if let Some(refusal) = self.refusal(fault, id, here) {
                            return Err(refusal);
                        }
                        leftovers |= here == at_offset && id == at && block.iter().any(|&b| b != 0);
                    }
                }
            }
        }
        if leftovers {
            self.warnings.push(format!(
                "log segment {:016x} ends at byte {at_offset} in a frame that was never \
                 acknowledged; it is cut after {:?}",
                at.0, self.chain.position
            ));
        }
        if !self.strays.is_empty() {
            self.warnings.push(format!(
                "{} log segments before a gap in the numbers are not part of the log",
                self.strays.len()
            ));
        }
        Ok(())
    }

    /// The error for a frame of this log, at its place, that this program cannot read.
    fn refusal(&self, fault: HeaderFault, at: SegmentId, from: u64) -> Option<RecoverError> {
        match fault {
            HeaderFault::Unreadable => None,
            HeaderFault::Unknown { version, kind, log, segment, offset } => {
                let ours = self.id.is_none_or(|id| id == log) && (segment, offset) == (at, from);
                ours.then(|| {
                    RecoverError::UnknownFormat(format!(
                        "log segment {:016x} has at byte {from} a frame of version {version} and \
                         kind {kind}; this program reads version {VERSION}",
                        at.0
                    ))
                })
            }
        }
    }
}

fn whole_blocks(bytes: &[u8]) -> u64 {
    (bytes.len() / ALIGN * ALIGN) as u64
}
