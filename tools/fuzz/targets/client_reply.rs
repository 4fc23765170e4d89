//! A server's frame, as a client reads it, whatever it had asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Answer, ServerFrame};

fuzz_target!(|payload: &[u8]| {
    if let Ok(ServerFrame::Reply(_, body)) = ServerFrame::decode(payload) {
        for &opcode in model::OpCode::ALL {
            let _ = Answer::decode(opcode, body);
        }
    }
});
