//! A server's core: its start, its turns, its disk, and what it wants done.

use engine::Version;
use engine::recover::DiskImage;
use server::core::{CoreInput, CoreOutputs};
use server::link::{Service, ToShard};

use super::{NodeEvent, Outcome, TICK_NS, World};
use crate::checkers::Seen;
use crate::node::{self, Started};

impl World {
    pub(super) fn start(&mut self, at: usize) -> Outcome {
        let mut out = CoreOutputs::default();
        let published_before = self.history.seats[at].published;
        self.history.now = self.now;
        self.nodes[at].disk_failed = false;
        match self.nodes[at].start(self.now, &self.options, self.faults, &mut out) {
            Started::Failed => {
                self.note_at(at, "node", "eio", &"");
                self.nodes[at].start_at = self.now + self.dice.between(1, 3000) * 1_000_000;
                Ok(())
            }
            Started::Refused(error) => {
                self.note_at(at, "node", "refused", &error);
                if self.nodes[at].disk.damaged() {
                    return Ok(());
                }
                Err(self.violation("recovers_after_crash", error.to_string()))
            }
            Started::Running(version, first) => {
                self.note_at(at, "node", "started", &format!("{version:?}"));
                self.peers.start(at);
                if self.nodes[at].disk.damaged() && version.zxid() < published_before {
                    // Damage took the tail: a lone server cannot know. Nothing more to check.
                    self.nodes[at].refused = true;
                    self.nodes[at].process = None;
                    return Ok(());
                }
                self.history.recover(at, &version);
                let seen = Seen::Recovered {
                    node: at,
                    version: &version,
                    first: &first,
                    published_before,
                };
                self.see(&seen)?;
                self.replay_without_newest(at, &version)?;
                self.core_outputs(at, out)
            }
        }
    }

    /// The log alone, or an older snapshot and the log, must make the same state, if it reaches
    /// back far enough.
    fn replay_without_newest(&mut self, at: usize, version: &Version) -> Outcome {
        if self.nodes[at].disk.damaged() {
            return Ok(());
        }
        let mut image = self.nodes[at].disk.image();
        let newest = image.snapshots.iter().map(|(zxid, _)| *zxid).max();
        let Some(newest) = newest else { return Ok(()) };
        if self.nodes[at].disk.placed() == Some(newest) {
            return Ok(());
        }
        image.snapshots.retain(|(zxid, _)| *zxid != newest);
        if let Ok(replayed) = node::replay(&image, &self.options) {
            self.see(&Seen::Rebuilt { from: version, rebuilt: &replayed, how: "by replay" })?;
        }
        Ok(())
    }

    /// A snapshot that has just been written, read again.
    fn reload(&mut self, at: usize, version: &Version) -> Outcome {
        let Some((zxid, file)) = self.nodes[at].disk.newest_snapshot() else { return Ok(()) };
        if zxid != version.zxid() {
            return Ok(());
        }
        let file: engine::recover::Image = std::sync::Arc::new(file.clone());
        let image = DiskImage { snapshots: vec![(zxid, file)], ..DiskImage::default() };
        match node::replay(&image, &self.options) {
            Ok(loaded) => {
                self.see(&Seen::Rebuilt { from: version, rebuilt: &loaded, how: "from a snapshot" })
            }
            Err(error) => Err(self.violation("snapshot_equals_replay", error.to_string())),
        }
    }

    pub(super) fn core_event(&mut self, at: usize, event: NodeEvent) -> Outcome {
        let now = self.nodes[at].now(self.now);
        let mut out = CoreOutputs::default();
        let running = "enabled only while it runs";
        match event {
            NodeEvent::ToCore(index) => {
                let process = self.nodes[at].process.as_mut().expect(running);
                let Some(message) = process.shards[index].to_core.pop_front() else {
                    return Ok(());
                };
                let words = describe(&message);
                let from = server::link::ShardId(index as u16);
                process.core_step(now, CoreInput::Shard { from, message }, &mut out);
                self.note_at(at, "core", "mail", &words);
            }
            NodeEvent::CoreTurn => {
                let process = self.nodes[at].process.as_mut().expect(running);
                process.core_dirty = false;
                process.core.end_turn(now, &mut out);
                self.note_at(at, "core", "turn", &"");
            }
            NodeEvent::CoreTick => {
                let process = self.nodes[at].process.as_mut().expect(running);
                process.tick_at = self.now + TICK_NS;
                process.core_step(now, CoreInput::Tick, &mut out);
                self.note_at(at, "core", "tick", &"");
            }
            _ => {
                let disk = &mut self.nodes[at].disk;
                let done = disk.complete(self.now, &self.options, self.faults);
                let Some((done, written)) = done else { return Ok(()) };
                if let Some(version) = written {
                    self.reload(at, &version)?;
                }
                let node = &mut self.nodes[at];
                node.disk_failed |= done.result.is_err();
                let Some(process) = node.process.as_mut() else { return Ok(()) };
                let words = format!("{} {:?}", done.token.0, done.result);
                process.core_step(now, CoreInput::Disk(done), &mut out);
                self.note_at(at, "disk", "done", &words);
            }
        }
        self.core_outputs(at, out)
    }

    /// Carries out what a core wants, and shows its feed's new batches to everybody who judges.
    pub(super) fn core_outputs(&mut self, at: usize, out: CoreOutputs) -> Outcome {
        for op in out.disk {
            self.nodes[at].disk.submit(op, self.now, &self.options);
        }
        let Some(process) = &mut self.nodes[at].process else { return Ok(()) };
        for (shard, message) in out.to_shards {
            if let ToShard::Serving { service, .. } = &message {
                self.history.seats[at].serves = *service == Service::Everybody;
            }
            process.shards[usize::from(shard.0)].to_shard.push_back(message);
        }
        // What a leader says may follow from what it has just published.
        while let Some(process) = &mut self.nodes[at].process
            && let Some(batch) = process.listener.next()
        {
            self.history.now = self.now;
            self.history.publish(at, &batch);
            let published = self.history.seats[at].published;
            let words = format!("{published:?} in {} segments", batch.segments.len());
            self.note_at(at, "core", "publish", &words);
            self.see(&Seen::Published { node: at, batch: &batch })?;
        }
        let node = &mut self.nodes[at];
        if let Some(due) = node.due(self.now)
            && let Some(process) = &mut node.process
        {
            process.tick_at = process.tick_at.min(due);
        }
        for order in out.peers {
            self.peer_order(at, order)?;
        }
        if let Some(reason) = out.halt {
            self.note_at(at, "core", "halt", &reason);
            if !self.nodes[at].disk_failed {
                return Err(self.violation("halts_only_for_a_cause", reason));
            }
            self.crash_for(at, "halted");
        }
        Ok(())
    }
}

fn describe(message: &server::link::ToCore) -> String {
    use server::link::ToCore;
    match message {
        ToCore::Submit(submits) => format!("submit {}", submits.list.len()),
        ToCore::Attach { conn, session, .. } => format!("attach {session} {conn:?}"),
        ToCore::Detached { session, .. } => format!("detached {session}"),
        ToCore::Heard { sessions, .. } => format!("heard {}", sessions.len()),
        ToCore::Query(query) => format!("query {:?}", query.word),
        ToCore::Report { number, .. } => format!("report {number}"),
        ToCore::TraceMask(mask) => format!("trace mask {mask}"),
    }
}
