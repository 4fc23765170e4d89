//! Records by path: a hash trie, 32 ways per level.
//!
//! A slot of an inner node holds a record, a bucket of records, or another inner node. Buckets are
//! large, since scanning one is cheaper than another level: the nodes above them stay in the
//! processor's caches, and copying a bucket copies less than copying a node and a small bucket.
//! Every edge to a record is marked with 13 bits of the path's hash, so that a lookup reads no
//! record but the one it wants. The bits that choose the way are taken from the top of the hash,
//! the mark from its bottom. Paths are compared in full; the hash only finds them.

use std::mem::replace;

use super::record::Record;
use super::store::{Edge, Kind, MARK_BITS, Store};

/// Bits of the hash per level.
const BITS: u32 = 5;
/// Bitmap of a node without gaps.
const FULL: u64 = (1 << (1 << BITS)) - 1;
/// Shift of the first level.
const TOP: u32 = 64 - BITS;
/// Largest bucket; larger only where the hash has no bits left.
const BUCKET: usize = 48;

/// The seeded hash of a path.
#[inline]
pub(super) fn hash(hasher: &ahash::RandomState, path: &[u8]) -> u64 {
    hasher.hash_one(path)
}

/// The part of a hash that marks edges to records.
#[inline]
pub(super) fn mark(hash: u64) -> u16 {
    hash as u16 & ((1 << MARK_BITS) - 1)
}

fn digit(hash: u64, shift: u32) -> u32 {
    (hash >> shift) as u32 & ((1 << BITS) - 1)
}

/// Whether the way is taken, and the place of its edge among those of the node.
#[inline]
fn way(bitmap: u64, hash: u64, shift: u32) -> (bool, usize) {
    let digit = digit(hash, shift);
    if bitmap == FULL {
        return (true, digit as usize);
    }
    let bit = 1 << digit;
    (bitmap & bit != 0, (bitmap & (bit - 1)).count_ones() as usize)
}

#[inline]
fn is(edge: &Edge, mark: u16, path: &[u8]) -> bool {
    edge.mark() == mark && Record::within(edge.bytes()).path() == path
}

/// The record of a path among at most 64. All marks are compared before any record is looked at:
/// leaving the loop early would cost a mispredicted branch, and that more than the comparisons.
#[inline]
fn search<'a>(edges: &'a [Edge], mark: u16, path: &[u8]) -> Option<Record<'a>> {
    let mut matches = 0_u64;
    for (at, edge) in edges.iter().enumerate() {
        matches |= u64::from(edge.mark() == mark) << at;
    }
    while matches != 0 {
        let record = Record::within(edges.get(matches.trailing_zeros() as usize)?.bytes());
        if record.path() == path {
            return Some(record);
        }
        matches &= matches - 1;
    }
    None
}

/// The record of a path.
#[inline]
pub(super) fn get<'a>(root: &'a Edge, hash: u64, path: &[u8]) -> Option<Record<'a>> {
    let mark = mark(hash);
    let mut edge = root;
    let mut shift = TOP;
    loop {
        match edge.kind() {
            Kind::Inner => {
                let (taken, at) = way(edge.bitmap(), hash, shift);
                if !taken {
                    return None;
                }
                edge = edge.edges().get(at)?;
                shift = shift.saturating_sub(BITS);
            }
            Kind::Bucket => {
                return edge.edges().chunks(64).find_map(|edges| search(edges, mark, path));
            }
            Kind::Record | Kind::MappedRecord => {
                if edge.mark() != mark {
                    return None;
                }
                let record = Record::within(edge.bytes());
                return (record.path() == path).then_some(record);
            }
            Kind::None | Kind::Names | Kind::MappedNames | Kind::Index => return None,
        }
    }
}

/// The edge to a path's record, for replacing it. The blocks above become the writer's own.
pub(super) fn slot<'e>(
    store: &mut Store,
    root: &'e mut Edge,
    hash: u64,
    path: &[u8],
) -> Option<&'e mut Edge> {
    let mark = mark(hash);
    let mut edge = root;
    let mut shift = TOP;
    loop {
        match edge.kind() {
            Kind::Inner => {
                let (taken, at) = way(edge.bitmap(), hash, shift);
                if !taken {
                    return None;
                }
                edge = store.own(edge).get_mut(at)?;
                shift = shift.saturating_sub(BITS);
            }
            Kind::Bucket => {
                let at = edge.edges().iter().position(|edge| is(edge, mark, path))?;
                return store.own(edge).get_mut(at);
            }
            Kind::Record | Kind::MappedRecord => return is(edge, mark, path).then_some(edge),
            Kind::None | Kind::Names | Kind::MappedNames | Kind::Index => return None,
        }
    }
}

/// Adds a record; gives it back if its path is there already.
pub(super) fn insert(
    store: &mut Store,
    hasher: &ahash::RandomState,
    root: &mut Edge,
    hash: u64,
    record: Edge,
) -> Result<(), Edge> {
    let mark = record.mark();
    let mut edge = root;
    let mut shift = TOP;
    let mut last = false;
    loop {
        match edge.kind() {
            Kind::Inner => {
                let bitmap = edge.bitmap();
                let (taken, at) = way(bitmap, hash, shift);
                if !taken {
                    store.insert(edge, at, record, bitmap | 1 << digit(hash, shift));
                    return Ok(());
                }
                edge = &mut store.own(edge)[at];
                last = shift < BITS;
                shift = shift.saturating_sub(BITS);
            }
            Kind::Bucket => {
                let path = Record::within(record.bytes()).path();
                if edge.edges().iter().any(|edge| is(edge, mark, path)) {
                    return Err(record);
                }
                let count = edge.edges().len();
                if count < BUCKET || last {
                    store.insert(edge, count, record, 0);
                    return Ok(());
                }
                split(store, hasher, edge, shift);
            }
            Kind::Record | Kind::MappedRecord => {
                if is(edge, mark, Record::within(record.bytes()).path()) {
                    return Err(record);
                }
                let other = replace(edge, Edge::NONE);
                *edge = store.node(Kind::Bucket, 0, [other, record].into_iter(), &[]);
                return Ok(());
            }
            Kind::None => {
                *edge = record;
                return Ok(());
            }
            kind @ (Kind::Names | Kind::MappedNames | Kind::Index) => {
                unreachable!("{kind:?} in the trie")
            }
        }
    }
}

/// Makes a trie of records with their hashes, in any order; fastest if they come in the order of
/// the trie, as a walk over another one gives them. Each node is written once, where adding
/// records one by one looks at every level and moves every bucket as it grows. Gives back a record
/// whose path is there twice.
pub(super) fn build(store: &mut Store, records: &mut [(u64, Edge)]) -> Result<Edge, Edge> {
    build_below(store, records, TOP, false)
}

fn build_below(
    store: &mut Store,
    records: &mut [(u64, Edge)],
    shift: u32,
    last: bool,
) -> Result<Edge, Edge> {
    if let [(_, only)] = records {
        return Ok(replace(only, Edge::NONE));
    }
    if records.is_empty() {
        return Ok(Edge::NONE);
    }
    if records.len() <= BUCKET || last {
        for at in 1..records.len() {
            if is_twice(&records[..=at]) {
                return Err(replace(&mut records[at].1, Edge::NONE));
            }
        }
        let edges = records.iter_mut().map(|(_, edge)| replace(edge, Edge::NONE));
        return Ok(store.node(Kind::Bucket, 0, edges, &[]));
    }
    let digit = |record: &(u64, Edge)| digit(record.0, shift);
    if !records.is_sorted_by_key(digit) {
        records.sort_by_key(digit);
    }
    let mut bitmap = 0_u64;
    let mut edges: Vec<Edge> = Vec::with_capacity(1 << BITS);
    for same in records.chunk_by_mut(|one, other| digit(one) == digit(other)) {
        bitmap |= 1 << digit(&same[0]);
        edges.push(build_below(store, same, shift.saturating_sub(BITS), shift < BITS)?);
    }
    Ok(store.node(Kind::Inner, bitmap, edges.into_iter(), &[]))
}

/// Whether the path of the last of these records is one of another, too. All hashes are compared
/// before any path is looked at.
fn is_twice(records: &[(u64, Edge)]) -> bool {
    let Some(((hash, last), before)) = records.split_last() else { return false };
    if before.iter().filter(|(other, _)| other == hash).count() == 0 {
        return false;
    }
    let path = Record::within(last.bytes()).path();
    before.iter().any(|(other, edge)| other == hash && is(edge, last.mark(), path))
}

/// Turns a bucket into an inner node.
fn split(store: &mut Store, hasher: &ahash::RandomState, bucket: &mut Edge, shift: u32) {
    let mut records: Vec<(u32, Edge)> = Vec::with_capacity(BUCKET);
    for edge in store.own(bucket) {
        let hash = hash(hasher, Record::within(edge.bytes()).path());
        records.push((digit(hash, shift), replace(edge, Edge::NONE)));
    }
    store.retire(replace(bucket, Edge::NONE));
    records.sort_by_key(|(digit, _)| *digit);
    let mut bitmap = 0_u64;
    let mut edges: Vec<Edge> = Vec::with_capacity(records.len());
    for (digit, record) in records {
        if bitmap & 1 << digit == 0 {
            bitmap |= 1 << digit;
            edges.push(record);
            continue;
        }
        let last = edges.last_mut().expect("the way's bit is set");
        if last.kind() == Kind::Bucket {
            let count = last.edges().len();
            store.insert(last, count, record, 0);
        } else {
            let first = replace(last, Edge::NONE);
            *last = store.node(Kind::Bucket, 0, [first, record].into_iter(), &[]);
        }
    }
    *bucket = store.node(Kind::Inner, bitmap, edges.into_iter(), &[]);
}

/// Takes a path's record out.
pub(super) fn remove(store: &mut Store, root: &mut Edge, hash: u64, path: &[u8]) -> Option<Edge> {
    remove_below(store, root, hash, TOP, path)
}

fn remove_below(
    store: &mut Store,
    edge: &mut Edge,
    hash: u64,
    shift: u32,
    path: &[u8],
) -> Option<Edge> {
    match edge.kind() {
        Kind::Inner => {
            let bitmap = edge.bitmap();
            let (taken, at) = way(bitmap, hash, shift);
            if !taken {
                return None;
            }
            let below = &mut store.own(edge)[at];
            let record = remove_below(store, below, hash, shift.saturating_sub(BITS), path)?;
            if below.kind() == Kind::None {
                store.remove(edge, at, bitmap & !(1 << digit(hash, shift)));
            }
            match store.own(edge) {
                [] => store.retire(replace(edge, Edge::NONE)),
                [only] if only.kind() != Kind::Inner => {
                    let only = replace(only, Edge::NONE);
                    store.retire(replace(edge, only));
                }
                _ => {}
            }
            Some(record)
        }
        Kind::Bucket => {
            let mark = mark(hash);
            let at = edge.edges().iter().position(|edge| is(edge, mark, path))?;
            let record = store.remove(edge, at, 0);
            if let [only] = store.own(edge) {
                let only = replace(only, Edge::NONE);
                store.retire(replace(edge, only));
            }
            Some(record)
        }
        Kind::Record | Kind::MappedRecord => {
            is(edge, mark(hash), path).then(|| replace(edge, Edge::NONE))
        }
        Kind::None | Kind::Names | Kind::MappedNames | Kind::Index => None,
    }
}
