//! Recovery from memory: a snapshot, and the log's tail behind it. Prints how long each took.
//!
//! ```text
//! restart ZNODES ENTRIES KIND         KIND: create, set
//! ```
//!
//! `valgrind --tool=callgrind --toggle-collect='engine::recover::recover'` counts the recovery and
//! nothing of what prepares it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use engine::disk::{DiskDone, DiskFact, DiskOp, SegmentId};
use engine::draft::{Caller, Draft, Settings, Stamp};
use engine::log::recover::Contents;
use engine::log::{Log, LogSettings};
use engine::recover::{DiskImage, Image, Inline, recover};
use engine::snapshot::Writer;
use engine::{Effects, Version};
use model::jute::Writer as Jute;
use model::op::Create;
use model::{Batch, CreateMode, Op, OpCode, SessionId, Zxid, txn};

const PARENTS: usize = 1000;
const BATCH: usize = 256;
const LOG: LogSettings = LogSettings { segment_bytes: 64 << 20, writes_max: 2, log_id: 1 };

fn path(number: usize) -> Vec<u8> {
    format!("/fill/p{:04}/znode-{number:08}", number % PARENTS).into_bytes()
}

fn create(path: &[u8]) -> Op<'_> {
    Op::Create(Create {
        opcode: OpCode::Create,
        path,
        data: Some(&[7; 100]),
        acl: Some(engine::access::OPEN_LIST),
        mode: CreateMode::Persistent,
        sequential: false,
    })
}

/// A writer, the log it writes, and the files of that log.
struct Node {
    draft: Draft,
    effects: Effects,
    log: Log,
    files: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    first: Zxid,
}

impl Node {
    fn new() -> Node {
        let fresh = Contents::read(Vec::new(), &Inline).expect("nothing is a fresh log");
        let mut node = Node {
            draft: Draft::new(Settings::default()),
            effects: Effects::default(),
            log: fresh.resume(LOG, Zxid::ZERO, 0, &[]),
            files: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            first: Zxid(1),
        };
        let mut out = Vec::new();
        node.log.start(&mut out);
        node.settle(out);
        node
    }

    fn run(&mut self, op: &Op<'_>) {
        let zxid = Zxid(self.first.0 + self.ends.len() as i64);
        let who = Caller { session: SessionId(0x1234_5678_9abc), identities: [].into() };
        let at = Stamp { zxid, cxid: 1, time_ms: 1_795_000_000_000 + zxid.0 };
        let decided = self.draft.execute(op, &who, at, &mut self.effects);
        self.effects.clear();
        let mut out = Jute::new(&mut self.bytes);
        txn::encode_entry(&decided.header, &decided.txn, decided.digest, &mut out);
        self.ends.push(self.bytes.len() as u32);
        if self.ends.len() == BATCH {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let mut out = Vec::new();
        self.log.append(Batch::new(self.first, &self.bytes[..], &self.ends[..]), &mut out);
        self.first = Zxid(self.first.0 + self.ends.len() as i64);
        self.bytes.clear();
        self.ends.clear();
        self.settle(out);
        drop(self.draft.freeze());
    }

    /// A disk that does everything at once.
    fn settle(&mut self, mut out: Vec<DiskOp>) {
        while let Some(op) = out.pop() {
            let token = match op {
                DiskOp::PrepareSegment { token, bytes, .. } => {
                    self.files.push(vec![0; bytes as usize]);
                    token
                }
                DiskOp::WriteSegment { token, segment, offset, data } => {
                    let at = offset as usize;
                    let file = &mut self.files[segment.0 as usize - 1];
                    file[at..at + data.len()].copy_from_slice(data.as_slice());
                    token
                }
                _ => unreachable!("this log only prepares and writes"),
            };
            let done = DiskDone { token, result: Ok(DiskFact::Done) };
            self.log.done(&done, &mut out, &mut Vec::new());
        }
    }
}

fn snapshot(version: Version) -> Image {
    let mut writer = Writer::new(version);
    let (mut file, mut page) = (Vec::new(), Vec::new());
    while writer.next(&mut page) {
        file.extend_from_slice(&page);
    }
    Arc::new(file)
}

fn prepare(znodes: usize, entries: usize, kind: &str) -> Option<DiskImage> {
    let mut node = Node::new();
    // The session that all entries are of.
    node.run(&Op::CreateSession { timeout_ms: 1000 });
    node.run(&create(b"/fill"));
    for parent in 0..PARENTS {
        node.run(&create(format!("/fill/p{parent:04}").as_bytes()));
    }
    for number in 0..znodes {
        node.run(&create(&path(number)));
    }
    node.close();
    let version = node.draft.freeze();
    let snapshots = vec![(version.tables().zxid, snapshot(version))];
    for number in 0..entries {
        match kind {
            "create" => node.run(&create(&path(znodes + number))),
            "set" => {
                let path = path(number.wrapping_mul(7919) % znodes.max(1));
                node.run(&Op::SetData { path: &path, data: Some(&[8; 100]), version: -1 });
            }
            _ => return None,
        }
    }
    node.close();
    let segments = node.files.into_iter().enumerate();
    let segments = segments.map(|(at, file)| (SegmentId(at as u64 + 1), Arc::new(file) as Image));
    Some(DiskImage { snapshots, segments: segments.collect(), ..DiskImage::default() })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [znodes, entries, kind] = &arguments[..] else {
        eprintln!("usage: restart ZNODES ENTRIES create|set");
        return ExitCode::FAILURE;
    };
    let (Ok(znodes), Ok(entries)) = (znodes.parse(), entries.parse()) else {
        eprintln!("ZNODES and ENTRIES are numbers");
        return ExitCode::FAILURE;
    };
    let Some(image) = prepare(znodes, entries, kind) else {
        eprintln!("KIND is create or set");
        return ExitCode::FAILURE;
    };
    let began = Instant::now();
    let recovered = recover(&image, Settings::default(), LOG, &Inline).expect("sound files");
    let took = began.elapsed();
    assert_eq!(recovered.report.replayed, entries as u64);
    println!("{took:?} for {} znodes and {entries} entries", recovered.report.znodes);
    ExitCode::SUCCESS
}
