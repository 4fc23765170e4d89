//! The properties of the Zab paper (`zab-wire` 9.0) under seeded faults: committed prefixes agree,
//! one leader per epoch, a leader has everything committed, nothing is acknowledged before it is
//! durable, and after the faults everybody comes together and goes on.

use replication::{Activity, Counts, Learners, Replica};

mod world;

/// Set `ZAB_SEEDS` to `from..to` to try others.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("ZAB_SEEDS").ok();
    let given = given.as_deref().and_then(|text| text.split_once(".."));
    let parsed = given.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.unwrap_or(0..150)
}

#[test]
fn properties_hold_under_faults() {
    let mut committed = 0;
    for seed in seeds() {
        match world::chaos(seed, |_| {}) {
            Ok(entries) => committed += entries,
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    assert!(committed > 0, "the runs must get something done");
}

/// A leader's death is noticed by its connections, and its refused port needs no waiting: the next
/// leader is there within a few messages and writes, far less than the time that a quorum waits for
/// a better vote. So it is in whatever order the connections end, whoever notices it first, and if
/// the port takes connections until the process is cleared away.
#[test]
fn dead_leader_is_replaced_at_once() {
    for seed in 0..200 {
        let linger_ms = if seed % 2 == 0 { 0 } else { seed % 10 };
        let net_ms = if seed == 0 { (1, 1) } else { (1, 5) };
        let setup = world::Setup { seed, net_ms, linger_ms, ..world::Setup::default() };
        let mut world = world::World::new(setup, |_| {});
        (1..=3).for_each(|id| world.start(id));
        world.run(600);
        let leader = (1..=3).find(|id| world.propose(*id, &["apple"])).expect("one leads");
        world.run(40);
        world.crash(leader);
        world.run(100);
        let next = (1..=3).find(|id| *id != leader && world.propose(*id, &["pear"]));
        assert!(next.is_some(), "seed {seed}: {}", world.summary());
        world.run(40);
        assert_eq!(world.truth.len(), 2, "seed {seed}");
        assert_eq!(world.violation, None, "seed {seed}");
    }
}

/// A leader that has nothing of its history in memory, because it has just started from a snapshot,
/// knows the digest of that all the same, and says it: to who has the same, and to who takes it.
#[test]
fn a_leader_without_history_says_its_digest() {
    let mut world = world::World::new(world::Setup::default(), |_| {});
    (1..=3).for_each(|id| world.start(id));
    world.run(600);
    let leader = (1..=3).find(|id| world.propose(*id, &["apple", "pear"])).expect("one leads");
    world.run(100);
    // Two start from a snapshot, and the third has nothing at all.
    let empty = (1..=3).find(|id| *id != leader).expect("two follow");
    (1..=3).for_each(|id| world.compact(id));
    (1..=3).for_each(|id| world.crash(id));
    world.wipe(empty);
    let before = world.compared;
    (1..=3).for_each(|id| world.start(id));
    world.run(600);
    assert!(world.has_converged(), "{}", world.summary());
    assert_eq!(world.violation, None);
    assert_eq!(world.compared, before + 2, "{}", world.summary());
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(world::chaos(11, |_| {}), world::chaos(11, |_| {}));
}

/// What operators are told: who is how far, and what was done.
#[test]
fn replicas_tell_what_they_do() {
    let setup = world::Setup { observers: 1, ..world::Setup::default() };
    let mut world = world::World::new(setup, |_| {});
    world.start(1);
    world.run(500);
    let standing = |world: &world::World, id| world.replica(id).standing().expect("a member");
    assert_eq!(standing(&world, 1).activity, Activity::Electing);
    assert_eq!((standing(&world, 1).voters, standing(&world, 1).learners), (3, None));
    assert_eq!(world.replica(1).counts().searches, 1);
    (2..=4).for_each(|id| world.start(id));
    world.run(1500);
    for id in 1..=4 {
        assert_eq!(standing(&world, id).activity, Activity::Broadcasting, "{}", world.summary());
        assert!(world.replica(id).counts().elections.count > 0);
    }
    let leader = (1..=3).find(|id| standing(&world, *id).learners.is_some()).expect("one leads");
    let learners = Learners { connected: 3, followers: 2, without_vote: 0, observers: 1, syncs: 0 };
    assert_eq!(standing(&world, leader).learners, Some(learners));
    let before = world.replica(leader).counts();
    assert_eq!((before.diffs_sent, before.snapshots_sent), (3, 0));
    assert!(world.propose(leader, &["apple", "pear"]));
    world.run(100);
    for id in (1..=4).filter(|id| *id != leader) {
        let Counts { proposals_received, commits_received, .. } = world.replica(id).counts();
        let proposals = if id == 4 { 0 } else { 2 };
        assert_eq!((proposals_received, commits_received), (proposals, 2), "{id}");
    }
    assert_eq!(world.replica(leader).counts(), before);
    let alone = Replica::standalone(model::Zxid::ZERO);
    assert_eq!((alone.standing(), alone.counts()), (None, Counts::default()));
}
