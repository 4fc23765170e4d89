//! Placeholder until the real rules land.
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Placeholder.
#[derive(Debug)]
pub struct Refused;

/// Placeholder.
#[derive(Debug, Default)]
pub struct Admission {
    per_address_max: u32,
    total_max: u32,
    total: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Admission {
    /// Zero means no limit.
    pub fn new(per_address_max: u32, total_max: u32) -> Admission {
        Admission { per_address_max, total_max, ..Admission::default() }
    }

    /// Counts a connection in.
    pub fn admit(&mut self, address: IpAddr) -> Result<(), Refused> {
        let count = self.by_address.get(&address).copied().unwrap_or(0);
        let full = |max: u32, have: u32| max > 0 && have >= max;
        if full(self.per_address_max, count) || full(self.total_max, self.total) {
            return Err(Refused);
        }
        self.total += 1;
        self.by_address.insert(address, count + 1);
        Ok(())
    }

    /// Counts it out.
    pub fn release(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}
