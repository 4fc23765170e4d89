//! Writing a version as a snapshot, and loading it from memory, on one thread.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::Version;
use engine::draft::{Caller, Draft, Settings, Stamp};
use engine::recover::{Image, Inline};
use engine::snapshot::{Writer, load};
use model::op::Create;
use model::{CreateMode, Op, OpCode, SessionId, Zxid};

const PARENTS: usize = 100;

/// `count` znodes of 100 bytes below 100 parents.
fn version(count: usize) -> Version {
    let mut draft = Draft::new(Settings::default());
    let mut effects = engine::Effects::default();
    let session = SessionId(1);
    let who = Caller { session, identities: [].into() };
    let mut zxid = 0;
    let mut run = |op: Op<'_>| {
        zxid += 1;
        let at = Stamp { zxid: Zxid(zxid), cxid: 1, time_ms: 1_600_000_000_000 + zxid };
        draft.execute(&op, &who, at, &mut effects);
        effects.clear();
    };
    run(Op::CreateSession { timeout_ms: 1000 });
    let paths = (0..PARENTS)
        .map(|p| format!("/service-{p:03}"))
        .chain((0..count).map(|i| format!("/service-{:03}/instance-{i:010}", i % PARENTS)));
    for path in paths {
        run(Op::Create(Create {
            opcode: OpCode::Create,
            path: path.as_bytes(),
            data: Some(&[7; 100]),
            acl: Some(engine::access::OPEN_LIST),
            mode: CreateMode::Persistent,
            sequential: false,
        }));
    }
    draft.freeze()
}

fn file(version: &Version) -> Vec<u8> {
    let mut writer = Writer::new(version.clone());
    let (mut file, mut page) = (Vec::new(), Vec::new());
    while writer.next(&mut page) {
        file.extend_from_slice(&page);
    }
    file
}

fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    group.sample_size(10);
    for count in [100_000, 1_000_000] {
        let version = version(count);
        let znodes = version.view().len();
        assert_eq!(znodes, count + PARENTS + 4, "every create succeeded");
        group.throughput(Throughput::Elements(znodes as u64));
        let mut page = Vec::new();
        group.bench_function(format!("write {count} znodes"), |b| {
            b.iter(|| {
                let mut writer = Writer::new(version.clone());
                let mut bytes = 0;
                while writer.next(&mut page) {
                    bytes += page.len();
                }
                bytes
            });
        });
        let image: Image = Arc::new(file(&version));
        drop(version);
        group.bench_function(format!("load {count} znodes"), |b| {
            b.iter(|| load(&image, 0, &Inline).expect("sound").znodes);
        });
    }
    group.finish();
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
