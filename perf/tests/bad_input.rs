//! Whatever is wrong ends in one clear sentence, and no half of a result is left behind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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

/// Answers one client's requests with yes until `left` are used up; true if they are.
fn say_yes(stream: &mut TcpStream, left: &AtomicUsize) -> std::io::Result<bool> {
    let mut greeted = false;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > 1 << 20 {
            // A four-letter word, which is nothing that this one knows.
            return Ok(false);
        }
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame)?;
        let answer = if greeted {
            let one = |left: usize| left.checked_sub(1);
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_err() {
                return Ok(true);
            }
            // The request's number, a transaction, no error.
            [&frame[..4], &[0; 8], &[0; 4]].concat()
        } else {
            greeted = true;
            let session = [0, 0, 0, 0, 0, 0, 0x75, 0x30, 0, 0, 0, 0, 0, 0, 0, 1];
            [&session[..], &[0, 0, 0, 16], &[7; 16], &[0]].concat()
        };
        let length = (answer.len() as u32).to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat())?;
    }
}

/// A ZooKeeper of sorts: says yes to so many requests, on any number of connections, and then is
/// gone with all of them.
fn mortal(requests: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let left = Arc::new(AtomicUsize::new(requests));
    let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            open.lock().expect("no panic").push(stream.try_clone().expect("a stream"));
            let (left, open) = (Arc::clone(&left), Arc::clone(&open));
            std::thread::spawn(move || match say_yes(&mut stream, &left) {
                Ok(true) => {
                    for stream in open.lock().expect("no panic").iter() {
                        let _ = stream.shutdown(std::net::Shutdown::Both);
                    }
                }
                _ => drop(stream.shutdown(std::net::Shutdown::Both)),
            });
        }
    });
    address
}

#[test]
fn a_server_that_dies_under_any_measurement_is_said_to_have() {
    let folder = Folder::new("mortal");
    let json = folder.0.join("result.json");
    for (requests, words) in [
        (3000, "load --keys 10 --duration 20"),
        (3000, "load --keys 10 --duration 20 --rate 1000 --threads 2"),
        (500, "fill --znodes 1000000"),
        (60, "watch --watchers 40 --rounds 1000"),
        (10, "idle --sessions 20 --watch --seconds 60"),
        (0, "connect --sessions 200"),
    ] {
        let server = mortal(requests);
        let said = refusal(&format!("{words} --server {server}"), Some(&json));
        let clear = ["closed the connection", "reset", "Broken pipe"];
        assert!(clear.iter().any(|clear| said.contains(clear)), "{words}: {said}");
        assert!(said.starts_with("error: ") && !said.contains("panicked"), "{words}: {said}");
        assert_eq!(folder.files(), Vec::<String>::new(), "{words}: half-written");
    }
}

#[test]
fn a_result_without_room_is_refused_and_leaves_nothing() {
    let folder = Folder::new("no-room");
    let server = mortal(1_000_000);
    let out = folder.0.display();
    for (words, wanted) in [
        (format!("compare --offline --out {out}"), "no room for a report"),
        (format!("verify --offline --out {out}"), "cannot be written"),
        (format!("load --server {server} --json {out}/result.json"), "cannot be written"),
        (format!("check --dir {out} --json {out}/check.json"), "cannot be written"),
    ] {
        // A file may have 8 blocks of 512 bytes, and then there is an error as on a full disk.
        let limited = format!("trap '' XFSZ; ulimit -f 8; exec \"$0\" {words}");
        let mut command = Command::new("sh");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_ringkeeper-perf")]);
        let ended = command.output().expect("a shell");
        let said = String::from_utf8(ended.stderr).expect("text");
        assert!(!ended.status.success() && said.contains(wanted), "{words}: {said}");
        assert_eq!(folder.files(), Vec::<String>::new(), "{words}: half-written");
    }
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
    let said = refusal("load --server 127.0.0.1:1", Some(&std::env::temp_dir()));
    assert!(said.contains("it is a folder"), "{said}");
    let folder = Folder::new("from");
    let out = folder.0.display();
    let said = refusal(&format!("compare --out {out} --from /nowhere/runs.json"), None);
    assert!(said.contains("--from /nowhere/runs.json"), "{said}");
    let said = refusal(&format!("verify --out {out} --constants /nowhere"), None);
    assert!(said.contains("--constants /nowhere"), "{said}");
    assert_eq!(folder.files(), Vec::<String>::new(), "nothing half-written");
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
        ("plan --constants x --reads 1e300", "0 to 1e12"),
        ("load --server 127.0.0.1:1 --duration 0", "a tenth"),
        ("load --server 127.0.0.1:1 --duration nan", "a tenth"),
        ("load --server 127.0.0.1:1 --rate inf", "above zero"),
        ("load --server 127.0.0.1:99999", "--server 127.0.0.1:99999"),
        ("idle --server 127.0.0.1:1 --pid 999999999", "no such process"),
        // All processes, or one's own group.
        ("failover --server 127.0.0.1:1 --kill 0", "0 is not in 2.."),
        ("failover --server 127.0.0.1:1 --kill=-1", "-1 is not in 2.."),
        ("failover --server 127.0.0.1:1 --kill 999999999", "no such process"),
        ("connect --server 127.0.0.1:1 --sessions 25001", "1..=25000"),
        ("compare --out x --rounds 0", "1..=100"),
        ("compare --out x --only consul", "ringkeeper, zookeeper, etcd"),
        ("check --seconds 0", "a tenth"),
    ] {
        let said = refusal(words, None);
        assert!(said.contains(wanted), "{words}: {said}");
    }
}
