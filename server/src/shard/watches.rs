//! Which connections of this shard watch which paths (`client-protocol` 6).
//!
//! ZooKeeper keeps two tables, data and child. Here one entry per (connection, path) carries the
//! modes of both as bits, so that a change costs one lookup per path it touches:
//!
//! ```text
//!   path hash --> Place { path, first, last }        owners[slot] --> first
//!                          |                                            |
//!                          v                                            v
//!                   Watch <-> Watch <-> Watch  ... each one also in its owner's list
//! ```
//!
//! Entries are doubly linked both ways, so that firing, removing one and forgetting a whole
//! connection are all constant work per entry, and a watch costs no allocation of its own.
//! Order of delivery is order of registration: no hash order ever reaches an outbox.

use std::collections::HashMap;

use ahash::RandomState;
use model::path;
use protocol::{AddWatchMode, WatcherType};

/// End of a list.
const NIL: u32 = u32::MAX;

/// Fixed keys: the order of the tables never reaches an output, but runs must be repeatable.
const KEYS: [u64; 4] =
    [0x6b65_6570_6572_3031, 0x7761_7463_6865_7332, 0x7061_7468_7365_6564, 0x7269_6e67_3034];

/// Modes of a watch, of both tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Modes(u8);

impl Modes {
    /// One-shot, data table: `getData` and `exists`.
    pub const DATA: Modes = Modes(1);
    /// One-shot, child table: `getChildren`.
    pub const CHILD: Modes = Modes(8);
    /// `addWatch` persistent: both tables.
    pub const PERSISTENT: Modes = Modes(2 | 16);
    /// `addWatch` persistent recursive: data table.
    pub const RECURSIVE: Modes = Modes(4);
    /// Everything.
    pub const ALL: Modes = Modes(31);

    const NONE: Modes = Modes(0);
    const DATA_TABLE: Modes = Modes(1 | 2 | 4);
    const CHILD_TABLE: Modes = Modes(8 | 16);

    fn meets(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }

    fn without(self, other: Modes) -> Modes {
        Modes(self.0 & !other.0)
    }

    /// What a watcher type of checkWatches and removeWatches refers to.
    pub fn of(kind: WatcherType) -> Modes {
        match kind {
            WatcherType::Children => Modes::CHILD,
            WatcherType::Data => Modes::DATA,
            WatcherType::Any => Modes::ALL,
            WatcherType::Persistent => Modes::PERSISTENT,
            WatcherType::PersistentRecursive => Modes::RECURSIVE,
        }
    }

    /// What addWatch registers.
    pub fn added(mode: AddWatchMode) -> Modes {
        match mode {
            AddWatchMode::Persistent => Modes::PERSISTENT,
            AddWatchMode::PersistentRecursive => Modes::RECURSIVE,
        }
    }
}

/// A watched path.
#[derive(Debug)]
struct Place {
    path: Box<[u8]>,
    hash: u64,
    /// Next place with the same hash, or the next free one.
    next: u32,
    first: u32,
    last: u32,
    /// Entries with a mode of the data table.
    data: u32,
    /// Entries with a mode of the child table.
    child: u32,
}

impl Place {
    /// Watchers, those of both tables twice.
    fn len(&self) -> u32 {
        self.data + self.child
    }
}

/// One connection's watch on one path.
#[derive(Debug)]
struct Watch {
    place: u32,
    owner: u32,
    modes: Modes,
    place_prev: u32,
    place_next: u32,
    owner_prev: u32,
    owner_next: u32,
}

/// What the table knows of a connection.
#[derive(Clone, Copy, Debug)]
struct Owner {
    first: u32,
    /// Entries with a mode of the data table.
    data: u32,
    /// Number of the last trigger delivered to it.
    trigger: u64,
}

/// Numbers for `wchs` and `mntr`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchCounts {
    /// Entries of the data table.
    pub data: u64,
    /// Entries of the child table.
    pub child: u64,
    /// Distinct connections in the data table.
    pub data_owners: u64,
    /// Distinct paths in the data table.
    pub data_paths: u64,
}

/// All watches of a shard. Connections are named by their slot.
#[derive(Debug)]
pub struct WatchTable {
    hasher: RandomState,
    /// First place of each path hash.
    heads: HashMap<u64, u32, RandomState>,
    places: Vec<Place>,
    free_place: u32,
    /// Entry of each (place, owner).
    index: HashMap<(u32, u32), u32, RandomState>,
    watches: Vec<Watch>,
    free_watch: u32,
    owners: Vec<Owner>,
    trigger: u64,
    recursive: u64,
    counts: WatchCounts,
    /// Watchers that make a crowd, and the places that have so many.
    crowd: u32,
    crowded: u32,
}

impl Default for WatchTable {
    fn default() -> WatchTable {
        WatchTable::new()
    }
}

impl WatchTable {
    /// An empty table that knows no crowds.
    pub fn new() -> WatchTable {
        WatchTable::with_crowd(u32::MAX)
    }

    /// An empty table; so many watchers of one path are a crowd.
    pub fn with_crowd(crowd: u32) -> WatchTable {
        let hasher = RandomState::with_seeds(KEYS[0], KEYS[1], KEYS[2], KEYS[3]);
        WatchTable {
            heads: HashMap::with_hasher(hasher.clone()),
            index: HashMap::with_hasher(hasher.clone()),
            hasher,
            places: Vec::new(),
            free_place: NIL,
            watches: Vec::new(),
            free_watch: NIL,
            owners: Vec::new(),
            trigger: 0,
            recursive: 0,
            counts: WatchCounts::default(),
            crowd,
            crowded: 0,
        }
    }

    /// True if there is a path that a crowd watches.
    pub fn has_crowds(&self) -> bool {
        self.crowded > 0
    }

    /// True if a crowd watches this very path.
    pub fn is_crowded(&self, path: &[u8]) -> bool {
        self.find_place(path).is_some_and(|at| self.places[at as usize].len() >= self.crowd)
    }

    /// True if the connection watches anything.
    pub fn is_owner(&self, owner: u32) -> bool {
        self.owners.get(owner as usize).is_some_and(|owner| owner.first != NIL)
    }

    /// True if nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Number of (connection, path) pairs.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The numbers that reports need.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    /// Registers; registering again adds modes and is otherwise without effect.
    pub fn add(&mut self, owner: u32, path: &[u8], modes: Modes) {
        let place = self.place_or_new(path);
        let watch = match self.index.get(&(place, owner)) {
            Some(&watch) => watch,
            None => self.link(place, owner),
        };
        let with = self.watches[watch as usize].modes.with(modes);
        self.set_modes(watch, with);
    }

    /// True if the connection has any of these modes on exactly this path.
    pub fn contains(&self, owner: u32, path: &[u8], modes: Modes) -> bool {
        self.find(owner, path).is_some_and(|w| self.watches[w as usize].modes.meets(modes))
    }

    /// Drops these modes from exactly this path; false if there was none of them.
    pub fn remove(&mut self, owner: u32, path: &[u8], modes: Modes) -> bool {
        let Some(watch) = self.find(owner, path) else { return false };
        let had = self.watches[watch as usize].modes;
        if had.meets(modes) {
            self.set_modes(watch, had.without(modes));
        }
        had.meets(modes)
    }

    /// Forgets a connection.
    pub fn forget(&mut self, owner: u32) {
        while let Some(watch) = self.owners.get(owner as usize).map(|o| o.first)
            && watch != NIL
        {
            self.set_modes(watch, Modes::NONE);
        }
    }

    /// A znode was created: `NodeCreated` at the path.
    pub fn created(&mut self, path: &[u8], deliver: impl FnMut(u32)) {
        self.data_trigger(path, deliver);
    }

    /// A znode's data changed: `NodeDataChanged` at the path.
    pub fn data_changed(&mut self, path: &[u8], deliver: impl FnMut(u32)) {
        self.data_trigger(path, deliver);
    }

    /// A znode was deleted: `NodeDeleted` at the path, at most once per connection although both
    /// tables may hold it.
    pub fn deleted(&mut self, path: &[u8], mut deliver: impl FnMut(u32)) {
        self.data_trigger(path, &mut deliver);
        // Same trigger number: whoever got it from the data table is passed over, but a one-shot
        // child watch is used up all the same.
        if let Some(place) = self.find_place(path) {
            self.fire(place, Modes::CHILD_TABLE, &mut deliver);
        }
    }

    /// A direct child came or went: `NodeChildrenChanged` at the parent's path.
    pub fn children_changed(&mut self, parent: &[u8], mut deliver: impl FnMut(u32)) {
        self.trigger += 1;
        if let Some(place) = self.find_place(parent) {
            self.fire(place, Modes::CHILD_TABLE, &mut deliver);
        }
    }

    /// The hash of every path in the data table; the same path has the same in every shard.
    pub fn data_hashes(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.iter().filter(|place| place.data > 0).map(|place| place.hash)
    }

    /// Every pair of the data table, sorted by path, then in order of registration.
    pub fn data_pairs(&self) -> Vec<(&[u8], u32)> {
        let mut all = Vec::with_capacity(self.counts.data as usize);
        for place in self.places.iter().filter(|p| p.data > 0) {
            let mut at = place.first;
            while let Some(watch) = self.watches.get(at as usize) {
                if watch.modes.meets(Modes::DATA_TABLE) {
                    all.push((&*place.path, watch.owner));
                }
                at = watch.place_next;
            }
        }
        all.sort_by_key(|&(path, _)| path);
        all
    }

    fn data_trigger(&mut self, path: &[u8], mut deliver: impl FnMut(u32)) {
        self.trigger += 1;
        if let Some(place) = self.find_place(path) {
            self.fire(place, Modes::DATA_TABLE, &mut deliver);
        }
        if self.recursive > 0 {
            for above in path::ancestors(path) {
                if let Some(place) = self.find_place(above) {
                    self.fire(place, Modes::RECURSIVE, &mut deliver);
                }
            }
        }
    }

    /// Delivers to every watch of the place that has one of the modes, and uses up the one-shot
    /// modes among them.
    fn fire(&mut self, place: u32, modes: Modes, deliver: &mut impl FnMut(u32)) {
        let Place { first, data, child, .. } = self.places[place as usize];
        let worth = (modes.meets(Modes::DATA_TABLE) && data > 0)
            || (modes.meets(Modes::CHILD_TABLE) && child > 0);
        let mut at = if worth { first } else { NIL };
        while at != NIL {
            let watch = &self.watches[at as usize];
            let (next, owner, had) = (watch.place_next, watch.owner, watch.modes);
            if had.meets(modes) {
                let seen = &mut self.owners[owner as usize].trigger;
                if *seen != self.trigger {
                    *seen = self.trigger;
                    deliver(owner);
                }
                let one_shot = Modes(modes.0 & (Modes::DATA.0 | Modes::CHILD.0));
                if had.meets(one_shot) {
                    self.set_modes(at, had.without(one_shot));
                }
            }
            at = next;
        }
    }

    fn find_place(&self, path: &[u8]) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        self.find_hashed(self.hasher.hash_one(path), path)
    }

    fn find_hashed(&self, hash: u64, path: &[u8]) -> Option<u32> {
        let mut at = *self.heads.get(&hash)?;
        while at != NIL {
            let place = &self.places[at as usize];
            if *place.path == *path {
                return Some(at);
            }
            at = place.next;
        }
        None
    }

    fn find(&self, owner: u32, path: &[u8]) -> Option<u32> {
        let place = self.find_place(path)?;
        self.index.get(&(place, owner)).copied()
    }

    fn place_or_new(&mut self, path: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(path);
        if let Some(found) = self.find_hashed(hash, path) {
            return found;
        }
        let next = self.heads.get(&hash).copied().unwrap_or(NIL);
        let place =
            Place { path: path.into(), hash, next, first: NIL, last: NIL, data: 0, child: 0 };
        let at = if self.free_place == NIL {
            self.places.push(place);
            self.places.len() as u32 - 1
        } else {
            let at = self.free_place;
            self.free_place = self.places[at as usize].next;
            self.places[at as usize] = place;
            at
        };
        self.heads.insert(hash, at);
        at
    }

    fn drop_place(&mut self, at: u32) {
        let Place { hash, next, .. } = self.places[at as usize];
        let head = self.heads.get_mut(&hash).expect("a place in use is reachable by its hash");
        if *head == at && next == NIL {
            self.heads.remove(&hash);
        } else if *head == at {
            *head = next;
        } else {
            let mut before = *head;
            while self.places[before as usize].next != at {
                before = self.places[before as usize].next;
            }
            self.places[before as usize].next = next;
        }
        self.places[at as usize].path = Box::default();
        self.places[at as usize].next = self.free_place;
        self.free_place = at;
    }

    /// Makes an entry without modes, at the end of the place's list.
    fn link(&mut self, place: u32, owner: u32) -> u32 {
        if self.owners.len() <= owner as usize {
            self.owners.resize(owner as usize + 1, Owner { first: NIL, data: 0, trigger: 0 });
        }
        let last = self.places[place as usize].last;
        let first = self.owners[owner as usize].first;
        let watch = Watch {
            place,
            owner,
            modes: Modes::NONE,
            place_prev: last,
            place_next: NIL,
            owner_prev: NIL,
            owner_next: first,
        };
        let at = if self.free_watch == NIL {
            self.watches.push(watch);
            self.watches.len() as u32 - 1
        } else {
            let at = self.free_watch;
            self.free_watch = self.watches[at as usize].place_next;
            self.watches[at as usize] = watch;
            at
        };
        match self.watches.get_mut(last as usize) {
            Some(before) => before.place_next = at,
            None => self.places[place as usize].first = at,
        }
        self.places[place as usize].last = at;
        if let Some(after) = self.watches.get_mut(first as usize) {
            after.owner_prev = at;
        }
        self.owners[owner as usize].first = at;
        self.index.insert((place, owner), at);
        at
    }

    fn unlink(&mut self, at: u32) {
        let Watch { place, owner, place_prev, place_next, owner_prev, owner_next, .. } =
            self.watches[at as usize];
        match self.watches.get_mut(place_prev as usize) {
            Some(before) => before.place_next = place_next,
            None => self.places[place as usize].first = place_next,
        }
        match self.watches.get_mut(place_next as usize) {
            Some(after) => after.place_prev = place_prev,
            None => self.places[place as usize].last = place_prev,
        }
        match self.watches.get_mut(owner_prev as usize) {
            Some(before) => before.owner_next = owner_next,
            None => self.owners[owner as usize].first = owner_next,
        }
        if let Some(after) = self.watches.get_mut(owner_next as usize) {
            after.owner_prev = owner_prev;
        }
        self.index.remove(&(place, owner));
        self.watches[at as usize].place_next = self.free_watch;
        self.watches[at as usize].modes = Modes::NONE;
        self.free_watch = at;
        if self.places[place as usize].first == NIL {
            self.drop_place(place);
        }
    }

    /// Changes an entry's modes and every count; an entry without modes goes away.
    fn set_modes(&mut self, at: u32, new: Modes) {
        let watch = &mut self.watches[at as usize];
        let old = std::mem::replace(&mut watch.modes, new);
        let place = &mut self.places[watch.place as usize];
        let owner = &mut self.owners[watch.owner as usize];
        let before = place.len();
        match (old.meets(Modes::DATA_TABLE), new.meets(Modes::DATA_TABLE)) {
            (false, true) => {
                self.counts.data_owners += u64::from(owner.data == 0);
                self.counts.data_paths += u64::from(place.data == 0);
                self.counts.data += 1;
                owner.data += 1;
                place.data += 1;
            }
            (true, false) => {
                self.counts.data -= 1;
                owner.data -= 1;
                place.data -= 1;
                self.counts.data_owners -= u64::from(owner.data == 0);
                self.counts.data_paths -= u64::from(place.data == 0);
            }
            (true, true) | (false, false) => {}
        }
        match (old.meets(Modes::CHILD_TABLE), new.meets(Modes::CHILD_TABLE)) {
            (false, true) => {
                self.counts.child += 1;
                place.child += 1;
            }
            (true, false) => {
                self.counts.child -= 1;
                place.child -= 1;
            }
            (true, true) | (false, false) => {}
        }
        match (before >= self.crowd, place.len() >= self.crowd) {
            (false, true) => self.crowded += 1,
            (true, false) => self.crowded -= 1,
            (true, true) | (false, false) => {}
        }
        match (old.meets(Modes::RECURSIVE), new.meets(Modes::RECURSIVE)) {
            (false, true) => self.recursive += 1,
            (true, false) => self.recursive -= 1,
            (true, true) | (false, false) => {}
        }
        if new == Modes::NONE {
            self.unlink(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Owners in order of delivery.
    fn got(fire: impl FnOnce(&mut dyn FnMut(u32))) -> Vec<u32> {
        let mut all = Vec::new();
        fire(&mut |owner| all.push(owner));
        all
    }

    #[test]
    fn one_shot_fires_once_and_persistent_stays() {
        let mut table = WatchTable::new();
        table.add(1, b"/a", Modes::DATA);
        table.add(1, b"/a", Modes::DATA);
        table.add(2, b"/a", Modes::PERSISTENT);
        assert_eq!(table.counts().data, 2);
        assert_eq!(got(|d| table.data_changed(b"/a", d)), [1, 2]);
        assert_eq!(got(|d| table.data_changed(b"/a", d)), [2]);
        assert_eq!(got(|d| table.children_changed(b"/a", d)), [2]);
        table.forget(2);
        assert!(table.is_empty());
        assert_eq!(table.counts(), WatchCounts::default());
    }

    #[test]
    fn one_connection_gets_one_event_however_many_modes_match() {
        let mut table = WatchTable::new();
        for modes in [Modes::DATA, Modes::PERSISTENT, Modes::RECURSIVE] {
            table.add(7, b"/a/b", modes);
        }
        table.add(7, b"/", Modes::RECURSIVE);
        table.add(7, b"/a", Modes::RECURSIVE);
        assert_eq!(got(|d| table.data_changed(b"/a/b", d)), [7]);
        assert!(!table.contains(7, b"/a/b", Modes::DATA));
        assert!(table.contains(7, b"/a/b", Modes::RECURSIVE));
    }

    #[test]
    fn deleted_is_told_once_but_uses_up_the_child_watch() {
        let mut table = WatchTable::new();
        table.add(1, b"/a", Modes::DATA);
        table.add(1, b"/a", Modes::CHILD);
        table.add(2, b"/a", Modes::CHILD);
        table.add(3, b"/", Modes::RECURSIVE);
        table.add(3, b"/a", Modes::CHILD);
        assert_eq!(got(|d| table.deleted(b"/a", d)), [1, 3, 2]);
        assert_eq!(got(|d| table.deleted(b"/a", d)), [3]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn recursive_covers_the_subtree_but_not_a_common_prefix() {
        let mut table = WatchTable::new();
        table.add(1, b"/a", Modes::RECURSIVE);
        assert_eq!(got(|d| table.created(b"/a/b/c", d)), [1]);
        assert_eq!(got(|d| table.created(b"/a", d)), [1]);
        assert!(got(|d| table.created(b"/ab", d)).is_empty());
        assert!(got(|d| table.children_changed(b"/a", d)).is_empty());
    }

    #[test]
    fn removal_by_type_takes_only_its_modes() {
        let mut table = WatchTable::new();
        for modes in [Modes::DATA, Modes::CHILD, Modes::PERSISTENT, Modes::RECURSIVE] {
            table.add(1, b"/a", modes);
        }
        let kinds = [
            (WatcherType::Children, &[WatcherType::Data, WatcherType::Persistent][..]),
            (WatcherType::Data, &[WatcherType::Persistent, WatcherType::PersistentRecursive]),
            (WatcherType::Persistent, &[WatcherType::PersistentRecursive]),
        ];
        for (kind, left) in kinds {
            assert!(table.remove(1, b"/a", Modes::of(kind)));
            assert!(!table.remove(1, b"/a", Modes::of(kind)), "{kind:?} is gone");
            for &kind in left {
                assert!(table.contains(1, b"/a", Modes::of(kind)), "{kind:?} stays");
            }
        }
        assert!(table.remove(1, b"/a", Modes::of(WatcherType::Any)));
        assert!(!table.contains(1, b"/a", Modes::ALL) && table.is_empty());
    }

    const DATA: u8 = Modes::DATA_TABLE.0;
    const CHILD: u8 = Modes::CHILD_TABLE.0;

    /// The same rules in the most obvious form: two maps from path to owners to modes.
    #[derive(Default)]
    struct Plain {
        data: BTreeMap<Vec<u8>, BTreeMap<u32, u8>>,
        child: BTreeMap<Vec<u8>, BTreeMap<u32, u8>>,
    }

    impl Plain {
        fn add(&mut self, owner: u32, path: &[u8], modes: Modes) {
            let bits = modes.0;
            if bits & DATA != 0 {
                *self.data.entry(path.to_vec()).or_default().entry(owner).or_default() |=
                    bits & DATA;
            }
            if bits & CHILD != 0 {
                *self.child.entry(path.to_vec()).or_default().entry(owner).or_default() |=
                    bits & CHILD;
            }
        }

        fn forget(&mut self, owner: u32) {
            for owners in self.data.values_mut().chain(self.child.values_mut()) {
                owners.remove(&owner);
            }
        }

        fn fire(&mut self, path: &[u8], data: bool, child: bool) -> BTreeSet<u32> {
            let mut told = BTreeSet::new();
            if data {
                for above in std::iter::once(path).chain(path::ancestors(path)) {
                    let want = if above == path { 7 } else { 4 };
                    let Some(owners) = self.data.get_mut(above) else { continue };
                    told.extend(owners.iter().filter(|(_, m)| **m & want != 0).map(|(o, _)| *o));
                    owners.retain(|_, modes| {
                        *modes &= if above == path { !1 } else { !0 };
                        *modes != 0
                    });
                }
            }
            if child && let Some(owners) = self.child.get_mut(path) {
                told.extend(owners.keys());
                owners.retain(|_, modes| {
                    *modes &= !8;
                    *modes != 0
                });
            }
            told
        }

        fn count(table: &BTreeMap<Vec<u8>, BTreeMap<u32, u8>>) -> u64 {
            table.values().map(|owners| owners.len() as u64).sum()
        }
    }

    proptest! {
        #[test]
        fn agrees_with_two_plain_maps(
            steps in proptest::collection::vec((0..8u8, 0..5u32, 0..6usize, 0..4usize), 0..200),
        ) {
            let paths: [&[u8]; 6] = [b"/", b"/a", b"/a/b", b"/a/b/c", b"/b", b""];
            let kinds = [Modes::DATA, Modes::CHILD, Modes::PERSISTENT, Modes::RECURSIVE];
            let (mut table, mut plain) = (WatchTable::new(), Plain::default());
            for (step, owner, path, kind) in steps {
                let path = paths[path];
                let mut told = Vec::new();
                let deliver = |owner| told.push(owner);
                let expect = match step {
                    0 => { table.created(path, deliver); plain.fire(path, true, false) }
                    1 => { table.deleted(path, deliver); plain.fire(path, true, true) }
                    2 => { table.children_changed(path, deliver); plain.fire(path, false, true) }
                    3 => { table.forget(owner); plain.forget(owner); BTreeSet::new() }
                    _ => {
                        table.add(owner, path, kinds[kind]);
                        plain.add(owner, path, kinds[kind]);
                        BTreeSet::new()
                    }
                };
                prop_assert_eq!(told.len(), expect.len(), "each connection once");
                prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expect);
                prop_assert_eq!(table.counts().data, Plain::count(&plain.data));
                prop_assert_eq!(table.counts().child, Plain::count(&plain.child));
                prop_assert_eq!(table.data_pairs().len() as u64, table.counts().data);
            }
            for owner in 0..5 {
                table.forget(owner);
            }
            prop_assert_eq!(table.counts(), WatchCounts::default());
            prop_assert!(table.is_empty() && table.heads.is_empty() && table.recursive == 0);
        }
    }
}
