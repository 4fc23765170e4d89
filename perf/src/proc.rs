//! What the kernel says about processes: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use serde::Serialize;

/// Clock ticks a second in `/proc`; the same on every Linux that matters.
const TICKS_PER_SECOND: u64 = 100;

/// One process at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    pid: u32,
    cpu: Duration,
    rss_bytes: u64,
}

/// The server's processes at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<Sample>);

/// What one server process used between two moments.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ProcessUse {
    /// Process.
    pub(crate) pid: u32,
    /// User and system time, s.
    pub(crate) cpu_seconds: f64,
    /// Resident memory at the end, bytes.
    pub(crate) rss_bytes: u64,
    /// Change of resident memory, bytes.
    pub(crate) rss_growth_bytes: i64,
}

impl Samples {
    /// Looks at every process.
    pub(crate) fn take(pids: &[u32]) -> Result<Samples> {
        pids.iter().map(|&pid| sample(pid)).collect::<Result<_>>().map(Samples)
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Samples) -> Vec<ProcessUse> {
        let pairs = self.0.iter().zip(&earlier.0);
        pairs
            .map(|(now, then)| ProcessUse {
                pid: now.pid,
                cpu_seconds: now.cpu.saturating_sub(then.cpu).as_secs_f64(),
                rss_bytes: now.rss_bytes,
                rss_growth_bytes: now.rss_bytes as i64 - then.rss_bytes as i64,
            })
            .collect()
    }

    /// CPU time of all processes together.
    pub(crate) fn cpu(&self) -> Duration {
        self.0.iter().map(|sample| sample.cpu).sum()
    }

    /// Resident memory of all processes together, bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.0.iter().map(|sample| sample.rss_bytes).sum()
    }
}

fn sample(pid: u32) -> Result<Sample> {
    let missing = || format!("--pid {pid}: no such process");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(missing)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(missing)?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat:?}"))?;
    let cpu = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    Ok(Sample { pid, cpu, rss_bytes: rss_kib(&status).unwrap_or(0) * 1024 })
}

/// utime + stime, fields 14 and 15; the name in field 2 may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask about itself");
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000
        + i64::from(user.tv_usec() as i32)
        + i64::from(system.tv_usec() as i32);
    Duration::from_micros(micros as u64)
}

/// CPU time of the calling thread so far.
pub(crate) fn thread_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread may ask about itself");
    let (user, system) = (usage.user_time(), usage.system_time());
    let seconds = (user.tv_sec() + system.tv_sec()) as u64;
    Duration::from_secs(seconds)
        + Duration::from_micros(user.tv_usec() as u64)
        + Duration::from_micros(system.tv_usec() as u64)
}

/// Raises the limit of open files as far as allowed and checks that `wanted` fit.
pub(crate) fn allow_open_files(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of open files")?;
    let wanted = wanted + 64;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)
            .context("limit of open files")?;
    }
    anyhow::ensure!(
        soft >= wanted || hard >= wanted,
        "{wanted} open files are needed and the limit is {hard}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let stat = "12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("12 (x"), None);
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1234));
    }

    #[test]
    fn this_process_can_be_sampled() {
        let pid = std::process::id();
        let first = Samples::take(&[pid]).expect("we exist");
        let second = Samples::take(&[pid]).expect("we exist");
        assert!(first.rss_bytes() > 100_000);
        assert_eq!(second.since(&first).len(), 1);
        assert!(Samples::take(&[u32::MAX]).is_err());
    }
}
