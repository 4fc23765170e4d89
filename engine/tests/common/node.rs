//! Requests decided one after the other: a leader's working copy without a leader.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use engine::draft::{Caller, Draft, Settings, Stamp};
use engine::{Effects, Version, access};
use model::jute::Writer;
use model::op::Create;
use model::txn::encode_entry;
use model::{Acl, CreateMode, Epoch, Op, OpCode, Perms, SessionId, Zxid};

use super::Dice;

/// Entries with their zxids.
pub type Entries = Vec<(Zxid, Vec<u8>)>;

/// Makes entries out of random requests.
pub struct Author {
    pub draft: Draft,
    clock_ms: i64,
    epoch: u32,
}

impl Author {
    pub fn new(draft: Draft) -> Author {
        let epoch = draft.tables().zxid.epoch().0;
        Author { draft, clock_ms: 1_600_000_000_000, epoch }
    }

    /// Begins another reign.
    pub fn new_epoch(&mut self) {
        self.epoch += 1;
    }

    /// Decides one random request.
    pub fn write(&mut self, dice: &mut Dice) -> (Zxid, Vec<u8>) {
        let list = [(31, "world"), (5, "world"), (13, "ip")][dice.below(3)];
        let id = if list.1 == "ip" { "10.0.0.1" } else { "anyone" };
        let acl = Acl {
            perms: Perms(list.0 | 16),
            scheme: Some(list.1.as_bytes()),
            id: Some(id.as_bytes()),
        };
        let acl = model::acl::encode_list([acl].into_iter());
        let acl = if dice.one_in(3) { &acl[..] } else { access::OPEN_LIST };
        let mut path = String::new();
        for _ in 0..[1, 1, 1, 2, 2, 3][dice.below(6)] {
            path += ["/a", "/b", "/c", "/d"][dice.below(4)];
        }
        let length = if dice.one_in(20) { dice.below(3000) } else { dice.below(60) };
        let data = vec![dice.next() as u8; length];
        let data = if dice.one_in(10) { None } else { Some(&data[..]) };
        let session = SessionId(0x100 + dice.below(4) as i64);
        let path = path.as_bytes();
        let known = self.draft.tables().sessions.contains_key(&session);
        let op = match dice.below(20) {
            _ if !known => Op::CreateSession { timeout_ms: 1000 + dice.below(9) as i32 },
            0 if dice.one_in(3) => Op::CloseSession,
            0..10 => {
                let (opcode, mode) = [
                    (OpCode::Create, CreateMode::Persistent),
                    (OpCode::Create2, CreateMode::Persistent),
                    (OpCode::Create2, CreateMode::Ephemeral),
                    (OpCode::CreateContainer, CreateMode::Container),
                    (OpCode::CreateTtl, CreateMode::Ttl(5000)),
                ][dice.below(5)];
                let sequential = mode != CreateMode::Container && dice.one_in(4);
                Op::Create(Create { opcode, path, data, acl: Some(acl), mode, sequential })
            }
            10..13 => Op::Delete { path, version: -1 },
            13..15 => Op::SetAcl { path, acl: Some(acl), version: -1 },
            15 => Op::Multi(vec![
                Op::SetData { path, data, version: -1 },
                Op::Delete { path, version: -1 },
            ]),
            _ => Op::SetData { path, data, version: -1 },
        };
        self.decide(&op, session)
    }

    /// Decides one request.
    pub fn decide(&mut self, op: &Op<'_>, session: SessionId) -> (Zxid, Vec<u8>) {
        let last = self.draft.tables().zxid;
        let epoch = Epoch(self.epoch);
        let zxid = if last.epoch() == epoch { last.next() } else { Zxid::new(epoch, 1) };
        self.clock_ms += 7;
        let who = Caller { session, identities: [].into() };
        let at = Stamp { zxid, cxid: 1, time_ms: self.clock_ms };
        let decided = self.draft.execute(op, &who, at, &mut Effects::default());
        let mut entry = Vec::new();
        let mut out = Writer::new(&mut entry);
        encode_entry(&decided.header, &decided.txn, decided.digest, &mut out);
        (zxid, entry)
    }
}

/// Extended types allowed, so that every kind of znode occurs; no access lists are judged.
pub fn settings() -> Settings {
    Settings { extended_types: true, skip_acl: true, ..Settings::default() }
}

/// Everything that must survive, in words: what differs shows in the assertion.
pub fn describe(version: &Version) -> Vec<String> {
    let mut lines: Vec<String> = version
        .view()
        .iter()
        .map(|(path, znode)| {
            let mut children: Vec<_> = version
                .view()
                .children(path)
                .expect("it is there")
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect();
            children.sort();
            let (path, meta) = (String::from_utf8_lossy(path), znode.meta);
            let (acl, stat) = (version.acl(meta.acl), znode.stat());
            format!("{path} {stat:?} {} {acl:x?} {:x?} {children:?}", meta.owner, znode.data)
        })
        .collect();
    lines.sort();
    let tables = version.tables();
    lines.push(format!("{:?} {}", tables.zxid, tables.digest));
    lines.push(format!("{:?}", tables.sessions));
    lines.push(format!("{:?} {}", tables.ephemerals, tables.ephemeral_count));
    lines.push(format!("{:?} {:?} {}", tables.containers, tables.ttls, tables.data_bytes));
    lines
        .push(format!("{:?}", tables.acls.values().map(|a| (&a.list, a.uses)).collect::<Vec<_>>()));
    lines
}
