//! From a recovered state to a running core.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::disk::DiskOp;
use engine::recover::Recovered;
use model::{Now, Zxid};
use replication::{Durable, Epochs, Replica};

use super::administration::Observed;
use super::expiry::Expiry;
use super::forwards::Forwards;
use super::intake::Intake;
use super::pipeline::Pipeline;
use super::queries::Queries;
use super::readers::Readers;
use super::reaper::Reaper;
use super::retention::Retention;
use super::sessions::{Passwords, Sessions};
use super::space::Space;
use super::speculate::Config;
use super::{Core, CoreConfig, CoreOutputs};
use crate::admin::HostFacts;
use crate::admin::four_letter::TRACE_MASK_DEFAULT;
use crate::feed::Publisher;

impl Core {
    /// Takes over a recovered state. Every known session gets a full timeout from now. The shards
    /// begin with [`Core::first_version`].
    pub fn new(
        config: CoreConfig,
        recovered: Recovered,
        feed: Publisher,
        now: Now,
        out: &mut CoreOutputs,
    ) -> Core {
        let Recovered { draft, log, report, past } = recovered;
        let replica = match &config.ensemble {
            None => Replica::standalone(draft.tables().zxid.max(log.appended())),
            Some(ensemble) => {
                let epochs =
                    Epochs { accepted: past.epochs.accepted, current: past.epochs.current };
                let durable = Durable {
                    epochs,
                    snapshot: past.base.zxid(),
                    digest: Some(past.base.digest()),
                    tail: past.tail.clone(),
                    committed: Zxid::ZERO,
                    trusted: report.differs.is_none(),
                };
                Replica::new(ensemble.clone(), durable)
            }
        };
        let shown = config
            .ensemble
            .as_ref()
            .map(|ensemble| Config { text: ensemble.members.to_string(), since_ms: now.wall_ms });
        let known = std::iter::empty();
        let mut core = Core {
            started: now.mono,
            pipeline: Pipeline::new(config.shards, (draft, log, past), feed, replica, shown),
            intake: Intake::new(),
            sessions: Sessions::new(config.server, now.wall_ms, known),
            forwards: Forwards::new(),
            readers: Readers::new(config.read_only_mode, config.tick_ms),
            floor: Zxid::ZERO,
            leading_since: None,
            passwords: Passwords::new(&config.session_secret, config.zookeeper_passwords),
            expiry: Expiry::new(config.tick_ms, config.shards, now.mono),
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
            trace_mask: TRACE_MASK_DEFAULT,
            next_token: 0,
            nobody: Arc::from([]),
            stopping: false,
            stopped: false,
            config,
        };
        core.pipeline.start(out);
        if let Some(differs) = report.differs {
            tracing::error!(?differs, "the state is not what the log says; a leader's is needed");
        }
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
        if core.config.ensemble.is_none() {
            core.take_over_sessions(now);
        }
        core.on_tick(now, out);
        core.execute_intake(now);
        core.carry_out(now, out);
        core
    }

    /// The state that shards begin with: what of the recovered state cannot be taken back. A
    /// server alone takes nothing back.
    pub fn first_version(config: &CoreConfig, recovered: &mut Recovered) -> engine::Version {
        if config.ensemble.is_some() {
            recovered.past.base.clone()
        } else {
            recovered.draft.freeze()
        }
    }

    /// When [`super::CoreInput::Tick`] is due at the latest, if earlier than usual.
    pub fn next_deadline(&self) -> Option<model::Mono> {
        self.pipeline.next_deadline()
    }
}
