//! `QuorumPacket`: everything said on a quorum connection except the snapshot body
//! (`zab-wire` 2.1).

use model::jute::{DecodeError, Reader, Writer};
use model::{Epoch, Zxid};

use super::handshake::{LearnerCard, PROTOCOL_VERSION, WireOptions};
use super::request::{Identities, RequestRecord, RevalidateRecord, Touches};
use super::{WireError, int_at};

/// Identities a REQUEST may carry; ZooKeeper has no bound, clients have a handful.
pub const IDENTITIES_MAX: usize = 4096;

/// Version of the digest that is computed here.
const DIGEST_VERSION: i32 = 2;
/// Bytes of a position and a digest with its version.
const STATE_BYTES: usize = 20;

/// Bytes before the payload: type, zxid, payload length.
const HEAD: usize = 16;

/// One packet. Payloads borrow from the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Learner to leader: a client's write or sync.
    Request {
        /// Who asks what.
        record: RequestRecord<'a>,
        /// The client's identities; null from odd senders.
        auth: Option<Identities<'a>>,
    },
    /// Leader to follower: log this.
    Proposal {
        /// Of the entry.
        zxid: Zxid,
        /// Transaction entry.
        entry: &'a [u8],
    },
    /// Learner to leader: logged, or NEWLEADER/UPTODATE done when the counter is zero. Where
    /// [`WireOptions::RUNS`] is agreed, everything up to there is logged.
    Ack {
        /// What is acknowledged.
        zxid: Zxid,
    },
    /// Leader to follower: apply the oldest proposal. Where [`WireOptions::RUNS`] is agreed,
    /// everything up to this one.
    Commit {
        /// Of that proposal.
        zxid: Zxid,
    },
    /// Both ways; only a learner's carries touches, and it always does.
    Ping {
        /// Leader: last proposed; learner: echoed.
        zxid: Zxid,
        /// Sessions heard from.
        touches: Option<Touches<'a>>,
    },
    /// Both ways: a session moved here, is it alive?
    Revalidate(RevalidateRecord),
    /// Leader to learner: the oldest sync is done.
    Sync,
    /// Leader to observer: log and apply.
    Inform {
        /// Of the entry.
        zxid: Zxid,
        /// Transaction entry.
        entry: &'a [u8],
    },
    /// COMMIT of a reconfiguration.
    CommitAndActivate {
        /// Of the proposal.
        zxid: Zxid,
        /// Server that shall lead.
        designated: i64,
    },
    /// End of the history; the learner makes it durable, then acknowledges.
    NewLeader {
        /// `epoch << 32`.
        zxid: Zxid,
        /// Configuration text.
        config: Option<&'a [u8]>,
    },
    /// A follower introduces itself.
    FollowerInfo {
        /// Accepted epoch in the high half.
        zxid: Zxid,
        /// Who.
        learner: LearnerCard,
    },
    /// The learner may serve.
    UpToDate,
    /// The same where [`WireOptions::DIGEST`] is agreed: with the digest of the leader's tree after
    /// the last entry sent as committed. Written like the digest section of a snapshot file
    /// (`zab-wire` 5.4).
    UpToDateAt {
        /// Of that entry.
        at: Zxid,
        /// Digest, version 2.
        digest: u64,
    },
    /// Keep what you have; entries follow.
    Diff {
        /// Informational.
        zxid: Zxid,
    },
    /// Cut your log after this.
    Trunc {
        /// Last entry to keep.
        zxid: Zxid,
    },
    /// A snapshot stream follows.
    Snap {
        /// State the stream has at least reached.
        zxid: Zxid,
    },
    /// An observer introduces itself.
    ObserverInfo {
        /// Accepted epoch in the high half.
        zxid: Zxid,
        /// Who.
        learner: LearnerCard,
    },
    /// The leader's new epoch.
    LeaderInfo {
        /// `epoch << 32`.
        zxid: Zxid,
        /// Leader's protocol version.
        protocol: i32,
        /// What leader and learner can beyond ZooKeeper's protocol.
        options: WireOptions,
    },
    /// Answer to LEADERINFO.
    AckEpoch {
        /// Last logged entry.
        zxid: Zxid,
        /// Current epoch, or -1 if this epoch had been accepted before.
        epoch: i32,
    },
    /// INFORM of a reconfiguration.
    InformAndActivate {
        /// Of the entry.
        zxid: Zxid,
        /// Server that shall lead.
        designated: i64,
        /// Transaction entry.
        entry: &'a [u8],
    },
}

/// Length of the packet at the front of `bytes`; `None` if more bytes are needed to tell.
/// Lengths above `data_max` are refused before their bytes arrive.
pub fn packet_len(bytes: &[u8], data_max: usize) -> Result<Option<usize>, WireError> {
    let checked = |len: i32, max: usize| match len {
        -1 => Ok(0),
        len if len < 0 || len as usize > max => Err(WireError::Length { len, max }),
        len => Ok(len as usize),
    };
    let Some(data) = int_at(bytes, HEAD - 4) else { return Ok(None) };
    let mut at = HEAD + checked(data, data_max)?;
    let Some(count) = int_at(bytes, at) else { return Ok(None) };
    at += 4;
    for _ in 0..2 * checked(count, IDENTITIES_MAX)? {
        let Some(len) = int_at(bytes, at) else { return Ok(None) };
        at += 4 + checked(len, data_max)?;
    }
    Ok((at <= bytes.len()).then_some(at))
}

impl<'a> Packet<'a> {
    /// Reads exactly one packet that fills `bytes` (see [`packet_len`]).
    pub fn decode(bytes: &'a [u8]) -> Result<Packet<'a>, WireError> {
        let mut from = Reader::new(bytes);
        let kind = from.int()?;
        let zxid = Zxid(from.long()?);
        let data = from.buffer()?;
        let auth = Identities::decode(&mut from)?;
        let present = data.ok_or(DecodeError::UnexpectedNull);
        Ok(match kind {
            1 => Packet::Request { record: RequestRecord::decode(present?)?, auth },
            2 => Packet::Proposal { zxid, entry: present? },
            3 => Packet::Ack { zxid },
            4 => Packet::Commit { zxid },
            5 => Packet::Ping { zxid, touches: data.map(Touches) },
            6 => Packet::Revalidate(RevalidateRecord::decode(present?)?),
            7 => Packet::Sync,
            8 => Packet::Inform { zxid, entry: present? },
            9 => Packet::CommitAndActivate { zxid, designated: Reader::new(present?).long()? },
            10 => Packet::NewLeader { zxid, config: data },
            11 => Packet::FollowerInfo { zxid, learner: LearnerCard::decode(present?)? },
            12 => up_to_date(data),
            13 => Packet::Diff { zxid },
            14 => Packet::Trunc { zxid },
            15 => Packet::Snap { zxid },
            16 => Packet::ObserverInfo { zxid, learner: LearnerCard::decode(present?)? },
            17 => {
                let mut from = Reader::new(present?);
                let protocol = from.int()?;
                Packet::LeaderInfo { zxid, protocol, options: WireOptions::decode(from.rest()) }
            }
            18 => Packet::AckEpoch { zxid, epoch: Reader::new(present?).int()? },
            19 => {
                let mut from = Reader::new(present?);
                let designated = from.long()?;
                Packet::InformAndActivate { zxid, designated, entry: from.rest() }
            }
            kind => return Err(WireError::UnknownPacket(kind)),
        })
    }

    /// Type number.
    pub fn kind(&self) -> i32 {
        match self {
            Packet::Request { .. } => 1,
            Packet::Proposal { .. } => 2,
            Packet::Ack { .. } => 3,
            Packet::Commit { .. } => 4,
            Packet::Ping { .. } => 5,
            Packet::Revalidate(_) => 6,
            Packet::Sync => 7,
            Packet::Inform { .. } => 8,
            Packet::CommitAndActivate { .. } => 9,
            Packet::NewLeader { .. } => 10,
            Packet::FollowerInfo { .. } => 11,
            Packet::UpToDate | Packet::UpToDateAt { .. } => 12,
            Packet::Diff { .. } => 13,
            Packet::Trunc { .. } => 14,
            Packet::Snap { .. } => 15,
            Packet::ObserverInfo { .. } => 16,
            Packet::LeaderInfo { .. } => 17,
            Packet::AckEpoch { .. } => 18,
            Packet::InformAndActivate { .. } => 19,
        }
    }

    fn zxid(&self) -> Zxid {
        match *self {
            Packet::Request { .. }
            | Packet::Revalidate(_)
            | Packet::UpToDate
            | Packet::UpToDateAt { .. } => Zxid(-1),
            Packet::Sync => Zxid::ZERO,
            Packet::Proposal { zxid, .. }
            | Packet::Ack { zxid }
            | Packet::Commit { zxid }
            | Packet::Ping { zxid, .. }
            | Packet::Inform { zxid, .. }
            | Packet::CommitAndActivate { zxid, .. }
            | Packet::NewLeader { zxid, .. }
            | Packet::FollowerInfo { zxid, .. }
            | Packet::Diff { zxid }
            | Packet::Trunc { zxid }
            | Packet::Snap { zxid }
            | Packet::ObserverInfo { zxid, .. }
            | Packet::LeaderInfo { zxid, .. }
            | Packet::AckEpoch { zxid, .. }
            | Packet::InformAndActivate { zxid, .. } => zxid,
        }
    }

    /// Appends the packet.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut out = Writer::new(bytes);
        out.int(self.kind());
        out.long(self.zxid().0);
        let mut identities = None;
        match self {
            Packet::Request { record, auth } => {
                out.count(record.encoded_len());
                record.encode(&mut out);
                identities = *auth;
            }
            Packet::Proposal { entry, .. } | Packet::Inform { entry, .. } => out.bytes(entry),
            Packet::Ping { touches, .. } => out.buffer(touches.map(|t| t.0)),
            Packet::Revalidate(record) => record.encode(&mut out),
            Packet::CommitAndActivate { designated, .. } => {
                out.int(8);
                out.long(*designated);
            }
            Packet::NewLeader { config, .. } => out.buffer(*config),
            Packet::FollowerInfo { learner, .. } | Packet::ObserverInfo { learner, .. } => {
                out.count(learner.encoded_len());
                learner.encode(&mut out);
            }
            Packet::LeaderInfo { protocol, options, .. } => {
                out.count(4 + options.encoded_len());
                out.int(*protocol);
                options.encode(&mut out);
            }
            Packet::AckEpoch { epoch, .. } => {
                out.int(4);
                out.int(*epoch);
            }
            Packet::InformAndActivate { designated, entry, .. } => {
                out.count(8 + entry.len());
                out.long(*designated);
                out.raw(entry);
            }
            Packet::UpToDateAt { at, digest } => {
                out.count(STATE_BYTES);
                out.long(at.0);
                out.int(DIGEST_VERSION);
                out.long(*digest as i64);
            }
            Packet::Ack { .. }
            | Packet::Commit { .. }
            | Packet::Sync
            | Packet::UpToDate
            | Packet::Diff { .. }
            | Packet::Trunc { .. }
            | Packet::Snap { .. } => out.int(-1),
        }
        match identities {
            Some(ids) => ids.encode(&mut out),
            None => out.int(-1),
        }
    }

    /// The packet on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        self.encode(&mut bytes);
        bytes
    }
}

/// An UPTODATE whose payload is no digest that is understood says nothing more.
fn up_to_date(data: Option<&[u8]>) -> Packet<'static> {
    let read = |data: &[u8]| {
        let mut from = Reader::new(data);
        let (at, version, digest) = (from.long().ok()?, from.int().ok()?, from.long().ok()?);
        let fits = version == DIGEST_VERSION && from.is_empty();
        fits.then_some(Packet::UpToDateAt { at: Zxid(at), digest: digest as u64 })
    };
    data.and_then(read).unwrap_or(Packet::UpToDate)
}

/// The leader's announcement of its epoch, as every release since 3.4 sends it, and what it agrees
/// on with the learner beyond that.
pub fn leader_info(epoch: Epoch, options: WireOptions) -> Packet<'static> {
    Packet::LeaderInfo { zxid: Zxid::new(epoch, 0), protocol: PROTOCOL_VERSION, options }
}

/// Collects received bytes until they are whole packets.
#[derive(Clone, Debug, Default)]
pub struct PacketBuffer {
    bytes: Vec<u8>,
    read: usize,
}

impl PacketBuffer {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        } else if self.read > self.bytes.len() / 2 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole packet, if there is one.
    pub fn next(&mut self, data_max: usize) -> Result<Option<Packet<'_>>, WireError> {
        let Some(len) = packet_len(&self.bytes[self.read..], data_max)? else { return Ok(None) };
        let start = self.read;
        self.read += len;
        Packet::decode(&self.bytes[start..start + len]).map(Some)
    }

    /// What has been received and not been taken.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Takes bytes that are no packet (the snapshot body).
    pub fn skip(&mut self, len: usize) {
        self.read = (self.read + len).min(self.bytes.len());
    }
}
