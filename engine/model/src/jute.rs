//! ZooKeeper's one encoding: big-endian numbers, length-prefixed bytes, counted vectors, no tags
//! (`client-protocol` 1.2). The reader borrows and never panics; the writer appends to a `Vec`.

use std::fmt;

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The record ends before this many more bytes.
    Truncated {
        /// Bytes that the next field needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A length or count below -1, or above what the reader allows.
    BadLength(i32),
    /// A null where the record must have a value.
    UnexpectedNull,
    /// A number that selects nothing, such as an unknown operation in a multi.
    UnknownTag(i32),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated { need, have } => {
                write!(f, "record ends early: {need} bytes needed, {have} left")
            }
            DecodeError::BadLength(len) => write!(f, "length {len} is out of range"),
            DecodeError::UnexpectedNull => write!(f, "null where a value is required"),
            DecodeError::UnknownTag(tag) => write!(f, "{tag} selects no known record"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads fields from the front of a slice, borrowing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when every byte has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(DecodeError::Truncated { need: len, have: self.rest.len() }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated { need: N, have: self.rest.len() }),
        }
    }

    /// One byte; any non-zero value is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.array::<1>()?[0] != 0)
    }

    /// 32-bit signed.
    #[inline]
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// 64-bit signed.
    #[inline]
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer or string; `None` is null (length -1), which is not the same as empty.
    #[inline]
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            len if len < 0 => Err(DecodeError::BadLength(len)),
            len => Ok(Some(self.take(len as usize)?)),
        }
    }

    /// A buffer or string that must not be null.
    #[inline]
    pub fn required(&mut self) -> Result<&'a [u8], DecodeError> {
        self.buffer()?.ok_or(DecodeError::UnexpectedNull)
    }

    /// The count of a vector; `None` is a null vector. The count is checked against what the rest
    /// could hold at one byte an element, so that a forged count cannot reserve memory.
    #[inline]
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n if n < 0 || n as usize > self.rest.len() => Err(DecodeError::BadLength(n)),
            n => Ok(Some(n as usize)),
        }
    }
}

/// Appends fields to a byte vector.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// Bytes in the vector so far, including what stood there before.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Bytes as they are, without a length.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The next `N` bytes, zero, to be filled in place. Several short fields cost less this way
    /// than appended one by one, or gathered elsewhere and copied.
    #[inline]
    pub fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        let at = self.out.len();
        self.out.resize(at + N, 0);
        self.out.last_chunk_mut().expect("it has just grown by as much")
    }

    /// One byte.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// 32-bit signed.
    #[inline]
    pub fn int(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// 64-bit signed.
    #[inline]
    pub fn long(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A buffer or string, or null.
    #[inline]
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => self.bytes(bytes),
            None => self.int(-1),
        }
    }

    /// A buffer or string that is present.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) {
        self.int(i32::try_from(value.len()).expect("a frame is far below 2 GiB"));
        self.raw(value);
    }

    /// The count in front of a vector's elements.
    #[inline]
    pub fn count(&mut self, count: usize) {
        self.int(i32::try_from(count).expect("a vector is far below 2^31 elements"));
    }

    /// Overwrites four bytes written earlier, for lengths known only afterwards.
    pub fn patch_int(&mut self, at: usize, value: i32) {
        self.out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_is_not_empty() {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        out.buffer(None);
        out.buffer(Some(b""));
        assert_eq!(bytes, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let mut from = Reader::new(&bytes);
        assert_eq!(from.buffer(), Ok(None));
        assert_eq!(from.buffer(), Ok(Some(&b""[..])));
        assert_eq!(from.int(), Err(DecodeError::Truncated { need: 4, have: 0 }));
    }

    #[test]
    fn room_is_made_at_the_end() {
        let mut bytes = vec![9];
        let mut out = Writer::new(&mut bytes);
        out.room::<4>()[1..3].copy_from_slice(&[5, 6]);
        out.bool(true);
        assert_eq!(bytes, [9, 0, 5, 6, 0, 1]);
    }

    #[test]
    fn forged_lengths_are_refused() {
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xfe]).buffer(),
            Err(DecodeError::BadLength(-2))
        );
        let huge = [0x7f, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&huge).count(), Err(DecodeError::BadLength(i32::MAX)));
        assert!(matches!(Reader::new(&huge).buffer(), Err(DecodeError::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn fields_round_trip(i: i32, l: i64, b: bool, data: Option<Vec<u8>>) {
            let mut bytes = Vec::new();
            let mut out = Writer::new(&mut bytes);
            out.int(i);
            out.long(l);
            out.bool(b);
            out.buffer(data.as_deref());
            let mut from = Reader::new(&bytes);
            prop_assert_eq!(from.int(), Ok(i));
            prop_assert_eq!(from.long(), Ok(l));
            prop_assert_eq!(from.bool(), Ok(b));
            prop_assert_eq!(from.buffer(), Ok(data.as_deref()));
            prop_assert!(from.is_empty());
        }
    }
}
