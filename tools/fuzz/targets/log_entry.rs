//! A transaction as it stands in the log and travels between servers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = model::txn::decode_entry(bytes);
});
