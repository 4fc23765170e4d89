//! The servers that are compared: where they come from, how they are tuned, and how they are
//! started.

mod ensemble;
mod find;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::Api;
pub(crate) use ensemble::Ensemble;
pub(crate) use find::{Sources, find};

/// Which server.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// This project's.
    Ringkeeper,
    /// Apache ZooKeeper.
    #[value(name = "zookeeper")]
    #[serde(rename = "zookeeper")]
    ZooKeeper,
    /// etcd.
    Etcd,
}

impl Kind {
    /// In the order of columns.
    pub(crate) const ALL: [Kind; 3] = [Kind::Ringkeeper, Kind::ZooKeeper, Kind::Etcd];

    /// What its clients speak.
    pub(crate) fn api(self) -> Api {
        match self {
            Kind::Ringkeeper | Kind::ZooKeeper => Api::ZooKeeper,
            Kind::Etcd => Api::Etcd,
        }
    }

    /// For file names and flags.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Ringkeeper => "ringkeeper",
            Kind::ZooKeeper => "zookeeper",
            Kind::Etcd => "etcd",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Ringkeeper => "Ringkeeper",
            Kind::ZooKeeper => "ZooKeeper",
            Kind::Etcd => "etcd",
        })
    }
}

/// A server that can be started here.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    /// Which.
    pub(crate) kind: Kind,
    /// As it says itself.
    pub(crate) version: String,
    /// Where it was found.
    pub(crate) origin: String,
    program: Program,
    heap_mib: u64,
}

/// What is run.
#[derive(Clone, Debug)]
enum Program {
    Ringkeeper(PathBuf),
    ZooKeeper { java: PathBuf, classpath: String },
    Etcd(PathBuf),
}

/// A setting and the reason for it.
pub(crate) type Setting = (String, String);

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) peer: u16,
    pub(super) election: u16,
}

/// What to run for one server of an ensemble, and what to write before.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) words: Vec<String>,
    /// Files and their contents.
    pub(super) files: Vec<(PathBuf, String)>,
}

impl Rival {
    /// How it is tuned, and why.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let settings: Vec<(String, &str)> = match self.kind {
            Kind::Ringkeeper => vec![
                ("defaults".to_owned(), "what a user gets who sets nothing"),
                ("maxClientCnxns=0".to_owned(), "all clients come from one address here"),
            ],
            Kind::ZooKeeper => vec![
                (
                    format!("-Xms{0}m -Xmx{0}m", self.heap_mib),
                    "a heap that holds the largest tree here several times and never grows",
                ),
                (
                    "-XX:+UseParallelGC".to_owned(),
                    "least CPU per request on few cores; G1 costs a tenth more here",
                ),
                (
                    "serverCnxnFactory=NettyServerCnxnFactory".to_owned(),
                    "faster than NIO with many requests in flight",
                ),
                (
                    "commitProcessor.numWorkerThreads=0".to_owned(),
                    "on few cores the hand-over to workers costs more than it brings",
                ),
                (
                    "globalOutstandingLimit=100000".to_owned(),
                    "the default of 1,000 throttles 64 x 16 requests in flight",
                ),
                ("maxClientCnxns=0".to_owned(), "all clients come from one address here"),
                (
                    "admin.enableServer=false".to_owned(),
                    "its web server needs jars that are not there, and memory",
                ),
                ("logging: errors only".to_owned(), "a line per connection is not free"),
            ],
            Kind::Etcd => vec![
                ("--quota-backend-bytes=8589934592".to_owned(), "the most that etcd advises"),
                (
                    "--auto-compaction-mode=revision --auto-compaction-retention=100000".to_owned(),
                    "old values go, as they do in the others",
                ),
                ("--log-level=error".to_owned(), "as the others"),
                (
                    "reads are serializable unless said".to_owned(),
                    "answered from the asked server's own state, as a ZooKeeper read is",
                ),
                (
                    "headers kept in HPACK's table".to_owned(),
                    "requests are as short as those of etcd's own client",
                ),
            ],
        };
        settings.into_iter().map(|(what, why)| (what, why.to_owned())).collect()
    }

    /// What to run for server `me` (from 0) of an ensemble with these ports, in this folder.
    fn recipe(&self, ports: &[Ports], me: usize, dir: &Path, extra: &str) -> Recipe {
        let data = dir.join("data").display().to_string();
        match &self.program {
            Program::Ringkeeper(program) => {
                let config = dir.join("zoo.cfg");
                let mut files = vec![(config.clone(), zoo_cfg(&data, ports, me) + extra)];
                files.extend(my_id(dir, ports, me));
                let config = config.display().to_string();
                let words = vec!["serve".to_owned(), "--config".to_owned(), config];
                Recipe { program: program.clone(), words, files }
            }
            Program::ZooKeeper { java, classpath } => {
                let config = dir.join("zoo.cfg");
                let mut text = zoo_cfg(&data, ports, me) + extra;
                text.push_str("globalOutstandingLimit=100000\nadmin.enableServer=false\n");
                let mut files = vec![(config.clone(), text)];
                files.extend(my_id(dir, ports, me));
                let words = vec![
                    format!("-Xms{}m", self.heap_mib),
                    format!("-Xmx{}m", self.heap_mib),
                    "-XX:+UseParallelGC".to_owned(),
                    "-Dzookeeper.serverCnxnFactory=\
                     org.apache.zookeeper.server.NettyServerCnxnFactory"
                        .to_owned(),
                    "-Dzookeeper.commitProcessor.numWorkerThreads=0".to_owned(),
                    "-Dzookeeper.globalOutstandingLimit=100000".to_owned(),
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error".to_owned(),
                    "-cp".to_owned(),
                    classpath.clone(),
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
                    config.display().to_string(),
                ];
                Recipe { program: java.clone(), words, files }
            }
            Program::Etcd(program) => {
                let url = |port: u16| format!("http://127.0.0.1:{port}");
                let members: Vec<String> = ports
                    .iter()
                    .enumerate()
                    .map(|(index, ports)| format!("s{index}={}", url(ports.peer)))
                    .collect();
                let mine = ports[me];
                let mut words = Vec::new();
                for (flag, value) in [
                    ("name", format!("s{me}")),
                    ("data-dir", data),
                    ("listen-client-urls", url(mine.client)),
                    ("advertise-client-urls", url(mine.client)),
                    ("listen-peer-urls", url(mine.peer)),
                    ("initial-advertise-peer-urls", url(mine.peer)),
                    ("initial-cluster", members.join(",")),
                    ("quota-backend-bytes", "8589934592".to_owned()),
                    ("auto-compaction-mode", "revision".to_owned()),
                    ("auto-compaction-retention", "100000".to_owned()),
                    ("log-level", "error".to_owned()),
                ] {
                    words.push(format!("--{flag}={value}"));
                }
                Recipe { program: program.clone(), words, files: Vec::new() }
            }
        }
    }
}

/// A configuration file that ZooKeeper and Ringkeeper both read.
fn zoo_cfg(data: &str, ports: &[Ports], me: usize) -> String {
    let mut text = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\nclientPort={}\n\
         clientPortAddress=127.0.0.1\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n",
        ports[me].client
    );
    if ports.len() > 1 {
        for (index, ports) in ports.iter().enumerate() {
            let (peer, election) = (ports.peer, ports.election);
            let _ = writeln!(text, "server.{}=127.0.0.1:{peer}:{election}", index + 1);
        }
    }
    text
}

fn my_id(dir: &Path, ports: &[Ports], me: usize) -> Option<(PathBuf, String)> {
    (ports.len() > 1).then(|| (dir.join("data").join("myid"), format!("{}\n", me + 1)))
}

/// An address on this machine.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Vec<Ports> {
        (0..count)
            .map(|index| Ports { client: 10 + index, peer: 20 + index, election: 30 + index })
            .collect()
    }

    #[test]
    fn an_ensemble_is_written_as_zookeeper_wants_it() {
        let alone = zoo_cfg("/d", &ports(1), 0);
        assert!(alone.contains("clientPort=10\n") && !alone.contains("server."), "{alone}");
        let third = zoo_cfg("/d", &ports(3), 2);
        assert!(third.contains("clientPort=12\n"), "{third}");
        assert!(third.contains("server.1=127.0.0.1:20:30\n"), "{third}");
        assert!(third.contains("server.3=127.0.0.1:22:32\n"), "{third}");
        let id = my_id(Path::new("/d"), &ports(3), 2).expect("an ensemble has ids");
        assert_eq!(id, (PathBuf::from("/d/data/myid"), "3\n".to_owned()));
    }

    #[test]
    fn every_setting_that_is_documented_is_given() {
        let rival = Rival {
            kind: Kind::Etcd,
            version: String::new(),
            origin: String::new(),
            program: Program::Etcd(PathBuf::from("etcd")),
            heap_mib: 1,
        };
        let words = rival.recipe(&ports(3), 1, Path::new("/d"), "").words;
        for (setting, _) in rival.settings() {
            for flag in setting.split(' ').filter(|word| word.starts_with("--")) {
                assert!(words.iter().any(|word| word == flag), "{flag} in {words:?}");
            }
        }
        assert!(words.iter().any(|word| word.contains("s0=") && word.contains("s2=")));
    }
}
