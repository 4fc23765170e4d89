//! Sessions: their ids, their passwords, and where each is attached.
//!
//! On a server that orders, a session is here from the execution of its createSession to that of
//! its closeSession, so what is not here is unknown or closing, and its requests are dropped
//! (`client-protocol` 2.4). On a learner only the sessions are here that are attached to it.

use std::collections::HashMap;

use hmac::{Hmac, Mac};
use model::{ServerId, SessionId};
use replication::LinkId;
use sha2::Sha256;

use crate::link::{ConnId, Password};

/// Who may write for a session (`zab-wire` 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Whoever comes first.
    Nobody,
    /// A connection of this server.
    Here(ConnId),
    /// A learner, for one of its connections.
    Learner(LinkId),
}

impl Owner {
    /// The connection, if it is one of this server.
    pub(super) fn conn(self) -> Option<ConnId> {
        match self {
            Owner::Here(conn) => Some(conn),
            Owner::Nobody | Owner::Learner(_) => None,
        }
    }
}

/// All live sessions.
pub(super) struct Sessions {
    live: HashMap<SessionId, Owner, ahash::RandomState>,
    next: i64,
    top: i64,
}

impl Sessions {
    /// Ids are given out from the server's number and the wall clock (`client-protocol` 1.5), and
    /// always above every id of this server that is known, should the clock have been set back.
    pub(super) fn new(
        server: ServerId,
        wall_ms: i64,
        known: impl Iterator<Item = SessionId>,
    ) -> Sessions {
        // Looked up; walked only to change what has no order.
        let live = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let top = i64::from(server.0) << 56;
        let next = ((((wall_ms as u64) << 24) >> 8) as i64) | top;
        let mut sessions = Sessions { live, next, top };
        sessions.take_over(known);
        sessions
    }

    /// Forgets everything and takes these sessions as known, attached nowhere.
    pub(super) fn take_over(&mut self, known: impl Iterator<Item = SessionId>) {
        self.live.clear();
        for session in known {
            self.live.insert(session, Owner::Nobody);
            if session.0 >> 56 == self.top >> 56 && session.0 >= self.next {
                self.next = session.0.wrapping_add(1);
            }
        }
    }

    /// An id that no session has, nor can be mistaken for a container's owner. `known` tells of
    /// sessions that are not here.
    pub(super) fn allocate(&mut self, known: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let session = SessionId(self.next);
            self.next = self.next.wrapping_add(1);
            let reserved = session.is_none() || session.0 == i64::MIN;
            if !reserved && !self.live.contains_key(&session) && !known(session) {
                return session;
            }
        }
    }

    /// Number of sessions.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Where a session is attached; none if it is not live.
    pub(super) fn owner(&self, session: SessionId) -> Option<Owner> {
        self.live.get(&session).copied()
    }

    /// Begins a session, or moves it.
    pub(super) fn attach(&mut self, session: SessionId, owner: Owner) {
        self.live.insert(session, owner);
    }

    /// Frees the session of its connection here, if it has one other than `keep`, and names it.
    pub(super) fn kick(&mut self, session: SessionId, keep: Option<ConnId>) -> Option<ConnId> {
        let owner = self.live.get_mut(&session)?;
        let other = owner.conn().filter(|&conn| Some(conn) != keep)?;
        *owner = Owner::Nobody;
        Some(other)
    }

    /// The connection is gone. True if the session was attached to it.
    pub(super) fn detach(&mut self, session: SessionId, conn: ConnId) -> bool {
        match self.live.get_mut(&session) {
            Some(owner) if *owner == Owner::Here(conn) => {
                *owner = Owner::Nobody;
                true
            }
            Some(_) | None => false,
        }
    }

    /// A learner is gone: its sessions may write through another server. Names them, in no order.
    pub(super) fn lost(&mut self, learner: LinkId) -> Vec<SessionId> {
        let theirs = |(_, owner): &(&SessionId, &mut Owner)| **owner == Owner::Learner(learner);
        let freed = self.live.iter_mut().filter(theirs).map(|(session, owner)| {
            *owner = Owner::Nobody;
            *session
        });
        freed.collect()
    }

    /// Ends a session, and names its connection here.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<ConnId> {
        self.live.remove(&session)?.conn()
    }
}

/// How passwords follow from session ids.
pub(super) enum Passwords {
    /// First half of HMAC-SHA256 over the id, keyed with a secret of the ensemble.
    Keyed(Box<Hmac<Sha256>>),
    /// ZooKeeper's formula (`client-protocol` 1.4): predictable, needed beside ZooKeeper servers.
    ZooKeeper,
}

impl Passwords {
    pub(super) fn new(secret: &[u8; 32], zookeeper: bool) -> Passwords {
        if zookeeper {
            return Passwords::ZooKeeper;
        }
        let keyed = Hmac::new_from_slice(secret).expect("a key of any length will do");
        Passwords::Keyed(Box::new(keyed))
    }

    pub(super) fn of(&self, session: SessionId) -> Password {
        match self {
            Passwords::Keyed(keyed) => {
                let mut mac = (**keyed).clone();
                mac.update(&session.0.to_be_bytes());
                let full = mac.finalize().into_bytes();
                let mut password = [0; 16];
                password.copy_from_slice(&full[..16]);
                password
            }
            Passwords::ZooKeeper => zookeeper_password(session),
        }
    }

    /// Compares without telling by its duration how much was right.
    pub(super) fn matches(&self, session: SessionId, offered: &[u8]) -> bool {
        let right = self.of(session);
        if session.is_none() || offered.len() != right.len() {
            return false;
        }
        let difference = right.iter().zip(offered).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

fn zookeeper_password(session: SessionId) -> Password {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session.0 as u64 ^ 0xB341_5C00) ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for four in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        four.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zookeepers_passwords() {
        // `client-protocol` 15.
        for (session, password) in [
            (0x0000_0000_0000_0001_u64, "054cc74a37327db215e702e20c73f005"),
            (0x0100_002c_84e4_0000, "5ef4335d93b1e8f36c7922bf9403f787"),
            (0x0100_0012_3456_0001, "3bfd9ee8352a52e23bb2a6783a163a8d"),
            (0x0300_abcd_ef12_0007, "d5b251bad921d2dcba1a9522e598f769"),
            (0xff00_0000_0000_0001, "054cc74a37327db215e702e20c73f005"),
        ] {
            let made = Passwords::new(&[0; 32], true).of(SessionId(session as i64));
            assert_eq!(format!("{:032x}", u128::from_be_bytes(made)), password);
        }
    }

    #[test]
    fn keyed_passwords_depend_on_key_and_session() {
        let one = Passwords::new(&[1; 32], false);
        let two = Passwords::new(&[2; 32], false);
        let (a, b) = (SessionId(1), SessionId(2));
        assert_ne!(one.of(a), one.of(b));
        assert_ne!(one.of(a), two.of(a));
        assert!(one.matches(a, &one.of(a)));
        for wrong in [&one.of(b)[..], &one.of(a)[..15], &[], &two.of(a)] {
            assert!(!one.matches(a, wrong));
        }
        assert!(!one.matches(SessionId::NONE, &one.of(SessionId::NONE)));
    }

    #[test]
    fn ids_carry_server_and_clock() {
        let mut sessions = Sessions::new(ServerId(1), 0x0123_4567_89ab_cdef, [].into_iter());
        // 8 bits server, the low 40 bits of the clock, 16 bits counter.
        assert_eq!(sessions.allocate(|_| false), SessionId(0x0167_89ab_cdef_0000));
        assert_eq!(sessions.allocate(|_| false), SessionId(0x0167_89ab_cdef_0001));
    }

    #[test]
    fn a_clock_set_back_repeats_no_id() {
        let known = SessionId(0x0100_0000_0005_0009);
        let foreign = SessionId(0x0200_0000_0009_0000);
        let mut sessions = Sessions::new(ServerId(1), 1, [known, foreign].into_iter());
        assert_eq!(sessions.allocate(|_| false), SessionId(known.0 + 1));
    }

    #[test]
    fn reserved_ids_are_skipped() {
        let mut sessions = Sessions::new(ServerId(128), 0, [].into_iter());
        assert_eq!(sessions.allocate(|_| false), SessionId(i64::MIN + 1));
        let mut sessions = Sessions::new(ServerId(0), 0, [].into_iter());
        assert_eq!(sessions.allocate(|_| false), SessionId(1));
    }
}
