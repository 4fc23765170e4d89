//! Answers of the HTTP admin server, as ZooKeeper 3.9 writes them (`client-protocol` 9.3): the
//! command's own fields, then `command` and `error`, indented like Jackson does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use model::{ServerId, SessionId};
use replication::{Activity, Address, Member, Membership, RoleKind};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::CoreFacts;
use super::command::Command;
use super::four_letter::{latency, role_name, watches};
use super::metrics::{self, Value as Measured};
use crate::link::{ConnectionReport, ShardReport};

/// Version of the digest in `hash`.
const DIGEST_VERSION: i32 = 2;

/// Fields in the order in which they are written.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn put(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The answer to a command. `reports` are the shards', in their order.
pub(super) fn answer(command: Command, facts: &CoreFacts, reports: &[ShardReport]) -> Vec<u8> {
    let mut fields = Fields::default();
    let error = fill(command, facts, reports, &mut fields);
    finished(fields, command.name(), error)
}

/// The answer to a command that is not carried out.
pub(super) fn failure(command: &str, error: &str) -> Vec<u8> {
    finished(Fields::default(), command, Some(error))
}

fn finished(mut fields: Fields, command: &str, error: Option<&str>) -> Vec<u8> {
    fields.put("command", command);
    fields.put("error", error.map_or(Value::Null, Value::from));
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut text, Jackson::default());
    fields.serialize(&mut writer).expect("values in memory can be written to memory");
    text
}

/// Puts a command's own fields; an error that it has itself.
fn fill(
    command: Command,
    facts: &CoreFacts,
    reports: &[ShardReport],
    fields: &mut Fields,
) -> Option<&'static str> {
    match command {
        // The statistics are reset where they are kept.
        Command::ConnectionStatReset
        | Command::ObserverConnectionStatReset
        | Command::Ruok
        | Command::StatReset
        // There is no JVM, whose properties these would be.
        | Command::SystemProperties => {}
        Command::Configuration => configuration(&facts.texts.conf, fields),
        Command::Connections => {
            fields.put("connections", connections(reports, described));
            fields.put("secure_connections", json!([]));
        }
        Command::Dirs => {
            fields.put("datadir_size", facts.host.data_dir_bytes);
            fields.put("logdir_size", facts.host.log_dir_bytes);
        }
        Command::Dump => dump(facts, fields),
        Command::Environment => {
            for (key, value) in facts.texts.envi.lines().filter_map(|line| line.split_once('=')) {
                fields.put(key, value);
            }
        }
        Command::GetTraceMask | Command::SetTraceMask(_) => {
            fields.put("tracemask", facts.trace_mask);
        }
        Command::Hash => {
            let digest = |&(zxid, digest): &(model::Zxid, u64)| {
                let digest = digest as i64;
                json!({ "zxid": zxid.0, "digest": digest, "digest_version": DIGEST_VERSION })
            };
            fields.put("digests", facts.digests.iter().map(digest).collect::<Value>());
        }
        Command::InitialConfiguration => {
            fields.put("initial_configuration", facts.texts.file.as_str());
        }
        Command::IsReadOnly => fields.put("read_only", is_read_only(facts)),
        Command::LastSnapshot => {
            let (zxid, seconds) = facts.host.last_snapshot.map_or((-1, -1), |(z, at)| (z.0, at));
            fields.put("zxid", format!("{zxid:x}"));
            fields.put("timestamp", seconds);
        }
        Command::Leader => return leader(facts, fields),
        Command::Monitor => {
            for (name, value) in metrics::flat(metrics::gather(facts, reports)) {
                fields.put(name, match value {
                    Measured::Text(text) => Value::from(text),
                    Measured::Number(number) => Value::from(number),
                    Measured::Decimal(number) => Value::from(rounded(number)),
                });
            }
        }
        Command::Observers => {
            let learners = facts.ensemble.as_ref().and_then(|e| e.standing.learners.as_ref());
            fields.put("synced_observers", learners.map_or(0, |learners| learners.observers));
            let ids = facts.ensemble.iter().flat_map(|e| &e.observers);
            fields.put("observers", ids.map(|id| json!({ "sid": id.0 })).collect::<Value>());
        }
        Command::ServerStats => server_stats(facts, reports, fields),
        Command::Stats => {
            server_stats(facts, reports, fields);
            fields.put("connections", connections(reports, brief));
            fields.put("secure_connections", json!([]));
        }
        Command::VotingView => {
            let members = facts.members.as_ref();
            let view = members.map(|members| voting_view(members, facts));
            fields.put("current_config", view.unwrap_or_else(|| json!({})));
        }
        Command::WatchSummary => {
            let summary = super::four_letter::summary(reports);
            fields.put("num_connections", summary.connections);
            fields.put("num_paths", summary.paths);
            fields.put("num_total_watches", summary.total);
        }
        Command::Watches => {
            let mut by_session: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
            for (path, session) in watches(reports) {
                by_session.entry(session).or_default().push(text(path));
            }
            let entries = by_session.into_iter().map(|(session, mut paths)| {
                paths.sort_unstable();
                (session.0.to_string(), Value::from(paths))
            });
            fields.put("session_id_to_watched_paths", object(entries));
        }
        Command::WatchesByPath => {
            let mut by_path: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for (path, session) in watches(reports) {
                by_path.entry(text(path)).or_default().push(session.0);
            }
            let entries = by_path.into_iter().map(|(path, sessions)| (path, sessions.into()));
            fields.put("path_to_session_ids", object(entries));
        }
        Command::Zabstate => zabstate(facts, fields),
    }
    None
}

fn object(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// To four decimals, as in the texts.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn is_read_only(facts: &CoreFacts) -> bool {
    facts.role == RoleKind::Looking
}

/// The lines of `conf` up to the list of members, in snake case.
fn configuration(conf_text: &str, fields: &mut Fields) {
    for (key, value) in conf_text.lines().map_while(|line| line.split_once('=')) {
        let mut name = String::new();
        for letter in key.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        let number = value.parse::<i64>().ok().filter(|_| !key.starts_with("data"));
        // Like the client itself, it is left out where there is no such port.
        if name != "secure_client_port" || number.is_some_and(|port| port >= 0) {
            fields.put(name, number.map_or_else(|| Value::from(value), Value::from));
        }
    }
}

fn dump(facts: &CoreFacts, fields: &mut Fields) {
    let sets = facts.session_sets.iter().map(|set| {
        let ids: Vec<i64> = set.sessions.iter().map(|session| session.0).collect();
        (set.expires_ms.to_string(), Value::from(ids))
    });
    fields.put("expiry_time_to_session_ids", object(sets));
    let owners = facts.state.tables().ephemerals.iter().map(|(session, paths)| {
        let paths: Vec<String> = paths.iter().map(|path| text(path)).collect();
        (session.0.to_string(), Value::from(paths))
    });
    fields.put("session_id_to_ephemeral_paths", object(owners));
}

fn leader(facts: &CoreFacts, fields: &mut Fields) -> Option<&'static str> {
    let leader = match facts.role {
        RoleKind::Leading(_) => facts.server,
        RoleKind::Following(leader, _) | RoleKind::Observing(leader, _) => leader,
        RoleKind::Looking | RoleKind::Standalone => return Some("server is not initialized"),
    };
    fields.put("is_leader", leader == facts.server);
    fields.put("leader_id", leader.0);
    fields.put(
        "leader_ip",
        facts.members.as_ref().and_then(|all| host(all, leader)).unwrap_or_default(),
    );
    None
}

fn host(members: &Membership, id: ServerId) -> Option<String> {
    Some(members.member(id)?.addresses.first()?.host.clone())
}

fn texts(all: &[Address]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Where clients connect is known of this server, and of others whose line says so.
fn voting_view(members: &Membership, facts: &CoreFacts) -> Value {
    let voters = members.members().filter(|(_, member)| !member.observer);
    object(voters.map(|(id, member)| {
        let listed = member.client.as_deref().unwrap_or_default();
        let own = id == facts.server;
        let view = json!({
            "server_addresses": texts(&member.quorum_addresses()),
            "election_addresses": texts(&member.election_addresses()),
            "client_address": if own { &facts.texts.client_address } else { listed },
            "learner_type": "participant",
        });
        (id.0.to_string(), view)
    }))
}

fn zabstate(facts: &CoreFacts, fields: &mut Fields) {
    let (Some(members), Some(ensemble)) = (&facts.members, &facts.ensemble) else {
        fields.put("voting", false);
        fields.put("zabstate", "");
        return;
    };
    let zxid = facts.state.zxid();
    let own = members.member(facts.server);
    let listed = |of: fn(&Member) -> Vec<Address>| described_addresses(&own.map_or(vec![], of));
    fields.put("myid", facts.server.0);
    fields.put("is_leader", matches!(facts.role, RoleKind::Leading(_)));
    fields.put("quorum_address", listed(Member::quorum_addresses));
    fields.put("election_address", listed(Member::election_addresses));
    fields.put("client_address", facts.texts.client_address.as_str());
    fields.put("voting", members.is_voter(facts.server));
    fields.put("last_zxid", format!("0x{zxid:x}"));
    fields.put("zab_epoch", zxid.epoch().0);
    fields.put("zab_counter", zxid.counter());
    let state = match ensemble.standing.activity {
        Activity::Electing => "election",
        Activity::Discovering => "discovery",
        Activity::Synchronizing => "synchronization",
        Activity::Broadcasting => "broadcast",
    };
    fields.put("zabstate", state);
}

/// All addresses of one port of a server. ZooKeeper also says which of them it can reach, for
/// which it asks the network.
fn described_addresses(all: &[Address]) -> Value {
    let ports: Vec<u16> = all.iter().map(|address| address.port).collect();
    let wildcards: Vec<String> = ports.iter().map(|port| format!("0.0.0.0:{port}")).collect();
    json!({
        "empty": all.is_empty(),
        "all_addresses": texts(all),
        "wildcard_addresses": wildcards,
        "all_ports": ports,
        "all_host_strings": all.iter().map(|address| &address.host).collect::<Vec<_>>(),
        "one": texts(all).into_iter().next(),
    })
}

fn server_stats(facts: &CoreFacts, reports: &[ShardReport], fields: &mut Fields) {
    let latency = latency(reports);
    let sum = |of: fn(&ShardReport) -> u64| reports.iter().map(of).sum::<u64>();
    let counters = metrics::merged(reports);
    let size = |name| counters.get(name).map_or(-1, |size| *size as i64);
    let replies = json!({
        "last_buffer_size": size("last_client_response_size"),
        "min_buffer_size": size("min_client_response_size"),
        "max_buffer_size": size("max_client_response_size"),
    });
    fields.put("version", facts.texts.version.as_str());
    fields.put("read_only", is_read_only(facts));
    let stats = json!({
        "packets_sent": sum(|r| r.sent),
        "packets_received": sum(|r| r.received),
        "client_response_stats": replies,
        "data_dir_size": facts.host.data_dir_bytes,
        "log_dir_size": facts.host.log_dir_bytes,
        "last_processed_zxid": facts.state.zxid().0,
        "server_state": role_name(facts.role),
        "outstanding_requests": sum(|r| r.outstanding),
        "avg_latency": rounded(latency.average()),
        "max_latency": latency.max,
        "min_latency": latency.min,
        "num_alive_client_connections": sum(|r| r.connection_count),
        "provider_null": false,
        "uptime": facts.uptime_ms,
        "auth_failed_count": counters.get("auth_failed_count").copied().unwrap_or(0),
    });
    fields.put("server_stats", stats);
    fields.put("client_response", replies);
    if let (RoleKind::Leading(_), Some(ensemble)) = (facts.role, &facts.ensemble) {
        let (last, min, max) = ensemble.proposal_bytes.shown();
        let sizes =
            json!({ "last_buffer_size": last, "min_buffer_size": min, "max_buffer_size": max });
        fields.put("proposal_stats", sizes);
    }
    fields.put("node_count", facts.state.node_count());
}

fn connections(reports: &[ShardReport], of: fn(&ConnectionReport) -> Value) -> Value {
    reports.iter().flat_map(|report| &report.connections).map(of).collect()
}

fn brief(connection: &ConnectionReport) -> Value {
    let ConnectionReport { peer, interest, queued, received, sent, .. } = connection;
    json!({
        "remote_socket_address": SocketAddr::from(*peer).to_string(),
        "interest_ops": interest,
        "outstanding_requests": queued,
        "packets_received": received,
        "packets_sent": sent,
    })
}

fn described(connection: &ConnectionReport) -> Value {
    let mut all = brief(connection);
    let (Some(s), Some(fields)) = (&connection.session, all.as_object_mut()) else { return all };
    if let Some(xid) = s.last_xid {
        fields.insert("last_cxid".into(), xid.0.into());
    }
    for (name, value) in [
        ("session_id", Value::from(s.session.0)),
        ("last_operation", s.last_op.into()),
        ("established", s.established_ms.into()),
        ("session_timeout", s.timeout_ms.into()),
        ("last_zxid", s.last_zxid.0.into()),
        ("last_response_time", s.last_response_ms.into()),
        ("last_latency", s.last_latency_ms.into()),
        ("min_latency", s.min_latency_ms.into()),
        ("avg_latency", s.avg_latency_ms.into()),
        ("max_latency", s.max_latency_ms.into()),
    ] {
        fields.insert(name.into(), value);
    }
    all
}

/// Indents objects and leaves arrays on their line.
#[derive(Default)]
struct Jackson {
    depth: usize,
    filled: bool,
}

impl Jackson {
    fn new_line<W: ?Sized + io::Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"  "))
    }
}

impl serde_json::ser::Formatter for Jackson {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b" " } else { b", " })
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b" ]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.new_line(out)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.new_line(out)?;
        } else {
            out.write_all(b" ")?;
        }
        out.write_all(b"}")
    }
}

#[cfg(test)]
mod tests;
