//! Watches and reads of one shard: what an event costs per watcher, what a change costs that
//! hardly anybody watches, what a read costs on its way through a connection.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::draft::{Caller, Settings, Stamp};
use engine::{Change, Draft, Effect, Effects};
use model::op::Create;
use model::{CreateMode, Mono, Now, Op, OpCode, SessionId, Xid, Zxid};
use protocol::{AddWatchMode, ConnectRequest, Request};
use server::feed::{CommitBatch, Entry, Publisher, Segment, feed};
use server::link::{ConnId, ShardId, ToCore, ToShard};
use server::shard::watches::{Modes, WatchTable};
use server::shard::{Shard, ShardConfig, ShardInput, ShardOutputs};

const WATCHERS: u32 = 10_000;
const PATHS: u32 = 100_000;

fn path(number: u32) -> Vec<u8> {
    format!("/services/group-{}/instance-{number:08}", number % 100).into_bytes()
}

fn table(c: &mut Criterion) {
    let mut group = c.benchmark_group("watch table");
    group.throughput(Throughput::Elements(u64::from(WATCHERS)));
    let mut one = WatchTable::new();
    group.bench_function("10k one-shot watchers: register and fire", |b| {
        b.iter(|| {
            for owner in 0..WATCHERS {
                one.add(owner, b"/hot", Modes::DATA);
            }
            let mut told = 0;
            one.data_changed(b"/hot", |_| told += 1);
            assert_eq!(told, WATCHERS);
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut many = WatchTable::new();
    for number in 0..PATHS {
        many.add(number % 1000, &path(number), Modes::PERSISTENT);
    }
    let paths: Vec<Vec<u8>> = (0..PATHS).map(path).collect();
    let mut at = 0;
    group.bench_function("100k paths: a change that one watches", |b| {
        b.iter(|| {
            at = (at + 7919) % PATHS as usize;
            many.data_changed(&paths[at], |owner| {
                black_box(owner);
            });
        });
    });
    group.bench_function("100k paths: a change that nobody watches", |b| {
        b.iter(|| {
            at = (at + 7919) % PATHS as usize;
            many.data_changed(&paths[at][1..], |owner| {
                black_box(owner);
            });
        });
    });
    group.throughput(Throughput::Elements(u64::from(PATHS)));
    group.bench_function("100k paths of 1000 connections: register, forget", |b| {
        let mut table = WatchTable::new();
        b.iter(|| {
            for (number, path) in paths.iter().enumerate() {
                table.add(number as u32 % 1000, path, Modes::DATA);
            }
            for owner in 0..1000 {
                table.forget(owner);
            }
            assert!(table.is_empty());
        });
    });
    group.finish();
}

/// A shard with sessions, each of which has asked for something.
struct Served {
    shard: Shard,
    publisher: Publisher,
    draft: Draft,
    conns: Vec<ConnId>,
    out: ShardOutputs,
    now: Now,
}

fn serve(sessions: u32, ask: &Request<'_>) -> Served {
    let mut draft = Draft::new(Settings::default());
    let op = Op::Create(Create {
        opcode: OpCode::Create,
        path: b"/hot",
        data: Some(&[7; 100]),
        acl: Some(engine::access::OPEN_LIST),
        mode: CreateMode::Persistent,
        sequential: false,
    });
    let who = Caller { session: SessionId::NONE, identities: [].into() };
    let at = Stamp { zxid: Zxid(1), cxid: 0, time_ms: 0 };
    draft.execute(&op, &who, at, &mut Effects::default());
    let (publisher, mut subscribers) = feed(1, 16);
    let config = ShardConfig {
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
        crowd: u32::MAX,
        sessionless_ms: 10_000,
        version_text: String::new(),
        envi_text: String::new(),
    };
    let subscriber = subscribers.pop().expect("one shard");
    let mut served = Served {
        shard: Shard::new(config, draft.freeze(), subscriber),
        publisher,
        draft,
        conns: Vec::new(),
        out: ShardOutputs::default(),
        now: Now { mono: Mono(1), wall_ms: 1 },
    };
    served.step(ShardInput::Core(ToShard::serving(true)));
    let mut connect = Vec::new();
    ConnectRequest { timeout_ms: 4000, ..ConnectRequest::default() }.encode(&mut connect);
    let mut bytes = Vec::new();
    ask.encode(Xid(1), &mut bytes);
    for number in 0..sessions {
        let peer = "127.0.0.1:9".parse().expect("an address");
        let conn = served.shard.accept(served.now, peer);
        served.step(ShardInput::Bytes { conn, bytes: &connect });
        served.step(ShardInput::Core(ToShard::Attached {
            conn,
            session: SessionId(i64::from(number) + 1),
            timeout_ms: 4000,
            password: [0; 16],
            zxid: Zxid(0),
        }));
        served.step(ShardInput::Bytes { conn, bytes: &bytes });
        served.conns.push(conn);
    }
    served.flush();
    served
}

impl Served {
    fn step(&mut self, input: ShardInput<'_>) {
        self.shard.step(self.now, input, &mut self.out);
    }

    /// Ends the turn and takes every outbox. Returns the bytes taken.
    fn flush(&mut self) -> usize {
        self.shard.end_turn(self.now, &mut self.out);
        let mut all = 0;
        for conn in std::mem::take(&mut self.out.flush) {
            let bytes = self.shard.outbox(conn).len();
            all += bytes;
            self.shard.step(self.now, ShardInput::Sent { conn, bytes }, &mut self.out);
        }
        self.out.to_core.retain(|message| matches!(message, ToCore::Submit(_)));
        all
    }
}

fn fan_out(c: &mut Criterion) {
    let ask = Request::AddWatch { path: b"/hot", mode: AddWatchMode::Persistent };
    let mut served = serve(WATCHERS, &ask);
    let mut group = c.benchmark_group("shard");
    group.throughput(Throughput::Elements(u64::from(WATCHERS)));
    group.bench_function("an event to 10k connections, flushed", |b| {
        b.iter(|| {
            let mut effects = Effects::default();
            let path = effects.intern(b"/hot");
            let (zxid, change) = (Zxid(2), Change::DataChanged);
            effects.list.push(Effect { zxid, change, path, acl: None, parent_acl: None });
            let entries = vec![Entry { zxid, effects_end: 1, completion: None }];
            let version = served.draft.freeze();
            let segments = vec![Segment { version, effects, entries }];
            served.publisher.publish(CommitBatch { segments });
            served.step(ShardInput::Feed);
            assert_eq!(served.flush(), WATCHERS as usize * 36);
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    const COUNT: u32 = 100;
    let mut group = c.benchmark_group("shard");
    group.throughput(Throughput::Elements(u64::from(COUNT)));
    let get = Request::GetData { path: b"/hot", watch: false };
    for (name, ask) in [("getData of 100 bytes", get), ("ping", Request::Ping)] {
        let mut served = serve(64, &ask);
        let mut bytes = Vec::new();
        for xid in 0..COUNT {
            ask.encode(Xid(xid as i32), &mut bytes);
        }
        group.bench_function(format!("{name}, 100 in a read"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for round in 0..rounds {
                    let conn = served.conns[round as usize % served.conns.len()];
                    let start = Instant::now();
                    served.step(ShardInput::Bytes { conn, bytes: &bytes });
                    served.flush();
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, table, fan_out, reads);
criterion_main!(benches);
