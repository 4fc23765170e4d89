//! Read-only mode (`client-protocol` 7.6): a member of an ensemble that finds no leader for a while
//! lets clients read that asked for no more. Their sessions are this server's alone: they are in
//! no log, no other server knows them, and they end with the mode.

use std::time::Duration;

use model::{Mono, Now, SessionId};

use super::{Core, CoreOutputs};
use crate::limits::EXPIRED_PER_TICK_MAX;
use crate::link::{ConnId, DropReason, ToShard};

/// A server looks for a leader at least so long before it serves readers.
const PATIENCE: Duration = Duration::from_millis(2000);

/// Whether readers are served.
pub(super) struct Readers {
    /// None: never.
    patience: Option<Duration>,
    /// Since when no leader is known.
    alone_since: Option<Mono>,
    served: bool,
}

impl Readers {
    pub(super) fn new(allowed: bool, tick_ms: u64) -> Readers {
        let patience = allowed.then(|| PATIENCE.max(Duration::from_millis(tick_ms)));
        Readers { patience, alone_since: None, served: false }
    }

    /// True if they are served at present.
    pub(super) fn are_served(&self) -> bool {
        self.served
    }

    /// A leader is known, or none is. True if that changes whether readers are served.
    fn tick(&mut self, now: Mono, alone: bool) -> bool {
        let since = if alone { self.alone_since.or(Some(now)) } else { None };
        self.alone_since = since;
        let long = |patience| since.is_some_and(|since| now.since(since) >= patience);
        let serve = self.patience.is_some_and(long);
        std::mem::replace(&mut self.served, serve) != serve
    }
}

impl Core {
    /// Begins and ends the mode, and forgets silent readers.
    pub(super) fn tick_readers(&mut self, now: Now, out: &mut CoreOutputs) {
        let alone = self.pipeline.is_electing();
        if self.readers.tick(now.mono, alone) {
            let served = self.readers.are_served();
            tracing::info!(served, "read-only mode");
            if !served {
                self.forget_readers();
            }
            self.tell_serving(out);
        }
        if !self.readers.are_served() {
            return;
        }
        for _ in 0..EXPIRED_PER_TICK_MAX {
            let Some(session) = self.expiry.due() else { return };
            self.expiry.remove(session);
            if let Some(conn) = self.sessions.remove(session) {
                out.to_shards.push((conn.shard, ToShard::Drop { conn, why: DropReason::Expired }));
            }
        }
    }

    /// A role was found or lost: the mode ends, and begins no sooner than after a while.
    pub(super) fn dismiss_readers(&mut self) {
        self.readers.alone_since = None;
        if std::mem::take(&mut self.readers.served) {
            tracing::info!(served = false, "read-only mode");
            self.forget_readers();
        }
    }

    fn forget_readers(&mut self) {
        self.sessions.take_over(std::iter::empty());
        self.expiry.clear();
    }

    /// A reader wants a session, or has one.
    pub(super) fn attach_reader(
        &mut self,
        now: Now,
        conn: ConnId,
        session: SessionId,
        password: &[u8],
        timeout_ms: i32,
        out: &mut CoreOutputs,
    ) {
        let mut tell = |to: ConnId, message| out.to_shards.push((to.shard, message));
        let known = |id| {
            let states = [self.pipeline.version().tables(), self.pipeline.draft().tables()];
            states.iter().any(|tables| tables.sessions.contains_key(&id))
        };
        let session = if session.is_none() {
            if self.sessions.len() >= self.config.sessions_max {
                return tell(conn, ToShard::Drop { conn, why: DropReason::NotServing });
            }
            self.sessions.allocate(known)
        } else if known(session) {
            // A session of the ensemble: whether it lives cannot be told here. To refuse it would
            // tell its client that it does not.
            return tell(conn, ToShard::Drop { conn, why: DropReason::NotServing });
        } else if !self.passwords.matches(session, password) {
            return tell(conn, ToShard::Refused { conn });
        } else {
            // Made here, or by another server in this mode.
            session
        };
        if let Some(old) = self.sessions.kick(session, Some(conn)) {
            tell(old, ToShard::Drop { conn: old, why: DropReason::Reattached });
        }
        let timeout_ms = self.negotiated(timeout_ms);
        self.expiry.track(session, timeout_ms, now.mono);
        self.grant(session, conn, timeout_ms, out);
    }
}
