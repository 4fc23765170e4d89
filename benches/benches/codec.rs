//! What reading a request and writing its reply cost, without anything in between.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::op::Create;
use model::{CreateMode, EventKind, Op, OpCode, Perms, Stat, Xid, Zxid, acl};
use protocol::{Request, RequestHeader, Split, decode_write, encode_write, frame, reply};

/// A stream of `count` copies of the frame that `write` makes.
fn stream(count: usize, write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        write(&mut bytes);
    }
    bytes
}

/// Splits the stream and hands every payload on.
fn each_frame(mut rest: &[u8], mut take: impl FnMut(&[u8])) {
    while let Split::Frame { payload } = frame::split(rest, frame::PAYLOAD_MAX_DEFAULT) {
        take(&rest[payload.clone()]);
        rest = &rest[payload.end..];
    }
}

fn decode(c: &mut Criterion) {
    const COUNT: usize = 100;
    let open = acl::world(Perms::ALL);
    let path = b"/bench/parent/child-0000000042";
    let data = [7; 100];
    let get = Request::GetData { path, watch: false };
    let set = Op::SetData { path, data: Some(&data), version: -1 };
    let create = Op::Create(Create {
        opcode: OpCode::Create,
        path,
        data: Some(&data),
        acl: Some(&open),
        mode: CreateMode::Persistent,
        sequential: false,
    });
    let multi = Op::Multi(vec![create.clone(), set.clone(), set.clone(), create.clone()]);

    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(COUNT as u64));
    let bytes = stream(COUNT, |out| get.encode(Xid(1), out));
    group.bench_function("get", |b| {
        b.iter(|| {
            each_frame(black_box(&bytes), |payload| {
                let (header, body) = RequestHeader::decode(payload).expect("valid");
                let _ = black_box(Request::decode(header.opcode, body).expect("valid"));
            });
        });
    });
    for (name, op) in [("set", &set), ("create", &create), ("multi of four", &multi)] {
        let bytes = stream(COUNT, |out| encode_write(Xid(1), op, out));
        group.bench_function(name, |b| {
            b.iter(|| {
                each_frame(black_box(&bytes), |payload| {
                    let (header, body) = RequestHeader::decode(payload).expect("valid");
                    let _ = black_box(decode_write(header.opcode, body).expect("valid"));
                });
            });
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let data = [7; 100];
    let stat = Stat { czxid: Zxid(5), data_length: 100, ..Stat::default() };
    let names: Vec<Vec<u8>> = (0..100).map(|i| format!("child-{i:010}").into_bytes()).collect();
    let mut out = Vec::with_capacity(1 << 16);

    let mut group = c.benchmark_group("encode");
    group.bench_function("data and stat", |b| {
        b.iter(|| {
            out.clear();
            reply::data_stat(&mut out, Xid(1), Zxid(9), black_box(Some(&data)), black_box(&stat));
            black_box(out.len())
        });
    });
    group.bench_function("stat", |b| {
        b.iter(|| {
            out.clear();
            reply::stat(&mut out, Xid(1), Zxid(9), black_box(&stat));
            black_box(out.len())
        });
    });
    group.bench_function("event", |b| {
        b.iter(|| {
            out.clear();
            reply::event(&mut out, Zxid(9), EventKind::NodeDataChanged, black_box(b"/bench/x"));
            black_box(out.len())
        });
    });
    group.bench_function("hundred children and stat", |b| {
        b.iter(|| {
            out.clear();
            let names = black_box(&names).iter().map(Vec::as_slice);
            reply::children_stat(&mut out, Xid(1), Zxid(9), names, &stat);
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
