//! Vectors of strings, kept as the bytes they came in.

use model::jute::{DecodeError, Reader, Writer};

/// A vector of strings that has been checked: no null, every length fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    /// The elements without the count.
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Names<'a> {
    /// No strings.
    pub const EMPTY: Names<'static> = Names { bytes: &[], count: 0 };

    /// Reads a vector. A null vector and a null string are errors (`client-protocol` 6.5).
    pub fn decode(from: &mut Reader<'a>) -> Result<Names<'a>, DecodeError> {
        let count = from.count()?.ok_or(DecodeError::UnexpectedNull)?;
        let start = from.rest();
        for _ in 0..count {
            from.required()?;
        }
        Ok(Names { bytes: &start[..start.len() - from.rest().len()], count })
    }

    /// Encodes strings as a vector, count included; [`Names::decode`] reads it back.
    pub fn build<'s>(strings: impl IntoIterator<Item = &'s [u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, strings);
        out
    }

    /// Appends the vector, count included.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.count(self.count);
        out.raw(self.bytes);
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut from = Reader::new(self.bytes);
        std::iter::from_fn(move || from.required().ok())
    }
}

/// Appends a vector whose count is known only at its end.
pub(crate) fn append<'s>(out: &mut Vec<u8>, strings: impl IntoIterator<Item = &'s [u8]>) {
    let mut to = Writer::new(out);
    let count_at = to.position();
    to.count(0);
    let mut count = 0;
    for string in strings {
        to.bytes(string);
        count += 1;
    }
    to.patch_int(count_at, count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_refused_and_the_tail_is_left() {
        let mut bytes = Names::build([&b"/a"[..], b""]);
        bytes.extend_from_slice(b"tail");
        let mut from = Reader::new(&bytes);
        let names = Names::decode(&mut from).expect("well formed");
        assert_eq!(from.rest(), b"tail");
        assert_eq!(names.iter().collect::<Vec<_>>(), [&b"/a"[..], b""]);
        assert_eq!((names.len(), names.is_empty()), (2, false));
        let null_vector = [0xff; 4];
        assert_eq!(Names::decode(&mut Reader::new(&null_vector)), Err(DecodeError::UnexpectedNull));
        let null_string = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Names::decode(&mut Reader::new(&null_string)), Err(DecodeError::UnexpectedNull));
    }
}
