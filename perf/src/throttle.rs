//! A disk that hangs, for one process: its writes are let through so slowly that none ends while
//! somebody measures, and every other process has the disk as before.
//!
//! The kernel's blkio controller (cgroup, version 1) does that, for root. The rate is not zero, so
//! that a process that is left behind, if this one is killed, gets free by itself after a while.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Where the controller is mounted.
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";
const LIMIT: &str = "blkio.throttle.write_bps_device";
/// A block of 4 KiB takes 20 s.
const BYTES_PER_SECOND: u32 = 200;

/// A group of processes whose writes can be held up; when it is dropped, they go on and it goes.
pub(crate) struct Throttle {
    group: PathBuf,
    /// Major and minor number of the whole disk.
    disk: String,
}

impl Throttle {
    /// For the disk that `dir` is on. Nothing is held up yet.
    pub(crate) fn new(dir: &Path) -> Result<Throttle> {
        let found = fs::metadata(dir).with_context(|| dir.display().to_string())?;
        let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
        let disk = whole_disk(Path::new("/sys/dev/block"), &format!("{major}:{minor}"))?;
        ensure!(
            Path::new(CONTROLLER).join(LIMIT).exists(),
            "no {CONTROLLER}/{LIMIT}: the kernel's blkio controller (cgroup version 1) is needed"
        );
        let group = Path::new(CONTROLLER).join(format!("ringkeeper-perf-{}", std::process::id()));
        fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        Ok(Throttle { group, disk })
    }

    /// Holds up the writes of a process from now on.
    pub(crate) fn seize(&self, pid: i32) -> Result<()> {
        self.limit(BYTES_PER_SECOND)?;
        let procs = self.group.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).with_context(|| procs.display().to_string())
    }

    fn limit(&self, bytes_per_second: u32) -> Result<()> {
        let limit = self.group.join(LIMIT);
        let rule = format!("{} {bytes_per_second}", self.disk);
        fs::write(&limit, &rule).with_context(|| format!("{}: {rule}", limit.display()))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Zero is no limit, and lets go what waits.
        let _ = self.limit(0);
        let root = Path::new(CONTROLLER).join("cgroup.procs");
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = fs::write(&root, pid);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// The disk of a partition, or the disk itself: limits are for whole disks.
fn whole_disk(devices: &Path, device: &str) -> Result<String> {
    let entry = devices.join(device);
    let found = entry.canonicalize().with_context(|| {
        format!("device {device} is no disk (a folder in memory, or one of several disks?)")
    })?;
    if !found.join("partition").exists() {
        return Ok(device.to_owned());
    }
    let parent = found.parent().context("a partition has a disk")?.join("dev");
    let disk = fs::read_to_string(&parent).with_context(|| parent.display().to_string())?;
    Ok(disk.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_a_disk() {
        let dir = std::env::temp_dir().join(format!("perf-throttle-{}", std::process::id()));
        fs::create_dir_all(dir.join("254:0/part1")).expect("a folder");
        fs::write(dir.join("254:0/dev"), "254:0\n").expect("written");
        fs::write(dir.join("254:0/part1/partition"), "1\n").expect("written");
        let disk = whole_disk(&dir, "254:0");
        let part = whole_disk(&dir, "254:0/part1");
        let none = whole_disk(&dir, "0:44");
        let _ = fs::remove_dir_all(&dir);
        assert_eq!(disk.expect("a disk"), "254:0");
        assert_eq!(part.expect("its disk"), "254:0");
        assert!(format!("{:#}", none.expect_err("no disk")).contains("no disk"));
    }
}
