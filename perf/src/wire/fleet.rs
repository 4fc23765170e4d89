//! Many connections on one thread, watched through epoll.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::Xid;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;

use super::connection::{Arrival, Connection, PATIENCE, Ticket};
use crate::cli::{Api, Target};

/// How sessions are opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening<'a> {
    /// Handshakes in flight; 0 stands for 64.
    pub(crate) window: usize,
    /// Sessions to start a second; without it as many as the window lets through.
    pub(crate) rate: Option<f64>,
    /// Sessions to come back to, one for each connection; none are new ones.
    pub(crate) tickets: &'a [Ticket],
}

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
    /// To come back to the sessions, in the connections' order.
    pub(crate) tickets: Vec<Option<Ticket>>,
    api: Api,
}

impl Fleet {
    /// Connections without sessions.
    pub(crate) fn bare(address: std::net::SocketAddr, count: usize) -> Result<Fleet> {
        let mut fleet = Fleet::new(Duration::MAX, Api::ZooKeeper)?;
        for _ in 0..count {
            fleet.add(Connection::open(address)?)?;
        }
        Ok(fleet)
    }

    /// Opens sessions. `opened` is told how long each took, from the first moment it could have
    /// been started.
    pub(crate) fn open(
        target: &Target,
        count: usize,
        opening: Opening<'_>,
        mut opened: impl FnMut(Duration),
    ) -> Result<Fleet> {
        let third = Duration::from_millis(target.session_timeout_ms as u64 / 3);
        let mut fleet = Fleet::new(third, target.api)?;
        let (window, rate) = (if opening.window == 0 { 64 } else { opening.window }, opening.rate);
        let begin = Instant::now();
        let due = |index: usize| rate.map_or(begin, |rate| begin + at_rate(index, rate));
        let mut started: Vec<Instant> = Vec::new();
        let (mut waiting, mut done) = (0, 0);
        let mut established = vec![false; count];
        fleet.tickets = vec![None; count];
        let mut progress = Instant::now();
        let mut ready = Vec::new();
        while done < count {
            let now = Instant::now();
            while started.len() < count && waiting < window && due(started.len()) <= now {
                let index = started.len();
                started.push(if rate.is_some() { due(index) } else { Instant::now() });
                let mut connection = Connection::open(target.address(index))?;
                connection.start_session(target, opening.tickets.get(index));
                fleet.add(connection)?;
                fleet.flush(index, Instant::now())?;
                waiting += 1;
                progress = Instant::now();
            }
            ensure!(
                progress.elapsed() < PATIENCE,
                "{} accepted a connection and did not answer the handshake within {} s",
                target.address(0),
                PATIENCE.as_secs()
            );
            let next_due = if started.len() < count && waiting < window {
                due(started.len()).saturating_duration_since(Instant::now())
            } else {
                Duration::from_millis(100)
            };
            let mut shortest = i32::MAX;
            let mut tickets = std::mem::take(&mut fleet.tickets);
            fleet.poll(
                next_due.min(Duration::from_millis(100)),
                &mut ready,
                |index, arrival| {
                    let Arrival::Opened { timeout_ms, ticket } = arrival else { return Ok(()) };
                    shortest = shortest.min(timeout_ms);
                    tickets[index] = ticket;
                    established[index] = true;
                    (waiting, done) = (waiting - 1, done + 1);
                    progress = Instant::now();
                    opened(started[index].elapsed());
                    Ok(())
                },
            )?;
            fleet.tickets = tickets;
            if shortest != i32::MAX {
                let every = Duration::from_millis(shortest as u64 / 3);
                fleet.ping_every = fleet.ping_every.min(every);
            }
            // Sessions opened early would expire while a long storm goes on.
            fleet.ping_where(Instant::now(), |index| established[index])?;
        }
        Ok(fleet)
    }

    fn new(ping_every: Duration, api: Api) -> Result<Fleet> {
        Ok(Fleet {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?,
            connections: Vec::new(),
            blocked: Vec::new(),
            events: vec![EpollEvent::empty(); 256],
            scratch: vec![0; 256 * 1024],
            ping_every,
            pings_checked: Instant::now(),
            pings: 0,
            tickets: Vec::new(),
            api,
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

    /// A tag that no request of this connection had.
    pub(crate) fn next_tag(&mut self, index: usize) -> i32 {
        self.connections[index].next_tag()
    }

    /// Replies come in the order of the requests.
    pub(crate) fn is_ordered(&self) -> bool {
        self.connections.first().is_none_or(Connection::is_ordered)
    }

    /// Waits up to `timeout` and hands over what came. `ready` is filled with the connections
    /// that were read, each once.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        ready: &mut Vec<usize>,
        mut take: impl FnMut(usize, Arrival<'_>) -> Result<()>,
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
                    .receive(&mut self.scratch, |arrival| take(index, arrival))?;
                if self.api == Api::Etcd && self.connections[index].has_output() {
                    self.flush(index, Instant::now())?;
                }
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
            if wanted(index) && silent >= self.ping_every && self.connections[index].ping() {
                self.pings += 1;
                self.flush(index, now)?;
            }
        }
        Ok(())
    }

    /// Sets one watch on every connection, at most `window` unanswered, and waits until all are
    /// confirmed. `request` appends the request with the given tag.
    pub(crate) fn watch_all(
        &mut self,
        window: usize,
        mut request: impl FnMut(i32, &mut Vec<u8>),
    ) -> Result<()> {
        let what = "setting a watch";
        let total = self.len();
        let (mut sent, mut done) = (0, 0);
        let mut ready = Vec::new();
        let mut progress = Instant::now();
        while done < total {
            while sent < total && sent - done < window {
                let tag = self.connections[sent].next_tag();
                self.connections[sent].watches(tag);
                request(tag, self.connections[sent].out());
                self.flush(sent, Instant::now())?;
                sent += 1;
            }
            let before = done;
            self.poll(Duration::from_millis(100), &mut ready, |_, arrival| {
                if let Arrival::Reply { err, .. } = arrival {
                    check(what, err)?;
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
        if self.api == Api::Etcd {
            // Connections without leases leave nothing behind.
            return Ok(());
        }
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
            self.poll(Duration::from_millis(100), &mut ready, |index, arrival| {
                if matches!(arrival, Arrival::Reply { tag: i32::MAX, .. }) {
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
        _ if err > 0 => bail!("{what}: etcd answered gRPC status {err}"),
        Some(code) => bail!("{what}: the server answered {code}"),
        None => bail!("{what}: the server answered {err}"),
    }
}

/// When the event with this index is due at so many a second.
pub(crate) fn at_rate(index: usize, rate: f64) -> Duration {
    Duration::from_secs_f64(index as f64 / rate)
}
