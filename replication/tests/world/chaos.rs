//! Seeded runs of faults and proposals.

use super::*;

/// A seeded run: faults and proposals first, then everything is healed and must come together.
/// The first property that does not hold, if any.
pub fn chaos(seed: u64, prepare: impl Fn(&mut Replica) + 'static) -> Result<u64, String> {
    let mut random = Random::new(seed ^ 0x5EED);
    let setup = Setup {
        voters: [3, 3, 5, 4][random.below(4) as usize],
        observers: random.below(2) as u8,
        seed,
        net_ms: (1, 1 + random.below(20)),
        disk_ms: (1, 1 + random.below(40)),
        retained: [2, 5, 1000][random.below(3) as usize],
        cut_bytes: random.chance(50),
        linger_ms: if random.chance(50) { 0 } else { 10 },
        empty_may_vote: true,
        plain: BTreeSet::new(),
    };
    // Drawn apart: who knows our own options of the protocol does not change what else happens.
    let mut apart = Random::new(seed ^ 0x0971_0115);
    let some = apart.below(3);
    let plain = (1..=setup.voters + setup.observers).filter(|_| match some {
        0 => false,
        1 => apart.chance(50),
        _ => apart.chance(80),
    });
    let setup = Setup { plain: plain.collect(), ..setup };
    // Some seeds are violent, some hit only one kind of fault, some are nearly quiet.
    let (crash, reset, cut) = (random.below(16), random.below(20), random.below(10));
    let pause = 20 + random.below(300);
    let mut deposed = None;
    let total = u64::from(setup.voters + setup.observers);
    let mut world = World::new(setup, prepare);
    for id in 1..=total {
        world.start(id as u8);
    }
    for _ in 0..150 {
        world.run(1 + random.below(pause));
        let node = (1 + random.below(total)) as u8;
        let other = (1 + random.below(total)) as u8;
        if random.chance(60) {
            world.propose_somewhere();
            // The moments in which proposals are on their way are the interesting ones.
            if random.chance(15) {
                world.run(random.below(12));
            }
            if random.chance(crash) {
                let leads = |node: &&Node| matches!(node.role, RoleKind::Leading(_));
                deposed = world.nodes.iter().find(|(_, node)| leads(node)).map(|(id, _)| *id);
                if let Some(id) = deposed {
                    world.crash(id);
                }
            }
        }
        if let Some(id) = deposed.filter(|_| random.chance(10)) {
            world.start(id);
        }
        if random.chance(crash) {
            world.crash(node);
        } else if random.chance(25) {
            world.start(node);
        }
        if random.chance(reset) && node != other {
            world.reset(node, other);
        }
        if random.chance(cut) && node != other {
            world.cut(node, other);
        } else if random.chance(10) {
            world.heal();
        }
        if random.chance(5) {
            world.compact(node);
        }
        if random.chance(10) {
            world.forward(node, 1, "forwarded");
            world.sync(other);
        }
        if let Some(violation) = world.violation.take() {
            return Err(violation);
        }
    }
    world.heal();
    for id in 1..=total {
        world.start(id as u8);
    }
    for _ in 0..40 {
        world.run(500);
        world.propose_somewhere();
        world.run(500);
        if let Some(violation) = world.violation.take() {
            return Err(violation);
        }
        if world.has_converged() && !world.truth.is_empty() {
            // Nobody has a reason to elect again.
            let elected = world.leaders.len();
            world.run(3000);
            if let Some(violation) = world.violation.take() {
                return Err(violation);
            }
            if world.leaders.len() != elected || !world.has_converged() {
                return Err(format!("does not stay together:\n{}", world.summary()));
            }
            return Ok(world.truth.len() as u64);
        }
    }
    Err(format!("does not come together:\n{}", world.summary()))
}
