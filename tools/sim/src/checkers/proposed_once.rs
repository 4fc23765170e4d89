//! A position in the order is given to one entry only (`zab-wire` 9.0, A7): whoever proposes it,
//! to whomever, in whatever way, and after whatever crash.

use std::collections::BTreeMap;

use model::Zxid;
use replication::wire::packet::Packet;

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
#[derive(Default)]
pub(super) struct ProposedOnce {
    /// Digest of each entry, and who said it first.
    entries: BTreeMap<Zxid, (u64, usize)>,
}

fn digest(entry: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    entry.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl Checker for ProposedOnce {
    fn name(&self) -> &'static str {
        "proposed_once"
    }

    fn see(&mut self, _history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Said { from, packet, .. } = seen else { return Ok(()) };
        let (Packet::Proposal { zxid, entry } | Packet::Inform { zxid, entry }) = packet else {
            return Ok(());
        };
        let digest = digest(entry);
        let (first, by) = self.entries.entry(*zxid).or_insert((digest, *from));
        if *first == digest {
            return Ok(());
        }
        Err(format!("n{} proposes another {zxid:?} than n{} did", from + 1, *by + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_in_the_same_place_is_caught() {
        let mut checker = ProposedOnce::default();
        let mut propose = |from, zxid, entry: &[u8]| {
            let packet = Packet::Proposal { zxid: Zxid(zxid), entry };
            checker.see(&History::of(3), &Seen::Said { from, to: 2, packet: &packet })
        };
        assert_eq!(propose(0, 1, b"one"), Ok(()));
        assert_eq!(propose(1, 1, b"one"), Ok(()), "handed on");
        assert_eq!(propose(0, 2, b"two"), Ok(()));
        assert!(propose(1, 2, b"too").is_err());
    }
}
