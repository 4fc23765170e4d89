//! Bytes waiting to be sent to one client.

/// An empty buffer larger than this is given back instead of kept for the next reply.
const KEEP_BYTES: usize = 16 * 1024;
/// Sent bytes are cut off the front only beyond this, and only when they are half of the buffer,
/// so that a slow reader costs one copy per byte at most.
const CUT_BYTES: usize = 64 * 1024;

/// A buffer filled at the back and drained from the front.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Where the last message begins.
    mark: usize,
}

impl Outbox {
    /// What has not been sent.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// How much has not been sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// True if everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where to append one message.
    pub fn back(&mut self) -> &mut Vec<u8> {
        self.mark = self.bytes.len();
        &mut self.bytes
    }

    /// Bytes appended since [`Outbox::back`] was last called; to be asked before anything is sent.
    pub fn last_bytes(&self) -> usize {
        self.bytes.len() - self.mark
    }

    /// The socket took so many bytes; never more than are pending.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.len(), "{count} bytes sent of {}", self.len());
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.sent = 0;
            if self.bytes.capacity() > KEEP_BYTES {
                self.bytes = Vec::new();
            } else {
                self.bytes.clear();
            }
        } else if self.sent >= CUT_BYTES && self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Gives an empty buffer back.
    pub fn trim(&mut self) {
        if self.is_empty() {
            *self = Outbox::default();
        }
    }

    /// Forgets everything that waits.
    pub fn discard(&mut self) {
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut outbox = Outbox::default();
        let all: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
        let (mut filled, mut taken) = (0, Vec::new());
        while taken.len() < all.len() {
            let more = (all.len() - filled).min(7_000);
            outbox.back().extend_from_slice(&all[filled..filled + more]);
            filled += more;
            let count = outbox.len().min(5_000);
            taken.extend_from_slice(&outbox.pending()[..count]);
            outbox.sent(count);
            assert!(outbox.bytes.len() <= 2 * outbox.len() + CUT_BYTES + 7_000);
        }
        assert_eq!(taken, all);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_large_buffer_is_given_back_once_empty() {
        let mut outbox = Outbox::default();
        outbox.back().resize(KEEP_BYTES + 1, 0);
        assert_eq!(outbox.last_bytes(), KEEP_BYTES + 1);
        outbox.sent(KEEP_BYTES + 1);
        assert_eq!(outbox.bytes.capacity(), 0);
        outbox.back().push(1);
        assert_eq!(outbox.last_bytes(), 1);
        outbox.sent(1);
        assert!(outbox.bytes.capacity() > 0, "a small one is kept");
        outbox.trim();
        assert_eq!(outbox.bytes.capacity(), 0);
    }
}
