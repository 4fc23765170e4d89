//! One non-blocking connection: bytes out, whole frames in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::Xid;
use protocol::{ConnectRequest, Request, Split, frame};

use crate::cli::Target;

/// How long the server may take to accept a connection and to answer the handshake.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Largest reply that is accepted, bytes.
const REPLY_MAX: usize = 64 << 20;

/// A connection, perhaps with a session.
#[derive(Debug)]
pub(crate) struct Connection {
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
            stream,
            address,
            out: Vec::new(),
            sent: 0,
            partial: Vec::new(),
            last_sent: Instant::now(),
            received: 0,
        })
    }

    /// Asks for a new session.
    pub(crate) fn start_session(&mut self, target: &Target) {
        let request = ConnectRequest {
            timeout_ms: target.session_timeout_ms,
            password: Some(&[0; 16]),
            read_only: Some(false),
            ..ConnectRequest::default()
        };
        request.encode(&mut self.out);
    }

    /// Where frames to be sent are appended; [`Connection::flush`] sends them.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Appends a heartbeat.
    pub(crate) fn ping(&mut self) {
        Request::Ping.encode(Xid::PING, &mut self.out);
    }

    /// Sends what the socket takes; true if everything is sent.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
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
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Reads once and hands over the payloads of the frames that are whole.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let count = match self.stream.read(scratch) {
            Ok(0) if self.received == 0 => bail!(
                "{} closed the connection without an answer (is it a ZooKeeper client port? \
                 is maxClientCnxns too small?)",
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
        take: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let mut used = 0;
        loop {
            match frame::split(&bytes[used..], REPLY_MAX) {
                Split::NeedMore { .. } => return Ok(used),
                Split::Frame { payload } => {
                    self.received += 1;
                    take(&bytes[used..][payload.clone()])?;
                    used += payload.end;
                }
                Split::BadLength(length) => bail!(
                    "{} sent a frame length of {length}: not a ZooKeeper client port?",
                    self.address
                ),
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
