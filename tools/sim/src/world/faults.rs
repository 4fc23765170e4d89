//! What goes wrong by chance, and the end of it.

use super::World;

/// Chance of a crash, per event, in a restart loop.
const LOOP_CRASH: u32 = 50;

impl World {
    /// Ends every fault.
    pub fn heal(&mut self) {
        self.faults = false;
        for node in &mut self.nodes {
            node.disk.heal(self.now);
            node.loop_left = 0;
            node.paused_until = node.paused_until.min(self.now);
            node.start_at = node.start_at.min(self.now);
        }
        self.peers.heal(self.now, server::limits::PEER_QUEUE_BYTES_MAX);
        self.options.depth = 1;
        // A healthy disk does not stall, and seconds must pass for retries and measurements.
        self.options.stall = 0;
        self.options.pieces = 0;
        self.options.peer_slow = 0;
        self.options.peer_delay_us = self.options.peer_delay_us.min(1000);
        self.options.data_bytes = self.options.data_bytes.min(100);
        self.options.jump = self.options.jump.max(100);
        self.options.jump_ms = self.options.jump_ms.max(500);
        for link in self.links.values_mut() {
            link.cut_until = [0; 2];
            link.half_open = false;
            link.slow = false;
        }
        for client in &mut self.clients {
            client.silent = false;
        }
        self.note("world", "heal", &"");
    }

    /// The server that may be struck next.
    fn victim(&mut self) -> usize {
        if self.nodes.len() == 1 { 0 } else { self.dice.index(self.nodes.len()) }
    }

    pub(super) fn maybe_fault(&mut self) {
        let at = self.victim();
        let node = &self.nodes[at];
        if node.process.is_some() && self.dice.per_mille(self.options.crash) {
            self.crash_for(at, "killed");
        }
        let node = &mut self.nodes[at];
        if node.is_awake(self.now) && self.dice.per_mille(self.options.pause) {
            let pause = self.dice.between(1, self.options.pause_ms);
            node.paused_until = self.now + pause * 1_000_000;
            self.note_at(at, "node", "paused", &pause);
        }
        let node = &mut self.nodes[at];
        if node.loop_left > 0 && node.process.is_some() && self.dice.per_mille(LOOP_CRASH) {
            node.loop_left -= 1;
            self.crash_for(at, "killed again");
        }
        if self.dice.per_mille(self.options.partition) {
            self.cut_a_link();
        }
        if self.options.wall_jump_ms > 0 && self.dice.per_mille(2) {
            let jump = self.dice.below(2 * self.options.wall_jump_ms) as i64;
            let error = jump - self.options.wall_jump_ms as i64;
            self.nodes[at].wall_error_ms = error;
            self.note_at(at, "node", "wall", &error);
        }
        if self.nodes.len() > 1 {
            self.maybe_peer_fault(at);
        }
    }

    /// A connection stops carrying bytes for a while, one way or both.
    fn cut_a_link(&mut self) {
        let chosen = self.dice.index(self.links.len());
        let until = self.now + self.dice.between(1, self.options.partition_ms) * 1_000_000;
        let ways = self.dice.below(3);
        let Some((&id, link)) = self.links.iter_mut().nth(chosen) else { return };
        if ways != 1 {
            link.cut_until[0] = until;
        }
        if ways != 0 {
            link.cut_until[1] = until;
        }
        self.note("net", "cut", &format!("{id} ways {ways} until {}", until / 1000));
    }

    fn maybe_peer_fault(&mut self, at: usize) {
        if self.dice.per_mille(self.options.peer_reset)
            && let Some([one, other]) = self.peers.reset_one()
        {
            self.note("peer", "reset", &format!("n{} n{}", one + 1, other + 1));
        }
        if self.dice.per_mille(self.options.peer_cut) {
            self.cut_servers(at);
        }
        if self.dice.per_mille(self.options.peer_nameless) {
            let until = self.now + self.dice.between(1, 5000) * 1_000_000;
            self.peers.lose_name(at, until);
            self.note_at(at, "peer", "nameless", &(until / 1000));
        }
    }

    /// A server and one other stop hearing each other, one way or both; or it and some others are
    /// parted from the rest.
    fn cut_servers(&mut self, at: usize) {
        let until = self.now + self.dice.between(1, self.options.peer_cut_ms) * 1_000_000;
        let kind = self.dice.below(4);
        let word = self.dice.word();
        let nodes = self.nodes.len();
        let with = |node: usize| node == at || (word >> node) & 1 == 1;
        let other = (at + 1 + (word as usize % (nodes - 1))) % nodes;
        for one in 0..nodes {
            for two in 0..nodes {
                let parted = match kind {
                    0 => (one, two) == (at, other),
                    1 => (one, two) == (at, other) || (two, one) == (at, other),
                    2 => with(one) && !with(two),
                    _ => with(one) != with(two),
                };
                if parted {
                    self.peers.cut(one, two, until);
                }
            }
        }
        let words = format!("kind {kind} other {} until {}", other + 1, until / 1000);
        self.note_at(at, "peer", "cut", &words);
    }

    /// A process dies now, and runs again a little later.
    pub(crate) fn crash_for(&mut self, at: usize, why: &str) {
        self.note_at(at, "node", "crash", &why);
        let node = &mut self.nodes[at];
        node.process = None;
        node.disk.crash(&self.options);
        let delay = self.dice.between(1, 3000) * 1_000_000;
        node.start_at = self.now + delay;
        if self.faults && node.loop_left == 0 && self.dice.per_mille(self.options.restart_loop) {
            node.loop_left = self.dice.between(1, 6) as u32;
        }
        self.history.seats[at].serves = false;
        if self.nodes.len() > 1 {
            let silently = self.faults && self.dice.per_mille(self.options.silent_crash);
            self.peers.crash(at, silently);
        }
        for link in self.links.values_mut().filter(|link| link.node == at) {
            link.server = None;
            link.server_closed = true;
            link.to_server.clear();
        }
    }
}
