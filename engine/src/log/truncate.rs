//! Forgetting entries. The log is never shortened: a frame is added that says what is void, so
//! sequence numbers, the chain and the proof that lies in `acknowledged` stay intact, and a crash
//! before that frame is durable simply leaves the log as it was.

use model::Zxid;

use super::Log;
use super::append::Item;
use super::frame::Kind;
use crate::disk::DiskOp;

impl Log {
    /// Forgets everything after `to` (durably, before any later append): a follower that was
    /// ahead. Completes with [`super::LogFact::Durable`] of `to`; nothing else is reported in
    /// between, and of several truncations only the last is.
    ///
    /// The caller removes snapshots after `to`; recovery ignores those that are still there.
    ///
    /// # Panics
    /// If `to` lies after [`Log::appended`].
    pub fn truncate(&mut self, to: Zxid, out: &mut Vec<DiskOp>) {
        assert!(to <= self.appended, "only what was appended can be forgotten");
        while let Some(Item::Entries(piece)) = self.queue.back_mut() {
            if piece.last() <= to {
                break;
            }
            if piece.first() > to {
                self.queue.pop_back();
            } else {
                piece.to -= (piece.last().0 - to.0) as usize;
            }
        }
        self.cut(Kind::Truncation, to, out);
    }

    /// Forgets everything: a snapshot at `zxid` that came from a peer, and is durable already,
    /// takes the place of the history. Completes with [`super::LogFact::Durable`] of `zxid`;
    /// appending continues after it.
    pub fn reset(&mut self, zxid: Zxid, out: &mut Vec<DiskOp>) {
        self.queue.clear();
        self.bytes_since_snapshot = 0;
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
