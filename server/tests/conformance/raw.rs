//! A client that sends exactly the bytes it is told to.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    /// Session of the last connect response.
    pub(crate) session: i64,
    /// Its password.
    pub(crate) password: Vec<u8>,
}

/// A whole frame: length and body.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// A length-prefixed string or buffer.
pub(crate) fn text(value: &[u8]) -> Vec<u8> {
    frame(value)
}

/// A request frame.
pub(crate) fn request(xid: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = [xid.to_be_bytes(), opcode.to_be_bytes()].concat();
    bytes.extend_from_slice(body);
    frame(&bytes)
}

/// `world:anyone` with all permissions.
pub(crate) fn open_acl() -> Vec<u8> {
    let mut bytes = [1i32.to_be_bytes(), 31i32.to_be_bytes()].concat();
    bytes.extend(text(b"world"));
    bytes.extend(text(b"anyone"));
    bytes
}

/// Body of a create.
pub(crate) fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let mut bytes = text(path.as_bytes());
    bytes.extend(text(data));
    bytes.extend(open_acl());
    bytes.extend(flags.to_be_bytes());
    bytes
}

/// Body of a setData.
pub(crate) fn set(path: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = text(path.as_bytes());
    bytes.extend(text(data));
    bytes.extend((-1i32).to_be_bytes());
    bytes
}

/// Body of a read.
pub(crate) fn read(path: &str, watch: bool) -> Vec<u8> {
    let mut bytes = text(path.as_bytes());
    bytes.push(u8::from(watch));
    bytes
}

/// A reply or notification.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The request's, or -1.
    pub(crate) xid: i32,
    /// Position.
    pub(crate) zxid: i64,
    /// Error number.
    pub(crate) err: i32,
    /// After the header.
    pub(crate) body: Vec<u8>,
}

/// Bytes of a connect request.
pub(crate) fn connect_request(
    session: i64,
    password: &[u8],
    timeout_ms: i32,
    zxid: i64,
) -> Vec<u8> {
    let mut body = 0i32.to_be_bytes().to_vec();
    body.extend(zxid.to_be_bytes());
    body.extend(timeout_ms.to_be_bytes());
    body.extend(session.to_be_bytes());
    body.extend(text(password));
    body.push(0);
    frame(&body)
}

impl Raw {
    /// Connects without sending anything.
    pub(crate) fn open(address: &str) -> Raw {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
        Raw { stream, session: 0, password: vec![0; 16] }
    }

    /// Connects and makes a session.
    pub(crate) fn connect(address: &str) -> Raw {
        let mut raw = Raw::open(address);
        raw.send(&connect_request(0, &[0; 16], 10_000, 0));
        assert!(raw.connected() > 0, "the session is granted");
        raw
    }

    /// Sends bytes; a server that has closed already is not an error here.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The body of the next frame, or `None` once the server has closed.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Reads the connect response; the granted timeout, 0 if refused, -1 if closed.
    pub(crate) fn connected(&mut self) -> i32 {
        let Some(body) = self.frame() else { return -1 };
        assert_eq!(body.len(), 37);
        self.session = i64::from_be_bytes(body[8..16].try_into().expect("8 bytes"));
        self.password = body[20..36].to_vec();
        i32::from_be_bytes(body[4..8].try_into().expect("4 bytes"))
    }

    /// The next reply or notification; `None` once the server has closed.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let body = self.frame()?;
        Some(Reply {
            xid: i32::from_be_bytes(body[0..4].try_into().expect("4 bytes")),
            zxid: i64::from_be_bytes(body[4..12].try_into().expect("8 bytes")),
            err: i32::from_be_bytes(body[12..16].try_into().expect("4 bytes")),
            body: body[16..].to_vec(),
        })
    }

    /// Sends one request and returns its reply, which must be the next frame.
    pub(crate) fn call(&mut self, xid: i32, opcode: i32, body: &[u8]) -> Reply {
        self.send(&request(xid, opcode, body));
        let reply = self.reply().expect("an answer");
        assert_eq!(reply.xid, xid);
        reply
    }

    /// True if the server closes without sending anything more.
    pub(crate) fn closed(&mut self) -> bool {
        self.frame().is_none()
    }
}

/// The data of a getData reply's body.
pub(crate) fn data(reply: &Reply) -> &[u8] {
    let length = i32::from_be_bytes(reply.body[0..4].try_into().expect("4 bytes")) as usize;
    &reply.body[4..4 + length]
}
