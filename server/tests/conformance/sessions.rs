//! Sessions outlive connections and servers, and end when they should.

use std::time::{Duration, Instant};

use crate::node::Node;
use crate::raw::{Raw, connect_request, create, read, request};

fn exists(raw: &mut Raw, path: &str) -> bool {
    raw.call(99, 3, &read(path, false)).err == 0
}

/// Waits for an event of the server, never for time alone: polls a condition with a deadline.
pub(crate) fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen within {within:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_session_moves_to_a_new_connection() {
    let node = Node::start();
    let mut first = Raw::connect(node.address());
    first.call(1, 1, &create("/e", b"", 1));
    let mut second = Raw::open(node.address());
    second.send(&connect_request(first.session, &first.password, 10_000, 0));
    assert!(second.connected() > 0);
    assert_eq!((second.session, &second.password), (first.session, &first.password));
    assert!(first.closed(), "the old connection is closed");
    assert!(exists(&mut second, "/e"));
}

#[test]
fn a_wrong_password_is_refused_and_the_session_lives() {
    let node = Node::start();
    let mut first = Raw::connect(node.address());
    first.call(1, 1, &create("/e", b"", 1));
    let mut thief = Raw::open(node.address());
    thief.send(&connect_request(first.session, &[7; 16], 10_000, 0));
    assert_eq!(thief.connected(), 0);
    assert_eq!(thief.session, 0);
    assert!(thief.closed());
    let mut again = Raw::open(node.address());
    again.send(&connect_request(first.session, &first.password, 10_000, 0));
    assert!(again.connected() > 0);
    assert!(exists(&mut again, "/e"));
}

#[test]
fn passwords_cannot_be_computed_from_ids() {
    let node = Node::start();
    let raw = Raw::connect(node.address());
    let mut state = ((raw.session ^ 0xB341_5C00) ^ 0x5_DEEC_E66D) & ((1 << 48) - 1);
    let mut guess = Vec::new();
    for _ in 0..4 {
        state = (state.wrapping_mul(0x5_DEEC_E66D) + 0xB) & ((1 << 48) - 1);
        guess.extend(((state >> 16) as u32).to_le_bytes());
    }
    assert_ne!(raw.password, guess);
}

#[test]
fn a_silent_session_expires_and_loses_its_ephemerals() {
    let node = Node::start();
    let mut watcher = Raw::connect(node.address());
    let mut silent = Raw::open(node.address());
    silent.send(&connect_request(0, &[0; 16], 4000, 0));
    assert_eq!(silent.connected(), 4000);
    let start = Instant::now();
    silent.call(1, 1, &create("/e", b"", 1));
    assert_eq!(watcher.call(1, 4, &read("/e", true)).err, 0);
    let mut pings = 0;
    eventually("expiry", Duration::from_secs(12), || {
        // Keep the watcher's own session alive by asking; its event ends the wait.
        watcher.send(&request(-2, 11, b""));
        pings += 1;
        watcher.reply().expect("answer").xid == -1
    });
    let lived = start.elapsed();
    assert!(pings > 1 && lived >= Duration::from_secs(4), "not before its timeout: {lived:?}");
    assert!(silent.closed(), "the expired session's connection is closed without a word");
    let mut late = Raw::open(node.address());
    late.send(&connect_request(silent.session, &silent.password, 4000, 0));
    assert_eq!(late.connected(), 0);
}

#[test]
fn sessions_and_ephemerals_survive_a_crash_of_the_server() {
    let mut node = Node::start();
    let mut raw = Raw::connect(node.address());
    raw.call(1, 1, &create("/e", b"", 1));
    node.kill();
    node.launch();
    let mut again = Raw::open(node.address());
    again.send(&connect_request(raw.session, &raw.password, 10_000, 0));
    assert!(again.connected() > 0);
    assert!(exists(&mut again, "/e"));
    let closing = again.call(5, -11, b"");
    assert_eq!(closing.err, 0);
    assert!(again.closed());
    let mut other = Raw::connect(node.address());
    assert!(!exists(&mut other, "/e"));
}

#[test]
fn a_client_from_the_future_is_turned_away_silently() {
    let node = Node::start();
    let mut raw = Raw::open(node.address());
    raw.send(&connect_request(0, &[0; 16], 10_000, 1 << 40));
    assert!(raw.closed());
}
