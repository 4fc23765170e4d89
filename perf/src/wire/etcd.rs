//! etcd's messages (`etcdserverpb`, version 3), as far as they are sent and looked at here.

use anyhow::{Result, bail};
use model::EventKind;

use super::connection::Arrival;

/// Reads keys.
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
/// Writes a key.
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
/// Removes keys.
pub(super) const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
/// Several at once, under conditions.
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
/// Streams changes.
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Largest value that fits the first window of a stream, bytes.
pub(crate) const VALUE_MAX: usize = 60_000;

/// A read of one key. `serializable` is answered from the asked server's own state, which is
/// what a ZooKeeper read promises; otherwise the leader is asked for its position first.
pub(super) fn range(key: &[u8], serializable: bool) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(&mut message, 1, key);
    if serializable {
        number(&mut message, 7, 1);
    }
    message
}

/// A write of one key.
pub(super) fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(&mut message, 1, key);
    bytes(&mut message, 2, value);
    message
}

/// The removal of one key.
pub(super) fn delete(key: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(&mut message, 1, key);
    message
}

/// A write that takes effect only if the key is missing, as a create does.
pub(super) fn create(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut compare = Vec::new();
    // Its revision of creation is 0.
    number(&mut compare, 2, 1);
    bytes(&mut compare, 3, key);
    number(&mut compare, 5, 0);
    let mut message = Vec::new();
    bytes(&mut message, 1, &compare);
    bytes(&mut message, 2, &request_put(key, value));
    message
}

/// Several writes at once.
pub(super) fn puts(keys: &[Vec<u8>], value: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for key in keys {
        bytes(&mut message, 2, &request_put(key, value));
    }
    message
}

/// A watch on one key.
pub(super) fn watch(key: &[u8]) -> Vec<u8> {
    let mut create = Vec::new();
    bytes(&mut create, 1, key);
    let mut message = Vec::new();
    bytes(&mut message, 1, &create);
    message
}

fn request_put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut op = Vec::new();
    bytes(&mut op, 2, &put(key, value));
    op
}

/// Hands over what one message of a watch says: that it is set, or what changed.
pub(super) fn on_watch_response(
    tag: i32,
    message: &[u8],
    take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
) -> Result<()> {
    for (field, value) in Fields(message) {
        match (field, value) {
            (3, Value::Number(1)) => take(Arrival::Reply { tag, err: 0 })?,
            (4, Value::Number(1)) => bail!("etcd cancelled a watch"),
            (11, Value::Bytes(event)) => {
                let mut kind = EventKind::NodeDataChanged;
                let mut path: &[u8] = b"";
                for (field, value) in Fields(event) {
                    match (field, value) {
                        (1, Value::Number(1)) => kind = EventKind::NodeDeleted,
                        (2, Value::Bytes(pair)) => {
                            for (field, value) in Fields(pair) {
                                if let (1, Value::Bytes(key)) = (field, value) {
                                    path = key;
                                }
                            }
                        }
                        _ => {}
                    }
                }
                take(Arrival::Event { kind, path })?;
            }
            _ => {}
        }
    }
    Ok(())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message; ends at the first that is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let count = self.varint()? as usize;
                Value::Bytes(self.take(count)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_protobuf() {
        assert_eq!(put(b"k", b"vv"), b"\x0a\x01k\x12\x02vv");
        assert_eq!(range(b"k", true), b"\x0a\x01k\x38\x01");
        let long = put(b"k", &[b'x'; 300]);
        assert_eq!(long[3..6], [0x12, 0xac, 0x02]);
        assert_eq!(create(b"k", b"v")[..9], *b"\x0a\x07\x10\x01\x1a\x01k\x28\x00");
    }

    #[test]
    fn a_watch_says_that_it_is_set_and_what_changed() {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, b"/watched");
        let mut event = Vec::new();
        bytes(&mut event, 2, &pair);
        let mut message = Vec::new();
        bytes(&mut message, 1, b"header");
        number(&mut message, 3, 1);
        bytes(&mut message, 11, &event);
        let mut seen = Vec::new();
        on_watch_response(9, &message, &mut |arrival| {
            seen.push(format!("{arrival:?}"));
            Ok(())
        })
        .expect("well formed");
        assert_eq!(seen[0], "Reply { tag: 9, err: 0 }");
        assert!(seen[1].contains("NodeDataChanged"), "{}", seen[1]);
    }
}
