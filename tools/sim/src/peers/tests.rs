//! The network keeps its promises and breaks everything else; and replicas elect over it.

use model::{Batch, Mono};
use replication::{Address, Durable, Input, Output, Replica, RoleKind};

use super::*;
use crate::node;

const MS: u64 = 1_000_000;

fn link(n: u64) -> LinkId {
    // Any id will do here: what tells a dialer's from others is the replica's affair.
    LinkId::accepted(n)
}

fn dial(link: LinkId, to: usize, port: Port) -> PeerOrder {
    let address = Address { host: host(to), port: 2888 };
    PeerOrder::Dial { link, peer: server_id(to), port, to: vec![address] }
}

/// Servers without anything in them, and what each was told.
struct Stand {
    network: PeerNetwork,
    now: u64,
    options: Options,
    told: Vec<Vec<PeerEvent>>,
}

impl Stand {
    fn new(nodes: usize) -> Stand {
        Stand::with(nodes, 1 << 20)
    }

    fn with(nodes: usize, queue_max: usize) -> Stand {
        let mut network = PeerNetwork::new(Dice::new(7), queue_max);
        (0..nodes).for_each(|node| network.start(node));
        let told = (0..nodes).map(|_| Vec::new()).collect();
        Stand { network, now: 0, options: Options::calm(1, 1), told }
    }

    fn order(&mut self, node: usize, order: PeerOrder) {
        self.network.order(node, order, self.now, &self.options);
    }

    fn send(&mut self, node: usize, link: LinkId, text: &str) {
        self.order(node, PeerOrder::Send { link, bytes: text.as_bytes().into() });
    }

    /// Lets everything happen that can within so many ms.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        loop {
            let possible = self.network.possible(self.now, |_| true);
            if let Some(&what) = possible.first() {
                let happened = self.network.happen(what, self.now, &self.options);
                for (node, event) in happened.events {
                    self.told[node].push(event);
                }
                continue;
            }
            match self.network.next_at() {
                Some(at) if at <= end => self.now = at.max(self.now + 1),
                _ => break,
            }
        }
        self.now = end;
    }

    /// What a server was told since this was last asked, in short; bytes are joined.
    fn told(&mut self, node: usize) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for event in std::mem::take(&mut self.told[node]) {
            match event {
                PeerEvent::Received { bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    match told.last_mut().filter(|last| last.starts_with('"')) {
                        Some(last) => last.push_str(&text),
                        None => told.push(format!("\"{text}")),
                    }
                }
                PeerEvent::Accepted { .. } => told.push("accepted".into()),
                PeerEvent::Connected { .. } => told.push("connected".into()),
                PeerEvent::SnapshotSent { .. } => told.push("sent".into()),
                PeerEvent::Disconnected { .. } => told.push("ended".into()),
            }
        }
        told
    }

    /// The first dials the second.
    fn connect(&mut self) {
        self.order(0, dial(link(900), 1, Port::Election));
        self.run(50);
        assert_eq!(self.told(0), ["connected"]);
        assert_eq!(self.told(1), ["accepted"]);
    }
}

#[test]
fn bytes_keep_their_order_in_any_pieces() {
    let mut stand = Stand::new(2);
    stand.connect();
    for pieces in [0, 1000] {
        stand.options.pieces = pieces;
        for word in ["one ", "two ", "a longer word than one piece can hold ", "three"] {
            stand.send(0, link(900), word);
        }
        stand.run(1000);
        let whole = "\"one two a longer word than one piece can hold three";
        assert_eq!(stand.told(1), [whole]);
    }
    stand.send(1, link(1), "back");
    stand.order(1, PeerOrder::Close { link: link(1) });
    stand.run(1000);
    assert_eq!(stand.told(0), ["\"back", "ended"]);
    assert_eq!(stand.told(1), [""; 0], "who closes is told nothing");
}

#[test]
fn closed_ports_and_unknown_names_refuse() {
    let mut stand = Stand::new(2);
    stand.order(0, dial(link(1), 1, Port::Quorum));
    stand.run(100);
    assert_eq!(stand.told(0), ["ended"], "nobody listens");
    stand.order(1, PeerOrder::Listen { open: true });
    stand.order(0, dial(link(2), 1, Port::Quorum));
    stand.run(100);
    assert_eq!(stand.told(0), ["connected"]);
    stand.order(1, PeerOrder::Listen { open: false });
    stand.order(0, dial(link(3), 1, Port::Quorum));
    stand.run(100);
    assert_eq!(stand.told(0), ["ended"], "and what is open stays open");
    stand.network.lose_name(1, stand.now + 50 * MS);
    stand.order(0, dial(link(4), 1, Port::Election));
    stand.run(60);
    assert_eq!(stand.told(0), ["ended"]);
    stand.order(0, dial(link(5), 1, Port::Election));
    stand.run(60);
    assert_eq!(stand.told(0), ["connected"]);
    let elsewhere = Address { host: "nowhere".into(), port: 1 };
    let order = PeerOrder::Dial {
        link: link(6),
        peer: server_id(1),
        port: Port::Election,
        to: vec![elsewhere],
    };
    stand.order(0, order);
    stand.run(60);
    assert_eq!(stand.told(0), ["ended"]);
}

#[test]
fn a_cut_is_one_way_and_ends() {
    let mut stand = Stand::new(2);
    stand.connect();
    stand.network.cut(0, 1, stand.now + 500 * MS);
    stand.send(0, link(900), "held");
    stand.send(1, link(1), "heard");
    stand.run(400);
    assert_eq!((stand.told(0), stand.told(1)), (vec!["\"heard".to_owned()], vec![]));
    stand.run(200);
    assert_eq!(stand.told(1), ["\"held"]);
    // A new connection needs both ways, and is given up in the end.
    stand.network.cut(1, 0, stand.now + 10_000 * MS);
    stand.order(0, dial(link(2), 1, Port::Election));
    stand.run(2000);
    assert_eq!(stand.told(0), [""; 0]);
    stand.run(2000);
    assert_eq!(stand.told(0), ["ended"]);
}

#[test]
fn a_death_is_heard_of_unless_it_is_silent() {
    for silently in [false, true] {
        let mut stand = Stand::new(2);
        stand.connect();
        stand.network.crash(1, silently);
        stand.run(1000);
        let told: &[&str] = if silently { &[] } else { &["ended"] };
        assert_eq!(stand.told(0), told);
        // Speaking to one that is back and knows nothing ends it.
        stand.network.start(1);
        stand.send(0, link(900), "hello?");
        stand.run(1000);
        assert_eq!(stand.told(0).is_empty(), !silently);
        assert_eq!(stand.told(1), [""; 0]);
    }
    let mut stand = Stand::new(2);
    stand.connect();
    stand.network.crash(1, true);
    stand.network.heal(stand.now, 1 << 20);
    stand.run(10);
    assert_eq!(stand.told(0), ["ended"]);
}

#[test]
fn a_reset_is_told_to_both() {
    let mut stand = Stand::new(3);
    stand.connect();
    stand.send(0, link(900), "lost");
    stand.network.reset(0, 2);
    stand.run(0);
    assert_eq!(stand.told(0), [""; 0], "that is another's");
    stand.network.reset(1, 0);
    stand.run(1000);
    assert_eq!(
        (stand.told(0), stand.told(1)),
        (vec!["ended".to_owned()], vec!["ended".to_owned()])
    );
    stand.send(0, link(900), "nobody");
    stand.run(1000);
    assert_eq!(stand.told(1), [""; 0]);
}

#[test]
fn who_does_not_read_is_given_up() {
    let mut stand = Stand::with(2, 100);
    stand.connect();
    stand.network.cut(0, 1, u64::MAX);
    for _ in 0..11 {
        stand.send(0, link(900), "ten bytes.");
    }
    stand.run(10);
    assert_eq!(
        (stand.told(0), stand.told(1)),
        (vec!["ended".to_owned()], vec!["ended".to_owned()])
    );
}

#[test]
fn a_state_comes_between_what_was_sent_before_and_after() {
    let mut draft = engine::Draft::new(engine::draft::Settings::default());
    let version = draft.freeze();
    for pieces in [0, 1000] {
        let mut stand = Stand::new(2);
        stand.connect();
        stand.options.pieces = pieces;
        stand.send(0, link(900), "before");
        stand.order(0, PeerOrder::SendSnapshot { link: link(900), version: version.clone() });
        stand.send(0, link(900), "after");
        stand.run(100_000);
        assert_eq!(stand.told(0), ["sent"]);
        let [all] = &stand.told(1)[..] else { panic!("only bytes") };
        assert!(all.starts_with("\"before") && all.ends_with("after") && all.len() > 100);
    }
}

#[test]
fn what_does_not_matter_is_forgotten() {
    let mut stand = Stand::new(2);
    for n in 0..20 {
        stand.order(0, dial(link(n), 1, Port::Election));
        stand.run(10);
        match n % 4 {
            0 => stand.order(0, PeerOrder::Close { link: link(n) }),
            1 => stand.network.reset(0, 1),
            2 => {
                stand.network.crash(0, n % 8 == 2);
                stand.network.start(0);
                stand.network.heal(stand.now, 100);
            }
            _ => {
                stand.order(0, PeerOrder::Close { link: link(n) });
                stand.order(0, dial(link(n + 100), 1, Port::Election));
                stand.order(0, PeerOrder::Close { link: link(n + 100) });
            }
        }
        stand.run(1000);
    }
    assert!(stand.network.wires.is_empty() && stand.network.ends.is_empty());
}

/// Replicas whose disks are done at once.
struct Electorate {
    stand: Stand,
    replicas: Vec<Replica>,
    roles: Vec<RoleKind>,
    committed: Vec<model::Zxid>,
}

impl Electorate {
    fn new(servers: usize, observers: usize) -> Electorate {
        let options = Options { servers, observers, ..Options::calm(1, 1) };
        let nodes = options.nodes();
        let replica = |place| {
            let config = node::ensemble(place, &options).expect("several");
            Replica::new(config, Durable { trusted: true, ..Durable::default() })
        };
        let replicas = (0..nodes).map(replica).collect();
        let roles = vec![RoleKind::Looking; nodes];
        let committed = vec![model::Zxid::ZERO; nodes];
        Electorate { stand: Stand::new(nodes), replicas, roles, committed }
    }

    fn step(&mut self, node: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.replicas[node].step(Mono(1 + self.stand.now), input, &mut out);
            for output in out {
                match output {
                    Output::Append(batch) => {
                        inputs.push_back(Input::Appended { upto: batch.last() });
                    }
                    Output::SaveEpochs(epochs) => inputs.push_back(Input::EpochsSaved(epochs)),
                    Output::Commit { upto } => self.committed[node] = upto,
                    Output::RoleChanged(role) => self.roles[node] = role,
                    Output::CollectTouches => inputs.push_back(Input::Touches(Vec::new())),
                    Output::Listen { open } => {
                        self.stand.order(node, PeerOrder::Listen { open });
                    }
                    Output::Dial { link, peer, port, to } => {
                        self.stand.order(node, PeerOrder::Dial { link, peer, port, to });
                    }
                    Output::Send { link, bytes } => {
                        self.stand.order(node, PeerOrder::Send { link, bytes });
                    }
                    Output::Close { link } => self.stand.order(node, PeerOrder::Close { link }),
                    Output::LearnerLost { .. } | Output::Touched { .. } | Output::Exact { .. } => {}
                    other => panic!("nobody asked for {other:?}"),
                }
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.stand.run(1);
            for node in 0..self.replicas.len() {
                for event in std::mem::take(&mut self.stand.told[node]) {
                    let input = match event {
                        PeerEvent::Accepted { link, port } => Input::Accepted { link, port },
                        PeerEvent::Connected { link } => Input::Connected { link },
                        PeerEvent::Received { link, bytes } => Input::Received { link, bytes },
                        PeerEvent::SnapshotSent { link } => Input::SnapshotSent { link },
                        PeerEvent::Disconnected { link } => Input::Disconnected { link },
                    };
                    self.step(node, input);
                }
                let now = Mono(1 + self.stand.now);
                if self.replicas[node].next_deadline().is_some_and(|at| at <= now) {
                    self.step(node, Input::Tick);
                }
            }
        }
    }

    fn leader(&self) -> Option<(usize, model::Epoch)> {
        self.roles.iter().enumerate().find_map(|(node, role)| match role {
            RoleKind::Leading(epoch) => Some((node, *epoch)),
            _ => None,
        })
    }
}

#[test]
fn replicas_elect_commit_and_recover_over_it() {
    for (servers, observers) in [(3, 0), (3, 1), (5, 2)] {
        let mut all = Electorate::new(servers, observers);
        for node in 0..servers + observers {
            all.step(node, Input::Tick);
        }
        all.run(2000);
        let (leader, epoch) = all.leader().expect("somebody leads");
        let zxid = model::Zxid::new(epoch, 1);
        let batch = Batch::new(zxid, &b"entry"[..], &[5u32][..]);
        all.step(leader, Input::Propose(batch));
        all.run(500);
        assert!(all.committed.iter().all(|upto| *upto == zxid), "{:?}", all.committed);
        // The leader is cut off from everybody for a while: another leads, and then all are
        // together again.
        for other in (0..servers + observers).filter(|node| *node != leader) {
            all.stand.network.cut(leader, other, all.stand.now + 8000 * MS);
            all.stand.network.cut(other, leader, all.stand.now + 8000 * MS);
        }
        all.run(7000);
        assert_eq!(all.roles[leader], RoleKind::Looking);
        let (next, later) = all.leader().expect("somebody leads");
        assert!(next != leader && later > epoch);
        all.run(6000);
        let lost = all.roles.iter().filter(|role| **role == RoleKind::Looking).count();
        assert_eq!(lost, 0, "{:?}", all.roles);
    }
}
