//! What the log adds to a write: building a frame, and reading frames back.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::disk::{DiskDone, DiskFact, DiskOp, SegmentId};
use engine::log::frame::{Header, Kind, Piece, encode};
use engine::log::recover::Contents;
use engine::log::{Log, LogSettings};
use engine::recover::Inline;
use model::{Batch, Zxid};

fn batch(first: i64, entries: usize, length: usize) -> Batch {
    let ends: Vec<u32> = (1..=entries).map(|i| (i * length) as u32).collect();
    Batch::new(Zxid(first), vec![7; entries * length], ends)
}

fn header() -> Header {
    Header {
        kind: Kind::Entries,
        log: 1,
        segment: SegmentId(1),
        offset: 0,
        incarnation: 1,
        sequence: 1,
        acknowledged: 0,
        before: Zxid::ZERO,
        first: Zxid(1),
        last: Zxid(1),
        count: 0,
        payload_bytes: 0,
        payload_crc: 0,
        previous_crc: 0,
        segment_bytes: 64 << 20,
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/frame");
    for entries in [1, 16, 256, 4096] {
        let pieces = [Piece::whole(batch(1, entries, 200))];
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(format!("{entries} entries of 200 bytes"), |b| {
            b.iter(|| encode(black_box(&mut header()), black_box(&pieces)));
        });
    }
    group.finish();
}

/// Carries everything out at once; keeps the segments if asked to.
fn settle(log: &mut Log, out: &mut Vec<DiskOp>, disk: &mut Option<Vec<Vec<u8>>>) {
    let mut facts = Vec::new();
    while let Some(op) = out.pop() {
        let token = match op {
            DiskOp::PrepareSegment { token, bytes, .. } => {
                if let Some(disk) = disk {
                    disk.push(vec![0; bytes as usize]);
                }
                token
            }
            DiskOp::WriteSegment { token, segment, offset, data } => {
                if let Some(disk) = disk {
                    let at = offset as usize;
                    let file = &mut disk[segment.0 as usize - 1];
                    file[at..at + data.len()].copy_from_slice(data.as_slice());
                }
                token
            }
            _ => unreachable!("this log only prepares and writes"),
        };
        log.done(&DiskDone { token, result: Ok(DiskFact::Done) }, out, &mut facts);
        facts.clear();
    }
}

fn append(c: &mut Criterion) {
    let settings = LogSettings { segment_bytes: 64 << 20, writes_max: 2, log_id: 1 };
    let fresh = || Contents::read(Vec::new(), &Inline).expect("nothing is a fresh log");
    let mut group = c.benchmark_group("log/append and complete");
    for entries in [1, 256] {
        let mut log = fresh().resume(settings, Zxid::ZERO, 0, &[]);
        let mut out = Vec::new();
        log.start(&mut out);
        settle(&mut log, &mut out, &mut None);
        let bytes = batch(1, entries, 200);
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(format!("{entries} entries of 200 bytes"), |b| {
            b.iter(|| {
                let first = log.appended().next();
                log.append(Batch::new(first, bytes.bytes(), bytes.ends()), &mut out);
                settle(&mut log, &mut out, &mut None);
                log.release(log.durable(), &mut Vec::new());
            });
        });
    }
    group.finish();

    let mut disk = Some(Vec::new());
    let mut log = fresh().resume(settings, Zxid::ZERO, 0, &[]);
    let mut out = Vec::new();
    log.start(&mut out);
    for _ in 0..1000 {
        log.append(batch(log.appended().0 + 1, 256, 200), &mut out);
        settle(&mut log, &mut out, &mut disk);
    }
    let disk = disk.expect("it was kept");
    let mut group = c.benchmark_group("log/read back");
    group.throughput(Throughput::Elements(256_000));
    group.sample_size(10);
    group.bench_function("256,000 entries of 200 bytes", |b| {
        b.iter(|| {
            let files = disk.iter().enumerate().map(|(i, f)| (SegmentId(i as u64 + 1), &f[..]));
            let contents = Contents::read(files.collect(), &Inline).expect("sound");
            assert_eq!(contents.position(), Zxid(256_000));
        });
    });
    group.finish();
}

criterion_group!(benches, frames, append);
criterion_main!(benches);
