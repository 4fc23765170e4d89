//! What recovery reads: every snapshot and segment, made durable and mapped.
#![allow(unsafe_code)] // mapping files

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::disk::{SegmentId, SmallFile};
use engine::recover::{DiskImage, Image, Parallel};
use model::Zxid;

use super::disk::Dirs;
use super::disk::files::{number_in, sync_dir};

/// Most bytes read of a small file.
const SMALL_BYTES_MAX: u64 = 4096;

/// Maps the files of both directories, in the order of their numbers. All of it is durable first:
/// what a process that died had written may be readable and still not be on the device, and what
/// recovery finds is built upon, and shown to clients, from then on.
pub(crate) fn map_all(dirs: &Dirs) -> io::Result<DiskImage> {
    sync_dir(&dirs.log)?;
    sync_dir(&dirs.snapshots)?;
    let snapshots = map_named(&dirs.snapshots, "snapshot.", Ahead::Newest)?;
    let incoming = map_named(&dirs.snapshots, "incoming.", Ahead::Newest)?;
    let segments = map_named(&dirs.log, "log.", Ahead::All)?;
    let epochs = [SmallFile::EpochA, SmallFile::EpochB];
    let [first, second] = epochs.map(|file| read_small(&dirs.small(file)));
    let by_zxid = |files: Vec<(u64, Image)>| {
        files.into_iter().map(|(n, image)| (Zxid(n as i64), image)).collect()
    };
    Ok(DiskImage {
        snapshots: by_zxid(snapshots),
        segments: segments.into_iter().map(|(n, image)| (SegmentId(n), image)).collect(),
        incoming: by_zxid(incoming),
        epochs: [first?, second?],
    })
}

/// A small file's content, durable; `None` if it does not exist. More than any such file has is
/// left unread: what is too long is not intact.
fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    file.sync_all()?;
    let mut content = Vec::new();
    file.take(SMALL_BYTES_MAX).read_to_end(&mut content)?;
    Ok(Some(content))
}

fn map_named(dir: &Path, prefix: &str, ahead: Ahead) -> io::Result<Vec<(u64, Image)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(number) = number_in(&entry.file_name(), prefix) else { continue };
        found.push((number, entry.path()));
    }
    found.sort_by_key(|(number, _)| *number);
    let newest = found.last().map(|(number, _)| *number);
    let mut mapped = Vec::with_capacity(found.len());
    for (number, path) in found {
        let ahead = match ahead {
            Ahead::All => true,
            Ahead::Newest => Some(number) == newest,
        };
        mapped.push((number, map(&path, ahead)?));
    }
    Ok(mapped)
}

/// What recovery is going to read as a whole: asked for at once, it comes in as fast as the disk
/// can while what was there first is worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// Every block of the log is looked at, and it was written past the page cache.
    All,
    /// Of older snapshots only the header.
    Newest,
}

fn map(path: &Path, ahead: bool) -> io::Result<Image> {
    let file = File::open(path)?;
    // Costs nothing for what is clean already.
    file.sync_all()?;
    if file.metadata()?.len() == 0 {
        // An empty file cannot be mapped; recovery judges it like any other.
        return Ok(Arc::new(Vec::new()));
    }
    // SAFETY: the directory is locked, so nobody but this process writes here. Snapshots are
    // never written again once they have their name, only unlinked, which leaves the mapping
    // alone. Segments are overwritten only after recovery, which keeps none of them mapped; none
    // is ever shortened while it has a name.
    let mapped = unsafe { memmap2::Mmap::map(&file) }?;
    if ahead {
        // Advice only: without it everything is read all the same, later.
        let _ = mapped.advise(memmap2::Advice::WillNeed);
    }
    Ok(Arc::new(mapped))
}

/// Spreads recovery over the cores.
pub(crate) struct Cores(pub(crate) usize);

impl Parallel for Cores {
    fn run<'a>(&self, work: Vec<Box<dyn FnOnce() + Send + 'a>>) {
        let threads = self.0.clamp(1, work.len().max(1));
        let queue = Mutex::new(work.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let piece = queue.lock().expect("no piece runs under the lock").next();
                        match piece {
                            Some(piece) => piece(),
                            None => return,
                        }
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn only_whole_names_are_mapped_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, content) in [
            ("snapshot.0000000000000010", "b"),
            ("snapshot.0000000000000002", "a"),
            ("snapshot.000000000000000f.tmp", "unfinished"),
            ("snapshot.3", "short"),
            ("incoming.0000000000000007", "c"),
            ("incoming.0000000000000008.tmp", "unfinished"),
            ("epoch.b", "promises"),
            ("log.0000000000000001", ""),
            ("lock", "1"),
        ] {
            fs::write(dir.path().join(name), content).expect("a file");
        }
        let dirs = Dirs { log: dir.path().into(), snapshots: dir.path().into() };
        let image = map_all(&dirs).expect("mapped");
        let read = |image: &Image| String::from_utf8((**image).as_ref().to_vec()).expect("text");
        let found: Vec<_> = image.snapshots.iter().map(|(z, i)| (z.0, read(i))).collect();
        assert_eq!(found, [(2, "a".into()), (16, "b".into())]);
        let found: Vec<_> = image.incoming.iter().map(|(z, i)| (z.0, read(i))).collect();
        assert_eq!(found, [(7, "c".into())]);
        assert_eq!(image.epochs, [None, Some(b"promises".to_vec())]);
        assert_eq!(image.segments.len(), 1);
    }

    #[test]
    fn all_pieces_run() {
        let sum = AtomicU64::new(0);
        let work = (1..=100u64).map(|n| {
            let sum = &sum;
            Box::new(move || {
                sum.fetch_add(n, Ordering::Relaxed);
            }) as Box<dyn FnOnce() + Send + '_>
        });
        Cores(4).run(work.collect());
        assert_eq!(sum.load(Ordering::Relaxed), 5050);
        Cores(4).run(Vec::new());
    }
}
