//! The server's own counters, as a witness that the load was what it is said to be.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cli::{Api, Target};
use crate::wire::PATIENCE;

/// Packets that may be counted beside a load: four-letter words and what else is connected.
const SLACK: u64 = 64;

/// What was sent beside what the servers say they received.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counters {
    /// Handshakes, requests, pings and closes that were sent here.
    sent: u64,
    /// What the servers' counters of received packets grew by.
    received: u64,
}

/// The counters before a load.
pub(crate) struct Before(u64);

impl Counters {
    /// Reads the counters; nothing if the servers keep them to themselves, which is an error only
    /// when they are `demanded`.
    pub(crate) fn before(target: &Target, demanded: bool) -> Result<Option<Before>> {
        match received(target) {
            Ok(count) => Ok(Some(Before(count))),
            Err(error) if demanded && target.api == Api::Etcd => {
                Err(error.context("--verify-counters (etcd tells /metrics)"))
            }
            Err(error) if demanded => Err(error.context(
                "--verify-counters (ZooKeeper answers mntr only if 4lw.commands.whitelist says so)",
            )),
            Err(_) => Ok(None),
        }
    }

    /// Both sides agree.
    pub(crate) fn agree(&self) -> Result<()> {
        ensure!(
            self.sent.abs_diff(self.received) <= SLACK,
            "{} packets were sent and the servers counted {}",
            self.sent,
            self.received
        );
        Ok(())
    }

    /// One line.
    pub(crate) fn print(&self) {
        let verdict = if self.agree().is_ok() { "agrees" } else { "differs (who else is there?)" };
        println!(
            "servers' own counter {verdict}: {} packets sent, {} received",
            self.sent, self.received
        );
    }
}

impl Before {
    /// Reads the counters again, after `sent` packets.
    pub(crate) fn after(&self, target: &Target, sent: u64) -> Result<Counters> {
        Ok(Counters { sent, received: received(target)?.saturating_sub(self.0) })
    }
}

/// Packets that all servers have received so far.
fn received(target: &Target) -> Result<u64> {
    let mut total = 0;
    for &address in &target.addresses {
        if target.api == Api::Etcd {
            let asked = http(address, "GET", "/metrics", "");
            let text = asked.with_context(|| format!("asking {address} for /metrics"))?;
            total += calls(&text)
                .with_context(|| format!("{address}: /metrics names no calls of etcd's KV"))?;
            continue;
        }
        let text = four_letters(address, "mntr")?;
        total += counter(&text, "zk_packets_received")
            .with_context(|| format!("{address}: mntr names no zk_packets_received"))?;
    }
    Ok(total)
}

/// Calls that etcd's server has answered of those that loads consist of.
fn calls(text: &str) -> Option<u64> {
    let of_kv = text.lines().filter(|line| {
        line.starts_with("grpc_server_handled_total{")
            && line.contains("grpc_service=\"etcdserverpb.KV\"")
    });
    let counts = of_kv.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.map(|count| count as u64).reduce(|total, count| total + count)
}

/// A counter in the text of `mntr`.
fn counter(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().parse::<f64>().ok().map(|value| value as u64)
}

/// Asks a server one of ZooKeeper's four-letter words.
pub(crate) fn four_letters(address: SocketAddr, word: &str) -> Result<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(word.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().with_context(|| format!("asking {address} {word}"))
}

/// One request of HTTP/1.0; the answer with its headers.
pub(crate) fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_and_compared() {
        let text = "zk_version\t3.9\nzk_packets_received\t1234\nzk_x\t1.5\n";
        assert_eq!(counter(text, "zk_packets_received"), Some(1234));
        assert_eq!(counter(text, "zk_x"), Some(1));
        assert_eq!(counter(text, "zk_y"), None);
        let text = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
                    grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1.5e+06\n\
                    grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",\
                    grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 7\n\
                    grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\",\
                    grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 4\n";
        assert_eq!(calls(text), Some(1_500_004));
        assert_eq!(calls("HTTP/1.0 404 Not Found"), None);
        assert!(Counters { sent: 1000, received: 1010 }.agree().is_ok());
        assert!(Counters { sent: 1000, received: 1100 }.agree().is_err());
    }
}
