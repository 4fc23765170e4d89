//! Names of children: one ordered tree of packed pages for all parents together.
//!
//! The key is the parent's id and the name, so the children of one parent stand side by side, in
//! order. The id is given to a parent with its first child and is stored in the parent's record;
//! ids mean nothing outside of the tree. A page is
//!
//! ```text
//! bytes in all u32 | names u16 | groups u16 (top bit: wide)
//! per group: id u64, number of its first name u16
//! per name: where it ends u16 (u32 if wide)
//! names
//! ```
//!
//! all little endian. A leaf holds names; an index holds an edge more than it has keys, and its
//! keys are a page too: key `i` is above everything below edge `i` and not above anything below
//! edge `i + 1`. Depth need not be the same everywhere.

#[cfg(test)]
mod tests;

use std::mem::replace;
use std::ops::Range;

use super::record::RecordError;
use super::store::{Edge, Kind, Store};
use super::walk::{Cursor, Walk};

/// Largest page that holds more than one name, so that its block is 1 KiB.
const PAGE: usize = 1024 - 8;
/// Largest page of keys, apart from single long keys.
const KEYS: usize = 1024;
/// Most edges of an index.
const FAN: usize = 64;
/// Edges of an index that was built at once.
const FILL: usize = 56;
/// Bytes left free in a new page, since names often come one after another.
const SPARE: usize = 48;

const FIXED: usize = 8;
const GROUP: usize = 10;
/// Where a name ends, if the page is not wide.
const END: usize = 2;
const WIDE: u16 = 1 << 15;

/// Length of a page whose bytes are told by `byte_at`.
pub(super) fn extent(byte_at: impl Fn(usize) -> u8) -> usize {
    u32::from_le_bytes([byte_at(0), byte_at(1), byte_at(2), byte_at(3)]) as usize
}

/// A page, borrowed. Reading past its end gives zeros and empty names, never a panic.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    count: usize,
    groups: usize,
    wide: bool,
}

/// What a narrow page consists of, as in the drawing above.
struct Parts<'a> {
    groups: &'a [u8],
    ends: &'a [u8],
    names: &'a [u8],
}

impl<'a> Page<'a> {
    const EMPTY: Page<'static> = Page { bytes: &[], count: 0, groups: 0, wide: false };

    /// The page at the front of `bytes`.
    pub(super) fn within(bytes: &'a [u8]) -> Page<'a> {
        let Some(&[a, b, c, d, count_low, count_high, groups_low, groups_high]) =
            bytes.first_chunk::<FIXED>()
        else {
            return Page::EMPTY;
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let groups = u16::from_le_bytes([groups_low, groups_high]);
        let Some(bytes) = bytes.get(..len) else { return Page::EMPTY };
        Page {
            bytes,
            count: usize::from(u16::from_le_bytes([count_low, count_high])),
            groups: usize::from(groups & !WIDE),
            wide: groups & WIDE != 0,
        }
    }

    /// A leaf that is whole, sorted and not empty.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Page<'a>, RecordError> {
        let page = Page::within(bytes);
        let names = page.names_at();
        if page.count == 0 || page.bytes.len() != bytes.len() || names > bytes.len() {
            return Err(RecordError::Names);
        }
        let mut above = 0;
        for at in 0..page.count {
            let end = page.end(at);
            if end <= above || names + end > bytes.len() {
                return Err(RecordError::Names);
            }
            above = end;
        }
        if names + above != bytes.len() || page.groups == 0 || page.first(0) != 0 {
            return Err(RecordError::Names);
        }
        for group in 0..page.groups {
            let range = page.range(group);
            let sorted = range.clone().skip(1).all(|at| page.name(at - 1) < page.name(at));
            let ids = group == 0 || page.id(group - 1) < page.id(group);
            if range.is_empty() || range.end > page.count || !sorted || !ids {
                return Err(RecordError::Names);
            }
        }
        Ok(page)
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn names_at(&self) -> usize {
        FIXED + self.groups * GROUP + self.count * if self.wide { 4 } else { 2 }
    }

    /// The tables and the names; `None` if the page is wide.
    fn parts(&self) -> Option<Parts<'a>> {
        let (groups, rest) = self.bytes.get(FIXED..)?.split_at_checked(self.groups * GROUP)?;
        let (ends, names) = rest.split_at_checked(self.count * END)?;
        (!self.wide).then_some(Parts { groups, ends, names })
    }

    #[inline]
    fn u16_at(&self, at: usize) -> usize {
        match self.bytes.get(at..at + 2) {
            Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        }
    }

    #[inline]
    fn id(&self, group: usize) -> u64 {
        let at = FIXED + group * GROUP;
        let id = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        id.map_or(0, |id| u64::from_le_bytes(*id))
    }

    #[inline]
    fn first(&self, group: usize) -> usize {
        self.u16_at(FIXED + group * GROUP + 8)
    }

    /// The names of a group.
    #[inline]
    fn range(&self, group: usize) -> Range<usize> {
        let end = if group + 1 < self.groups { self.first(group + 1) } else { self.count };
        self.first(group)..end
    }

    #[inline]
    fn end(&self, at: usize) -> usize {
        let table = FIXED + self.groups * GROUP;
        if !self.wide {
            return self.u16_at(table + at * 2);
        }
        let end = self.bytes.get(table + at * 4..).and_then(|rest| rest.first_chunk());
        end.map_or(0, |end| u32::from_le_bytes(*end) as usize)
    }

    #[inline]
    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.end(at - 1) }
    }

    #[inline]
    pub(super) fn name(&self, at: usize) -> &'a [u8] {
        let names = self.names_at();
        self.bytes.get(names + self.start(at)..names + self.end(at)).unwrap_or_default()
    }

    /// Group of an id, or where it would be.
    fn group(&self, id: u64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.groups);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.id(middle) < id { low = middle + 1 } else { high = middle }
        }
        if low < self.groups && self.id(low) == id { Ok(low) } else { Err(low) }
    }

    /// The names of an id.
    fn of(&self, id: u64) -> Range<usize> {
        match self.group(id) {
            Ok(group) => self.range(group),
            Err(_) => 0..0,
        }
    }

    /// Place of a key, or where it would be.
    fn find(&self, id: u64, name: &[u8]) -> Result<usize, usize> {
        let range = match self.group(id) {
            Ok(group) => self.range(group),
            Err(group) if group < self.groups => return Err(self.first(group)),
            Err(_) => return Err(self.count),
        };
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// In an index: the edge that a key is below.
    fn way(&self, id: u64, name: &[u8]) -> usize {
        match self.find(id, name) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    fn key(&self, at: usize) -> (u64, &'a [u8]) {
        let (mut low, mut high) = (0, self.groups);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.first(middle) <= at { low = middle } else { high = middle }
        }
        (self.id(low), self.name(at))
    }
}

/// Builds pages, one after the other, in memory that it keeps.
#[derive(Default)]
pub(super) struct Builder {
    groups: Vec<(u64, u16)>,
    ends: Vec<u32>,
    names: Vec<u8>,
    out: Vec<u8>,
}

impl Builder {
    fn clear(&mut self) {
        self.groups.clear();
        self.ends.clear();
        self.names.clear();
    }

    fn group(&mut self, id: u64) {
        if self.groups.last().is_none_or(|(last, _)| *last != id) {
            self.groups.push((id, self.ends.len() as u16));
        }
    }

    fn push(&mut self, id: u64, name: &[u8]) {
        self.group(id);
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len() as u32);
    }

    fn extend(&mut self, page: &Page<'_>, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        for group in 0..page.groups {
            let within = page.range(group);
            if within.end <= range.start {
                continue;
            }
            if within.start >= range.end {
                break;
            }
            let ahead = within.start.max(range.start) - range.start;
            let id = page.id(group);
            if self.groups.last().is_none_or(|(last, _)| *last != id) {
                self.groups.push((id, (self.ends.len() + ahead) as u16));
            }
        }
        let (from, to) = (page.start(range.start), page.end(range.end - 1));
        let base = self.names.len();
        let at = page.names_at();
        self.names.extend_from_slice(page.bytes.get(at + from..at + to).unwrap_or_default());
        self.ends.extend(range.map(|at| (page.end(at) - from + base) as u32));
    }

    /// The page of what was added since the last `clear`.
    fn page(&mut self) -> &[u8] {
        let wide = self.names.len() > usize::from(u16::MAX);
        let width = if wide { 4 } else { 2 };
        let len = FIXED + self.groups.len() * GROUP + self.ends.len() * width + self.names.len();
        let out = &mut self.out;
        out.clear();
        out.reserve(len);
        out.extend_from_slice(&u32::try_from(len).expect("a page is below 4 GiB").to_le_bytes());
        out.extend_from_slice(&(self.ends.len() as u16).to_le_bytes());
        let groups = self.groups.len() as u16 | if wide { WIDE } else { 0 };
        out.extend_from_slice(&groups.to_le_bytes());
        for (id, first) in &self.groups {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
        }
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes()[..width]);
        }
        out.extend_from_slice(&self.names);
        out
    }

    /// `page` with `name` as its name number `at`, which is where [`Page::find`] puts it. `None`
    /// if the ends of names need another width. Most of a page is moved as it is: to take it apart
    /// and put it together again costs ten times as much.
    fn with_name(&mut self, page: &Page<'_>, id: u64, at: usize, name: &[u8]) -> Option<&[u8]> {
        let more = u16::try_from(name.len()).ok()?;
        let (above, new) = match page.group(id) {
            Ok(group) => (group + 1, false),
            Err(group) => (group, true),
        };
        let parts = page.parts()?;
        if parts.names.len() + name.len() > usize::from(u16::MAX) {
            return None;
        }
        let len = page.bytes.len() + END + name.len() + if new { GROUP } else { 0 };
        let out = &mut self.out;
        out.clear();
        out.reserve(len);
        out.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        out.extend_from_slice(&u16::try_from(page.count + 1).ok()?.to_le_bytes());
        out.extend_from_slice(&((page.groups + usize::from(new)) as u16).to_le_bytes());
        let (same, moved) = parts.groups.split_at_checked(above * GROUP)?;
        out.extend_from_slice(same);
        if new {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&(at as u16).to_le_bytes());
        }
        extend_shifted(out, moved, GROUP, 1);
        let (same, moved) = parts.ends.split_at_checked(at * END)?;
        let start = page.start(at);
        out.extend_from_slice(same);
        out.extend_from_slice(&(start as u16).wrapping_add(more).to_le_bytes());
        extend_shifted(out, moved, END, more);
        let (before, behind) = parts.names.split_at_checked(start)?;
        out.extend_from_slice(before);
        out.extend_from_slice(name);
        out.extend_from_slice(behind);
        Some(out)
    }

    /// `page`, which has more names than one, without its name number `at`, which is one of `id`.
    /// `None` where [`Builder::with_name`] gives none.
    fn without_name(&mut self, page: &Page<'_>, id: u64, at: usize) -> Option<&[u8]> {
        let group = page.group(id).ok()?;
        let gone = page.range(group).len() == 1;
        let parts = page.parts()?;
        let (start, end) = (page.start(at), page.end(at));
        let less = (end.checked_sub(start)? as u16).wrapping_neg();
        let len = page.bytes.len() - END - (end - start) - if gone { GROUP } else { 0 };
        let out = &mut self.out;
        out.clear();
        out.reserve(len);
        out.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        out.extend_from_slice(&((page.count - 1) as u16).to_le_bytes());
        out.extend_from_slice(&((page.groups - usize::from(gone)) as u16).to_le_bytes());
        let (same, moved) = parts.groups.split_at_checked((group + 1) * GROUP)?;
        out.extend_from_slice(&same[..same.len() - if gone { GROUP } else { 0 }]);
        extend_shifted(out, moved, GROUP, u16::MAX);
        let (same, moved) = parts.ends.split_at_checked((at + 1) * END)?;
        out.extend_from_slice(&same[..at * END]);
        extend_shifted(out, moved, END, less);
        out.extend_from_slice(parts.names.get(..start)?);
        out.extend_from_slice(parts.names.get(end..)?);
        Some(out)
    }

    fn len(&self) -> usize {
        let wide = self.names.len() > usize::from(u16::MAX);
        let width = if wide { 4 } else { 2 };
        FIXED + self.groups.len() * GROUP + self.ends.len() * width + self.names.len()
    }
}

/// Appends rows of a table whose last two bytes are a number, with `more` added to each.
fn extend_shifted(out: &mut Vec<u8>, rows: &[u8], width: usize, more: u16) {
    let from = out.len();
    out.extend_from_slice(rows);
    for row in out[from..].chunks_exact_mut(width) {
        if let Some(number) = row.last_chunk_mut() {
            *number = u16::from_le_bytes(*number).wrapping_add(more).to_le_bytes();
        }
    }
}

/// A right half, and the key that is between it and the left one.
struct Split {
    id: u64,
    name: Vec<u8>,
    right: Edge,
}

/// The shortest key above `left` and not above `right`.
fn between(left: (u64, &[u8]), right: (u64, &[u8])) -> (u64, Vec<u8>) {
    if left.0 != right.0 {
        return (right.0, Vec::new());
    }
    let same = left.1.iter().zip(right.1).take_while(|(left, right)| left == right).count();
    (right.0, right.1[..(same + 1).min(right.1.len())].to_vec())
}

fn leaf(store: &mut Store, page: &[u8]) -> Edge {
    let spare = SPARE.min(PAGE.saturating_sub(page.len()));
    store.bytes(Kind::Names, 0, page.len(), spare, |out| out.copy_from_slice(page))
}

/// Makes `page` the leaf's content.
fn rewrite(store: &mut Store, edge: &mut Edge, page: &[u8]) {
    if let Some(room) = store.own_bytes(edge).and_then(|bytes| bytes.get_mut(..page.len())) {
        room.copy_from_slice(page);
        return;
    }
    let new = leaf(store, page);
    store.retire(replace(edge, new));
}

/// Adds a name; false if it is there already.
pub(super) fn insert(
    store: &mut Store,
    root: &mut Edge,
    id: u64,
    name: &[u8],
    builder: &mut Builder,
) -> bool {
    let Ok(split) = insert_below(store, root, id, name, builder) else { return false };
    if let Some(Split { id, name, right }) = split {
        let left = replace(root, Edge::NONE);
        builder.clear();
        builder.push(id, &name);
        *root = store.node(Kind::Index, 0, [left, right].into_iter(), builder.page());
    }
    true
}

/// The name is there already.
struct Present;

fn insert_below(
    store: &mut Store,
    edge: &mut Edge,
    id: u64,
    name: &[u8],
    builder: &mut Builder,
) -> Result<Option<Split>, Present> {
    match edge.kind() {
        Kind::None => {
            builder.clear();
            builder.push(id, name);
            *edge = leaf(store, builder.page());
            Ok(None)
        }
        Kind::Names | Kind::MappedNames => {
            let page = Page::within(edge.bytes());
            let Err(at) = page.find(id, name) else { return Err(Present) };
            if page.bytes.len() + name.len() + END + GROUP <= PAGE
                && let Some(new) = builder.with_name(&page, id, at, name)
            {
                rewrite(store, edge, new);
                return Ok(None);
            }
            builder.clear();
            builder.extend(&page, 0..at);
            builder.push(id, name);
            builder.extend(&page, at..page.count());
            if builder.len() <= PAGE {
                rewrite(store, edge, builder.page());
                return Ok(None);
            }
            Ok(Some(split_leaf(store, edge, at, builder)))
        }
        Kind::Index => {
            let at = Page::within(edge.bytes()).way(id, name);
            let below = &mut store.own(edge)[at];
            let Some(split) = insert_below(store, below, id, name, builder)? else {
                return Ok(None);
            };
            let keys = Page::within(edge.bytes());
            builder.clear();
            builder.extend(&keys, 0..at);
            builder.push(split.id, &split.name);
            builder.extend(&keys, at..keys.count());
            let mut edges = take_edges(store, edge);
            edges.insert(at + 1, split.right);
            if edges.len() <= 2 || (edges.len() <= FAN && builder.len() <= KEYS) {
                let new = store.node(Kind::Index, 0, edges.into_iter(), builder.page());
                store.retire(replace(edge, new));
                return Ok(None);
            }
            let last = at + 2 == edges.len();
            let cut = if last { edges.len() - 1 } else { edges.len() / 2 };
            let right = edges.split_off(cut);
            let all = builder.page().to_vec();
            let keys = Page::within(&all);
            let (id, name) = keys.key(cut - 1);
            builder.clear();
            builder.extend(&keys, cut..keys.count());
            let right = store.node(Kind::Index, 0, right.into_iter(), builder.page());
            builder.clear();
            builder.extend(&keys, 0..cut - 1);
            let left = store.node(Kind::Index, 0, edges.into_iter(), builder.page());
            store.retire(replace(edge, left));
            Ok(Some(Split { id, name: name.to_vec(), right }))
        }
        kind @ (Kind::Inner | Kind::Bucket | Kind::Record | Kind::MappedRecord) => {
            unreachable!("{kind:?} among the names")
        }
    }
}

/// Takes all edges out of an index that is about to be replaced.
fn take_edges(store: &mut Store, edge: &mut Edge) -> Vec<Edge> {
    store.own(edge).iter_mut().map(|edge| replace(edge, Edge::NONE)).collect()
}

/// Splits the page in `builder`, which got too large by the name at `at`. A run of names that
/// arrive in order leaves full pages behind.
fn split_leaf(store: &mut Store, edge: &mut Edge, at: usize, builder: &mut Builder) -> Split {
    let all = builder.page().to_vec();
    let page = Page::within(&all);
    let count = page.count();
    let (id, _) = page.key(at);
    let run = page.of(id);
    let cut = if at + 1 == count {
        at
    } else if at + 1 == run.end && run.len() * 2 > count {
        at + 1
    } else {
        let half = page.end(count - 1) / 2;
        (1..count - 1).find(|&at| page.end(at) > half).unwrap_or(count / 2)
    };
    let cut = cut.clamp(1, count - 1);
    let (id, name) = between(page.key(cut - 1), page.key(cut));
    builder.clear();
    builder.extend(&page, cut..count);
    let right = leaf(store, builder.page());
    builder.clear();
    builder.extend(&page, 0..cut);
    rewrite(store, edge, builder.page());
    Split { id, name, right }
}

/// Removes a name; false if it is not there.
pub(super) fn remove(
    store: &mut Store,
    root: &mut Edge,
    id: u64,
    name: &[u8],
    builder: &mut Builder,
) -> bool {
    let removed = remove_below(store, root, id, name, builder);
    while root.kind() == Kind::Index && root.edges().len() == 1 {
        let only = take_edges(store, root).pop().expect("there is one");
        store.retire(replace(root, only));
    }
    removed
}

fn remove_below(
    store: &mut Store,
    edge: &mut Edge,
    id: u64,
    name: &[u8],
    builder: &mut Builder,
) -> bool {
    match edge.kind() {
        Kind::Names | Kind::MappedNames => {
            let page = Page::within(edge.bytes());
            let Ok(at) = page.find(id, name) else { return false };
            if page.count() == 1 {
                store.retire(replace(edge, Edge::NONE));
                return true;
            }
            if let Some(new) = builder.without_name(&page, id, at) {
                rewrite(store, edge, new);
                return true;
            }
            builder.clear();
            builder.extend(&page, 0..at);
            builder.extend(&page, at + 1..page.count());
            rewrite(store, edge, builder.page());
            true
        }
        Kind::Index => {
            let at = Page::within(edge.bytes()).way(id, name);
            let below = &mut store.own(edge)[at];
            if !remove_below(store, below, id, name, builder) {
                return false;
            }
            if below.kind() == Kind::None {
                let mut edges = take_edges(store, edge);
                edges.remove(at);
                if edges.is_empty() {
                    store.retire(replace(edge, Edge::NONE));
                } else {
                    without_key(store, edge, at.saturating_sub(1), edges, builder);
                }
            } else if is_small(below) {
                merge(store, edge, at, builder);
            }
            true
        }
        Kind::None | Kind::Inner | Kind::Bucket | Kind::Record | Kind::MappedRecord => false,
    }
}

/// Replaces an index by one of these edges and all of its keys but one.
fn without_key(
    store: &mut Store,
    edge: &mut Edge,
    key: usize,
    edges: Vec<Edge>,
    builder: &mut Builder,
) {
    let keys = Page::within(edge.bytes());
    builder.clear();
    builder.extend(&keys, 0..key);
    builder.extend(&keys, key + 1..keys.count());
    let new = store.node(Kind::Index, 0, edges.into_iter(), builder.page());
    store.retire(replace(edge, new));
}

fn is_small(edge: &Edge) -> bool {
    match edge.kind() {
        Kind::Index => edge.edges().len() < FAN / 8,
        _ => Page::within(edge.bytes()).bytes().len() < PAGE / 4,
    }
}

/// Joins the small node below edge `at` of an index with a neighbour, if they fit together.
fn merge(store: &mut Store, edge: &mut Edge, at: usize, builder: &mut Builder) {
    let count = edge.edges().len();
    let left = if at + 1 < count { at } else { at.saturating_sub(1) };
    let [.., _, _] = edge.edges() else { return };
    let (one, two) = (&edge.edges()[left], &edge.edges()[left + 1]);
    let (first, second) = (Page::within(one.bytes()), Page::within(two.bytes()));
    builder.clear();
    let joined = match (one.kind(), two.kind()) {
        (Kind::Index, Kind::Index) => {
            if one.edges().len() + two.edges().len() > FAN / 2 {
                return;
            }
            let (id, name) = Page::within(edge.bytes()).key(left);
            builder.extend(&first, 0..first.count());
            builder.push(id, name);
            builder.extend(&second, 0..second.count());
            if builder.len() > KEYS {
                return;
            }
            let below = &mut store.own(edge)[left..=left + 1];
            let mut edges = take_edges(store, &mut below[0]);
            edges.extend(take_edges(store, &mut below[1]));
            store.node(Kind::Index, 0, edges.into_iter(), builder.page())
        }
        (Kind::Index, _) | (_, Kind::Index) => return,
        _ => {
            builder.extend(&first, 0..first.count());
            builder.extend(&second, 0..second.count());
            if builder.len() > PAGE * 3 / 4 {
                return;
            }
            leaf(store, builder.page())
        }
    };
    let mut edges = take_edges(store, edge);
    store.retire(edges.remove(left + 1));
    store.retire(replace(&mut edges[left], joined));
    without_key(store, edge, left, edges, builder);
}

/// Builds the tree over leaves that are in order.
pub(super) fn build(store: &mut Store, leaves: Vec<Edge>, builder: &mut Builder) -> Edge {
    // Per edge, the key that is above everything before it.
    let mut level: Vec<((u64, Vec<u8>), Edge)> = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let key = match level.last() {
            None => (0, Vec::new()),
            Some((_, before)) => {
                let (left, right) = (Page::within(before.bytes()), Page::within(leaf.bytes()));
                between(left.key(left.count().saturating_sub(1)), right.key(0))
            }
        };
        level.push((key, leaf));
    }
    while level.len() > 1 {
        let mut above = Vec::with_capacity(level.len() / FILL + 1);
        let mut rest = level.into_iter().peekable();
        while let Some((key, first)) = rest.next() {
            let mut edges = vec![first];
            builder.clear();
            while edges.len() < FILL && (edges.len() < 2 || builder.len() <= KEYS) {
                let Some(((id, name), edge)) = rest.next() else { break };
                builder.push(id, &name);
                edges.push(edge);
            }
            above.push((key, store.node(Kind::Index, 0, edges.into_iter(), builder.page())));
        }
        level = above;
    }
    level.pop().map_or(Edge::NONE, |(_, edge)| edge)
}

/// True if everything in the leaf `left` is before everything in `right`.
pub(super) fn in_order(left: &Edge, right: &Edge) -> bool {
    let (left, right) = (Page::within(left.bytes()), Page::within(right.bytes()));
    left.key(left.count().saturating_sub(1)) < right.key(0)
}

/// The names of one parent.
pub(super) struct Names<'a> {
    leaves: Walk<'a>,
    id: u64,
    page: Page<'a>,
    range: Range<usize>,
    left: u32,
}

impl<'a> Names<'a> {
    /// `count` names are kept under `id`.
    pub(super) fn new(root: &'a Edge, id: u64, count: u32) -> Names<'a> {
        let leaves = if count == 0 {
            Walk::new(&Edge::NONE, &Cursor::default())
        } else {
            Walk::seek(root, |edge| Page::within(edge.bytes()).way(id, &[]))
        };
        Names { leaves, id, page: Page::EMPTY, range: 0..0, left: count }
    }

    /// The `left` names under `id` that come after `name`.
    pub(super) fn after(root: &'a Edge, id: u64, name: &[u8], left: u32) -> Names<'a> {
        let start = if left == 0 { &Edge::NONE } else { root };
        let mut leaves = Walk::seek(start, |edge| Page::within(edge.bytes()).way(id, name));
        let page = leaves.next().map_or(Page::EMPTY, |leaf| Page::within(leaf.bytes()));
        let own = page.of(id);
        let from = match page.find(id, name) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        Names { leaves, id, page, range: from.clamp(own.start, own.end)..own.end, left }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // The key before a parent's first name may be that of the leaf before.
        while self.range.is_empty() {
            if self.left == 0 {
                return None;
            }
            self.page = Page::within(self.leaves.next()?.bytes());
            self.range = self.page.of(self.id);
        }
        let at = self.range.next()?;
        self.left = self.left.saturating_sub(1);
        Some(self.page.name(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}
