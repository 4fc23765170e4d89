//! A core with its feed's readers, on a disk in memory that completes what the story says.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Outcome;
use engine::disk::{DiskDone, DiskFact, DiskFault, DiskOp, DiskToken, SegmentId, SmallFile};
use engine::draft::Settings;
use engine::log::LogSettings;
use engine::recover::{DiskImage, Image, Inline, recover};
use model::op::Create;
use model::{AuthId, CreateMode, Mono, Now, Op, OpCode, ServerId, SessionId, Xid, Zxid};
use protocol::encode_write;

use super::super::{Core, CoreConfig, CoreInput, CoreOutputs};
use crate::admin::Texts;
use crate::feed::{Answer, CommitBatch, Completion, Subscriber, feed};
use crate::link::{ConnId, Password, ShardId, Submit, Submits, ToCore, ToShard};

pub(super) const SEGMENT_BYTES: u64 = 256 << 10;

pub(super) fn config() -> CoreConfig {
    CoreConfig {
        server: ServerId(1),
        ensemble: None,
        read_only_mode: false,
        leader_serves: true,
        shards: 2,
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
        snapshot_entries: 1_000_000,
        snapshot_bytes: 1 << 40,
        snapshots_kept: 2,
        reserve_bytes: 1000,
        sessions_max: crate::limits::SESSIONS_MAX,
        texts: Arc::new(Texts {
            version: "3.9.5-test".into(),
            conf: "clientPort=1\ndataDir=/d\ndataLogDir=/l\ntickTime=2000\n".into(),
            ..Texts::default()
        }),
    }
}

/// A disk: what is on it, and what was ordered and not done yet.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) segments: BTreeMap<SegmentId, Vec<u8>>,
    pub(super) snapshots: BTreeMap<Zxid, Vec<u8>>,
    pub(super) incoming: BTreeMap<Zxid, Vec<u8>>,
    pub(super) small: BTreeMap<SmallFile, Vec<u8>>,
    pub(super) evidence: BTreeMap<Zxid, (String, Option<engine::Version>)>,
    pub(super) ordered: Vec<DiskOp>,
    pub(super) free: u64,
}

fn token(op: &DiskOp) -> DiskToken {
    match op {
        DiskOp::PrepareSegment { token, .. }
        | DiskOp::WriteSegment { token, .. }
        | DiskOp::RemoveSegment { token, .. }
        | DiskOp::WriteSnapshot { token, .. }
        | DiskOp::RemoveSnapshot { token, .. }
        | DiskOp::AdoptSnapshot { token, .. }
        | DiskOp::RemoveIncoming { token, .. }
        | DiskOp::ReplaceFile { token, .. }
        | DiskOp::KeepEvidence { token, .. }
        | DiskOp::MeasureSpace { token } => *token,
    }
}

pub(super) fn is_log_write(op: &DiskOp) -> bool {
    matches!(op, DiskOp::WriteSegment { .. })
}

impl Disk {
    fn carry_out(&mut self, op: DiskOp) -> DiskDone {
        let token = token(&op);
        let mut fact = DiskFact::Done;
        match op {
            DiskOp::PrepareSegment { segment, bytes, .. } => {
                self.segments.insert(segment, vec![0; bytes as usize]);
            }
            DiskOp::WriteSegment { segment, offset, data, .. } => {
                let file = self.segments.get_mut(&segment).expect("prepared before written");
                file[offset as usize..][..data.len()].copy_from_slice(data.as_slice());
            }
            DiskOp::RemoveSegment { segment, .. } => {
                self.segments.remove(&segment).expect("removed once");
            }
            DiskOp::WriteSnapshot { version, incoming, .. } => {
                let zxid = version.zxid();
                let (mut file, mut page) = (Vec::new(), Vec::new());
                let mut writer = engine::snapshot::Writer::new(version);
                while writer.next(&mut page) {
                    file.extend_from_slice(&page);
                }
                fact = DiskFact::SnapshotWritten { bytes: file.len() as u64 };
                let named = if incoming { &mut self.incoming } else { &mut self.snapshots };
                named.insert(zxid, file);
            }
            DiskOp::RemoveSnapshot { zxid, .. } => {
                self.snapshots.remove(&zxid).expect("removed once");
            }
            DiskOp::AdoptSnapshot { zxid, .. } => {
                let file = self.incoming.remove(&zxid).expect("adopted once");
                self.snapshots.insert(zxid, file);
            }
            DiskOp::RemoveIncoming { zxid, .. } => {
                self.incoming.remove(&zxid);
            }
            DiskOp::ReplaceFile { file, data, .. } => {
                self.small.insert(file, data);
            }
            DiskOp::KeepEvidence { zxid, text, state, .. } => {
                self.evidence.insert(zxid, (text, state));
            }
            DiskOp::MeasureSpace { .. } => {
                fact = DiskFact::Space { log_free: self.free, snapshot_free: self.free };
            }
        }
        DiskDone { token, result: Ok(fact) }
    }

    /// Carries out an operation that the process does not live to hear of.
    pub(super) fn carry_out_silently(&mut self, at: usize) {
        let op = self.ordered.remove(at);
        self.carry_out(op);
    }

    fn image(&self) -> DiskImage {
        fn image(bytes: &[u8]) -> Image {
            Arc::new(bytes.to_vec())
        }
        DiskImage {
            snapshots: self.snapshots.iter().map(|(&zxid, file)| (zxid, image(file))).collect(),
            segments: self.segments.iter().map(|(&id, file)| (id, image(file))).collect(),
            incoming: self.incoming.iter().map(|(&zxid, file)| (zxid, image(file))).collect(),
            epochs: [SmallFile::EpochA, SmallFile::EpochB]
                .map(|file| self.small.get(&file).cloned()),
        }
    }
}

/// The whole stand. A turn is an input and the end of the turn.
pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) disk: Disk,
    pub(super) ends: Vec<Subscriber>,
    pub(super) now: Now,
    /// Everything said since it was last taken; disk work goes to [`Disk::ordered`].
    pub(super) out: CoreOutputs,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(config(), 1024)
    }

    pub(super) fn with(config: CoreConfig, slots: usize) -> Bench {
        let now = Now { mono: Mono::from_millis(1000), wall_ms: 1_700_000_000_000 };
        let disk = Disk { free: 1 << 30, ..Disk::default() };
        let mut bench = Bench::start(config, disk, slots, now);
        bench.settle();
        bench.out = CoreOutputs::default();
        bench
    }

    pub(super) fn start(config: CoreConfig, disk: Disk, slots: usize, now: Now) -> Bench {
        let log = LogSettings { segment_bytes: SEGMENT_BYTES, writes_max: 2, log_id: 77 };
        let recovered = recover(&disk.image(), config.settings.clone(), log, &Inline)
            .expect("the files are sound");
        let (publisher, ends) = feed(usize::from(config.shards), slots);
        let mut out = CoreOutputs::default();
        let core = Core::new(config, recovered, publisher, now, &mut out);
        let mut bench = Bench { core, disk, ends, now, out };
        bench.collect();
        bench
    }

    /// The process ends without a word, and starts again from what is on the disk.
    pub(super) fn restart(self) -> Bench {
        self.restart_as(config())
    }

    /// The same, with another configuration.
    pub(super) fn restart_as(self, config: CoreConfig) -> Bench {
        let mut disk = self.disk;
        disk.ordered.clear();
        let mut now = self.now;
        now.mono = now.mono + std::time::Duration::from_secs(1);
        let mut bench = Bench::start(config, disk, 1024, now);
        bench.settle();
        bench
    }

    fn collect(&mut self) {
        self.disk.ordered.append(&mut self.out.disk);
    }

    /// One input, and the end of its turn.
    pub(super) fn turn(&mut self, input: CoreInput) {
        self.core.step(self.now, input, &mut self.out);
        self.core.end_turn(self.now, &mut self.out);
        self.collect();
    }

    pub(super) fn say(&mut self, shard: u16, message: ToCore) {
        self.turn(CoreInput::Shard { from: ShardId(shard), message });
    }

    /// Carries out the first ordered operation of a kind; false if there is none.
    pub(super) fn complete(&mut self, which: impl Fn(&DiskOp) -> bool) -> bool {
        let Some(at) = self.disk.ordered.iter().position(which) else { return false };
        self.complete_at(at);
        true
    }

    pub(super) fn complete_at(&mut self, at: usize) {
        let op = self.disk.ordered.remove(at);
        let done = self.disk.carry_out(op);
        self.turn(CoreInput::Disk(done));
    }

    /// Fails the first ordered operation of a kind.
    pub(super) fn fail(&mut self, which: impl Fn(&DiskOp) -> bool, out_of_space: bool) {
        let at = self.disk.ordered.iter().position(which).expect("there is one");
        let op = self.disk.ordered.remove(at);
        let fault = DiskFault { out_of_space, cause: "the story says so".into() };
        self.turn(CoreInput::Disk(DiskDone { token: token(&op), result: Err(fault) }));
    }

    /// Carries out everything ordered.
    pub(super) fn settle(&mut self) {
        self.core.end_turn(self.now, &mut self.out);
        self.collect();
        while self.complete(|_| true) {}
    }

    /// Lets time pass with a tick, and a report of every shard that is not silent, each 100 ms.
    pub(super) fn pass(&mut self, ms: u64, silent: &[u16]) {
        for _ in 0..ms / 100 {
            self.now.mono = self.now.mono + std::time::Duration::from_millis(100);
            self.now.wall_ms += 100;
            for shard in (0..self.ends.len() as u16).filter(|shard| !silent.contains(shard)) {
                self.heard(shard, &[]);
            }
            self.turn(CoreInput::Tick);
        }
    }

    /// Lets time pass while these sessions are heard from.
    pub(super) fn pass_with(&mut self, ms: u64, sessions: &[SessionId]) {
        for _ in 0..ms / 1000 {
            self.heard(0, sessions);
            self.pass(1000, &[]);
        }
    }

    pub(super) fn heard(&mut self, shard: u16, sessions: &[SessionId]) {
        let at = self.now.mono;
        let sessions = sessions.iter().map(|&session| (session, at)).collect();
        self.say(shard, ToCore::Heard { at, sessions });
    }

    /// A client connects and gets a session.
    pub(super) fn connect(&mut self, conn: ConnId) -> (SessionId, Password) {
        let new = SessionId::NONE;
        self.attach(conn, new, &[0; 16]);
        self.settle();
        let answers = self.answers(conn.shard.0);
        self.out.wake.clear();
        match &answers[..] {
            [(_, Completion { answer: Answer::SessionCreated { session, password, .. }, .. })] => {
                (*session, *password)
            }
            other => panic!("a session was expected, not {other:?}"),
        }
    }

    pub(super) fn attach(&mut self, conn: ConnId, session: SessionId, password: &[u8]) {
        let password = password.to_vec();
        let message = ToCore::Attach { conn, session, password, timeout_ms: 4000 };
        self.say(conn.shard.0, message);
    }

    /// Sends writes of one session as one message.
    pub(super) fn submit(&mut self, conn: ConnId, session: SessionId, list: &[(i32, Op<'_>)]) {
        let wishes: Vec<_> = list.iter().map(|(xid, op)| (*xid, op.clone(), false)).collect();
        self.submit_cutting(conn, session, &wishes);
    }

    pub(super) fn submit_cutting(
        &mut self,
        conn: ConnId,
        session: SessionId,
        list: &[(i32, Op<'_>, bool)],
    ) {
        let mut submits = Submits::default();
        for (xid, op, cut) in list {
            let mut frame = Vec::new();
            encode_write(Xid(*xid), op, &mut frame);
            let opcode = i32::from_be_bytes(frame[8..12].try_into().expect("four bytes"));
            push(&mut submits, conn, session, *xid, opcode, &frame[12..], *cut, self.now.mono);
        }
        self.say(conn.shard.0, ToCore::Submit(submits));
    }

    pub(super) fn submit_raw(
        &mut self,
        conn: ConnId,
        session: SessionId,
        xid: i32,
        opcode: i32,
        body: &[u8],
    ) {
        let mut submits = Submits::default();
        push(&mut submits, conn, session, xid, opcode, body, false, self.now.mono);
        self.say(conn.shard.0, ToCore::Submit(submits));
    }

    /// Everything the feed holds for a shard.
    pub(super) fn batches(&mut self, shard: u16) -> Vec<Arc<CommitBatch>> {
        let end = &mut self.ends[usize::from(shard)];
        std::iter::from_fn(|| end.next()).collect()
    }

    /// The completions of a shard's own requests, with their zxids.
    pub(super) fn answers(&mut self, shard: u16) -> Vec<(Zxid, Completion)> {
        let mut all = Vec::new();
        for batch in self.batches(shard) {
            for entry in batch.segments.iter().flat_map(|segment| &segment.entries) {
                if let Some(completion) = &entry.completion
                    && completion.conn.shard.0 == shard
                {
                    all.push((entry.zxid, completion.clone()));
                }
            }
        }
        all
    }

    /// The same, as (xid, zxid, "did it succeed").
    pub(super) fn replies(&mut self, shard: u16) -> Vec<(i32, i64, Result<(), i32>)> {
        let answers = self.answers(shard).into_iter();
        let reply = |(zxid, completion): (Zxid, Completion)| match completion.answer {
            Answer::Reply { xid, outcome, .. } => {
                let verdict = match outcome {
                    Outcome::Failed(code) => Err(code.code()),
                    _ => Ok(()),
                };
                (xid.0, zxid.0, verdict)
            }
            other => panic!("a reply was expected, not {other:?}"),
        };
        answers.map(reply).collect()
    }

    /// Takes what was said to shards.
    pub(super) fn told(&mut self) -> Vec<(ShardId, ToShard)> {
        std::mem::take(&mut self.out.to_shards)
    }

    /// Reads a znode in the newest published version.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.core.pipeline.version().view().get(path.as_bytes()).is_some()
    }
}

#[expect(clippy::too_many_arguments, reason = "one line of a table")]
fn push(
    submits: &mut Submits,
    conn: ConnId,
    session: SessionId,
    xid: i32,
    opcode: i32,
    body: &[u8],
    cut: bool,
    received: Mono,
) {
    let start = submits.bytes.len() as u32;
    submits.bytes.extend_from_slice(body);
    submits.list.push(Submit {
        conn,
        session,
        xid: Xid(xid),
        opcode,
        body: start..submits.bytes.len() as u32,
        identities: Arc::from([AuthId { scheme: (*b"ip").into(), id: (*b"127.0.0.1").into() }]),
        cut,
        received,
    });
}

pub(super) fn conn(shard: u16, slot: u32) -> ConnId {
    ConnId { shard: ShardId(shard), slot, generation: 1 }
}

pub(super) fn create(path: &str, mode: CreateMode) -> Op<'_> {
    Op::Create(Create {
        opcode: if mode == CreateMode::Container {
            OpCode::CreateContainer
        } else {
            OpCode::Create
        },
        path: path.as_bytes(),
        data: Some(b"data"),
        // One entry: all permissions for world:anyone.
        acl: Some(b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone"),
        mode,
        sequential: false,
    })
}

pub(super) fn set<'a>(path: &'a str, data: &'a [u8]) -> Op<'a> {
    Op::SetData { path: path.as_bytes(), data: Some(data), version: -1 }
}
