//! Every interleaving of the feed's ring, as loom sees them. It compiles the ring's own source
//! against loom's primitives.

#[path = "../src/feed/ring.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod ring;

/// What the ring asks for, from loom.
mod sync {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

use loom::thread;

/// Preemptions explored in one execution. Two are enough for every two-thread mistake known to
/// occur in practice, and keep each model within seconds.
const PREEMPTIONS_MAX: usize = 2;

fn check(story: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(story);
}

/// One consumer, a ring that must be reused: items arrive whole and in order.
#[test]
fn items_arrive_in_order_while_slots_are_reused() {
    check(|| {
        let (mut producer, mut ends) = ring::ring::<u64>(1, 4);
        let mut end = ends.pop().expect("one end");
        let consumer = thread::spawn(move || {
            let mut expected = 0;
            for _ in 0..2 {
                if let Some(item) = end.next() {
                    assert_eq!(*item, expected);
                    expected += 1;
                }
            }
        });
        let mut number = 0;
        for _ in 0..4 {
            if producer.free() > 0 {
                producer.publish(number);
                number += 1;
            }
        }
        consumer.join().expect("the consumer ends");
    });
}

/// The producer empties slots while a consumer still reads later ones.
#[test]
fn a_slot_is_emptied_only_after_its_last_reader() {
    check(|| {
        let (mut producer, mut ends) = ring::ring::<u64>(1, 8);
        let mut end = ends.pop().expect("one end");
        for item in 0..4 {
            producer.publish(item);
        }
        let consumer = thread::spawn(move || {
            for expected in 0..4 {
                let item = end.next().expect("published before");
                assert_eq!(*item, expected);
            }
        });
        producer.reclaim();
        consumer.join().expect("the consumer ends");
    });
}

/// Two consumers at different speeds: the producer waits for the slower.
#[test]
fn the_slower_of_two_consumers_is_waited_for() {
    check(|| {
        let (mut producer, mut ends) = ring::ring::<u64>(2, 4);
        let mut slow = ends.pop().expect("two ends");
        let mut fast = ends.pop().expect("two ends");
        // The ring is full.
        producer.publish(0);
        producer.publish(1);
        let fast = thread::spawn(move || {
            let mut expected = 0;
            while let Some(item) = fast.next() {
                assert_eq!(*item, expected);
                expected += 1;
            }
        });
        let slow = thread::spawn(move || {
            assert_eq!(slow.next().as_deref(), Some(&0));
        });
        if producer.free() > 0 {
            producer.publish(2);
        }
        fast.join().expect("the fast consumer ends");
        slow.join().expect("the slow consumer ends");
    });
}

/// A shard registers a watch while the core publishes: either the core sees the interest and
/// wakes it, or the shard sees the batch when it looks again before it sleeps.
#[test]
fn no_wake_up_is_lost() {
    check(|| {
        let (mut producer, mut ends) = ring::ring::<u64>(1, 4);
        let end = ends.pop().expect("one end");
        let consumer = thread::spawn(move || {
            end.set_interested(true);
            let seen = end.pending() > 0;
            (end, seen)
        });
        producer.publish(7);
        let woken = producer.interested(0);
        let (_end, seen) = consumer.join().expect("the consumer ends");
        assert!(woken || seen, "the shard sleeps and nobody wakes it");
    });
}
