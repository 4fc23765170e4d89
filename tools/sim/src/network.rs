//! Byte streams between clients and servers, cut anywhere, reset at any time.

use std::collections::VecDeque;

use server::link::ConnId;

/// Bytes a direction holds before the sender must wait: a small socket buffer.
pub const PIPE_BYTES: usize = 16 << 10;

/// One connection.
pub struct Link {
    /// Client end.
    pub client: usize,
    /// Server, by its place in the world.
    pub node: usize,
    /// Server end: shard and connection there; `None` once the server has forgotten it.
    pub server: Option<(usize, ConnId)>,
    /// On the way to the server.
    pub to_server: VecDeque<u8>,
    /// On the way to the client.
    pub to_client: VecDeque<u8>,
    /// The client has closed or vanished; the server learns of it after the bytes before.
    pub client_closed: bool,
    /// The client has vanished without a trace: the server never learns of it.
    pub half_open: bool,
    /// A few bytes at a time.
    pub slow: bool,
    /// Nothing arrives at the server, or the client, until these true times, ns.
    pub cut_until: [u64; 2],
    /// Bytes delivered to the server so far.
    pub delivered: u64,
    /// Where in the stream to the server the client's sendings end that are not delivered yet.
    pub ends: VecDeque<u64>,
    /// Bytes the client has sent so far.
    pub sent: u64,
    /// The server has closed; the client learns of it after the bytes before.
    pub server_closed: bool,
}

impl Link {
    /// A fresh connection.
    pub fn new(client: usize, node: usize, shard: usize, conn: ConnId) -> Link {
        Link {
            client,
            node,
            server: Some((shard, conn)),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            client_closed: false,
            half_open: false,
            slow: false,
            cut_until: [0; 2],
            delivered: 0,
            ends: VecDeque::new(),
            sent: 0,
            server_closed: false,
        }
    }

    /// Bytes can arrive at the server now.
    pub fn carries_in(&self, now: u64) -> bool {
        self.cut_until[0] <= now
    }

    /// Bytes can arrive at the client now.
    pub fn carries_out(&self, now: u64) -> bool {
        self.cut_until[1] <= now
    }

    /// The client sends whole requests.
    pub fn send(&mut self, bytes: Vec<u8>) {
        self.sent += bytes.len() as u64;
        self.ends.push_back(self.sent);
        self.to_server.extend(bytes);
    }

    /// So many more bytes have been delivered; true if they complete something the client said.
    pub fn deliver(&mut self, count: usize) -> bool {
        self.delivered += count as u64;
        let mut whole = false;
        while self.ends.front().is_some_and(|end| *end <= self.delivered) {
            self.ends.pop_front();
            whole = true;
        }
        whole
    }
}

/// Takes up to `count` bytes from the front.
pub fn take(pipe: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let count = count.min(pipe.len());
    pipe.drain(..count).collect()
}
