//! One replica against a scripted peer that behaves as ZooKeeper releases do (`zab-wire` 2.9, 9,
//! 12).

use std::time::Duration;

use model::{Batch, Epoch, Mono, ServerId, SessionId, Zxid};
use replication::wire::election::{Initiation, Notification, PeerState};
use replication::wire::handshake::{LearnerCard, PROTOCOL_VERSION, WireOptions};
use replication::wire::packet::{Packet, PacketBuffer, leader_info};
use replication::wire::request::{Identities, RequestRecord, RevalidateRecord, Touches};
use replication::{
    Durable, Epochs, Input, LinkId, Membership, Output, Port, Replica, ReplicaConfig,
};

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn epochs(accepted: u32, current: u32) -> Epochs {
    Epochs { accepted: Epoch(accepted), current: Epoch(current) }
}

fn batch(first: Zxid, texts: &[&str]) -> Batch {
    let ends: Vec<u32> = texts
        .iter()
        .scan(0, |end, text| {
            *end += text.len() as u32;
            Some(*end)
        })
        .collect();
    Batch::new(first, texts.concat().into_bytes(), ends)
}

/// A server with log 1:1 and 1:2 of epoch 1 in an ensemble of three voters and an observer.
struct Bench {
    replica: Replica,
    now: Mono,
    accepted: u64,
}

const MEMBERS: &str = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer";

impl Bench {
    fn new(id: u8) -> Bench {
        Bench::with(id, WireOptions::ALL)
    }

    fn with(id: u8, wire_options: WireOptions) -> Bench {
        let members = Membership::parse(MEMBERS).expect("valid");
        let config = ReplicaConfig {
            tick_ms: 100,
            wire_options,
            ..ReplicaConfig::new(ServerId(id), members)
        };
        let tail = vec![batch(z(1, 1), &["one", "two"])];
        let durable = Durable { epochs: epochs(1, 1), tail, trusted: true, ..Durable::default() };
        Bench { replica: Replica::new(config, durable), now: Mono(1), accepted: 0 }
    }

    /// One step; what it wants done, in short.
    fn give(&mut self, input: Input) -> Vec<String> {
        self.outputs(input).iter().flat_map(short).collect()
    }

    fn outputs(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.replica.step(self.now, input, &mut out);
        out
    }

    fn accept(&mut self, port: Port) -> LinkId {
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        self.give(Input::Accepted { link, port });
        link
    }

    fn packets(&mut self, link: LinkId, packets: &[Packet<'_>]) -> Vec<String> {
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(&mut bytes);
        }
        self.give(Input::Received { link, bytes })
    }

    /// A server with a greater number says its vote on a connection of its own.
    fn hear(&mut self, from: u8, state: PeerState, leader: i64, position: Zxid) -> Vec<Output> {
        let link = self.accept(Port::Election);
        let addresses = vec!["h:2"];
        let hello = Initiation { server: i64::from(from), addresses, multi_address: false };
        let mut bytes = hello.to_bytes();
        let (round, peer_epoch) = (1, 1);
        let (zxid, config) = (position, Some(&b"version=0"[..]));
        Notification { state, leader, zxid, round, peer_epoch, version: 2, config }
            .encode(&mut bytes);
        self.outputs(Input::Received { link, bytes })
    }

    /// Makes this server, which must be the first, follow server 3, up to the connection.
    fn find_leader(&mut self) -> LinkId {
        self.give(Input::Tick);
        self.hear(2, PeerState::Following, 3, z(1, 2));
        let out = self.hear(3, PeerState::Leading, 3, z(1, 2));
        let dial = out.iter().find_map(|output| match output {
            Output::Dial { link, peer: ServerId(3), port: Port::Quorum, .. } => Some(*link),
            _ => None,
        });
        dial.expect("the leader is dialed")
    }

    /// Up to the end of discovery in epoch 2.
    fn promise(&mut self) -> LinkId {
        self.agree(WireOptions::NONE)
    }

    /// The same with a leader that answers with these options.
    fn agree(&mut self, options: WireOptions) -> LinkId {
        let link = self.find_leader();
        assert_eq!(self.give(Input::Connected { link }), ["FollowerInfo 1:0"]);
        assert_eq!(self.packets(link, &[leader_info(Epoch(2), options)]), ["save epochs 2 1"]);
        assert_eq!(self.give(Input::EpochsSaved(epochs(2, 1))), ["AckEpoch 1:2 1"]);
        link
    }

    /// Makes this server, which must be the third, win the election of its first round.
    fn win(&mut self) {
        let dials: Vec<LinkId> = self.outputs(Input::Tick).iter().filter_map(dialed).collect();
        assert_eq!(dials.len(), 2);
        let mut last = Vec::new();
        for link in dials {
            self.give(Input::Connected { link });
            let mut bytes = Vec::new();
            let (state, zxid, config) = (PeerState::Looking, z(1, 2), Some(&b"version=0"[..]));
            let (leader, round, peer_epoch, version) = (3, 1, 1, 2);
            Notification { state, leader, zxid, round, peer_epoch, version, config }
                .encode(&mut bytes);
            last = self.give(Input::Received { link, bytes });
        }
        assert_eq!(last, ["listen true"]);
    }

    /// A learner introduces itself as ZooKeeper's do.
    fn introduce(&mut self, server: i64, accepted: u32, observer: bool) -> (LinkId, Vec<String>) {
        self.introduce_with(server, accepted, observer, WireOptions::NONE)
    }

    fn introduce_with(
        &mut self,
        server: i64,
        accepted: u32,
        observer: bool,
        options: WireOptions,
    ) -> (LinkId, Vec<String>) {
        let link = self.accept(Port::Quorum);
        let protocol = PROTOCOL_VERSION;
        let learner = LearnerCard { server, protocol, config_version: 0, options };
        let zxid = z(accepted, 0);
        let packet = if observer {
            Packet::ObserverInfo { zxid, learner }
        } else {
            Packet::FollowerInfo { zxid, learner }
        };
        let said = self.packets(link, &[packet]);
        (link, said)
    }

    /// Leads epoch 2 with server 1 as an active follower; its connection.
    fn lead(&mut self) -> LinkId {
        self.lead_with(WireOptions::NONE, "LeaderInfo 2:0")
    }

    /// The same with a follower that can do this, and is answered that.
    fn lead_with(&mut self, options: WireOptions, answer: &str) -> LinkId {
        self.win();
        let (link, said) = self.introduce_with(1, 1, false, options);
        assert_eq!(said, ["save epochs 2 1"]);
        assert_eq!(self.give(Input::EpochsSaved(epochs(2, 1))), [answer]);
        let promise = Packet::AckEpoch { zxid: z(1, 2), epoch: 1 };
        assert_eq!(self.packets(link, &[promise]), ["save epochs 2 2"]);
        let said = self.give(Input::EpochsSaved(epochs(2, 2)));
        assert_eq!(said, ["Diff 1:2", "NewLeader 2:0"]);
        let said = self.packets(link, &[Packet::Ack { zxid: z(2, 0) }]);
        assert_eq!(said, ["commit 1:2", "role Leading(Epoch(2))", "UpToDate"]);
        link
    }
}

fn dialed(output: &Output) -> Option<LinkId> {
    match output {
        Output::Dial { link, .. } => Some(*link),
        _ => None,
    }
}

/// Outputs in words; the packets of a `Send` one by one, votes left out.
fn short(output: &Output) -> Vec<String> {
    let one = match output {
        Output::Append(batch) => format!("append {:?}..{:?}", batch.first(), batch.last()),
        Output::Commit { upto } => format!("commit {upto:?}"),
        Output::RoleChanged(role) => format!("role {role:?}"),
        Output::SaveEpochs(e) => format!("save epochs {} {}", e.accepted.0, e.current.0),
        Output::TruncateTo { to } => format!("truncate {to:?}"),
        Output::InstallSnapshot { at } => format!("install {at:?}"),
        Output::SnapshotBegin { at } => format!("begin {at:?}"),
        Output::SnapshotPiece(piece) => format!("piece {}", piece.len()),
        Output::SnapshotEnd => "end".into(),
        Output::SnapshotReplay(batch) => format!("replay {:?}", batch.first()),
        Output::Exact { at, .. } => format!("exact {at:?}"),
        Output::SnapshotAbandoned => "abandon".into(),
        Output::Listen { open } => format!("listen {open}"),
        Output::Dial { peer, port, .. } => format!("dial {} {port:?}", peer.0),
        Output::Send { bytes, .. } => return packets(bytes),
        Output::SendSnapshot { at, .. } => format!("stream {at:?}"),
        Output::Close { .. } => "close".into(),
        Output::Forwarded { request, .. } => format!("forwarded {}", request.opcode),
        Output::RevalidateFor { session, .. } => format!("revalidate {session}"),
        Output::Touched { sessions } => format!("touched {}", sessions.len()),
        Output::LearnerLost { .. } => "lost".into(),
        Output::CollectTouches => "collect touches".into(),
        Output::Synced => "synced".into(),
        Output::Revalidated { session, valid } => format!("session {session} {valid}"),
        Output::Halt(reason) => format!("halt: {reason}"),
    };
    vec![one]
}

fn packets(bytes: &[u8]) -> Vec<String> {
    let mut buffer = PacketBuffer::default();
    buffer.push(bytes);
    let mut told = Vec::new();
    while let Ok(Some(packet)) = buffer.next(1 << 20) {
        told.push(match packet {
            Packet::AckEpoch { zxid, epoch } => format!("AckEpoch {zxid:?} {epoch}"),
            Packet::FollowerInfo { zxid, .. } => format!("FollowerInfo {zxid:?}"),
            Packet::LeaderInfo { zxid, options, .. } if options == WireOptions::NONE => {
                format!("LeaderInfo {zxid:?}")
            }
            Packet::LeaderInfo { zxid, options, .. } => format!("LeaderInfo {zxid:?} {options:?}"),
            Packet::Ack { zxid } => format!("Ack {zxid:?}"),
            Packet::Diff { zxid } => format!("Diff {zxid:?}"),
            Packet::Trunc { zxid } => format!("Trunc {zxid:?}"),
            Packet::Snap { zxid } => format!("Snap {zxid:?}"),
            Packet::Proposal { zxid, .. } => format!("Proposal {zxid:?}"),
            Packet::Commit { zxid } => format!("Commit {zxid:?}"),
            Packet::Inform { zxid, .. } => format!("Inform {zxid:?}"),
            Packet::NewLeader { zxid, .. } => format!("NewLeader {zxid:?}"),
            Packet::UpToDate => "UpToDate".into(),
            Packet::Sync => "Sync".into(),
            Packet::Ping { touches, .. } => format!("Ping {:?}", touches.map(|t| t.0.len())),
            other => format!("{other:?}"),
        });
    }
    told
}

const ROLE: &str = "role Following(ServerId(3), Epoch(2))";

const PING: Packet<'_> = Packet::Ping { zxid: Zxid(0x2_0000_0000), touches: None };

fn proposal(zxid: Zxid) -> Packet<'static> {
    Packet::Proposal { zxid, entry: b"entry" }
}

fn commit(zxid: Zxid) -> Packet<'static> {
    Packet::Commit { zxid }
}

fn new_leader() -> Packet<'static> {
    Packet::NewLeader { zxid: z(2, 0), config: Some(MEMBERS.as_bytes()) }
}

/// History, then epoch, then acknowledgement; heartbeats before that stay unanswered (F-06, F-07,
/// F-09, F-30), and what is proposed and not committed waits for UPTODATE (F-08).
#[test]
fn follower_acknowledges_history_only_when_it_is_durable() {
    let mut bench = Bench::new(1);
    let link = bench.promise();
    let said = bench.packets(
        link,
        &[
            Packet::Diff { zxid: z(1, 4) },
            proposal(z(1, 3)),
            commit(z(1, 3)),
            proposal(z(1, 4)),
            commit(z(1, 4)),
            proposal(z(2, 1)),
            PING,
            new_leader(),
            PING,
        ],
    );
    assert_eq!(said, ["append 1:3..1:4"]);
    assert_eq!(bench.give(Input::Appended { upto: z(1, 3) }), [""; 0]);
    assert_eq!(bench.give(Input::Appended { upto: z(1, 4) }), ["save epochs 2 2"]);
    assert_eq!(bench.give(Input::EpochsSaved(epochs(2, 2))), ["Ack 2:0"]);
    // A commit of an entry proposed before NEWLEADER, between its acknowledgement and UPTODATE.
    let said = bench.packets(link, &[commit(z(2, 1)), proposal(z(2, 2))]);
    assert_eq!(said, [""; 0]);
    let said = bench.packets(link, &[Packet::UpToDate, PING]);
    assert_eq!(
        said,
        [
            "Ack 2:0",
            "commit 1:4",
            "exact 2:1",
            "append 2:1..2:2",
            "role Following(ServerId(3), Epoch(2))",
            "collect touches",
        ]
    );
    assert_eq!(bench.give(Input::Touches(vec![])), ["Ping Some(0)"]);
    let said = bench.give(Input::Appended { upto: z(2, 2) });
    assert_eq!(said, ["Ack 2:1", "Ack 2:2", "commit 2:1"]);
    let said = bench.packets(link, &[commit(z(2, 2)), Packet::Sync, proposal(z(2, 3))]);
    assert_eq!(said, ["append 2:3..2:3", "commit 2:2", "synced"]);
    // The sync waits for the commit, and the commit for the own disk.
    assert_eq!(bench.packets(link, &[commit(z(2, 3)), Packet::Sync]), [""; 0]);
    let said = bench.give(Input::Appended { upto: z(2, 3) });
    assert_eq!(said, ["Ack 2:3", "commit 2:3", "synced"]);
    // A gap is fatal for the connection, and nothing else.
    assert_eq!(bench.packets(link, &[proposal(z(2, 5))])[..2], ["close", "role Looking"]);
}

#[test]
fn snapshot_is_installed_with_what_followed_it() {
    let mut bench = Bench::new(1);
    let link = bench.promise();
    let mut stream = vec![0; 8];
    stream.extend_from_slice(&[0, 0, 0, 1, b'/', 0, 0, 0, 10]);
    stream.extend_from_slice(b"BenWasHere");
    let said = bench.packets(link, &[Packet::Snap { zxid: z(1, 9) }]);
    assert_eq!(said, ["begin 1:9"]);
    assert_eq!(bench.give(Input::Received { link, bytes: stream[..10].to_vec() }), ["piece 10"]);
    let mut bytes = stream[10..].to_vec();
    // Entries the stream may contain already are replayed on it.
    proposal(z(1, 8)).encode(&mut bytes);
    commit(z(1, 8)).encode(&mut bytes);
    proposal(z(1, 9)).encode(&mut bytes);
    commit(z(1, 9)).encode(&mut bytes);
    proposal(z(1, 10)).encode(&mut bytes);
    commit(z(1, 10)).encode(&mut bytes);
    new_leader().encode(&mut bytes);
    let said = bench.give(Input::Received { link, bytes });
    assert_eq!(said, ["piece 17", "end", "replay 1:8", "install 1:a"]);
    let said = bench.give(Input::SnapshotInstalled { at: z(1, 10), digest: None });
    assert_eq!(said, ["save epochs 2 2"]);
    assert_eq!(bench.give(Input::EpochsSaved(epochs(2, 2))), ["Ack 2:0"]);
    let said = bench.packets(link, &[Packet::UpToDate]);
    assert_eq!(said, ["Ack 2:0", "commit 1:a", "exact 1:a", ROLE]);
}

/// A transfer that breaks off leaves the own history as it was (F-04).
#[test]
fn broken_snapshot_is_abandoned() {
    let mut bench = Bench::new(1);
    let link = bench.promise();
    bench.packets(link, &[Packet::Snap { zxid: z(1, 9) }]);
    bench.give(Input::Received { link, bytes: vec![0; 6] });
    assert_eq!(bench.give(Input::Disconnected { link })[0], "abandon");
}

/// A commit of anything but the next entry means that this server and its leader do not see the
/// same order: it leaves, and what it had is as good as before (F-31).
#[test]
fn commit_out_of_order_ends_the_connection() {
    for wrong in [z(2, 2), z(2, 3), z(3, 1)] {
        let mut bench = Bench::new(1);
        let link = bench.promise();
        bench.packets(link, &[Packet::Diff { zxid: z(1, 2) }, new_leader()]);
        bench.give(Input::EpochsSaved(epochs(2, 2)));
        bench.packets(link, &[Packet::UpToDate]);
        bench.packets(link, &[proposal(z(2, 1)), proposal(z(2, 2))]);
        bench.give(Input::Appended { upto: z(2, 2) });
        let said = bench.packets(link, &[commit(wrong)]);
        assert_eq!(said[..2], ["close", "role Looking"], "{wrong:?}");
        assert!(!said.iter().any(|word| word.starts_with("commit")), "{said:?}");
    }
}

/// Follows a leader that agreed on runs, with 2:1 to 2:4 proposed and durable up to 2:3.
fn following_in_runs() -> (Bench, LinkId) {
    let mut bench = Bench::new(1);
    let link = bench.agree(WireOptions::RUNS);
    bench.packets(link, &[Packet::Diff { zxid: z(1, 2) }, new_leader()]);
    bench.give(Input::EpochsSaved(epochs(2, 2)));
    bench.packets(link, &[Packet::UpToDate]);
    let proposals: Vec<_> = (1..=4).map(|counter| proposal(z(2, counter))).collect();
    bench.packets(link, &proposals);
    assert_eq!(bench.give(Input::Appended { upto: z(2, 3) }), ["Ack 2:3"]);
    (bench, link)
}

/// Between Ringkeepers one acknowledgement, and one commit, stands for a run. Neither says more
/// than is durable here.
#[test]
fn follower_takes_runs_where_that_is_agreed() {
    let (mut bench, link) = following_in_runs();
    assert_eq!(bench.packets(link, &[commit(z(2, 2))]), ["commit 2:2"]);
    assert_eq!(bench.packets(link, &[commit(z(2, 1)), commit(z(2, 2))]), [""; 0], "said again");
    assert_eq!(bench.packets(link, &[commit(z(2, 4))]), ["commit 2:3"], "2:4 is not durable");
    assert_eq!(bench.give(Input::Appended { upto: z(2, 4) }), ["Ack 2:4", "commit 2:4"]);
    // Stale ones count as they always did: by the packet.
    assert_eq!(bench.replica.counts().commits_received, 6);
}

/// A run does not end at what was never proposed (F-31).
#[test]
fn commit_beyond_the_proposals_ends_the_connection() {
    for wrong in [z(2, 5), z(3, 1), Zxid(i64::MAX)] {
        let (mut bench, link) = following_in_runs();
        let said = bench.packets(link, &[commit(wrong)]);
        assert_eq!(said[..2], ["close", "role Looking"], "{wrong:?}");
        assert!(!said.iter().any(|word| word.starts_with("commit")), "{said:?}");
    }
}

/// The history may come in runs, too; before and after NEWLEADER.
#[test]
fn history_is_taken_in_runs_where_that_is_agreed() {
    let mut bench = Bench::new(1);
    let link = bench.agree(WireOptions::RUNS);
    let first = [proposal(z(1, 3)), proposal(z(1, 4)), proposal(z(1, 5)), commit(z(1, 4))];
    let said = bench.packets(link, &[&[Packet::Diff { zxid: z(1, 5) }][..], &first].concat());
    assert_eq!(said, ["append 1:3..1:4"], "1:5 is not committed");
    let said = bench.packets(link, &[commit(z(1, 5)), new_leader()]);
    assert_eq!(said, ["append 1:5..1:5"]);
    bench.give(Input::Appended { upto: z(1, 5) });
    assert_eq!(bench.give(Input::EpochsSaved(epochs(2, 2))), ["Ack 2:0"]);
    let more = [proposal(z(2, 1)), proposal(z(2, 2)), commit(z(2, 2)), proposal(z(2, 3))];
    assert_eq!(bench.packets(link, &more), [""; 0]);
    let said = bench.packets(link, &[Packet::UpToDate]);
    let expect = ["Ack 2:0", "commit 1:5", "exact 2:2", "append 2:1..2:3"];
    assert_eq!(said[..4], expect);
    assert_eq!(bench.give(Input::Appended { upto: z(2, 3) }), ["Ack 2:3", "commit 2:2"]);
    // A commit between two proposals is of none.
    let mut bench = Bench::new(1);
    let link = bench.agree(WireOptions::RUNS);
    let gap = [proposal(z(1, 3)), proposal(z(2, 1)), commit(z(1, 4))];
    let said = bench.packets(link, &[&[Packet::Diff { zxid: z(1, 5) }][..], &gap].concat());
    assert_eq!(said[0], "close");
}

/// Only what both can is agreed on: a leader cannot talk a follower into anything.
#[test]
fn runs_need_both_ends() {
    let mut bench = Bench::with(1, WireOptions::NONE);
    let link = bench.agree(WireOptions::RUNS);
    bench.packets(link, &[Packet::Diff { zxid: z(1, 2) }, new_leader()]);
    bench.give(Input::EpochsSaved(epochs(2, 2)));
    bench.packets(link, &[Packet::UpToDate]);
    bench.packets(link, &[proposal(z(2, 1)), proposal(z(2, 2))]);
    assert_eq!(bench.give(Input::Appended { upto: z(2, 2) }), ["Ack 2:1", "Ack 2:2"]);
    assert_eq!(bench.packets(link, &[commit(z(2, 2))])[0], "close");
    let mut bench = Bench::with(3, WireOptions::NONE);
    let link = bench.lead_with(WireOptions::RUNS, "LeaderInfo 2:0");
    bench.give(Input::Propose(batch(z(2, 1), &["a", "b"])));
    bench.give(Input::Appended { upto: z(2, 2) });
    let said = bench.packets(link, &[Packet::Ack { zxid: z(2, 2) }]);
    assert_eq!(said, ["Commit 2:1", "Commit 2:2", "commit 2:2"]);
}

/// A log that does not contain what to truncate to is worth nothing.
#[test]
fn failed_truncation_distrusts_the_history() {
    let mut bench = Bench::new(1);
    let link = bench.promise();
    assert_eq!(bench.packets(link, &[Packet::Trunc { zxid: z(1, 1) }]), ["truncate 1:1"]);
    let said = bench.give(Input::Truncated { end: Zxid::ZERO, digest: None });
    assert_eq!(said[0], "close");
    // The next leader hears that there is nothing to count on.
    let out = bench.hear(3, PeerState::Leading, 3, z(1, 2));
    let link = out.iter().chain(&bench.hear(2, PeerState::Following, 3, z(1, 2))).find_map(dialed);
    let link = link.expect("the leader is dialed");
    bench.give(Input::Connected { link });
    let info = leader_info(Epoch(2), WireOptions::NONE);
    assert_eq!(bench.packets(link, &[info]), ["AckEpoch ffffffff:ffffffff -1"]);
}

#[test]
fn follower_gives_up_on_leaders_it_cannot_join() {
    // An epoch below the promised one.
    let mut bench = Bench::new(1);
    let link = bench.find_leader();
    bench.give(Input::Connected { link });
    assert_eq!(bench.packets(link, &[leader_info(Epoch(0), WireOptions::NONE)])[0], "close");
    // Nobody listens: ten attempts, 100 ms apart.
    let mut bench = Bench::new(1);
    let mut link = bench.find_leader();
    for attempt in 1..=10 {
        let said = bench.give(Input::Disconnected { link });
        assert_eq!(said, [""; 0], "attempt {attempt}");
        bench.now = bench.now + Duration::from_millis(100);
        match bench.outputs(Input::Tick).iter().find_map(dialed) {
            Some(next) if attempt < 10 => link = next,
            _ => assert_eq!(attempt, 10),
        }
    }
    // A silent leader is left after the limit.
    let mut bench = Bench::new(1);
    bench.promise();
    bench.now = bench.now + Duration::from_millis(1001);
    assert_eq!(bench.give(Input::Tick)[0], "close");
}

/// The acknowledgement of a proposal may overtake the one of NEWLEADER, and heartbeats may be
/// answered early: learners of 3.8.0 do that (F-09).
#[test]
fn leader_tolerates_hasty_learners() {
    let mut bench = Bench::new(3);
    bench.win();
    let (link, _) = bench.introduce(1, 1, false);
    bench.give(Input::EpochsSaved(epochs(2, 1)));
    bench.packets(link, &[Packet::AckEpoch { zxid: z(1, 1), epoch: 1 }]);
    let said = bench.give(Input::EpochsSaved(epochs(2, 2)));
    assert_eq!(said, ["Diff 1:2", "Proposal 1:2", "Commit 1:2", "NewLeader 2:0"]);
    let touches = Some(Touches(b""));
    let hasty = [Packet::Ack { zxid: z(1, 2) }, Packet::Ping { zxid: z(2, 0), touches }];
    assert_eq!(bench.packets(link, &hasty), [""; 0]);
    let said = bench.packets(link, &[Packet::Ack { zxid: z(2, 0) }]);
    assert_eq!(said, ["commit 1:2", "role Leading(Epoch(2))", "UpToDate"]);
    assert_eq!(bench.packets(link, &[Packet::Ack { zxid: z(2, 0) }]), [""; 0]);
}

#[test]
fn leader_commits_with_its_quorum() {
    let mut bench = Bench::new(3);
    let link = bench.lead();
    let said = bench.give(Input::Propose(batch(z(2, 1), &["a", "b", "c"])));
    assert_eq!(said, ["Proposal 2:1", "Proposal 2:2", "Proposal 2:3", "append 2:1..2:3"]);
    // Proposals of another leadership are not taken.
    assert_eq!(bench.give(Input::Propose(batch(z(1, 3), &["x"]))), [""; 0]);
    let said = bench.packets(link, &[Packet::Ack { zxid: z(2, 1) }]);
    assert_eq!(said, [""; 0], "one of three");
    assert_eq!(bench.give(Input::Appended { upto: z(2, 3) }), ["Commit 2:1", "commit 2:1"]);
    let acks = [Packet::Ack { zxid: z(2, 2) }, Packet::Ack { zxid: z(2, 3) }];
    assert_eq!(bench.packets(link, &acks), ["Commit 2:2", "Commit 2:3", "commit 2:3"]);
    // Acknowledgements of what was never proposed, or again, change nothing.
    let acks = [Packet::Ack { zxid: z(2, 7) }, Packet::Ack { zxid: z(2, 3) }];
    assert_eq!(bench.packets(link, &acks), [""; 0]);
}

/// A follower that joins under load gets what was committed meanwhile, UPTODATE, and what is open,
/// in this order; no commit of anything it got before NEWLEADER comes in between (F-08).
#[test]
fn late_follower_joins_under_load() {
    let mut bench = Bench::new(3);
    let first = bench.lead();
    bench.give(Input::Propose(batch(z(2, 1), &["a"])));
    bench.give(Input::Appended { upto: z(2, 1) });
    bench.packets(first, &[Packet::Ack { zxid: z(2, 1) }]);
    let (late, said) = bench.introduce(2, 1, false);
    assert_eq!(said, ["LeaderInfo 2:0"]);
    bench.give(Input::Propose(batch(z(2, 2), &["b"])));
    let said = bench.packets(late, &[Packet::AckEpoch { zxid: z(1, 2), epoch: 1 }]);
    assert_eq!(said, ["Diff 2:1", "Proposal 2:1", "Commit 2:1", "NewLeader 2:0"]);
    bench.give(Input::Appended { upto: z(2, 2) });
    let said = bench.packets(first, &[Packet::Ack { zxid: z(2, 2) }]);
    assert_eq!(said, ["Commit 2:2", "commit 2:2"], "to the first follower only");
    let said = bench.give(Input::Propose(batch(z(2, 3), &["c"])));
    assert_eq!(said, ["Proposal 2:3", "append 2:3..2:3"]);
    let said = bench.packets(late, &[Packet::Ack { zxid: z(2, 0) }]);
    assert_eq!(said, ["Proposal 2:2", "Commit 2:2", "UpToDate", "Proposal 2:3"]);
    // From now on its acknowledgements count: with it, the leader's own disk is not needed.
    assert_eq!(bench.packets(late, &[Packet::Ack { zxid: z(2, 3) }]), [""; 0]);
    let said = bench.packets(first, &[Packet::Ack { zxid: z(2, 3) }]);
    assert_eq!(said, ["Commit 2:3", "Commit 2:3"]);
    assert_eq!(bench.give(Input::Appended { upto: z(2, 3) }), ["commit 2:3"]);
}

#[test]
fn observers_are_informed_and_never_count() {
    let mut bench = Bench::new(3);
    let first = bench.lead();
    let (observer, said) = bench.introduce(4, 0, true);
    assert_eq!(said, ["LeaderInfo 2:0"]);
    let said = bench.packets(observer, &[Packet::AckEpoch { zxid: Zxid(-1), epoch: 0 }]);
    assert_eq!(said, ["Snap 1:2", "stream 1:2", "NewLeader 2:0"]);
    bench.give(Input::SnapshotSent { link: observer });
    assert_eq!(bench.packets(observer, &[Packet::Ack { zxid: z(2, 0) }]), ["UpToDate"]);
    bench.give(Input::Propose(batch(z(2, 1), &["a"])));
    bench.give(Input::Appended { upto: z(2, 1) });
    assert_eq!(bench.packets(observer, &[Packet::Ack { zxid: z(2, 1) }]), [""; 0]);
    let said = bench.packets(first, &[Packet::Ack { zxid: z(2, 1) }]);
    assert_eq!(said, ["Commit 2:1", "Inform 2:1", "commit 2:1"]);
}

#[test]
fn leader_refuses_who_is_ahead() {
    let mut bench = Bench::new(3);
    bench.win();
    let (link, _) = bench.introduce(1, 1, false);
    bench.give(Input::EpochsSaved(epochs(2, 1)));
    let ahead = Packet::AckEpoch { zxid: z(1, 3), epoch: 1 };
    assert_eq!(bench.packets(link, &[ahead]), ["close"]);
    // One whose history must not count is welcome and does not count.
    let (link, said) = bench.introduce(2, 1, false);
    assert_eq!(said, ["LeaderInfo 2:0"]);
    assert_eq!(bench.packets(link, &[Packet::AckEpoch { zxid: Zxid(-1), epoch: 0 }]), [""; 0]);
    // Nor does one that has promised this epoch before.
    let (link, _) = bench.introduce(1, 2, false);
    assert_eq!(bench.packets(link, &[Packet::AckEpoch { zxid: z(1, 2), epoch: -1 }]), [""; 0]);
    // Without a quorum in time it is over.
    bench.now = bench.now + Duration::from_millis(1001);
    let said = bench.give(Input::Tick);
    assert!(said.contains(&"listen false".to_owned()), "{said:?}");
}

#[test]
fn requests_go_up_and_answers_down() {
    let mut bench = Bench::new(3);
    let link = bench.lead();
    let session = SessionId(0x77);
    let mut store = Vec::new();
    let auth = Some(Identities::from_pairs([(&b"ip"[..], &b"::1"[..])], &mut store));
    let record = RequestRecord { session, cxid: 4, opcode: 9, body: b"" };
    let said = bench.packets(link, &[Packet::Request { record, auth }]);
    assert_eq!(said, ["forwarded 9"]);
    bench.give(Input::Propose(batch(z(2, 1), &["a"])));
    assert_eq!(bench.give(Input::SyncReached { learner: link }), [""; 0], "2:1 is open");
    bench.give(Input::Appended { upto: z(2, 1) });
    let said = bench.packets(link, &[Packet::Ack { zxid: z(2, 1) }]);
    assert_eq!(said, ["Commit 2:1", "commit 2:1", "Sync"]);
    assert_eq!(bench.give(Input::SyncReached { learner: link }), ["Sync"]);
    let question = RevalidateRecord::Question { session, timeout_ms: 4000 };
    assert_eq!(bench.packets(link, &[Packet::Revalidate(question)]), ["revalidate 0x77"]);
    let said = bench.give(Input::RevalidatedFor { learner: link, session, valid: true });
    assert!(said[0].contains("valid: true"), "{said:?}");
    let mut touched = Vec::new();
    Touches::encode(&[(session, 4000)], &mut touched);
    let touches = Some(Touches(&touched));
    let said = bench.packets(link, &[Packet::Ping { zxid: z(2, 1), touches }]);
    assert_eq!(said, ["touched 1"]);
    assert_eq!(bench.give(Input::Disconnected { link }), ["lost"]);
}

/// A proposal that a follower does not acknowledge in time costs it its connection, although it
/// answers heartbeats.
#[test]
fn stuck_follower_is_dropped() {
    let mut bench = Bench::new(3);
    let link = bench.lead();
    bench.give(Input::Propose(batch(z(2, 1), &["a"])));
    let mut dropped = false;
    for _ in 0..14 {
        bench.now = bench.now + Duration::from_millis(50);
        let said = bench.give(Input::Tick);
        dropped = said.contains(&"lost".to_owned());
        if dropped {
            break;
        }
        let touches = Some(Touches(b""));
        bench.packets(link, &[Packet::Ping { zxid: z(2, 0), touches }]);
    }
    assert!(dropped);
}

#[test]
fn resigned_leader_is_silent() {
    let mut bench = Bench::new(3);
    let link = bench.lead();
    let said = bench.give(Input::Abdicate);
    assert_eq!(said[..3], ["close", "listen false", "role Looking"]);
    // What was on its way comes too late.
    assert_eq!(bench.give(Input::Propose(batch(z(2, 1), &["x"]))), [""; 0]);
    assert_eq!(bench.packets(link, &[Packet::Ack { zxid: z(2, 1) }]), [""; 0]);
}

/// Each follower is told commits as was agreed with it, history included; observers as ever.
#[test]
fn leader_commits_in_runs_to_those_who_can() {
    let mut bench = Bench::new(3);
    let runs = bench.lead_with(WireOptions::from_bits(0xFD), "LeaderInfo 2:0 WireOptions(1)");
    bench.give(Input::Propose(batch(z(2, 1), &["a", "b"])));
    bench.give(Input::Appended { upto: z(2, 2) });
    let said = bench.packets(runs, &[Packet::Ack { zxid: z(2, 2) }]);
    assert_eq!(said, ["Commit 2:2", "commit 2:2"]);
    // A second one of ours gets its history in a run, one of ZooKeeper's does not.
    let promise = [Packet::AckEpoch { zxid: z(1, 2), epoch: 1 }];
    let (link, said) = bench.introduce_with(2, 1, false, WireOptions::RUNS);
    assert_eq!(said, ["LeaderInfo 2:0 WireOptions(1)"]);
    let said = bench.packets(link, &promise);
    assert_eq!(said, ["Diff 2:2", "Proposal 2:1", "Proposal 2:2", "Commit 2:2", "NewLeader 2:0"]);
    let (plain, said) = bench.introduce(2, 1, false);
    assert_eq!(said, ["close", "LeaderInfo 2:0"], "the same server again");
    let said = bench.packets(plain, &promise);
    let pairs = ["Proposal 2:1", "Commit 2:1", "Proposal 2:2", "Commit 2:2"];
    assert_eq!(said[1..5], pairs);
    bench.packets(plain, &[Packet::Ack { zxid: z(2, 0) }]);
    let (observer, _) = bench.introduce_with(4, 0, true, WireOptions::RUNS);
    bench.packets(observer, &promise);
    bench.packets(observer, &[Packet::Ack { zxid: z(2, 0) }]);
    bench.give(Input::Propose(batch(z(2, 3), &["c", "d"])));
    bench.give(Input::Appended { upto: z(2, 4) });
    let bytes = Packet::Ack { zxid: z(2, 4) }.to_bytes();
    let out = bench.outputs(Input::Received { link: runs, bytes });
    let to = |wanted: LinkId| -> Vec<String> {
        let sent =
            |output: &&Output| matches!(output, Output::Send { link, .. } if *link == wanted);
        out.iter().filter(sent).flat_map(short).collect()
    };
    assert_eq!(to(runs), ["Commit 2:4"]);
    assert_eq!(to(plain), ["Commit 2:3", "Commit 2:4"]);
    assert_eq!(to(observer), ["Inform 2:3", "Inform 2:4"]);
}
