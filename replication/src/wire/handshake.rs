//! Payloads of the first packets on a quorum connection (`zab-wire` 2.1, 2.3).

use model::jute::{DecodeError, Reader, Writer};

/// Protocol version announced by both sides since ZooKeeper 3.4.
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

/// Who a learner is; payload of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerCard {
    /// Configured number of the server.
    pub server: i64,
    /// [`PROTOCOL_VERSION`]; 1 for learners that do not say.
    pub protocol: i32,
    /// Version of the configuration the learner has committed.
    pub config_version: i64,
}

impl LearnerCard {
    /// Reads 20 bytes, or the 8 or 12 of old learners.
    pub fn decode(data: &[u8]) -> Result<LearnerCard, DecodeError> {
        let mut from = Reader::new(data);
        let server = from.long()?;
        let protocol = if from.is_empty() { 1 } else { from.int()? };
        let config_version = if from.is_empty() { 0 } else { from.long()? };
        Ok(LearnerCard { server, protocol, config_version })
    }

    /// Appends the 20-byte form.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.long(self.server);
        out.int(self.protocol);
        out.long(self.config_version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_learners_say_less() {
        let mut bytes = Vec::new();
        let info = LearnerCard { server: 3, protocol: PROTOCOL_VERSION, config_version: 9 };
        info.encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes.len(), 20);
        assert_eq!(LearnerCard::decode(&bytes), Ok(info));
        let short = LearnerCard::decode(&bytes[..12]).expect("12 bytes are enough");
        assert_eq!((short.protocol, short.config_version), (PROTOCOL_VERSION, 0));
        assert_eq!(LearnerCard::decode(&bytes[..8]).expect("8 bytes are enough").protocol, 1);
        assert!(LearnerCard::decode(&bytes[..7]).is_err());
        assert!(LearnerCard::decode(&bytes[..10]).is_err());
    }
}
