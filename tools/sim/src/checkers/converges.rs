//! When every fault has healed, every client is served: it gets a session and answers to writes
//! and to reads, within a bounded number of events.

use crate::client::Asked;

/// Answers of either kind that each client must get.
const ENOUGH: u32 = 2;

/// Counts what clients are answered after healing.
#[derive(Default)]
pub struct Converges {
    /// Reads and writes answered, per client.
    served: Vec<(u32, u32)>,
}

impl Converges {
    /// Nothing answered yet.
    pub fn of(clients: usize) -> Converges {
        Converges { served: vec![(0, 0); clients] }
    }

    /// A client was answered.
    pub fn answered(&mut self, client: usize, asked: &Asked) {
        let Some((reads, writes)) = self.served.get_mut(client) else { return };
        match asked {
            Asked::Write(_) | Asked::Multi | Asked::Malformed => *writes += 1,
            Asked::Exists(..)
            | Asked::GetData(..)
            | Asked::GetChildren(..)
            | Asked::GetAcl(_)
            | Asked::GetEphemerals
            | Asked::CountAll(_)
            | Asked::MultiRead(..) => *reads += 1,
            Asked::CheckWatches(_)
            | Asked::WhoAmI
            | Asked::Auth
            | Asked::Sync
            | Asked::Ping
            | Asked::AddWatch(..)
            | Asked::RemoveWatches(_)
            | Asked::SetWatches(..)
            | Asked::Close => {}
        }
    }

    /// Everybody has been served enough.
    pub fn is_done(&self) -> bool {
        self.served.iter().all(|(reads, writes)| *reads >= ENOUGH && *writes >= ENOUGH)
    }

    /// Time is up.
    pub fn verdict(&self) -> Result<(), String> {
        if self.is_done() {
            return Ok(());
        }
        Err(format!("after healing clients got (reads, writes) {:?}", self.served))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_left_out_is_caught() {
        let mut converges = Converges::of(2);
        let serve = |converges: &mut Converges, client| {
            for _ in 0..ENOUGH {
                converges.answered(client, &Asked::Multi);
                converges.answered(client, &Asked::GetEphemerals);
                converges.answered(client, &Asked::Ping);
            }
        };
        serve(&mut converges, 0);
        assert!(converges.verdict().is_err(), "the other one got nothing");
        serve(&mut converges, 1);
        assert_eq!(converges.verdict(), Ok(()));
        let mut reads_only = Converges::of(1);
        reads_only.answered(0, &Asked::GetEphemerals);
        reads_only.answered(0, &Asked::GetEphemerals);
        assert!(reads_only.verdict().is_err());
    }
}
