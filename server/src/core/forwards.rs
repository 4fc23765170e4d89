//! A learner's side of its clients' writes: sent to the leader, not answered yet.
//!
//! Each session has a queue in the order of its requests. The leader's entries name session and
//! request number, and those of one session come in the order they were sent, so only the front of
//! a queue can be answered. A sync is answered by a packet of its own or, at the latest, with the
//! next write of its session, which the leader ordered behind it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use engine::Outcome;
use model::{ErrorCode, Mono, OpCode, SessionId, Xid};

use crate::feed::{Answer, Completion};
use crate::link::ConnId;

/// A request that waits for the leader.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    /// Who asked.
    pub(super) conn: ConnId,
    /// The request's number; 0 for a new session.
    pub(super) xid: Xid,
    /// What was asked.
    pub(super) opcode: i32,
    /// When.
    pub(super) received: Mono,
    /// What it waits for.
    pub(super) awaits: Awaits,
    /// A read waits just ahead of it.
    pub(super) cut: bool,
}

/// An answer that is due.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Due {
    /// Whose, and what.
    pub(super) completion: Completion,
    /// A read waits just ahead of it: it must find a version without what comes later.
    pub(super) cut: bool,
}

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaits {
    /// Its entry.
    Entry,
    /// The leader's word that everything before is committed.
    Sync { number: u64 },
    /// Only its turn: it was refused here.
    Turn(ErrorCode),
}

impl Forward {
    /// True for a new session's.
    pub(super) fn makes_session(&self) -> bool {
        self.opcode == OpCode::CreateSession.code()
    }

    /// The answer that this outcome makes.
    pub(super) fn reply(&self, outcome: Outcome) -> Completion {
        let &Forward { conn, xid, opcode, received, .. } = self;
        Completion { conn, answer: Answer::Reply { xid, opcode, outcome, received } }
    }

    /// The answer to a request that waits for nothing but its turn.
    fn own_reply(&self) -> Option<Due> {
        let outcome = match self.awaits {
            Awaits::Entry => return None,
            Awaits::Sync { .. } => Outcome::Done,
            Awaits::Turn(code) => Outcome::Failed(code),
        };
        Some(Due { completion: self.reply(outcome), cut: self.cut })
    }
}

/// What an entry answers.
#[derive(Debug, Default)]
pub(super) struct Match {
    /// Answers that must come before the entry's.
    pub(super) before: Vec<Due>,
    /// The request that it answers.
    pub(super) request: Option<Forward>,
}

/// A connection that asked for a session that it says it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attaching {
    /// Who.
    pub(super) conn: ConnId,
    /// Negotiated, ms.
    pub(super) timeout_ms: i32,
}

/// What a completed sync leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Synced {
    /// These answers.
    Answers(Vec<Due>),
    /// The session is this connection's.
    Grant(SessionId, Attaching),
}

/// Everything a learner waits for from its leader.
pub(super) struct Forwards {
    /// Only looked up, never walked.
    queues: HashMap<SessionId, VecDeque<Forward>, ahash::RandomState>,
    /// Syncs in the order sent; numbers of those answered already stay.
    syncs: VecDeque<(SessionId, u64)>,
    next_sync: u64,
    attaching: BTreeMap<SessionId, Attaching>,
    /// Sessions that are the connection's once this sync is done.
    granting: BTreeMap<u64, Attaching>,
    /// Heard from since the leader last asked, with their timeouts in ms.
    touched: BTreeMap<SessionId, i32>,
}

impl Forwards {
    pub(super) fn new() -> Forwards {
        Forwards {
            queues: HashMap::with_hasher(ahash::RandomState::with_seeds(9, 10, 11, 12)),
            syncs: VecDeque::new(),
            next_sync: 0,
            attaching: BTreeMap::new(),
            granting: BTreeMap::new(),
            touched: BTreeMap::new(),
        }
    }

    /// The leader is gone, and with it every answer.
    pub(super) fn clear(&mut self) {
        *self = Forwards { next_sync: self.next_sync, ..Forwards::new() };
    }

    /// A number for the next sync.
    pub(super) fn number_sync(&mut self, session: SessionId) -> u64 {
        self.next_sync += 1;
        self.syncs.push_back((session, self.next_sync));
        self.next_sync
    }

    /// A request was sent, or waits for its turn. The answer, if it is its turn already.
    pub(super) fn push(&mut self, session: SessionId, forward: Forward) -> Option<Due> {
        if matches!(forward.awaits, Awaits::Turn(_)) && !self.queues.contains_key(&session) {
            return forward.own_reply();
        }
        self.queues.entry(session).or_default().push_back(forward);
        None
    }

    /// An entry of this session arrived, of this type, or (`None`) that of a refusal: what it
    /// answers here. One of another type answers a request that was made elsewhere: the session
    /// has moved, and clients may count their requests anew on every connection.
    pub(super) fn entry(&mut self, session: SessionId, xid: Xid, kind: Option<i32>) -> Match {
        let Some(queue) = self.queues.get_mut(&session) else { return Match::default() };
        let first = queue.iter().position(|f| matches!(f.awaits, Awaits::Entry));
        let fits = |forward: &Forward| {
            forward.xid == xid && kind.is_none_or(|kind| kind == forward.opcode)
        };
        let Some(first) = first.filter(|&at| fits(&queue[at])) else {
            return Match::default();
        };
        let before = queue.drain(..first).filter_map(|forward| forward.own_reply()).collect();
        let request = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&session);
        }
        Match { before, request }
    }

    /// Requests at the front of a session's queue that were only waiting for their turn.
    pub(super) fn turn(&mut self, session: SessionId) -> Vec<Due> {
        let mut answers = Vec::new();
        let Some(queue) = self.queues.get_mut(&session) else { return answers };
        while queue.front().is_some_and(|front| matches!(front.awaits, Awaits::Turn(_))) {
            answers.extend(queue.pop_front().and_then(|forward| forward.own_reply()));
        }
        if queue.is_empty() {
            self.queues.remove(&session);
        }
        answers
    }

    /// The oldest sync is done: its answer, with what waited behind it. An error if the leader
    /// has left something unanswered that came before.
    pub(super) fn synced(&mut self) -> Result<Synced, &'static str> {
        let Some((session, number)) = self.syncs.pop_front() else {
            return Err("the leader answered a sync that nobody asked for");
        };
        if let Some(attaching) = self.granting.remove(&number) {
            return Ok(Synced::Grant(session, attaching));
        }
        let nothing = Ok(Synced::Answers(Vec::new()));
        let Some(queue) = self.queues.get_mut(&session) else { return nothing };
        let sync = Awaits::Sync { number };
        let Some(at) = queue.iter().position(|forward| forward.awaits == sync) else {
            return nothing;
        };
        if queue.iter().take(at).any(|forward| matches!(forward.awaits, Awaits::Entry)) {
            return Err("the leader answered a sync before the writes ahead of it");
        }
        let mut answers: Vec<Due> =
            queue.drain(..=at).filter_map(|forward| forward.own_reply()).collect();
        answers.extend(self.turn(session));
        Ok(Synced::Answers(answers))
    }

    /// A connection asks for a session; the one that asked before, if there is one, is named.
    pub(super) fn attach(&mut self, session: SessionId, attaching: Attaching) -> Option<ConnId> {
        self.attaching.insert(session, attaching).map(|earlier| earlier.conn)
    }

    /// A session is to be given to a connection when everything that the leader has ordered so far
    /// is here: the number of the sync that tells.
    pub(super) fn grant_when_synced(&mut self, session: SessionId, attaching: Attaching) -> u64 {
        let number = self.number_sync(session);
        self.granting.insert(number, attaching);
        number
    }

    /// The leader has looked at a session.
    pub(super) fn revalidated(&mut self, session: SessionId) -> Option<Attaching> {
        self.attaching.remove(&session)
    }

    /// Requests of a connection that is gone are answered to nobody.
    pub(super) fn detach(&mut self, session: SessionId, conn: ConnId) {
        if let Some(queue) = self.queues.get_mut(&session) {
            // A sync that is forgotten here is still answered by the leader, and then ignored.
            queue.retain(|forward| forward.conn != conn);
            if queue.is_empty() {
                self.queues.remove(&session);
            }
        }
    }

    /// A session was heard from.
    pub(super) fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        self.touched.insert(session, timeout_ms);
    }

    /// Sessions heard from since the last call.
    pub(super) fn touches(&mut self) -> Vec<(SessionId, i32)> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SessionId = SessionId(7);

    fn forward(xid: i32, awaits: Awaits) -> Forward {
        let (conn, cut) = (ConnId::default(), false);
        Forward { conn, xid: Xid(xid), opcode: 5, received: Mono(0), awaits, cut }
    }

    fn xids(answers: &[Due]) -> Vec<i32> {
        let xid = |due: &Due| match due.completion.answer {
            Answer::Reply { xid, .. } => xid.0,
            Answer::SessionCreated { .. } | Answer::SessionEnded => panic!("only replies"),
        };
        answers.iter().map(xid).collect()
    }

    #[test]
    fn only_the_front_of_a_session_is_answered() {
        let mut forwards = Forwards::new();
        for xid in [1, 2] {
            let cut = xid == 2;
            assert_eq!(forwards.push(S, Forward { cut, ..forward(xid, Awaits::Entry) }), None);
        }
        assert!(forwards.entry(S, Xid(2), None).request.is_none(), "another server's request");
        assert!(forwards.entry(S, Xid(1), Some(14)).request.is_none(), "another operation");
        assert!(forwards.entry(SessionId(8), Xid(1), None).request.is_none());
        let request = |forwards: &mut Forwards, xid| {
            forwards.entry(S, Xid(xid), Some(5)).request.map(|f| (f.xid.0, f.cut))
        };
        assert_eq!(request(&mut forwards, 1), Some((1, false)));
        assert_eq!(request(&mut forwards, 2), Some((2, true)));
        assert!(forwards.queues.is_empty());
    }

    /// The proposal of a write that follows a sync may overtake the answer to the sync.
    #[test]
    fn a_sync_is_answered_once_and_before_the_write_behind_it() {
        let mut forwards = Forwards::new();
        let sync = Awaits::Sync { number: forwards.number_sync(S) };
        forwards.push(S, forward(1, sync));
        forwards.push(S, forward(2, Awaits::Entry));
        let matched = forwards.entry(S, Xid(2), None);
        assert_eq!((xids(&matched.before), matched.request.map(|f| f.xid.0)), (vec![1], Some(2)));
        assert_eq!(forwards.synced(), Ok(Synced::Answers(vec![])));
        assert!(forwards.synced().is_err());
    }

    #[test]
    fn a_sync_waits_for_the_writes_before_it() {
        let mut forwards = Forwards::new();
        forwards.push(S, forward(1, Awaits::Entry));
        let sync = Awaits::Sync { number: forwards.number_sync(S) };
        forwards.push(S, forward(2, sync));
        forwards.push(S, forward(3, Awaits::Turn(ErrorCode::SystemError)));
        let mut early = Forwards { queues: forwards.queues.clone(), ..Forwards::new() };
        early.syncs.clone_from(&forwards.syncs);
        assert!(early.synced().is_err());
        forwards.entry(S, Xid(1), None);
        let Ok(Synced::Answers(answers)) = forwards.synced() else { panic!("answers") };
        assert_eq!(xids(&answers), [2, 3]);
    }

    #[test]
    fn a_refusal_waits_for_its_turn() {
        let mut forwards = Forwards::new();
        let refused = Awaits::Turn(ErrorCode::MarshallingError);
        assert!(forwards.push(S, forward(1, refused)).is_some(), "nothing is ahead of it");
        forwards.push(S, forward(2, Awaits::Entry));
        assert_eq!(forwards.push(S, forward(3, refused)), None);
        forwards.entry(S, Xid(2), None);
        assert_eq!(xids(&forwards.turn(S)), [3]);
        assert_eq!(forwards.turn(S), []);
    }
}
