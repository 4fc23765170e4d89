use std::sync::Arc;

use model::Zxid;

use super::format::{
    AccessLists, End, HEADER_BYTES, Kind, Pieces, Sessions, Start, append_page, prologue,
};
use super::*;
use crate::draft::{Draft, Settings};
use crate::recover::{Image, Inline};

fn file(draft: &mut Draft) -> Vec<u8> {
    let mut writer = Writer::new(draft.freeze());
    let (mut file, mut page) = (Vec::new(), Vec::new());
    while writer.next(&mut page) {
        assert!(page.len().is_multiple_of(HEADER_BYTES));
        file.extend_from_slice(&page);
    }
    assert!(!writer.next(&mut page), "finished is finished");
    file
}

fn try_load(file: &[u8]) -> Result<Loaded, SnapshotFault> {
    let image: Image = Arc::new(file.to_vec());
    load(&image, 0, &Inline)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |line, byte| format!("{line}{byte:02x}"))
}

/// If this fails, files written before can no longer be read: the encoding of rkyv, or its
/// features, have changed. Add a new page version; do not change these bytes.
#[test]
fn pages_keep_their_bytes() {
    let mut out = prologue().to_vec();
    let pieces = Pieces { bytes: b"abbccc".to_vec(), ends: vec![1, 3, 6] };
    append_page(Kind::Records, 5, &pieces, &mut out);
    append_page(Kind::Start, 0, &Start { zxid: 1, hash_seed: 2, znodes: 3 }, &mut out);
    let sessions = Sessions { ids: vec![-1, 7], timeouts_ms: vec![1000, 2000] };
    append_page(Kind::Sessions, 6, &sessions, &mut out);
    let lists = AccessLists { references: vec![9], bytes: b"xyz".to_vec(), ends: vec![3] };
    append_page(Kind::AccessLists, 7, &lists, &mut out);
    let (records, names, sessions, access_lists) = (3, 4, 5, 6);
    let (zxid, digest, pages, checksum) = (1, 2, 7, 8);
    let end = End { zxid, digest, records, names, sessions, access_lists, pages, checksum };
    append_page(Kind::End, 8, &end, &mut out);
    let lines: Vec<String> = out.chunks(HEADER_BYTES).map(hex).collect();
    assert_eq!(lines.join("\n"), include_str!("golden_pages.txt").trim_end());
}

#[test]
fn a_fresh_database_round_trips() {
    let mut draft = Draft::new(Settings::default());
    let bytes = file(&mut draft);
    let outline = outline(&bytes).expect("complete");
    assert_eq!((outline.zxid, outline.znodes), (Zxid::ZERO, 4));
    let loaded = try_load(&bytes).expect("sound");
    assert_eq!((loaded.znodes, loaded.stored.digest), (4, draft.tables().digest));
    assert_eq!(loaded.tree.view().len(), 4);
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = file(&mut Draft::new(Settings::default()));
    let mut padding = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        match try_load(&changed) {
            Ok(_) => padding += 1,
            Err(SnapshotFault::Damaged(cause)) => {
                assert!(cause.starts_with("snapshot"), "{at}: {cause}");
            }
            Err(SnapshotFault::UnknownFormat(cause)) => panic!("byte {at}: {cause}"),
        }
        assert!(try_load(&bytes[..at]).is_err(), "{at} bytes are not a snapshot");
    }
    assert!(padding < 64, "only padding may change, {padding} bytes did");
    let mut longer = bytes;
    longer.extend_from_slice(&[0; 16]);
    assert!(try_load(&longer).is_err());
}

#[test]
fn pages_belong_where_they_were_written() {
    let mut draft = Draft::new(Settings::default());
    let bytes = file(&mut draft);
    // Start, records, names and the rest: swap two pages of equal length.
    let start = Start { zxid: 0, hash_seed: 0, znodes: 4 };
    let mut twice = bytes.clone();
    let mut page = Vec::new();
    append_page(Kind::Start, 1, &start, &mut page);
    twice.splice(HEADER_BYTES..HEADER_BYTES, page);
    assert!(matches!(try_load(&twice), Err(SnapshotFault::Damaged(_))));
}

#[test]
fn what_a_newer_program_wrote_is_refused() {
    let bytes = file(&mut Draft::new(Settings::default()));
    let seal = |page: &mut [u8]| {
        let length = u32::from_le_bytes([page[0], page[1], page[2], page[3]]) as usize;
        let crc = format::page_checksum(page, length).expect("whole");
        page[4..8].copy_from_slice(&crc.to_le_bytes());
    };
    for (field, what) in [(8, "version 2 and kind 1"), (10, "version 1 and kind 77")] {
        let mut newer = bytes.clone();
        newer[HEADER_BYTES + field] = if field == 8 { 2 } else { 77 };
        seal(&mut newer[HEADER_BYTES..]);
        let refused = try_load(&newer).err().expect("not to be taken for damage");
        assert!(matches!(&refused, SnapshotFault::UnknownFormat(cause) if cause.contains(what)));
    }
    let mut newer = bytes;
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..12]).to_le_bytes();
    newer[12..16].copy_from_slice(&crc);
    assert!(matches!(try_load(&newer), Err(SnapshotFault::UnknownFormat(_))));
}

/// A simulator's memory is not aligned as a mapping is.
#[test]
fn an_image_at_any_address_can_be_read() {
    struct Shifted(Vec<u8>, usize);
    impl AsRef<[u8]> for Shifted {
        fn as_ref(&self) -> &[u8] {
            &self.0[self.1..]
        }
    }
    let bytes = file(&mut Draft::new(Settings::default()));
    for shift in 0..17 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&bytes);
        let image: Image = Arc::new(Shifted(shifted, shift));
        assert_eq!(load(&image, 0, &Inline).expect("sound").tree.view().len(), 4);
    }
}
