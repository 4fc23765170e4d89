//! The score of a run: one line per event, fixed columns, a running hash of all of them.

use std::fmt::Write as _;

/// Collects or only hashes the lines of a run.
#[derive(Debug)]
pub struct Trace {
    keep: bool,
    lines: Vec<String>,
    line: String,
    /// FNV-1a over all lines: equal hashes mean equal runs.
    hash: u64,
    count: u64,
}

impl Trace {
    /// Keeps the text of the lines, or only their hash.
    pub fn new(keep: bool) -> Trace {
        Trace {
            keep,
            lines: Vec::new(),
            line: String::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
        }
    }

    /// Adds a line: event number, true time in us, who, what, details.
    pub fn event(
        &mut self,
        step: u64,
        now: u64,
        who: &str,
        what: &str,
        details: &dyn std::fmt::Display,
    ) {
        self.line.clear();
        write!(self.line, "{step:>6} {:>12} {who:<5} {what:<9} {details}", now / 1000)
            .expect("writing to a string");
        for byte in self.line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if self.keep {
            self.lines.push(self.line.clone());
        }
    }

    /// Hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Lines so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The kept lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
