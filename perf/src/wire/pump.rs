//! Keeps connections full of requests and measures the replies.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::connection::{Arrival, PATIENCE};
use super::fleet::{self, Fleet};
use crate::report::{self, Latencies};

/// Requests that wait for a free place in an open loop before the run is given up.
const BACKLOG_MAX: usize = 4_000_000;

/// What a request does; its latency is recorded accordingly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    /// getData.
    Get,
    /// exists.
    Exists,
    /// getChildren2.
    Children,
    /// setData.
    Set,
    /// create.
    Create,
    /// create of an ephemeral znode.
    CreateEphemeral,
    /// delete.
    Delete,
    /// Several setData at once.
    Multi,
}

impl Verb {
    /// Every verb.
    pub(crate) const ALL: [Verb; 8] = [
        Verb::Get,
        Verb::Exists,
        Verb::Children,
        Verb::Set,
        Verb::Create,
        Verb::CreateEphemeral,
        Verb::Delete,
        Verb::Multi,
    ];

    /// For people and flags.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Exists => "exists",
            Verb::Children => "children",
            Verb::Set => "set",
            Verb::Create => "create",
            Verb::CreateEphemeral => "create-ephemeral",
            Verb::Delete => "delete",
            Verb::Multi => "multi",
        }
    }
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
#[derive(Default)]
pub(crate) struct Tally {
    /// Latencies by what was asked, in the order of [`Verb::ALL`].
    latencies: [Option<Latencies>; Verb::ALL.len()],
    /// Replies between the plan's two moments.
    pub(crate) completed: u64,
    /// All replies.
    pub(crate) answered: u64,
    /// Most requests that waited for a free place (open loop).
    pub(crate) backlog_max: usize,
}

impl Tally {
    /// Adds another pump's.
    pub(crate) fn add(&mut self, other: &Tally) -> Result<()> {
        for verb in Verb::ALL {
            if let Some(latencies) = other.of(verb) {
                self.latencies[verb as usize]
                    .get_or_insert_with(report::latencies)
                    .add(latencies)?;
            }
        }
        self.completed += other.completed;
        self.answered += other.answered;
        self.backlog_max = self.backlog_max.max(other.backlog_max);
        Ok(())
    }

    /// Latencies of one verb, if there were any.
    pub(crate) fn of(&self, verb: Verb) -> Option<&Latencies> {
        self.latencies[verb as usize].as_ref()
    }

    /// Latencies of several verbs together.
    pub(crate) fn all(&self, wanted: impl Fn(Verb) -> bool) -> Latencies {
        let mut all = report::latencies();
        for latencies in Verb::ALL.into_iter().filter(|&verb| wanted(verb)) {
            if let Some(latencies) = self.of(latencies) {
                all.add(latencies).expect("histograms of one make add up");
            }
        }
        all
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
    tag: i32,
    since: Instant,
    verb: Verb,
}

struct Lane {
    flying: VecDeque<Flying>,
    /// It has bytes to flush.
    touched: bool,
}

/// Runs until the plan's end, or until `next` has nothing more and all is answered. `next`
/// appends one request for the connection with the given tag. After the end, outstanding requests
/// are waited for, so that the slowest are not left out. `stop` is looked at and `count` told of
/// replies as they come, for those who watch from outside.
pub(crate) fn run(
    fleet: &mut Fleet,
    plan: &Plan,
    (stop, count): (&AtomicBool, &AtomicU64),
    next: impl FnMut(usize, i32, &mut Vec<u8>) -> Option<Verb>,
) -> Result<Tally> {
    let lane = || Lane { flying: VecDeque::new(), touched: false };
    let lanes = (0..fleet.len()).map(|_| lane()).collect();
    let begin = Instant::now();
    let (waiting, tally) = (VecDeque::new(), Tally::default());
    let ordered = fleet.is_ordered();
    Pump {
        plan,
        next,
        lanes,
        begin,
        ordered,
        exhausted: false,
        scheduled: 0,
        turn: 0,
        waiting,
        tally,
    }
    .run(fleet, stop, count)
}

struct Pump<'a, N> {
    plan: &'a Plan,
    next: N,
    lanes: Vec<Lane>,
    begin: Instant,
    /// Replies come in the order of the requests.
    ordered: bool,
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

impl<N: FnMut(usize, i32, &mut Vec<u8>) -> Option<Verb>> Pump<'_, N> {
    fn run(mut self, fleet: &mut Fleet, stop: &AtomicBool, count: &AtomicU64) -> Result<Tally> {
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
            let before = self.tally.answered;
            fleet.poll(timeout, &mut ready, |index, arrival| {
                let Arrival::Reply { tag, err } = arrival else { return Ok(()) };
                progress = Instant::now();
                self.on_reply(index, tag, err, progress)
            })?;
            count.fetch_add(self.tally.answered - before, Ordering::Relaxed);
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
        let tag = fleet.next_tag(index);
        let Some(verb) = (self.next)(index, tag, fleet.out(index)) else {
            self.exhausted = true;
            return false;
        };
        self.lanes[index].flying.push_back(Flying { tag, since, verb });
        true
    }

    fn on_reply(&mut self, index: usize, tag: i32, err: i32, now: Instant) -> Result<()> {
        let flying = &mut self.lanes[index].flying;
        let at = flying.iter().position(|flying| flying.tag == tag || self.ordered);
        let Some(flying) = at.and_then(|at| flying.remove(at)) else {
            bail!("the server sent a reply that nobody asked for: to request {tag}")
        };
        let due = flying.tag;
        ensure!(tag == due, "the server answered request {tag} when {due} was due");
        if err != self.plan.tolerate {
            fleet::check(flying.verb.name(), err)?;
        }
        self.tally.answered += 1;
        if now >= self.plan.from && now < self.plan.upto {
            self.tally.completed += 1;
        }
        if flying.since >= self.plan.from {
            let latencies = &mut self.tally.latencies[flying.verb as usize];
            let latencies = latencies.get_or_insert_with(report::latencies);
            report::record(latencies, now.duration_since(flying.since));
        }
        Ok(())
    }
}
