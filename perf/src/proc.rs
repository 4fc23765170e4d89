//! What the kernel says about processes: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

/// One process at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    pid: u32,
    cpu: Duration,
    rss_bytes: u64,
    written_bytes: u64,
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
    /// Written to disks, bytes; 0 if the kernel does not tell.
    pub(crate) written_bytes: u64,
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
                written_bytes: now.written_bytes.saturating_sub(then.written_bytes),
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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(missing)?;
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let number = |text: &str, key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Ok(Sample {
        pid,
        cpu: cpu(pid).with_context(missing)?,
        rss_bytes: number(&status, "VmRSS:").unwrap_or(0) * 1024,
        written_bytes: number(&io, "write_bytes:").unwrap_or(0),
    })
}

/// CPU time of a process and its threads, those that have ended included; exact, where the
/// ticks in `/proc` are 10 ms.
#[allow(unsafe_code)]
fn cpu(pid: u32) -> std::io::Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write one value of the type that the pointer has.
    let failed = unsafe {
        let err = libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock);
        if err != 0 {
            return Err(std::io::Error::from_raw_os_error(err));
        }
        libc::clock_gettime(clock, &raw mut time) != 0
    };
    if failed {
        return Err(std::io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Cores that other programs may keep busy without anybody taking notice.
pub(crate) const CALM_CORES: f64 = 0.3;

/// CPU time that this machine has spent on anything so far, and that its host took away from it;
/// nothing where the kernel does not tell.
pub(crate) fn machine_cpu() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = busy_ticks(&text).unwrap_or(0);
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let second = second.ok().flatten().filter(|&ticks| ticks > 0).unwrap_or(100);
    Duration::from_secs_f64(ticks as f64 / second as f64)
}

/// Of the first line of `/proc/stat`: user, nice, system, irq, softirq and steal, which are all
/// but idle, waiting for disks, and guests (who are counted as users already).
fn busy_ticks(text: &str) -> Option<u64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let fields: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(fields.iter().take(8).sum::<u64>() - idle)
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

/// CPU time of always the same work, us: arithmetic, and reads that the nearest cache answers. It
/// tells how fast the processor is at the moment, which its clock and its other half change. The
/// shortest of a few: a hypervisor that takes the processor away for a while lengthens one of them.
pub(crate) fn spin_us() -> f64 {
    const TIMES: usize = 5;
    (0..TIMES).map(|_| spin_once_us()).fold(f64::INFINITY, f64::min)
}

fn spin_once_us() -> f64 {
    const WORDS: usize = 1 << 11;
    const STEPS: u64 = 1 << 18;
    let table: Vec<u64> = (0..WORDS as u64).collect();
    let before = thread_cpu();
    let (mut state, mut sum) = (1_u64, 0_u64);
    for _ in 0..STEPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(sum | 1);
        sum = sum.wrapping_add(table[(state >> 48) as usize % WORDS]);
    }
    std::hint::black_box(sum);
    thread_cpu().saturating_sub(before).as_secs_f64() * 1e6
}

/// CPU time of the calling thread so far, exact; what `getrusage` says is as old as the last tick.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a clock");
    Duration::from(time)
}

/// Keeps the calling thread on one core: the last one of the process for 0, the one before it for
/// 1, and so on; nothing if there is only one.
///
/// Where a client wakes a server on the same machine, the scheduler puts both on one core at some
/// times and on two at others, and a request alone costs three times as much in the second case.
/// Clients elsewhere never share a core with the server, so a thread that is not moved is nearer
/// to them, and two runs of it are alike.
pub(crate) fn stay_on_core(number: usize) {
    let Ok(all) = sched_getaffinity(Pid::from_raw(0)) else { return };
    let cores: Vec<usize> =
        (0..CpuSet::count()).filter(|&core| all.is_set(core).unwrap_or(false)).collect();
    if cores.len() < 2 {
        return;
    }
    let mut one = CpuSet::new();
    if one.set(cores[cores.len() - 1 - number % cores.len()]).is_ok() {
        // Without it the run is less steady, and as true.
        let _ = sched_setaffinity(Pid::from_raw(0), &one);
    }
}

/// Raises the limit of open files as far as allowed and checks that `wanted` fit.
pub(crate) fn allow_open_files(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of open files")?;
    let wanted = wanted + 64;
    if soft < wanted {
        // All that there is: servers that are started here inherit it.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("limit of open files")?;
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
    fn time_without_work_is_not_busy() {
        let text = "cpu  10 1 20 1000 500 3 4 5 7 0\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(text), Some(10 + 1 + 20 + 3 + 4 + 5));
        assert_eq!(busy_ticks("nothing"), None);
        assert!(machine_cpu() > Duration::ZERO);
        let spins: Vec<f64> = (0..3).map(|_| spin_us()).collect();
        assert!(spins.iter().all(|us| *us > 10.0), "{spins:?}");
    }

    #[test]
    fn a_thread_can_be_kept_on_one_core() {
        let kept = std::thread::spawn(|| {
            stay_on_core(0);
            let cores = sched_getaffinity(Pid::from_raw(0)).expect("our own");
            (0..CpuSet::count()).filter(|&core| cores.is_set(core).unwrap_or(false)).count()
        });
        assert_eq!(kept.join().expect("no panic"), 1);
    }

    #[test]
    fn this_process_can_be_sampled() {
        let pid = std::process::id();
        let first = Samples::take(&[pid]).expect("we exist");
        let second = Samples::take(&[pid]).expect("we exist");
        assert!(first.rss_bytes() > 100_000 && first.cpu() > Duration::ZERO);
        assert!(first.cpu() <= second.cpu());
        assert_eq!(second.since(&first).len(), 1);
        assert!(Samples::take(&[u32::MAX]).is_err());
    }
}
