//! The broadcast ring under the feed: one producer, a fixed number of consumers, every consumer
//! sees every item, in order.
//!
//! ```text
//!            oldest          slowest consumer          published
//!   dropped ---+--- kept for consumers ---+--- not taken ---+--- free
//! ```
//!
//! An item is shared: consumers get their own [`Arc`], the ring keeps one until every consumer
//! has moved [`GRACE`] items beyond it. A consumer that lets go of an item before it takes two
//! more is therefore never the last owner: items die on the producer's thread.
//!
//! # Why the `unsafe` here is sound
//!
//! Item number `n` lives in slot `n % slots`. A slot is written (or emptied) only by the producer
//! and read only by consumers; the counters keep the two apart:
//!
//! - A consumer reads item `n` only after it loaded `published > n` (acquire). The producer wrote
//!   the slot before it stored that `published` (release). So the write happens before the read.
//! - The producer touches the slot of item `n` again only after it loaded from every consumer a
//!   cursor `>= n + 1 + GRACE` (acquire). The consumer stored that cursor (release) after it had
//!   read item `n`, and reads items in increasing order only. So the read happens before the
//!   write, and no later read of `n` exists.
//! - There is one producer, because [`Producer`] is not `Clone` and publishing takes `&mut`;
//!   each cursor has one writer for the same reason. Before a slot is reused for item
//!   `n + slots` the assertion in [`Producer::publish`] demands exactly the condition above.
//!
//! This file names its primitives through `super::sync`, so that the model test can compile the
//! very same text against loom's.

use super::sync::{Arc, AtomicBool, AtomicU64, Cell, Ordering, fence};

/// Items beyond an item that every consumer must have taken before its slot is reused: the item
/// being worked on, and the one whose state a consumer still shows while it works.
pub const GRACE: u64 = 2;

/// Cursor of a consumer that is gone: it holds nobody up.
const GONE: u64 = u64::MAX;

/// Counters of different threads stay on different cache lines.
#[repr(align(128))]
struct Lane<T>(T);

struct Consumed {
    /// Items taken; written by the consumer only.
    taken: AtomicU64,
    /// The consumer wants to be woken for every item.
    interested: AtomicBool,
}

struct Ring<T> {
    slots: Box<[Cell<Option<Arc<T>>>]>,
    published: Lane<AtomicU64>,
    consumers: Box<[Lane<Consumed>]>,
}

// SAFETY: slots are the only part that is not `Sync` by itself; the module documentation shows
// that their accesses never overlap. Items cross threads and are shared, hence the bounds.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for Ring<T> {}
// SAFETY: the ring owns its items and nothing in it is tied to a thread.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, number: u64) -> &Cell<Option<Arc<T>>> {
        &self.slots[(number & (self.slots.len() as u64 - 1)) as usize]
    }
}

/// Creates a ring. `slots` is a power of two greater than [`GRACE`].
pub fn ring<T>(consumers: usize, slots: usize) -> (Producer<T>, Vec<Consumer<T>>) {
    assert!(slots.is_power_of_two(), "slots are found by masking");
    assert!(slots as u64 > GRACE, "a ring has room beyond what consumers keep");
    let ring = Arc::new(Ring {
        slots: (0..slots).map(|_| Cell::new(None)).collect(),
        published: Lane(AtomicU64::new(0)),
        consumers: (0..consumers)
            .map(|_| {
                Lane(Consumed { taken: AtomicU64::new(0), interested: AtomicBool::new(false) })
            })
            .collect(),
    });
    let ends = (0..consumers).map(|index| Consumer { ring: ring.clone(), index, taken: 0 });
    let ends = ends.collect();
    (Producer { ring, published: 0, dropped: 0 }, ends)
}

/// The one writing end.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// Items published; the shared counter is a copy.
    published: u64,
    /// Items whose slots were emptied.
    dropped: u64,
}

impl<T> Producer<T> {
    /// Items taken by a consumer.
    fn taken(&self, consumer: usize) -> u64 {
        let taken = self.ring.consumers[consumer].0.taken.load(Ordering::Acquire);
        taken.min(self.published)
    }

    fn slowest(&self) -> u64 {
        (0..self.ring.consumers.len()).map(|i| self.taken(i)).min().unwrap_or(self.published)
    }

    /// Items that the slowest consumer has not taken.
    pub fn lag(&self) -> u64 {
        self.published - self.slowest()
    }

    /// Items that this consumer has not taken.
    pub fn lag_of(&self, consumer: usize) -> u64 {
        self.published - self.taken(consumer)
    }

    /// Items that can be published before the slowest consumer must take one.
    pub fn free(&self) -> usize {
        (self.ring.slots.len() as u64 - GRACE).saturating_sub(self.lag()) as usize
    }

    /// True if the consumer asked to be woken for every item. Call it after publishing: either
    /// this sees the wish, or the consumer's next look sees the item.
    pub fn interested(&self, consumer: usize) -> bool {
        fence(Ordering::SeqCst);
        self.ring.consumers[consumer].0.interested.load(Ordering::Relaxed)
    }

    /// Drops items that no consumer needs any more.
    pub fn reclaim(&mut self) {
        // A gone consumer must not let the end run ahead of what was published.
        let end = self.slowest().saturating_sub(GRACE);
        while self.dropped < end {
            let slot = self.ring.slot(self.dropped);
            // SAFETY: every consumer's cursor is at least `dropped + 1 + GRACE` (module docs).
            #[allow(unsafe_code)]
            let old = slot.with_mut(|slot| unsafe { (*slot).take() });
            self.dropped += 1;
            drop(old);
        }
    }

    /// Makes an item visible to all consumers at once. There must be a free slot.
    pub fn publish(&mut self, item: T) {
        assert!(self.free() > 0, "the ring is full");
        self.reclaim();
        let slot = self.ring.slot(self.published);
        let item = Some(Arc::new(item));
        // SAFETY: `free() > 0`: every consumer's cursor is at least `published - slots + 1 +
        // GRACE`, so the slot's old item is done with, and `reclaim` has emptied it (module docs).
        #[allow(unsafe_code)]
        slot.with_mut(|slot| unsafe { *slot = item });
        self.published += 1;
        self.ring.published.0.store(self.published, Ordering::Release);
    }
}

/// One reading end.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    index: usize,
    taken: u64,
}

impl<T> Consumer<T> {
    /// The next item, if there is one. See [`GRACE`] for how long the ring keeps it.
    pub fn next(&mut self) -> Option<Arc<T>> {
        if self.pending() == 0 {
            return None;
        }
        let slot = self.ring.slot(self.taken);
        // SAFETY: `published > taken` was just loaded, and this consumer's cursor is `taken`, so
        // the producer does not touch the slot before the store below (module docs).
        #[allow(unsafe_code)]
        let item = slot.with(|slot| unsafe { (*slot).clone() });
        self.taken += 1;
        self.ring.consumers[self.index].0.taken.store(self.taken, Ordering::Release);
        Some(item.expect("a published slot holds its item until all have taken it"))
    }

    /// Items published and not yet taken.
    pub fn pending(&self) -> u64 {
        self.ring.published.0.load(Ordering::Acquire) - self.taken
    }

    /// Says whether this consumer wants to be woken for every item. After saying yes it must look
    /// at [`Consumer::pending`] once more before it sleeps: an item published before the producer
    /// could see the wish wakes nobody.
    pub fn set_interested(&self, interested: bool) {
        self.ring.consumers[self.index].0.interested.store(interested, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.ring.consumers[self.index].0.taken.store(GONE, Ordering::Release);
    }
}
