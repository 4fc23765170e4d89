//! The tree: lookups, updates between freezes, creates, loading; and what a znode costs in memory.
//!
//! `cargo bench -p benches --bench tree` runs the criterion groups over 1 M znodes.
//! `TREE_REPORT=1000000,10000000 cargo bench -p benches --bench tree` prints one table row per size
//! instead, with memory as the resident set and time as this thread's CPU see it. Add `one`
//! (`TREE_REPORT=1000000one`) to put all znodes under a single parent.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use engine::recover::Image;
use engine::tree::{AclRef, Cursor, MappedNames, MappedRecords, Meta, Tree, TreeLoader, TreeView};
use model::{Epoch, Zxid};

/// Children of a parent, unless all znodes have the same one.
const FAMILY: u32 = 1000;
/// Updates between two freezes.
const BATCH: u32 = 100;
const SEED: u64 = 0x5eed;

/// 33 bytes in all: the path the goals are stated for.
fn path(out: &mut Vec<u8>, at: u32, one: bool) {
    use std::io::Write;
    out.clear();
    let parent = if one { 0 } else { at / FAMILY };
    write!(out, "/application/g{parent:07}/node{at:07}").expect("memory");
    debug_assert_eq!(out.len(), 33);
}

fn meta(at: u32) -> Meta {
    let zxid = Zxid::new(Epoch(3), at + 1);
    let now = 1_760_000_000_000 + i64::from(at / 100);
    let acl = AclRef::OPEN;
    Meta { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: now, mtime: now, acl, ..Meta::default() }
}

fn fill(count: u32, one: bool) -> Tree {
    let mut tree = Tree::new(SEED);
    let mut name = Vec::new();
    tree.create(b"/application", &meta(0), None, |_| {});
    for at in 0..count {
        path(&mut name, at, one);
        if at == 0 || (!one && at % FAMILY == 0) {
            tree.create(&name[..21], &meta(at), None, |_| {});
        }
        let zxid = Zxid::new(Epoch(3), at + 1);
        let change = |meta: &mut Meta| {
            meta.cversion += 1;
            meta.pzxid = zxid;
        };
        tree.create(&name, &meta(at), Some(&[at as u8; 100]), change);
        if at % BATCH == 0 {
            tree.freeze();
        }
    }
    tree
}

/// A permutation-like walk over `0..count`.
struct Picks {
    state: u64,
    count: u32,
}

impl Picks {
    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.state >> 33) % u64::from(self.count)) as u32
    }
}

fn picks(count: u32) -> Picks {
    Picks { state: 42, count }
}

fn update(tree: &mut Tree, name: &[u8], at: u32) {
    tree.update(name, Some(Some(&[at as u8; 100])), |meta| {
        meta.version += 1;
        meta.mzxid = Zxid::new(Epoch(3), 20_000_000 + at);
        meta.mtime += 50_000;
    });
}

/// A page as a snapshot would hold it.
type Spans = Vec<std::ops::Range<usize>>;

fn image(view: TreeView<'_>) -> (Image, Spans, Spans) {
    let mut bytes = Vec::new();
    let mut put = |item: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(item);
        start..bytes.len()
    };
    let records = view.records(Cursor::default()).map(&mut put).collect();
    let names = view.name_pages(Cursor::default()).map(&mut put).collect();
    bytes.shrink_to_fit();
    (Arc::new(bytes), records, names)
}

fn load(image: &Image, records: &Spans, names: &Spans) -> Tree {
    let mut loader = TreeLoader::new(SEED);
    for spans in records.chunks(1024) {
        let page = MappedRecords::validate(image, SEED, spans.iter().cloned(), |_| {});
        loader.push_records(page.expect("whole"));
    }
    let pages = MappedNames::validate(image, names.iter().cloned()).expect("whole");
    loader.push_names(pages).expect("in order");
    loader.finish().expect("adds up")
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

/// CPU time of this thread, so that a busy machine distorts it less.
struct Cpu(f64);

impl Cpu {
    fn now() -> Cpu {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        Cpu(stat.split(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
    }

    fn seconds(&self) -> f64 {
        (Cpu::now().0 - self.0) / 1e9
    }

    fn nanos(&self, count: u32) -> f64 {
        self.seconds() * 1e9 / f64::from(count)
    }
}

/// Lookup in a plain hash map from path to boxed record, the floor for any index.
fn yardstick(tree: &Tree, names: &[u8]) -> String {
    let keys = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let mut map = std::collections::HashMap::with_capacity_and_hasher(tree.view().len(), keys);
    for (path, znode) in tree.view().iter() {
        let data: Box<[u8]> = znode.data.unwrap_or_default().into();
        map.insert(Box::<[u8]>::from(path), Box::new((znode.meta, data)));
    }
    lookups_of(names, |name| map.get(name).map_or(0, |node| node.0.czxid.0))
}

/// Time of a lookup when the processor may overlap it with the next one, and when it may not,
/// because which one is next depends on the result: the latency.
fn lookups_of(names: &[u8], get: impl Fn(&[u8]) -> i64) -> String {
    let count = (names.len() / 33) as u32;
    let start = Cpu::now();
    black_box(names.chunks(33).map(&get).sum::<i64>());
    let free = start.nanos(count);
    let start = Cpu::now();
    let mut last = 0;
    for at in 0..count as usize {
        // No zxid is negative, which the compiler cannot know.
        let at = at + (last as u64 >> 63) as usize;
        last = get(&names[at * 33..at * 33 + 33]);
    }
    black_box(last);
    format!("{free:8.0} ns, chained {:6.0} ns", start.nanos(count))
}

fn report(count: u32, one: bool) {
    const PAYLOAD: f64 = 133.0;
    let each = |bytes: usize| bytes as f64 / f64::from(count) - PAYLOAD;
    println!("{count} znodes, {}", if one { "one parent" } else { "parents of 1000" });
    let lookups = count.min(2_000_000);
    let mut names: Vec<u8> = Vec::new();
    let mut name = Vec::new();
    let mut pick = picks(count);
    for _ in 0..lookups {
        path(&mut name, pick.next(), one);
        names.extend_from_slice(&name);
    }
    let before = resident();
    let start = Cpu::now();
    let mut tree = fill(count, one);
    println!("  create            {:8.0} ns", start.nanos(count));
    println!("  overhead, created {:8.1} B resident", each(resident() - before));
    println!("    in blocks       {:8.1} B", each(tree.memory().bytes));
    let measure = |tree: &Tree| {
        let view = tree.view();
        lookups_of(&names, |name| view.get(name).map_or(0, |znode| znode.meta.czxid.0))
    };
    for _ in 0..3 {
        println!("  lookup            {}", measure(&tree));
    }
    for round in 0..3 {
        let start = Cpu::now();
        let mut held = tree.freeze();
        for (at, name) in names.chunks(33).enumerate() {
            update(&mut tree, name, round);
            if at as u32 % BATCH == BATCH - 1 {
                held = tree.freeze();
            }
        }
        drop(held);
        println!("  update            {:8.0} ns", start.nanos(lookups));
    }
    let rounds = 20_000;
    let start = Cpu::now();
    for _ in 0..rounds {
        update(&mut tree, &names[..33], 1);
        black_box(tree.freeze());
    }
    println!("  update and freeze {:8.0} ns", start.nanos(rounds));
    println!("  overhead, updated {:8.1} B resident", each(resident() - before));
    println!("    in blocks       {:8.1} B", each(tree.memory().bytes));
    let parent = &b"/application/g0000000"[..];
    let start = Cpu::now();
    let mut sum = 0;
    let mut listed = 0;
    while listed < 2_000_000 {
        for name in tree.view().children(parent).expect("it is there") {
            sum += name.len();
            listed += 1;
        }
    }
    black_box(sum);
    println!("  list, per child   {:8.1} ns", start.nanos(listed));
    if count <= 1_000_000 {
        println!("  lookup, hash map  {}", yardstick(&tree, &names));
    }
    let (image, records, pages) = image(tree.view());
    println!("  image             {:8.1} B", each((*image).as_ref().len()));
    drop(tree);
    for _ in 0..3 {
        let start = Cpu::now();
        let before = resident();
        let tree = load(&image, &records, &pages);
        let took = start.seconds();
        let blocks = resident() - before + (*image).as_ref().len();
        println!("  load              {took:8.3} s, {:.1} B", each(blocks));
        println!("  lookup, loaded    {}", measure(&tree));
    }
}

fn criterion_groups() {
    const COUNT: u32 = 1_000_000;
    let mut criterion = Criterion::default().configure_from_args();
    let mut tree = fill(COUNT, false);
    let mut pick = picks(COUNT);
    let mut name = Vec::new();
    let mut group = criterion.benchmark_group("tree/1M");
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bench| {
        bench.iter(|| {
            path(&mut name, pick.next(), false);
            black_box(tree.view().get(&name));
        });
    });
    group.throughput(Throughput::Elements(u64::from(BATCH)));
    let mut version = tree.freeze();
    group.bench_function("100 updates and a freeze", |bench| {
        bench.iter(|| {
            for round in 0..BATCH {
                path(&mut name, pick.next(), false);
                update(&mut tree, &name, round);
            }
            version = tree.freeze();
        });
    });
    group.bench_function("100 creates, a freeze, 100 deletes", |bench| {
        let add = |at: u32, name: &mut Vec<u8>| {
            path(name, at, false);
            name.extend_from_slice(b"x");
        };
        bench.iter(|| {
            let picked: Vec<u32> = (0..BATCH).map(|_| pick.next()).collect();
            let mut fresh = Vec::new();
            for at in picked {
                add(at, &mut name);
                if tree.view().get(&name).is_none() {
                    tree.create(&name, &meta(at), Some(&[1; 100]), |meta| meta.cversion += 1);
                    fresh.push(at);
                }
            }
            version = tree.freeze();
            for at in fresh {
                add(at, &mut name);
                tree.delete(&name, |meta| meta.cversion += 1);
            }
        });
    });
    drop(version);
    group.throughput(Throughput::Elements(u64::from(COUNT)));
    group.sample_size(10);
    let (image, records, pages) = image(tree.view());
    group.bench_function("load", |bench| {
        bench.iter_with_large_drop(|| load(&image, &records, &pages));
    });
    group.finish();
    criterion.final_summary();
}

fn main() {
    let Ok(sizes) = std::env::var("TREE_REPORT") else { return criterion_groups() };
    for size in sizes.split(',') {
        let count = size.trim_end_matches("one").parse().expect("a number of znodes");
        report(count, size.ends_with("one"));
    }
}
