//! Two copies of the epoch file, of which one may be gone. An odd first byte mends the checksums,
//! so that what is behind them is reached too.
#![no_main]

use engine::epochs::{EPOCH_FILE_BYTES, Epochs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let mut copies: Vec<Vec<u8>> = rest.chunks(EPOCH_FILE_BYTES).take(2).map(Vec::from).collect();
    if how & 1 == 1 {
        for copy in copies.iter_mut().filter(|copy| copy.len() == EPOCH_FILE_BYTES) {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&copy[..12]);
            crc.update(&copy[16..]);
            copy[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
        }
    }
    let copy = |at: usize| copies.get(at).map(Vec::as_slice);
    if let Ok(Some(epochs)) = Epochs::newest(copy(0), copy(1)) {
        assert_eq!(Epochs::decode(&epochs.encode()), Ok(epochs));
    }
});
