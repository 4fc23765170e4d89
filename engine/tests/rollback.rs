//! A working copy goes back to any version of its own, over any number of batches, and is replaced
//! by a received state, while others read on in what they hold.

mod common;

use common::Dice;
use common::node::{Author, describe, settings};
use engine::draft::Settings;
use engine::snapshot::zookeeper::{SnapshotIntake, SnapshotStream};
use engine::{Draft, Version};
use proptest::prelude::*;

/// The same state in a tree of its own, as a leader would have sent it.
fn received(version: &Version, hash_seed: u64) -> Draft {
    let mut stream = SnapshotStream::new(version.clone());
    let mut intake = SnapshotIntake::new(Settings { hash_seed, ..settings() });
    let mut piece = Vec::new();
    while stream.next(&mut piece) {
        intake.push(&piece).expect("sound");
        piece.clear();
    }
    intake.finish().expect("whole");
    intake.into_draft(version.zxid())
}

fn story(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice(seed);
    let mut author = Author::new(Draft::new(settings()));
    let mut held: Vec<(Version, Vec<String>)> = Vec::new();
    for _ in 0..60 {
        match dice.below(12) {
            0..6 => {
                for _ in 0..=dice.below(12) {
                    author.write(&mut dice);
                }
                let version = author.draft.freeze();
                let lines = describe(&version);
                held.push((version, lines));
            }
            6..9 if !held.is_empty() => {
                // Speculation since the last freeze goes as well.
                for _ in 0..dice.below(6) {
                    author.write(&mut dice);
                }
                let (version, lines) = &held[dice.below(held.len())];
                author.draft.reset(version);
                prop_assert_eq!(author.draft.tables(), version.tables());
                let digest = engine::digest::of_tree(author.draft.view());
                prop_assert_eq!(digest, author.draft.tables().digest);
                prop_assert_eq!(&describe(&author.draft.freeze()), lines);
                author.new_epoch();
            }
            9 if dice.one_in(2) => {
                // The old tree and its writer are gone; its versions are not.
                let version = author.draft.freeze();
                author.draft = received(&version, dice.next());
                prop_assert_eq!(describe(&author.draft.freeze()), describe(&version));
            }
            _ if held.len() > 6 => {
                held.swap_remove(dice.below(held.len()));
            }
            _ => {}
        }
        for (version, lines) in &held {
            prop_assert_eq!(&describe(version), lines, "what is held does not change");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn versions_outlive_whatever_the_writer_does(seed: u64) {
        story(seed)?;
    }
}

/// Shards may drop their last version of a replaced tree on their own threads, whenever they like.
#[test]
fn versions_of_a_replaced_tree_are_read_and_dropped_elsewhere() {
    let mut dice = Dice(11);
    let mut author = Author::new(Draft::new(settings()));
    let mut readers = Vec::new();
    for _ in 0..8 {
        for _ in 0..100 {
            author.write(&mut dice);
        }
        let version = author.draft.freeze();
        let lines = describe(&version);
        let held = version.clone();
        readers.push(std::thread::spawn(move || {
            for _ in 0..20 {
                assert_eq!(describe(&held), lines);
            }
        }));
        author.draft = received(&version, dice.next());
    }
    for reader in readers {
        reader.join().expect("it saw what it held");
    }
}
