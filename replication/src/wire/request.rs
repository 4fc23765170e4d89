//! What learners pass on for their clients: requests, session touches, revalidations
//! (`zab-wire` 3.3, 3.4, 3.6).

use model::SessionId;
use model::jute::{DecodeError, Reader, Writer};

/// A client's write (or sync) on its way to the leader; payload of REQUEST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestRecord<'a> {
    /// Session that asks.
    pub session: SessionId,
    /// The request's number in that session.
    pub cxid: i32,
    /// Operation number.
    pub opcode: i32,
    /// The client's request record, verbatim.
    pub body: &'a [u8],
}

impl<'a> RequestRecord<'a> {
    /// Reads the payload.
    pub fn decode(data: &'a [u8]) -> Result<RequestRecord<'a>, DecodeError> {
        let mut from = Reader::new(data);
        let session = SessionId(from.long()?);
        let cxid = from.int()?;
        let opcode = from.int()?;
        Ok(RequestRecord { session, cxid, opcode, body: from.rest() })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.long(self.session.0);
        out.int(self.cxid);
        out.int(self.opcode);
        out.raw(self.body);
    }

    /// Bytes of the payload.
    pub fn encoded_len(&self) -> usize {
        16 + self.body.len()
    }
}

/// The authenticated identities of a client, as pairs of scheme and id; borrowed, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identities<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Identities<'a> {
    /// Reads `vec<Id>`; `None` for a null vector.
    pub fn decode(from: &mut Reader<'a>) -> Result<Option<Identities<'a>>, DecodeError> {
        let Some(count) = from.count()? else { return Ok(None) };
        let bytes = from.rest();
        for _ in 0..count {
            from.buffer()?;
            from.buffer()?;
        }
        let used = bytes.len() - from.rest().len();
        Ok(Some(Identities { count, bytes: &bytes[..used] }))
    }

    /// Appends the vector.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.count(self.count);
        out.raw(self.bytes);
    }

    /// The pairs; null strings read as empty.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut from = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let scheme = from.buffer().ok()?.unwrap_or_default();
            let id = from.buffer().ok()?.unwrap_or_default();
            Some((scheme, id))
        })
    }

    /// Encodes pairs into `store` and borrows them from there.
    pub fn from_pairs<'p>(
        pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
        store: &'a mut Vec<u8>,
    ) -> Identities<'a> {
        store.clear();
        let mut count = 0;
        let mut out = Writer::new(store);
        for (scheme, id) in pairs {
            out.bytes(scheme);
            out.bytes(id);
            count += 1;
        }
        Identities { count, bytes: store }
    }
}

/// Sessions heard from since the last answer; payload of a learner's PING.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touches<'a>(pub &'a [u8]);

impl Touches<'_> {
    /// Session and timeout in ms of each; a cut-off last pair is left out.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.0.chunks_exact(12).map(|pair| {
            let (session, timeout) = pair.split_at(8);
            let session = i64::from_be_bytes(session.try_into().expect("eight bytes"));
            let timeout = i32::from_be_bytes(timeout.try_into().expect("four bytes"));
            (SessionId(session), timeout)
        })
    }

    /// Appends pairs to `out`.
    pub fn encode(pairs: &[(SessionId, i32)], out: &mut Vec<u8>) {
        for (session, timeout) in pairs {
            out.extend_from_slice(&session.0.to_be_bytes());
            out.extend_from_slice(&timeout.to_be_bytes());
        }
    }
}

/// Payload of REVALIDATE; the length tells the question (12 bytes) from the answer (9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevalidateRecord {
    /// Learner to leader: does this session still live?
    Question {
        /// Which.
        session: SessionId,
        /// Its timeout, ms.
        timeout_ms: i32,
    },
    /// Leader to learner.
    Answer {
        /// Which.
        session: SessionId,
        /// Tracked and not closing.
        valid: bool,
    },
}

impl RevalidateRecord {
    /// Reads either form.
    pub fn decode(data: &[u8]) -> Result<RevalidateRecord, DecodeError> {
        let mut from = Reader::new(data);
        let session = SessionId(from.long()?);
        if from.rest().len() >= 4 {
            Ok(RevalidateRecord::Question { session, timeout_ms: from.int()? })
        } else {
            Ok(RevalidateRecord::Answer { session, valid: from.bool()? })
        }
    }

    /// Appends the payload with its length.
    pub fn encode(&self, out: &mut Writer<'_>) {
        match *self {
            RevalidateRecord::Question { session, timeout_ms } => {
                out.int(12);
                out.long(session.0);
                out.int(timeout_ms);
            }
            RevalidateRecord::Answer { session, valid } => {
                out.int(9);
                out.long(session.0);
                out.bool(valid);
            }
        }
    }
}
