//! Nothing that was published, and so possibly answered, is lost by a crash; and what a node
//! recovers at a zxid it had published is the very state it had published.

use super::{Checker, Seen};
use crate::history::History;

/// See the module.
pub(super) struct DurableAfterAck;

impl Checker for DurableAfterAck {
    fn name(&self) -> &'static str {
        "durable_after_ack"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Recovered { node, version, published_before, .. } = seen else { return Ok(()) };
        if version.zxid() < *published_before {
            return Err(format!(
                "node {node} recovered only up to {:?}; {published_before:?} had been \
                 published and {:?} shown to clients",
                version.zxid(),
                history.shown()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;
    use model::Zxid;

    #[test]
    fn a_lost_transaction_is_caught() {
        let mut maker = Maker::new();
        let version = maker.create("/p0");
        let see = |before| {
            let seen = Seen::Recovered {
                node: 0,
                version: &version,
                first: &version,
                published_before: Zxid(before),
            };
            DurableAfterAck.see(&maker.history, &seen)
        };
        assert_eq!(see(1), Ok(()));
        assert!(see(2).is_err());
    }
}
