//! One non-blocking connection: bytes out, arrivals in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::{EventKind, SessionId, Xid};
use protocol::connect::PASSWORD_LEN;
use protocol::{ConnectRequest, ConnectResponse, Request, ServerFrame, Split, frame};

use super::http2::Http2;
use crate::cli::{Api, Target};

/// How long the server may take to accept a connection and to answer the handshake.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Largest reply that is accepted, bytes.
const REPLY_MAX: usize = 64 << 20;

/// What a server sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival<'a> {
    /// The session is there.
    Opened {
        /// Its timeout, ms.
        timeout_ms: i32,
        /// To come back to it; etcd's connections have none.
        ticket: Option<Ticket>,
    },
    /// The answer to the request with this tag.
    Reply {
        /// The tag it was sent with.
        tag: i32,
        /// 0, ZooKeeper's error number (below zero), or gRPC's status (above).
        err: i32,
    },
    /// A watch fired.
    Event {
        /// What happened.
        kind: EventKind,
        /// Where.
        path: &'a [u8],
    },
}

/// What a client shows to come back to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    session: SessionId,
    password: [u8; PASSWORD_LEN],
}

/// How a connection speaks.
#[derive(Debug)]
enum Speech {
    /// ZooKeeper's protocol before the handshake was answered.
    Greeting,
    /// ZooKeeper's protocol.
    ZooKeeper,
    /// gRPC.
    Etcd(Http2),
}

/// A connection, perhaps with a session.
#[derive(Debug)]
pub(crate) struct Connection {
    speech: Speech,
    last_tag: i32,
    stream: TcpStream,
    address: SocketAddr,
    /// Bytes to send; those before `sent` are gone.
    out: Vec<u8>,
    sent: usize,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    /// When something was last sent.
    pub(crate) last_sent: Instant,
    /// Frames received.
    pub(crate) received: u64,
}

impl Connection {
    /// Connects; nothing is sent yet.
    pub(crate) fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("no delay")?;
        stream.set_nonblocking(true).context("non-blocking")?;
        Ok(Connection {
            speech: Speech::ZooKeeper,
            last_tag: 0,
            stream,
            address,
            out: Vec::new(),
            sent: 0,
            partial: Vec::new(),
            last_sent: Instant::now(),
            received: 0,
        })
    }

    /// Asks for a session: a new one, or the ticket's.
    pub(crate) fn start_session(&mut self, target: &Target, ticket: Option<&Ticket>) {
        match target.api {
            Api::ZooKeeper => {
                let none = Ticket { session: SessionId::NONE, password: [0; PASSWORD_LEN] };
                let ticket = ticket.unwrap_or(&none);
                let request = ConnectRequest {
                    timeout_ms: target.session_timeout_ms,
                    session: ticket.session,
                    password: Some(&ticket.password),
                    read_only: Some(false),
                    ..ConnectRequest::default()
                };
                request.encode(&mut self.out);
                self.speech = Speech::Greeting;
            }
            Api::Etcd => {
                let authority = self.address.to_string();
                self.speech = Speech::Etcd(Http2::start(&authority, &mut self.out));
            }
        }
    }

    /// A tag that no request of this connection had.
    pub(crate) fn next_tag(&mut self) -> i32 {
        self.last_tag = self.last_tag.checked_add(1).unwrap_or(1);
        self.last_tag
    }

    /// The call with this tag watches (etcd).
    pub(crate) fn watches(&mut self, tag: i32) {
        if let Speech::Etcd(http2) = &mut self.speech {
            http2.watches(tag);
        }
    }

    /// There is something to send, or on its way.
    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Replies come in the order of the requests.
    pub(crate) fn is_ordered(&self) -> bool {
        !matches!(self.speech, Speech::Etcd(_))
    }

    /// Where frames to be sent are appended; [`Connection::flush`] sends them.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Appends a heartbeat; etcd's connections need none.
    pub(crate) fn ping(&mut self) -> bool {
        let needed = matches!(self.speech, Speech::ZooKeeper);
        if needed {
            Request::Ping.encode(Xid::PING, &mut self.out);
        }
        needed
    }

    /// Sends what the socket takes; false if it is full. Bytes that wait for etcd's permission
    /// are tried again after the next arrival.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<bool> {
        let released = match &mut self.speech {
            Speech::Greeting | Speech::ZooKeeper => self.out.len(),
            Speech::Etcd(http2) => http2.released(&self.out),
        };
        while self.sent < released {
            match self.stream.write(&self.out[self.sent..released]) {
                Ok(0) => bail!("{} takes no bytes", self.address),
                Ok(count) => {
                    self.sent += count;
                    self.last_sent = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| self.lost()),
            }
        }
        if released == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if let Speech::Etcd(http2) = &mut self.speech {
                http2.emptied();
            }
        }
        Ok(true)
    }

    /// Reads once and hands over what is whole.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        let count = match self.stream.read(scratch) {
            Ok(0) if self.received == 0 => bail!(
                "{} closed the connection without an answer (is it a client port of what \
                 --api says? is maxClientCnxns too small?)",
                self.address
            ),
            Ok(0) => bail!("{}", self.lost()),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error).with_context(|| self.lost()),
        };
        if self.partial.is_empty() {
            let used = self.take_frames(&scratch[..count], &mut take)?;
            self.partial.extend_from_slice(&scratch[used..count]);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(&scratch[..count]);
            let used = self.take_frames(&bytes, &mut take)?;
            bytes.drain(..used);
            self.partial = bytes;
        }
        Ok(())
    }

    /// Returns how many bytes whole frames took.
    fn take_frames(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<usize> {
        let received = &mut self.received;
        if let Speech::Etcd(http2) = &mut self.speech {
            if *received == 0 && bytes.len() >= 4 && bytes.starts_with(b"HTTP") {
                bail!("{} speaks HTTP/1, not gRPC: not an etcd client port?", self.address);
            }
            let used = http2.receive(bytes, &mut self.out, &mut |arrival| {
                *received += 1;
                take(arrival)
            })?;
            return Ok(used);
        }
        let mut used = 0;
        loop {
            match frame::split(&bytes[used..], REPLY_MAX) {
                Split::NeedMore { .. } => return Ok(used),
                Split::Frame { payload } => {
                    self.received += 1;
                    self.take_frame(&bytes[used..][payload.clone()], take)?;
                    used += payload.end;
                }
                Split::BadLength(length) => bail!(
                    "{} sent a frame length of {length}: not a ZooKeeper client port?",
                    self.address
                ),
            }
        }
    }

    /// One frame of ZooKeeper's.
    fn take_frame(
        &mut self,
        payload: &[u8],
        take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        if matches!(self.speech, Speech::Greeting) {
            let response = ConnectResponse::decode(payload)
                .with_context(|| format!("{} does not speak ZooKeeper's protocol", self.address))?;
            ensure!(
                !response.session.is_none() && response.timeout_ms > 0,
                "{} refused the session",
                self.address
            );
            self.speech = Speech::ZooKeeper;
            let ticket = Ticket { session: response.session, password: response.password };
            return take(Arrival::Opened { timeout_ms: response.timeout_ms, ticket: Some(ticket) });
        }
        match ServerFrame::decode(payload).context("undecodable server frame")? {
            ServerFrame::Reply(header, _) if header.xid == Xid::PING => Ok(()),
            ServerFrame::Reply(header, _) => {
                take(Arrival::Reply { tag: header.xid.0, err: header.err })
            }
            ServerFrame::Event(event) => {
                take(Arrival::Event { kind: event.kind, path: event.path })
            }
        }
    }

    fn lost(&self) -> String {
        format!("{} closed the connection after {} replies", self.address, self.received)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
