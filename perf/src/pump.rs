//! Keeps connections full of requests and measures the replies.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use protocol::{ReplyHeader, ServerFrame};

use crate::connection::PATIENCE;
use crate::fleet::{self, Fleet};
use crate::report::{self, Latencies};

/// Requests that wait for a free place in an open loop before the run is given up.
const BACKLOG_MAX: usize = 4_000_000;

/// What a request does; its latency is recorded accordingly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Answered from memory.
    Read,
    /// Ordered and made durable.
    Write,
}

/// When to send, and which replies count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Requests in flight per connection.
    pub(crate) outstanding: usize,
    /// Requests a second of this pump; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    /// Replies from here on count.
    pub(crate) from: Instant,
    /// Nothing is sent after this.
    pub(crate) upto: Instant,
    /// An error number that is as good as success.
    pub(crate) tolerate: i32,
}

/// What came back.
pub(crate) struct Tally {
    /// Latencies of reads.
    pub(crate) reads: Latencies,
    /// Latencies of writes.
    pub(crate) writes: Latencies,
    /// Replies between the plan's two moments.
    pub(crate) completed: u64,
    /// Most requests that waited for a free place (open loop).
    pub(crate) backlog_max: usize,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Tally {
        Tally {
            reads: report::latencies(),
            writes: report::latencies(),
            completed: 0,
            backlog_max: 0,
        }
    }

    /// Adds another pump's.
    pub(crate) fn add(&mut self, other: &Tally) -> Result<()> {
        self.reads.add(&other.reads)?;
        self.writes.add(&other.writes)?;
        self.completed += other.completed;
        self.backlog_max = self.backlog_max.max(other.backlog_max);
        Ok(())
    }
}

/// The pump was told to stop because another one failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stopped")
    }
}

impl std::error::Error for Stopped {}

#[derive(Clone, Copy)]
struct Flying {
    xid: i32,
    since: Instant,
    kind: Kind,
}

struct Lane {
    flying: VecDeque<Flying>,
    last_xid: i32,
    /// It has bytes to flush.
    touched: bool,
}

/// Runs until the plan's end, or until `next` has nothing more and all is answered. `next`
/// appends one request frame with the given xid. After the end, outstanding requests are waited
/// for, so that the slowest are not left out.
pub(crate) fn run(
    fleet: &mut Fleet,
    plan: &Plan,
    stop: &AtomicBool,
    next: impl FnMut(usize, i32, &mut Vec<u8>) -> Option<Kind>,
) -> Result<Tally> {
    let lane = || Lane { flying: VecDeque::new(), last_xid: 0, touched: false };
    let lanes = (0..fleet.len()).map(|_| lane()).collect();
    let begin = Instant::now();
    let (waiting, tally) = (VecDeque::new(), Tally::new());
    Pump { plan, next, lanes, begin, exhausted: false, scheduled: 0, turn: 0, waiting, tally }
        .run(fleet, stop)
}

struct Pump<'a, N> {
    plan: &'a Plan,
    next: N,
    lanes: Vec<Lane>,
    begin: Instant,
    /// There is nothing more to send.
    exhausted: bool,
    /// Open loop: requests that were due so far.
    scheduled: usize,
    /// Open loop: the connection that was last given one.
    turn: usize,
    /// Open loop: when the requests that found no free place were due.
    waiting: VecDeque<Instant>,
    tally: Tally,
}

impl<N: FnMut(usize, i32, &mut Vec<u8>) -> Option<Kind>> Pump<'_, N> {
    fn run(mut self, fleet: &mut Fleet, stop: &AtomicBool) -> Result<Tally> {
        let mut progress = self.begin;
        let mut ready: Vec<usize> = (0..fleet.len()).collect();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Stopped.into());
            }
            let now = Instant::now();
            let idle = self.lanes.iter().all(|lane| lane.flying.is_empty());
            let ended = self.exhausted || now >= self.plan.upto;
            if ended && idle {
                return Ok(self.tally);
            }
            if idle {
                progress = now;
            }
            ensure!(
                now.duration_since(progress) < PATIENCE,
                "no reply for {} s with requests in flight",
                PATIENCE.as_secs()
            );
            let mut timeout = Duration::from_millis(50);
            match self.plan.rate {
                _ if ended => {}
                None => self.fill(&ready, now, fleet)?,
                Some(rate) => {
                    self.fill_due(rate, now, fleet)?;
                    let due = self.begin + fleet::at_rate(self.scheduled, rate);
                    timeout = timeout.min(due.saturating_duration_since(Instant::now()));
                }
            }
            fleet.poll(timeout, &mut ready, |index, frame| {
                let ServerFrame::Reply(header, _) = frame else { return Ok(()) };
                progress = Instant::now();
                self.on_reply(index, &header, progress)
            })?;
            fleet.ping_silent(now)?;
        }
    }

    /// Closed loop: fills the connections that were just read, and flushes them.
    fn fill(&mut self, ready: &[usize], now: Instant, fleet: &mut Fleet) -> Result<()> {
        for &index in ready {
            while self.lanes[index].flying.len() < self.plan.outstanding
                && self.launch(index, now, fleet)
            {}
            self.lanes[index].touched = false;
            fleet.flush(index, now)?;
        }
        Ok(())
    }

    /// Open loop: hands what is due to connections in turn, as long as they have free places.
    fn fill_due(&mut self, rate: f64, now: Instant, fleet: &mut Fleet) -> Result<()> {
        loop {
            let due = self.begin + fleet::at_rate(self.scheduled, rate);
            if due > now || due >= self.plan.upto {
                break;
            }
            self.waiting.push_back(due);
            self.scheduled += 1;
        }
        ensure!(
            self.waiting.len() <= BACKLOG_MAX,
            "the server is {BACKLOG_MAX} requests behind the rate; giving up"
        );
        let mut touched = Vec::new();
        let mut full = 0;
        while full < self.lanes.len() {
            let Some(&since) = self.waiting.front() else { break };
            self.turn = (self.turn + 1) % self.lanes.len();
            let lane = &mut self.lanes[self.turn];
            if lane.flying.len() >= self.plan.outstanding {
                full += 1;
                continue;
            }
            full = 0;
            self.waiting.pop_front();
            if !lane.touched {
                lane.touched = true;
                touched.push(self.turn);
            }
            if !self.launch(self.turn, since, fleet) {
                break;
            }
        }
        self.tally.backlog_max = self.tally.backlog_max.max(self.waiting.len());
        for index in touched {
            self.lanes[index].touched = false;
            fleet.flush(index, now)?;
        }
        Ok(())
    }

    /// Appends one request; false if there are no more.
    fn launch(&mut self, index: usize, since: Instant, fleet: &mut Fleet) -> bool {
        let lane = &mut self.lanes[index];
        let xid = lane.last_xid.checked_add(1).unwrap_or(1);
        let Some(kind) = (self.next)(index, xid, fleet.out(index)) else {
            self.exhausted = true;
            return false;
        };
        lane.last_xid = xid;
        lane.flying.push_back(Flying { xid, since, kind });
        true
    }

    fn on_reply(&mut self, index: usize, header: &ReplyHeader, now: Instant) -> Result<()> {
        let Some(flying) = self.lanes[index].flying.pop_front() else {
            bail!("the server sent a reply that nobody asked for: {header:?}")
        };
        ensure!(
            header.xid.0 == flying.xid,
            "the server answered xid {} when {} was due",
            header.xid.0,
            flying.xid
        );
        if header.err != self.plan.tolerate {
            fleet::check("request", header.err)?;
        }
        if now >= self.plan.from && now < self.plan.upto {
            self.tally.completed += 1;
        }
        if flying.since >= self.plan.from {
            let latencies = match flying.kind {
                Kind::Read => &mut self.tally.reads,
                Kind::Write => &mut self.tally.writes,
            };
            report::record(latencies, now.duration_since(flying.since));
        }
        Ok(())
    }
}
