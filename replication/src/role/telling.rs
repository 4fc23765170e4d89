//! How a leader puts entries and commits to a learner.

use model::Zxid;

use crate::body::Body;
use crate::output::{LinkId, Output};
use crate::wire::packet::Packet;

/// Entries are sent in pieces of about this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// How entries are put to a learner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// With `runs`, one commit for the entries of a piece; else one behind each.
    ProposeAndCommit {
        /// [`WireOptions::RUNS`](crate::wire::handshake::WireOptions::RUNS) is agreed.
        runs: bool,
    },
    Propose,
    Inform,
}

/// Sends entries in pieces of bounded size.
pub(crate) fn send_entries(
    link: LinkId,
    body: &Body,
    after: Zxid,
    upto: Zxid,
    form: Form,
    out: &mut Vec<Output>,
) {
    let mut bytes = Vec::new();
    // End of a run whose commit was not said yet.
    let mut open = None;
    for (zxid, entry) in body.history.range(after, upto) {
        match form {
            Form::ProposeAndCommit { runs } => {
                Packet::Proposal { zxid, entry }.encode(&mut bytes);
                if runs {
                    open = Some(zxid);
                } else {
                    Packet::Commit { zxid }.encode(&mut bytes);
                }
            }
            Form::Propose => Packet::Proposal { zxid, entry }.encode(&mut bytes),
            Form::Inform => Packet::Inform { zxid, entry }.encode(&mut bytes),
        }
        if bytes.len() >= PIECE_BYTES {
            close_run(&mut open, &mut bytes);
            out.push(Output::Send { link, bytes: std::mem::take(&mut bytes).into() });
        }
    }
    close_run(&mut open, &mut bytes);
    if !bytes.is_empty() {
        out.push(Output::Send { link, bytes: bytes.into() });
    }
}

/// Within a piece, so that a learner that keeps entries until their commit keeps few.
fn close_run(open: &mut Option<Zxid>, bytes: &mut Vec<u8>) {
    if let Some(zxid) = open.take() {
        Packet::Commit { zxid }.encode(bytes);
    }
}

/// The commits of what follows `after` in its epoch: one each, or with `runs` one for all.
pub(crate) fn encode_commits(after: Zxid, upto: Zxid, runs: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let first = if runs { upto.0 } else { after.0 + 1 };
    for zxid in first..=upto.0 {
        Packet::Commit { zxid: Zxid(zxid) }.encode(&mut bytes);
    }
    bytes
}
