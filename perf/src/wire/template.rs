//! Requests made beforehand.

use model::{Op, Perms, Xid, acl};
use protocol::{AddWatchMode, Request, encode_write};

use super::client::{create, create_ephemeral};
use super::{etcd, http2};
use crate::cli::Api;

/// Digits of a numbered znode's name.
const DIGITS: usize = 10;
/// Stands for the digits while a template is made.
const HOLE: &str = "~~~~~~~~~~";

/// A request whose paths end in numbers; numbers and tag are filled in on every use.
pub(crate) struct Template {
    frames: Vec<u8>,
    /// Where the tag goes.
    tags: Vec<usize>,
    /// Where the numbers go.
    numbers: Vec<usize>,
    api: Api,
}

impl Template {
    fn new(api: Api, prefix: &str, frames: Vec<u8>) -> Template {
        let name = format!("{prefix}{HOLE}");
        let numbers = frames
            .windows(name.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == name.as_bytes())
            .map(|(at, _)| at + prefix.len())
            .collect();
        let tags = match api {
            // Behind the length.
            Api::ZooKeeper => vec![4],
            Api::Etcd => http2::stream_places(&frames),
        };
        Template { frames, tags, numbers, api }
    }

    /// Appends the request; `number` is asked once for each path.
    pub(crate) fn append(&self, tag: i32, mut number: impl FnMut() -> u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frames);
        let frames = &mut out[start..];
        let tag = match self.api {
            Api::ZooKeeper => tag as u32,
            Api::Etcd => http2::stream_of(tag),
        };
        for &at in &self.tags {
            frames[at..at + 4].copy_from_slice(&tag.to_be_bytes());
        }
        for &at in &self.numbers {
            let mut number = number();
            for digit in frames[at..at + DIGITS].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }
}

/// Makes templates and requests in one of the two protocols.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    api: Api,
    /// etcd only: reads go through the leader.
    linearizable: bool,
}

impl Requests {
    /// For this protocol.
    pub(crate) fn new(api: Api, linearizable: bool) -> Requests {
        Requests { api, linearizable }
    }

    fn read(self, prefix: &str, request: impl FnOnce(&[u8]) -> Request<'_>) -> Template {
        let path = format!("{prefix}{HOLE}");
        let mut frames = Vec::new();
        match self.api {
            Api::ZooKeeper => request(path.as_bytes()).encode(Xid(0), &mut frames),
            Api::Etcd => {
                let message = etcd::range(path.as_bytes(), !self.linearizable);
                http2::call(0, etcd::RANGE, &message, true, &mut frames);
            }
        }
        Template::new(self.api, prefix, frames)
    }

    fn write(
        self,
        prefix: &str,
        op: impl FnOnce(&[u8], &mut Vec<u8>),
        call: impl FnOnce(&[u8]) -> (&'static str, Vec<u8>),
    ) -> Template {
        let path = format!("{prefix}{HOLE}");
        let mut frames = Vec::new();
        match self.api {
            Api::ZooKeeper => op(path.as_bytes(), &mut frames),
            Api::Etcd => {
                let (method, message) = call(path.as_bytes());
                http2::call(0, method, &message, true, &mut frames);
            }
        }
        Template::new(self.api, prefix, frames)
    }

    /// Data of a znode.
    pub(crate) fn get(self, prefix: &str) -> Template {
        self.read(prefix, |path| Request::GetData { path, watch: false })
    }

    /// Is it there?
    pub(crate) fn exists(self, prefix: &str) -> Template {
        self.read(prefix, |path| Request::Exists { path, watch: false })
    }

    /// Names of its children.
    pub(crate) fn children(self, prefix: &str) -> Template {
        self.read(prefix, |path| Request::GetChildren2 { path, watch: false })
    }

    /// New data.
    pub(crate) fn set(self, prefix: &str, data: &[u8]) -> Template {
        self.write(
            prefix,
            |path, out| encode_write(Xid(0), &set_data(path, data), out),
            |key| (etcd::PUT, etcd::put(key, data)),
        )
    }

    /// A new znode.
    pub(crate) fn create(self, prefix: &str, data: &[u8]) -> Template {
        let open = acl::world(Perms::ALL);
        self.write(
            prefix,
            |path, out| encode_write(Xid(0), &create(path, data, &open), out),
            |key| (etcd::TXN, etcd::create(key, data)),
        )
    }

    /// A new ephemeral znode; an ordinary key in etcd.
    pub(crate) fn create_ephemeral(self, prefix: &str, data: &[u8]) -> Template {
        let open = acl::world(Perms::ALL);
        self.write(
            prefix,
            |path, out| encode_write(Xid(0), &create_ephemeral(path, data, &open), out),
            |key| (etcd::TXN, etcd::create(key, data)),
        )
    }

    /// Removal.
    pub(crate) fn delete(self, prefix: &str) -> Template {
        self.write(
            prefix,
            |path, out| encode_write(Xid(0), &Op::Delete { path, version: -1 }, out),
            |key| (etcd::DELETE_RANGE, etcd::delete(key)),
        )
    }

    /// Several znodes set at once.
    pub(crate) fn multi(self, prefix: &str, data: &[u8], count: usize) -> Template {
        self.write(
            prefix,
            |path, out| {
                let ops = (0..count).map(|_| set_data(path, data)).collect();
                encode_write(Xid(0), &Op::Multi(ops), out);
            },
            |key| (etcd::TXN, etcd::puts(&vec![key.to_vec(); count], data)),
        )
    }

    /// Several znodes created at once.
    pub(crate) fn create_many(self, prefix: &str, data: &[u8], count: usize) -> Template {
        let open = acl::world(Perms::ALL);
        self.write(
            prefix,
            |path, out| {
                let ops = (0..count).map(|_| create(path, data, &open)).collect();
                encode_write(Xid(0), &Op::Multi(ops), out);
            },
            |key| (etcd::TXN, etcd::puts(&vec![key.to_vec(); count], data)),
        )
    }

    /// A watch on one path.
    pub(crate) fn watch(self, tag: i32, path: &[u8], persistent: bool, out: &mut Vec<u8>) {
        match self.api {
            Api::Etcd => http2::call(tag, etcd::WATCH, &etcd::watch(path), false, out),
            Api::ZooKeeper if persistent => {
                let mode = AddWatchMode::Persistent;
                Request::AddWatch { path, mode }.encode(Xid(tag), out);
            }
            Api::ZooKeeper => Request::GetData { path, watch: true }.encode(Xid(tag), out),
        }
    }

    /// One write, not repeated.
    pub(crate) fn once(self, tag: i32, op: &Op<'_>, out: &mut Vec<u8>) {
        let message = match (self.api, op) {
            (Api::ZooKeeper, _) => return encode_write(Xid(tag), op, out),
            (Api::Etcd, Op::SetData { path, data, .. }) => {
                etcd::put(path, data.unwrap_or_default())
            }
            // Parents need no keys of their own.
            (Api::Etcd, _) => {
                return http2::call(tag, etcd::RANGE, &etcd::range(b"\0", true), true, out);
            }
        };
        http2::call(tag, etcd::PUT, &message, true, out);
    }
}

fn set_data<'a>(path: &'a [u8], data: &'a [u8]) -> Op<'a> {
    Op::SetData { path, data: Some(data), version: -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::RequestHeader;

    #[test]
    fn a_template_is_the_request_it_stands_for() {
        let requests = Requests::new(Api::ZooKeeper, false);
        let mut out = b"before".to_vec();
        requests.get("/root/k").append(77, || 1_234_567_890, &mut out);
        let mut expect = b"before".to_vec();
        Request::GetData { path: b"/root/k1234567890", watch: false }.encode(Xid(77), &mut expect);
        assert_eq!(out, expect);
        let (header, body) = RequestHeader::decode(&out[10..]).expect("whole");
        assert!(Request::decode(header.opcode, body).is_ok());
    }

    #[test]
    fn every_path_of_a_multi_gets_its_own_number() {
        for api in [Api::ZooKeeper, Api::Etcd] {
            let mut out = Vec::new();
            let mut next = 0;
            let number = || {
                next += 1;
                next
            };
            Requests::new(api, false).multi("/k", b"data", 3).append(1, number, &mut out);
            for number in 1..=3 {
                let name = format!("/k{number:010}");
                assert!(out.windows(name.len()).any(|found| found == name.as_bytes()), "{name}");
            }
        }
    }
}
