//! Everything one client sends, cut anywhere: the words, the handshake, requests of all kinds,
//! through the shard and through judging and applying, and every reply a whole frame.
#![no_main]

use engine::draft::{Caller, Stamp};
use engine::{Draft, Effects, Outcome};
use libfuzzer_sys::fuzz_target;
use model::{Mono, Now, Op, OpCode, SessionId};
use protocol::{ServerFrame, Split, decode_write, frame};
use server::feed::{Answer, CommitBatch, Completion, Entry, Publisher, Segment, feed};
use server::link::{ConnId, ShardId, Submit, ToCore, ToShard};
use server::shard::{Shard, ShardConfig, ShardInput, ShardOutputs};

const NOW: Now = Now { mono: Mono(1_000_000), wall_ms: 1_700_000_000_000 };
const SESSION: SessionId = SessionId(0x0100_002c_84e4_0000);

/// Decides in the order of arrival, one batch per turn.
struct Deciding {
    draft: Draft,
    publisher: Publisher,
    effects: Effects,
    entries: Vec<Entry>,
    batch: CommitBatch,
}

impl Deciding {
    fn execute(&mut self, op: &Op<'_>, who: &Caller, cxid: i32) -> Outcome {
        let zxid = self.draft.tables().zxid.next();
        let at = Stamp { zxid, cxid, time_ms: NOW.wall_ms };
        self.draft.execute(op, who, at, &mut self.effects).outcome
    }

    fn entry(&mut self, conn: ConnId, answer: Answer) {
        let effects_end = self.effects.list.len() as u32;
        let completion = Some(Completion { conn, answer });
        self.entries.push(Entry { zxid: self.draft.tables().zxid, effects_end, completion });
    }

    fn cut(&mut self) {
        if !self.entries.is_empty() {
            self.batch.segments.push(Segment {
                version: self.draft.freeze(),
                effects: std::mem::take(&mut self.effects),
                entries: std::mem::take(&mut self.entries),
            });
        }
    }

    fn write(&mut self, submit: &Submit, body: &[u8]) {
        if submit.cut {
            self.cut();
        }
        let outcome = if submit.opcode == OpCode::Sync.code() {
            Outcome::Done
        } else {
            let op = decode_write(submit.opcode, body).unwrap_or_else(|r| Op::Refused(r.code()));
            let identities = submit.identities.clone();
            let who = Caller { session: submit.session, identities };
            self.execute(&op, &who, submit.xid.0)
        };
        let (xid, opcode, received) = (submit.xid, submit.opcode, submit.received);
        self.entry(submit.conn, Answer::Reply { xid, opcode, outcome, received });
    }

    /// Answers to what came from the shard; true if there is something in the feed.
    fn take(&mut self, messages: Vec<ToCore>, tell: &mut Vec<ToShard>) -> bool {
        for message in messages {
            match message {
                ToCore::Submit(submits) => {
                    for submit in &submits.list {
                        let range = submit.body.start as usize..submit.body.end as usize;
                        self.write(submit, &submits.bytes[range]);
                    }
                }
                ToCore::Attach { conn, session, timeout_ms, .. } if session.is_none() => {
                    let who = Caller { session: SESSION, identities: Vec::new().into() };
                    self.execute(&Op::CreateSession { timeout_ms }, &who, 0);
                    let password = [7; 16];
                    let session = SESSION;
                    self.entry(conn, Answer::SessionCreated { session, timeout_ms, password });
                }
                ToCore::Attach { conn, .. } => tell.push(ToShard::Refused { conn }),
                ToCore::Query(query) => {
                    tell.push(ToShard::Report { number: 1, word: query.word });
                    tell.push(ToShard::Answer { conn: query.conn, text: b"said".to_vec() });
                }
                ToCore::Detached { .. }
                | ToCore::Heard { .. }
                | ToCore::Report { .. }
                | ToCore::TraceMask(_) => {}
            }
        }
        self.cut();
        let batch = std::mem::take(&mut self.batch);
        let any = !batch.segments.is_empty();
        if any {
            self.publisher.publish(batch);
        }
        any
    }
}

fn config() -> ShardConfig {
    ShardConfig {
        shard: ShardId(0),
        frame_bytes_max: 4096,
        words: None,
        super_digest: None,
        digest_scheme: true,
        digest_algorithm: server::shard::auth::digest::Algorithm::default(),
        ensemble_names: None,
        required_schemes: Vec::new(),
        sasl_expected: false,
        skip_acl: false,
        outstanding_max: 5,
        crowd: 2,
        sessionless_ms: 10_000,
        version_text: "3.9.5".to_owned(),
        envi_text: "Environment:\n".to_owned(),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&step, mut stream)) = input.split_first() else { return };
    let mut draft = Draft::new(fuzz::settings());
    let (publisher, mut subscribers) = feed(1, 16);
    let subscriber = subscribers.pop().expect("one shard");
    let mut shard = Shard::new(config(), draft.freeze(), subscriber);
    let mut deciding = Deciding {
        draft,
        publisher,
        effects: Effects::default(),
        entries: Vec::new(),
        batch: CommitBatch::default(),
    };
    let mut out = ShardOutputs::default();
    shard.step(NOW, ShardInput::Core(ToShard::serving(true)), &mut out);
    let conn = shard.accept(NOW, "127.0.0.1:9".parse().expect("an address"));
    let (mut paused, mut closing, mut sent) = (false, false, Vec::new());
    loop {
        let step = if step == 0 { stream.len() } else { usize::from(step).min(stream.len()) };
        let more = !paused && !closing && step > 0;
        if more {
            let (bytes, rest) = stream.split_at(step);
            stream = rest;
            shard.step(NOW, ShardInput::Bytes { conn, bytes }, &mut out);
        }
        shard.end_turn(NOW, &mut out);
        let done = std::mem::take(&mut out);
        paused |= done.pause.contains(&conn);
        paused &= !done.resume.contains(&conn);
        closing |= done.close.contains(&conn);
        let bytes = shard.outbox(conn).to_vec();
        if !bytes.is_empty() {
            sent.extend_from_slice(&bytes);
            shard.step(NOW, ShardInput::Sent { conn, bytes: bytes.len() }, &mut out);
        }
        let mut tell = Vec::new();
        let fed = deciding.take(done.to_core, &mut tell);
        let told = !tell.is_empty();
        for message in tell {
            shard.step(NOW, ShardInput::Core(message), &mut out);
        }
        if fed {
            shard.step(NOW, ShardInput::Feed, &mut out);
        }
        if !(more || fed || told || !bytes.is_empty()) {
            break;
        }
    }
    shard.step(NOW, ShardInput::Closed { conn }, &mut out);
    assert_eq!(shard.population().0, 0);
    // Words are answered in plain text, everything else in frames.
    let mut rest = sent.as_slice();
    let mut first = true;
    while let Split::Frame { payload } = frame::split(rest, usize::MAX) {
        let frame = &rest[payload.clone()];
        // A client that numbers its requests like events gets answers that look like events.
        if !first && !frame.starts_with(&[0xff; 4]) {
            assert!(ServerFrame::decode(frame).is_ok(), "{frame:x?}");
        }
        first = false;
        rest = &rest[payload.end..];
    }
    assert!(first || rest.is_empty(), "half a frame: {rest:x?}");
    fuzz::walk(&deciding.draft.freeze());
});
