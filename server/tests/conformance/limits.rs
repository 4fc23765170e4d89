//! At the edge of what the server can hold: nothing acknowledged is lost, nobody else suffers.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, data, read, request, set, text};
use crate::sessions::eventually;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET: i32 = 4;
const SET: i32 = 5;
const PING: i32 = 11;
const AUTH: i32 = 100;
const CLOSE: i32 = -11;

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("the process lives").count()
}

/// The names of these ephemerals are longer than a log segment. Listed in one record they stopped
/// the server when their session ended, and again at every start.
#[test]
fn a_session_with_more_ephemerals_than_a_log_segment_can_end() {
    let mut node = Node::start();
    let mut owner = Raw::connect(node.address());
    let path = |n: i32| format!("/{n}{}", "x".repeat(900_000));
    for n in 0..6 {
        assert_eq!(owner.call(n, CREATE, &create(&path(n), b"", 1)).err, 0);
    }
    assert_eq!(owner.call(9, CLOSE, b"").err, 0);
    node.kill();
    node.launch();
    let mut other = Raw::connect(node.address());
    for n in 0..6 {
        assert_eq!(other.call(n, EXISTS, &read(&path(n), false)).err, -101);
    }
}

/// Each `auth` entry of a list stands for all identities of the connection.
#[test]
fn access_lists_do_not_blow_up() {
    let node = Node::start();
    let mut raw = Raw::connect(node.address());
    for n in 0..20 {
        let mut body = 0i32.to_be_bytes().to_vec();
        body.extend(text(b"digest"));
        body.extend(text(format!("{n}{}:secret", "u".repeat(1000)).as_bytes()));
        assert_eq!(raw.call(n, AUTH, &body).err, 0);
    }
    let mut body = text(b"/a");
    body.extend(text(b""));
    body.extend(10_000i32.to_be_bytes());
    for perms in 0..10_000i32 {
        body.extend(perms.to_be_bytes());
        body.extend(text(b"auth"));
        body.extend(text(b""));
    }
    body.extend(0i32.to_be_bytes());
    assert_eq!(raw.call(50, CREATE, &body).err, -114);
}

/// No disk has so much space left: what a full disk is like, but for the disk.
#[test]
fn while_space_is_short_all_but_writes_goes_on() {
    let node = Node::start_with("ringkeeper.reserveBytes=9000000000000000000");
    let mut raw = Raw::connect(node.address());
    let mut xid = 0;
    eventually("the refusal of writes", Duration::from_secs(10), || {
        xid += 1;
        raw.call(xid, SET, &set("/", b"")).err == -1
    });
    assert_eq!(raw.call(-2, PING, b"").err, 0);
    assert_eq!(raw.call(1001, GET, &read("/", false)).err, 0);
    let mut other = Raw::connect(node.address());
    let mut delete = text(b"/none");
    delete.extend((-1i32).to_be_bytes());
    assert_eq!(other.call(1, DELETE, &delete).err, -1);
    assert_eq!(other.call(2, CLOSE, b"").err, 0);
    assert_eq!(node.word("ruok"), "imok");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let node = Node::start_with("maxClientCnxns=0");
    let mut stayed = Raw::connect(node.address());
    let before = descriptors(&node);
    for round in 0..3000 {
        match round % 3 {
            0 => drop(TcpStream::connect(node.address()).expect("connected")),
            1 => {
                let mut raw = Raw::open(node.address());
                raw.send(&[0, 0, 0, 44, 0, 0]);
            }
            _ => {
                let mut raw = Raw::connect(node.address());
                assert_eq!(raw.call(1, EXISTS, &read("/watched", true)).err, -101);
                assert_eq!(raw.call(2, CLOSE, b"").err, 0);
            }
        }
    }
    // The server's own threads look around with a descriptor or two.
    eventually("the end of all descriptors", Duration::from_secs(20), || {
        descriptors(&node) <= before + 2
    });
    eventually("the end of all watches", Duration::from_secs(20), || {
        let all = node.word("mntr");
        all.contains("zk_watch_count\t0\n") && all.contains("zk_global_sessions\t1\n")
    });
    assert_eq!(stayed.call(-2, PING, b"").err, 0);
}

/// The core sat on its own executor, and the server said that it is ready before all shards knew
/// that they may serve: the first clients were turned away.
#[test]
fn whoever_comes_at_the_ready_line_is_served() {
    let mut node = Node::start_with("ringkeeper.shards=3\nringkeeper.coreExecutor=own");
    for _ in 0..4 {
        for _ in 0..3 {
            Raw::connect(node.address());
        }
        node.kill();
        node.launch();
    }
}

/// Everything answered before or during a stop is there afterwards, and the stop is prompt.
#[test]
fn a_stop_under_load_keeps_what_was_acknowledged() {
    let mut node = Node::start_with("ringkeeper.shards=3\nringkeeper.coreExecutor=own");
    let mut raw = Raw::connect(node.address());
    assert_eq!(raw.call(1, CREATE, &create("/n", b"0", 0)).err, 0);
    let acknowledged = Arc::new(AtomicI32::new(0));
    let seen = acknowledged.clone();
    let load = std::thread::spawn(move || {
        for n in 2.. {
            raw.send(&request(n, SET, &set("/n", n.to_string().as_bytes())));
            // Sixteen on their way, so that the stop finds some at every stage.
            if n >= 18 {
                let Some(reply) = raw.reply() else { return raw };
                assert_eq!(reply.err, 0);
                seen.store(reply.xid, Ordering::Relaxed);
            }
        }
        raw
    });
    eventually("some load", Duration::from_secs(20), || acknowledged.load(Ordering::Relaxed) > 500);
    let began = Instant::now();
    assert_eq!(node.stop(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let owner = load.join().expect("the load saw nothing wrong");
    node.launch();
    let mut again = Raw::open(node.address());
    again.send(&connect_request(owner.session, &owner.password, 10_000, 0));
    assert!(again.connected() > 0, "the session lives on");
    let value = again.call(1, GET, &read("/n", false));
    let value: i32 = std::str::from_utf8(data(&value)).expect("text").parse().expect("a number");
    assert!(value >= acknowledged.load(Ordering::Relaxed), "{value}");
}
