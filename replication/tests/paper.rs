//! The properties of the Zab paper (`zab-wire` 9.0) under seeded faults: committed prefixes agree,
//! one leader per epoch, a leader has everything committed, nothing is acknowledged before it is
//! durable, and after the faults everybody comes together and goes on.

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

/// A leader's death is noticed by its connections, and its refused port needs no waiting: with
/// messages of 1 ms and writes of 2 ms the next leader is there within a few of both.
#[test]
fn dead_leader_is_replaced_at_once() {
    let mut world = world::World::new(world::Setup::default(), |_| {});
    (1..=3).for_each(|id| world.start(id));
    world.run(300);
    assert!(world.propose(3, &["apple"]));
    world.run(20);
    world.crash(3);
    world.run(30);
    assert!(world.propose(2, &["pear"]), "{}", world.summary());
    world.run(10);
    assert_eq!(world.truth.len(), 2);
    assert_eq!(world.violation, None);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(world::chaos(11, |_| {}), world::chaos(11, |_| {}));
}
