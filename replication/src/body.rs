//! What a replica keeps while its role changes: identity, epochs, history, connections for votes.

use std::time::Duration;

use model::{Batch, Mono, ServerId, Zxid};

use crate::election::Vote;
use crate::history::{History, Retention};
use crate::input::{Durable, Epochs};
use crate::membership::{Address, Membership};
use crate::mesh::Mesh;
use crate::output::{LinkId, Output, RoleKind};
use crate::standing::Counts;
use crate::timers::{Timer, Timers};
use crate::wire::election::{NOTIFICATION_VERSION, Notification, PeerState};
use crate::wire::handshake::WireOptions;
use crate::wire::packet::Packet;

/// What a replica must know.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This server.
    pub id: ServerId,
    /// The ensemble.
    pub members: Membership,
    /// ZooKeeper's `tickTime`, ms.
    pub tick_ms: u64,
    /// Ticks a learner may take to connect and to synchronize.
    pub init_limit: u32,
    /// Ticks a leader or learner may be silent.
    pub sync_limit: u32,
    /// First interval at which a vote is repeated, ms.
    pub notify_ms_min: u64,
    /// Greatest interval at which a vote is repeated, ms.
    pub notify_ms_max: u64,
    /// How long a winning vote waits for a better one, ms.
    pub finalize_ms: u64,
    /// An empty server may vote (ZooKeeper's `db.autocreate`, or the `initialize` marker). Must be
    /// true when an ensemble is founded, and false for a replaced server (`zab-wire` 5.6).
    pub empty_may_vote: bool,
    /// How much history stays in memory for learners.
    pub retention: Retention,
    /// Largest payload of a packet, and field of a snapshot stream, accepted.
    pub data_bytes_max: usize,
    /// Answer every learner with a snapshot.
    pub force_snapshot: bool,
    /// What to agree on with fellow servers that can it too, beyond ZooKeeper's protocol.
    pub wire_options: WireOptions,
}

impl ReplicaConfig {
    /// ZooKeeper's customary values, and every option of our own.
    pub fn new(id: ServerId, members: Membership) -> ReplicaConfig {
        ReplicaConfig {
            id,
            members,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            notify_ms_min: 200,
            notify_ms_max: 5000,
            finalize_ms: 200,
            empty_may_vote: true,
            retention: Retention::default(),
            data_bytes_max: 16 << 20,
            force_snapshot: false,
            wire_options: WireOptions::ALL,
        }
    }
}

/// Mistakes that tests plant, to see them caught. Only tests can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plant {
    /// Acknowledge proposals before they are durable.
    AckBeforeDurable,
    /// Acknowledge one proposal more than is durable, as the end of a run.
    AckRunTooFar,
    /// Tell the commit of a run with one proposal more than a quorum has.
    CommitRunTooFar,
    /// Go on with an epoch without having saved it.
    EpochNotSaved,
    /// The leader commits as soon as anybody has an entry.
    CommitWithoutQuorum,
    /// Acknowledge a leader's history before it is durable.
    HistoryAckedEarly,
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) config: ReplicaConfig,
    pub(crate) epochs: Epochs,
    /// Epochs on their way to the disk.
    pub(crate) saving: Option<Epochs>,
    /// A truncation or an installation on its way to the disk.
    pub(crate) rebuilding: bool,
    pub(crate) history: History,
    /// False: the state that follows from the history is not to be relied on. Until a snapshot came
    /// this server can lead nobody; what it promised and acknowledged still counts.
    pub(crate) trusted: bool,
    pub(crate) mesh: Mesh,
    pub(crate) timers: Timers,
    /// Election round.
    pub(crate) clock: i64,
    /// What servers that ask are told.
    pub(crate) vote: Vote,
    pub(crate) counts: Counts,
    /// When the present search for a leader began.
    pub(crate) searching_since: Mono,
    announced: Option<RoleKind>,
    config_text: String,
    #[cfg(test)]
    pub(crate) plant: Option<Plant>,
}

impl Body {
    pub(crate) fn new(config: ReplicaConfig, durable: Durable) -> Body {
        let Durable { epochs, snapshot, digest, tail, committed, trusted } = durable;
        assert!(epochs.accepted >= epochs.current, "accepted epoch is never behind");
        let history = History::new((snapshot, digest), tail, committed, config.retention);
        let member = config.members.member(config.id);
        let own = member.map(super::membership::Member::election_addresses).unwrap_or_default();
        let setup_limit = Duration::from_millis(config.tick_ms) * config.sync_limit;
        let mesh = Mesh::new(config.id, &own, setup_limit);
        let vote = Vote {
            leader: i64::from(config.id.0),
            zxid: history.durable(),
            round: 0,
            peer_epoch: i64::from(epochs.current.0),
            state: PeerState::Looking,
            version: NOTIFICATION_VERSION,
        };
        let config_text = config.members.to_string();
        Body {
            config,
            epochs,
            saving: None,
            rebuilding: false,
            history,
            trusted,
            mesh,
            timers: Timers::default(),
            clock: 0,
            vote,
            counts: Counts::default(),
            searching_since: Mono(0),
            announced: None,
            config_text,
            #[cfg(test)]
            plant: None,
        }
    }

    pub(crate) fn me(&self) -> ServerId {
        self.config.id
    }

    pub(crate) fn ticks(&self, ticks: u32) -> Duration {
        Duration::from_millis(self.config.tick_ms) * ticks
    }

    pub(crate) fn init_limit(&self) -> Duration {
        self.ticks(self.config.init_limit)
    }

    pub(crate) fn sync_limit(&self) -> Duration {
        self.ticks(self.config.sync_limit)
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.config.members.is_voter(self.me())
    }

    /// The end of the durable history, as votes and ACKEPOCH report it (`zab-wire` 5.7); -1 when
    /// it is that of a server which never had any, and must not count.
    pub(crate) fn end(&self) -> Zxid {
        // A server that took over the empty history of an epoch is not an empty server.
        let empty = self.history.durable() == Zxid::ZERO && self.epochs.current.0 == 0;
        if !empty || self.config.empty_may_vote { self.history.durable() } else { Zxid(-1) }
    }

    /// From where a leader is to bring this server's state up to date; -1 for a snapshot.
    pub(crate) fn position(&self) -> Zxid {
        if self.trusted { self.end() } else { Zxid(-1) }
    }

    /// True while disk work of an earlier role is not complete.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.saving.is_some()
            || self.rebuilding
            || self.history.durable() != self.history.appended()
    }

    /// Tells the caller a role, once.
    pub(crate) fn announce(&mut self, kind: RoleKind, out: &mut Vec<Output>) {
        if self.announced != Some(kind) {
            self.announced = Some(kind);
            out.push(Output::RoleChanged(kind));
        }
    }

    /// Text of the committed configuration.
    pub(crate) fn config_text(&self) -> &str {
        &self.config_text
    }

    /// Sends a vote to a server.
    pub(crate) fn notify(&mut self, peer: ServerId, vote: &Vote, now: Mono, out: &mut Vec<Output>) {
        let notification = Notification {
            state: vote.state,
            leader: vote.leader,
            zxid: vote.zxid,
            round: vote.round,
            peer_epoch: vote.peer_epoch,
            version: NOTIFICATION_VERSION,
            config: Some(self.config_text.as_bytes()),
        };
        let mut bytes = Vec::with_capacity(48 + self.config_text.len());
        notification.encode(&mut bytes);
        let to = self.election_addresses(peer);
        self.mesh.send(peer, to, bytes.into(), now, out);
        self.watch_link_setup();
    }

    pub(crate) fn election_addresses(&self, peer: ServerId) -> Vec<Address> {
        let member = self.config.members.member(peer);
        member.map(super::membership::Member::election_addresses).unwrap_or_default()
    }

    /// Keeps the timer of the election connections right.
    pub(crate) fn watch_link_setup(&mut self) {
        match self.mesh.setup_deadline() {
            Some(at) => self.timers.set(Timer::LinkSetup, at),
            None => self.timers.stop(Timer::LinkSetup),
        }
    }

    /// Asks for the epochs to be saved.
    pub(crate) fn save_epochs(&mut self, epochs: Epochs, out: &mut Vec<Output>) {
        assert!(epochs.accepted >= epochs.current, "accepted epoch is never behind");
        if !self.planted(Plant::EpochNotSaved) {
            self.saving = Some(epochs);
            out.push(Output::SaveEpochs(epochs));
        }
    }

    /// Appends to the own log.
    pub(crate) fn append(&mut self, batch: Batch, out: &mut Vec<Output>) {
        self.history.append(batch.clone());
        out.push(Output::Append(batch));
    }

    /// Reports as much of `agreed` as is durable here.
    pub(crate) fn commit(&mut self, agreed: Zxid, out: &mut Vec<Output>) {
        let upto = agreed.min(self.history.durable());
        if self.history.commit(upto) {
            out.push(Output::Commit { upto });
        }
    }

    #[cfg(test)]
    pub(crate) fn planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Always false outside of tests.
    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    pub(crate) fn planted(&self, _: Plant) -> bool {
        false
    }
}

/// Sends one packet.
pub(crate) fn send(link: LinkId, packet: &Packet<'_>, out: &mut Vec<Output>) {
    out.push(Output::Send { link, bytes: packet.to_bytes().into() });
}

/// Joins entries that arrive one by one into batches of consecutive zxids.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    first: Zxid,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    done: Vec<Batch>,
}

impl Gather {
    pub(crate) fn push(&mut self, zxid: Zxid, entry: &[u8]) {
        if !self.ends.is_empty() && zxid.0 != self.first.0 + self.ends.len() as i64 {
            self.close();
        }
        if self.ends.is_empty() {
            self.first = zxid;
        }
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len() as u32);
    }

    fn close(&mut self) {
        if !self.ends.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            let ends = std::mem::take(&mut self.ends);
            self.done.push(Batch::new(self.first, bytes, ends));
        }
    }

    /// The batches so far.
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        self.close();
        std::mem::take(&mut self.done)
    }
}
