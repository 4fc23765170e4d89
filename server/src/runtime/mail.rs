//! Mail between executors: all messages of one turn to one destination travel as one `Vec`, with
//! one ring of its bell.
//!
//! The queues have no bound of their own. Credit bounds them: a shard has at most
//! [`SHARD_SUBMITS_MAX`](crate::limits::SHARD_SUBMITS_MAX) unanswered writes and one message per
//! connection beside them, and answers are bounded by what was asked. So nobody ever waits to
//! send, and no cycle of full queues can form.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use super::wake::Wake;
use crate::admin::command::Question;
use crate::admin::{HostFacts, Material};
use crate::link::{ShardId, ToCore, ToShard};

/// A message to an executor.
pub(crate) enum Mail {
    /// For its core.
    Core {
        /// Sender.
        from: ShardId,
        /// In order.
        messages: Vec<ToCore>,
    },
    /// For its shard, in order.
    Shard(Vec<ToShard>),
    /// For its core: what the machine knows.
    Host(HostFacts),
    /// An administrator's question for its core, and where the answer goes.
    Ask(Question, flume::Sender<Material>),
    /// A client for its shard.
    Client(TcpStream, SocketAddr),
    /// The server stops: read nothing more.
    StopReading,
    /// The server has stopped: send what is left and end.
    Finish,
    /// The core's executor waits for all shards to have stopped reading.
    StoppedReading,
}

/// An executor's letter box.
#[derive(Clone)]
pub(crate) struct Address {
    queue: flume::Sender<Mail>,
    wake: Arc<Wake>,
}

impl Address {
    /// Leaves a message; [`Address::ring`] afterwards. False if the executor has ended and needs
    /// no mail any more.
    pub(crate) fn post(&self, mail: Mail) -> bool {
        self.queue.send(mail).is_ok()
    }

    /// Wakes the executor.
    pub(crate) fn ring(&self) {
        self.wake.ring();
    }
}

/// The inside of a letter box.
pub(crate) struct Mailbox {
    queue: flume::Receiver<Mail>,
    /// Readable when there is mail, or when the feed has something.
    pub(crate) wake: Arc<Wake>,
}

impl Mailbox {
    /// A letter box and its address.
    pub(crate) fn new() -> io::Result<(Address, Mailbox)> {
        let (sender, queue) = flume::unbounded();
        let wake = Arc::new(Wake::new()?);
        Ok((Address { queue: sender, wake: Arc::clone(&wake) }, Mailbox { queue, wake }))
    }

    /// The next message.
    pub(crate) fn take(&self) -> Option<Mail> {
        self.queue.try_recv().ok()
    }
}
