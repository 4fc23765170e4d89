//! Bad input gets ZooKeeper's answer and costs nobody else anything.

use std::net::TcpStream;

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, read, request, set};

fn still_serves(node: &Node) {
    let mut raw = Raw::connect(node.address());
    assert_eq!(raw.call(1, 3, &read("/", false)).err, 0);
    assert_eq!(raw.call(2, -11, b"").err, 0);
}

#[test]
fn garbage_closes_only_its_own_connection() {
    let node = Node::start();
    let mut bystander = Raw::connect(node.address());
    let cases: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\x10\0\0",
        b"\0\0\0\0",
        b"\0\0\0\x04abcd",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for bytes in cases {
        let mut raw = Raw::open(node.address());
        raw.send(bytes);
        assert!(raw.closed(), "{bytes:?}");
        assert_eq!(bystander.call(1, 3, &read("/", false)).err, 0);
    }
    still_serves(&node);
}

#[test]
fn malformed_records_are_answered_and_the_connection_stays() {
    let node = Node::start();
    let mut raw = Raw::connect(node.address());
    for opcode in [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 15, 19, 21, 22, 101, 104, 105, 106, 17, 18] {
        assert_eq!(raw.call(opcode, opcode, b"\0").err, -5, "opcode {opcode}");
    }
    assert_eq!(raw.call(500, 3, &read("/", false)).err, 0);
}

#[test]
fn unknown_operations_are_refused_and_closed() {
    let node = Node::start();
    for opcode in [0, 10, 13, 20, -10, -1, 23, 99, 108, i32::MAX] {
        let mut raw = Raw::connect(node.address());
        let reply = raw.call(7, opcode, &read("/zookeeper", false));
        assert_eq!((reply.err, reply.zxid), (-6, -1), "opcode {opcode}");
        assert!(raw.closed(), "opcode {opcode}");
    }
    still_serves(&node);
}

#[test]
fn the_frame_limit_is_exact() {
    let node = Node::start();
    let overhead = request(1, 5, &set("/big", b"")).len() - 4;
    let mut raw = Raw::connect(node.address());
    raw.call(1, 1, &create("/big", b"", 0));
    let fits = vec![b'x'; 1_048_575 - overhead];
    assert_eq!(raw.call(2, 5, &set("/big", &fits)).err, 0);
    raw.send(&request(3, 5, &set("/big", &vec![b'x'; fits.len() + 1])));
    assert!(raw.closed());
    still_serves(&node);
}

#[test]
fn thousands_of_half_open_connections_hinder_nobody() {
    let node = Node::start_with("maxClientCnxns=0");
    let idle: Vec<TcpStream> =
        (0..2000).map(|_| TcpStream::connect(node.address()).expect("accepted")).collect();
    still_serves(&node);
    drop(idle);
    still_serves(&node);
}

#[test]
fn the_limit_per_address_closes_the_excess() {
    let node = Node::start_with("maxClientCnxns=3");
    let mut kept: Vec<Raw> = (0..3).map(|_| Raw::connect(node.address())).collect();
    let mut excess = Raw::open(node.address());
    excess.send(&connect_request(0, &[0; 16], 10_000, 0));
    assert!(excess.closed());
    for raw in &mut kept {
        assert_eq!(raw.call(1, 3, &read("/", false)).err, 0);
    }
}

/// A client that asks for much and reads nothing is held back or dropped; others do not notice.
#[test]
fn a_client_that_never_reads() {
    let node = Node::start();
    let mut writer = Raw::connect(node.address());
    writer.call(1, 1, &create("/big", &vec![b'x'; 500_000], 0));
    let mut deaf = Raw::connect(node.address());
    let ask = request(1, 4, &read("/big", false));
    for _ in 0..100 {
        deaf.send(&ask);
    }
    for xid in 2..50 {
        assert_eq!(writer.call(xid, 5, &set("/big", b"small")).err, 0);
    }
    still_serves(&node);
}

#[test]
fn four_letter_words_answer_and_close() {
    let node = Node::start();
    assert_eq!(node.word("ruok"), "imok");
    assert_eq!(node.word("isro"), "rw");
    assert!(node.word("srvr").starts_with("Zookeeper version: 3.9"));
    assert!(node.word("srvr").contains("\nMode: standalone\nNode count: 5\n"));
    assert!(node.word("mntr").contains("zk_server_state\tstandalone\n"));
    let guarded = Node::start_with("4lw.commands.whitelist=ruok");
    assert_eq!(guarded.word("stat"), "stat is not executed because it is not in the whitelist.\n");
}
