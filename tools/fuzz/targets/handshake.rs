//! The first frame each way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{ConnectRequest, ConnectResponse, Split, frame};

fuzz_target!(|bytes: &[u8]| {
    let Split::Frame { payload } = frame::split(bytes, frame::PAYLOAD_MAX_DEFAULT) else { return };
    let payload = &bytes[payload];
    if let Ok(request) = ConnectRequest::decode(payload) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(&out[4..]), Ok(request));
    }
    if let Ok(response) = ConnectResponse::decode(payload) {
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(ConnectResponse::decode(&out[4..]), Ok(response));
    }
});
