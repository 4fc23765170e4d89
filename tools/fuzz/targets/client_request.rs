//! A client's request: decodes or fails; what decodes as a write is written back as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Class, Request, RequestHeader, classify, decode_write, encode_write};

fuzz_target!(|payload: &[u8]| {
    let Ok((header, body)) = RequestHeader::decode(payload) else { return };
    match classify(header.opcode) {
        Class::Write => {
            let Ok(op) = decode_write(header.opcode, body) else { return };
            let mut frame = Vec::new();
            encode_write(header.xid, &op, &mut frame);
            let (again, body) = RequestHeader::decode(&frame[4..]).expect("just written");
            let same = decode_write(again.opcode, body).expect("just written");
            assert_eq!((again, same), (header, op));
        }
        Class::Read | Class::Sync | Class::CloseSession | Class::Immediate | Class::Ping => {
            let Ok(request) = Request::decode(header.opcode, body) else { return };
            let mut frame = Vec::new();
            request.encode(header.xid, &mut frame);
            let (again, body) = RequestHeader::decode(&frame[4..]).expect("just written");
            let same = Request::decode(again.opcode, body).expect("just written");
            assert_eq!((again.xid, same), (header.xid, request));
        }
        Class::Unknown => {}
    }
});
