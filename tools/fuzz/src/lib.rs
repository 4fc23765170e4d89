//! What several fuzz targets share: how their inputs become files, and how the results are read.

use engine::Version;
use engine::disk::{ALIGN, SegmentId};
use engine::draft::Settings;

/// How operations are judged; nothing is left out.
pub fn settings() -> Settings {
    Settings { extended_types: true, enforce_quota: true, ..Settings::default() }
}

/// Reads everything that a version holds.
pub fn walk(version: &Version) {
    let view = version.view();
    for (path, znode) in view.iter() {
        let _ = (znode.stat(), znode.data, version.acl(znode.meta.acl));
        let _ = view.children(path).map(Iterator::count);
    }
}

const NEW_SEGMENT: u8 = 1;
const EMPTY_BLOCK: u8 = 2;
const MEND: u8 = 4;
/// Blocks per segment.
const BLOCKS_MAX: usize = 16;

/// Log segments from an input: pieces of `how, length (2 bytes), bytes`, each padded to whole
/// blocks, so that an input need not carry zeros. `how` says where the piece goes, and whether the
/// checksums of the frame in it are mended. True if any was.
pub fn segments(input: &[u8]) -> (Vec<(SegmentId, Vec<u8>)>, bool) {
    let mut segments = vec![(SegmentId(1), Vec::new())];
    let mut mended = false;
    let mut before = 0;
    let mut rest = input;
    while let [how, low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (piece, more) = more.split_at(length);
        rest = more;
        if how & NEW_SEGMENT != 0 {
            segments.push((SegmentId(segments.len() as u64 + 1), Vec::new()));
        }
        let segment = &mut segments.last_mut().expect("one is always there").1;
        if how & EMPTY_BLOCK != 0 {
            segment.resize(segment.len() + ALIGN, 0);
        }
        let start = segment.len();
        segment.extend_from_slice(piece);
        segment.resize(segment.len().next_multiple_of(ALIGN), 0);
        if how & MEND != 0 {
            mended = true;
            before = mend_frame(&mut segment[start..], before);
        }
        if segment.len() > BLOCKS_MAX * ALIGN {
            break;
        }
    }
    (segments, mended)
}

/// Makes the checksums of a frame right, and names that of the frame before. Returns its own.
fn mend_frame(frame: &mut [u8], before: u32) -> u32 {
    const HEADER: usize = 128;
    if frame.len() < HEADER {
        return before;
    }
    let length = u32::from_le_bytes([frame[92], frame[93], frame[94], frame[95]]) as usize;
    if let Some(payload) = frame[HEADER..].get(..length) {
        let crc = crc32fast::hash(payload);
        frame[96..100].copy_from_slice(&crc.to_le_bytes());
    }
    frame[100..104].copy_from_slice(&before.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[..12]);
    crc.update(&frame[16..HEADER]);
    let crc = crc.finalize();
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Makes the checksums of a snapshot's pages right, as far as its pages can be found.
pub fn mend_snapshot(file: &mut [u8]) {
    use engine::snapshot::format::{HEADER_BYTES, PageHeader, page_checksum, prologue};
    if let Some(front) = file.get_mut(..HEADER_BYTES) {
        front.copy_from_slice(&prologue());
    }
    let mut all = crc32fast::Hasher::new();
    let mut at = HEADER_BYTES;
    while let Some(header) = PageHeader::decode(file.get(at..).unwrap_or_default()) {
        let length = header.length as usize;
        // The last page ends with the checksum over all others.
        let last = at + header.stride() == file.len();
        let end = at + HEADER_BYTES + length;
        if let Some(place) = file.get_mut(end.saturating_sub(4)..end).filter(|_| last) {
            place.copy_from_slice(&all.clone().finalize().to_le_bytes());
        }
        let Some(crc) = page_checksum(&file[at..], length) else { return };
        file[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        all.update(&crc.to_le_bytes());
        at += header.stride();
    }
}
