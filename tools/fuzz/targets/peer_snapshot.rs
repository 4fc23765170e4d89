//! The stream of a snapshot from a leader: however it is cut, its end is found at the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::wire::snapshot::SnapshotScanner;

const FIELD_MAX: usize = 1 << 20;

/// Where the stream ends; none if it does not, or is refused.
fn end<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut scanner = SnapshotScanner::new(FIELD_MAX);
    let mut total = 0;
    for piece in pieces {
        let scanned = scanner.scan(piece).ok()?;
        total += scanned.consumed;
        if scanned.complete {
            return Some(total);
        }
        assert_eq!(scanned.consumed, piece.len());
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, stream)) = bytes.split_first() else { return };
    let whole = end(std::iter::once(stream));
    let pieces = end(stream.chunks(usize::from(step).max(1)));
    assert_eq!(whole, pieces);
});
