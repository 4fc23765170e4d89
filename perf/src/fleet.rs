//! Many connections on one thread, watched through epoll.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::Xid;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use protocol::{ConnectResponse, ServerFrame};

use crate::cli::Target;
use crate::connection::{Connection, PATIENCE};

/// Connections and the means to wait for them.
pub(crate) struct Fleet {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Connections whose socket was full.
    blocked: Vec<bool>,
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    ping_every: Duration,
    pings_checked: Instant,
    /// Pings sent so far.
    pub(crate) pings: u64,
}

impl Fleet {
    /// Connections without sessions.
    pub(crate) fn bare(address: std::net::SocketAddr, count: usize) -> Result<Fleet> {
        let mut fleet = Fleet::new(Duration::MAX)?;
        for _ in 0..count {
            fleet.add(Connection::open(address)?)?;
        }
        Ok(fleet)
    }

    /// Opens sessions, at most `window` handshakes at a time and at most `rate` a second.
    /// `opened` is told how long each took, from the first moment it could have been started.
    pub(crate) fn open(
        target: &Target,
        count: usize,
        window: usize,
        rate: Option<f64>,
        mut opened: impl FnMut(Duration),
    ) -> Result<Fleet> {
        let mut fleet = Fleet::new(Duration::from_millis(target.session_timeout_ms as u64 / 3))?;
        let begin = Instant::now();
        let due = |index: usize| rate.map_or(begin, |rate| begin + at_rate(index, rate));
        let mut started: Vec<Instant> = Vec::new();
        let (mut waiting, mut done) = (0, 0);
        let mut established = vec![false; count];
        let mut progress = Instant::now();
        let mut ready = Vec::new();
        while done < count {
            let now = Instant::now();
            while started.len() < count && waiting < window && due(started.len()) <= now {
                let index = started.len();
                started.push(if rate.is_some() { due(index) } else { Instant::now() });
                let mut connection = Connection::open(target.address)?;
                connection.start_session(target);
                fleet.add(connection)?;
                fleet.flush(index, Instant::now())?;
                waiting += 1;
                progress = Instant::now();
            }
            ensure!(
                progress.elapsed() < PATIENCE,
                "{} accepted a connection and did not answer the handshake within {} s",
                target.address,
                PATIENCE.as_secs()
            );
            let next_due = if started.len() < count && waiting < window {
                due(started.len()).saturating_duration_since(Instant::now())
            } else {
                Duration::from_millis(100)
            };
            let mut timeout_ms = i32::MAX;
            fleet.poll_payloads(
                next_due.min(Duration::from_millis(100)),
                &mut ready,
                |index, payload| {
                    if established[index] {
                        return Ok(());
                    }
                    let response = ConnectResponse::decode(payload).with_context(|| {
                        format!("{} does not speak ZooKeeper's protocol", target.address)
                    })?;
                    ensure!(
                        !response.session.is_none() && response.timeout_ms > 0,
                        "{} refused a new session",
                        target.address
                    );
                    timeout_ms = timeout_ms.min(response.timeout_ms);
                    established[index] = true;
                    (waiting, done) = (waiting - 1, done + 1);
                    progress = Instant::now();
                    opened(started[index].elapsed());
                    Ok(())
                },
            )?;
            if timeout_ms != i32::MAX {
                let every = Duration::from_millis(timeout_ms as u64 / 3);
                fleet.ping_every = fleet.ping_every.min(every);
            }
            // Sessions opened early would expire while a long storm goes on.
            fleet.ping_where(Instant::now(), |index| established[index])?;
        }
        Ok(fleet)
    }

    fn new(ping_every: Duration) -> Result<Fleet> {
        Ok(Fleet {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?,
            connections: Vec::new(),
            blocked: Vec::new(),
            events: vec![EpollEvent::empty(); 256],
            scratch: vec![0; 256 * 1024],
            ping_every,
            pings_checked: Instant::now(),
            pings: 0,
        })
    }

    fn add(&mut self, connection: Connection) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.connections.len() as u64);
        self.epoll.add(&connection, event).context("epoll add")?;
        self.connections.push(connection);
        self.blocked.push(false);
        Ok(())
    }

    /// Number of connections.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Where frames for a connection are appended.
    pub(crate) fn out(&mut self, index: usize) -> &mut Vec<u8> {
        self.connections[index].out()
    }

    /// Sends what a connection has.
    pub(crate) fn flush(&mut self, index: usize, now: Instant) -> Result<()> {
        let blocked = !self.connections[index].flush(now)?;
        if blocked != self.blocked[index] {
            self.blocked[index] = blocked;
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, blocked);
            let mut event = EpollEvent::new(flags, index as u64);
            self.epoll.modify(&self.connections[index], &mut event).context("epoll modify")?;
        }
        Ok(())
    }

    /// Waits up to `timeout` and hands over what came. `ready` is filled with the connections
    /// that were read, each once.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        ready: &mut Vec<usize>,
        mut take: impl FnMut(usize, ServerFrame<'_>) -> Result<()>,
    ) -> Result<()> {
        self.poll_payloads(timeout, ready, |index, payload| {
            let frame = ServerFrame::decode(payload).context("undecodable server frame")?;
            match frame {
                ServerFrame::Reply(header, _) if header.xid == Xid::PING => Ok(()),
                other => take(index, other),
            }
        })
    }

    fn poll_payloads(
        &mut self,
        timeout: Duration,
        ready: &mut Vec<usize>,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        ready.clear();
        // epoll itself counts in milliseconds, too coarse for an open loop.
        if timeout > Duration::ZERO && timeout < Duration::from_millis(1) {
            let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context("ppoll"),
            }
        }
        let millis = EpollTimeout::from(timeout.as_millis().min(60_000) as u16);
        let count = match self.epoll.wait(&mut self.events, millis) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("epoll wait"),
        };
        for at in 0..count {
            let event = self.events[at];
            let index = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.flush(index, Instant::now())?;
            }
            let others = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            if event.events().intersects(others) {
                self.connections[index]
                    .receive(&mut self.scratch, |payload| take(index, payload))?;
                ready.push(index);
            }
        }
        Ok(())
    }

    /// Pings connections that have been silent for a third of their timeout.
    pub(crate) fn ping_silent(&mut self, now: Instant) -> Result<()> {
        self.ping_where(now, |_| true)
    }

    fn ping_where(&mut self, now: Instant, wanted: impl Fn(usize) -> bool) -> Result<()> {
        if now.duration_since(self.pings_checked) < (self.ping_every / 8) {
            return Ok(());
        }
        self.pings_checked = now;
        for index in 0..self.connections.len() {
            let silent = now.saturating_duration_since(self.connections[index].last_sent);
            if wanted(index) && silent >= self.ping_every {
                self.connections[index].ping();
                self.pings += 1;
                self.flush(index, now)?;
            }
        }
        Ok(())
    }

    /// Sends one request on every connection, at most `window` unanswered, and waits for all
    /// replies, which must be successes.
    pub(crate) fn call_all(
        &mut self,
        what: &str,
        window: usize,
        mut request: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<()> {
        let total = self.len();
        let (mut sent, mut done) = (0, 0);
        let mut ready = Vec::new();
        let mut progress = Instant::now();
        while done < total {
            while sent < total && sent - done < window {
                request(sent, self.connections[sent].out());
                self.flush(sent, Instant::now())?;
                sent += 1;
            }
            let before = done;
            self.poll(Duration::from_millis(100), &mut ready, |_, frame| {
                if let ServerFrame::Reply(header, _) = frame {
                    check(what, header.err)?;
                    done += 1;
                }
                Ok(())
            })?;
            if done > before {
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                bail!("{what}: {done} of {total} answered, then nothing for 10 s");
            }
            self.ping_silent(Instant::now())?;
        }
        Ok(())
    }

    /// Closes all sessions in order and waits for the replies, at most `limit` in all.
    pub(crate) fn close(mut self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let mut closed = 0;
        let total = self.len();
        for connection in &mut self.connections {
            protocol::Request::CloseSession.encode(Xid(i32::MAX), connection.out());
        }
        let mut open: VecDeque<usize> = (0..total).collect();
        let mut ready = Vec::new();
        let mut flying = 0;
        while closed < total && Instant::now() < until {
            while flying < 256 {
                let Some(index) = open.pop_front() else { break };
                self.flush(index, Instant::now())?;
                flying += 1;
            }
            let mut gone = Vec::new();
            self.poll(Duration::from_millis(100), &mut ready, |index, frame| {
                if matches!(frame, ServerFrame::Reply(header, _) if header.xid.0 == i32::MAX) {
                    gone.push(index);
                }
                Ok(())
            })?;
            for index in gone {
                self.epoll.delete(&self.connections[index]).context("epoll delete")?;
                flying -= 1;
                closed += 1;
            }
        }
        ensure!(closed == total, "{closed} of {total} sessions were closed in time");
        Ok(())
    }
}

/// Turns an error reply into an error of ours.
pub(crate) fn check(what: &str, err: i32) -> Result<()> {
    if err == 0 {
        return Ok(());
    }
    match model::ErrorCode::from_code(err) {
        Some(code) => bail!("{what}: the server answered {code}"),
        None => bail!("{what}: the server answered {err}"),
    }
}

/// When the event with this index is due at so many a second.
pub(crate) fn at_rate(index: usize, rate: f64) -> Duration {
    Duration::from_secs_f64(index as f64 / rate)
}
