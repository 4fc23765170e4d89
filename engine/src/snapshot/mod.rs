//! A version as a file of self-contained pages, and back without parsing.

use crate::state::Version;

/// Streams a version, page by page, exact at its zxid.
pub struct Writer {}

impl Writer {
    /// Starts with the file header.
    pub fn new(version: Version) -> Writer {
        let _ = version;
        unimplemented!()
    }

    /// Replaces `page` by the next bytes of the file (about 256 KiB). False when the file is
    /// complete and nothing was produced.
    pub fn next(&mut self, page: &mut Vec<u8>) -> bool {
        let _ = page;
        unimplemented!()
    }
}
