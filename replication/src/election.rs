//! Votes: which is better, which are equal, which have won (`zab-wire` 1.7 to 1.9). Pure.
//!
//! Elections are for progress only. Safety comes from the epochs: a server elected by accident
//! cannot gather a quorum that acknowledges its epoch if it lacks committed history.

use std::collections::BTreeMap;

use model::{ServerId, Zxid};

use crate::quorum::Quorum;
use crate::wire::election::{Notification, PeerState};

/// Leader of a vote that is for nobody.
pub const NOBODY: i64 = i64::MIN;

/// Somebody's opinion on who should lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Proposed leader, [`NOBODY`] if none.
    pub leader: i64,
    /// That server's last entry.
    pub zxid: Zxid,
    /// Round of the one who votes; never decides which vote is better.
    pub round: i64,
    /// That server's current epoch.
    pub peer_epoch: i64,
    /// What the one who votes is doing.
    pub state: PeerState,
    /// Version of the message it came in; decides how votes are compared.
    pub version: i32,
}

impl Vote {
    /// The vote of a received notification.
    pub fn of(notification: &Notification<'_>) -> Vote {
        Vote {
            leader: notification.leader,
            zxid: notification.zxid,
            round: notification.round,
            peer_epoch: notification.peer_epoch,
            state: notification.state,
            version: notification.version,
        }
    }

    /// The proposed leader, if it is one that can exist.
    pub fn candidate(&self) -> Option<ServerId> {
        u8::try_from(self.leader).ok().map(ServerId)
    }

    /// True if this candidate should be preferred: by epoch, then zxid, then number. Candidates
    /// without weight are never preferred.
    pub fn beats(&self, other: &Vote, quorum: &Quorum) -> bool {
        if self.candidate().is_none_or(|id| quorum.weight(id) == 0) {
            return false;
        }
        (self.peer_epoch, self.zxid, self.leader) > (other.peer_epoch, other.zxid, other.leader)
    }

    /// True if both count for the same outcome.
    pub fn agrees_with(&self, other: &Vote) -> bool {
        let looking = [self.state, other.state].contains(&PeerState::Looking);
        if looking {
            return (self.leader, self.zxid, self.round, self.peer_epoch)
                == (other.leader, other.zxid, other.round, other.peer_epoch);
        }
        if (self.version > 0) != (other.version > 0) {
            return self.leader == other.leader;
        }
        (self.leader, self.peer_epoch) == (other.leader, other.peer_epoch)
    }
}

/// The latest vote of each server.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    votes: BTreeMap<ServerId, Vote>,
}

impl Tally {
    /// Takes a vote, replacing that server's earlier one; true if that changes anything.
    pub fn record(&mut self, from: ServerId, vote: Vote) -> bool {
        self.votes.insert(from, vote) != Some(vote)
    }

    /// Forgets all votes.
    pub fn clear(&mut self) {
        self.votes.clear();
    }

    /// True if those that agree with `vote` are a quorum.
    pub fn elects(&self, vote: &Vote, quorum: &Quorum) -> bool {
        quorum.holds(|id| self.votes.get(&id).is_some_and(|held| held.agrees_with(vote)))
    }

    /// Those that agree with `vote`.
    pub fn supporters(&self, vote: &Vote) -> Vec<ServerId> {
        let agree = self.votes.iter().filter(|(_, held)| held.agrees_with(vote));
        agree.map(|(id, _)| *id).collect()
    }

    /// True if every voter that can vote has done so, and alike: no better vote can come.
    pub fn is_unanimous(
        &self,
        vote: &Vote,
        quorum: &Quorum,
        is_gone: impl Fn(ServerId) -> bool,
    ) -> bool {
        quorum.voters().into_iter().all(|id| match self.votes.get(&id) {
            Some(held) => held.agrees_with(vote),
            None => is_gone(id),
        })
    }

    /// True if this server's vote is there.
    pub fn has(&self, voter: ServerId) -> bool {
        self.votes.contains_key(&voter)
    }

    /// True if the proposed leader itself says that it leads. A vote for `me` is confirmed by
    /// being of the round `me` is in.
    pub fn leader_confirms(&self, vote: &Vote, me: ServerId, my_round: i64) -> bool {
        match vote.candidate() {
            Some(leader) if leader == me => vote.round == my_round,
            Some(leader) => {
                self.votes.get(&leader).is_some_and(|held| held.state == PeerState::Leading)
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Epoch;
    use proptest::prelude::*;

    fn vote(leader: i64, epoch: i64, zxid: Zxid) -> Vote {
        let state = PeerState::Looking;
        Vote { leader, zxid, round: 1, peer_epoch: epoch, state, version: 2 }
    }

    fn three() -> Quorum {
        Quorum::Majority((1..=3).map(ServerId).collect())
    }

    #[test]
    fn better_by_epoch_then_zxid_then_number() {
        let z = |epoch, counter| Zxid::new(Epoch(epoch), counter);
        let rising = [
            vote(1, 0, Zxid(-1)),
            vote(1, 0, z(0, 0)),
            vote(2, 0, z(0, 0)),
            vote(1, 0, z(9, 9)),
            vote(3, 1, z(0, 1)),
            vote(1, 1, z(1, 4)),
            vote(2, 1, z(1, 4)),
        ];
        for (i, one) in rising.iter().enumerate() {
            for (j, other) in rising.iter().enumerate() {
                assert_eq!(one.beats(other, &three()), i > j, "{i} {j}");
            }
        }
        assert!(!vote(9, 9, z(9, 9)).beats(&rising[0], &three()), "not a voter");
        let nobody = vote(NOBODY, i64::MIN, Zxid(i64::MIN));
        assert!(rising[0].beats(&nobody, &three()));
        assert!(!nobody.beats(&rising[0], &three()));
    }

    #[test]
    fn equality_depends_on_states_and_versions() {
        let looking = vote(2, 5, Zxid(7));
        let other_round = Vote { round: 2, ..looking };
        assert!(!looking.agrees_with(&other_round));
        let following = Vote { state: PeerState::Following, ..looking };
        let leading = Vote { state: PeerState::Leading, round: 9, zxid: Zxid(1), ..looking };
        assert!(following.agrees_with(&leading));
        assert!(!looking.agrees_with(&leading));
        let activated = Vote { peer_epoch: 6, ..leading };
        assert!(!following.agrees_with(&activated));
        let old = Vote { version: 0, ..following };
        assert!(old.agrees_with(&activated), "only ids are compared with old messages");
    }

    #[test]
    fn leader_must_speak_for_itself() {
        let state = PeerState::Following;
        let for_two = Vote { state, ..vote(2, 5, Zxid(7)) };
        let mut tally = Tally::default();
        tally.record(ServerId(1), for_two);
        tally.record(ServerId(3), for_two);
        assert!(tally.elects(&for_two, &three()));
        assert!(!tally.leader_confirms(&for_two, ServerId(1), 1));
        tally.record(ServerId(2), Vote { state: PeerState::Leading, ..for_two });
        assert!(tally.leader_confirms(&for_two, ServerId(1), 1));
        assert!(tally.leader_confirms(&for_two, ServerId(2), 1));
        assert!(!tally.leader_confirms(&for_two, ServerId(2), 2));
    }

    proptest! {
        #[test]
        fn better_is_a_strict_order(
            votes in prop::collection::vec((1..4i64, 0..3i64, 0..3i64), 3)
        ) {
            let v: Vec<Vote> = votes.iter().map(|(l, e, z)| vote(*l, *e, Zxid(*z))).collect();
            let beats = |i: usize, j: usize| v[i].beats(&v[j], &three());
            prop_assert!(!beats(0, 0));
            prop_assert!(!(beats(0, 1) && beats(1, 0)));
            prop_assert!(beats(0, 1) || beats(1, 0) || v[0] == v[1]);
            prop_assert!(!(beats(0, 1) && beats(1, 2)) || beats(0, 2));
        }
    }
}
