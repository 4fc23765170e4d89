//! Waking an executor from another thread: an eventfd in its epoll set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// One executor's (or one helper thread's) bell. Ringing it several times before it is heard
/// costs one system call.
pub(crate) struct Wake {
    event: EventFd,
    rung: AtomicBool,
}

impl Wake {
    /// A bell that has not been rung.
    pub(crate) fn new() -> io::Result<Wake> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(io::Error::from)?;
        Ok(Wake { event, rung: AtomicBool::new(false) })
    }

    /// Makes the descriptor readable. What the listener is to find must be in place before.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only if the counter would overflow, and then it is readable anyway.
            let _ = self.event.write(1);
        }
    }

    /// Silences the bell. Look for work after this, never before: whoever adds work in between
    /// rings again.
    pub(crate) fn hear(&self) {
        // Fails if it was not rung, which is no reason to complain.
        let _ = self.event.read();
        // A swap, not a store: it must see what a ringer did that found the bell already rung.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_readable(wake: &Wake) -> bool {
        let mut fds = [PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).expect("poll works on an eventfd") == 1
    }

    #[test]
    fn rung_until_heard() {
        let wake = Wake::new().expect("an eventfd");
        assert!(!is_readable(&wake));
        wake.ring();
        wake.ring();
        assert!(is_readable(&wake));
        wake.hear();
        assert!(!is_readable(&wake));
        wake.ring();
        assert!(is_readable(&wake), "rings again after it was heard");
    }
}
