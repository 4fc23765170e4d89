//! Three servers, joined by a network that loses nothing. One of the followers, or the leader,
//! comes to another state than the others. Who gives its state up cannot be elected before it has
//! a leader's, but votes.

use std::collections::BTreeMap;

use engine::draft::Settings;
use engine::snapshot::Writer;
use engine::snapshot::zookeeper::SnapshotStream;
use engine::{Draft, Effects, Version};
use model::{Batch, CreateMode, Mono, Now, ServerId, SessionId, Txn, TxnHeader, Zxid};
use replication::wire::packet::{Packet, PacketBuffer, packet_len};
use replication::{Input, LinkId, Membership, Output, Port, ReplicaConfig, RoleKind};

use super::bench::{Bench, Disk, config, conn, create, set};
use crate::core::retention::Retention;
use crate::core::{CoreConfig, CoreInput};
use crate::link::{Service, ToShard};
use crate::peer::{PeerEvent, PeerOrder};

/// Rounds in which everything that is said must have been heard.
const ROUNDS_MAX: usize = 10_000;
const SERVERS: usize = 3;

struct Three {
    ends: [Bench; SERVERS],
    /// Both ends of every connection.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    listening: [bool; SERVERS],
    accepted: u64,
    leader: usize,
    follower: usize,
    session: SessionId,
    /// It neither speaks nor hears.
    down: Option<usize>,
    /// The next DIFF to the follower becomes a TRUNC to here.
    cut_to: Option<Zxid>,
    /// What the leader says to the follower from the next snapshot on, the stream first, waits.
    held: Option<Vec<PeerOrder>>,
}

fn member(place: usize) -> CoreConfig {
    let server = ServerId(place as u8 + 1);
    let members =
        Membership::parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2").expect("three");
    CoreConfig { server, ensemble: Some(ReplicaConfig::new(server, members)), ..config() }
}

impl Three {
    /// Elected, in step, with a client at the leader.
    fn new() -> Three {
        let now = Now { mono: Mono::from_millis(1000), wall_ms: 1_700_000_000_000 };
        let start = |place| {
            let disk = Disk { free: 1 << 30, ..Disk::default() };
            Bench::start(member(place), disk, 1024, now)
        };
        let mut three = Three {
            ends: [start(0), start(1), start(2)],
            wires: BTreeMap::new(),
            listening: [false; SERVERS],
            accepted: 0,
            leader: 0,
            follower: 0,
            session: SessionId::NONE,
            down: None,
            cut_to: None,
            held: None,
        };
        three.pass(5000);
        let leads = |end: &Bench| matches!(end.core.pipeline.role(), RoleKind::Leading(_));
        three.leader = three.ends.iter().position(leads).expect("one leads");
        three.follower = (three.leader + 1) % SERVERS;
        assert!(three.follows());
        let at = three.leader;
        three.ends[at].told();
        three.ends[at].attach(conn(0, 1), SessionId::NONE, &[0; 16]);
        three.pump();
        let tables = three.ends[at].core.pipeline.version().tables().clone();
        three.session = *tables.sessions.keys().next().expect("the client's");
        three
    }

    fn follows(&self) -> bool {
        matches!(self.ends[self.follower].core.pipeline.role(), RoleKind::Following(..))
    }

    /// Everything said is heard, everything ordered of a disk is done.
    fn pump(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut said = false;
            for at in (0..SERVERS).filter(|&at| self.down != Some(at)).collect::<Vec<_>>() {
                self.ends[at].settle();
                for order in std::mem::take(&mut self.ends[at].out.peers) {
                    said = true;
                    self.carry(at, order);
                }
            }
            if !said {
                return;
            }
        }
        panic!("they talk for ever");
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            for at in (0..SERVERS).filter(|&at| self.down != Some(at)) {
                self.ends[at].pass(100, &[]);
            }
            self.pump();
        }
    }

    fn tell(&mut self, at: usize, event: PeerEvent) {
        self.ends[at].turn(CoreInput::Peer(event));
    }

    fn carry(&mut self, at: usize, order: PeerOrder) {
        match order {
            PeerOrder::Listen { open } => self.listening[at] = open,
            PeerOrder::Dial { link, peer, port, .. } => {
                let to = usize::from(peer.0) - 1;
                let deaf = port == Port::Quorum && !self.listening[to];
                if deaf || self.down == Some(to) {
                    return self.tell(at, PeerEvent::Disconnected { link });
                }
                self.accepted += 1;
                let there = LinkId::accepted(self.accepted);
                self.wires.insert((at, link), (to, there));
                self.wires.insert((to, there), (at, link));
                self.tell(to, PeerEvent::Accepted { link: there, port });
                self.tell(at, PeerEvent::Connected { link });
            }
            PeerOrder::Send { link, bytes } => {
                let Some(&(to, there)) = self.wires.get(&(at, link)) else { return };
                let to_follower = at == self.leader && to == self.follower;
                match &mut self.held {
                    Some(held) if to_follower && !held.is_empty() => {
                        return held.push(PeerOrder::Send { link, bytes });
                    }
                    Some(_) | None => {}
                }
                let mut bytes = bytes.to_vec();
                if to_follower {
                    self.turn_into_cut(&mut bytes);
                }
                self.tell(to, PeerEvent::Received { link: there, bytes });
            }
            PeerOrder::SendSnapshot { link, version } => {
                let Some(&(to, there)) = self.wires.get(&(at, link)) else { return };
                if let Some(held) = &mut self.held
                    && to == self.follower
                {
                    held.push(PeerOrder::SendSnapshot { link, version });
                    return self.tell(at, PeerEvent::SnapshotSent { link });
                }
                let mut stream = SnapshotStream::new(version);
                let mut bytes = Vec::new();
                while stream.next(&mut bytes) {}
                self.tell(to, PeerEvent::Received { link: there, bytes });
                self.tell(at, PeerEvent::SnapshotSent { link });
            }
            PeerOrder::Close { link } => {
                if let Some((to, there)) = self.wires.remove(&(at, link)) {
                    self.wires.remove(&(to, there));
                    self.tell(to, PeerEvent::Disconnected { link: there });
                }
            }
        }
    }

    fn leads_to(&self, link: LinkId) -> Option<usize> {
        self.wires.get(&(self.leader, link)).map(|(to, _)| *to)
    }

    fn write(&mut self, xid: i32, path: &str) {
        let op = create(path, CreateMode::Persistent);
        let at = self.leader;
        self.ends[at].submit(conn(0, 1), self.session, &[(xid, op)]);
    }

    /// Each entry that the leader has proposed and nobody has heard yet, as a batch of its own.
    fn proposed(&mut self) -> Vec<Batch> {
        let mut buffer = PacketBuffer::default();
        let (leader, follower) = (self.leader, self.follower);
        for order in std::mem::take(&mut self.ends[leader].out.peers) {
            match order {
                PeerOrder::Send { link, bytes } if self.leads_to(link) == Some(follower) => {
                    buffer.push(&bytes);
                }
                other => self.carry(leader, other),
            }
        }
        let mut found = Vec::new();
        while let Ok(Some(packet)) = buffer.next(1 << 20) {
            if let Packet::Proposal { zxid, entry } = packet {
                found.push(Batch::new(zxid, entry, vec![entry.len() as u32]));
            }
        }
        found
    }

    fn states(&self) -> [(Zxid, u64); SERVERS] {
        [0, 1, 2].map(|at| {
            let version = self.ends[at].core.pipeline.version();
            (version.zxid(), version.digest())
        })
    }
}

/// What the follower's shards were told, the last time.
fn service(bench: &mut Bench) -> Option<Service> {
    let told = bench.told().into_iter().rev();
    told.into_iter().find_map(|(_, message)| match message {
        ToShard::Serving { service, .. } => Some(service),
        _ => None,
    })
}

/// A bit of a znode is another one than it should be.
fn plant(bench: &mut Bench, path: &[u8]) {
    let head = &mut bench.core.pipeline.head;
    let header = TxnHeader { zxid: head.last(), time_ms: 1, ..TxnHeader::default() };
    let data = Some(b"dat`".into());
    let txn = Txn::SetData { path: path.into(), data, version: 0, reconfig: false };
    head.apply(&header, &txn, None, &mut Effects::default()).expect("nothing to compare");
    let (version, last) = (head.version(), head.last());
    // Going back goes back to it too.
    bench.core.pipeline.publication.push_state(version, Vec::new());
    bench.core.pipeline.commit(last);
}

/// It does not serve, and has kept what it found; then it takes the leader's state and serves.
fn heals(three: &mut Three, zxid: Zxid) {
    let follower = &mut three.ends[three.follower];
    assert_eq!(service(follower), Some(Service::Nobody));
    assert!(follower.out.halt.is_none());
    follower.settle();
    let (text, state) = follower.disk.evidence.get(&zxid).expect("kept");
    assert!(text.contains(&format!("zxid: 0x{:x}", zxid.0)), "{text}");
    let state = state.as_ref().expect("it is small");
    assert_eq!(state.view().get(b"/a").and_then(|znode| znode.data), Some(&b"dat`"[..]));
    let installed = follower.disk.snapshots.len();
    three.pass(5000);
    assert!(three.follows());
    let follower = &mut three.ends[three.follower];
    assert_eq!(service(follower), Some(Service::Everybody));
    assert!(follower.disk.snapshots.len() > installed, "it came as a snapshot");
    let znode = follower.core.pipeline.version().view().get(b"/a").and_then(|znode| znode.data);
    assert_eq!(znode, Some(&b"data"[..]));
    three.write(90, "/after");
    three.pump();
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// The batches behind the one that shows the difference follow something that is not in the log.
#[test]
fn a_differing_state_is_given_up_and_leaves_no_hole_in_the_log() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    plant(&mut three.ends[three.follower], b"/a");
    for (xid, path) in [(2, "/b"), (3, "/c"), (4, "/d")] {
        three.write(xid, path);
        let leader = three.leader;
        three.ends[leader].settle();
    }
    let batches = three.proposed();
    assert!(batches.len() >= 3, "{}", batches.len());
    let first = batches[0].first();
    let follower = &mut three.ends[three.follower];
    let before = follower.core.pipeline.log.appended();
    follower.told();
    follower.core.pipeline.orders.extend(batches.into_iter().map(Output::Append));
    follower.turn(CoreInput::Tick);
    assert_eq!(follower.core.pipeline.log.appended(), before, "nothing of it is logged");
    heals(&mut three, first);
}

/// What comes over the network, with the leader going on meanwhile.
#[test]
fn a_differing_state_is_found_by_the_next_proposal() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let follower = three.follower;
    plant(&mut three.ends[follower], b"/a");
    three.ends[follower].told();
    let next = three.ends[follower].core.pipeline.head.last().next();
    three.write(2, "/b");
    let leader = three.leader;
    three.ends[leader].settle();
    for order in std::mem::take(&mut three.ends[leader].out.peers) {
        three.carry(leader, order);
    }
    heals(&mut three, next);
}

/// No write is needed to find it: a server that synchronizes is told the digest.
#[test]
fn a_differing_state_is_found_by_a_synchronization() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let follower = three.follower;
    plant(&mut three.ends[follower], b"/a");
    let at = three.ends[follower].core.pipeline.head.last();
    three.ends[follower].told();
    three.tell_to_leave();
    three.pass(5000);
    assert!(three.ends[follower].disk.evidence.contains_key(&at), "found without a write");
    three.pass(5000);
    assert!(three.follows());
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// Nor is one needed if all have just started from snapshots, so that no entry tells the digest.
#[test]
fn a_differing_snapshot_is_found_by_a_synchronization() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
    let state = three.ends[0].core.pipeline.version().clone();
    (0..SERVERS).for_each(|at| three.unplug(at));
    // By its number, the last one is elected.
    three.follower = 0;
    three.starts_from(0, altered(&state, b"/a"));
    (1..SERVERS).for_each(|at| three.starts_from(at, state.clone()));
    assert_ne!(three.states()[0], first);
    three.pass(10_000);
    assert!(three.follows());
    let kept: Vec<Zxid> = three.ends[0].disk.evidence.keys().copied().collect();
    assert_eq!(kept, [state.zxid()], "found without a write");
    assert!((1..SERVERS).all(|at| three.ends[at].disk.evidence.is_empty()));
    // The client's session has ended meanwhile, by a transaction.
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// The next start would find nothing to compare it with.
#[test]
fn a_state_that_was_given_up_is_not_saved() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let (leader, follower) = (three.leader, three.follower);
    plant(&mut three.ends[follower], b"/a");
    // A snapshot is due after every transaction.
    three.ends[follower].core.retention = Retention::new(1, u64::MAX, 3, Vec::new(), 1);
    three.write(2, "/b");
    three.ends[leader].settle();
    for order in std::mem::take(&mut three.ends[leader].out.peers) {
        three.carry(leader, order);
    }
    let follower = &mut three.ends[follower];
    assert_eq!(service(follower), Some(Service::Nobody));
    let before = follower.disk.snapshots.len();
    follower.pass(2000, &[]);
    follower.settle();
    assert_eq!(follower.disk.snapshots.len(), before);
}

/// The leader's state is the wrong one: both followers give theirs up, and the leader its role. All
/// come together again, in one state, although two of three have none.
#[test]
fn a_leader_whose_state_differs_does_not_end_the_ensemble() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    plant(&mut three.ends[three.leader], b"/a");
    three.write(2, "/b");
    three.pump();
    for (at, end) in three.ends.iter().enumerate() {
        assert_eq!(end.disk.evidence.is_empty(), at == three.leader, "server {at}");
    }
    three.pass(20_000);
    let led = |end: &Bench| {
        use RoleKind::{Following, Leading};
        matches!(end.core.pipeline.role(), Leading(_) | Following(..))
    };
    assert!(three.ends.iter().all(led));
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// What ends a connection may come right behind what shows the difference.
#[test]
fn that_it_searches_is_not_forgotten_with_what_differs() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let (leader, follower) = (three.leader, three.follower);
    plant(&mut three.ends[follower], b"/a");
    three.ends[follower].told();
    three.write(2, "/b");
    three.ends[leader].settle();
    for order in std::mem::take(&mut three.ends[leader].out.peers) {
        match order {
            PeerOrder::Send { link, bytes } if three.leads_to(link) == Some(follower) => {
                let mut bytes = bytes.to_vec();
                Packet::Diff { zxid: Zxid(1) }.encode(&mut bytes);
                let (to, there) = three.wires[&(leader, link)];
                three.tell(to, PeerEvent::Received { link: there, bytes });
            }
            other => three.carry(leader, other),
        }
    }
    let follower = &mut three.ends[follower];
    assert_eq!(follower.core.pipeline.role(), RoleKind::Looking);
    assert_eq!(service(follower), Some(Service::Nobody));
}

/// A state too far back for the memory is not a reason to end: a snapshot needs none.
#[test]
fn a_cut_below_the_memory_asks_for_a_snapshot() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.write(2, "/b");
    three.pump();
    let follower = &mut three.ends[three.follower];
    let end = follower.core.pipeline.log.appended();
    follower.core.pipeline.orders.push_back(Output::TruncateTo { to: Zxid(end.0 - 1) });
    follower.turn(CoreInput::Tick);
    assert!(follower.out.halt.is_none());
    assert_eq!(follower.core.pipeline.log.appended(), end, "nothing is cut");
}

impl Three {
    /// The follower loses its connection to the leader.
    fn tell_to_leave(&mut self) {
        let now = self.ends[self.follower].now;
        let core = &mut self.ends[self.follower].core;
        core.pipeline.tell(now.mono, Input::Abdicate);
        self.pump();
    }
}

impl Three {
    fn turn_into_cut(&mut self, bytes: &mut Vec<u8>) {
        let Ok(Some(len)) = packet_len(bytes, 1 << 20) else { return };
        if let Some(zxid) = self.cut_to
            && let Ok(Packet::Diff { .. }) = Packet::decode(&bytes[..len])
        {
            self.cut_to = None;
            let mut cut = Vec::new();
            Packet::Trunc { zxid }.encode(&mut cut);
            bytes.splice(..len, cut);
        }
    }

    /// Nothing leads to a server or from it any more.
    fn unplug(&mut self, at: usize) {
        let gone: Vec<_> = self.wires.keys().filter(|(end, _)| *end == at).copied().collect();
        for end in gone {
            if let Some((to, there)) = self.wires.remove(&end) {
                self.wires.remove(&(to, there));
                self.tell(to, PeerEvent::Disconnected { link: there });
                self.tell(at, PeerEvent::Disconnected { link: end.1 });
            }
        }
    }

    /// A server that nobody is connected to starts again, with a snapshot of that state on its
    /// disk. What its log has beyond it is there too.
    fn starts_from(&mut self, at: usize, state: Version) {
        let mut disk = std::mem::take(&mut self.ends[at].disk);
        disk.ordered.clear();
        let (zxid, mut writer) = (state.zxid(), Writer::new(state));
        let (mut page, mut file) = (Vec::new(), Vec::new());
        while writer.next(&mut page) {
            file.extend_from_slice(&page);
        }
        disk.snapshots.insert(zxid, file);
        let now = self.ends[at].now;
        self.listening[at] = false;
        self.ends[at] = Bench::start(member(at), disk, 1024, now);
    }

    /// The follower asks for a snapshot, which goes out with another state than it is said to be:
    /// what was written since is in it too, and `change` on top.
    fn sends_a_fuzzy_state(&mut self, change: impl Fn(Version) -> Version) {
        self.held = Some(Vec::new());
        let follower = &mut self.ends[self.follower];
        follower.told();
        let end = follower.core.pipeline.log.appended();
        follower.core.pipeline.tell(follower.now.mono, Input::Distrust { end });
        for _ in 0..100 {
            self.pass(100);
            if self.held.as_ref().is_some_and(|held| !held.is_empty()) {
                break;
            }
        }
        for (xid, op) in [
            (50, create("/x", CreateMode::Persistent)),
            (51, set("/x", b"one")),
            (52, set("/x", b"another")),
            (53, set("/a", b"later")),
        ] {
            let at = self.leader;
            self.ends[at].submit(conn(0, 1), self.session, &[(xid, op)]);
            self.pump();
        }
        let newest = change(self.ends[self.leader].core.pipeline.version().clone());
        let mut held = self.held.take().expect("it was there").into_iter();
        let Some(PeerOrder::SendSnapshot { link, version }) = held.next() else {
            panic!("a snapshot comes first")
        };
        assert!(version.zxid() < newest.zxid(), "it is ahead");
        let (to, there) = self.wires[&(self.leader, link)];
        let (mut stream, mut bytes) = (SnapshotStream::new(newest), Vec::new());
        while stream.next(&mut bytes) {}
        self.tell(to, PeerEvent::Received { link: there, bytes });
        for order in held {
            self.carry(self.leader, order);
        }
        self.pump();
    }
}

/// The state with other data in a znode, as if they had always been there.
fn altered(version: &Version, path: &[u8]) -> Version {
    let mut draft = Draft::new(Settings::default());
    draft.reset(version);
    let header = TxnHeader { zxid: version.zxid(), time_ms: 1, ..TxnHeader::default() };
    let data = Some(b"dat`".into());
    let txn = Txn::SetData { path: path.into(), data, version: 0, reconfig: false };
    draft.apply(&header, &txn, &mut Effects::default());
    draft.freeze()
}

/// Between the stream and UPTODATE nothing is compared: the state is ahead, and becomes exact.
#[test]
fn a_state_ahead_of_its_position_is_no_difference() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let installed = three.ends[three.follower].disk.snapshots.len();
    three.sends_a_fuzzy_state(|version| version);
    three.pass(1000);
    assert!(three.follows());
    let follower = &three.ends[three.follower];
    assert!(follower.disk.snapshots.len() > installed, "it came as a snapshot");
    assert!(follower.disk.evidence.is_empty(), "{:?}", follower.disk.evidence.keys());
    assert_eq!(follower.core.observed.digest_mismatches, 0);
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// A real difference in such a state is found at UPTODATE, not before and not later.
#[test]
fn a_difference_in_a_state_ahead_is_found_where_it_is_exact() {
    let mut three = Three::new();
    three.write(1, "/b");
    three.write(2, "/a");
    three.pump();
    three.sends_a_fuzzy_state(|version| altered(&version, b"/b"));
    let at = three.ends[three.leader].core.pipeline.version().zxid();
    let follower = &mut three.ends[three.follower];
    let kept: Vec<Zxid> = follower.disk.evidence.keys().copied().collect();
    assert_eq!(kept, [at]);
    // It served nobody until it had taken the right state, which needs no time here.
    let published = |(_, message)| match message {
        ToShard::Serving { service, .. } => Some(service),
        _ => None,
    };
    let served: Vec<Service> = follower.told().into_iter().filter_map(published).collect();
    let first = served.iter().position(|service| *service == Service::Everybody);
    let first = first.expect("it serves again");
    assert!(served[first..].iter().all(|service| *service == Service::Everybody), "{served:?}");
    three.pass(5000);
    assert!(three.follows());
    assert_eq!(three.ends[three.follower].core.observed.digest_mismatches, 1);
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// The leader says TRUNC to where this server has no state any more: it takes a snapshot, and
/// what was acknowledged is there.
#[test]
fn a_cut_below_what_was_published_ends_in_a_snapshot() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let to = three.ends[three.follower].core.pipeline.head.last();
    for (xid, path) in [(2, "/b"), (3, "/c")] {
        three.write(xid, path);
        three.pump();
    }
    let follower = three.follower;
    assert!(three.ends[follower].core.pipeline.published() > to);
    let installed = three.ends[follower].disk.snapshots.len();
    three.ends[follower].told();
    three.cut_to = Some(to);
    three.tell_to_leave();
    three.pass(10_000);
    assert_eq!(three.cut_to, None, "it was told so");
    assert!(three.ends[follower].out.halt.is_none());
    assert!(three.follows());
    let end = &mut three.ends[follower];
    assert_eq!(service(end), Some(Service::Everybody));
    assert!(end.disk.snapshots.len() > installed, "it came as a snapshot");
    assert!(["/a", "/b", "/c"].iter().all(|path| end.exists(path)));
    three.write(90, "/after");
    three.pump();
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
}

/// A member whose log does not lead to the digests in it starts, and is not elected, although by
/// its number it would be: it votes for another one, and takes its state.
#[test]
fn a_member_that_starts_with_another_state_is_not_elected() {
    let mut three = Three::new();
    three.write(1, "/a");
    three.pump();
    let leader = three.leader;
    let follower = (0..SERVERS).filter(|&at| at != leader).max().expect("two are left");
    let other = 3 - leader - follower;
    three.follower = follower;
    let below = three.ends[follower].core.pipeline.version().clone();
    for (xid, path) in [(2, "/b"), (3, "/c")] {
        three.write(xid, path);
        three.pump();
    }
    three.unplug(follower);
    three.starts_from(follower, altered(&below, b"/a"));
    three.unplug(leader);
    three.down = Some(leader);
    three.pass(10_000);
    let next = three.ends[other].core.pipeline.role();
    assert!(matches!(next, RoleKind::Leading(_)), "{next:?}");
    three.down = None;
    three.pass(20_000);
    let roles: Vec<_> = three.ends.iter().map(|end| end.core.pipeline.role()).collect();
    assert!(three.follows(), "{roles:?}");
    assert!(three.ends[follower].out.halt.is_none());
    let [first, others @ ..] = three.states();
    assert_eq!(others, [first; SERVERS - 1]);
    let end = &three.ends[follower];
    assert!(["/a", "/b", "/c"].iter().all(|path| end.exists(path)));
    let znode = end.core.pipeline.version().view().get(b"/a").and_then(|znode| znode.data);
    assert_eq!(znode, Some(&b"data"[..]));
}
