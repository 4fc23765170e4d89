//! From a recovered state to a running core.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::disk::DiskOp;
use engine::draft::Caller;
use engine::recover::Recovered;
use model::{Now, Op, SessionId};

use super::administration::Observed;
use super::expiry::Expiry;
use super::intake::Intake;
use super::pipeline::Pipeline;
use super::queries::Queries;
use super::reaper::Reaper;
use super::retention::Retention;
use super::sessions::{Passwords, Sessions};
use super::space::Space;
use super::{Core, CoreConfig, CoreOutputs};
use crate::admin::HostFacts;
use crate::feed::Publisher;

impl Core {
    /// Takes over a recovered state. Every known session gets a full timeout from now.
    pub fn new(
        config: CoreConfig,
        recovered: Recovered,
        feed: Publisher,
        now: Now,
        out: &mut CoreOutputs,
    ) -> Core {
        // A server of its own owes nobody its past.
        let Recovered { draft, log, past: _, report } = recovered;
        let known = draft.tables().sessions.clone();
        let owners = draft.tables().ephemerals.keys();
        let orphaned: Vec<SessionId> =
            owners.filter(|&owner| !known.contains_key(owner)).copied().collect();

        let mut expiry = Expiry::new(config.tick_ms, config.shards, now.mono);
        for (&session, facts) in &known {
            expiry.track(session, facts.timeout_ms, now.mono);
        }
        let mut core = Core {
            started: now.mono,
            pipeline: Pipeline::new(config.shards, draft, log, feed),
            intake: Intake::new(),
            sessions: Sessions::new(config.server, now.wall_ms, known.keys().copied()),
            passwords: Passwords::new(&config.session_secret, config.zookeeper_passwords),
            expiry,
            unborn: VecDeque::new(),
            reaper: Reaper::new(
                config.container_check_ms,
                config.container_per_minute,
                config.container_never_used_ms,
                now.mono,
            ),
            retention: Retention::new(
                config.snapshot_entries,
                config.snapshot_bytes,
                config.snapshots_kept,
                report.snapshots,
                report.replayed,
            ),
            space: Space::new(config.reserve_bytes, now.mono),
            queries: Queries::new(config.shards),
            observed: Observed::default(),
            host: HostFacts::default(),
            next_token: 0,
            nobody: Arc::from([]),
            stopping: false,
            stopped: false,
            config,
        };
        core.pipeline.start(out);
        for zxid in report.unusable {
            let token = core.token();
            out.disk.push(DiskOp::RemoveSnapshot { token, zxid });
        }
        if let Some(zxid) = report.adopt {
            let token = core.token();
            out.disk.push(DiskOp::AdoptSnapshot { token, zxid });
        }
        for zxid in report.unusable_incoming {
            let token = core.token();
            out.disk.push(DiskOp::RemoveIncoming { token, zxid });
        }
        core.on_tick(now, out);
        // A state taken over from ZooKeeper may hold ephemerals of sessions that are gone. They
        // go by transaction, so that all servers agree (`zab-wire` 4.10).
        for session in orphaned {
            let who = Caller { session, identities: core.nobody.clone() };
            if core.pipeline.make_room(now, 0, out) {
                core.pipeline.write(now, &Op::CloseSession, &who, 0, |_| None);
            }
        }
        core
    }
}
