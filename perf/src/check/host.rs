//! What the kernel says about this machine.

use std::fs;
use std::num::NonZero;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// The machine, for reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Kernel release.
    pub(crate) kernel: String,
    /// The kernel's clock source; `tsc` is the one that costs nothing to read.
    pub(crate) clock_source: String,
    /// An io_uring can be made; otherwise why not.
    pub(crate) io_uring: Result<(), String>,
    /// Bytes a process may lock.
    pub(crate) memlock_bytes: u64,
    /// Open files a process may have, at most.
    pub(crate) open_files: u64,
    /// Processes that wanted a core on average during the last minute.
    pub(crate) load_average: f64,
}

impl Host {
    /// Asks the kernel.
    pub(crate) fn ask() -> Host {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = kib.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let load = read("/proc/loadavg");
        let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        Host {
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_bytes: kib * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            clock_source: read(clock).trim().to_owned(),
            io_uring: io_uring(),
            memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft),
            open_files: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
            load_average: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// What on this machine would hurt a coordination server, in words.
    pub(super) fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.cores < 4 {
            found.push(format!(
                "{} cores: server, clients and the kernel's interrupts share them, so latencies \
                 have long tails under load",
                self.cores
            ));
        }
        if !self.clock_source.is_empty() && self.clock_source != "tsc" {
            let known = ["kvm-clock", "arch_sys_counter"].contains(&self.clock_source.as_str());
            if !known {
                found.push(format!(
                    "clock source {}: every reading of the clock is a system call",
                    self.clock_source
                ));
            }
        }
        if let Err(why) = &self.io_uring {
            found.push(format!("no io_uring ({why}): Ringkeeper does not start here"));
        }
        if self.memlock_bytes < 8 << 20 {
            found.push(format!(
                "locked memory limited to {} KiB: too little for io_uring (8 MiB is enough)",
                self.memlock_bytes / 1024
            ));
        }
        if self.open_files < 10_000 {
            found.push(format!("open files limited to {}: so few clients", self.open_files));
        }
        if self.load_average > self.cores as f64 * 0.5 {
            found.push(format!(
                "load average {:.1} on {} cores: somebody else is at work, and all figures suffer",
                self.load_average, self.cores
            ));
        }
        let swapping = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
        if swapping {
            found.push("swap is on: a server that is swapped out loses its sessions".to_owned());
        }
        let huge = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
        if fs::read_to_string(huge).is_ok_and(|text| text.contains("[always]")) {
            found.push("transparent huge pages are always on: memory figures grow".to_owned());
        }
        found
    }
}

/// Makes a small ring and drops it.
#[allow(unsafe_code)]
fn io_uring() -> Result<(), String> {
    // struct io_uring_params: 120 bytes of 32-bit fields, all zero for the defaults.
    let mut params = [0_u32; 30];
    // SAFETY: the kernel reads and writes one io_uring_params at the pointer, which is as large.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_answers() {
        let host = Host::ask();
        assert!(host.cores > 0 && host.memory_bytes > 1 << 20 && !host.kernel.is_empty());
    }

    #[test]
    fn what_hurts_is_named() {
        let host = Host {
            cores: 2,
            clock_source: "hpet".to_owned(),
            io_uring: Err("denied".to_owned()),
            memlock_bytes: 65_536,
            load_average: 9.0,
            ..Host::ask()
        };
        let text = host.findings().join("\n");
        for word in ["2 cores", "hpet", "denied", "64 KiB", "load average 9.0"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
