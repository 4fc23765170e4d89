//! Captured frames, round trips, and hostile bytes.

mod hostile;
mod round_trip;
mod vectors;

use model::Op;

use crate::{Answer, Class, ConnectRequest, ConnectResponse, Refusal, Request, RequestHeader};
use crate::{ServerFrame, classify, decode_write};

/// Any decoded request.
#[derive(Clone, PartialEq, Debug)]
enum Any<'a> {
    Other(Request<'a>),
    Write(Op<'a>),
}

/// Reads a request payload the way a server does.
fn decode_any(payload: &[u8]) -> Result<(RequestHeader, Any<'_>), Refusal> {
    let (header, body) = RequestHeader::decode(payload)?;
    let any = match classify(header.opcode) {
        Class::Write => Any::Write(decode_write(header.opcode, body)?),
        Class::Unknown => return Err(Refusal::NotAnOperation(header.opcode)),
        Class::Read | Class::Sync | Class::CloseSession | Class::Immediate | Class::Ping => {
            Any::Other(Request::decode(header.opcode, body)?)
        }
    };
    Ok((header, any))
}

/// Feeds bytes to every decoder; nothing may panic.
fn decode_everything(bytes: &[u8]) {
    let _ = crate::frame::split(bytes, crate::frame::PAYLOAD_MAX_DEFAULT);
    let _ = ConnectRequest::decode(bytes);
    let _ = ConnectResponse::decode(bytes);
    let _ = decode_any(bytes);
    let body = match ServerFrame::decode(bytes) {
        Ok(ServerFrame::Reply(_, body)) => body,
        _ => bytes,
    };
    for &opcode in model::OpCode::ALL {
        let _ = decode_write(opcode.code(), bytes);
        let _ = Request::decode(opcode.code(), bytes);
        let _ = Answer::decode(opcode, body);
    }
}
