//! The commit feed's ring: publishing and consuming, alone and across threads, beside the plain
//! alternative of a lock per slot.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use server::feed::ring::{Producer, ring};

const SLOTS: usize = 1024;
/// Items of one measured round; they fit the ring.
const ITEMS: u64 = 256;

fn publish_and_consume(c: &mut Criterion) {
    let mut group = c.benchmark_group("feed");
    group.throughput(Throughput::Elements(ITEMS));
    for shards in [1_usize, 4] {
        let (mut producer, mut ends) = ring::<u64>(shards, SLOTS);
        group.bench_function(format!("one thread, {shards} consumers"), |b| {
            b.iter(|| {
                for item in 0..ITEMS {
                    producer.publish(item);
                }
                for end in &mut ends {
                    while let Some(item) = end.next() {
                        black_box(*item);
                    }
                }
            });
        });
    }
    group.bench_function("one thread, 1 consumer, a lock per slot", |b| {
        let slots: Vec<Mutex<Option<Arc<u64>>>> = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        let mut at = 0;
        b.iter(|| {
            for item in 0..ITEMS as usize {
                *slots[(at + item) % SLOTS].lock().expect("no panic") = Some(Arc::new(item as u64));
            }
            for item in 0..ITEMS as usize {
                let slot = slots[(at + item) % SLOTS].lock().expect("no panic").clone();
                black_box(*slot.expect("just put there"));
            }
            at += ITEMS as usize;
        });
    });
    group.bench_function("two threads, 1 consumer", |b| {
        let (mut producer, mut ends) = ring::<u64>(1, SLOTS);
        let mut end = ends.pop().expect("one end");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let consumer = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match end.next() {
                    Some(item) => drop(black_box(item)),
                    None => std::thread::yield_now(),
                }
            }
        });
        b.iter(|| {
            for item in 0..ITEMS {
                wait_for_room(&producer);
                producer.publish(item);
            }
        });
        stop.store(true, Ordering::Relaxed);
        consumer.join().expect("no panic");
    });
    group.finish();
}

fn wait_for_room(producer: &Producer<u64>) {
    while producer.free() == 0 {
        std::thread::yield_now();
    }
}

criterion_group!(benches, publish_and_consume);
criterion_main!(benches);
