//! As much of HTTP/2 and gRPC as a client of etcd needs (RFC 9113, RFC 7541, gRPC over HTTP/2).
//!
//! Written out here because a full client spends tens of microseconds on a call, on the same
//! cores that the measured server runs on, and its cost would pass for etcd's. Requests are made
//! beforehand; of the answers only frame headers are looked at, and the first bytes of messages
//! on the stream that watches.

use anyhow::{Result, bail};

use super::connection::Arrival;
use super::etcd;

/// First bytes of a connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes in front of every frame.
const HEADER: usize = 9;
/// Largest payload of a frame that needs no permission.
const FRAME_MAX: usize = 16 * 1024;
/// Send window of a connection before the server enlarges it.
const FIRST_WINDOW: i64 = 65_535;
/// Received bytes after which the server is given new room.
const CREDIT_STEP: u32 = 1 << 20;
/// The stream of the first call, which fills the server's table of headers.
const FIRST_STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
/// A reason for the end of a stream: none.
const NO_ERROR: u32 = 0;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// gRPC's status "unknown", for calls whose end names none.
const UNKNOWN: i32 = 2;
/// "grpc-status" in the code of RFC 7541, appendix B.
const GRPC_STATUS: [u8; 8] = [0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

/// The stream of a request with this tag. Tags count from 1; stream 1 is the first call's.
pub(super) fn stream_of(tag: i32) -> u32 {
    2 * tag as u32 + 1
}

fn tag_of(stream: u32) -> i32 {
    ((stream - 1) / 2) as i32
}

/// One connection's state.
#[derive(Debug)]
pub(super) struct Http2 {
    /// Bytes of request data that the server still takes.
    window: i64,
    /// Bytes at the front of the outgoing buffer that the window covers.
    released: usize,
    /// Received bytes of data for which no room was given yet.
    uncredited: u32,
    /// Calls whose message has come and whose end has not.
    answered: Vec<u32>,
    /// The stream that watches, and what has come of a message.
    watch: Option<(u32, Vec<u8>)>,
}

impl Http2 {
    /// A new connection; appends its first bytes, the last of them a call that reads nothing and
    /// teaches the server the headers that all calls share.
    pub(super) fn start(authority: &str, out: &mut Vec<u8>) -> Http2 {
        out.extend_from_slice(PREFACE);
        // No table for the answers' headers; no pushes; windows as large as they can be.
        let settings = [(1_u16, 0_u32), (2, 0), (4, i32::MAX as u32)];
        frame(out, SETTINGS, 0, 0, settings.len() * 6);
        for (key, value) in settings {
            out.extend_from_slice(&key.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        frame(out, WINDOW_UPDATE, 0, 0, 4);
        out.extend_from_slice(&(i32::MAX as u32 - FIRST_WINDOW as u32).to_be_bytes());
        let mut block = vec![0x83, 0x86];
        path(etcd::RANGE, &mut block);
        // Kept in the table: :authority, content-type, te.
        block.push(0x41);
        text(authority, &mut block);
        block.push(0x5f);
        text("application/grpc", &mut block);
        block.push(0x40);
        text("te", &mut block);
        text("trailers", &mut block);
        frame(out, HEADERS, END_HEADERS, FIRST_STREAM, block.len());
        out.extend_from_slice(&block);
        data(FIRST_STREAM, &etcd::range(b"\0", true), true, out);
        Http2 {
            window: FIRST_WINDOW,
            released: 0,
            uncredited: 0,
            answered: Vec::new(),
            watch: None,
        }
    }

    /// Messages on this call's stream are told apart as watch events from now on.
    pub(super) fn watches(&mut self, tag: i32) {
        self.watch = Some((stream_of(tag), Vec::new()));
    }

    /// How much of the outgoing bytes may be sent; data waits for the server's window.
    pub(super) fn released(&mut self, out: &[u8]) -> usize {
        if self.released == 0 && out.starts_with(PREFACE) {
            self.released = PREFACE.len();
        }
        while let Some(header) = out.get(self.released..self.released + HEADER) {
            let length = length(header);
            if header[3] == DATA {
                if (length as i64) > self.window {
                    break;
                }
                self.window -= length as i64;
            }
            self.released += HEADER + length;
        }
        self.released
    }

    /// The outgoing buffer was emptied.
    pub(super) fn emptied(&mut self) {
        self.released = 0;
    }

    /// Takes whole frames off the front of `bytes`; returns how many bytes they took. What the
    /// server must be told in return is appended to `out`.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<usize> {
        let mut used = 0;
        while let Some(header) = bytes.get(used..used + HEADER) {
            let Some(payload) = bytes.get(used + HEADER..used + HEADER + length(header)) else {
                break;
            };
            used += HEADER + payload.len();
            let (kind, flags) = (header[3], header[4]);
            let stream = word(&header[5..]) & 0x7fff_ffff;
            match kind {
                DATA => {
                    self.uncredited += payload.len() as u32;
                    if self.uncredited >= CREDIT_STEP {
                        frame(out, WINDOW_UPDATE, 0, 0, 4);
                        out.extend_from_slice(&self.uncredited.to_be_bytes());
                        self.uncredited = 0;
                    }
                    self.on_data(stream, payload, take)?;
                    if flags & END_STREAM != 0 {
                        self.on_end(stream, &[], take)?;
                    }
                }
                HEADERS if flags & END_STREAM != 0 => self.on_end(stream, payload, take)?,
                // A complete answer has come before; a server that had not yet seen our end says
                // this, too (RFC 9113, 8.1).
                RST_STREAM if payload.len() == 4 && word(payload) == NO_ERROR => {}
                RST_STREAM => {
                    self.answered.retain(|&open| open != stream);
                    take(Arrival::Reply { tag: tag_of(stream), err: UNKNOWN })?;
                }
                SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, 0),
                PING if flags & ACK == 0 => {
                    frame(out, PING, ACK, 0, payload.len());
                    out.extend_from_slice(payload);
                }
                GOAWAY => {
                    let why = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                    bail!("etcd ends the connection: {why}");
                }
                WINDOW_UPDATE if stream == 0 && payload.len() == 4 => {
                    self.window += i64::from(word(payload) & 0x7fff_ffff);
                }
                _ => {}
            }
        }
        Ok(used)
    }

    fn on_data(
        &mut self,
        stream: u32,
        payload: &[u8],
        take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        match &mut self.watch {
            Some((watching, partial)) if *watching == stream => {
                partial.extend_from_slice(payload);
                let mut used = 0;
                while let Some(prefix) = partial.get(used..used + 5) {
                    let length = word(&prefix[1..]) as usize;
                    let Some(message) = partial.get(used + 5..used + 5 + length) else { break };
                    etcd::on_watch_response(tag_of(stream), message, take)?;
                    used += 5 + length;
                }
                partial.drain(..used);
            }
            _ if !self.answered.contains(&stream) => self.answered.push(stream),
            _ => {}
        }
        Ok(())
    }

    /// A call ended. One that succeeded has brought a message; one that failed brings a status
    /// instead.
    fn on_end(
        &mut self,
        stream: u32,
        trailers: &[u8],
        take: &mut impl FnMut(Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        let at = self.answered.iter().position(|&open| open == stream);
        let err = match at {
            Some(at) => {
                self.answered.swap_remove(at);
                0
            }
            None => status(trailers),
        };
        if stream == FIRST_STREAM {
            return take(Arrival::Opened { timeout_ms: i32::MAX, ticket: None });
        }
        take(Arrival::Reply { tag: tag_of(stream), err })
    }
}

/// Appends a call: its headers and its one message.
pub(super) fn call(tag: i32, method: &str, message: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut block = vec![0x83, 0x86];
    path(method, &mut block);
    // :authority, content-type, te as the first call put them into the table.
    block.extend_from_slice(&[0xc0, 0xbf, 0xbe]);
    frame(out, HEADERS, END_HEADERS, stream_of(tag), block.len());
    out.extend_from_slice(&block);
    data(stream_of(tag), message, last, out);
}

/// Where the stream's number stands in the frames of a call.
pub(super) fn stream_places(call: &[u8]) -> Vec<usize> {
    let (mut at, mut places) = (0, Vec::new());
    while let Some(header) = call.get(at..at + HEADER) {
        places.push(at + 5);
        at += HEADER + length(header);
    }
    places
}

fn data(stream: u32, message: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    let count = body.chunks(FRAME_MAX).count();
    for (index, chunk) in body.chunks(FRAME_MAX).enumerate() {
        let flags = if last && index + 1 == count { END_STREAM } else { 0 };
        frame(out, DATA, flags, stream, chunk.len());
        out.extend_from_slice(chunk);
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn length(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A literal of less than 127 bytes.
fn text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() < 127, "one byte of length");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// `:path`, not kept in the table.
fn path(path: &str, out: &mut Vec<u8>) {
    out.push(0x04);
    text(path, out);
}

/// gRPC's status in a block of headers. etcd writes the name in code and the number, which is
/// no longer in code, plain.
fn status(block: &[u8]) -> i32 {
    let plain = b"grpc-status".as_slice();
    [GRPC_STATUS.as_slice(), plain]
        .into_iter()
        .find_map(|name| {
            let at = block.windows(name.len()).position(|found| found == name)? + name.len();
            let digits = block.get(at + 1..at + 1 + usize::from(block.get(at)? & 0x7f))?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        })
        .unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(http2: &mut Http2, bytes: &[u8]) -> (Vec<String>, Vec<u8>, usize) {
        let (mut seen, mut out) = (Vec::new(), Vec::new());
        let used = http2
            .receive(bytes, &mut out, &mut |arrival| {
                seen.push(format!("{arrival:?}"));
                Ok(())
            })
            .expect("legal frames");
        (seen, out, used)
    }

    fn trailers(stream: u32, block: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, stream, block.len());
        bytes.extend_from_slice(block);
        bytes
    }

    #[test]
    fn a_message_and_an_end_are_a_success_and_an_end_alone_is_a_refusal() {
        let mut http2 = Http2::start("x:1", &mut Vec::new());
        let mut bytes = Vec::new();
        data(stream_of(5), b"answer", false, &mut bytes);
        bytes.extend(trailers(stream_of(5), &[]));
        frame(&mut bytes, RST_STREAM, 0, stream_of(5), 4);
        bytes.extend_from_slice(&NO_ERROR.to_be_bytes());
        let mut block = vec![0x00, 0x80 | GRPC_STATUS.len() as u8];
        block.extend_from_slice(&GRPC_STATUS);
        block.extend_from_slice(b"\x0214");
        bytes.extend(trailers(stream_of(6), &block));
        let whole = bytes.len();
        bytes.extend_from_slice(&[0, 0, 9]);
        let (seen, _, used) = arrivals(&mut http2, &bytes);
        assert_eq!(seen, ["Reply { tag: 5, err: 0 }", "Reply { tag: 6, err: 14 }"]);
        assert_eq!(used, whole, "the frame that is not whole stays");
    }

    #[test]
    fn data_waits_for_the_window_and_control_frames_do_not() {
        let mut out = Vec::new();
        let mut http2 = Http2::start("x:1", &mut out);
        assert_eq!(http2.released(&out), out.len());
        let first = out.len();
        for tag in 1..=2 {
            call(tag, etcd::PUT, &vec![7; 40_000], true, &mut out);
        }
        let released = http2.released(&out);
        assert!(released > first + 40_000 && released < out.len());
        let mut update = Vec::new();
        frame(&mut update, WINDOW_UPDATE, 0, 0, 4);
        update.extend_from_slice(&100_000_u32.to_be_bytes());
        arrivals(&mut http2, &update);
        assert_eq!(http2.released(&out), out.len());
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut http2 = Http2::start("x:1", &mut Vec::new());
        let mut bytes = Vec::new();
        frame(&mut bytes, SETTINGS, 0, 0, 0);
        frame(&mut bytes, PING, 0, 0, 8);
        bytes.extend_from_slice(b"12345678");
        let (seen, out, _) = arrivals(&mut http2, &bytes);
        assert!(seen.is_empty());
        assert_eq!((out[3], out[4]), (SETTINGS, ACK));
        assert_eq!((out[HEADER + 3], out[HEADER + 4]), (PING, ACK));
        assert!(out.ends_with(b"12345678"));
    }

    #[test]
    fn every_frame_of_a_call_has_its_stream_found() {
        let mut out = Vec::new();
        call(1, etcd::PUT, &vec![7; 40_000], true, &mut out);
        let places = stream_places(&out);
        assert_eq!(places.len(), 4, "headers and three frames of data");
        assert!(places.iter().all(|&at| word(&out[at..]) == stream_of(1)));
    }
}
