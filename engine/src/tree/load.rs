//! Rebuilding a tree from a snapshot, with its records left where they are.
//!
//! A snapshot holds two streams: the records ([`super::TreeView::records`]) and the pages of
//! child names ([`super::TreeView::name_pages`]). Loading is: for each page of the file, check
//! what it holds ([`MappedRecords::validate`], [`MappedNames::validate`]; independent, so it can
//! be done by several threads), then push the results in the order of the streams.

use std::ops::Range;

use super::{Record, RecordError, Tree};
use crate::recover::Image;

/// Records of a snapshot that were found whole, with their places.
pub struct MappedRecords {
    pub(super) image: Image,
    pub(super) spans: Vec<Range<usize>>,
}

impl MappedRecords {
    /// Checks the records at the given byte ranges of `image`. `seed` is that of the tree to be.
    pub fn validate(
        image: &Image,
        seed: u64,
        spans: impl IntoIterator<Item = Range<usize>>,
    ) -> Result<MappedRecords, RecordError> {
        let _ = seed;
        let bytes = (**image).as_ref();
        let spans: Vec<_> = spans.into_iter().collect();
        for span in &spans {
            Record::new(bytes.get(span.clone()).ok_or(RecordError::Outside)?)?;
        }
        Ok(MappedRecords { image: image.clone(), spans })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// Pages of child names that were found whole, with their places.
pub struct MappedNames {
    pages: usize,
}

impl MappedNames {
    /// Checks the pages at the given byte ranges of `image`.
    pub fn validate(
        image: &Image,
        spans: impl IntoIterator<Item = Range<usize>>,
    ) -> Result<MappedNames, RecordError> {
        let bytes = (**image).as_ref();
        let mut pages = 0;
        for span in spans {
            bytes.get(span).ok_or(RecordError::Outside)?;
            pages += 1;
        }
        Ok(MappedNames { pages })
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pages
    }

    /// True without pages.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
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
}

impl TreeLoader {
    /// Nothing loaded yet. `seed` as for [`Tree::new`].
    pub fn new(seed: u64) -> TreeLoader {
        TreeLoader { tree: Tree::empty(seed) }
    }

    /// Adds records.
    pub fn push_records(&mut self, records: MappedRecords) -> Result<(), LoadError> {
        let bytes = (*records.image).as_ref();
        for span in records.spans {
            self.tree.adopt(&bytes[span])?;
        }
        Ok(())
    }

    /// Adds pages of child names.
    pub fn push_names(&mut self, names: MappedNames) -> Result<(), LoadError> {
        let _ = names;
        Ok(())
    }

    /// The tree, if everything adds up.
    pub fn finish(self) -> Result<Tree, LoadError> {
        self.tree.adopted()
    }
}
