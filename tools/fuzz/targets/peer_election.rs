//! What a fellow server sends on the election connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::wire::election::{Initiation, Notification, frame};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((initiation, len))) = Initiation::decode(bytes) {
        assert!(len <= bytes.len());
        // The form without addresses, of releases before 3.5, is read and never written.
        if !initiation.addresses.is_empty() {
            let wire = initiation.to_bytes();
            let again = Initiation::decode(&wire);
            assert_eq!(again, Ok(Some((initiation, wire.len()))));
        }
    }
    if let Ok(Some((body, len))) = frame(bytes) {
        assert!(len <= bytes.len());
        if let Ok(notification) = Notification::decode(body) {
            notification.encode(&mut Vec::new());
        }
    }
    let _ = Notification::decode(bytes);
});
