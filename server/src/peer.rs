//! What the core wants of the connections to fellow servers, and what they tell it.
//!
//! Orders are carried out in order. Each link has one queue: what is ordered for it is written in
//! the order given. Links wait neither for each other nor for the disk. Every link ends with
//! exactly one [`PeerEvent::Disconnected`], unless the core closed it.

use engine::Version;
use model::ServerId;
use replication::{Address, Bytes, LinkId, Port};

/// Work on connections to fellow servers.
#[derive(Clone, Debug)]
pub enum PeerOrder {
    /// Open or close the quorum port. The election port is open for the life of the process.
    Listen {
        /// Open it.
        open: bool,
    },
    /// Resolve, connect, secure; answered by [`PeerEvent::Connected`] or
    /// [`PeerEvent::Disconnected`].
    Dial {
        /// Id of the connection from now on.
        link: LinkId,
        /// Whom.
        peer: ServerId,
        /// Where.
        port: Port,
        /// Alternatives; the first that answers is taken. Names are resolved anew each time.
        to: Vec<Address>,
    },
    /// Write. A link whose queue exceeds `limits::PEER_QUEUE_BYTES_MAX` is ended.
    Send {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// Write this state as ZooKeeper's snapshot stream (`zab-wire` 2.8), after what was sent there
    /// before and before what is sent later; answered by [`PeerEvent::SnapshotSent`]. The stream
    /// is made as the connection takes it, so its size does not count for the queue's bound.
    SendSnapshot {
        /// Where.
        link: LinkId,
        /// Which state; holding it keeps the version alive.
        version: Version,
    },
    /// End the link after its queue is written. No event follows.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// What happened on a connection to a fellow server.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// Somebody connected to one of our ports.
    Accepted {
        /// Chosen by the runtime ([`LinkId::accepted`]), never reused.
        link: LinkId,
        /// Where.
        port: Port,
    },
    /// Answer to [`PeerOrder::Dial`].
    Connected {
        /// As ordered.
        link: LinkId,
    },
    /// Bytes arrived.
    Received {
        /// From there.
        link: LinkId,
        /// In order, cut anywhere.
        bytes: Vec<u8>,
    },
    /// Answer to [`PeerOrder::SendSnapshot`]: its last byte was written.
    SnapshotSent {
        /// Where.
        link: LinkId,
    },
    /// The connection ended, or could not be made.
    Disconnected {
        /// Which.
        link: LinkId,
    },
}
