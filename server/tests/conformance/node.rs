//! Starts the server as a process with a configuration file and a data directory of its own.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use zookeeper_client::{Client, Connector};

/// Lines of a server's log that are kept for [`Node::ended`].
const LOG_LINES_KEPT: usize = 100;

/// A running server. Dropping it ends the process.
pub(crate) struct Node {
    folder: TempDir,
    extra: String,
    child: Option<Child>,
    address: String,
    /// What it said until it was ready.
    start: Vec<String>,
    log: Option<JoinHandle<VecDeque<String>>>,
}

impl Node {
    /// A server with default settings, TTL znodes and all four-letter words allowed.
    pub(crate) fn start() -> Node {
        Node::start_with("")
    }

    /// The same with more lines in its configuration file.
    pub(crate) fn start_with(extra: &str) -> Node {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let extra = extra.to_owned();
        let (address, start) = (String::new(), Vec::new());
        let mut node = Node { folder, extra, child: None, address, start, log: None };
        node.launch();
        node
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("zoo.cfg")
    }

    /// Starts the process and waits for its ready line.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "one process at a time");
        let data = self.folder.path().join("data");
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nextendedTypesEnabled=true\n\
             preAllocSize=4096\n\
             DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n{}\n",
            data.display(),
            self.extra
        );
        std::fs::write(self.config(), text).expect("write zoo.cfg");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        self.start.clear();
        for line in lines.by_ref().map_while(Result::ok) {
            let last = line.contains(" ready ");
            self.start.push(line);
            if last {
                break;
            }
        }
        self.address = self.listens(" ready ");
        // Keep draining, so that the server never blocks on its own output.
        self.log = Some(std::thread::spawn(move || {
            let mut last = VecDeque::new();
            for line in lines.map_while(Result::ok) {
                if last.len() == LOG_LINES_KEPT {
                    last.pop_front();
                }
                last.push_back(line);
            }
            last
        }));
        self.child = Some(child);
    }

    /// The address in the line of its log that says so.
    pub(crate) fn listens(&self, what: &str) -> String {
        let line = self.start.iter().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no {what} in {:?}", self.start));
        let mut words = line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
        let address = words.find(|word| word.starts_with("127.0.0.1:"));
        address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned()
    }

    /// `host:port` for clients.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("running");
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
        child.wait().expect("it ends").code()
    }

    /// Waits for a process that ends by itself: its exit code and the last lines of its log.
    pub(crate) fn ended(&mut self) -> (Option<i32>, Vec<String>) {
        let mut child = self.child.take().expect("running");
        let code = child.wait().expect("it ends").code();
        let log = self.log.take().expect("it is being read");
        (code, log.join().expect("reads to the end").into())
    }

    /// A client with a session of its own.
    pub(crate) async fn client(&self) -> Client {
        Node::connector().connect(&self.address).await.expect("the client connects")
    }

    /// For clients with wishes.
    pub(crate) fn connector() -> Connector {
        Client::connector().with_session_timeout(Duration::from_secs(10))
    }

    /// Sends a four-letter word and returns the whole answer.
    pub(crate) fn word(&self, word: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set a timeout");
        stream.write_all(word.as_bytes()).expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and a close");
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a story on a small asynchronous runtime, bounded in time.
pub(crate) fn story<F: Future<Output = ()>>(steps: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the client");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), steps).await.expect("done within a minute");
    });
}
