//! Four-letter words (`client-protocol` 9.1): recognized in the first four bytes of a connection
//! and nowhere else.

use model::Now;

use super::connection::Phase;
use super::{Shard, ShardOutputs};
use crate::admin::four_letter::NOT_SERVING;
use crate::link::{Query, Service, ToCore};

/// Every word there is. Other letters are not a word but the length of a frame.
const WORDS: [&[u8; 4]; 18] = [
    b"ruok", b"isro", b"srvr", b"stat", b"mntr", b"conf", b"cons", b"crst", b"srst", b"dirs",
    b"dump", b"envi", b"wchs", b"wchc", b"wchp", b"gtmk", b"stmk", b"hash",
];
/// What a telnet client sends when it is interrupted.
const TELNET_CLOSE: [u8; 4] = [0xff, 0xf4, 0xff, 0xfd];
/// Bytes behind stmk.
const MASK_LEN: usize = 8;

/// True for letters that are a word.
pub(super) fn is_word(four: [u8; 4]) -> bool {
    WORDS.contains(&&four) || four == TELNET_CLOSE
}

impl Shard {
    /// Takes a word and what belongs to it. Returns how many bytes were used.
    pub(super) fn on_word(
        &mut self,
        now: Now,
        slot: u32,
        word: [u8; 4],
        rest: &[u8],
        out: &mut ShardOutputs,
    ) -> usize {
        if word == TELNET_CLOSE {
            self.close(slot, "telnet close", out);
            return word.len();
        }
        if self.config.words.as_ref().is_some_and(|words| !words.contains(&word)) {
            let name = String::from_utf8_lossy(&word);
            let text = format!("{name} is not executed because it is not in the whitelist.\n");
            self.answer_word(now, slot, text.as_bytes(), out);
            return word.len();
        }
        let argument = if word == *b"stmk" { rest.get(..MASK_LEN) } else { Some(&[][..]) };
        let Some(argument) = argument else {
            // ZooKeeper reads the mask once and never waits for it.
            self.close(slot, "stmk without its mask", out);
            return word.len();
        };
        let conn = self.connections.at(slot).expect("the caller has this connection");
        conn.stats.received += 1;
        self.stats.received += 1;
        // From here on nothing is read: the answer must not race against the end of the peer's
        // side of the stream, which `echo word | nc` closes at once.
        conn.phase = Phase::Word;
        self.pause(slot, out);
        match &word {
            b"ruok" => self.answer_word(now, slot, b"imok", out),
            b"isro" => {
                let text: &[u8] = match self.service {
                    Service::Everybody => b"rw",
                    Service::Readers => b"ro",
                    Service::Nobody => b"null",
                };
                self.answer_word(now, slot, text, out);
            }
            b"envi" => {
                let text = self.config.envi_text.clone();
                self.answer_word(now, slot, text.as_bytes(), out);
            }
            b"gtmk" | b"stmk" => {
                if let Ok(mask) = <[u8; MASK_LEN]>::try_from(argument) {
                    self.trace_mask = i64::from_be_bytes(mask);
                    self.send(ToCore::TraceMask(self.trace_mask), out);
                }
                let text = self.trace_mask.to_string();
                self.answer_word(now, slot, text.as_bytes(), out);
            }
            _ if self.service == Service::Nobody => {
                let text = if word == *b"hash" { NOT_SERVING.trim_end() } else { NOT_SERVING };
                self.answer_word(now, slot, text.as_bytes(), out);
            }
            _ => {
                let conn = self.connections.id(slot);
                self.send(ToCore::Query(Query { conn, word, argument: Vec::new() }), out);
            }
        }
        word.len() + argument.len()
    }

    /// Sends the whole answer, then closes: some clients read once.
    pub(super) fn answer_word(&mut self, now: Now, slot: u32, text: &[u8], out: &mut ShardOutputs) {
        let conn = self.connections.at(slot).expect("the caller has this connection");
        conn.outbox.back().extend_from_slice(text);
        conn.stats.sent += 1;
        conn.stats.last_response = now.mono;
        self.stats.sent += 1;
        self.dirty(slot);
        self.close(slot, "four-letter word answered", out);
    }
}
