//! The disk takes no more, in the middle of a load: the process ends with the cause in words,
//! acknowledges nothing after it, and has everything acknowledged when it is started again.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, data, read, request, set};

const CREATE: i32 = 1;
const GET: i32 = 4;
const SET: i32 = 5;
/// Requests sent ahead of their replies.
const AHEAD: i32 = 64;

/// From now on no write of the process beyond the first block of a file succeeds (EFBIG). The
/// log's files have their full size already, so they are refused like by a broken device.
fn break_writes(node: &Node) {
    let pid = Pid::from_raw(node.pid() as i32).expect("a process id");
    let limit = Rlimit { current: Some(4096), maximum: getrlimit(Resource::Fsize).maximum };
    prlimit(Some(pid), Resource::Fsize, limit).expect("limits a child");
}

#[test]
fn a_failed_log_write_ends_the_process_and_loses_nothing_acknowledged() {
    let mut node = Node::start_with("maxSessionTimeout=60000");
    let mut raw = Raw::open(node.address());
    raw.send(&connect_request(0, &[0; 16], 60_000, 0));
    assert!(raw.connected() > 0);
    let (session, password) = (raw.session, raw.password.clone());
    assert_eq!(raw.call(1, CREATE, &create("/counter", b"0", 0)).err, 0);
    let send = |raw: &mut Raw, number: i32| {
        raw.send(&request(number, SET, &set("/counter", number.to_string().as_bytes())));
    };
    let mut sent = 0;
    let mut acknowledged = 0;
    // Far enough for the log to be beyond its first block, and in the middle of a load.
    while acknowledged < 1000 {
        while sent < acknowledged + AHEAD {
            sent += 1;
            send(&mut raw, sent);
        }
        acknowledged += 1;
        let reply = raw.reply().expect("the server serves");
        assert_eq!((reply.xid, reply.err), (acknowledged, 0));
    }
    break_writes(&node);
    // At most what had been written before is answered; then the connection ends.
    while let Some(reply) = raw.reply() {
        acknowledged += 1;
        assert_eq!((reply.xid, reply.err), (acknowledged, 0), "an answer to a write that failed");
        sent += 1;
        assert!(sent < 1_000_000, "the disk refuses writes, and they are acknowledged");
        send(&mut raw, sent);
    }
    let (code, log) = node.ended();
    assert_eq!(code, Some(70), "{log:#?}");
    let cause = log.last().expect("it says why");
    assert!(cause.contains("durable write of") && cause.contains("log."), "{cause}");

    node.launch();
    let mut raw = Raw::open(node.address());
    raw.send(&connect_request(session, &password, 60_000, 0));
    assert!(raw.connected() > 0, "the session lives on");
    let found = raw.call(1, GET, &read("/counter", false));
    let value: i32 = std::str::from_utf8(data(&found)).expect("text").parse().expect("a number");
    assert!(value >= acknowledged, "{acknowledged} was acknowledged, {value} is there");
    assert!(value <= sent, "{value} was never sent");
    assert_eq!(raw.call(2, SET, &set("/counter", b"again")).err, 0, "it writes again");
}
