//! Four-letter words that need the core or all shards: their texts, byte for byte as ZooKeeper
//! 3.9 writes them (`client-protocol` 9.1, 9.2). The others are answered by a shard alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use model::SessionId;
use replication::RoleKind;

use super::CoreFacts;
use super::metrics::{self, Latency};
use crate::link::{ConnectionReport, ShardReport};

/// A word whose answer the core composes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// Summary.
    Srvr,
    /// Summary and connections.
    Stat,
    /// Metrics.
    Mntr,
    /// Configuration.
    Conf,
    /// Connections in full.
    Cons,
    /// Sessions and ephemerals.
    Dump,
    /// Number of watches.
    Wchs,
    /// Watches by session.
    Wchc,
    /// Watches by path.
    Wchp,
    /// Sizes of directories.
    Dirs,
    /// Digest history.
    Hash,
    /// Reset the connections' statistics.
    Crst,
    /// Reset the server's statistics.
    Srst,
}

impl Word {
    /// The word with these letters.
    pub fn parse(letters: [u8; 4]) -> Option<Word> {
        Some(match &letters {
            b"srvr" => Word::Srvr,
            b"stat" => Word::Stat,
            b"mntr" => Word::Mntr,
            b"conf" => Word::Conf,
            b"cons" => Word::Cons,
            b"dump" => Word::Dump,
            b"wchs" => Word::Wchs,
            b"wchc" => Word::Wchc,
            b"wchp" => Word::Wchp,
            b"dirs" => Word::Dirs,
            b"hash" => Word::Hash,
            b"crst" => Word::Crst,
            b"srst" => Word::Srst,
            _ => return None,
        })
    }

    /// What the shards have to report for it, as a word; none if they need not be asked.
    pub fn report(self) -> Option<[u8; 4]> {
        Some(match self {
            Word::Conf | Word::Dump | Word::Dirs | Word::Hash => return None,
            Word::Srvr => *b"srvr",
            Word::Stat => *b"stat",
            Word::Mntr => *b"mntr",
            Word::Cons => *b"cons",
            Word::Wchs => *b"wchs",
            Word::Wchc => *b"wchc",
            Word::Wchp => *b"wchp",
            Word::Crst => *b"crst",
            Word::Srst => *b"srst",
        })
    }
}

/// Mask that `gtmk` prints before anyone sets another one.
pub const TRACE_MASK_DEFAULT: i64 = 306;

/// What a server without a leader answers.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The answer to a word. `reports` are the shards', in their order.
pub fn text(word: Word, facts: &CoreFacts, reports: &[ShardReport]) -> Vec<u8> {
    match word {
        Word::Srvr => srvr(facts, reports).into_bytes(),
        Word::Stat => stat(facts, reports).into_bytes(),
        Word::Mntr => metrics::monitor(facts, reports).into_bytes(),
        Word::Conf => conf(facts).into_bytes(),
        Word::Cons => cons(reports).into_bytes(),
        Word::Dump => dump(facts),
        Word::Wchs => watch_summary(reports).into_bytes(),
        Word::Wchc => watches_by_session(reports),
        Word::Wchp => watches_by_path(reports),
        Word::Dirs => dirs(facts).into_bytes(),
        Word::Hash => hash(facts).into_bytes(),
        Word::Crst => b"Connection stats reset.\n".to_vec(),
        Word::Srst => b"Server stats reset.\n".to_vec(),
    }
}

/// The mode that `srvr` and `mntr` print.
pub(super) fn role_name(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Looking => "read-only",
        RoleKind::Standalone => "standalone",
        RoleKind::Leading(_) => "leader",
        RoleKind::Following(..) => "follower",
        RoleKind::Observing(..) => "observer",
    }
}

/// A number as Java prints one that was rounded to four decimals.
pub(super) fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// Latencies of all shards.
pub(super) fn latency(reports: &[ShardReport]) -> Latency {
    metrics::join(reports.iter().flat_map(|report| [report.read_ms, report.update_ms])).into()
}

fn version_lines(facts: &CoreFacts) -> String {
    let mut text = format!("Zookeeper version: {}\n", facts.texts.version);
    if facts.role == RoleKind::Looking {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    text
}

fn summary_lines(facts: &CoreFacts, reports: &[ShardReport]) -> String {
    let latency = latency(reports);
    let sum = |of: fn(&ShardReport) -> u64| reports.iter().map(of).sum::<u64>();
    let mut text = format!(
        "Latency min/avg/max: {}/{}/{}\n\
         Received: {}\n\
         Sent: {}\n\
         Connections: {}\n\
         Outstanding: {}\n\
         Zxid: 0x{:x}\n\
         Mode: {}\n\
         Node count: {}\n",
        latency.min,
        decimal(latency.average()),
        latency.max,
        sum(|r| r.received),
        sum(|r| r.sent),
        sum(|r| r.connection_count),
        sum(|r| r.outstanding),
        facts.state.zxid(),
        role_name(facts.role),
        facts.state.node_count(),
    );
    if let (RoleKind::Leading(_), Some(ensemble)) = (facts.role, &facts.ensemble) {
        let (last, min, max) = ensemble.proposal_bytes.shown();
        let _ = writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}");
    }
    text
}

fn srvr(facts: &CoreFacts, reports: &[ShardReport]) -> String {
    version_lines(facts) + &summary_lines(facts, reports)
}

fn stat(facts: &CoreFacts, reports: &[ShardReport]) -> String {
    let mut text = version_lines(facts);
    text.push_str("Clients:\n");
    for connection in reports.iter().flat_map(|report| &report.connections) {
        brief(connection, &mut text);
        text.push_str(")\n");
    }
    text.push('\n');
    text + &summary_lines(facts, reports)
}

/// Address and queue, without the closing parenthesis.
fn brief(connection: &ConnectionReport, text: &mut String) {
    let ConnectionReport { peer, interest, queued, received, sent, .. } = connection;
    let _ = write!(text, " /{}:{}", host(peer.0), peer.1);
    let _ = write!(text, "[{interest:x}](queued={queued},recved={received},sent={sent}");
}

/// An address as Java prints it: eight groups without shortening for version 6.
fn host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

fn cons(reports: &[ShardReport]) -> String {
    let mut text = String::new();
    for connection in reports.iter().flat_map(|report| &report.connections) {
        brief(connection, &mut text);
        if let Some(s) = &connection.session {
            let _ = write!(
                text,
                ",sid={},lop={},est={},to={}",
                s.session, s.last_op, s.established_ms, s.timeout_ms
            );
            if let Some(xid) = s.last_xid {
                let _ = write!(text, ",lcxid=0x{:x}", i64::from(xid.0));
            }
            let _ = write!(
                text,
                ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                s.last_zxid,
                s.last_response_ms,
                s.last_latency_ms,
                s.min_latency_ms,
                s.avg_latency_ms,
                s.max_latency_ms
            );
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

/// The configured text, with the size of each directory after its name.
fn conf(facts: &CoreFacts) -> String {
    let mut text = String::new();
    for line in facts.texts.conf.lines() {
        text.push_str(line);
        text.push('\n');
        if line.starts_with("dataDir=") {
            let _ = writeln!(text, "dataDirSize={}", facts.host.data_dir_bytes);
        } else if line.starts_with("dataLogDir=") {
            let _ = writeln!(text, "dataLogSize={}", facts.host.log_dir_bytes);
        }
    }
    text
}

fn dirs(facts: &CoreFacts) -> String {
    let (data, log) = (facts.host.data_dir_bytes, facts.host.log_dir_bytes);
    format!("datadir_size: {data}\nlogdir_size: {log}\n")
}

fn hash(facts: &CoreFacts) -> String {
    let mut text = String::new();
    for (zxid, digest) in &facts.digests {
        let _ = writeln!(text, "{zxid:x}: {}", *digest as i64);
    }
    text
}

/// Sessions and ephemerals. Connections are left out, as ZooKeeper does with its second
/// connection layer: their expiry is their session's.
fn dump(facts: &CoreFacts) -> Vec<u8> {
    let count: usize = facts.session_sets.iter().map(|set| set.sessions.len()).sum();
    let mut head = String::from("SessionTracker dump:\n");
    let _ = writeln!(head, "Session Sets ({})/({count}):", facts.session_sets.len());
    for set in &facts.session_sets {
        let _ = writeln!(head, "{} expire at {}:", set.sessions.len(), date(set.expires_ms));
        for session in &set.sessions {
            let _ = writeln!(head, "\t{session}");
        }
    }
    let owners = &facts.state.tables().ephemerals;
    let _ = writeln!(head, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", owners.len());
    let mut text = head.into_bytes();
    for (session, paths) in owners {
        text.extend_from_slice(format!("{session}:\n").as_bytes());
        for path in paths {
            line(&mut text, b"\t", path);
        }
    }
    text.extend_from_slice(b"Connections dump:\n");
    text
}

/// A date as Java's `Date` prints it, in UTC.
fn date(wall_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = wall_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days are counted in 400-year cycles of years that begin in March, so that leap days come
    // last.
    let shifted = days + 719_468;
    let (cycle, of_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let calendar = (month + 2) % 12;
    let year = year + 400 * cycle + i64::from(calendar < 2);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[calendar as usize],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

fn line(text: &mut Vec<u8>, before: &[u8], content: &[u8]) {
    text.extend_from_slice(before);
    text.extend_from_slice(content);
    text.push(b'\n');
}

pub(super) fn watches(reports: &[ShardReport]) -> impl Iterator<Item = (&[u8], SessionId)> {
    reports.iter().flat_map(|report| &report.watches).map(|(path, by)| (&path[..], *by))
}

/// Watches in numbers.
pub(super) struct WatchSummary {
    pub(super) connections: u64,
    pub(super) paths: u64,
    pub(super) total: u64,
}

/// A path that is watched on several shards counts once.
pub(super) fn summary(reports: &[ShardReport]) -> WatchSummary {
    let add = |a: (u64, u64, u64), b: (u64, u64, u64)| (a.0 + b.0, a.1 + b.1, a.2 + b.2);
    let (connections, mut paths, total) =
        reports.iter().map(|report| report.watch_summary).fold((0, 0, 0), add);
    if reports.len() > 1 {
        let mut hashes: Vec<u64> =
            reports.iter().flat_map(|report| &report.watched).copied().collect();
        hashes.sort_unstable();
        hashes.dedup();
        paths = hashes.len() as u64;
    }
    WatchSummary { connections, paths, total }
}

fn watch_summary(reports: &[ShardReport]) -> String {
    let WatchSummary { connections, paths, total } = summary(reports);
    format!("{connections} connections watching {paths} paths\nTotal watches:{total}\n")
}

fn watches_by_session(reports: &[ShardReport]) -> Vec<u8> {
    let mut by_session: BTreeMap<SessionId, BTreeSet<&[u8]>> = BTreeMap::new();
    for (path, session) in watches(reports) {
        by_session.entry(session).or_default().insert(path);
    }
    let mut text = Vec::new();
    for (session, paths) in by_session {
        line(&mut text, b"", session.to_string().as_bytes());
        for path in paths {
            line(&mut text, b"\t", path);
        }
    }
    text.push(b'\n');
    text
}

fn watches_by_path(reports: &[ShardReport]) -> Vec<u8> {
    let mut by_path: BTreeMap<&[u8], BTreeSet<SessionId>> = BTreeMap::new();
    for (path, session) in watches(reports) {
        by_path.entry(path).or_default().insert(session);
    }
    let mut text = Vec::new();
    for (path, sessions) in by_path {
        line(&mut text, b"", path);
        for session in sessions {
            line(&mut text, b"\t", session.to_string().as_bytes());
        }
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
