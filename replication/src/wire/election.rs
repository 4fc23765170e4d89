//! The election port: initiation message and notifications (`zab-wire` 1.2, 1.5).

use model::Zxid;
use model::jute::Writer;

use super::{WireError, int_at};

/// First version of the initiation message.
pub const INITIATION_V1: i64 = -65536;
/// Version that may name several addresses.
pub const INITIATION_V2: i64 = -65535;
/// Most bytes of addresses in an initiation message.
pub const ADDRESSES_MAX: usize = 2048;
/// Most bytes of a notification frame's body.
pub const FRAME_MAX: usize = 524_288;
/// Version of the notifications we send.
pub const NOTIFICATION_VERSION: i32 = 2;

/// First bytes on an election connection, from its initiator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Initiation<'a> {
    /// Sender; `i64::MAX` is an observer without a number.
    pub server: i64,
    /// Where the sender listens for elections; empty from releases before 3.5.
    pub addresses: Vec<&'a str>,
    /// Sent in the second version.
    pub multi_address: bool,
}

impl<'a> Initiation<'a> {
    /// Reads the message at the front of `bytes` and says how long it is; `None` if more bytes
    /// are needed.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Initiation<'a>, usize)>, WireError> {
        let Some(version) = long_at(bytes, 0) else { return Ok(None) };
        if version >= 0 {
            let old = Initiation { server: version, addresses: vec![], multi_address: false };
            return Ok(Some((old, 8)));
        }
        if version != INITIATION_V1 && version != INITIATION_V2 {
            return Err(WireError::UnknownVersion(version));
        }
        let (Some(server), Some(len)) = (long_at(bytes, 8), int_at(bytes, 16)) else {
            return Ok(None);
        };
        if len < 1 || len as usize > ADDRESSES_MAX {
            return Err(WireError::Length { len, max: ADDRESSES_MAX });
        }
        let end = 20 + len as usize;
        let Some(text) = bytes.get(20..end) else { return Ok(None) };
        let text = std::str::from_utf8(text).map_err(|_| WireError::BadAddress)?;
        let addresses = text.split('|').collect();
        let multi_address = version == INITIATION_V2;
        Ok(Some((Initiation { server, addresses, multi_address }, end)))
    }

    /// The message. It must leave in one write: old acceptors read it with a single call.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = self.addresses.join("|");
        let mut bytes = Vec::with_capacity(20 + text.len());
        let mut out = Writer::new(&mut bytes);
        out.long(if self.multi_address { INITIATION_V2 } else { INITIATION_V1 });
        out.long(self.server);
        out.bytes(text.as_bytes());
        bytes
    }
}

/// What a server is doing, as notifications say it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerState {
    /// 0: searching for a leader.
    Looking,
    /// 1: follows.
    Following,
    /// 2: leads.
    Leading,
    /// 3: observes.
    Observing,
}

impl PeerState {
    /// Number on the wire.
    pub fn code(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
        }
    }

    /// State of a number on the wire.
    pub fn from_code(code: i32) -> Result<PeerState, WireError> {
        match code {
            0 => Ok(PeerState::Looking),
            1 => Ok(PeerState::Following),
            2 => Ok(PeerState::Leading),
            3 => Ok(PeerState::Observing),
            code => Err(WireError::UnknownState(code)),
        }
    }
}

/// One server's current opinion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notification<'a> {
    /// What the sender is doing.
    pub state: PeerState,
    /// Proposed leader; `i64::MIN` for none.
    pub leader: i64,
    /// Last entry of the proposed leader.
    pub zxid: Zxid,
    /// The sender's election round.
    pub round: i64,
    /// Current epoch of the proposed leader.
    pub peer_epoch: i64,
    /// Version of the format, 0 for the forms before it existed.
    pub version: i32,
    /// The sender's committed configuration, as text.
    pub config: Option<&'a [u8]>,
}

impl<'a> Notification<'a> {
    /// Reads a frame's body, in any of the forms in use.
    pub fn decode(body: &'a [u8]) -> Result<Notification<'a>, WireError> {
        let short = WireError::ShortNotification(body.len());
        let long = |at| long_at(body, at).ok_or(short);
        let state = int_at(body, 0).ok_or(short)?;
        let (leader, zxid, round) = (long(4)?, Zxid(long(12)?), long(20)?);
        let state = PeerState::from_code(state)?;
        let mut notification = Notification {
            state,
            leader,
            zxid,
            round,
            peer_epoch: zxid.0 >> 32,
            version: 0,
            config: None,
        };
        if body.len() == 28 {
            return Ok(notification);
        }
        notification.peer_epoch = long(28)?;
        if body.len() <= 40 {
            return Ok(notification);
        }
        notification.version = int_at(body, 36).ok_or(short)?;
        if notification.version > 1 {
            let len = int_at(body, 40).ok_or(short)?;
            let bad = WireError::Length { len, max: body.len() };
            let end = usize::try_from(len).ok().and_then(|len| len.checked_add(44));
            notification.config = Some(end.and_then(|end| body.get(44..end)).ok_or(bad)?);
        }
        Ok(notification)
    }

    /// Appends the frame: length and body, in the newest form.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let config = self.config.unwrap_or_default();
        let mut out = Writer::new(bytes);
        out.count(44 + config.len());
        out.int(self.state.code());
        out.long(self.leader);
        out.long(self.zxid.0);
        out.long(self.round);
        out.long(self.peer_epoch);
        out.int(NOTIFICATION_VERSION);
        out.bytes(config);
    }
}

/// Splits the frame at the front of `bytes` off: its body and its whole length.
pub fn frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some(len) = int_at(bytes, 0) else { return Ok(None) };
    if len < 1 || len as usize > FRAME_MAX {
        return Err(WireError::Length { len, max: FRAME_MAX });
    }
    let end = 4 + len as usize;
    Ok(bytes.get(4..end).map(|body| (body, end)))
}

fn long_at(bytes: &[u8], at: usize) -> Option<i64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(i64::from_be_bytes(field.try_into().ok()?))
}
