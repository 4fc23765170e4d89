//! Payloads of the first packets on a quorum connection (`zab-wire` 2.1, 2.3).

use model::jute::{DecodeError, Reader, Writer};

/// Protocol version announced by both sides since ZooKeeper 3.4.
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

/// What comes before the options behind a payload: bytes that mean something else are no options.
const MARK: i32 = i32::from_be_bytes(*b"RKop");

/// What two Ringkeepers may agree on beyond ZooKeeper's protocol, for one quorum connection.
///
/// The learner says what it can behind its [`LearnerCard`]; the leader answers with what both can
/// behind the protocol version of LEADERINFO. Each is 8 bytes, a mark and one bit per option, and
/// is left out when there is nothing to say, so that towards a ZooKeeper every byte from a leader
/// is as ZooKeeper's, and from a learner every byte but these.
///
/// ZooKeeper passes over them. From a learner: `LearnerHandler.run` wraps the data of FOLLOWERINFO
/// or OBSERVERINFO and reads a number, a number and a number if there are at least 8, 12 and 20
/// bytes, and never looks whether more follow (3.5 to 3.9; an observer master is the same class).
/// From a leader: `Learner.registerWithLeader` reads one `int` from the front of LEADERINFO's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WireOptions(u32);

impl WireOptions {
    /// ZooKeeper's protocol and no more.
    pub const NONE: WireOptions = WireOptions(0);
    /// One ACK stands for all proposals up to it, and one COMMIT for all commits up to it.
    pub const RUNS: WireOptions = WireOptions(1);
    /// UPTODATE says the digest of the state that the learner should have by then.
    pub const DIGEST: WireOptions = WireOptions(2);
    /// Everything that this version can.
    pub const ALL: WireOptions = WireOptions(3);

    /// The options with these bits, known here or not.
    pub fn from_bits(bits: u32) -> WireOptions {
        WireOptions(bits)
    }

    /// What both have.
    #[must_use]
    pub fn both(self, other: WireOptions) -> WireOptions {
        WireOptions(self.0 & other.0)
    }

    /// True if every one of these is among them.
    pub fn has(self, options: WireOptions) -> bool {
        self.both(options) == options
    }

    /// Bytes that [`WireOptions::encode`] appends.
    pub fn encoded_len(self) -> usize {
        if self == WireOptions::NONE { 0 } else { 8 }
    }

    /// Reads what follows a payload. Whatever it is, it is no mistake.
    pub fn decode(rest: &[u8]) -> WireOptions {
        let mut from = Reader::new(rest);
        match (from.int(), from.int()) {
            (Ok(MARK), Ok(bits)) => WireOptions(bits as u32),
            _ => WireOptions::NONE,
        }
    }

    /// Appends them, unless there are none.
    pub fn encode(self, out: &mut Writer<'_>) {
        if self != WireOptions::NONE {
            out.int(MARK);
            out.int(self.0 as i32);
        }
    }
}

/// Who a learner is; payload of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerCard {
    /// Configured number of the server.
    pub server: i64,
    /// [`PROTOCOL_VERSION`]; 1 for learners that do not say.
    pub protocol: i32,
    /// Version of the configuration the learner has committed.
    pub config_version: i64,
    /// What it can beyond ZooKeeper's protocol.
    pub options: WireOptions,
}

impl LearnerCard {
    /// Reads 20 bytes, or the 8 or 12 of old learners, and the options that may follow the 20.
    pub fn decode(data: &[u8]) -> Result<LearnerCard, DecodeError> {
        let mut from = Reader::new(data);
        let server = from.long()?;
        let protocol = if from.is_empty() { 1 } else { from.int()? };
        let config_version = if from.is_empty() { 0 } else { from.long()? };
        let options = WireOptions::decode(from.rest());
        Ok(LearnerCard { server, protocol, config_version, options })
    }

    /// Bytes that [`LearnerCard::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        20 + self.options.encoded_len()
    }

    /// Appends the 20-byte form, and the options.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.long(self.server);
        out.int(self.protocol);
        out.long(self.config_version);
        self.options.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_learners_say_less() {
        let mut bytes = Vec::new();
        let (server, protocol, options) = (3, PROTOCOL_VERSION, WireOptions::NONE);
        let info = LearnerCard { server, protocol, config_version: 9, options };
        info.encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes.len(), 20);
        assert_eq!(LearnerCard::decode(&bytes), Ok(info));
        let short = LearnerCard::decode(&bytes[..12]).expect("12 bytes are enough");
        assert_eq!((short.protocol, short.config_version), (PROTOCOL_VERSION, 0));
        assert_eq!(LearnerCard::decode(&bytes[..8]).expect("8 bytes are enough").protocol, 1);
        assert!(LearnerCard::decode(&bytes[..7]).is_err());
        assert!(LearnerCard::decode(&bytes[..10]).is_err());
    }

    #[test]
    fn only_marked_bytes_are_options() {
        let mut bytes = Vec::new();
        WireOptions::RUNS.encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes, *b"RKop\0\0\0\x01");
        assert_eq!(bytes.len(), WireOptions::RUNS.encoded_len());
        assert_eq!(WireOptions::decode(&bytes), WireOptions::RUNS);
        for cut in 0..bytes.len() {
            assert_eq!(WireOptions::decode(&bytes[..cut]), WireOptions::NONE, "cut at {cut}");
        }
        let later = [&bytes[..], b"more"].concat();
        assert_eq!(WireOptions::decode(&later), WireOptions::RUNS, "of a later version");
        bytes[0] = b'r';
        assert_eq!(WireOptions::decode(&bytes), WireOptions::NONE);
        let unknown = WireOptions::from_bits(0x8000_0003);
        assert_eq!(unknown.both(WireOptions::ALL), WireOptions::ALL);
        assert!(unknown.has(WireOptions::RUNS) && !WireOptions::NONE.has(WireOptions::RUNS));
    }
}
