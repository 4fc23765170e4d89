//! What is kept when this server's state turns out to differ from its leader's, for whoever looks
//! into the cause (`docs/operating.md`).

use std::fmt;

use model::{ServerId, Zxid, txn};
use replication::RoleKind;

use crate::limits::EVIDENCE_ENTRY_BYTES_MAX;

/// A difference, and the circumstances. Its text is the content of the file.
pub(super) struct Finding<'a> {
    /// After this entry.
    pub(super) zxid: Zxid,
    /// Digest of the own tree after it.
    pub(super) ours: u64,
    /// The leader's.
    pub(super) theirs: u64,
    /// This server.
    pub(super) server: ServerId,
    /// What it was, and under which leader.
    pub(super) role: RoleKind,
    /// Where its log ended.
    pub(super) logged: Zxid,
    /// What its clients had seen.
    pub(super) published: Zxid,
    /// Its clock, ms since 1970.
    pub(super) wall_ms: i64,
    /// The entry as the leader sent it; none if the difference showed at the end of a
    /// synchronization.
    pub(super) entry: Option<&'a [u8]>,
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The state of server {} differs from its leader's.", self.server.0)?;
        writeln!(f, "time: {} ms since 1970", self.wall_ms)?;
        writeln!(f, "zxid: 0x{:x}", self.zxid.0)?;
        writeln!(f, "own digest: {}", self.ours as i64)?;
        writeln!(f, "leader's digest: {}", self.theirs as i64)?;
        writeln!(f, "role: {:?}", self.role)?;
        writeln!(f, "log ends at: 0x{:x}", self.logged.0)?;
        writeln!(f, "clients have seen: 0x{:x}", self.published.0)?;
        let Some(entry) = self.entry else {
            return writeln!(f, "entry: none, it showed at the end of a synchronization");
        };
        let kept = &entry[..entry.len().min(EVIDENCE_ENTRY_BYTES_MAX)];
        writeln!(f, "entry bytes: {}, of which here: {}", entry.len(), kept.len())?;
        f.write_str("entry: ")?;
        for byte in kept {
            write!(f, "{byte:02x}")?;
        }
        writeln!(f)?;
        if kept.len() == entry.len()
            && let Ok((header, txn, _)) = txn::decode_entry(entry)
        {
            writeln!(f, "header: {header:?}")?;
            writeln!(f, "transaction: {txn:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Epoch;

    #[test]
    fn a_finding_is_bounded_and_names_everything() {
        let entry = vec![0xa5; EVIDENCE_ENTRY_BYTES_MAX + 7];
        let finding = Finding {
            zxid: Zxid::new(Epoch(2), 3),
            ours: u64::MAX,
            theirs: 5,
            server: ServerId(4),
            role: RoleKind::Following(ServerId(1), Epoch(2)),
            logged: Zxid::new(Epoch(2), 2),
            published: Zxid::new(Epoch(2), 1),
            wall_ms: 9,
            entry: Some(&entry),
        };
        let text = finding.to_string();
        assert!(text.len() < 2 * EVIDENCE_ENTRY_BYTES_MAX + 1000);
        for part in [
            "zxid: 0x200000003\n",
            "own digest: -1\n",
            "leader's digest: 5\n",
            "role: Following(ServerId(1), Epoch(2))\n",
            "entry bytes: 1048583, of which here: 1048576\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing");
        }
        let synced = Finding { entry: None, ..finding }.to_string();
        assert!(synced.ends_with("at the end of a synchronization\n"), "{synced}");
    }
}
