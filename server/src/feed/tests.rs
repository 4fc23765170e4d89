use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use super::ring::{GRACE, ring};

#[test]
fn every_consumer_sees_every_item_in_order() {
    let (mut producer, mut ends) = ring::<u32>(2, 8);
    for item in 0..3 {
        producer.publish(item);
    }
    assert_eq!((producer.lag(), producer.free()), (3, 8 - GRACE as usize - 3));
    for end in &mut ends {
        assert_eq!(end.pending(), 3);
        let all: Vec<u32> = std::iter::from_fn(|| end.next().map(|item| *item)).collect();
        assert_eq!(all, [0, 1, 2]);
    }
    assert_eq!((producer.lag(), producer.free()), (0, 8 - GRACE as usize));
}

#[test]
fn the_slowest_consumer_holds_the_producer_up() {
    let (mut producer, mut ends) = ring::<u32>(2, 4);
    producer.publish(0);
    producer.publish(1);
    assert_eq!(producer.free(), 0);
    while ends[0].next().is_some() {}
    assert_eq!((producer.free(), producer.lag_of(0), producer.lag_of(1)), (0, 0, 2));
    ends[1].next();
    assert_eq!(producer.free(), 1);
    // A shard that is gone holds nobody up.
    ends.pop();
    assert_eq!(producer.free(), 2);
}

#[test]
#[should_panic(expected = "the ring is full")]
fn publishing_into_a_full_ring_is_a_bug() {
    let (mut producer, _ends) = ring::<u32>(1, 4);
    for item in 0..3 {
        producer.publish(item);
    }
}

#[test]
fn interest_is_seen_by_the_producer() {
    let (producer, ends) = ring::<u32>(2, 4);
    ends[1].set_interested(true);
    assert!(!producer.interested(0) && producer.interested(1));
    ends[1].set_interested(false);
    assert!(!producer.interested(1));
}

/// Remembers on which thread it dies.
struct Mortal {
    number: u64,
    home: ThreadId,
    died_at_home: Arc<AtomicUsize>,
}

impl Drop for Mortal {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.home, "dropped on a consumer's thread");
        self.died_at_home.fetch_add(1, Ordering::Relaxed);
    }
}

/// Consumers hold on to the item they work on and to the one before it, as shards do with their
/// view; still every item dies on the producer's thread.
#[test]
fn items_die_on_the_producers_thread() {
    const ITEMS: u64 = 20_000;
    let died = Arc::new(AtomicUsize::new(0));
    let (mut producer, ends) = ring::<Mortal>(3, 16);
    let consumers: Vec<_> = ends
        .into_iter()
        .map(|mut end| {
            thread::spawn(move || {
                let mut view = None;
                for expected in 0..ITEMS {
                    let item = loop {
                        match end.next() {
                            Some(item) => break item,
                            None => thread::yield_now(),
                        }
                    };
                    assert_eq!(item.number, expected);
                    view = Some(item);
                }
                (end, view)
            })
        })
        .collect();
    for number in 0..ITEMS {
        while producer.free() == 0 {
            thread::yield_now();
        }
        let home = thread::current().id();
        producer.publish(Mortal { number, home, died_at_home: died.clone() });
    }
    let held: Vec<_> = consumers.into_iter().map(|c| c.join().expect("no panic")).collect();
    producer.reclaim();
    assert_eq!(died.load(Ordering::Relaxed) as u64, ITEMS - GRACE);
    drop(held);
    drop(producer);
    assert_eq!(died.load(Ordering::Relaxed) as u64, ITEMS);
}
