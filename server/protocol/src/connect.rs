//! The handshake (`client-protocol` 1.3).

use model::jute::{DecodeError, Reader, Writer};
use model::{SessionId, Zxid};

use crate::frame;

/// Bytes of a session password.
pub const PASSWORD_LEN: usize = 16;

/// A client's first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectRequest<'a> {
    /// Sent as 0, ignored by servers.
    pub protocol_version: i32,
    /// Highest zxid the client has seen from any server.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout, ms; servers clamp it.
    pub timeout_ms: i32,
    /// Session to attach to, or none for a new one.
    pub session: SessionId,
    /// The session's password; null and odd lengths are kept as sent.
    pub password: Option<&'a [u8]>,
    /// The client accepts a read-only server. `None`: the byte is absent (Go, clients before
    /// 3.4), and then it must be absent from the response too.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads a frame's payload; bytes after the record are ignored.
    pub fn decode(payload: &'a [u8]) -> Result<ConnectRequest<'a>, DecodeError> {
        let mut from = Reader::new(payload);
        Ok(ConnectRequest {
            protocol_version: from.int()?,
            last_zxid_seen: Zxid(from.long()?),
            timeout_ms: from.int()?,
            session: SessionId(from.long()?),
            password: from.buffer()?,
            read_only: if from.is_empty() { None } else { Some(from.bool()?) },
        })
    }

    /// Appends a whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = frame::begin(out);
        let mut to = Writer::new(out);
        to.int(self.protocol_version);
        to.long(self.last_zxid_seen.0);
        to.int(self.timeout_ms);
        to.long(self.session.0);
        to.buffer(self.password);
        if let Some(read_only) = self.read_only {
            to.bool(read_only);
        }
        frame::end(out, at);
    }
}

/// A server's first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// Negotiated timeout, ms; 0 when the session is refused.
    pub timeout_ms: i32,
    /// The session; none when refused. The C client looks at this field alone.
    pub session: SessionId,
    /// Its password; zeros when refused.
    pub password: [u8; PASSWORD_LEN],
    /// This server is read-only; `None` leaves the byte out, as the request did.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The session is unknown, expired, or the password is wrong; the connection closes after it.
    /// `read_only` as in [`ConnectResponse::read_only`].
    pub fn refused(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 0,
            session: SessionId::NONE,
            password: [0; PASSWORD_LEN],
            read_only,
        }
    }

    /// Reads a frame's payload.
    pub fn decode(payload: &[u8]) -> Result<ConnectResponse, DecodeError> {
        let mut from = Reader::new(payload);
        let protocol_version = from.int()?;
        let timeout_ms = from.int()?;
        let session = SessionId(from.long()?);
        let password = from.required()?;
        let password = <[u8; PASSWORD_LEN]>::try_from(password)
            .map_err(|_| DecodeError::BadLength(password.len() as i32))?;
        let read_only = if from.is_empty() { None } else { Some(from.bool()?) };
        Ok(ConnectResponse { protocol_version, timeout_ms, session, password, read_only })
    }

    /// Appends a whole frame: 37 bytes of payload, or 36 without the read-only byte.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = frame::begin(out);
        let mut to = Writer::new(out);
        to.int(self.protocol_version);
        to.int(self.timeout_ms);
        to.long(self.session.0);
        to.bytes(&self.password);
        if let Some(read_only) = self.read_only {
            to.bool(read_only);
        }
        frame::end(out, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_read_only_byte_stays_absent() {
        for (read_only, payload) in [(None, 44), (Some(false), 45), (Some(true), 45)] {
            let request =
                ConnectRequest { password: Some(&[0; 16]), read_only, ..ConnectRequest::default() };
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(out.len(), 4 + payload);
            assert_eq!(ConnectRequest::decode(&out[4..]), Ok(request));
            out.clear();
            ConnectResponse::refused(read_only).encode(&mut out);
            assert_eq!(out.len(), 4 + payload - 8);
        }
    }

    #[test]
    fn odd_passwords_and_trailing_bytes_pass() {
        for password in [None, Some(&b""[..]), Some(&[1; 40][..])] {
            let request =
                ConnectRequest { password, read_only: Some(true), ..ConnectRequest::default() };
            let mut out = Vec::new();
            request.encode(&mut out);
            out.extend_from_slice(b"more");
            assert_eq!(ConnectRequest::decode(&out[4..]), Ok(request));
        }
        assert!(ConnectRequest::decode(&[0; 27]).is_err());
    }
}
