//! The tree against a plain sorted map: whatever is done to both, every version anybody holds
//! reads the same in both, and memory is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use engine::recover::Image;
use engine::tree::{
    AclRef, Cursor, LoadError, MappedNames, MappedRecords, Meta, Tree, TreeLoader, TreeVersion,
    TreeView,
};
use model::{Zxid, path};
use proptest::prelude::*;

#[derive(Clone, PartialEq, Debug)]
struct Node {
    meta: Meta,
    data: Option<Vec<u8>>,
}

type Model = BTreeMap<Vec<u8>, Node>;

fn fresh_model() -> Model {
    let meta = Meta { acl: AclRef::OPEN, ..Meta::default() };
    Model::from([(b"/".to_vec(), Node { meta, data: Some(Vec::new()) })])
}

fn same(view: TreeView<'_>, model: &Model) {
    assert_eq!(view.len(), model.len());
    let mut paths = BTreeSet::new();
    for (path, znode) in view.iter() {
        assert!(paths.insert(path), "each path once");
        let node = &model[path];
        assert_eq!((znode.meta, znode.data), (node.meta, node.data.as_deref()));
    }
    assert_eq!(paths.len(), model.len());
    let mut by_parent: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for path in model.keys().filter(|path| path.len() > 1) {
        let (above, name) = path::split(path).expect("absolute");
        by_parent.entry(above).or_default().insert(name);
    }
    for (path, node) in model {
        let znode = view.get(path).expect("in the model");
        assert_eq!((znode.meta, znode.data), (node.meta, node.data.as_deref()));
        let names: Vec<&[u8]> = view.children(path).expect("in the model").collect();
        let want = by_parent.remove(&path[..]).unwrap_or_default();
        assert_eq!(znode.children as usize, names.len());
        assert_eq!(names.len(), want.len());
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), want);
    }
    assert!(view.get(b"/no/such").is_none() && view.children(b"/no/such").is_none());
}

/// What a snapshot file would hold.
fn image(view: TreeView<'_>) -> (Image, Vec<Range<usize>>, Vec<Range<usize>>) {
    let mut bytes = vec![0xff; 3];
    let (mut records, mut pages) = (Vec::new(), Vec::new());
    let mut cursor = Cursor::default();
    loop {
        // A few at a time, as a writer would that must not block.
        let mut some = view.records(cursor);
        let before = records.len();
        for record in some.by_ref().take(7) {
            records.push(bytes.len()..bytes.len() + record.len());
            bytes.extend_from_slice(record);
        }
        cursor = some.cursor();
        if records.len() == before {
            break;
        }
    }
    let mut cursor = Cursor::default();
    loop {
        let mut some = view.name_pages(cursor);
        let Some(page) = some.next() else { break };
        pages.push(bytes.len()..bytes.len() + page.len());
        bytes.extend_from_slice(page);
        cursor = some.cursor();
    }
    (Arc::new(bytes), records, pages)
}

fn load(view: TreeView<'_>, seed: u64, checked_with: u64) -> Tree {
    let (image, records, pages) = image(view);
    let mut loader = TreeLoader::new(seed);
    for spans in records.chunks(100) {
        let checked = MappedRecords::validate(&image, checked_with, spans.iter().cloned(), |_| {});
        loader.push_records(checked.expect("whole"));
    }
    for spans in pages.chunks(3) {
        let checked = MappedNames::validate(&image, spans.iter().cloned()).expect("whole");
        loader.push_names(checked).expect("in order");
    }
    loader.finish().expect("adds up")
}

/// Both sides, driven by numbers.
struct Pair {
    tree: Tree,
    model: Model,
    /// For picking without walking the model.
    paths: Vec<Vec<u8>>,
    held: Vec<(TreeVersion, Model)>,
    zxid: i64,
    /// Distinct names under one parent.
    names: u32,
}

impl Pair {
    fn new(seed: u64, names: u32) -> Pair {
        let model = fresh_model();
        let paths = model.keys().cloned().collect();
        let tree = Tree::with_separate_blocks(seed);
        Pair { tree, model, paths, held: Vec::new(), zxid: 1, names }
    }

    fn back_to(&mut self, model: Model) {
        self.paths = model.keys().cloned().collect();
        self.model = model;
    }

    fn meta(&mut self, pick: u32) -> Meta {
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        Meta {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: 1_700_000_000_000 + i64::from(pick % 1000),
            mtime: 1_700_000_000_000 + i64::from(pick % 1000),
            owner: if pick.is_multiple_of(11) { i64::from(pick) << 32 } else { 0 },
            acl: AclRef(1 + pick % 3),
            ..Meta::default()
        }
    }

    fn data(&self, pick: u32) -> Option<Vec<u8>> {
        let len = match pick % 16 {
            0 => return None,
            1 => 0,
            2 => 300 + pick as usize % 12_000,
            _ => pick as usize % 200,
        };
        Some(vec![self.zxid as u8; len])
    }

    fn create(&mut self, a: u32, b: u32) {
        let above = self.paths[a as usize % self.paths.len()].clone();
        let name = match b % 50 {
            0 => format!("n{}-{}", b % self.names, "long".repeat(b as usize % 400)),
            1..20 => format!("node-{:010}", self.zxid),
            _ => format!("{}", b % self.names),
        };
        let mut path = above.clone();
        if path != b"/" {
            path.push(b'/');
        }
        path.extend(name.as_bytes());
        if self.model.contains_key(&path) {
            assert!(self.tree.view().get(&path).is_some());
            return;
        }
        let meta = self.meta(a ^ b);
        let data = self.data(b);
        let change = |meta: &mut Meta| {
            meta.cversion += 1;
            meta.pzxid = Zxid(i64::from(b));
        };
        self.tree.create(&path, &meta, data.as_deref(), change);
        change(&mut self.model.get_mut(&above).expect("picked").meta);
        self.model.insert(path.clone(), Node { meta, data });
        self.paths.push(path);
    }

    fn delete(&mut self, a: u32) {
        let at = a as usize % self.paths.len();
        let path = self.paths[at].clone();
        let mut below = path.clone();
        below.push(b'/');
        let childless = self
            .model
            .range(below.clone()..)
            .next()
            .is_none_or(|(next, _)| !next.starts_with(&below));
        if path == b"/" || !childless {
            return;
        }
        let change = |meta: &mut Meta| meta.pzxid = Zxid(i64::from(a));
        self.tree.delete(&path, change);
        let (above, _) = path::split(&path).expect("absolute");
        change(&mut self.model.get_mut(above).expect("has a child").meta);
        self.model.remove(&path);
        self.paths.swap_remove(at);
    }

    fn update(&mut self, a: u32, b: u32) {
        let path = self.paths[a as usize % self.paths.len()].clone();
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        let data = (!b.is_multiple_of(5)).then(|| self.data(b));
        let change = |meta: &mut Meta| {
            meta.mzxid = zxid;
            meta.version += 1;
            meta.mtime += i64::from(b % 1000);
        };
        self.tree.update(&path, data.as_ref().map(|data| data.as_deref()), change);
        let node = self.model.get_mut(&path).expect("picked");
        change(&mut node.meta);
        if let Some(data) = data {
            node.data = data;
        }
    }

    fn freeze(&mut self, keep: usize) {
        let version = self.tree.freeze();
        if self.held.len() < keep {
            self.held.push((version, self.model.clone()));
        }
    }

    /// A savepoint, a few changes, perhaps a freeze between, and back.
    fn savepoint(&mut self, a: u32, b: u32) {
        let savepoint = self.tree.savepoint();
        let before = self.model.clone();
        for step in 0..b % 12 {
            let (x, y) = (a.rotate_left(step), b.rotate_left(step * 3));
            match (x ^ y) % 4 {
                0 | 1 => self.create(x, y),
                2 => self.update(x, y),
                _ => self.delete(x),
            }
            if b.is_multiple_of(7) && step == 4 {
                self.freeze(6);
            }
        }
        if !a.is_multiple_of(3) {
            self.tree.rollback(savepoint);
            self.back_to(before);
        }
    }

    fn step(&mut self, what: u8, a: u32, b: u32) {
        match what % 32 {
            0..12 => self.create(a, b),
            12..17 => self.delete(a),
            17..23 => self.update(a, b),
            23..26 => self.freeze(6),
            26 | 27 => self.savepoint(a, b),
            28 | 29 if !self.held.is_empty() => {
                self.held.swap_remove(a as usize % self.held.len());
            }
            30 if !self.held.is_empty() && a.is_multiple_of(2) => {
                let (version, model) = self.held[b as usize % self.held.len()].clone();
                self.tree.reset(&version);
                self.back_to(model);
            }
            31 if a.is_multiple_of(4) => {
                let seed = u64::from(b);
                self.tree =
                    load(self.tree.view(), seed, if b.is_multiple_of(2) { seed } else { 5 });
            }
            _ => self.tree.reclaim(),
        }
    }

    fn check(&self) {
        same(self.tree.view(), &self.model);
        let in_use = self.tree.memory().blocks;
        assert_eq!(in_use, self.tree.accounted_blocks(), "no block is lost");
        for (version, model) in &self.held {
            same(version.view(), model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_held_version_reads_like_the_model(
        seed in any::<u64>(),
        names in prop_oneof![Just(3_u32), Just(40), Just(5000)],
        steps in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 1..400),
    ) {
        let mut pair = Pair::new(seed, names);
        for (at, (what, a, b)) in steps.into_iter().enumerate() {
            pair.step(what, a, b);
            if at % 50 == 0 {
                pair.check();
            }
        }
        pair.check();
    }
}

/// Enough znodes that buckets split, pages split into several levels, and all shrink again.
#[test]
fn a_large_tree_reads_like_the_model() {
    for separate in [false, true] {
        let mut pair = Pair::new(7, 1_000_000);
        if !separate {
            pair.tree = Tree::new(7);
        }
        let mut random = 99_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 32) as u32
        };
        for at in 0..30_000 {
            let (a, b) = (next(), next());
            let above = if a % 2 == 0 { 0 } else { a };
            match a % 10 {
                0..8 => pair.create(above, b),
                8 => pair.update(a, b),
                _ => pair.delete(a),
            }
            if at % 100 == 0 {
                pair.freeze(if at % 5000 == 0 { 3 } else { 0 });
            }
        }
        pair.check();
        pair.tree = load(pair.tree.view(), 8, 8);
        pair.check();
        for at in 0..300_000 {
            pair.delete(next());
            if at % 100 == 0 {
                pair.freeze(0);
            }
            if pair.model.len() < 50 {
                break;
            }
        }
        pair.check();
    }
}

fn plain(tree: &mut Tree, count: u32) {
    let meta = Meta { acl: AclRef::OPEN, ..Meta::default() };
    tree.create(b"/p", &meta, None, |_| {});
    for at in 0..count {
        tree.create(format!("/p/{at}").as_bytes(), &meta, Some(b"some data"), |_| {});
    }
}

#[test]
fn all_memory_comes_back_when_versions_are_dropped() {
    for separate in [false, true] {
        let mut tree = if separate { Tree::with_separate_blocks(1) } else { Tree::new(1) };
        let empty = tree.memory();
        plain(&mut tree, 5000);
        let full = tree.memory();
        let mut held = Vec::new();
        for round in 0..40_u32 {
            held.push(tree.freeze());
            for at in 0..50 {
                let path = format!("/p/{}", (round * 37 + at * 11) % 5000);
                tree.update(path.as_bytes(), Some(Some(b"other dat")), |_| {});
            }
        }
        assert!(tree.memory().blocks > full.blocks + 40 * 50, "versions keep what they see");
        // In no particular order, the oldest last.
        while held.len() > 1 {
            held.remove(1 + held.len() * 7 % (held.len() - 1));
            tree.reclaim();
        }
        let first = held.pop().expect("one is left");
        let most = full.blocks + 2 * 2000;
        assert!(tree.memory().blocks < most, "an old version keeps one copy of what changed");
        drop(first);
        tree.reclaim();
        assert_eq!(tree.memory().blocks, full.blocks);
        for at in 0..5000 {
            tree.delete(format!("/p/{at}").as_bytes(), |_| {});
        }
        tree.delete(b"/p", |_| {});
        drop(tree.freeze());
        tree.reclaim();
        assert_eq!(tree.memory(), empty);
    }
}

#[test]
fn freezing_alone_gives_memory_back_in_the_long_run() {
    let mut tree = Tree::new(1);
    plain(&mut tree, 1000);
    let full = tree.memory().blocks;
    let mut held = std::collections::VecDeque::new();
    for round in 0..2000_u32 {
        for at in 0..20 {
            let path = format!("/p/{}", (round * 37 + at * 11) % 1000);
            tree.update(path.as_bytes(), Some(Some(b"other dat")), |_| {});
        }
        held.push_back(tree.freeze());
        if held.len() > 8 {
            held.pop_front();
        }
        assert!(tree.memory().blocks < full + 12 * 20 * 6);
    }
}

#[test]
fn a_failed_multi_leaves_nothing_behind() {
    let mut tree = Tree::with_separate_blocks(1);
    plain(&mut tree, 500);
    let version = tree.freeze();
    drop(version);
    let before = tree.memory();
    for round in 0..100 {
        let savepoint = tree.savepoint();
        let meta = Meta::default();
        tree.create(format!("/p/new{round}").as_bytes(), &meta, Some(b"x"), |_| {});
        tree.update(format!("/p/{round}").as_bytes(), Some(None), |meta| meta.version += 1);
        tree.delete(format!("/p/{}", round + 100).as_bytes(), |_| {});
        tree.rollback(savepoint);
        assert_eq!(tree.memory(), before);
    }
}

#[test]
fn versions_outlive_their_tree() {
    let mut tree = Tree::with_separate_blocks(3);
    plain(&mut tree, 300);
    let version = tree.freeze();
    tree.delete(b"/p/7", |_| {});
    drop(tree);
    let other = version.clone();
    drop(version);
    assert_eq!(other.view().get(b"/p/7").expect("still there").data, Some(&b"some data"[..]));
    assert_eq!(other.view().children(b"/p").expect("still there").count(), 300);
}

/// A few places for the newest versions. Only `try_lock` is used: under a thread sanitizer the
/// standard library itself is not instrumented, so its blocking calls look like races.
#[derive(Default)]
struct Ring([Mutex<Option<(i32, TreeVersion)>>; 4]);

impl Ring {
    fn with<T>(&self, round: i32, get: impl Fn(&mut Option<(i32, TreeVersion)>) -> Option<T>) -> T {
        loop {
            if let Some(value) =
                self.0[round as usize % 4].try_lock().ok().and_then(|mut slot| get(&mut slot))
            {
                return value;
            }
            std::thread::yield_now();
        }
    }

    fn put(&self, round: i32, version: &TreeVersion) {
        self.with(round, |slot| slot.is_none().then(|| *slot = Some((round, version.clone()))));
    }

    fn take(&self, round: i32) -> TreeVersion {
        let (at, version) = self.with(round, Option::take);
        assert_eq!(at, round);
        version
    }
}

fn read_all(round: i32, version: &TreeVersion, znodes: u32) {
    // All znodes of a version carry the round they were written in.
    let view = version.view();
    for at in (0..znodes).step_by(7) {
        let znode = view.get(format!("/p/{at}").as_bytes()).expect("never deleted");
        assert_eq!((znode.meta.version, znode.data), (round, Some(&[round as u8; 40][..])));
    }
    let names = view.children(b"/p").expect("never deleted").count();
    assert_eq!(names, (znodes as usize) + (round % 2) as usize);
    assert_eq!(
        view.iter().filter(|(_, znode)| znode.meta.version == round).count(),
        znodes as usize
    );
}

#[test]
fn readers_on_held_versions_while_the_writer_goes_on() {
    const ZNODES: u32 = 400;
    const ROUNDS: i32 = 150;
    let mut tree = Tree::new(3);
    plain(&mut tree, ZNODES);
    let rings = [Ring::default(), Ring::default()];
    std::thread::scope(|scope| {
        for (reader, ring) in rings.iter().enumerate() {
            scope.spawn(move || {
                let mut kept = Vec::new();
                for round in 1..=ROUNDS {
                    let version = ring.take(round);
                    read_all(round, &version, ZNODES);
                    kept.push((round, version));
                    if kept.len() > 3 + reader {
                        let (old, version) = kept.swap_remove(round as usize % kept.len());
                        read_all(old, &version, ZNODES);
                    }
                }
            });
        }
        for round in 1..=ROUNDS {
            for at in 0..ZNODES {
                let path = format!("/p/{at}");
                tree.update(path.as_bytes(), Some(Some(&[round as u8; 40])), |meta| {
                    meta.version = round;
                });
            }
            if round % 2 == 1 {
                tree.create(b"/p/x", &Meta::default(), None, |_| {});
            } else {
                tree.delete(b"/p/x", |_| {});
            }
            let version = tree.freeze();
            for ring in &rings {
                ring.put(round, &version);
            }
        }
    });
    tree.reclaim();
    assert_eq!(tree.memory().blocks, tree.accounted_blocks());
}

#[test]
#[allow(clippy::single_range_in_vec_init)]
fn damaged_snapshots_are_refused() {
    let mut tree = Tree::new(3);
    plain(&mut tree, 1000);
    let (image, records, pages) = image(tree.view());
    let whole = (*image).as_ref();
    assert!(
        MappedRecords::validate(&image, 3, [whole.len() - 1..whole.len() + 1], |_| {}).is_err()
    );
    for span in records.iter().take(20) {
        assert!(MappedRecords::validate(&image, 3, [span.start..span.end - 1], |_| {}).is_err());
    }
    for span in &pages {
        assert!(MappedNames::validate(&image, [span.start..span.end - 1]).is_err());
        for at in (0..span.len()).step_by(3) {
            let mut damaged = whole[span.clone()].to_vec();
            damaged[at] ^= 0x41;
            let len = damaged.len();
            let damaged: Image = Arc::new(damaged);
            // A changed letter of a name may well leave a page that is whole.
            if let Ok(names) = MappedNames::validate(&damaged, [0..len]) {
                let mut loader = TreeLoader::new(3);
                loader.push_names(names).expect("one page is in order");
                assert!(matches!(loader.finish(), Err(LoadError::NoRoot)));
            }
        }
    }
    let check = |spans: &[Range<usize>]| {
        MappedRecords::validate(&image, 3, spans.iter().cloned(), |_| {}).expect("whole")
    };
    let mut loader = TreeLoader::new(3);
    loader.push_records(check(&records));
    loader.push_records(check(&records[500..501]));
    assert!(matches!(loader.finish(), Err(LoadError::Twice(_))));
    let mut loader = TreeLoader::new(3);
    loader.push_records(check(&records));
    assert!(matches!(loader.finish(), Err(LoadError::Children { names: 0, .. })));
    let mut loader = TreeLoader::new(3);
    let two = [pages[1].clone(), pages[0].clone()];
    let names = MappedNames::validate(&image, two).expect("whole");
    assert!(matches!(loader.push_names(names), Err(LoadError::NamesOutOfOrder)));
}
