//! What the core does unasked: expiry, cleaning, snapshots, watching the space on disk.

use engine::disk::{DiskDone, DiskFact, DiskOp};
use engine::draft::Caller;
use model::{Now, Op, SessionId, Zxid};
use replication::Input;

use super::pipeline::Finding;
use super::rebuild::Rebuild;
use super::retention::LastSnapshot;
use super::{Core, CoreOutputs};
use crate::limits::EXPIRED_PER_TICK_MAX;

impl Core {
    pub(super) fn on_tick(&mut self, now: Now, out: &mut CoreOutputs) {
        self.pipeline.tell(now.mono, Input::Tick);
        self.carry_out(now, out);
        self.watch_disk(now);
        self.expiry.tick(now.mono);
        self.tick_readers(now, out);
        if !self.stopping && self.pipeline.orders() {
            self.expire_sessions(now);
            self.remove_containers(now);
        }
        self.take_snapshot(now, out);
        let next_token = &mut self.next_token;
        let token = || {
            *next_token += 1;
            engine::disk::DiskToken(*next_token)
        };
        if let Some(token) = self.space.measure(now.mono, token) {
            out.disk.push(DiskOp::MeasureSpace { token });
        }
    }

    fn expire_sessions(&mut self, now: Now) {
        for _ in 0..EXPIRED_PER_TICK_MAX {
            let Some(session) = self.expiry.due() else { return };
            if !self.pipeline.make_room(now, 0) {
                return;
            }
            self.expire(now, session);
        }
    }

    fn remove_containers(&mut self, now: Now) {
        self.reaper.tick(now, self.pipeline.draft());
        while !self.space.refuses_writes() && self.pipeline.make_room(now, 0) {
            let Some(path) = self.reaper.next(now.mono) else { return };
            let who = Caller { session: SessionId::NONE, identities: self.nobody.clone() };
            let op = Op::DeleteContainer { path: &path };
            self.pipeline.write(now, &op, &who, 0, |_| None);
        }
    }

    fn take_snapshot(&mut self, now: Now, out: &mut CoreOutputs) {
        let (zxid, (_, committed)) = (self.pipeline.version().zxid(), self.pipeline.counts());
        let bytes = self.pipeline.log().bytes_since_snapshot();
        let state_bytes = self.pipeline.version().data_bytes();
        let due = self.retention.is_due(now.mono, zxid, committed, bytes, state_bytes);
        // A state that was given up must not be found as a good one by the next start.
        let good = self.pipeline.is_trusted();
        let free = good && !self.stopping && !self.pipeline.rebuild.is_installing();
        if free && (due || self.would_make_space(now, zxid)) {
            self.begin_snapshot(now, out);
        }
    }

    fn begin_snapshot(&mut self, now: Now, out: &mut CoreOutputs) {
        let version = self.pipeline.version().clone();
        let (zxid, (_, committed)) = (version.zxid(), self.pipeline.counts());
        let token = self.token();
        self.retention.begin(token, zxid, committed, now.mono);
        out.disk.push(DiskOp::WriteSnapshot { token, version, incoming: false });
    }

    /// True if a clean stop, everything accepted being durable, waits for a snapshot that spares
    /// the next start a long replay.
    pub(super) fn awaits_last_snapshot(&mut self, now: Now, out: &mut CoreOutputs) -> bool {
        if self.space.refuses_writes() || !self.pipeline.is_trusted() {
            return false;
        }
        let (zxid, (_, committed)) = (self.pipeline.version().zxid(), self.pipeline.counts());
        let state_bytes = self.pipeline.version().data_bytes();
        match self.retention.before_stop(now.mono, zxid, committed, state_bytes) {
            LastSnapshot::None => false,
            LastSnapshot::Wait => true,
            LastSnapshot::Begin => {
                self.begin_snapshot(now, out);
                true
            }
        }
    }

    /// True if it is the log itself that fills the disk, and a snapshot could take its place.
    fn would_make_space(&mut self, now: Now, zxid: Zxid) -> bool {
        if !self.space.refuses_writes() {
            return false;
        }
        let state_bytes = self.pipeline.version().data_bytes();
        let log_bytes = self.pipeline.log().closed_bytes();
        self.retention.would_help(now.mono, zxid, log_bytes, state_bytes)
    }

    pub(super) fn on_disk(&mut self, now: Now, done: &DiskDone, out: &mut CoreOutputs) {
        self.observed.disk_done(done.token, now.mono);
        match self.pipeline.disk(now, done, out) {
            Some(Finding::OutOfSpace) => self.space.log_full(true, now.mono),
            Some(Finding::SpaceBack) => self.space.log_full(false, now.mono),
            None => {}
        }
        if self.pipeline.halt().is_some() {
            return;
        }
        if Rebuild::is_mine(done.token) {
            let rebuilt = self.pipeline.rebuild.done(done);
            return self.on_rebuilt(now, rebuilt, out);
        }
        if self.retention.is_mine(done.token) {
            return self.on_snapshot(now, done, out);
        }
        let free = match &done.result {
            Ok(DiskFact::Space { log_free, snapshot_free }) => Some(*log_free.min(snapshot_free)),
            Ok(DiskFact::Done | DiskFact::SnapshotWritten { .. }) => None,
            Err(fault) => {
                tracing::warn!(%fault, "disk work in the background failed");
                None
            }
        };
        if self.space.measured(done.token, free, now.mono)
            && self.space.is_exhausted()
            && free.is_some_and(|free| free >= self.config.reserve_bytes)
        {
            self.pipeline.log().space_available(&mut out.disk);
        }
    }

    fn on_snapshot(&mut self, now: Now, done: &DiskDone, out: &mut CoreOutputs) {
        match &done.result {
            Ok(_) => {
                let retired = self.retention.written(now.mono, self.space.refuses_writes());
                for zxid in retired.snapshots {
                    let token = self.token();
                    out.disk.push(DiskOp::RemoveSnapshot { token, zxid });
                }
                self.pipeline.log().release(retired.log, &mut out.disk);
            }
            Err(fault) if fault.out_of_space => {
                tracing::warn!(%fault, "no space for a snapshot; the log is kept");
                self.retention.failed(now.mono);
            }
            Err(fault) => self.pipeline.fail(format!("writing a snapshot failed: {fault}")),
        }
    }
}
