//! A server dies under load: how long are no writes acknowledged?
//!
//! Every writer is a session with one write outstanding that goes on at the next server when its
//! own is lost, and comes back to its session there, as clients do. The longest time between two
//! acknowledgements, of whichever writers, is the gap that the whole service had.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use model::Op;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cli::{Common, Target, duration, seconds, some_seconds, within};
use crate::report::{self, Latencies, Percentiles};
use crate::throttle::Throttle;
use crate::wire::{self, Client};

/// Steps of the timeline, ms.
const STEP_MS: u64 = 20;
/// How long a writer waits between two tries to connect.
const RETRY: Duration = Duration::from_millis(5);
/// How long a writer waits for an answer before it gives its server up.
const WRITE_MAX: Duration = Duration::from_secs(4);

/// Flags of `failover`.
#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    /// Servers (all of them) and output.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Process to kill; without it nothing is killed and gaps are only watched for.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pub(crate) kill: Option<i32>,
    /// Stop it instead, as if its machine hung; it goes on after the measurement.
    #[arg(long, requires = "kill")]
    pub(crate) hang: bool,
    /// Stop its writes to the disk that this folder is on instead, as if the disk hung; needs root
    /// and the kernel's blkio controller. They go on after the measurement.
    #[arg(long, value_name = "DIR", requires = "kill", conflicts_with = "hang")]
    pub(crate) hang_disk: Option<PathBuf>,
    /// When, seconds after the writers began.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) at: f64,
    /// Seconds in all.
    #[arg(long, default_value_t = 8.0, value_parser = some_seconds)]
    pub(crate) duration: f64,
    /// Writers.
    #[arg(long, default_value_t = 8, value_parser = within(1, 500))]
    pub(crate) writers: u32,
    /// Bytes of data.
    #[arg(long, default_value_t = 100, value_parser = within(0, 60_000))]
    pub(crate) size: u32,
}

/// What `failover` measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FailoverResult {
    /// Acknowledged writes.
    pub(crate) writes: u64,
    /// Longest time without an acknowledgement after the kill, ms.
    pub(crate) gap_ms: f64,
    /// Longest time without one before it, ms.
    pub(crate) quiet_gap_ms: f64,
    /// When the server was killed, ms after the beginning.
    pub(crate) killed_at_ms: Option<f64>,
    /// Connections that were lost or refused.
    pub(crate) lost: u64,
    /// Sessions that could not be taken up again and were replaced by new ones.
    pub(crate) sessions_lost: u64,
    /// Of the writes that were acknowledged.
    pub(crate) latency: Percentiles,
    /// Acknowledged writes in every step of 20 ms.
    pub(crate) timeline: Vec<u32>,
    /// Length of a step of the timeline, ms.
    pub(crate) step_ms: u64,
}

/// Runs `failover`.
pub(crate) fn run(args: &FailoverArgs) -> Result<()> {
    let result = measure(args)?;
    report::save(args.common.json.as_deref(), &result)
}

/// What one writer saw.
struct Seen {
    acknowledged: Vec<Duration>,
    latencies: Latencies,
    lost: u64,
    sessions_lost: u64,
}

/// Writes, kills, and prints what came out.
pub(crate) fn measure(args: &FailoverArgs) -> Result<FailoverResult> {
    let target = args.common.target()?;
    ensure!(args.at < args.duration, "--at {} is not before the end", args.at);
    if let Some(pid) = args.kill {
        let there = kill(Pid::from_raw(pid), None);
        there.with_context(|| format!("--kill {pid}: no such process, or not ours"))?;
    }
    let throttle =
        args.hang_disk.as_deref().map(Throttle::new).transpose().context("--hang-disk")?;
    let mut first = Client::open(&target)?;
    let root = format!("{}/failover", args.common.root);
    first.ensure_path(&root)?;
    for writer in 0..args.writers {
        first.ensure_path(&format!("{root}/w{writer}"))?;
    }
    first.close()?;

    let begin = Instant::now();
    let stop = AtomicBool::new(false);
    let killed = Mutex::new(None);
    let seen: Vec<Result<Seen>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..args.writers)
            .map(|writer| {
                let (target, stop) = (&target, &stop);
                let path = format!("{root}/w{writer}");
                let data = vec![b'x'; args.size as usize];
                scope.spawn(move || write(target, writer, &path, &data, begin, stop))
            })
            .collect();
        std::thread::sleep(duration(args.at));
        if let Some(pid) = args.kill {
            let signal = if args.hang { Signal::SIGSTOP } else { Signal::SIGKILL };
            let at = begin.elapsed();
            let outcome = match &throttle {
                Some(throttle) => throttle.seize(pid),
                None => kill(Pid::from_raw(pid), signal).map_err(anyhow::Error::from),
            };
            *killed.lock().expect("nobody panics with it") = Some(outcome.map(|()| at));
        }
        std::thread::sleep(duration(args.duration).saturating_sub(begin.elapsed()));
        stop.store(true, Ordering::Relaxed);
        let join = |writer: std::thread::ScopedJoinHandle<'_, Result<Seen>>| {
            writer.join().unwrap_or_else(|_| Err(anyhow!("a writer failed")))
        };
        writers.into_iter().map(join).collect()
    });
    drop(throttle);
    if let (Some(pid), true) = (args.kill, args.hang) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    let killed = killed.into_inner().expect("nobody panics with it").transpose();
    let killed = killed.with_context(|| format!("--kill {}", args.kill.unwrap_or_default()))?;

    let mut acknowledged = Vec::new();
    let mut latencies = report::latencies();
    let (mut lost, mut sessions_lost) = (0, 0);
    for seen in seen {
        let seen = seen?;
        acknowledged.extend(seen.acknowledged);
        latencies.add(&seen.latencies).context("latencies")?;
        lost += seen.lost;
        sessions_lost += seen.sessions_lost;
    }
    acknowledged.sort_unstable();
    ensure!(!acknowledged.is_empty(), "no write was acknowledged");
    let end = duration(args.duration);
    let (quiet, after) = gaps(&acknowledged, killed.unwrap_or(end), end);
    let result = FailoverResult {
        writes: acknowledged.len() as u64,
        gap_ms: if killed.is_some() { after } else { quiet }.as_secs_f64() * 1e3,
        quiet_gap_ms: quiet.as_secs_f64() * 1e3,
        killed_at_ms: killed.map(|at| at.as_secs_f64() * 1e3),
        lost,
        sessions_lost,
        latency: Percentiles::of(&latencies),
        timeline: timeline(&acknowledged, end),
        step_ms: STEP_MS,
    };
    println!(
        "{} writes by {} writers; longest time without an acknowledgement {:.0} ms ({:.0} ms \
         before the kill); {} connections and {} sessions lost",
        result.writes,
        args.writers,
        result.gap_ms,
        result.quiet_gap_ms,
        result.lost,
        result.sessions_lost
    );
    result.latency.print("acknowledged writes");
    Ok(result)
}

/// Longest gaps that began before and after `kill`; the last one lasts until the end.
fn gaps(acknowledged: &[Duration], kill: Duration, end: Duration) -> (Duration, Duration) {
    let (mut before, mut after) = (Duration::ZERO, Duration::ZERO);
    let later = acknowledged.iter().skip(1).copied().chain([end]);
    for (&from, to) in acknowledged.iter().zip(later) {
        let gap = to.saturating_sub(from);
        // A gap that spans the kill was caused by it.
        if to <= kill {
            before = before.max(gap);
        } else {
            after = after.max(gap);
        }
    }
    (before, after)
}

fn timeline(acknowledged: &[Duration], end: Duration) -> Vec<u32> {
    let mut steps = vec![0; end.as_millis() as usize / STEP_MS as usize + 1];
    for at in acknowledged {
        if let Some(step) = steps.get_mut(at.as_millis() as usize / STEP_MS as usize) {
            *step += 1;
        }
    }
    steps
}

fn write(
    target: &Target,
    writer: u32,
    path: &str,
    data: &[u8],
    begin: Instant,
    stop: &AtomicBool,
) -> Result<Seen> {
    let op = Op::SetData { path: path.as_bytes(), data: Some(data), version: -1 };
    let mut seen = Seen {
        acknowledged: Vec::new(),
        latencies: report::latencies(),
        lost: 0,
        sessions_lost: 0,
    };
    let mut at = writer as usize;
    let mut ticket = None;
    while !stop.load(Ordering::Relaxed) {
        let here = Target { addresses: vec![target.address(at)], ..target.clone() };
        let mut client = match Client::resume(&here, ticket) {
            Ok(client) => client,
            Err(error) => {
                // Said by a server that knows: the session is over.
                if error.to_string().contains("refused the session") && ticket.take().is_some() {
                    seen.sessions_lost += 1;
                }
                seen.lost += 1;
                at += 1;
                std::thread::sleep(RETRY);
                continue;
            }
        };
        ticket = client.ticket();
        while !stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            match client.write_within(&op, WRITE_MAX) {
                Ok(0) => {
                    seen.acknowledged.push(begin.elapsed());
                    report::record(&mut seen.latencies, sent.elapsed());
                }
                // Servers that lost their leader say so, each in its way; others are bugs here.
                Ok(err) if err > 0 => break,
                Ok(err) => wire::check("set", err)?,
                Err(_) => break,
            }
        }
        if !stop.load(Ordering::Relaxed) {
            seen.lost += 1;
            at += 1;
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_spans_the_kill_counts_as_its_consequence() {
        let ms = Duration::from_millis;
        let times = [0, 10, 30, 40, 340, 350].map(ms);
        assert_eq!(gaps(&times, ms(45), ms(360)), (ms(20), ms(300)));
        assert_eq!(gaps(&times, ms(360), ms(360)), (ms(300), ms(0)));
        assert_eq!(gaps(&times[..4], ms(45), ms(1000)), (ms(20), ms(960)));
    }

    #[test]
    fn the_timeline_counts_every_write_once() {
        let times = [0, 19, 20, 1000].map(Duration::from_millis);
        let steps = timeline(&times, Duration::from_secs(1));
        assert_eq!((steps[0], steps[1], steps[50]), (2, 1, 1));
        assert_eq!(steps.len(), 51);
    }
}
