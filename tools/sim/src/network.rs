//! Byte streams between clients and servers, cut anywhere, reset at any time.

use std::collections::VecDeque;

use server::link::ConnId;

/// Bytes a direction holds before the sender must wait: a small socket buffer.
pub const PIPE_BYTES: usize = 16 << 10;

/// One connection.
pub struct Link {
    /// Client end.
    pub client: usize,
    /// Server end: shard and connection there; `None` once the server has forgotten it.
    pub server: Option<(usize, ConnId)>,
    /// On the way to the server.
    pub to_server: VecDeque<u8>,
    /// On the way to the client.
    pub to_client: VecDeque<u8>,
    /// The client has closed or vanished; the server learns of it after the bytes before.
    pub client_closed: bool,
    /// The server has closed; the client learns of it after the bytes before.
    pub server_closed: bool,
}

impl Link {
    /// A fresh connection.
    pub fn new(client: usize, shard: usize, conn: ConnId) -> Link {
        Link {
            client,
            server: Some((shard, conn)),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            client_closed: false,
            server_closed: false,
        }
    }
}

/// Takes up to `count` bytes from the front.
pub fn take(pipe: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let count = count.min(pipe.len());
    pipe.drain(..count).collect()
}
