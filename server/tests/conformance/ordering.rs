//! What a session may rely on when it does not wait for answers.

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, data, read, request, set};

/// A read between two writes of one session sees the first and not the second, however the server
/// batches them.
#[test]
fn write_read_write_in_one_packet() {
    let node = Node::start();
    let mut raw = Raw::connect(node.address());
    raw.call(1, 1, &create("/x", b"start", 0));
    let mut packet = Vec::new();
    for round in 0..200 {
        packet.extend(request(2 * round + 10, 5, &set("/x", format!("{round}").as_bytes())));
        packet.extend(request(2 * round + 11, 4, &read("/x", false)));
    }
    raw.send(&packet);
    for round in 0..200 {
        let write = raw.reply().expect("answer");
        assert_eq!((write.xid, write.err), (2 * round + 10, 0));
        let seen = raw.reply().expect("answer");
        assert_eq!((seen.xid, seen.err), (2 * round + 11, 0));
        assert_eq!(data(&seen), format!("{round}").as_bytes());
        assert_eq!(seen.zxid, write.zxid, "read at the version of its own write");
    }
}

/// The event of a session's own write comes before the write's answer, and before any answer that
/// shows the new data.
#[test]
fn events_come_before_data_and_before_own_reply() {
    let node = Node::start();
    let mut raw = Raw::connect(node.address());
    raw.call(1, 1, &create("/x", b"0", 0));
    for round in 0..50 {
        let mut packet = request(10, 4, &read("/x", true));
        packet.extend(request(11, 5, &set("/x", format!("{round}").as_bytes())));
        packet.extend(request(12, 4, &read("/x", false)));
        raw.send(&packet);
        let order: Vec<i32> = (0..4).map(|_| raw.reply().expect("answer").xid).collect();
        assert_eq!(order, [10, -1, 11, 12]);
    }
}

/// Another session's watcher hears of a change before it can read it.
#[test]
fn a_watcher_hears_before_it_reads() {
    let node = Node::start();
    let mut writer = Raw::connect(node.address());
    let mut watcher = Raw::connect(node.address());
    writer.call(1, 1, &create("/x", b"0", 0));
    for round in 1..50 {
        let armed = watcher.call(10, 4, &read("/x", true));
        let before = data(&armed).to_vec();
        writer.call(2, 5, &set("/x", format!("{round}").as_bytes()));
        watcher.send(&request(11, 4, &read("/x", false)));
        let event = watcher.reply().expect("event");
        assert_eq!(event.xid, -1, "event first, data {before:?}");
        assert_eq!(data(&watcher.reply().expect("data")), format!("{round}").as_bytes());
    }
}

/// Requests sent behind the connect request, before the session exists, are answered after it.
#[test]
fn requests_behind_the_connect_request() {
    let node = Node::start();
    let mut raw = Raw::open(node.address());
    let mut packet = connect_request(0, &[0; 16], 10_000, 0);
    packet.extend(request(1, 1, &create("/early", b"x", 0)));
    packet.extend(request(2, 4, &read("/early", false)));
    raw.send(&packet);
    assert!(raw.connected() > 0);
    assert_eq!(raw.reply().expect("answer").err, 0);
    assert_eq!(data(&raw.reply().expect("answer")), b"x");
}

/// Zxids of answers never go back, and refused writes take one.
#[test]
fn refused_writes_take_a_zxid() {
    let node = Node::start();
    let mut raw = Raw::connect(node.address());
    let first = raw.call(1, 1, &create("/x", b"", 0));
    let refused = raw.call(2, 1, &create("/x", b"", 0));
    let malformed = raw.call(3, 1, b"\0\0");
    let last = raw.call(4, 5, &set("/x", b"1"));
    assert_eq!((refused.err, malformed.err, last.err), (-110, -5, 0));
    assert_eq!([refused.zxid, malformed.zxid, last.zxid].map(|z| z - first.zxid), [1, 2, 3]);
}
