//! Names, and the few file operations that everything here is made of.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::{ALIGN, AlignedBuf, SegmentId, SmallFile};
use model::Zxid;

use super::Access;

/// Suffix of files that are not complete yet; removed at start-up.
const UNFINISHED: &str = ".tmp";

/// Begins the names of evidence.
const EVIDENCE: &str = "evidence.";
/// Ends the name of the text that says what was found.
pub(crate) const EVIDENCE_TEXT: &str = ".txt";
/// Ends the name of the state it is about.
pub(crate) const EVIDENCE_STATE: &str = ".snapshot";

/// The two directories of a node. They may be the same.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// Log segments.
    pub log: PathBuf,
    /// Snapshots and small files.
    pub snapshots: PathBuf,
}

impl Dirs {
    /// `log.<id as 16 hex digits>`
    pub fn segment(&self, segment: SegmentId) -> PathBuf {
        self.log.join(format!("log.{:016x}", segment.0))
    }

    /// `snapshot.<zxid as 16 hex digits>`
    pub fn snapshot(&self, zxid: Zxid) -> PathBuf {
        self.snapshots.join(format!("snapshot.{:016x}", zxid.0))
    }

    /// `incoming.<zxid as 16 hex digits>`
    pub fn incoming(&self, zxid: Zxid) -> PathBuf {
        self.snapshots.join(format!("incoming.{:016x}", zxid.0))
    }

    /// `evidence.<zxid as 16 hex digits>` and what it is.
    pub(crate) fn evidence(&self, zxid: Zxid, what: &str) -> PathBuf {
        self.snapshots.join(format!("{EVIDENCE}{:016x}{what}", zxid.0))
    }

    /// `epoch.a` and `epoch.b`.
    pub fn small(&self, file: SmallFile) -> PathBuf {
        self.snapshots.join(match file {
            SmallFile::EpochA => "epoch.a",
            SmallFile::EpochB => "epoch.b",
        })
    }
}

/// The temporary name of a file that is being written.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Where the evidence in a directory is from, oldest first.
pub(crate) fn evidence(dir: &Path) -> io::Result<Vec<Zxid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let digits = name.strip_prefix(EVIDENCE).and_then(|rest| rest.split('.').next());
        let zxid = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        found.extend(zxid.map(Zxid));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Removes what a crash left unfinished.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(UNFINISHED)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The number in a whole name, as [`Dirs`] writes it behind `prefix`.
pub(crate) fn number_in(name: &OsStr, prefix: &str) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix(prefix).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Makes renames, creations and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the directory entry of a file durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Opens a segment for log writes.
pub(crate) fn open_segment(path: &Path, access: Access) -> io::Result<File> {
    let flags = match access {
        Access::Direct => libc::O_DIRECT | libc::O_DSYNC,
        Access::Buffered => 0,
    };
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

/// Finds out whether a directory's file system takes direct writes.
pub(crate) fn probe_access(dir: &Path) -> io::Result<Access> {
    let path = dir.join(format!(".probe{UNFINISHED}"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(&path);
    let access = match direct {
        Ok(file) => match file.write_at(AlignedBuf::zeroed(ALIGN).as_slice(), 0) {
            Ok(_) => Ok(Access::Direct),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Access::Buffered),
            Err(error) => Err(error),
        },
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Access::Buffered),
        Err(error) => Err(error),
    };
    // It is only in the way; the next start removes it otherwise.
    let _ = fs::remove_file(&path);
    access
}

/// The segments that one writer has open: the newest few.
pub(crate) struct OpenSegments {
    dirs: Dirs,
    access: Access,
    open: Vec<(SegmentId, Arc<OpenSegment>)>,
}

/// A segment that can be written.
pub(crate) struct OpenSegment {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl OpenSegments {
    /// Segments in use at once: the current one and, at the turn, its successor.
    const OPEN_MAX: usize = 2;

    pub(crate) fn new(dirs: &Dirs, access: Access) -> OpenSegments {
        OpenSegments { dirs: dirs.clone(), access, open: Vec::new() }
    }

    /// The segment, opened if it is not yet. Costs tens of microseconds once per segment.
    pub(crate) fn get(&mut self, segment: SegmentId) -> io::Result<Arc<OpenSegment>> {
        if let Some((_, open)) = self.open.iter().find(|(id, _)| *id == segment) {
            return Ok(Arc::clone(open));
        }
        let path = self.dirs.segment(segment);
        let file = open_segment(&path, self.access)?;
        let open = Arc::new(OpenSegment { file, path });
        if self.open.len() == OpenSegments::OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push((segment, Arc::clone(&open)));
        Ok(open)
    }

    /// Closes a segment that is no longer needed.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.open.retain(|(id, _)| *id != segment);
    }

    /// Where the segment is, for messages.
    pub(crate) fn path(&self, segment: SegmentId) -> PathBuf {
        self.dirs.segment(segment)
    }
}
