//! Frames: a 32-bit length, then that many bytes (`client-protocol` 1.1).

use std::ops::Range;

/// Bytes of the length in front of every frame.
pub const PREFIX: usize = 4;

/// Default for the largest payload of a request, bytes (`jute.maxbuffer`).
pub const PAYLOAD_MAX_DEFAULT: usize = 0xf_ffff;

/// What stands at the front of a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Split {
    /// Not a whole frame yet.
    NeedMore {
        /// Bytes the buffer must hold before it is worth asking again.
        total: usize,
    },
    /// A whole frame.
    Frame {
        /// The payload within the buffer; the next frame starts at its end.
        payload: Range<usize>,
    },
    /// The length is negative or above the limit: close the connection without a word.
    BadLength(i32),
}

/// Looks for a frame at the start of `buffer`. A payload of exactly `payload_max` bytes passes.
#[inline]
pub fn split(buffer: &[u8], payload_max: usize) -> Split {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else {
        return Split::NeedMore { total: PREFIX };
    };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(payload) if payload <= payload_max => {
            let total = PREFIX + payload;
            if buffer.len() < total {
                Split::NeedMore { total }
            } else {
                Split::Frame { payload: PREFIX..total }
            }
        }
        _ => Split::BadLength(length),
    }
}

/// Starts a frame at the end of `out`; [`end`] takes the returned position.
#[inline]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    at
}

/// Ends the frame that [`begin`] started: fills in its length.
#[inline]
pub fn end(out: &mut [u8], at: usize) {
    let length = i32::try_from(out.len() - at - PREFIX).expect("a frame is far below 2 GiB");
    out[at..at + PREFIX].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_the_payload_only() {
        assert_eq!(split(&[0, 0, 0, 2, 7, 8, 9], 2), Split::Frame { payload: 4..6 });
        assert_eq!(split(&[0, 0, 0, 3], 2), Split::BadLength(3));
        assert_eq!(split(&[0xff; 4], usize::MAX), Split::BadLength(-1));
        assert_eq!(split(b"ruok", PAYLOAD_MAX_DEFAULT), Split::BadLength(1_920_298_859));
        assert_eq!(split(&[0, 0, 0, 0], 0), Split::Frame { payload: 4..4 });
    }

    #[test]
    fn a_cut_frame_says_how_much_is_missing() {
        for (buffer, total) in
            [(&[][..], 4), (&[0, 0, 0], 4), (&[0, 0, 0, 5], 9), (&[0, 0, 0, 5, 1, 2, 3, 4], 9)]
        {
            assert_eq!(split(buffer, 100), Split::NeedMore { total }, "{buffer:?}");
        }
    }

    #[test]
    fn begin_and_end_enclose() {
        let mut out = b"before".to_vec();
        let at = begin(&mut out);
        out.extend_from_slice(b"abc");
        end(&mut out, at);
        assert_eq!(&out[6..], [0, 0, 0, 3, b'a', b'b', b'c']);
    }
}
