//! The properties of `tests/paper.rs` are only worth something if mistakes break them: each of
//! these is planted in turn and must be found within a few seeds.

#[path = "../tests/world/mod.rs"]
mod world;

use crate::body::Plant;

/// The first violation that seeds below `seeds` find, with its seed.
fn caught(plant: Plant, seeds: u64) -> String {
    for seed in 0..seeds {
        if let Err(violation) = world::chaos(seed, move |replica| replica.plant(plant)) {
            return violation;
        }
    }
    panic!("{plant:?} goes unnoticed");
}

#[test]
fn ack_before_durable_is_caught() {
    let violation = caught(Plant::AckBeforeDurable, 20);
    assert!(violation.contains("acknowledges"), "{violation}");
}

#[test]
fn a_run_acknowledged_too_far_is_caught() {
    let violation = caught(Plant::AckRunTooFar, 20);
    assert!(violation.contains("acknowledges"), "{violation}");
}

#[test]
fn a_run_committed_too_far_is_caught() {
    let violation = caught(Plant::CommitRunTooFar, 40);
    assert!(violation.contains("that only"), "{violation}");
}

#[test]
fn epoch_not_saved_is_caught() {
    let violation = caught(Plant::EpochNotSaved, 20);
    assert!(violation.contains("saved") || violation.contains("has led"), "{violation}");
}

#[test]
fn commit_without_quorum_is_caught() {
    let violation = caught(Plant::CommitWithoutQuorum, 20);
    assert!(violation.contains("that only") || violation.contains("durable"), "{violation}");
}

#[test]
fn history_acknowledged_early_is_caught() {
    let violation = caught(Plant::HistoryAckedEarly, 60);
    assert!(violation.contains("saved") || violation.contains("not got"), "{violation}");
}
