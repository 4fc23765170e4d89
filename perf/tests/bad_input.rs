//! Whatever is wrong ends in one clear sentence, and no half of a result is left behind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of its own, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("perf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("readable");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("readable").file_name().to_string_lossy().into_owned()
        };
        entries.map(name).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program; what it said when it failed.
fn refusal(words: &str, json: Option<&Path>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-perf"));
    command.args(words.split_whitespace());
    if let Some(json) = json {
        command.arg("--json").arg(json);
    }
    let ended = command.output().expect("the program starts");
    assert!(!ended.status.success(), "{words} succeeded");
    String::from_utf8(ended.stderr).expect("text")
}

/// A server that answers the first bytes of every connection like this and then hangs up.
fn short_lived(answer: Vec<u8>, connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for _ in 0..connections {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(&answer);
        }
    });
    address
}

#[test]
fn a_server_that_is_not_there_or_not_one_is_named() {
    let folder = Folder::new("not-one");
    let json = folder.0.join("result.json");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let said = refusal(&format!("load --server {nobody}"), Some(&json));
    assert!(said.contains("cannot connect to") && said.contains("refused"), "{said}");

    let web = short_lived(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 1);
    let said = refusal(&format!("load --server {web}"), Some(&json));
    assert!(said.contains("not a ZooKeeper client port"), "{said}");

    let web = short_lived(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 1);
    let said = refusal(&format!("load --api etcd --server {web}"), Some(&json));
    assert!(said.contains("not an etcd client port"), "{said}");

    let mute = short_lived(Vec::new(), 1);
    let said = refusal(&format!("idle --server {mute}"), Some(&json));
    assert!(said.contains("without an answer"), "{said}");
    assert_eq!(folder.files(), Vec::<String>::new(), "nothing half-written");
}

#[test]
fn a_server_that_dies_leaves_no_half_of_a_result() {
    let folder = Folder::new("dies");
    let json = folder.0.join("result.json");
    // A handshake's answer: length, version, timeout, session, password, not read-only.
    let mut answer = vec![0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0x75, 0x30, 0, 0, 0, 0, 0, 0, 0, 1];
    answer.extend([0, 0, 0, 16]);
    answer.extend([7; 16]);
    answer.push(0);
    let dying = short_lived(answer, 1);
    let said = refusal(&format!("load --server {dying}"), Some(&json));
    assert!(said.contains("closed the connection") || said.contains("reset"), "{said}");
    assert_eq!(folder.files(), Vec::<String>::new(), "nothing half-written");
}

#[test]
fn a_result_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let nowhere = Path::new("/nowhere/at/all/result.json");
    let said = refusal("load --server 127.0.0.1:1", Some(nowhere));
    assert!(said.contains("--json") && said.contains("cannot be written"), "{said}");
    let said = refusal("compare --out /dev/null/report", None);
    assert!(said.contains("--out"), "{said}");
    let said = refusal("plan --constants /nowhere/constants.json", None);
    assert!(said.contains("compare --out"), "the way to get them is named: {said}");
}

#[test]
fn absurd_flags_are_refused_with_their_bounds() {
    for (words, wanted) in [
        ("load --server 127.0.0.1:1 --connections 0", "1..=25000"),
        ("load --server 127.0.0.1:1 --op put", "a verb"),
        ("load --server 127.0.0.1:1 --skew=-1", "0 to 10"),
        ("load --server 127.0.0.1:1 --rate 0", "above zero"),
        ("load --server 127.0.0.1:1 --profile nothing", "there are registry"),
        ("load --server 192.0.2.1:1", "--allow-remote"),
        ("load --server 127.0.0.1:1 --op multi --multi 9 --keys 3", "--keys"),
        ("failover --server 127.0.0.1:1 --at 9 --duration 3", "--at"),
        ("plan --constants x --ensemble 0", "1..=9"),
    ] {
        let said = refusal(words, None);
        assert!(said.contains(wanted), "{words}: {said}");
    }
}
