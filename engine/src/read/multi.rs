//! multiRead: several reads of one moment (`client-protocol` 2.7).

use model::{ErrorCode, OpCode, Stat};

use crate::access::Credentials;
use crate::read::{children, data};
use crate::state::Version;

/// One result of a multiRead; the failure of one leaves the others alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiRead<'v> {
    /// Of a getData.
    Data(Option<&'v [u8]>, Stat),
    /// Of a getChildren: names in no promised order.
    Children(Vec<&'v [u8]>),
    /// Of either.
    Failed(ErrorCode),
}

/// One read of a multiRead. Only getData and getChildren may stand in one; anything else is
/// refused before, with the whole request.
pub fn multi_read<'v>(
    version: &'v Version,
    opcode: OpCode,
    path: &[u8],
    who: Credentials<'_>,
) -> MultiRead<'v> {
    let read = match opcode {
        OpCode::GetData => data(version, path, who).map(|(data, stat)| MultiRead::Data(data, stat)),
        OpCode::GetChildren => {
            children(version, path, who).map(|(names, _)| MultiRead::Children(names.collect()))
        }
        _ => Err(ErrorCode::MarshallingError),
    };
    read.unwrap_or_else(MultiRead::Failed)
}
