//! The ports for administrators.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::node::Node;
use crate::raw::Raw;

const ADMIN: &str = "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort=0\n";
const METRICS: &str = "\
    metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
     metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\n";

/// Head and body of an answer.
fn get(address: &str, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn commands_and_metrics_are_served() {
    let node = Node::start_with(&format!("{ADMIN}{METRICS}"));
    let mut raw = Raw::connect(node.address());
    assert_eq!(raw.call(-2, 11, b"").err, 0);
    let admin = node.listens("admin server");
    let (head, body) = get(&admin, "/commands/srvr");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), "{head}");
    assert!(body.contains("\"num_alive_client_connections\" : 1,"), "{body}");
    assert!(body.ends_with("\"command\" : \"server_stats\",\n  \"error\" : null\n}"), "{body}");
    let (_, list) = get(&admin, "/commands");
    for line in list.lines().filter(|line| line.starts_with("<a href")) {
        let target = line.split('"').nth(1).expect("a link");
        let (head, body) = get(&admin, target);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{target}: {head}");
        assert!(body.contains("\"command\" : "), "{target}: {body}");
    }
    let (_, file) = get(&admin, "/commands/icfg");
    let hidden = "digestauthenticationprovider.superdigest=***";
    assert!(file.contains("tickTime=2000") && file.contains(hidden), "{file}");
    let (head, body) = get(&node.listens("metrics for Prometheus"), "/metrics");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\n# TYPE num_alive_connections gauge\nnum_alive_connections 1\n"));
}

/// Another process has the port: ZooKeeper serves its clients all the same.
#[test]
fn clients_are_served_without_the_admin_server() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("it has an address").port();
    let node = Node::start_with(&format!("{ADMIN}admin.serverPort={port}\n"));
    let mut raw = Raw::connect(node.address());
    assert_eq!(raw.call(-2, 11, b"").err, 0);
}
