//! A simulated client: real protocol bytes, a queue of what it is owed, no opinion of its own.

use std::collections::VecDeque;

use model::{CreateMode, Op, OpCode, SessionId, Xid, Zxid, acl, op::Create};
use protocol::request::{AddWatchMode, Request, SetWatches, WatcherType};
use protocol::{ConnectRequest, Names};

use crate::dice::Dice;
use crate::history::Floor;
use crate::swarm::Options;

/// What a request asked for, as far as checkers need to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// exists.
    Exists(Vec<u8>, bool),
    /// getData.
    GetData(Vec<u8>, bool),
    /// getChildren or getChildren2.
    GetChildren(Vec<u8>, bool),
    /// getACL.
    GetAcl(Vec<u8>),
    /// getEphemerals, of everything.
    GetEphemerals,
    /// getAllChildrenNumber.
    CountAll(Vec<u8>),
    /// checkWatches of every kind.
    CheckWatches(Vec<u8>),
    /// whoAmI.
    WhoAmI,
    /// auth.
    Auth,
    /// Two paths read in one multiRead.
    MultiRead(Vec<u8>, Vec<u8>),
    /// Any write, by the path it is about.
    Write(Vec<u8>),
    /// A create and its parts.
    Multi,
    /// sync.
    Sync,
    /// Heartbeat.
    Ping,
    /// addWatch.
    AddWatch(Vec<u8>, AddWatchMode),
    /// removeWatches of every kind.
    RemoveWatches(Vec<u8>),
    /// setWatches2: relative zxid, data, exist, child, persistent, recursive paths.
    SetWatches(Zxid, [Vec<Vec<u8>>; 5]),
    /// closeSession.
    Close,
    /// A record that cannot be decoded.
    Malformed,
}

/// A request that was sent and not yet answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its number.
    pub xid: Xid,
    /// Its operation.
    pub opcode: OpCode,
    /// What it asked.
    pub asked: Asked,
    /// What had been shown when it was sent: its answer may not be older.
    pub floor: Floor,
}

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No connection.
    Away,
    /// Connected, waiting for the connect response.
    Knocking,
    /// In session.
    Attached,
    /// Has asked a four-letter word and waits for the text.
    Asking([u8; 4]),
}

/// One client.
pub struct Client {
    /// Its dice.
    dice: Dice,
    /// Where it stands.
    pub standing: Standing,
    /// Network connection in use.
    pub link: Option<usize>,
    /// Session held, or none.
    pub session: SessionId,
    /// Its password.
    pub password: [u8; 16],
    /// Timeout granted, ms.
    pub timeout_ms: i32,
    /// Highest zxid seen in this session.
    pub last_zxid: Zxid,
    /// Requests owed an answer, oldest first.
    pub pending: VecDeque<Pending>,
    /// Bytes received and not yet a frame.
    pub inbox: Vec<u8>,
    /// Proves to be the keeper, who may read private znodes, on every connection.
    pub keeper: bool,
    /// The password it has just offered is wrong.
    pub lying: bool,
    /// Never sends heartbeats.
    pub silent: bool,
    /// True time of the last send, ns.
    pub last_sent: u64,
    /// Watches to restore after a reconnect: data, exist, child, persistent, recursive.
    pub remembered: [Vec<Vec<u8>>; 5],
    pub(crate) next_xid: i32,
    counter: u64,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(mut dice: Dice, options: &Options) -> Client {
        let silent = dice.per_mille(options.silent_client);
        Client {
            dice,
            standing: Standing::Away,
            link: None,
            session: SessionId::NONE,
            password: [0; 16],
            timeout_ms: 0,
            last_zxid: Zxid::ZERO,
            pending: VecDeque::new(),
            inbox: Vec::new(),
            keeper: false,
            lying: false,
            silent,
            last_sent: 0,
            remembered: Default::default(),
            next_xid: 0,
            counter: 0,
        }
    }

    /// Its dice, for decisions that are its own.
    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// Bytes of its connect request, and the timeout it asks for.
    pub fn knock(&mut self) -> (Vec<u8>, i32) {
        let mut bytes = Vec::new();
        let timeout_ms = *self.dice.pick(&[1, 4000, 6000, 20_000]);
        let wrong = self.session != SessionId::NONE && self.dice.per_mille(10);
        let password = if wrong { [9; 16] } else { self.password };
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms,
            session: self.session,
            password: Some(&password),
            read_only: *self.dice.pick(&[None, Some(false), Some(true)]),
        }
        .encode(&mut bytes);
        self.inbox.clear();
        self.pending.clear();
        self.lying = wrong;
        self.standing = Standing::Knocking;
        (bytes, timeout_ms)
    }

    /// Claims to be the keeper.
    pub fn authenticate(&mut self, floor: Floor) -> Vec<u8> {
        let xid = self.owe(OpCode::Auth, Asked::Auth, floor);
        let mut bytes = Vec::new();
        Request::Auth { kind: 0, scheme: Some(b"digest"), auth: Some(b"keeper:secret") }
            .encode(xid, &mut bytes);
        bytes
    }

    /// Forgets the session: it was refused, closed, or expired.
    pub fn forget(&mut self) {
        self.session = SessionId::NONE;
        self.password = [0; 16];
        self.last_zxid = Zxid::ZERO;
        self.remembered = Default::default();
    }

    /// The connection is gone.
    pub fn dropped(&mut self) {
        self.standing = Standing::Away;
        self.link = None;
        self.pending.clear();
        self.inbox.clear();
    }

    pub(crate) fn owe(&mut self, opcode: OpCode, asked: Asked, floor: Floor) -> Xid {
        self.next_xid += 1;
        let xid = match opcode {
            OpCode::Ping => Xid::PING,
            OpCode::Auth => Xid(-4),
            OpCode::SetWatches2 => Xid::SET_WATCHES,
            _ => Xid(self.next_xid),
        };
        self.pending.push_back(Pending { xid, opcode, asked, floor });
        xid
    }

    fn path(&mut self, options: &Options) -> Vec<u8> {
        let top = self.dice.below(options.paths);
        if self.dice.per_mille(400) {
            let child = self.dice.below(4);
            format!("/p{top}/c{child}").into_bytes()
        } else {
            format!("/p{top}").into_bytes()
        }
    }

    /// A heartbeat.
    pub fn ping(&mut self, floor: Floor) -> Vec<u8> {
        let xid = self.owe(OpCode::Ping, Asked::Ping, floor);
        let mut bytes = Vec::new();
        Request::Ping.encode(xid, &mut bytes);
        bytes
    }

    /// What a client sends first on a new connection of an old session.
    pub fn restore_watches(&mut self, floor: Floor) -> Option<Vec<u8>> {
        if self.remembered.iter().all(Vec::is_empty) {
            return None;
        }
        let lists = self.remembered.clone();
        let relative = self.last_zxid;
        let xid = self.owe(OpCode::SetWatches2, Asked::SetWatches(relative, lists.clone()), floor);
        let encoded: Vec<Vec<u8>> =
            lists.iter().map(|list| Names::build(list.iter().map(Vec::as_slice))).collect();
        let names = |index: usize| -> Names<'_> {
            Names::decode(&mut model::jute::Reader::new(&encoded[index])).expect("just encoded")
        };
        let mut bytes = Vec::new();
        Request::SetWatches2(SetWatches {
            relative_zxid: relative,
            data: names(0),
            exist: names(1),
            child: names(2),
            persistent: names(3),
            persistent_recursive: names(4),
        })
        .encode(xid, &mut bytes);
        Some(bytes)
    }

    /// The next thing this client feels like asking.
    pub fn ask(&mut self, options: &Options, floor: Floor) -> Vec<u8> {
        let total: u64 = options.weights.iter().sum();
        let mut roll = self.dice.below(total);
        let kind = options
            .weights
            .iter()
            .position(|&weight| {
                let here = roll < weight;
                roll = roll.saturating_sub(weight);
                here
            })
            .unwrap_or(0);
        let mut bytes = Vec::new();
        match kind {
            0 => self.ask_read(options, floor, &mut bytes),
            1 => self.ask_write(options, floor, &mut bytes),
            2 => self.ask_multi(floor, &mut bytes),
            3 => self.ask_watch(options, floor, &mut bytes),
            _ => self.ask_session(floor, &mut bytes),
        }
        bytes
    }

    fn ask_read(&mut self, options: &Options, floor: Floor, bytes: &mut Vec<u8>) {
        let path = self.path(options);
        let watch = self.dice.per_mille(300);
        match self.dice.below(8) {
            4 => self.ask_odd_read(path, floor, bytes),
            0 | 5 => {
                let xid = self.owe(OpCode::Exists, Asked::Exists(path.clone(), watch), floor);
                Request::Exists { path: &path, watch }.encode(xid, bytes);
            }
            6 => {
                let asked = Asked::GetChildren(path.clone(), watch);
                let xid = self.owe(OpCode::GetChildren, asked, floor);
                Request::GetChildren { path: &path, watch }.encode(xid, bytes);
            }
            1 => {
                let asked = Asked::GetChildren(path.clone(), watch);
                let xid = self.owe(OpCode::GetChildren2, asked, floor);
                Request::GetChildren2 { path: &path, watch }.encode(xid, bytes);
            }
            2 if self.dice.per_mille(300) => {
                let other = self.path(options);
                let asked = Asked::MultiRead(path.clone(), other.clone());
                let xid = self.owe(OpCode::MultiRead, asked, floor);
                let parts = vec![
                    protocol::request::ReadPart::Data(&path),
                    protocol::request::ReadPart::Data(&other),
                ];
                Request::MultiRead(parts).encode(xid, bytes);
            }
            _ => {
                let xid = self.owe(OpCode::GetData, Asked::GetData(path.clone(), watch), floor);
                Request::GetData { path: &path, watch }.encode(xid, bytes);
            }
        }
    }

    fn ask_odd_read(&mut self, path: Vec<u8>, floor: Floor, bytes: &mut Vec<u8>) {
        match self.dice.below(5) {
            0 => {
                let xid = self.owe(OpCode::GetAcl, Asked::GetAcl(path.clone()), floor);
                Request::GetAcl { path: &path }.encode(xid, bytes);
            }
            1 => {
                let xid = self.owe(OpCode::GetEphemerals, Asked::GetEphemerals, floor);
                Request::GetEphemerals { prefix: None }.encode(xid, bytes);
            }
            2 => {
                let asked = Asked::CountAll(path.clone());
                let xid = self.owe(OpCode::GetAllChildrenNumber, asked, floor);
                Request::GetAllChildrenNumber { path: &path }.encode(xid, bytes);
            }
            3 => {
                let asked = Asked::CheckWatches(path.clone());
                let xid = self.owe(OpCode::CheckWatches, asked, floor);
                Request::CheckWatches { path: &path, kind: WatcherType::Any }.encode(xid, bytes);
            }
            _ => {
                let xid = self.owe(OpCode::WhoAmI, Asked::WhoAmI, floor);
                Request::WhoAmI.encode(xid, bytes);
            }
        }
    }

    /// Data of a size that this world plays with.
    fn padded(&mut self, mut data: Vec<u8>, options: &Options) -> Vec<u8> {
        if options.data_bytes > data.len() && self.dice.per_mille(300) {
            let more = self.dice.index(options.data_bytes - data.len());
            data.resize(data.len() + more, b'.');
        }
        data
    }

    fn ask_write(&mut self, options: &Options, floor: Floor, bytes: &mut Vec<u8>) {
        let mut path = self.path(options);
        self.counter += 1;
        let data = format!("{}-{}", self.session.0 & 0xffff, self.counter).into_bytes();
        let data = self.padded(data, options);
        let private = self.dice.per_mille(options.private);
        let open = if private { private_list() } else { acl::world(model::Perms::ALL) };
        let version = if self.dice.per_mille(200) { self.dice.below(3) as i32 } else { -1 };
        let choice = self.dice.below(17);
        let op = match choice {
            10 => create(&path, &data, &open, CreateMode::Container, false),
            11 => create(&path, &data, &open, CreateMode::Ttl(1000), false),
            12 => {
                path.extend_from_slice(b"/q-");
                create(&path, &data, &open, CreateMode::Persistent, true)
            }
            0..=3 => Op::SetData { path: &path, data: Some(&data), version },
            4..=5 => Op::Delete { path: &path, version },
            6 => Op::SetAcl { path: &path, acl: Some(&open), version },
            7 => {
                let mut name = path.clone();
                name.extend_from_slice(b"/s-");
                path = name;
                create(&path, &data, &open, CreateMode::Ephemeral, true)
            }
            8 => create(&path, &data, &open, CreateMode::Ephemeral, false),
            _ => create(&path, &data, &open, CreateMode::Persistent, false),
        };
        let opcode = protocol::write::opcode_of(&op).expect("a write has an opcode");
        let mut frame = Vec::new();
        let xid = Xid(self.next_xid + 1);
        if self.dice.per_mille(10) {
            // A header with no record behind it.
            let short = [(8i32).to_be_bytes(), xid.0.to_be_bytes(), opcode.code().to_be_bytes()];
            bytes.extend_from_slice(&short.concat());
            self.owe(opcode, Asked::Malformed, floor);
        } else {
            protocol::encode_write(xid, &op, &mut frame);
            bytes.extend_from_slice(&frame);
            let about = path.clone();
            self.owe(opcode, Asked::Write(about), floor);
        }
        if self.dice.per_mille(50) {
            let xid = self.owe(OpCode::Sync, Asked::Sync, floor);
            Request::Sync { path: Some(b"/") }.encode(xid, bytes);
        }
    }

    /// Makes, changes or removes `/a<n>` and `/b<n>` together.
    fn ask_multi(&mut self, floor: Floor, bytes: &mut Vec<u8>) {
        let pair = self.dice.below(4);
        let (a, b) = (format!("/a{pair}").into_bytes(), format!("/b{pair}").into_bytes());
        let open = acl::world(model::Perms::ALL);
        self.counter += 1;
        let data = self.counter.to_string().into_bytes();
        let mut ops = match self.dice.below(3) {
            0 => vec![
                create(&a, &data, &open, CreateMode::Persistent, false),
                create(&b, &data, &open, CreateMode::Persistent, false),
            ],
            1 => vec![
                Op::SetData { path: &a, data: Some(&data), version: -1 },
                Op::SetData { path: &b, data: Some(&data), version: -1 },
            ],
            _ => vec![Op::Delete { path: &a, version: -1 }, Op::Delete { path: &b, version: -1 }],
        };
        if self.dice.per_mille(200) {
            ops.push(Op::Check { path: b"/none", version: 0 });
        }
        let xid = self.owe(OpCode::Multi, Asked::Multi, floor);
        protocol::encode_write(xid, &Op::Multi(ops), bytes);
    }

    fn ask_watch(&mut self, options: &Options, floor: Floor, bytes: &mut Vec<u8>) {
        let path = self.path(options);
        if self.dice.per_mille(700) {
            let recursive = self.dice.per_mille(500);
            let mode = if recursive {
                AddWatchMode::PersistentRecursive
            } else {
                AddWatchMode::Persistent
            };
            let xid = self.owe(OpCode::AddWatch, Asked::AddWatch(path.clone(), mode), floor);
            Request::AddWatch { path: &path, mode }.encode(xid, bytes);
        } else {
            let asked = Asked::RemoveWatches(path.clone());
            let xid = self.owe(OpCode::RemoveWatches, asked, floor);
            Request::RemoveWatches { path: &path, kind: WatcherType::Any }.encode(xid, bytes);
        }
    }

    fn ask_session(&mut self, floor: Floor, bytes: &mut Vec<u8>) {
        if self.dice.per_mille(200) {
            let xid = self.owe(OpCode::CloseSession, Asked::Close, floor);
            Request::CloseSession.encode(xid, bytes);
        } else {
            bytes.extend(self.ping(floor));
        }
    }
}

fn create<'a>(
    path: &'a [u8],
    data: &'a [u8],
    acl: &'a [u8],
    mode: CreateMode,
    sequential: bool,
) -> Op<'a> {
    let opcode = match mode {
        CreateMode::Container => OpCode::CreateContainer,
        CreateMode::Ttl(_) => OpCode::CreateTtl,
        CreateMode::Persistent if sequential => OpCode::Create2,
        CreateMode::Persistent | CreateMode::Ephemeral => OpCode::Create,
    };
    Op::Create(Create { opcode, path, data: Some(data), acl: Some(acl), mode, sequential })
}

/// The keeper's identity: the hash is that of `keeper:secret`.
const KEEPER: &[u8] = b"keeper:fVdK2HwI35pFaNBBBjXpQ3fU3iQ=";

/// An access list under which everybody may do everything but read, and the keeper that too.
pub fn private_list() -> Vec<u8> {
    let all = model::Perms::ALL;
    let blind = model::Perms(all.0 & !model::Perms::READ.0);
    let entry = |perms, scheme, id| acl::Acl { perms, scheme: Some(scheme), id: Some(id) };
    let list: [acl::Acl<'_>; 2] =
        [entry(blind, b"world", b"anyone"), entry(all, b"digest", KEEPER)];
    acl::encode_list(list.into_iter())
}
