//! Three servers, joined by a network that loses nothing. One of the followers comes to another
//! state than its leader. With it alone the leader would have no quorum: it has no vote until it
//! has the leader's state.

use std::collections::BTreeMap;

use engine::Effects;
use engine::snapshot::zookeeper::SnapshotStream;
use model::{Batch, CreateMode, Mono, Now, ServerId, SessionId, Txn, TxnHeader, Zxid};
use replication::wire::packet::{Packet, PacketBuffer};
use replication::{LinkId, Membership, Output, Port, ReplicaConfig, RoleKind};

use super::bench::{Bench, Disk, config, conn, create};
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
            for at in 0..SERVERS {
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
            for end in &mut self.ends {
                end.pass(100, &[]);
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
                if port == Port::Quorum && !self.listening[to] {
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
                if let Some(&(to, link)) = self.wires.get(&(at, link)) {
                    self.tell(to, PeerEvent::Received { link, bytes: bytes.to_vec() });
                }
            }
            PeerOrder::SendSnapshot { link, version } => {
                let Some(&(to, there)) = self.wires.get(&(at, link)) else { return };
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
        core.pipeline.tell(now.mono, replication::Input::Abdicate);
        self.pump();
    }
}
