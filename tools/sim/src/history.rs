//! What really happened, as the nodes' own feeds tell listeners that are never late: every version
//! ever published anywhere, by zxid, and on each node every change in order. Checkers judge
//! clients' experience against it.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Change, Version};
use model::{Epoch, SessionId, Zxid};
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

/// The least that an answer may show, as of when its request was sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Floor {
    /// Highest zxid that anybody had been shown by the server that is asked.
    pub here: Zxid,
    /// Highest zxid that anybody had been shown by any server.
    pub anywhere: Zxid,
}

/// What one node made visible.
#[derive(Default)]
pub struct Seat {
    /// Every change it told its shards, in order.
    pub changes: Vec<Changed>,
    /// Last transaction it published.
    pub published: Zxid,
    /// The state there.
    pub version: Option<Version>,
    /// Highest zxid that any of its clients was shown in an answer.
    pub shown: Zxid,
    /// When it last heard from each session (or could have, had it not been at fault), by itself
    /// or from a learner, true time in ns.
    pub heard: BTreeMap<SessionId, u64>,
    /// The longest silence of each session that it broke again. Its end may have been decided
    /// then, and wait in a log that stands still: what is heard later does not undo that
    /// (`zab-wire` F-29a).
    pub silences: BTreeMap<SessionId, u64>,
    /// Its shards serve clients.
    pub serves: bool,
}

/// The committed history of one ensemble.
#[derive(Default)]
pub struct History {
    /// Every version that a shard could read, by zxid: the first that any node published.
    pub versions: BTreeMap<Zxid, Version>,
    /// What each node made visible.
    pub seats: Vec<Seat>,
    /// Node that leads each epoch, and since when, true time in ns. Empty for a lone server.
    pub leaders: BTreeMap<Epoch, (usize, u64)>,
    /// Node that each client last connected to.
    pub connected: BTreeMap<usize, usize>,
    /// Clients that prove to be the keeper.
    pub keepers: BTreeSet<usize>,
    /// Least timeout that anybody asked for who attached to a session again, ms.
    pub asked_ms: BTreeMap<SessionId, i32>,
    /// Sessions whose clients asked to close them.
    pub closing: BTreeSet<SessionId>,
    /// Sessions that a state from elsewhere no longer had when it still had ephemerals of theirs:
    /// those go by the first transactions (`zab-wire` F-32).
    pub gone_before: BTreeSet<SessionId>,
    /// True time, ns.
    pub now: u64,
}

impl History {
    /// A history in which nothing has happened.
    pub fn of(nodes: usize) -> History {
        History { seats: (0..nodes).map(|_| Seat::default()).collect(), ..History::default() }
    }

    /// True if there are several servers.
    pub fn is_ensemble(&self) -> bool {
        self.seats.len() > 1
    }

    /// Takes over what a node's feed published.
    pub fn publish(&mut self, node: usize, batch: &CommitBatch) {
        let seat = &mut self.seats[node];
        for segment in &batch.segments {
            for effect in &segment.effects.list {
                let path = segment.effects.path(&effect.path).to_vec();
                seat.changes.push(Changed {
                    zxid: effect.zxid,
                    change: effect.change,
                    path,
                    private: effect.acl.is_some(),
                    private_parent: effect.parent_acl.is_some(),
                });
            }
            // A new session's client can know of it from now on.
            for session in segment.version.tables().sessions.keys() {
                seat.heard.entry(*session).or_insert(self.now);
            }
            let zxid = segment.version.zxid();
            seat.published = zxid;
            seat.version = Some(segment.version.clone());
            self.versions.entry(zxid).or_insert_with(|| segment.version.clone());
        }
    }

    /// A node heard from a session.
    pub fn hear(&mut self, node: usize, session: SessionId) {
        let seat = &mut self.seats[node];
        if let Some(before) = seat.heard.insert(session, self.now) {
            let longest = seat.silences.entry(session).or_default();
            *longest = self.now.saturating_sub(before).max(*longest);
        }
    }

    /// A node recovered. Alone, whatever it had not published and lost never happened; whatever it
    /// had not published and kept has happened now. In an ensemble that is not its to say.
    pub fn recover(&mut self, node: usize, version: &Version) {
        let alone = !self.is_ensemble();
        let seat = &mut self.seats[node];
        if alone {
            seat.published = version.zxid();
            seat.version = Some(version.clone());
            self.versions.insert(version.zxid(), version.clone());
        } else if version.zxid() == Zxid::ZERO {
            // The beginning is everybody's, and nobody publishes it.
            self.versions.entry(Zxid::ZERO).or_insert_with(|| version.clone());
        }
        seat.serves = false;
        seat.silences.clear();
        for session in version.tables().sessions.keys() {
            seat.heard.insert(*session, self.now);
        }
    }

    /// A client was answered.
    pub fn show(&mut self, client: usize, zxid: Zxid) {
        let node = self.server_of(client);
        let shown = &mut self.seats[node].shown;
        *shown = zxid.max(*shown);
    }

    /// The node that a client is connected to.
    pub fn server_of(&self, client: usize) -> usize {
        self.connected.get(&client).copied().unwrap_or(0)
    }

    /// What a client that asks now may not be shown less than.
    pub fn floor(&self, client: usize) -> Floor {
        Floor { here: self.seats[self.server_of(client)].shown, anywhere: self.shown() }
    }

    /// Highest zxid that any client was shown.
    pub fn shown(&self) -> Zxid {
        self.seats.iter().map(|seat| seat.shown).max().unwrap_or_default()
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
