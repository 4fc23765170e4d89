//! Kill -9 at random moments under pipelined load: nothing acknowledged is lost, nothing is half
//! done.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use engine::disk::SegmentId;
use engine::draft::Settings;
use engine::log::LogSettings;
use engine::recover::{DiskImage, Image, Inline, recover};
use model::Zxid;

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, data, read, request, set, text};

const CLIENTS: usize = 3;

/// Rounds in the ordinary run; `RINGKEEPER_KILLS` asks for more.
fn rounds() -> u64 {
    std::env::var("RINGKEEPER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Xorshift: spreads the moments of the kills; the rest of the randomness is the machine's own.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What one client knows of its own znodes.
#[derive(Default)]
struct Known {
    session: i64,
    password: Vec<u8>,
    /// Last counter value sent and last one acknowledged.
    sent: u64,
    acknowledged: u64,
    /// Pair numbers sent and acknowledged (each pair is one multi).
    pairs_sent: u64,
    pairs_acknowledged: u64,
    /// Ephemeral numbers sent and acknowledged.
    ephemerals_sent: u64,
    ephemerals_acknowledged: u64,
}

fn part(kind: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.push(0);
    bytes.extend((-1i32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Creates `/c/a<n>` and `/c/b<n>`, and removes the pair made forty pairs ago.
fn pair(client: usize, number: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for name in ["a", "b"] {
        body.extend(part(1, &create(&format!("/c{client}/{name}{number}"), b"", 0)));
    }
    if number > 40 {
        for name in ["a", "b"] {
            let mut delete = text(format!("/c{client}/{name}{}", number - 40).as_bytes());
            delete.extend((-1i32).to_be_bytes());
            body.extend(part(2, &delete));
        }
    }
    body.extend((-1i32).to_be_bytes());
    body.push(1);
    body.extend((-1i32).to_be_bytes());
    body
}

/// Pipelines writes until told to stop or until the server is gone, and records what was
/// acknowledged.
fn load(client: usize, raw: &mut Raw, known: &mut Known, stop: &AtomicBool, total: &AtomicU64) {
    let mut waiting = std::collections::VecDeque::new();
    let mut xid = 10;
    loop {
        while waiting.len() < 32 && !stop.load(Ordering::Relaxed) {
            xid += 1;
            let (opcode, body) = match xid % 4 {
                0 => {
                    known.pairs_sent += 1;
                    (14, pair(client, known.pairs_sent))
                }
                1 if known.ephemerals_sent < 50 => {
                    known.ephemerals_sent += 1;
                    let path = format!("/c{client}/e{}", known.ephemerals_sent);
                    (1, create(&path, b"", 1))
                }
                _ => {
                    known.sent += 1;
                    (5, set(&format!("/c{client}"), known.sent.to_string().as_bytes()))
                }
            };
            waiting.push_back(opcode);
            raw.send(&request(xid, opcode, &body));
        }
        let Some(opcode) = waiting.pop_front() else { return };
        let Some(reply) = raw.reply() else { return };
        assert_eq!(reply.err, 0, "opcode {opcode}");
        total.fetch_add(1, Ordering::Relaxed);
        match opcode {
            14 => {
                let first = i32::from_be_bytes(reply.body[0..4].try_into().expect("4 bytes"));
                assert_eq!(first, 1, "the multi succeeded");
                known.pairs_acknowledged += 1;
            }
            1 => known.ephemerals_acknowledged += 1,
            _ => known.acknowledged += 1,
        }
    }
}

/// Compares a restarted server with what a client was told.
fn verify(client: usize, raw: &mut Raw, known: &mut Known) {
    let counter = raw.call(1, 4, &read(&format!("/c{client}"), false));
    let value: u64 = std::str::from_utf8(data(&counter)).expect("text").parse().expect("a number");
    assert!(
        (known.acknowledged..=known.sent).contains(&value),
        "client {client}: acknowledged {}, sent {}, found {value}",
        known.acknowledged,
        known.sent
    );
    let listing = raw.call(2, 8, &read(&format!("/c{client}"), false));
    let mut names: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    let mut rest = &listing.body[4..];
    while !rest.is_empty() {
        let (length, tail) = rest.split_at(4);
        let (name, tail) =
            tail.split_at(u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize);
        let number = std::str::from_utf8(&name[1..]).expect("text").parse().expect("a number");
        names.entry(name[0]).or_default().push(number);
        rest = tail;
    }
    for list in names.values_mut() {
        list.sort_unstable();
    }
    let (a, b) = (names.remove(&b'a'), names.remove(&b'b'));
    assert_eq!(a, b, "client {client}: a multi was half applied");
    let last = a.and_then(|list| list.last().copied()).unwrap_or(0);
    assert!((known.pairs_acknowledged..=known.pairs_sent).contains(&last), "pairs: {last}");
    let ephemerals = names.remove(&b'e').unwrap_or_default();
    for number in 1..=known.ephemerals_acknowledged {
        assert!(ephemerals.contains(&number), "client {client}: ephemeral {number} is lost");
    }
    // What was sent and not acknowledged may have happened or not: continue from what is there.
    (known.sent, known.acknowledged) = (value, value);
    (known.pairs_sent, known.pairs_acknowledged) = (last, last);
    let made = ephemerals.last().copied().unwrap_or(0);
    (known.ephemerals_sent, known.ephemerals_acknowledged) = (made, made);
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let mut node = Node::start_with("snapCount=3000\nmaxSessionTimeout=60000");
    let mut known: Vec<Known> = (0..CLIENTS).map(|_| Known::default()).collect();
    for (client, known) in known.iter_mut().enumerate() {
        let mut raw = Raw::open(node.address());
        raw.send(&connect_request(0, &[0; 16], 60_000, 0));
        assert!(raw.connected() > 0);
        assert_eq!(raw.call(1, 1, &create(&format!("/c{client}"), b"0", 0)).err, 0);
        (known.session, known.password) = (raw.session, raw.password.clone());
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()));
    let total = Arc::new(AtomicU64::new(0));
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let verified = Arc::new(Barrier::new(CLIENTS + 1));
        let mut workers = Vec::new();
        for (client, mut known) in known.drain(..).enumerate() {
            let mut raw = Raw::open(node.address());
            raw.send(&connect_request(known.session, &known.password, 60_000, 0));
            assert!(raw.connected() > 0, "round {round}: the session survived");
            let (stop, total) = (Arc::clone(&stop), Arc::clone(&total));
            let verified = Arc::clone(&verified);
            workers.push(thread::spawn(move || {
                verify(client, &mut raw, &mut known);
                verified.wait();
                load(client, &mut raw, &mut known, &stop, &total);
                known
            }));
        }
        verified.wait();
        // The moment of the kill is a number of acknowledgements, with a bound in time.
        let enough = total.load(Ordering::Relaxed) + dice.roll(400);
        let mut patience = 2000;
        while total.load(Ordering::Relaxed) < enough && patience > 0 {
            patience -= 1;
            thread::park_timeout(Duration::from_millis(1));
        }
        node.kill();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            known.push(worker.join().expect("the client saw nothing wrong"));
        }
        if round % 50 == 49 {
            // A session that ends cleanly takes its ephemerals along, across a crash as well.
            node.launch();
            let known = &mut known[0];
            let mut raw = Raw::open(node.address());
            raw.send(&connect_request(known.session, &known.password, 60_000, 0));
            assert!(raw.connected() > 0);
            verify(0, &mut raw, known);
            assert_eq!(raw.call(3, -11, b"").err, 0);
            node.kill();
            node.launch();
            let mut raw = Raw::open(node.address());
            raw.send(&connect_request(0, &[0; 16], 60_000, 0));
            assert!(raw.connected() > 0);
            (known.session, known.password) = (raw.session, raw.password.clone());
            (known.ephemerals_sent, known.ephemerals_acknowledged) = (0, 0);
            let listing = raw.call(3, 8, &read("/c0", false));
            assert!(!listing.body.windows(3).any(|window| window == b"\x00\x02e"));
        } else {
            node.launch();
        }
    }
    assert!(total.load(Ordering::Relaxed) > rounds(), "the load was real");
    assert_eq!(node.stop(), Some(0));
    digest_is_that_of_a_replay(&node);
    let _ = writeln!(std::io::stdout(), "{} acknowledged writes", total.load(Ordering::Relaxed));
}

/// What is on disk, recovered here, has the digest of its own znodes computed from nothing; and
/// every logged transaction that carries a digest agreed with it while being replayed.
fn digest_is_that_of_a_replay(node: &Node) {
    let mut image = DiskImage::default();
    for entry in std::fs::read_dir(node.data().join("ringkeeper-1")).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("ASCII").to_owned();
        let Some((kind, number)) = name.split_once('.') else { continue };
        let Ok(number) = u64::from_str_radix(number, 16) else { continue };
        let file: Image = Arc::new(std::fs::read(&path).expect("readable"));
        match kind {
            "log" => image.segments.push((SegmentId(number), file)),
            "snapshot" => image.snapshots.push((Zxid(number as i64), file)),
            _ => {}
        }
    }
    image.segments.sort_by_key(|(id, _)| *id);
    image.snapshots.sort_by_key(|(zxid, _)| *zxid);
    assert!(!image.snapshots.is_empty(), "snapshots were taken under load");
    let settings = Settings::default();
    let mut recovered =
        recover(&image, settings, LogSettings::default(), &Inline).expect("recovers");
    let version = recovered.draft.freeze();
    assert_eq!(engine::digest::of_tree(version.view()), version.digest());
    assert!(version.zxid().0 > 0);
}
