//! Who is enough: majorities, and groups with weights (`zab-wire` 7.3).

use std::collections::{BTreeMap, BTreeSet};

use model::{ServerId, Zxid};

/// The voters of one configuration and the rule by which some of them are a quorum. Any two
/// quorums of one configuration share a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Quorum {
    /// More than half of the voters.
    Majority(BTreeSet<ServerId>),
    /// More than half of the groups, each won by more than half of its weight.
    Hierarchical(BTreeMap<ServerId, Ballot>),
}

/// A voter's place in a hierarchical configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// Its group.
    pub group: i64,
    /// Its weight within the group; with 0 it never matters.
    pub weight: u64,
}

impl Quorum {
    /// True if this server's acknowledgements and votes count.
    pub fn is_voter(&self, id: ServerId) -> bool {
        match self {
            Quorum::Majority(voters) => voters.contains(&id),
            Quorum::Hierarchical(ballots) => ballots.contains_key(&id),
        }
    }

    /// All voters, in ascending order.
    pub fn voters(&self) -> Vec<ServerId> {
        match self {
            Quorum::Majority(voters) => voters.iter().copied().collect(),
            Quorum::Hierarchical(ballots) => ballots.keys().copied().collect(),
        }
    }

    /// Weight of a candidate; a candidate of weight 0 is never elected.
    pub fn weight(&self, id: ServerId) -> u64 {
        match self {
            Quorum::Majority(voters) => u64::from(voters.contains(&id)),
            Quorum::Hierarchical(ballots) => ballots.get(&id).map_or(0, |ballot| ballot.weight),
        }
    }

    /// True if the voters for which `has` holds are a quorum.
    pub fn holds(&self, has: impl Fn(ServerId) -> bool) -> bool {
        match self {
            Quorum::Majority(voters) => {
                voters.iter().filter(|id| has(**id)).count() > voters.len() / 2
            }
            Quorum::Hierarchical(ballots) => {
                let mut groups: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
                for (id, ballot) in ballots {
                    let (total, won) = groups.entry(ballot.group).or_default();
                    *total += ballot.weight;
                    *won += if has(*id) { ballot.weight } else { 0 };
                }
                let counted = groups.values().filter(|(total, _)| *total > 0);
                let won = counted.clone().filter(|(total, won)| *won > total / 2).count();
                won > counted.count() / 2
            }
        }
    }

    /// The greatest zxid that a quorum has reached, if `reached` says how far each voter is.
    pub fn reached(&self, reached: impl Fn(ServerId) -> Zxid) -> Zxid {
        let mut best = Zxid::ZERO;
        let mut consider = |id: ServerId| {
            let zxid = reached(id);
            if zxid > best && self.holds(|other| reached(other) >= zxid) {
                best = zxid;
            }
        };
        match self {
            Quorum::Majority(voters) => voters.iter().for_each(|id| consider(*id)),
            Quorum::Hierarchical(ballots) => ballots.keys().for_each(|id| consider(*id)),
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn majority(n: u8) -> Quorum {
        Quorum::Majority((1..=n).map(ServerId).collect())
    }

    /// Groups of (server, weight).
    fn groups(groups: &[&[(u8, u64)]]) -> Quorum {
        let ballots = groups.iter().enumerate().flat_map(|(group, members)| {
            members.iter().map(move |(id, weight)| {
                (ServerId(*id), Ballot { group: group as i64, weight: *weight })
            })
        });
        Quorum::Hierarchical(ballots.collect())
    }

    #[test]
    fn enough_or_not() {
        let check = |quorum: &Quorum, ids: &[u8], expect: bool| {
            assert_eq!(quorum.holds(|id| ids.contains(&id.0)), expect, "{quorum:?} {ids:?}");
        };
        check(&majority(1), &[1], true);
        check(&majority(1), &[], false);
        check(&majority(2), &[1], false);
        check(&majority(3), &[1, 9, 8], false);
        check(&majority(3), &[1, 3], true);
        check(&majority(4), &[1, 3], false);
        check(&majority(5), &[1, 3, 4], true);
        let three = groups(&[
            &[(1, 1), (2, 1), (3, 1)],
            &[(4, 1), (5, 1), (6, 1)],
            &[(7, 1), (8, 1), (9, 1)],
        ]);
        check(&three, &[1, 2, 4, 5], true);
        check(&three, &[1, 2, 4, 7], false);
        check(&three, &[1, 2, 3, 4, 7], false);
        let weightless = groups(&[&[(1, 2), (2, 1)], &[(3, 0), (4, 0)]]);
        check(&weightless, &[1], true);
        check(&weightless, &[2, 3, 4], false);
        assert_eq!(weightless.weight(ServerId(3)), 0);
        assert!(weightless.is_voter(ServerId(3)));
    }

    #[test]
    fn reached_by_most() {
        let at = |zxids: &[i64]| {
            let zxids = zxids.to_vec();
            move |id: ServerId| Zxid(zxids[usize::from(id.0) - 1])
        };
        assert_eq!(majority(3).reached(at(&[5, 3, 9])), Zxid(5));
        assert_eq!(majority(4).reached(at(&[5, 3, 9, 7])), Zxid(5));
        assert_eq!(majority(5).reached(at(&[1, 1, 1, 9, 9])), Zxid(1));
        let two = groups(&[&[(1, 1), (2, 3)], &[(3, 1)]]);
        assert_eq!(two.reached(at(&[9, 4, 6])), Zxid(4));
    }

    proptest! {
        #[test]
        fn quorums_meet(
            weights in prop::collection::vec((0..3i64, 0..4u64), 1..8),
            one: u8,
            other: u8,
        ) {
            let ballots = weights.iter().enumerate().map(|(id, (group, weight))| {
                (ServerId(id as u8), Ballot { group: *group, weight: *weight })
            });
            let ballots: BTreeMap<_, _> = ballots.collect();
            let all = Quorum::Majority(ballots.keys().copied().collect());
            for quorum in [Quorum::Hierarchical(ballots), all] {
                let is_one = quorum.holds(|id| one >> id.0 & 1 == 1);
                let is_other = quorum.holds(|id| other >> id.0 & 1 == 1);
                prop_assert!(!(is_one && is_other) || one & other != 0);
            }
        }
    }
}
