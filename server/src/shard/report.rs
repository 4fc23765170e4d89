//! This shard's part of the answers to administrators (`client-protocol` 9).

use model::OpCode;
use protocol::request::{Class, classify};

use super::Shard;
use super::connection::{Connection, Latency, Phase};
use crate::link::{ConnectionReport, SessionReport, ShardReport};

/// Counters of a shard since the start or the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    /// Packets.
    pub(super) received: u64,
    /// Packets.
    pub(super) sent: u64,
    /// Bytes.
    pub(super) received_bytes: u64,
    /// Bytes that sockets took.
    pub(super) sent_bytes: u64,
    /// Of answered requests that made no transaction.
    pub(super) reads: Latency,
    /// Of answered requests that made one.
    pub(super) updates: Latency,
    /// Connect requests.
    pub(super) connect_requests: u64,
    /// Failed auth packets.
    pub(super) auth_failed: u64,
    /// Connections that got no session in time.
    pub(super) sessionless_expired: u64,
    /// Clients dropped because they do not read.
    pub(super) slow_dropped: u64,
    /// Bytes of replies, without the length in front.
    pub(super) response_bytes: Sizes,
    /// Events delivered.
    pub(super) events: u64,
    /// Events that access lists kept back.
    pub(super) events_withheld: u64,
    /// Events that setWatches made up for.
    pub(super) events_caught_up: u64,
}

/// Last, least and greatest of a series of sizes; nothing before the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    last: u64,
    min: u64,
    max: u64,
}

impl Sizes {
    #[inline]
    fn add(&mut self, size: u64) {
        // No reply is empty.
        self.min = if self.min == 0 { size } else { self.min.min(size) };
        self.max = self.max.max(size);
        self.last = size;
    }
}

/// Whether a request made a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Update,
}

impl Stats {
    /// Counts a reply of so many bytes, the length in front included.
    #[inline]
    pub(super) fn replied(&mut self, latency_ms: u64, bytes: usize, kind: Kind) {
        self.sent += 1;
        match kind {
            Kind::Read => self.reads.add(latency_ms),
            Kind::Update => self.updates.add(latency_ms),
        }
        self.response_bytes.add(bytes.saturating_sub(size_of::<u32>()) as u64);
    }
}

impl Shard {
    /// Reports for a query, and carries out the resets among them.
    pub(super) fn report(&mut self, word: [u8; 4]) -> ShardReport {
        let with_connections = matches!(&word, b"stat" | b"cons" | b"dump");
        let with_watches = matches!(&word, b"wchc" | b"wchp");
        let with_paths = &word == b"wchs";
        let counts = self.watches.counts();
        let mut report = ShardReport {
            connections: Vec::new(),
            connection_count: self.connections.len() as u64,
            watches: Vec::new(),
            watched: if with_paths { self.watches.data_hashes().collect() } else { Vec::new() },
            watch_count: counts.data + counts.child,
            watch_summary: (counts.data_owners, counts.data_paths, counts.data),
            received: self.stats.received,
            sent: self.stats.sent,
            outstanding: self.credit.outstanding(),
            read_ms: self.stats.reads.parts(),
            update_ms: self.stats.updates.parts(),
            counters: self.counters(),
        };
        if with_connections {
            report.connections = self.connections.iter().map(|(_, conn)| describe(conn)).collect();
        }
        if with_watches {
            for (path, slot) in self.watches.data_pairs() {
                let session =
                    self.connections.at(slot).map_or_else(Default::default, |c| c.session);
                report.watches.push((path.to_vec(), session));
            }
        }
        match &word {
            b"srst" => self.stats = Stats::default(),
            b"crst" => {
                for (_, conn) in self.connections.iter_mut() {
                    conn.stats.reset();
                }
            }
            _ => {}
        }
        report
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let stats = &self.stats;
        let mut all = vec![
            ("auth_failed_count", stats.auth_failed),
            ("bytes_received_count", stats.received_bytes),
            ("connection_request_count", stats.connect_requests),
            ("response_bytes", stats.sent_bytes),
            ("sessionless_connections_expired", stats.sessionless_expired),
            ("slow_clients_dropped", stats.slow_dropped),
            ("watch_events", stats.events),
            ("watch_events_caught_up", stats.events_caught_up),
            ("watch_events_withheld", stats.events_withheld),
        ];
        let Sizes { last, min, max } = stats.response_bytes;
        if max > 0 {
            all.extend([
                ("last_client_response_size", last),
                ("min_client_response_size", min),
                ("max_client_response_size", max),
            ]);
        }
        all
    }
}

fn describe(conn: &Connection) -> ConnectionReport {
    let stats = &conn.stats;
    let has_session = matches!(conn.phase, Phase::Open) && !conn.session.is_none();
    ConnectionReport {
        peer: (conn.peer.ip().to_canonical(), conn.peer.port()),
        interest: u8::from(!conn.paused) | if conn.outbox.is_empty() { 0 } else { 4 },
        queued: conn.pipeline.len() as u64,
        received: stats.received,
        sent: stats.sent,
        session: has_session.then(|| SessionReport {
            session: conn.session,
            last_op: short_name(stats.last_op),
            established_ms: conn.established_ms,
            timeout_ms: conn.timeout_ms,
            last_xid: stats.last_xid,
            last_zxid: stats.last_zxid,
            last_response_ms: stats.last_response.millis(),
            last_latency_ms: stats.last_latency_ms,
            min_latency_ms: stats.latency.min,
            avg_latency_ms: stats.latency.sum / stats.latency.count.max(1),
            max_latency_ms: stats.latency.max,
        }),
    }
}

/// How `cons` names operations.
fn short_name(opcode: i32) -> &'static str {
    if opcode != OpCode::CreateSession.code() && classify(opcode) == Class::Unknown {
        return "NA";
    }
    let Some(opcode) = OpCode::from_code(opcode) else { return "NA" };
    match opcode {
        OpCode::CloseSession => "CLOS",
        OpCode::CreateSession => "SESS",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::MultiRead => "MLTR",
        OpCode::SetWatches => "SETW",
        OpCode::GetEphemerals => "GETE",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::WhoAmI => "HOMI",
        OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}
