//! A server's shards and the connections of its clients.

use model::SessionId;
use server::link::ConnId;
use server::shard::{ShardInput, ShardOutputs};

use super::{NodeEvent, Outcome, TICK_NS, World};
use crate::checkers::Seen;
use crate::client::{Client, Standing};
use crate::network::{PIPE_BYTES, take};

/// Bytes that a slow connection carries at a time.
const SLOW_BYTES: usize = 8;

impl World {
    pub(super) fn shard_event(&mut self, at: usize, event: NodeEvent) -> Outcome {
        let now = self.nodes[at].now(self.now);
        let mut out = ShardOutputs::default();
        let running = "enabled only while it runs";
        let index = match event {
            NodeEvent::ToShard(index) => {
                let process = self.nodes[at].process.as_mut().expect(running);
                let Some(message) = process.shards[index].to_shard.pop_front() else {
                    return Ok(());
                };
                process.shard_step(index, now, ShardInput::Core(message), &mut out);
                self.note_at(at, "shard", "mail", &index);
                index
            }
            NodeEvent::Feed(index) => {
                let process = self.nodes[at].process.as_mut().expect(running);
                process.shard_step(index, now, ShardInput::Feed, &mut out);
                self.note_at(at, "shard", "feed", &index);
                index
            }
            NodeEvent::ShardTurn(index) => {
                let process = self.nodes[at].process.as_mut().expect(running);
                process.shards[index].dirty = false;
                process.shards[index].shard.end_turn(now, &mut out);
                self.note_at(at, "shard", "turn", &index);
                index
            }
            NodeEvent::ShardTick(index) => {
                // The runtime reads its sockets before it looks at the clock.
                for id in self.deliverable(at, index) {
                    self.deliver(id, true)?;
                }
                let Some(process) = self.nodes[at].process.as_mut() else { return Ok(()) };
                process.shards[index].tick_at = self.now + TICK_NS;
                process.shard_step(index, now, ShardInput::Tick, &mut out);
                self.note_at(at, "shard", "tick", &index);
                index
            }
            _ => return Ok(()),
        };
        self.shard_outputs(at, index, out)
    }

    /// A server learns that a client has gone.
    pub(super) fn hear_close(&mut self, id: usize) -> Outcome {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let (at, Some((shard, conn))) = (link.node, link.server) else { return Ok(()) };
        let mut out = ShardOutputs::default();
        self.forget_server_end(id, at, shard, conn, &mut out);
        self.note_at(at, "shard", "closed", &id);
        self.shard_outputs(at, shard, out)
    }

    /// Connections of a shard with bytes waiting.
    fn deliverable(&self, at: usize, shard: usize) -> Vec<usize> {
        let Some(process) = &self.nodes[at].process else { return Vec::new() };
        let slot = &process.shards[shard];
        slot.links
            .iter()
            .filter(|(conn, id)| {
                !slot.paused.contains(conn)
                    && self
                        .links
                        .get(id)
                        .is_some_and(|link| !link.to_server.is_empty() && link.carries_in(self.now))
            })
            .map(|(_, id)| *id)
            .collect()
    }

    pub(super) fn deliver(&mut self, id: usize, all: bool) -> Outcome {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let at = link.node;
        let now = self.nodes[at].now(self.now);
        let Some((shard, conn)) = link.server else { return Ok(()) };
        let count = if link.slow {
            SLOW_BYTES
        } else if !all && self.dice.per_mille(self.options.pieces) {
            self.dice.between(1, 12) as usize
        } else {
            usize::MAX
        };
        let bytes = take(&mut link.to_server, count);
        let whole = link.deliver(bytes.len());
        let client = link.client;
        let mut out = ShardOutputs::default();
        let process = self.nodes[at].process.as_mut().expect("the server end lives");
        let open = !process.shards[shard].closing.contains(&conn);
        process.shard_step(shard, now, ShardInput::Bytes { conn, bytes: &bytes }, &mut out);
        let Client { session, link: current, lying, standing, .. } = self.clients[client];
        let speaks = standing == Standing::Attached || (standing == Standing::Knocking && !lying);
        if whole && open && speaks && current == Some(id) && session != SessionId::NONE {
            self.history.now = self.now;
            self.history.hear(at, session);
        }
        self.note_at(at, "shard", "bytes", &format!("{id} {}", bytes.len()));
        self.shard_outputs(at, shard, out)
    }

    pub(super) fn flush(&mut self, id: usize) -> Outcome {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let at = link.node;
        let now = self.nodes[at].now(self.now);
        let Some((shard, conn)) = link.server else { return Ok(()) };
        let process = self.nodes[at].process.as_mut().expect("the server end lives");
        let pending = process.shards[shard].shard.outbox(conn);
        let mut out = ShardOutputs::default();
        if pending.is_empty() {
            link.server_closed = true;
            self.forget_server_end(id, at, shard, conn, &mut out);
            self.note_at(at, "shard", "close", &id);
            return self.shard_outputs(at, shard, out);
        }
        let gone = link.client_closed && !link.half_open;
        let room = if gone { usize::MAX } else { PIPE_BYTES - link.to_client.len() };
        let most = if self.dice.per_mille(self.options.pieces) { 20 } else { usize::MAX };
        let count = pending.len().min(room).min(most).max(1);
        if !gone {
            link.to_client.extend(&pending[..count]);
        }
        let input = ShardInput::Sent { conn, bytes: count };
        process.shard_step(shard, now, input, &mut out);
        self.note_at(at, "shard", "sent", &format!("{id} {count}"));
        self.shard_outputs(at, shard, out)
    }

    /// The server's end of a connection goes.
    fn forget_server_end(
        &mut self,
        id: usize,
        at: usize,
        shard: usize,
        conn: ConnId,
        out: &mut ShardOutputs,
    ) {
        let now = self.nodes[at].now(self.now);
        if let Some(link) = self.links.get_mut(&id) {
            link.server = None;
            link.server_closed = true;
        }
        let process = self.nodes[at].process.as_mut().expect("the server end lives");
        let slot = &mut process.shards[shard];
        slot.links.remove(&conn);
        slot.paused.remove(&conn);
        slot.closing.remove(&conn);
        process.shard_step(shard, now, ShardInput::Closed { conn }, out);
    }

    pub(super) fn shard_outputs(&mut self, at: usize, index: usize, out: ShardOutputs) -> Outcome {
        let Some(process) = &mut self.nodes[at].process else { return Ok(()) };
        let slot = &mut process.shards[index];
        slot.to_core.extend(out.to_core);
        for conn in out.pause {
            slot.paused.insert(conn);
        }
        for conn in out.resume {
            slot.paused.remove(&conn);
        }
        for conn in out.close {
            if slot.links.contains_key(&conn) {
                slot.closing.insert(conn);
            }
        }
        let to_core = slot.to_core.len();
        let to_shards = slot.to_shard.len();
        let outbox =
            slot.links.keys().map(|conn| slot.shard.outbox(*conn).len()).max().unwrap_or(0);
        self.see(&Seen::Queues { to_core, to_shards, outbox })
    }
}
