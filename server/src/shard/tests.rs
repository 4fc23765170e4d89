//! A shard driven by hand: crafted bytes on one side, a core of a few lines on the other.

mod bounds;
mod hostile;
mod readers;
mod stories;
mod triggers;
mod vectors;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use engine::draft::{Caller, Settings, Stamp};
use engine::{Draft, Effects, Outcome};
use model::{AuthId, Mono, Now, Op, OpCode, SessionId, Xid, Zxid};
use protocol::{ConnectRequest, Request, ServerFrame, decode_write, encode_write};

use super::*;
use crate::feed::{CommitBatch, Entry, Publisher, Segment, feed};
use crate::link::{Password, Submit};

/// Password of every session of these tests.
pub(super) const PASSWORD: Password = [
    0x5e, 0xf4, 0x33, 0x5d, 0x93, 0xb1, 0xe8, 0xf3, 0x6c, 0x79, 0x22, 0xbf, 0x94, 0x03, 0xf7, 0x87,
];

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("a byte")
        })
        .collect()
}

/// What the shard said about a connection.
#[derive(Default)]
pub(super) struct Socket {
    /// Everything it was sent and has taken.
    pub(super) got: Vec<u8>,
    /// It does not take anything for now.
    pub(super) stuck: bool,
    /// It is to be closed, or has been.
    pub(super) closed: bool,
    /// It is not read from.
    pub(super) paused: bool,
}

/// One shard, its clients, and a core that decides at once and publishes when told.
pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) now: Now,
    pub(super) sockets: BTreeMap<ConnId, Socket>,
    /// From the shard, not looked at by the core.
    pub(super) mail: Vec<ToCore>,
    /// Decided and not published.
    pub(super) batch: CommitBatch,
    pub(super) next_session: i64,
    draft: Draft,
    publisher: Publisher,
    effects: Effects,
    entries: Vec<Entry>,
}

pub(super) fn config() -> ShardConfig {
    ShardConfig {
        shard: ShardId(0),
        frame_bytes_max: 0xf_ffff,
        words: None,
        super_digest: None,
        digest_scheme: true,
        digest_algorithm: auth::digest::Algorithm::default(),
        ensemble_names: None,
        required_schemes: Vec::new(),
        sasl_expected: false,
        skip_acl: false,
        outstanding_max: 1000,
        crowd: 3,
        sessionless_ms: 10_000,
        version_text: String::new(),
        envi_text: "Environment:\nzookeeper.version=3.9.5\n".to_owned(),
    }
}

impl World {
    pub(super) fn new() -> World {
        World::with(config())
    }

    pub(super) fn with(config: ShardConfig) -> World {
        let mut draft = Draft::new(Settings { extended_types: true, ..Settings::default() });
        let (publisher, mut subscribers) = feed(1, 16);
        let subscriber = subscribers.pop().expect("one shard");
        let mut world = World {
            shard: Shard::new(config, draft.freeze(), subscriber),
            now: Now { mono: Mono::from_millis(1_000), wall_ms: 1_700_000_000_000 },
            sockets: BTreeMap::new(),
            mail: Vec::new(),
            batch: CommitBatch::default(),
            next_session: 0x0100_002c_84e4_0000,
            draft,
            publisher,
            effects: Effects::default(),
            entries: Vec::new(),
        };
        world.tell(ToShard::serving(true));
        world
    }

    /// One turn with one input.
    pub(super) fn turn(&mut self, input: ShardInput<'_>) {
        let mut out = ShardOutputs::default();
        self.shard.step(self.now, input, &mut out);
        self.finish(out);
    }

    fn finish(&mut self, mut out: ShardOutputs) {
        // Sent and Closed may cause further outputs.
        loop {
            self.shard.end_turn(self.now, &mut out);
            let done = std::mem::take(&mut out);
            self.mail.extend(done.to_core);
            for conn in done.pause {
                self.socket(conn).paused = true;
            }
            for conn in done.resume {
                self.socket(conn).paused = false;
            }
            for conn in &done.close {
                self.socket(*conn).closed = true;
            }
            let mut again = done.flush.clone();
            again.extend(&done.close);
            again.retain(|conn| !self.sockets[conn].stuck && !self.shard.outbox(*conn).is_empty());
            for conn in &again {
                let bytes = self.shard.outbox(*conn).to_vec();
                if bytes.is_empty() {
                    continue;
                }
                self.socket(*conn).got.extend_from_slice(&bytes);
                let sent = ShardInput::Sent { conn: *conn, bytes: bytes.len() };
                self.shard.step(self.now, sent, &mut out);
            }
            for conn in done.close {
                if self.shard.outbox(conn).is_empty() {
                    self.shard.step(self.now, ShardInput::Closed { conn }, &mut out);
                }
            }
            if again.is_empty() {
                self.shard.end_turn(self.now, &mut out);
                self.mail.append(&mut out.to_core);
                return;
            }
        }
    }

    pub(super) fn socket(&mut self, conn: ConnId) -> &mut Socket {
        self.sockets.entry(conn).or_default()
    }

    pub(super) fn tell(&mut self, message: ToShard) {
        self.turn(ShardInput::Core(message));
    }

    pub(super) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.turn(ShardInput::Bytes { conn, bytes });
    }

    pub(super) fn accept(&mut self) -> ConnId {
        let peer = "127.0.0.1:57000".parse().expect("an address");
        let conn = self.shard.accept(self.now, peer);
        self.sockets.insert(conn, Socket::default());
        conn
    }

    /// What the client has taken since it was asked last.
    pub(super) fn got(&mut self, conn: ConnId) -> Vec<u8> {
        std::mem::take(&mut self.socket(conn).got)
    }

    /// The same as whole frames, payloads only.
    pub(super) fn frames(&mut self, conn: ConnId) -> Vec<Vec<u8>> {
        let bytes = self.got(conn);
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let Split::Frame { payload } = frame::split(rest, usize::MAX) else {
                panic!("the shard sends whole frames: {rest:x?}")
            };
            frames.push(rest[payload.clone()].to_vec());
            rest = &rest[payload.end..];
        }
        frames
    }

    /// Replies and events in short words: `r1@5`, `r2@5!-101`, `e3@5:/a`.
    pub(super) fn story(&mut self, conn: ConnId) -> Vec<String> {
        let frames = self.frames(conn);
        frames.iter().map(|payload| short(payload)).collect()
    }

    /// A connection with a session.
    pub(super) fn client(&mut self) -> ConnId {
        let conn = self.accept();
        self.bytes(conn, &connect(0));
        self.commit();
        assert_eq!(self.frames(conn).len(), 1, "the connect response");
        conn
    }

    /// Decides everything the shard has sent, and publishes it as one batch.
    pub(super) fn commit(&mut self) {
        self.decide();
        self.publish();
        while self.shard.feed_pending() > 0 {
            self.turn(ShardInput::Feed);
        }
    }

    /// Decides everything the shard has sent.
    pub(super) fn decide(&mut self) {
        for message in std::mem::take(&mut self.mail) {
            match message {
                ToCore::Submit(submits) => {
                    for submit in &submits.list {
                        let range = submit.body.start as usize..submit.body.end as usize;
                        self.decide_one(submit, &submits.bytes[range]);
                    }
                }
                ToCore::Attach { conn, session, timeout_ms, .. } if session.is_none() => {
                    let session = SessionId(self.next_session);
                    self.next_session += 1;
                    let op = Op::CreateSession { timeout_ms };
                    self.execute(&op, session, 0, &[]);
                    let answer = Answer::SessionCreated { session, timeout_ms, password: PASSWORD };
                    self.entry(Some(Completion { conn, answer }));
                }
                ToCore::Attach { .. }
                | ToCore::Detached { .. }
                | ToCore::Heard { .. }
                | ToCore::Query(_)
                | ToCore::TraceMask(_)
                | ToCore::Report { .. } => {}
            }
        }
    }

    fn decide_one(&mut self, submit: &Submit, body: &[u8]) {
        if submit.cut {
            self.cut();
        }
        let outcome = if submit.opcode == OpCode::Sync.code() {
            Outcome::Done
        } else {
            let op = decode_write(submit.opcode, body).unwrap_or_else(|r| Op::Refused(r.code()));
            self.execute(&op, submit.session, submit.xid.0, &submit.identities)
        };
        let (xid, opcode, received) = (submit.xid, submit.opcode, submit.received);
        let answer = Answer::Reply { xid, opcode, outcome, received };
        self.entry(Some(Completion { conn: submit.conn, answer }));
    }

    /// Executes on behalf of nobody's connection.
    pub(super) fn elsewhere(&mut self, op: &Op<'_>) {
        let outcome = self.execute(op, SessionId::NONE, 0, &[]);
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        self.entry(None);
    }

    fn execute(
        &mut self,
        op: &Op<'_>,
        session: SessionId,
        cxid: i32,
        identities: &[AuthId],
    ) -> Outcome {
        let zxid = self.draft.tables().zxid.next();
        let who = Caller { session, identities: identities.into() };
        let at = Stamp { zxid, cxid, time_ms: self.now.wall_ms };
        self.draft.execute(op, &who, at, &mut self.effects).outcome
    }

    fn entry(&mut self, completion: Option<Completion>) {
        let effects_end = self.effects.list.len() as u32;
        self.entries.push(Entry { zxid: self.draft.tables().zxid, effects_end, completion });
    }

    /// Ends the segment.
    pub(super) fn cut(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        self.batch.segments.push(Segment {
            version: self.draft.freeze(),
            effects: std::mem::take(&mut self.effects),
            entries: std::mem::take(&mut self.entries),
        });
    }

    /// Publishes what is decided; the shard has not looked yet.
    pub(super) fn publish(&mut self) {
        self.cut();
        let batch = std::mem::take(&mut self.batch);
        if !batch.segments.is_empty() {
            self.publisher.publish(batch);
        }
    }

    /// Sends a request other than a write.
    pub(super) fn ask(&mut self, conn: ConnId, xid: i32, request: &Request<'_>) {
        self.bytes(conn, &asked(xid, request));
    }

    /// Sends a write.
    pub(super) fn write(&mut self, conn: ConnId, xid: i32, op: &Op<'_>) {
        self.bytes(conn, &written(xid, op));
    }
}

pub(super) fn connect(last_zxid_seen: i64) -> Vec<u8> {
    let mut frame = Vec::new();
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(last_zxid_seen),
        timeout_ms: 4000,
        session: SessionId::NONE,
        password: Some(&[0; 16]),
        read_only: Some(false),
    }
    .encode(&mut frame);
    frame
}

pub(super) fn asked(xid: i32, request: &Request<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    request.encode(Xid(xid), &mut frame);
    frame
}

pub(super) fn written(xid: i32, op: &Op<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_write(Xid(xid), op, &mut frame);
    frame
}

pub(super) const OPEN: &[u8] = engine::access::OPEN_LIST;

pub(super) fn create(path: &str) -> Op<'_> {
    create_with(path, OPEN)
}

pub(super) fn create_with<'a>(path: &'a str, acl: &'a [u8]) -> Op<'a> {
    Op::Create(model::op::Create {
        opcode: OpCode::Create,
        path: path.as_bytes(),
        data: Some(b""),
        acl: Some(acl),
        mode: model::CreateMode::Persistent,
        sequential: false,
    })
}

pub(super) fn set<'a>(path: &'a str, data: &'a str) -> Op<'a> {
    Op::SetData { path: path.as_bytes(), data: Some(data.as_bytes()), version: -1 }
}

pub(super) fn delete(path: &str) -> Op<'_> {
    Op::Delete { path: path.as_bytes(), version: -1 }
}

pub(super) fn get(path: &str, watch: bool) -> Request<'_> {
    Request::GetData { path: path.as_bytes(), watch }
}

/// Data of a getData reply.
pub(super) fn data(payload: &[u8]) -> &[u8] {
    model::jute::Reader::new(&payload[16..]).required().expect("data")
}

fn short(payload: &[u8]) -> String {
    match ServerFrame::decode(payload).expect("a frame of a server") {
        ServerFrame::Event(event) => {
            let path = String::from_utf8_lossy(event.path);
            format!("e{}@{}:{path}", event.kind.code(), event.zxid.0)
        }
        ServerFrame::Reply(header, _) => {
            let err = if header.err == 0 { String::new() } else { format!("!{}", header.err) };
            format!("r{}@{}{err}", header.xid.0, header.zxid.0)
        }
    }
}

/// Connections that are told to close, as far as the world has seen.
pub(super) fn closed(world: &World) -> BTreeSet<ConnId> {
    world.sockets.iter().filter(|(_, s)| s.closed).map(|(c, _)| *c).collect()
}
