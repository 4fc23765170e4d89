//! Transaction ids.

use std::fmt;

/// A leader's reign; the high 32 bits of every zxid it hands out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

/// Position of a transaction in the one total order: epoch in the high 32 bits, counter in the
/// low 32. On one server `committed <= durable <= appended` always holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// The largest counter; never allocated (`zab-wire` 3.1).
    pub const COUNTER_MAX: u32 = u32::MAX;

    /// Builds a zxid from its halves.
    pub fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid((i64::from(epoch.0) << 32) | i64::from(counter))
    }

    /// The reign this transaction belongs to.
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// Position within the epoch, starting at 1.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid that follows in the same epoch.
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.epoch().0, self.counter())
    }
}

/// Lower-case hexadecimal without padding, as ZooKeeper prints zxids after `0x`.
impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_trip() {
        let zxid = Zxid::new(Epoch(3), 0xffff_fffe);
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch(3), 0xffff_fffe));
        assert_eq!(zxid.next().counter(), Zxid::COUNTER_MAX);
        assert_eq!(format!("{zxid:?} {zxid:x}"), "3:fffffffe 3fffffffe");
    }
}
