//! Drives one hot path many times, to be counted by an instruction counter that works on a shared
//! machine, where clocks do not. See `docs/performance.md`.
//!
//! ```text
//! cargo build --release -p benches --bin instructions
//! instructions COUNT PATH             run a path so many times
//! ```
//!
//! Under `valgrind --tool=callgrind` two runs with different counts give the cost of one: the
//! difference of the totals by the difference of the counts.

use std::hint::black_box;
use std::process::ExitCode;

use engine::disk::{DiskDone, DiskFact, DiskOp};
use engine::draft::{Caller, Settings, Stamp};
use engine::log::LogSettings;
use engine::recover::{DiskImage, Inline, recover};
use engine::{Change, Draft, Effect, Effects};
use model::op::Create;
use model::{AuthId, CreateMode, Mono, Now, Op, OpCode, ServerId, SessionId, Xid, Zxid};
use protocol::{ConnectRequest, Request, encode_write};
use server::core::{Core, CoreConfig, CoreInput, CoreOutputs};
use server::feed::{CommitBatch, Entry, Segment, feed};
use server::link::{ConnId, ShardId};
use server::shard::{Shard, ShardConfig, ShardInput, ShardOutputs};

/// Sessions that send.
const SESSIONS: usize = 64;
/// Requests of one session in one turn.
const OUTSTANDING: usize = 16;
/// Znodes that are read and written.
const ZNODES: usize = 1000;
const DATA: [u8; 100] = [7; 100];

fn path(number: usize) -> Vec<u8> {
    format!("/bench/k{:07}", number % ZNODES).into_bytes()
}

fn create(path: &[u8]) -> Op<'_> {
    Op::Create(Create {
        opcode: OpCode::Create,
        path,
        data: Some(&DATA),
        acl: Some(engine::access::OPEN_LIST),
        mode: CreateMode::Persistent,
        sequential: false,
    })
}

/// A node of one shard on a disk that completes everything at once and keeps nothing.
struct Node {
    core: Core,
    shard: Shard,
    core_out: CoreOutputs,
    out: ShardOutputs,
    conns: Vec<ConnId>,
    now: Now,
    sent: usize,
}

impl Node {
    fn start() -> Node {
        let now = Now { mono: Mono::from_millis(1000), wall_ms: 1_795_000_000_000 };
        let log = LogSettings { segment_bytes: 64 << 20, writes_max: 4, log_id: 7 };
        let recovered = recover(&DiskImage::default(), Settings::default(), log, &Inline)
            .expect("an empty disk is sound");
        let (publisher, mut ends) = feed(1, 1024);
        let mut core_out = CoreOutputs::default();
        let version = {
            let mut fresh = Draft::new(Settings::default());
            fresh.freeze()
        };
        let core = Core::new(core_config(), recovered, publisher, now, &mut core_out);
        let shard = Shard::new(shard_config(), version, ends.pop().expect("one shard"));
        let out = ShardOutputs::default();
        let mut node = Node { core, shard, core_out, out, conns: Vec::new(), now, sent: 0 };
        node.settle();
        let mut connect = Vec::new();
        ConnectRequest { timeout_ms: 40_000, ..ConnectRequest::default() }.encode(&mut connect);
        for _ in 0..SESSIONS {
            let peer = "127.0.0.1:9".parse().expect("an address");
            let conn = node.shard.accept(now, peer);
            node.bytes(conn, &connect);
            node.conns.push(conn);
        }
        node.settle();
        let mut frame = Vec::new();
        encode_write(Xid(1), &create(b"/bench"), &mut frame);
        for number in 0..ZNODES {
            encode_write(Xid(number as i32 + 2), &create(&path(number)), &mut frame);
        }
        let first = node.conns[0];
        node.bytes(first, &frame);
        node.settle();
        node
    }

    fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.step(self.now, ShardInput::Bytes { conn, bytes }, &mut self.out);
    }

    /// Lets shard, core and disk work until nothing is left to do; outboxes are taken whole.
    fn settle(&mut self) {
        let now = self.now;
        loop {
            self.shard.end_turn(now, &mut self.out);
            let mut busy = !self.out.to_core.is_empty();
            for message in self.out.to_core.drain(..) {
                let input = CoreInput::Shard { from: ShardId(0), message };
                self.core.step(now, input, &mut self.core_out);
            }
            self.core.end_turn(now, &mut self.core_out);
            for op in std::mem::take(&mut self.core_out.disk) {
                busy = true;
                let input = CoreInput::Disk(carry_out(&op));
                self.core.step(now, input, &mut self.core_out);
            }
            for (_, message) in self.core_out.to_shards.drain(..) {
                busy = true;
                self.shard.step(now, ShardInput::Core(message), &mut self.out);
            }
            self.core_out.wake.clear();
            while self.shard.feed_pending() > 0 {
                busy = true;
                self.shard.step(now, ShardInput::Feed, &mut self.out);
            }
            self.out.answers = 0;
            for conn in std::mem::take(&mut self.out.flush) {
                let bytes = black_box(self.shard.outbox(conn)).len();
                self.sent += bytes;
                self.shard.step(now, ShardInput::Sent { conn, bytes }, &mut self.out);
            }
            if !busy {
                return;
            }
        }
    }

    /// One turn: every session sends its requests in one piece.
    fn turn(&mut self, frames: &[Vec<u8>]) {
        for (at, frame) in frames.iter().enumerate() {
            self.bytes(self.conns[at], frame);
        }
        self.settle();
    }
}

fn carry_out(op: &DiskOp) -> DiskDone {
    let (token, fact) = match op {
        DiskOp::PrepareSegment { token, .. }
        | DiskOp::WriteSegment { token, .. }
        | DiskOp::RemoveSegment { token, .. }
        | DiskOp::RemoveSnapshot { token, .. }
        | DiskOp::AdoptSnapshot { token, .. }
        | DiskOp::RemoveIncoming { token, .. }
        | DiskOp::KeepEvidence { token, .. }
        | DiskOp::ReplaceFile { token, .. } => (*token, DiskFact::Done),
        DiskOp::WriteSnapshot { token, .. } => (*token, DiskFact::SnapshotWritten { bytes: 1 }),
        DiskOp::MeasureSpace { token } => {
            (*token, DiskFact::Space { log_free: 1 << 40, snapshot_free: 1 << 40 })
        }
    };
    DiskDone { token, result: Ok(fact) }
}

fn core_config() -> CoreConfig {
    CoreConfig {
        server: ServerId(1),
        ensemble: None,
        read_only_mode: false,
        leader_serves: true,
        shards: 1,
        tick_ms: 2000,
        session_timeout_ms_min: 4000,
        session_timeout_ms_max: 40_000,
        settings: Settings::default(),
        session_secret: [9; 32],
        zookeeper_passwords: false,
        disk_hang_ms: 0,
        container_check_ms: 60_000,
        container_per_minute: 10_000,
        container_never_used_ms: 0,
        snapshot_entries: u64::MAX,
        snapshot_bytes: u64::MAX,
        snapshots_kept: 2,
        reserve_bytes: 0,
        sessions_max: server::limits::SESSIONS_MAX,
        texts: std::sync::Arc::default(),
    }
}

fn shard_config() -> ShardConfig {
    ShardConfig {
        shard: ShardId(0),
        frame_bytes_max: 0xf_ffff,
        words: None,
        super_digest: None,
        digest_scheme: true,
        digest_algorithm: server::shard::auth::digest::Algorithm::default(),
        ensemble_names: None,
        required_schemes: Vec::new(),
        sasl_expected: false,
        skip_acl: false,
        outstanding_max: 1000,
        crowd: server::limits::CROWD,
        sessionless_ms: 10_000,
        version_text: String::new(),
        envi_text: String::new(),
    }
}

/// Frames of one turn: `OUTSTANDING` requests for each session.
fn frames(mut request: impl FnMut(usize, Xid, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let frame = |session: usize| {
        let mut bytes = Vec::new();
        for at in 0..OUTSTANDING {
            request((session * 7919 + at * 31) % ZNODES, Xid(at as i32 + 5000), &mut bytes);
        }
        bytes
    };
    (0..SESSIONS).map(frame).collect()
}

/// Requests of a kind through shard, core, log framing, feed and outbox; everything but system
/// calls.
fn requests(count: usize, request: impl FnMut(usize, Xid, &mut Vec<u8>)) {
    let mut node = Node::start();
    let frames = frames(request);
    for _ in 0..count / (SESSIONS * OUTSTANDING) {
        node.turn(&frames);
    }
    assert!(node.sent > 0, "somebody was answered");
}

/// setData judged and applied on a draft, frozen every thousand.
fn draft(count: usize) {
    let mut draft = Draft::new(Settings::default());
    let identities: [AuthId; 0] = [];
    let who = Caller { session: SessionId::NONE, identities: identities.into() };
    let mut effects = Effects::default();
    let paths: Vec<Vec<u8>> = (0..ZNODES).map(path).collect();
    let mut zxid = Zxid(0);
    let mut run = |draft: &mut Draft, op: &Op<'_>, effects: &mut Effects| {
        zxid = zxid.next();
        let at = Stamp { zxid, cxid: 0, time_ms: 1_795_000_000_000 + zxid.0 };
        black_box(draft.execute(op, &who, at, effects));
    };
    run(&mut draft, &create(b"/bench"), &mut effects);
    for path in &paths {
        run(&mut draft, &create(path), &mut effects);
    }
    for number in 0..count {
        let path = &paths[number * 31 % ZNODES];
        let op = Op::SetData { path, data: Some(&DATA), version: -1 };
        run(&mut draft, &op, &mut effects);
        if number % 1000 == 0 {
            black_box(draft.freeze());
            effects.clear();
        }
    }
}

/// One event to every session, each with a persistent watch; counted by notification.
fn notifications(count: usize) {
    let mut draft = Draft::new(Settings::default());
    let (mut publisher, mut ends) = feed(1, 16);
    let version = draft.freeze();
    let end = ends.pop().expect("one shard");
    let mut shard = Shard::new(shard_config(), version.clone(), end);
    let now = Now { mono: Mono(1), wall_ms: 1 };
    let mut out = ShardOutputs::default();
    let serving = server::link::ToShard::serving(true);
    shard.step(now, ShardInput::Core(serving), &mut out);
    let (mut connect, mut ask) = (Vec::new(), Vec::new());
    ConnectRequest { timeout_ms: 4000, ..ConnectRequest::default() }.encode(&mut connect);
    let mode = protocol::AddWatchMode::Persistent;
    Request::AddWatch { path: b"/hot", mode }.encode(Xid(1), &mut ask);
    for number in 0..1000 {
        let conn = shard.accept(now, "127.0.0.1:9".parse().expect("an address"));
        shard.step(now, ShardInput::Bytes { conn, bytes: &connect }, &mut out);
        let attached = server::link::ToShard::Attached {
            conn,
            session: SessionId(number + 1),
            timeout_ms: 4000,
            password: [0; 16],
            zxid: Zxid(0),
        };
        shard.step(now, ShardInput::Core(attached), &mut out);
        shard.step(now, ShardInput::Bytes { conn, bytes: &ask }, &mut out);
    }
    for _ in 0..count / 1000 {
        let mut effects = Effects::default();
        let path = effects.intern(b"/hot");
        let (zxid, change) = (Zxid(2), Change::DataChanged);
        effects.list.push(Effect { zxid, change, path, acl: None, parent_acl: None });
        let entries = vec![Entry { zxid, effects_end: 1, completion: None }];
        let segments = vec![Segment { version: version.clone(), effects, entries }];
        publisher.publish(CommitBatch { segments });
        shard.step(now, ShardInput::Feed, &mut out);
        shard.end_turn(now, &mut out);
        out.answers = 0;
        for conn in std::mem::take(&mut out.flush) {
            let bytes = black_box(shard.outbox(conn)).len();
            shard.step(now, ShardInput::Sent { conn, bytes }, &mut out);
        }
        out.to_core.clear();
    }
}

fn run(what: &str, count: usize) -> bool {
    let key = |number: usize| path(number);
    match what {
        "get" => requests(count, |number, xid, out| {
            Request::GetData { path: &key(number), watch: false }.encode(xid, out);
        }),
        "exists" => requests(count, |number, xid, out| {
            Request::Exists { path: &key(number), watch: false }.encode(xid, out);
        }),
        "ping" => requests(count, |_, xid, out| Request::Ping.encode(xid, out)),
        "set" => requests(count, |number, xid, out| {
            let op = Op::SetData { path: &key(number), data: Some(&DATA), version: -1 };
            encode_write(xid, &op, out);
        }),
        "draft" => draft(count),
        "notify" => notifications(count),
        _ => return false,
    }
    true
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [count, what] = &words[..] else {
        eprintln!("usage: instructions COUNT get|exists|ping|set|draft|notify");
        return ExitCode::FAILURE;
    };
    match count.parse() {
        Ok(count) if run(what, count) => ExitCode::SUCCESS,
        _ => {
            eprintln!("instructions: {count} {what}: not a count, or not a path");
            ExitCode::FAILURE
        }
    }
}
