//! A version as a file of self-contained pages, and back without parsing.
//!
//! ```text
//!  file ::= prologue  page(Start)  page(Records)*  page(Names)*
//!           page(Sessions)*  page(AccessLists)*  page(End)
//!  page ::= header 16 bytes {length, checksum, version, kind, number}  rkyv archive  padding
//! ```
//!
//! A page of records holds the tree's own encoding of up to 1,024 znodes back to back, and where
//! each ends. Once a page's checksum and archive are found sound, the tree refers to every record
//! by its place in the mapped file: nothing is copied, and no `unsafe` is needed.
//!
//! **Invariants.** A snapshot is exact at its version's zxid. A file without a sound last page is
//! not a snapshot. An archived struct is never changed once published; a new layout is a new page
//! kind or version, and a reader refuses what it does not know. The bytes are drawn in
//! `docs/disk-format.md`.
//!
//! [`zookeeper`] is another form of the same: the stream by which ZooKeeper's servers send each
//! other their state.

pub mod format;
mod read;
mod write;
pub mod zookeeper;

#[cfg(test)]
mod tests;

pub use read::{Loaded, Outline, SnapshotFault, load, outline};
pub use write::Writer;
