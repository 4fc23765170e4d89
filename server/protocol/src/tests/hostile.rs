//! No bytes make a decoder panic or reserve memory out of proportion.

use model::jute::Writer;
use model::op::Create;
use model::{CreateMode, Op, OpCode, Perms, Stat, Xid, Zxid, acl};
use proptest::prelude::*;

use super::decode_everything;
use crate::{MultiReply, ReadPart, Request, encode_write, reply};

/// Frames of every shape, to be damaged.
fn corpus() -> Vec<Vec<u8>> {
    let open = acl::world(Perms::ALL);
    let create = Op::Create(Create {
        opcode: OpCode::CreateTtl,
        path: b"/some/path",
        data: Some(b"data"),
        acl: Some(&open),
        mode: CreateMode::Ttl(1000),
        sequential: true,
    });
    let all = [
        create.clone(),
        Op::SetAcl { path: b"/a", acl: Some(&open), version: 3 },
        Op::Reconfig { joining: Some(b"x"), leaving: None, members: None, config_id: -1 },
        Op::Multi(vec![
            create,
            Op::Check { path: b"/c", version: 1 },
            Op::SetData { path: b"/d", data: None, version: 2 },
            Op::Delete { path: b"/e", version: 3 },
        ]),
    ];
    let mut frames = Vec::new();
    for op in &all {
        let mut out = Vec::new();
        encode_write(Xid(1), op, &mut out);
        frames.push(out);
    }
    for request in [
        Request::GetData { path: b"/a/b", watch: true },
        Request::MultiRead(vec![ReadPart::Data(b"/a"), ReadPart::Children(b"/b")]),
        Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"a:b") },
    ] {
        let mut out = Vec::new();
        request.encode(Xid(2), &mut out);
        frames.push(out);
    }
    let names = [&b"one"[..], b"two", b"three"];
    let mut out = Vec::new();
    reply::children_stat(&mut out, Xid(3), Zxid(4), names, &Stat::default());
    frames.push(out);
    let mut out = Vec::new();
    reply::who_am_i(&mut out, Xid(3), Zxid(4), [(&b"ip"[..], &b"::1"[..])]);
    frames.push(out);
    let mut out = Vec::new();
    let mut multi = MultiReply::begin(&mut out, Xid(5), Zxid(6));
    multi.created_stat(b"/x", &Stat::default());
    multi.children(names);
    multi.data(Some(b"y"), &Stat::default());
    multi.failed(-101);
    multi.end();
    frames.push(out);
    let mut body = Vec::new();
    let mut to = Writer::new(&mut body);
    to.raw(&[0, 0, 0, 60, 0, 0, 0, 7, 0, 0, 0, 105]);
    to.long(9);
    for _ in 0..5 {
        to.count(1);
        to.bytes(b"/watched");
    }
    frames.push(body);
    frames
}

/// A plain generator: the same damage every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Valid frames with bytes changed, removed, doubled, and lengths replaced by extreme ones.
#[test]
fn damaged_frames_never_panic() {
    const EXTREME: [i32; 8] = [-1, -2, i32::MIN, i32::MAX, 0, 1, 0x00ff_ffff, 14];
    let corpus = corpus();
    let mut random = Seeded(0x5eed_5eed_5eed_5eed);
    for _ in 0..60_000 {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.truncate(at),
                3 => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend_from_slice(&piece);
                }
                _ if at + 4 <= bytes.len() => {
                    let value = EXTREME[random.below(EXTREME.len())];
                    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
                _ => {}
            }
        }
        decode_everything(&bytes);
        decode_everything(bytes.get(4..).unwrap_or_default());
        decode_everything(bytes.get(12..).unwrap_or_default());
    }
}

/// Every prefix of every frame.
#[test]
fn cut_frames_never_panic() {
    for frame in corpus() {
        for end in 0..=frame.len() {
            decode_everything(&frame[..end]);
            decode_everything(frame[..end].get(4..).unwrap_or_default());
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        decode_everything(&bytes);
    }
}
