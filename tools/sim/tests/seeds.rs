//! A hundred seeds of the swarm, and the proof that a seed is always the same run. The long swarm
//! is `cargo sim --seeds N`.

use sim::world::World;

#[test]
fn a_hundred_seeds_are_clean() {
    for seed in 0..100 {
        if let Err(violation) = World::new(seed, false).run() {
            panic!("cargo sim --seed {seed} --trace: {violation:?}");
        }
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in [3, 1_000_003] {
        let once = || {
            let mut world = World::new(seed, true);
            let ended = world.run();
            (world.trace.lines().to_vec(), ended)
        };
        assert_eq!(once(), once());
    }
    let hash = |seed| {
        let mut world = World::new(seed, false);
        world.run().expect("a clean seed").hash
    };
    assert_ne!(hash(1), hash(2));
}

#[test]
fn keeping_the_trace_changes_nothing() {
    let run = |keep| World::new(11, keep).run().expect("a clean seed");
    assert_eq!(run(true), run(false));
}
