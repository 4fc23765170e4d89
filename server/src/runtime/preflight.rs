//! What must hold before the first executor starts; every refusal names its cause and its cure.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statfs::{self, statfs};

use super::disk::Dirs;
use super::disk::files::{remove_unfinished, sync_parent};
use crate::config::Beside;

/// Folder below `dataDir` and `dataLogDir`; its name carries the version of the layout.
pub const FOLDER: &str = "ringkeeper-1";
/// ZooKeeper's own folder, whose files are not ours.
const ZOOKEEPER_FOLDER: &str = "version-2";
/// Descriptors beside those of clients: files, rings, listeners, helpers.
const SPARE_DESCRIPTORS: u64 = 256;
/// Descriptors below which a server makes no sense.
const DESCRIPTORS_MIN: u64 = 512;

/// Why the server cannot start on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// io_uring is not to be had.
    #[error("{0}")]
    NoRing(String),
    /// Another process has the data directory.
    #[error("the data directory {dir} is already in use by pid {pid} (it holds {lock})")]
    InUse {
        /// Directory.
        dir: PathBuf,
        /// Who, as far as the lock file tells.
        pid: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The directory belongs to ZooKeeper.
    #[error(
        "{dir} holds ZooKeeper's own files, which this server does not read: choose an empty \
         data directory, or move {dir} away to start without its data"
    )]
    ForeignData {
        /// ZooKeeper's folder.
        dir: PathBuf,
    },
    /// Too few file descriptors.
    #[error(
        "the limit on open files is {have}, at least {want} are needed: raise it (ulimit -n, \
         LimitNOFILE) or lower maxCnxns"
    )]
    TooFewDescriptors {
        /// Limit.
        have: u64,
        /// Wanted.
        want: u64,
    },
    /// The files cannot be trusted.
    #[error("recovery: {0}")]
    Recover(#[from] engine::recover::RecoverError),
    /// The listener cannot be opened.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// The system's words.
        error: io::Error,
    },
    /// Anything else that the system refused.
    #[error("{what}: {error}")]
    System {
        /// What was attempted.
        what: String,
        /// The system's words.
        error: io::Error,
    },
}

/// Names what was attempted.
pub(crate) fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |error| StartError::System { what, error }
}

/// The data directories, ours as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirs {
    /// Where the files are.
    pub(crate) dirs: Dirs,
    /// Held until the process ends; the system releases them even after a crash.
    _locks: Vec<Flock<File>>,
}

/// Creates the directories, takes them for this process, and removes what a crash left
/// unfinished. Before the listener is opened: two servers must never serve one directory.
pub(crate) fn take_data_dirs(data: &Path, log: &Path) -> Result<DataDirs, StartError> {
    let dirs = Dirs { log: log.join(FOLDER), snapshots: data.join(FOLDER) };
    for (base, dir) in [(data, &dirs.snapshots), (log, &dirs.log)] {
        let foreign = base.join(ZOOKEEPER_FOLDER);
        let occupied = fs::read_dir(&foreign).is_ok_and(|mut entries| entries.next().is_some());
        if !dir.exists() && occupied {
            return Err(StartError::ForeignData { dir: foreign });
        }
        let created = fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
        created.map_err(cannot(format!("creating {}", dir.display())))?;
    }
    let mut locks = vec![lock(&dirs.snapshots)?];
    if dirs.log != dirs.snapshots {
        locks.push(lock(&dirs.log)?);
    }
    for dir in [&dirs.snapshots, &dirs.log] {
        let swept = remove_unfinished(dir);
        swept.map_err(cannot(format!("cleaning {}", dir.display())))?;
        warn_if_volatile(dir);
    }
    Ok(DataDirs { dirs, _locks: locks })
}

fn lock(dir: &Path) -> Result<Flock<File>, StartError> {
    let path = dir.join("lock");
    let what = || format!("locking {}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    let file = options.open(&path).map_err(cannot(what()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let noted = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| writeln!(lock, "{}", std::process::id()));
            noted.map_err(cannot(what()))?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            // The number only helps; without it the message is still right.
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            Err(StartError::InUse { dir: dir.into(), pid: pid.into(), lock: path })
        }
        Err((_, errno)) => Err(cannot(what())(errno.into())),
    }
}

fn warn_if_volatile(dir: &Path) {
    let Ok(facts) = statfs(dir) else { return };
    if facts.filesystem_type() == statfs::TMPFS_MAGIC {
        tracing::warn!(
            directory = %dir.display(),
            "the directory is in memory (tmpfs): nothing in it survives a restart of the machine",
        );
    }
}

/// Tries what every executor will need.
pub(crate) fn probe_io_uring() -> Result<(), StartError> {
    let Err(error) = io_uring::IoUring::new(4) else { return Ok(()) };
    Err(StartError::NoRing(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "io_uring is blocked on this host, by a container's \
            seccomp profile or by kernel.io_uring_disabled: allow io_uring_setup, io_uring_enter \
            and io_uring_register"
            .into(),
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring: Linux 5.8 or newer is needed, 5.15 or newer recommended"
                .into()
        }
        Some(libc::ENOMEM) => "the limit on locked memory is too small for io_uring: raise it to \
            8 MiB or more (ulimit -l, LimitMEMLOCK)"
            .into(),
        _ => format!("io_uring does not work on this host: {error}"),
    }))
}

/// Raises the limit on open files as far as allowed, and refuses to start if that is not enough
/// for `clients_max` clients (0: as many as the limit allows).
pub(crate) fn raise_descriptor_limit(clients_max: u64) -> Result<u64, StartError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| cannot("reading the limit on open files")(errno.into()))?;
    let have = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let want = if clients_max == 0 { DESCRIPTORS_MIN } else { clients_max + SPARE_DESCRIPTORS };
    if have < want { Err(StartError::TooFewDescriptors { have, want }) } else { Ok(have) }
}

/// Clients that `descriptors` have room for, or fewer if that was configured. They never take the
/// last ones: a log that cannot open its next segment stops the node.
pub(crate) fn clients_max(descriptors: u64, configured: u32) -> u32 {
    let room = u32::try_from(descriptors - SPARE_DESCRIPTORS).unwrap_or(u32::MAX);
    if configured == 0 { room } else { room.min(configured) }
}

/// Bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(cannot("drawing random bytes"))?;
    Ok(bytes)
}

/// The key of this data directory's session passwords: 32 random bytes, created once.
pub(crate) fn session_secret(data: &Path) -> Result<[u8; 32], StartError> {
    let path = data.join("session.key");
    let what = || format!("the session key {}", path.display());
    let mut secret = [0u8; 32];
    match File::open(&path) {
        Ok(mut file) => file.read_exact(&mut secret).map_err(cannot(what()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            secret = random()?;
            create_private(&path, &secret).map_err(cannot(what()))?;
        }
        Err(error) => return Err(cannot(what())(error)),
    }
    Ok(secret)
}

/// The key that all servers of an ensemble share: 32 bytes, such as another server's `session.key`.
pub(crate) fn shared_secret(path: &Path) -> Result<[u8; 32], StartError> {
    let what = || format!("ringkeeper.sessionKeyFile {}", path.display());
    let bytes = fs::read(path).map_err(cannot(what()))?;
    let count = bytes.len();
    bytes.try_into().map_err(|_| {
        let words = format!("it has {count} bytes, and must have 32 that nobody can guess");
        cannot(what())(io::Error::other(words))
    })
}

/// Marks an empty data directory as empty on purpose (`zab-wire` 5.6).
const INITIALIZE: &str = "initialize";

/// Reads what an operator has put into the data directory beside the data.
pub fn read_beside(data: &Path) -> Result<Beside, StartError> {
    let path = data.join("myid");
    let my_id = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(format!("reading {}", path.display()))(error)),
    };
    let kept = data.join(FOLDER).join(INITIALIZE);
    Ok(Beside { my_id, initialize: data.join(INITIALIZE).exists() || kept.exists() })
}

/// Moves the mark to the data that it speaks of: whoever removes that folder later removes the
/// mark with it, and what replaces it must not vote.
pub(crate) fn keep_initialize(data: &Path, dirs: &Dirs) -> Result<(), StartError> {
    let (mark, kept) = (data.join(INITIALIZE), dirs.snapshots.join(INITIALIZE));
    let moved = match fs::rename(&mark, &kept) {
        Ok(()) => sync_parent(&kept).and_then(|()| sync_parent(&mark)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    moved.map_err(cannot(format!("moving {}", mark.display())))
}

fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = super::disk::files::unfinished(path);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A second server on the same directory would take half of the first one's clients and write
    /// into its log. It is told who is there.
    #[test]
    fn a_directory_serves_one_process() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = take_data_dirs(dir.path(), dir.path()).expect("the first may have it");
        let refused = take_data_dirs(dir.path(), dir.path()).expect_err("the second may not");
        let words = refused.to_string();
        let own = format!("already in use by pid {}", std::process::id());
        assert!(words.contains(&own), "{words}");
        drop(first);
        take_data_dirs(dir.path(), dir.path()).expect("free again");
    }

    #[test]
    fn two_directories_are_both_taken() {
        let (data, log) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        let _first = take_data_dirs(data.path(), log.path()).expect("the first may have them");
        let other = tempfile::tempdir().expect("a third");
        assert!(take_data_dirs(other.path(), log.path()).is_err(), "the log is taken");
    }

    /// Serving an empty tree from a directory that holds a ZooKeeper's data would look like loss.
    #[test]
    fn zookeepers_own_data_is_not_ignored() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("version-2")).expect("a folder");
        drop(take_data_dirs(dir.path(), dir.path()).expect("an empty folder does no harm"));
        fs::remove_dir_all(dir.path().join(FOLDER)).expect("ours can go");
        fs::write(dir.path().join("version-2/snapshot.0"), b"theirs").expect("a file");
        let refused = take_data_dirs(dir.path(), dir.path()).expect_err("refused");
        assert!(matches!(refused, StartError::ForeignData { .. }), "{refused}");
    }

    #[test]
    fn the_session_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = session_secret(dir.path()).expect("a key");
        assert_ne!(first, [0; 32]);
        assert_eq!(session_secret(dir.path()).expect("the same key"), first);
        let facts = fs::metadata(dir.path().join("session.key")).expect("the file");
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_shared_key_has_its_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        fs::write(&path, [7; 31]).expect("a file");
        let refused = shared_secret(&path).expect_err("too short").to_string();
        assert!(refused.contains("31 bytes"), "{refused}");
        fs::write(&path, [7; 32]).expect("a file");
        assert_eq!(shared_secret(&path).expect("a key"), [7; 32]);
    }

    /// The mark says that *this* data directory is new on purpose. Were it left where it is, a
    /// server whose data was wiped would vote without a memory.
    #[test]
    fn the_initialize_mark_goes_with_the_data() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("myid"), "3\n").expect("a file");
        fs::write(dir.path().join("initialize"), "").expect("a file");
        let found = read_beside(dir.path()).expect("readable");
        assert_eq!(found, Beside { my_id: Some("3\n".into()), initialize: true });
        let owned = take_data_dirs(dir.path(), dir.path()).expect("free");
        for _ in 0..2 {
            keep_initialize(dir.path(), &owned.dirs).expect("moved once, and then nothing");
            assert!(!dir.path().join("initialize").exists());
            assert!(read_beside(dir.path()).expect("readable").initialize);
        }
        fs::remove_dir_all(&owned.dirs.snapshots).expect("wiped");
        assert!(!read_beside(dir.path()).expect("readable").initialize);
    }

    #[test]
    fn a_limit_that_cannot_hold_the_clients_is_refused() {
        let have = raise_descriptor_limit(0).expect("enough for a test");
        let refused = raise_descriptor_limit(have).expect_err("no room beside the clients");
        assert!(matches!(refused, StartError::TooFewDescriptors { .. }), "{refused}");
        let table = [(0, DESCRIPTORS_MIN, 256), (9, DESCRIPTORS_MIN, 9), (300, 1 << 40, 300)];
        for (configured, descriptors, expect) in table {
            assert_eq!(clients_max(descriptors, configured), expect);
        }
    }
}
