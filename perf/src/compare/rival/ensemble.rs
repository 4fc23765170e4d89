//! Running servers.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::Op;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Kind, Ports, Rival, loopback};
use crate::cli::{Api, Target};
use crate::load::{four_letters, http};
use crate::wire::Client;

/// How long an ensemble may take until it serves.
const START_MAX: Duration = Duration::from_secs(90);
/// How long a server may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Servers that run, and end when this is dropped.
pub(crate) struct Ensemble {
    /// Which server.
    pub(crate) kind: Kind,
    rival: Rival,
    ports: Vec<Ports>,
    dir: PathBuf,
    extra: String,
    children: Vec<Child>,
}

impl Ensemble {
    /// Starts `count` servers with fresh data below `dir` and waits until they serve. `extra` are
    /// further lines of ZooKeeper's kind of configuration.
    pub(crate) fn start(rival: &Rival, count: usize, dir: &Path, extra: &str) -> Result<Ensemble> {
        let _ = fs::remove_dir_all(dir);
        let mut ensemble = Ensemble {
            kind: rival.kind,
            rival: rival.clone(),
            ports: free_ports(count)?,
            dir: dir.to_owned(),
            extra: extra.to_owned(),
            children: Vec::new(),
        };
        for index in 0..count {
            let child = ensemble.spawn(index)?;
            ensemble.children.push(child);
        }
        ensemble.wait().with_context(|| {
            format!("{} with {count} server{}", rival.kind, if count == 1 { "" } else { "s" })
        })?;
        Ok(ensemble)
    }

    /// Where one server keeps what it has.
    pub(crate) fn folder(&self, index: usize) -> PathBuf {
        self.dir.join(format!("server-{}", index + 1))
    }

    fn spawn(&self, index: usize) -> Result<Child> {
        let folder = self.folder(index);
        fs::create_dir_all(folder.join("data")).with_context(|| folder.display().to_string())?;
        let recipe = self.rival.recipe(&self.ports, index, &folder, &self.extra);
        for (path, text) in &recipe.files {
            fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        let log = File::options().create(true).append(true).open(folder.join("log"));
        let log = log.context("the server's log")?;
        let mut command = Command::new(&recipe.program);
        end_with_us(&mut command);
        command
            .args(&recipe.words)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("the server's log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", recipe.program.display()))
    }

    /// Waits until all servers serve again, if none has died.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.ensure_all_alive()?;
        self.wait()
    }

    /// Waits until every server serves and a write is acknowledged.
    fn wait(&mut self) -> Result<()> {
        let begin = Instant::now();
        for index in 0..self.ports.len() {
            while !self.serves(index) {
                self.ensure_alive(index)?;
                ensure!(
                    begin.elapsed() < START_MAX,
                    "did not serve within {} s{}",
                    START_MAX.as_secs(),
                    self.last_words(index)
                );
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        while let Err(error) = self.write() {
            for index in 0..self.children.len() {
                self.ensure_alive(index)?;
            }
            if begin.elapsed() > START_MAX {
                let said = self.last_words(0);
                return Err(error.context(format!("serves, and acknowledges no write{said}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// All servers run.
    pub(crate) fn ensure_all_alive(&mut self) -> Result<()> {
        (0..self.children.len()).try_for_each(|index| self.ensure_alive(index))
    }

    fn ensure_alive(&mut self, index: usize) -> Result<()> {
        match self.children[index].try_wait().context("looking after the server")? {
            None => Ok(()),
            Some(status) => bail!("ended with {status}{}", self.last_words(index)),
        }
    }

    /// The last line of every server's log.
    pub(crate) fn said(&self) -> String {
        let each = (0..self.len()).map(|index| format!("{}{}", index + 1, self.last_words(index)));
        format!("the servers' last lines: {}", each.collect::<Vec<_>>().join("; "))
    }

    /// The last line of a server's log, for reasons.
    fn last_words(&self, index: usize) -> String {
        let text = fs::read_to_string(self.folder(index).join("log")).unwrap_or_default();
        match text.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!(": {}", line.chars().take(300).collect::<String>()),
            None => String::new(),
        }
    }

    /// A server answers requests (and knows a leader).
    fn serves(&self, index: usize) -> bool {
        let address = loopback(self.ports[index].client);
        match self.kind.api() {
            Api::ZooKeeper => {
                four_letters(address, "srvr").is_ok_and(|text| text.contains("Mode: "))
            }
            Api::Etcd => http(address, "GET", "/health", "")
                .is_ok_and(|text| text.contains("\"health\":\"true\"")),
        }
    }

    /// A session of its own and one write, acknowledged.
    fn write(&self) -> Result<()> {
        let mut client = Client::open(&self.target())?;
        let path = "/ringkeeper-perf";
        client.ensure_path(path)?;
        let op = Op::SetData { path: path.as_bytes(), data: Some(b""), version: -1 };
        ensure!(client.write(&op)? == 0, "a first write was refused");
        client.close()
    }

    /// For clients.
    pub(crate) fn target(&self) -> Target {
        Target {
            addresses: self.ports.iter().map(|ports| loopback(ports.client)).collect(),
            session_timeout_ms: 10_000,
            api: self.kind.api(),
        }
    }

    /// Flags that name these servers to a measurement.
    pub(crate) fn flags(&self) -> Vec<String> {
        let list = |parts: Vec<String>| parts.join(",");
        let servers = self.ports.iter().map(|ports| loopback(ports.client).to_string()).collect();
        let mut flags = vec!["--server".to_owned(), list(servers), "--pid".to_owned()];
        flags.push(list(self.pids().iter().map(u32::to_string).collect()));
        if self.kind.api() == Api::Etcd {
            flags.extend(["--api".to_owned(), "etcd".to_owned()]);
        }
        flags
    }

    /// Processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Servers.
    pub(crate) fn len(&self) -> usize {
        self.ports.len()
    }

    /// Address of one server.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        loopback(self.ports[index].client)
    }

    /// The server that leads.
    pub(crate) fn leader(&self) -> Result<usize> {
        for index in 0..self.len() {
            let leads = match self.kind.api() {
                Api::ZooKeeper => {
                    let text = four_letters(self.address(index), "srvr")?;
                    text.contains("Mode: leader") || text.contains("Mode: standalone")
                }
                Api::Etcd => {
                    let path = "/v3/maintenance/status";
                    let text = http(self.address(index), "POST", path, "{}")?;
                    let field = |key: &str| {
                        let rest = text.split_once(&format!("\"{key}\":\""))?.1;
                        rest.split('"').next().map(str::to_owned)
                    };
                    field("member_id").is_some() && field("member_id") == field("leader")
                }
            };
            if leads {
                return Ok(index);
            }
        }
        bail!("{} has no leader", self.kind)
    }

    /// Kills one server as a crash would.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        let child = &mut self.children[index];
        child.kill().and_then(|()| child.wait()).context("killing a server")?;
        Ok(())
    }

    /// Starts a server again on its data; returns how long it took until a write was
    /// acknowledged.
    pub(crate) fn restart(&mut self, index: usize) -> Result<Duration> {
        let begin = Instant::now();
        self.children[index] = self.spawn(index)?;
        self.wait().with_context(|| format!("{} after a restart", self.kind))?;
        Ok(begin.elapsed())
    }

    /// Bytes of all files of one server.
    pub(crate) fn disk_bytes(&self, index: usize) -> u64 {
        let mut total = 0;
        visit(&self.folder(index).join("data"), &mut |_, bytes| total += bytes);
        total
    }

    /// Bytes of a snapshot for each znode in it. Snapshots are named for their last transaction,
    /// and nearly all that a fresh server had are creates. etcd has a database of all keys
    /// instead.
    pub(crate) fn snapshot_bytes_per_znode(&self, index: usize, znodes: u32) -> Option<f64> {
        let mut largest = None;
        visit(&self.folder(index).join("data"), &mut |path, bytes| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let count = match name.strip_prefix("snapshot.") {
                Some(zxid) => u64::from_str_radix(zxid, 16).map_or(0, |zxid| zxid & 0xffff_ffff),
                None if name == "db" => u64::from(znodes),
                None => 0,
            };
            // The first is of an empty tree.
            if count >= u64::from(znodes) / 10 && largest.is_none_or(|(of, _)| count > of) {
                largest = Some((count, bytes as f64 / count as f64));
            }
        });
        largest.map(|(_, each)| each)
    }

    /// The transaction that the latest snapshot of one server is named for.
    pub(crate) fn last_snapshot(&self, index: usize) -> Option<u64> {
        let mut last = None;
        visit(&self.folder(index).join("data"), &mut |path, _| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let zxid = name.strip_prefix("snapshot.");
            last = last.max(zxid.and_then(|zxid| u64::from_str_radix(zxid, 16).ok()));
        });
        last
    }

    /// A counter of one server (`mntr`), if it has it.
    pub(crate) fn counter(&self, index: usize, key: &str) -> Option<f64> {
        if self.kind.api() != Api::ZooKeeper {
            return None;
        }
        let text = four_letters(self.address(index), "mntr").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}\t")))?;
        line.trim().parse().ok()
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for child in &self.children {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        }
        let begin = Instant::now();
        for child in &mut self.children {
            while begin.elapsed() < STOP_MAX && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK_AGAIN);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The server is killed when this process ends, however it does.
#[allow(unsafe_code)]
fn end_with_us(command: &mut Command) {
    // SAFETY: prctl is a system call that allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// Shows every file below a folder, with its size.
fn visit(dir: &Path, show: &mut impl FnMut(&Path, u64)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => visit(&entry.path(), show),
            Ok(found) => show(&entry.path(), found.len()),
            Err(_) => {}
        }
    }
}

/// Ports that nobody listens on; all are held until the last is found.
fn free_ports(servers: usize) -> Result<Vec<Ports>> {
    let mut held = Vec::new();
    let mut free = || -> Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a free port")?;
        let port = listener.local_addr().context("a free port")?.port();
        held.push(listener);
        Ok(port)
    };
    (0..servers).map(|_| Ok(Ports { client: free()?, peer: free()?, election: free()? })).collect()
}
