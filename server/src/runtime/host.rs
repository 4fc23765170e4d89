//! What only the machine knows, told to the core once a second by a thread that may block.

use std::io;
use std::path::Path;
use std::time::Duration;

use std::sync::{Arc, Mutex};

use model::Zxid;

use super::disk::Dirs;
use super::disk::files::number_in;
use super::mail::{Address, Mail};
use crate::admin::HostFacts;
use crate::admission::Admission;

const PERIOD: Duration = Duration::from_secs(1);

/// Starts the thread; it ends when the core's executor has ended.
pub(crate) fn start(
    dirs: Dirs,
    descriptors_max: u64,
    admission: Arc<Mutex<Admission>>,
    core: Address,
) -> io::Result<()> {
    let observe = move || {
        let rejected = admission.lock().expect("nothing panics under it").rejected();
        HostFacts { connections_rejected: rejected, ..observe(&dirs, descriptors_max) }
    };
    let tell = move || {
        while core.post(Mail::Host(observe())) {
            core.ring();
            std::thread::sleep(PERIOD);
        }
    };
    std::thread::Builder::new().name("host".into()).spawn(tell).map(drop)
}

fn observe(dirs: &Dirs, descriptors_max: u64) -> HostFacts {
    HostFacts {
        data_dir_bytes: bytes_in(&dirs.snapshots),
        log_dir_bytes: bytes_in(&dirs.log),
        open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds: descriptors_max,
        connections_rejected: 0,
        last_snapshot: last_snapshot(&dirs.snapshots),
    }
}

/// Position of the newest snapshot, and when it was written, s since 1970.
fn last_snapshot(dir: &Path) -> Option<(Zxid, i64)> {
    let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let named = entries.filter_map(|entry| {
        Some((Zxid(number_in(&entry.file_name(), "snapshot.")? as i64), entry))
    });
    let (zxid, entry) = named.max_by_key(|(zxid, _)| *zxid)?;
    let written = entry.metadata().ok()?.modified().ok()?;
    let seconds = written.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some((zxid, seconds as i64))
}

/// Bytes of the files in a directory; those that vanish meanwhile do not count.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_descriptors_are_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), [0; 100]).expect("a file");
        std::fs::write(dir.path().join("b"), [0; 23]).expect("a file");
        let dirs = Dirs { log: dir.path().join("missing"), snapshots: dir.path().into() };
        let facts = observe(&dirs, 77);
        assert_eq!((facts.data_dir_bytes, facts.log_dir_bytes), (123, 0));
        assert!(facts.open_fds >= 3);
        assert_eq!(facts.max_fds, 77);
        assert_eq!(facts.last_snapshot, None);
        for name in ["snapshot.000000000000000a", "snapshot.0000000000000009", "snapshot.b"] {
            std::fs::write(dir.path().join(name), "x").expect("a file");
        }
        let (zxid, seconds) = last_snapshot(dir.path()).expect("two are there");
        assert_eq!(zxid, Zxid(10));
        assert!(seconds > 1_700_000_000, "{seconds}");
    }
}
