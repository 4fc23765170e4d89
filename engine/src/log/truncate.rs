//! Forgetting entries. The log is never shortened: a frame is added that says what is void, so
//! sequence numbers, the chain and the proof that lies in `acknowledged` stay intact, and a crash
//! before that frame is durable simply leaves the log as it was.

use std::collections::VecDeque;

use model::{Batch, Zxid};

use super::Log;
use super::append::Item;
use super::frame::Kind;
use crate::disk::DiskOp;

impl Log {
    /// Forgets everything after `to` (durably, before any later append): a follower that was
    /// ahead. Completes with [`super::LogFact::Cut`] of the position returned; of what was
    /// appended before and not reported, nothing will be.
    ///
    /// Returns where the log ends from now on:
    /// - `to`, if the log has that entry, or begins behind it;
    /// - the last entry before `to`, if the log has none of that zxid (its history is another
    ///   one);
    /// - the old end, and nothing is forgotten, if neither the log nor a snapshot that it covers
    ///   reaches back to `to`: there would be no state to return to, and what was acknowledged
    ///   would be gone.
    ///
    /// The caller removes snapshots after that position; recovery ignores those that are still
    /// there.
    ///
    /// # Panics
    /// If `to` lies after [`Log::appended`].
    pub fn truncate(&mut self, to: Zxid, out: &mut Vec<DiskOp>) -> Zxid {
        assert!(to <= self.appended, "only what was appended can be forgotten");
        let end = self.held.at_or_before(to).unwrap_or(self.appended);
        self.held.cut(end);
        while let Some(Item::Entries(piece)) = self.queue.back_mut() {
            if piece.last() <= end {
                break;
            }
            if piece.first() > end {
                self.queue.pop_back();
            } else {
                piece.to -= (piece.last().0 - end.0) as usize;
            }
        }
        self.cut(Kind::Truncation, end, out);
        end
    }

    /// Forgets everything: a snapshot at `zxid` that came from a peer, and is durable already
    /// under its incoming name, takes the place of the history. Completes with
    /// [`super::LogFact::Cut`] of `zxid`, after which the snapshot is to be adopted; appending
    /// continues after it.
    pub fn reset(&mut self, zxid: Zxid, out: &mut Vec<DiskOp>) {
        self.queue.clear();
        self.bytes_since_snapshot = 0;
        self.held = Held::from(zxid);
        self.cut(Kind::Reset, zxid, out);
    }

    fn cut(&mut self, kind: Kind, to: Zxid, out: &mut Vec<DiskOp>) {
        let from = self.appended;
        self.appended = to;
        self.durable = self.durable.min(to);
        if !self.poisoned {
            self.cuts_pending += 1;
            self.queue.push_back(Item::Cut { kind, to, from });
            self.pump(out);
        }
    }
}

/// The zxids to which the log can be cut back: one range for each epoch, about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// The earliest of them: a snapshot, or the beginning of everything.
    floor: Zxid,
    /// First and last of consecutive entries, in order.
    ranges: VecDeque<(Zxid, Zxid)>,
}

impl Held {
    /// Nothing but a position.
    pub(super) fn from(floor: Zxid) -> Held {
        Held { floor, ranges: VecDeque::new() }
    }

    pub(super) fn append(&mut self, batch: &Batch) {
        self.extend(batch.first(), batch.last());
    }

    /// Adds consecutive entries behind all others.
    pub(super) fn extend(&mut self, first: Zxid, last: Zxid) {
        match self.ranges.back_mut() {
            Some((_, end)) if end.next() == first => *end = last,
            Some(_) | None => self.ranges.push_back((first, last)),
        }
    }

    /// Nothing before this is needed: a snapshot there is the oldest that is kept.
    pub(super) fn raise_floor(&mut self, floor: Zxid) {
        self.floor = self.floor.max(floor);
        while self.ranges.front().is_some_and(|(_, last)| *last <= self.floor) {
            self.ranges.pop_front();
        }
    }

    fn at_or_before(&self, to: Zxid) -> Option<Zxid> {
        let range = self.ranges.iter().rev().find(|(first, _)| *first <= to);
        let entry = range.map(|(_, last)| to.min(*last));
        entry.or(Some(self.floor)).filter(|end| self.floor <= *end && *end <= to)
    }

    fn cut(&mut self, end: Zxid) {
        while let Some((first, last)) = self.ranges.back_mut() {
            if *first <= end {
                *last = end.min(*last);
                return;
            }
            self.ranges.pop_back();
        }
    }
}
