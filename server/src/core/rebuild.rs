//! What replication has done to the disk beside appending: epochs saved, the log cut, a received
//! state installed. One thing at a time, each complete only when it is durable
//! (`replication`, "Disk").
//!
//! ```text
//! SnapshotBegin -> Receiving -> InstallSnapshot -> Writing (incoming file) -> Resetting (log)
//!                                                     -> Adopting (its name) -> SnapshotInstalled
//! ```
//!
//! A crash before the log's reset is durable leaves the old history whole, one after it the new.

use engine::Version;
use engine::disk::{DiskDone, DiskOp, DiskToken};
use engine::epochs;
use engine::snapshot::zookeeper::SnapshotIntake;
use model::Zxid;
use replication::{Epochs, Input};

use super::CoreOutputs;

/// Set in the tokens used here, clear in all others of the core.
const REBUILD_BIT: u64 = 1 << 62;

/// A received state on its way to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Install {
    /// None.
    Idle,
    /// The file is being written beside the others.
    Writing(DiskToken, Zxid),
    /// The file is durable.
    Written(Zxid),
    /// The log is being emptied.
    Resetting(Zxid),
    /// The file gets its place.
    Adopting(DiskToken, Zxid),
}

/// Epochs on their way to the disk.
struct Saving {
    epochs: Epochs,
    /// The two copies being written; none while earlier work is under way.
    copies: Option<[(DiskToken, bool); 2]>,
}

/// What a completion led to.
pub(super) enum Rebuilt {
    /// Nothing yet.
    Pending,
    /// Tell the replica.
    Tell(Input),
    /// The received state has replaced everything: the snapshots before it may go. Tell the
    /// replica.
    Installed(Zxid),
    /// The node must end.
    Failed(String),
}

/// The work under way.
pub(super) struct Rebuild {
    /// The state being received.
    intake: Option<Box<SnapshotIntake>>,
    install: Install,
    saving: Option<Saving>,
    /// Evidence on its way to the disk.
    evidence: Option<DiskToken>,
    revision: u64,
    next_token: u64,
}

impl Rebuild {
    /// `revision` is that of the epoch files found.
    pub(super) fn new(revision: u64) -> Rebuild {
        let install = Install::Idle;
        Rebuild { intake: None, install, saving: None, evidence: None, revision, next_token: 0 }
    }

    fn token(&mut self) -> DiskToken {
        self.next_token += 1;
        DiskToken(REBUILD_BIT | self.next_token)
    }

    /// True if this completion belongs here.
    pub(super) fn is_mine(token: DiskToken) -> bool {
        token.0 & (REBUILD_BIT | DiskToken::LOG_BIT) == REBUILD_BIT
    }

    /// True while a received state is being installed.
    pub(super) fn is_installing(&self) -> bool {
        self.install != Install::Idle
    }

    /// A state begins to arrive; an earlier one is forgotten.
    pub(super) fn receive(&mut self, intake: SnapshotIntake) {
        self.intake = Some(Box::new(intake));
    }

    /// The state being received.
    pub(super) fn intake(&mut self) -> Option<&mut SnapshotIntake> {
        self.intake.as_deref_mut()
    }

    /// The state received, complete; or the transfer broke off.
    pub(super) fn take_intake(&mut self) -> Option<SnapshotIntake> {
        self.intake.take().map(|intake| *intake)
    }

    /// Keeps what was found, and the state it is about.
    pub(super) fn keep(
        &mut self,
        zxid: Zxid,
        text: String,
        state: Option<Version>,
        out: &mut CoreOutputs,
    ) {
        let token = self.token();
        self.evidence = Some(token);
        out.disk.push(DiskOp::KeepEvidence { token, zxid, text, state });
    }

    /// True while evidence is being written.
    pub(super) fn keeps_evidence(&self) -> bool {
        self.evidence.is_some()
    }

    /// Begins to install a received state.
    pub(super) fn install(&mut self, version: Version, out: &mut CoreOutputs) {
        let token = self.token();
        self.install = Install::Writing(token, version.zxid());
        out.disk.push(DiskOp::WriteSnapshot { token, version, incoming: true });
    }

    /// The received state is durable: reset the log to this position now.
    pub(super) fn resets(&mut self) -> Option<Zxid> {
        let Install::Written(at) = self.install else { return None };
        self.install = Install::Resetting(at);
        Some(at)
    }

    /// Saves epochs once everything before is durable.
    pub(super) fn save(&mut self, epochs: Epochs) {
        self.saving = Some(Saving { epochs, copies: None });
    }

    /// Begins to write epochs that wait, if the log is `quiet`.
    pub(super) fn settle(&mut self, quiet: bool, out: &mut CoreOutputs) {
        if !quiet || self.install != Install::Idle {
            return;
        }
        let Some(Saving { epochs, copies: None }) = &self.saving else { return };
        let (epochs, tokens) = (*epochs, [self.token(), self.token()]);
        self.revision += 1;
        let Epochs { accepted, current } = epochs;
        let content = epochs::Epochs { revision: self.revision, accepted, current };
        out.disk.extend(content.replace(tokens));
        let copies = Some(tokens.map(|token| (token, false)));
        self.saving = Some(Saving { epochs, copies });
    }

    /// The log was cut, durably, and ends here, at a state of that digest.
    pub(super) fn on_cut(
        &mut self,
        end: Zxid,
        digest: Option<u64>,
        out: &mut CoreOutputs,
    ) -> Option<Input> {
        if let Install::Resetting(at) = self.install {
            let token = self.token();
            self.install = Install::Adopting(token, at);
            out.disk.push(DiskOp::AdoptSnapshot { token, zxid: at });
            return None;
        }
        Some(Input::Truncated { end, digest })
    }

    /// Takes a completion of one of the operations from here.
    pub(super) fn done(&mut self, done: &DiskDone) -> Rebuilt {
        if self.evidence == Some(done.token) {
            self.evidence = None;
            match &done.result {
                Ok(_) => tracing::warn!("evidence of the difference is kept"),
                // Nothing depends on it, so it holds nothing up.
                Err(fault) => tracing::error!(%fault, "evidence of the difference is lost"),
            }
            return Rebuilt::Pending;
        }
        match self.install {
            Install::Writing(token, at) if token == done.token => {
                return match &done.result {
                    Ok(_) => {
                        self.install = Install::Written(at);
                        Rebuilt::Pending
                    }
                    Err(fault) => Rebuilt::Failed(format!("a received state is lost: {fault}")),
                };
            }
            Install::Adopting(token, at) if token == done.token => {
                self.install = Install::Idle;
                return match &done.result {
                    Ok(_) => Rebuilt::Installed(at),
                    Err(fault) => Rebuilt::Failed(format!("a received state is lost: {fault}")),
                };
            }
            Install::Idle
            | Install::Writing(..)
            | Install::Written(_)
            | Install::Resetting(_)
            | Install::Adopting(..) => {}
        }
        let Some(Saving { epochs, copies: Some(copies) }) = &mut self.saving else {
            return Rebuilt::Pending;
        };
        let Some(copy) = copies.iter_mut().find(|(token, _)| *token == done.token) else {
            return Rebuilt::Pending;
        };
        match &done.result {
            Ok(_) => copy.1 = true,
            // Nothing of it counts before both copies are there, so both are written again.
            Err(fault) if fault.out_of_space => {
                tracing::warn!(%fault, "no space to save a promise; it is tried again");
                self.saving = Some(Saving { epochs: *epochs, copies: None });
                return Rebuilt::Pending;
            }
            Err(fault) => return Rebuilt::Failed(format!("a promise could not be saved: {fault}")),
        }
        if copies.iter().any(|(_, done)| !done) {
            return Rebuilt::Pending;
        }
        let epochs = *epochs;
        self.saving = None;
        Rebuilt::Tell(Input::EpochsSaved(epochs))
    }
}
