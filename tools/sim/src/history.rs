//! What really happened, as the node's own feed tells a listener that is never late: every version
//! ever published, every change in order. Checkers judge clients' experience against it.

use std::collections::BTreeMap;

use engine::{Change, Version};
use model::{SessionId, Zxid};
use server::feed::CommitBatch;

/// A change of the committed history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Position.
    pub zxid: Zxid,
    /// What.
    pub change: Change,
    /// Where.
    pub path: Vec<u8>,
    /// Only the keeper may see it.
    pub private: bool,
    /// Only the keeper may see what it does to its parent's children.
    pub private_parent: bool,
}

/// The committed history of one ensemble.
#[derive(Default)]
pub struct History {
    /// Every version that a shard could read, by zxid.
    pub versions: BTreeMap<Zxid, Version>,
    /// Every change, in order.
    pub changes: Vec<Changed>,
    /// Last published transaction.
    pub published: Zxid,
    /// Highest zxid that any client was shown in an answer.
    pub shown: Zxid,
    /// When each session was last heard from (or could have been, had the server not been at
    /// fault), true time in ns.
    pub heard: BTreeMap<SessionId, u64>,
    /// The longest silence of each session that it broke again. Its end may have been decided
    /// then, and wait in a log that stands still: what is heard later does not undo that
    /// (`zab-wire` F-29a).
    pub silences: BTreeMap<SessionId, u64>,
    /// Clients that prove to be the keeper.
    pub keepers: std::collections::BTreeSet<usize>,
    /// Least timeout that anybody asked for who attached to a session again, ms.
    pub asked_ms: BTreeMap<SessionId, i32>,
    /// Sessions whose clients asked to close them.
    pub closing: std::collections::BTreeSet<SessionId>,
    /// Sessions that a state from elsewhere no longer had when it still had ephemerals of theirs:
    /// those go by the first transactions (`zab-wire` F-32).
    pub gone_before: std::collections::BTreeSet<SessionId>,
    /// True time, ns.
    pub now: u64,
}

impl History {
    /// Takes over what the feed published.
    pub fn publish(&mut self, batch: &CommitBatch) {
        for segment in &batch.segments {
            for effect in &segment.effects.list {
                let path = segment.effects.path(&effect.path).to_vec();
                self.changes.push(Changed {
                    zxid: effect.zxid,
                    change: effect.change,
                    path,
                    private: effect.acl.is_some(),
                    private_parent: effect.parent_acl.is_some(),
                });
            }
            // A new session's client can know of it from now on.
            for session in segment.version.tables().sessions.keys() {
                self.heard.entry(*session).or_insert(self.now);
            }
            self.published = segment.version.zxid();
            self.versions.insert(segment.version.zxid(), segment.version.clone());
        }
    }

    /// A session was heard from.
    pub fn hear(&mut self, session: SessionId) {
        if let Some(before) = self.heard.insert(session, self.now) {
            let longest = self.silences.entry(session).or_default();
            *longest = self.now.saturating_sub(before).max(*longest);
        }
    }

    /// A node recovered: whatever it had not published and lost never happened; whatever it had
    /// not published and kept has happened now.
    pub fn recover(&mut self, version: &Version) {
        self.published = version.zxid();
        self.versions.insert(version.zxid(), version.clone());
        self.silences.clear();
        for session in version.tables().sessions.keys() {
            self.heard.insert(*session, self.now);
        }
    }

    /// The version with exactly this zxid.
    pub fn at(&self, zxid: Zxid) -> Result<&Version, String> {
        self.versions.get(&zxid).ok_or_else(|| format!("no version was published at {zxid:?}"))
    }

    /// The newest version.
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last_key_value().map(|(_, version)| version)
    }
}
