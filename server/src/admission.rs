//! Who may connect: connections are counted in all and per address (`client-protocol` 7.7).

use std::collections::HashMap;
use std::net::IpAddr;

/// Why a connection is not accepted. It is closed without a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Excess {
    /// `maxClientCnxns` connections come from this address already.
    #[error("too many connections from {address}: {limit} are allowed")]
    Address {
        /// Whose.
        address: IpAddr,
        /// The limit.
        limit: u32,
    },
    /// `maxCnxns` connections exist already.
    #[error("too many connections: {limit} are allowed")]
    Total {
        /// The limit.
        limit: u32,
    },
}

/// Counts of open connections of one client port, four-letter words included.
#[derive(Debug)]
pub struct Admission {
    per_address_max: u32,
    total_max: u32,
    total: u32,
    by_address: HashMap<IpAddr, u32, ahash::RandomState>,
    rejected: u64,
}

impl Admission {
    /// `maxClientCnxns` per address and `maxCnxns` in all; zero is no limit.
    pub fn new(per_address_max: u32, total_max: u32) -> Admission {
        // Only looked up, never walked. Clients cannot choose enough addresses to flood it.
        let by_address = HashMap::with_hasher(ahash::RandomState::with_seeds(9, 10, 11, 12));
        Admission { per_address_max, total_max, total: 0, by_address, rejected: 0 }
    }

    /// Counts a connection in, or says why not. Each one counted in must be given back.
    pub fn admit(&mut self, address: IpAddr) -> Result<(), Excess> {
        let address = address.to_canonical();
        let mine = self.by_address.get(&address).copied().unwrap_or(0);
        let excess = if self.total_max != 0 && self.total >= self.total_max {
            Excess::Total { limit: self.total_max }
        } else if self.per_address_max != 0 && mine >= self.per_address_max {
            Excess::Address { address, limit: self.per_address_max }
        } else {
            self.total += 1;
            self.by_address.insert(address, mine + 1);
            return Ok(());
        };
        self.rejected += 1;
        Err(excess)
    }

    /// A connection that was admitted has ended.
    pub fn release(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        let mine = self.by_address.get_mut(&address).expect("released once after admission");
        *mine -= 1;
        if *mine == 0 {
            self.by_address.remove(&address);
        }
        self.total -= 1;
    }

    /// Connections open.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Connections refused since start (`connection_rejected`).
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let mut admission = Admission::new(2, 0);
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        assert_eq!(admission.admit(a), Ok(()));
        assert_eq!(admission.admit(ip("::ffff:10.0.0.1")), Ok(()), "the same address, mapped");
        assert_eq!(admission.admit(a), Err(Excess::Address { address: a, limit: 2 }));
        assert_eq!(admission.admit(b), Ok(()));
        admission.release(a);
        assert_eq!(admission.admit(a), Ok(()));
        assert_eq!((admission.total(), admission.rejected()), (3, 1));
    }

    #[test]
    fn the_total_is_limited_and_zero_is_no_limit() {
        let mut admission = Admission::new(0, 1);
        let a = ip("::1");
        assert_eq!(admission.admit(a), Ok(()));
        assert_eq!(admission.admit(a), Err(Excess::Total { limit: 1 }));
        admission.release(a);
        assert!(admission.by_address.is_empty(), "nothing is kept of addresses that left");
        let mut open = Admission::new(0, 0);
        assert!((0..1000).all(|_| open.admit(a).is_ok()));
    }
}
