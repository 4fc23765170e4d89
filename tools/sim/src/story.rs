//! A small vocabulary to tell a scenario in plain words: a calm world in which nothing goes wrong
//! but what the story says, and the seed still chooses the order of what may happen at once.
//!
//! All checkers judge a story like any other run.

use engine::Version;
use model::{CreateMode, ErrorCode, EventKind, Op, OpCode, SessionId, Zxid, acl, op::Create};
use protocol::Request;

use crate::checkers::Together;
use crate::client::{Asked, Standing};
use crate::dice::Dice;
use crate::swarm::Options;
use crate::world::{Outcome, World};

/// Events within which whatever a story waits for must come about.
const PATIENCE: u32 = 200_000;

/// What a client was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// An answer: 0 or the error's number.
    Answer(i32),
    /// A watch fired.
    Event(EventKind, String),
    /// Its session is no more.
    Refused,
}

/// A success.
pub const FINE: Told = Told::Answer(0);

/// Something to ask for.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Make a znode.
    Create(&'a str),
    /// Make one that lives as long as the session.
    Ephemeral(&'a str),
    /// Change data.
    Set(&'a str, &'a str),
    /// Remove.
    Delete(&'a str),
    /// Read, without a watch.
    Get(&'a str),
    /// Read, and leave a watch.
    Watch(&'a str),
    /// Wait until everything before is seen.
    Sync,
    /// End the session.
    Close,
    /// A create that ends in the middle.
    Malformed,
}

impl World {
    /// A calm world.
    pub fn calm(seed: u64, clients: usize, shards: u16) -> World {
        World::story(seed, Options::calm(clients, shards))
    }

    /// A calm world of several servers; none but the last are observers.
    pub fn ensemble(seed: u64, clients: usize, servers: usize, observers: usize) -> World {
        World::story(seed, Options::calm_ensemble(clients, servers, observers))
    }

    /// A client goes to this server the next time it connects, and only there.
    pub fn send_to(&mut self, client: usize, server: usize) {
        self.sent_to[client] = Some(server);
    }

    /// A client has a session at this server.
    pub fn attach_at(&mut self, client: usize, server: usize) {
        self.send_to(client, server);
        if self.clients[client].standing != Standing::Away {
            let ended = self.disconnect(client);
            self.insist(ended);
        }
        self.attach(client);
    }

    /// The server that leads the newest epoch, once everybody serves.
    pub fn leader(&mut self) -> usize {
        self.run_until("every server serves", |world| {
            world.history.seats.iter().all(|seat| seat.serves)
        });
        self.history.leaders.last_key_value().map_or(0, |(_, (leader, _))| *leader)
    }

    /// How many epochs there were.
    pub fn epochs(&self) -> usize {
        self.history.leaders.len()
    }

    /// A server neither hears the others nor is heard, for a while, ms.
    pub fn isolate(&mut self, server: usize, ms: u64) {
        let until = self.now + ms * 1_000_000;
        for other in 0..self.nodes.len() {
            self.peers.cut(server, other, until);
            self.peers.cut(other, server, until);
        }
    }

    /// The next proposal to this server, in a message of its own, arrives with another digest than
    /// it was sent with: the server finds that its state differs.
    pub fn garble_next(&mut self, server: usize) {
        self.garbled = Some(server);
    }

    /// What a server has kept about states of its own that differed from a leader's.
    pub fn evidence(&self, server: usize) -> Vec<String> {
        self.nodes[server].disk.evidence().values().cloned().collect()
    }

    /// True if a server serves.
    pub fn serves(&self, server: usize) -> bool {
        self.history.seats[server].serves
    }

    /// Nobody asks for anything, and all servers are in the same state.
    pub fn come_together(&mut self) {
        self.run_until("all servers are in the same state", |world| {
            let mut together = Together::default();
            together.look(&world.history);
            together.is_done()
        });
    }

    /// A world of this kind in which clients say only what they are told to.
    pub fn story(seed: u64, options: Options) -> World {
        let mut world = World::with(options, Dice::new(seed), true);
        world.faults = false;
        world.scripted = true;
        world
    }

    /// The server starts from a state that came from elsewhere. `gone`: sessions that had ended
    /// there, and had left ephemerals behind.
    pub fn inherit(&mut self, version: Version, gone: &[SessionId]) {
        self.history.gone_before.extend(gone);
        for node in &mut self.nodes {
            node.disk.place_snapshot(version.clone());
        }
    }

    /// Lets things happen until something is so; a violation or a world in which it never comes
    /// about ends the test with the trace's last lines.
    pub fn run_until(&mut self, what: &str, so: impl Fn(&World) -> bool) {
        for _ in 0..PATIENCE {
            if so(self) {
                return;
            }
            let ended = self.one();
            self.insist(ended);
        }
        panic!("it never came about that {what}:\n{}", self.last_lines());
    }

    /// Lets exactly so many events happen.
    pub fn events(&mut self, count: u64) {
        for _ in 0..count {
            let ended = self.one();
            self.insist(ended);
        }
    }

    /// Lets time pass, ms.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now + ms * 1_000_000;
        self.run_until("time passed", |world| world.now >= until);
    }

    fn insist(&self, ended: Outcome) {
        if let Err(violation) = ended {
            panic!("{violation:?}\n{}", self.last_lines());
        }
    }

    fn last_lines(&self) -> String {
        let lines = self.trace.lines();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// A client has a session.
    pub fn attach(&mut self, client: usize) {
        self.wanted[client] = true;
        self.run_until("the client has a session", |world| {
            world.clients[client].standing == Standing::Attached
        });
    }

    /// A client sends these in one go, and waits for nothing.
    pub fn pipeline(&mut self, client: usize, asks: &[Ask<'_>]) {
        let mut bytes = Vec::new();
        for ask in asks {
            self.ask(client, *ask, &mut bytes);
        }
        self.transmit(client, bytes);
    }

    /// A client sends these and has all its answers.
    pub fn done(&mut self, client: usize, asks: &[Ask<'_>]) {
        self.pipeline(client, asks);
        self.settle(client);
    }

    /// A client is owed nothing.
    pub fn settle(&mut self, client: usize) {
        self.run_until("the client has all its answers", |world| {
            world.clients[client].pending.is_empty()
        });
    }

    fn ask(&mut self, index: usize, ask: Ask<'_>, bytes: &mut Vec<u8>) {
        let floor = self.history.floor(index);
        let client = &mut self.clients[index];
        let open = acl::world(model::Perms::ALL);
        let create = |path, mode| {
            Op::Create(Create {
                opcode: OpCode::Create,
                path,
                data: Some(b""),
                acl: Some(&open),
                mode,
                sequential: false,
            })
        };
        let op = match ask {
            Ask::Create(path) => create(path.as_bytes(), CreateMode::Persistent),
            Ask::Ephemeral(path) => create(path.as_bytes(), CreateMode::Ephemeral),
            Ask::Set(path, data) => {
                Op::SetData { path: path.as_bytes(), data: Some(data.as_bytes()), version: -1 }
            }
            Ask::Delete(path) => Op::Delete { path: path.as_bytes(), version: -1 },
            Ask::Get(path) | Ask::Watch(path) => {
                let (path, watch) = (path.as_bytes(), matches!(ask, Ask::Watch(_)));
                let xid = client.owe(OpCode::Exists, Asked::Exists(path.to_vec(), watch), floor);
                return Request::Exists { path, watch }.encode(xid, bytes);
            }
            Ask::Sync => {
                let xid = client.owe(OpCode::Sync, Asked::Sync, floor);
                return Request::Sync { path: Some(b"/") }.encode(xid, bytes);
            }
            Ask::Close => {
                let xid = client.owe(OpCode::CloseSession, Asked::Close, floor);
                return Request::CloseSession.encode(xid, bytes);
            }
            Ask::Malformed => {
                let xid = client.owe(OpCode::Create, Asked::Malformed, floor);
                let frame = [8_i32, xid.0, OpCode::Create.code()].map(i32::to_be_bytes);
                return bytes.extend_from_slice(&frame.concat());
            }
        };
        let path = match ask {
            Ask::Create(path) | Ask::Ephemeral(path) | Ask::Set(path, _) | Ask::Delete(path) => {
                path
            }
            Ask::Get(_) | Ask::Watch(_) | Ask::Sync | Ask::Close | Ask::Malformed => "",
        };
        let opcode = protocol::write::opcode_of(&op).expect("a write has an opcode");
        let xid = client.owe(opcode, Asked::Write(path.as_bytes().to_vec()), floor);
        protocol::encode_write(xid, &op, bytes);
    }

    /// The process dies now, and runs again a little later.
    pub fn crash(&mut self) {
        self.crash_server(0);
    }

    /// One of several processes dies now, and runs again a little later.
    pub fn crash_server(&mut self, at: usize) {
        self.crash_for(at, "the story says so");
    }

    /// The process runs and serves.
    pub fn restart(&mut self) {
        self.restart_server(0);
    }

    /// One of several processes runs again.
    pub fn restart_server(&mut self, at: usize) {
        let starts = self.nodes[at].starts;
        self.run_until("the server runs again", |world| {
            world.nodes[at].starts > starts && world.nodes[at].process.is_some()
        });
    }

    /// The process does nothing for a while, ms.
    pub fn pause(&mut self, ms: u64) {
        self.nodes[0].paused_until = self.now + ms * 1_000_000;
    }

    /// The disk completes nothing for a while, ms.
    pub fn stall_disk(&mut self, ms: u64) {
        self.nodes[0].disk.stall_until(self.now + ms * 1_000_000);
    }

    /// The next log write fails.
    pub fn fail_next_write(&mut self) {
        self.nodes[0].disk.fail_next_write();
        self.nodes[0].disk_failed = true;
    }

    /// A client goes without a word and stays away. `traceless`: the server never hears of it.
    pub fn vanish(&mut self, client: usize, traceless: bool) {
        let link = self.clients[client].link;
        let ended = self.disconnect(client);
        self.insist(ended);
        self.wanted[client] = false;
        if let Some(link) = link.and_then(|id| self.links.get_mut(&id)) {
            link.half_open = traceless;
        }
    }

    /// A client that loses its connection, or has none, does not connect again by itself.
    pub fn stay_away(&mut self, client: usize) {
        self.wanted[client] = false;
    }

    /// What a client says does not arrive, nor, if `both`, what it is told, for a while, ms.
    pub fn cut(&mut self, client: usize, both: bool, ms: u64) {
        let until = self.now + ms * 1_000_000;
        if let Some(link) = self.clients[client].link.and_then(|id| self.links.get_mut(&id)) {
            link.cut_until = [until, if both { until } else { 0 }];
        }
    }

    /// A client that has no session takes over another one's.
    pub fn steal(&mut self, thief: usize, victim: usize) {
        let from = &self.clients[victim];
        let (session, password, seen) = (from.session, from.password, from.last_zxid);
        let client = &mut self.clients[thief];
        (client.session, client.password, client.last_zxid) = (session, password, seen);
        self.attach(thief);
    }

    /// True if the process runs.
    pub fn is_running(&self) -> bool {
        self.nodes[0].process.is_some()
    }

    /// A client's session, if it has one.
    pub fn session(&self, client: usize) -> Option<SessionId> {
        let session = self.clients[client].session;
        (session != SessionId::NONE).then_some(session)
    }

    /// Position of the newest version.
    pub fn zxid(&self) -> Zxid {
        self.history.newest().map(Version::zxid).unwrap_or_default()
    }

    /// Positions of all versions that were ever published.
    pub fn zxids(&self) -> Vec<Zxid> {
        self.history.versions.keys().copied().collect()
    }

    /// True if the newest version has this session.
    pub fn lives(&self, session: SessionId) -> bool {
        self.history.newest().is_some_and(|newest| newest.tables().sessions.contains_key(&session))
    }

    /// True if the newest version has this znode.
    pub fn exists(&self, path: &str) -> bool {
        self.history.newest().is_some_and(|newest| newest.view().get(path.as_bytes()).is_some())
    }

    /// What a client was told since this was last asked.
    pub fn told(&mut self, client: usize) -> Vec<Told> {
        std::mem::take(&mut self.told[client])
    }
}

/// An answer that is this error.
pub fn error(code: ErrorCode) -> Told {
    Told::Answer(code.code())
}
