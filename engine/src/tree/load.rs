//! Rebuilding a tree from a snapshot, with its records left where they are.
//!
//! A snapshot holds two streams: the records ([`super::TreeView::records`]) and the pages of
//! child names ([`super::TreeView::name_pages`]). Loading is: for each page of the file, check
//! what it holds ([`MappedRecords::validate`], [`MappedNames::validate`]; independent, so it can
//! be done by several threads), then push the results in the order of the streams.

use std::ops::Range;

use super::names::{self, Page};
use super::store::{Adopted, Edge};
use super::{Record, RecordError, Tree, trie};
use crate::recover::Image;

/// Records of a snapshot that were found whole, with their places.
pub struct MappedRecords {
    image: Image,
    seed: u64,
    /// With their hashes.
    records: Vec<(u64, Adopted)>,
    /// Sum of the numbers of children.
    children: u64,
    /// Highest id of names.
    last_id: u64,
}

impl MappedRecords {
    /// Checks the records at the given byte ranges of `image`, and shows each that is whole to
    /// `seen`. `seed` is that of the tree to be; another one costs time when pushing.
    pub fn validate(
        image: &Image,
        seed: u64,
        spans: impl IntoIterator<Item = Range<usize>>,
        mut seen: impl FnMut(&Record<'_>),
    ) -> Result<MappedRecords, RecordError> {
        let bytes = (**image).as_ref();
        let hasher = super::hasher(seed);
        let spans = spans.into_iter();
        let mut records = Vec::with_capacity(spans.size_hint().0);
        let (mut children, mut last_id) = (0, 0);
        for span in spans {
            let record = Record::new(bytes.get(span).ok_or(RecordError::Outside)?)?;
            seen(&record);
            let hash = trie::hash(&hasher, record.path());
            if let Some((count, id)) = record.children() {
                children += u64::from(count);
                last_id = last_id.max(id);
            }
            records.push((hash, Adopted::record(record, trie::mark(hash))));
        }
        Ok(MappedRecords { image: image.clone(), seed, records, children, last_id })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Pages of child names that were found whole, with their places.
pub struct MappedNames {
    image: Image,
    pages: Vec<Adopted>,
    names: u64,
}

impl MappedNames {
    /// Checks the pages at the given byte ranges of `image`.
    pub fn validate(
        image: &Image,
        spans: impl IntoIterator<Item = Range<usize>>,
    ) -> Result<MappedNames, RecordError> {
        let bytes = (**image).as_ref();
        let mut pages = Vec::new();
        let mut names = 0;
        for span in spans {
            let page = Page::new(bytes.get(span).ok_or(RecordError::Outside)?)?;
            names += page.count() as u64;
            pages.push(Adopted::names(page));
        }
        Ok(MappedNames { image: image.clone(), pages, names })
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// True without pages.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

/// Why records and names do not make a tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// No record for `/`.
    #[error("snapshot has no root")]
    NoRoot,
    /// Two records for one path.
    #[error("snapshot has two records for {0}")]
    Twice(String),
    /// Pages of names are not in ascending order.
    #[error("snapshot has its child names out of order")]
    NamesOutOfOrder,
    /// Child names and znodes do not add up.
    #[error("snapshot has {znodes} znodes but {names} child names and {children} counted children")]
    Children {
        /// Records, the root included.
        znodes: u64,
        /// Child names.
        names: u64,
        /// Sum of the counts in the records.
        children: u64,
    },
}

/// Builds a tree out of records and child names that stay where they are.
///
/// Records are fastest in the order in which [`super::TreeView::records`] gave them, under the
/// same seed; any order and any seed are correct. Pages of names must come in the order in which
/// [`super::TreeView::name_pages`] gave them. The images stay alive as long as the tree and all of
/// its versions.
pub struct TreeLoader {
    tree: Tree,
    seed: u64,
    /// With their hashes.
    records: Vec<(u64, Edge)>,
    leaves: Vec<Edge>,
    names: u64,
    children: u64,
    last_id: u64,
}

impl TreeLoader {
    /// Nothing loaded yet. `seed` as for [`Tree::new`].
    pub fn new(seed: u64) -> TreeLoader {
        let tree = Tree::empty(seed, false);
        let (records, leaves) = (Vec::new(), Vec::new());
        TreeLoader { tree, seed, records, leaves, names: 0, children: 0, last_id: 0 }
    }

    /// Adds records.
    pub fn push_records(&mut self, records: MappedRecords) {
        let MappedRecords { image, seed, records, children, last_id } = records;
        self.tree.store.hold(&image);
        self.children += children;
        self.last_id = self.last_id.max(last_id);
        self.records.reserve(records.len());
        for (hash, record) in records {
            let mut hash = hash;
            let mut edge = self.tree.store.adopt(record);
            if seed != self.seed {
                hash = self.tree.hash(Record::within(edge.bytes()).path());
                edge = edge.marked(trie::mark(hash));
            }
            self.records.push((hash, edge));
        }
    }

    /// Adds pages of child names.
    pub fn push_names(&mut self, names: MappedNames) -> Result<(), LoadError> {
        let MappedNames { image, pages, names } = names;
        self.tree.store.hold(&image);
        self.names += names;
        for page in pages {
            let leaf = self.tree.store.adopt(page);
            if self.leaves.last().is_some_and(|last| !names::in_order(last, &leaf)) {
                return Err(LoadError::NamesOutOfOrder);
            }
            self.leaves.push(leaf);
        }
        Ok(())
    }

    /// The tree, if everything adds up.
    pub fn finish(self) -> Result<Tree, LoadError> {
        let TreeLoader { mut tree, mut records, leaves, names, children, last_id, .. } = self;
        tree.roots.len = records.len() as u64;
        tree.roots.trie = trie::build(&mut tree.store, &mut records).map_err(|twice| {
            let path = Record::within(twice.bytes()).path();
            LoadError::Twice(String::from_utf8_lossy(path).into_owned())
        })?;
        drop(records);
        if tree.view().get(b"/").is_none() {
            return Err(LoadError::NoRoot);
        }
        let znodes = tree.roots.len;
        if names != children || names + 1 != znodes {
            return Err(LoadError::Children { znodes, names, children });
        }
        tree.roots.names = names::build(&mut tree.store, leaves, &mut tree.builder);
        tree.roots.next_id = last_id.saturating_add(1);
        Ok(tree)
    }
}
