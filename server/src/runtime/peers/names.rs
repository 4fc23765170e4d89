//! Names of fellow servers, resolved anew for every connection, on threads that may block.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use replication::{Address, LinkId};

use super::super::wake::Wake;
use crate::limits::{PEER_NAME_THREADS_MAX, PEER_NAMES_MAX};

/// For which connection, and where it leads: in the order of the names, the addresses of each as
/// the system gives them.
pub(super) type Answer = (LinkId, VecDeque<SocketAddr>);

/// Asks the system's resolver. Threads start when they are needed and end with this.
pub(super) struct Names {
    questions: flume::Sender<(LinkId, Vec<Address>)>,
    /// Where new threads take them from.
    asked: flume::Receiver<(LinkId, Vec<Address>)>,
    answers: flume::Receiver<Answer>,
    answer: flume::Sender<Answer>,
    bell: Arc<Wake>,
    threads: usize,
    /// Threads that wait for a question.
    idle: Arc<AtomicUsize>,
}

impl Names {
    pub(super) fn new() -> io::Result<Names> {
        let (questions, asked) = flume::bounded(PEER_NAMES_MAX);
        // One answer per question at most, so it is bounded as well.
        let (answer, answers) = flume::unbounded();
        let (bell, idle) = (Arc::new(Wake::new()?), Arc::default());
        Ok(Names { questions, asked, answers, answer, bell, threads: 0, idle })
    }

    /// Addresses, if no name is among them.
    pub(super) fn plain(to: &[Address]) -> Option<VecDeque<SocketAddr>> {
        let plain = |address: &Address| {
            Some(SocketAddr::new(address.host.parse::<IpAddr>().ok()?, address.port))
        };
        to.iter().map(plain).collect()
    }

    /// Asks; false if too many questions wait already.
    pub(super) fn ask(&mut self, link: LinkId, to: Vec<Address>) -> bool {
        let waiting = self.questions.len();
        if self.questions.try_send((link, to)).is_err() {
            return false;
        }
        if self.idle.load(Ordering::Acquire) <= waiting && self.threads < PEER_NAME_THREADS_MAX {
            match self.start() {
                Ok(()) => self.threads += 1,
                // The threads there are will come to it; without any, the link's time runs out.
                Err(error) => tracing::warn!(%error, "no thread to resolve names"),
            }
        }
        true
    }

    fn start(&self) -> io::Result<()> {
        let (asked, answer) = (self.asked.clone(), self.answer.clone());
        let (bell, idle) = (Arc::clone(&self.bell), Arc::clone(&self.idle));
        let work = move || {
            loop {
                idle.fetch_add(1, Ordering::AcqRel);
                let question = asked.recv();
                idle.fetch_sub(1, Ordering::AcqRel);
                let Ok((link, to)) = question else { return };
                if answer.send((link, resolve(&to))).is_err() {
                    return;
                }
                bell.ring();
            }
        };
        std::thread::Builder::new().name("names".into()).spawn(work).map(drop)
    }

    /// The next answer. [`Names::hear`] first.
    pub(super) fn take(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Silences the bell.
    pub(super) fn hear(&self) {
        self.bell.hear();
    }
}

impl AsFd for Names {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn resolve(to: &[Address]) -> VecDeque<SocketAddr> {
    let mut found = VecDeque::new();
    for address in to {
        match (address.host.as_str(), address.port).to_socket_addrs() {
            Ok(more) => found.extend(more),
            Err(error) => tracing::debug!(host = address.host, %error, "name not resolved"),
        }
    }
    found
}
