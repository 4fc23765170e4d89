//! The clients' side of the world: connecting, asking, vanishing, and hearing what was answered.

use model::SessionId;
use protocol::{Answer, ConnectResponse, ServerFrame, Split};

use super::{Outcome, World};
use crate::checkers::Seen;
use crate::client::{Asked, Client, Standing};
use crate::network::{Link, take};
use crate::node;
use crate::story::Told;

/// The words that clients ask.
const WORDS: &[&[u8; 4]] = &[
    b"ruok", b"srvr", b"stat", b"mntr", b"cons", b"dump", b"wchs", b"wchc", b"wchp", b"envi",
    b"conf", b"isro", b"hash", b"dirs", b"crst", b"srst",
];

impl World {
    pub(super) fn client_turn(&mut self, index: usize) -> Outcome {
        let floor = self.history.floor(index);
        let client = &mut self.clients[index];
        match client.standing {
            Standing::Away if self.scripted && !self.wanted[index] => Ok(()),
            Standing::Away => {
                self.connect(index);
                Ok(())
            }
            Standing::Knocking | Standing::Asking(_) => {
                if client.dice().per_mille(self.options.disconnect) && self.faults {
                    return self.disconnect(index);
                }
                Ok(())
            }
            Standing::Attached => {
                if client.dice().per_mille(self.options.disconnect) && self.faults {
                    return self.disconnect(index);
                }
                if client.dice().per_mille(self.options.rubbish) && self.faults {
                    let length = client.dice().below(40);
                    let bytes = (0..length).map(|_| client.dice().word() as u8).collect();
                    self.transmit(index, bytes);
                    return self.disconnect(index);
                }
                if client.dice().per_mille(self.options.rubbish) && self.faults {
                    // Half a request, and gone.
                    let mut bytes = client.ask(&self.options, floor);
                    bytes.truncate(bytes.len() / 2);
                    self.transmit(index, bytes);
                    return self.disconnect(index);
                }
                let beat = client.timeout_ms as u64 * 1_000_000 / 3;
                let due = self.now - client.last_sent > beat;
                if due && !client.silent {
                    let bytes = client.ping(floor);
                    self.transmit(index, bytes);
                } else if !self.scripted && !self.quiet {
                    let rarely = client.silent && client.pending.is_empty();
                    let asks = if client.silent {
                        rarely && client.dice().per_mille(3)
                    } else {
                        client.pending.len() < self.options.depth
                    };
                    if asks {
                        let bytes = client.ask(&self.options, floor);
                        self.transmit(index, bytes);
                    }
                }
                Ok(())
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let at = self.choose_server(index);
        if !self.nodes[at].is_awake(self.now) {
            return;
        }
        let now = self.nodes[at].now(self.now);
        let process = self.nodes[at].process.as_mut().expect("awake means running");
        let shard = self.dice.index(process.shards.len());
        let slot = &mut process.shards[shard];
        let peer = ([127, 0, 0, 1], 40_000 + (self.next_link % 20_000) as u16).into();
        let conn = slot.shard.accept(now, peer);
        slot.dirty = true;
        slot.links.insert(conn, self.next_link);
        let mut link = Link::new(index, at, shard, conn);
        link.slow = self.faults && self.dice.per_mille(self.options.slow_link);
        self.links.insert(self.next_link, link);
        self.clients[index].link = Some(self.next_link);
        self.history.connected.insert(index, at);
        self.next_link += 1;
        self.note_at(at, "cl", "connect", &format!("{index} on shard {shard}"));
        if self.faults && self.dice.per_mille(self.options.words) {
            let word = **self.dice.pick(WORDS);
            self.clients[index].standing = Standing::Asking(word);
            self.transmit(index, word.to_vec());
            return;
        }
        if self.faults && self.dice.per_mille(self.options.steal) {
            self.take_over(index);
        }
        let (bytes, timeout_ms) = self.clients[index].knock();
        let session = self.clients[index].session;
        if session != SessionId::NONE {
            let asked = timeout_ms.clamp(node::TIMEOUT_MS_MIN, node::TIMEOUT_MS_MAX);
            let least = self.history.asked_ms.entry(session).or_insert(asked);
            *least = asked.min(*least);
        }
        self.transmit(index, bytes);
    }

    /// The server that a client tries next: where it was, or another.
    fn choose_server(&mut self, index: usize) -> usize {
        if self.nodes.len() == 1 {
            return 0;
        }
        if let Some(at) = self.sent_to[index] {
            return at;
        }
        let last = self.history.connected.get(&index).copied();
        // Whoever cannot be reached is not tried for ever.
        match last.filter(|at| self.nodes[*at].is_awake(self.now) && self.history.seats[*at].serves)
        {
            Some(at) if !self.dice.per_mille(self.options.moves) => at,
            _ => self.dice.index(self.nodes.len()),
        }
    }

    /// A client takes over another one's session, whose password it knows, and forgets its own.
    fn take_over(&mut self, index: usize) {
        let from = self.dice.index(self.clients.len());
        let victim = &self.clients[from];
        let (session, password, seen) = (victim.session, victim.password, victim.last_zxid);
        let thief = &mut self.clients[index];
        if from != index && session != SessionId::NONE {
            thief.forget();
            thief.session = session;
            thief.password = password;
            thief.last_zxid = seen;
            self.note("cl", "steals", &format!("{index} from {from}"));
        }
    }

    pub(crate) fn transmit(&mut self, index: usize, bytes: Vec<u8>) {
        let client = &mut self.clients[index];
        client.last_sent = self.now;
        if client.pending.iter().any(|pending| pending.asked == Asked::Close) {
            self.history.closing.insert(client.session);
        }
        let length = bytes.len();
        if let Some(link) = client.link.and_then(|id| self.links.get_mut(&id))
            && !link.server_closed
        {
            link.send(bytes);
        }
        self.note("cl", "send", &format!("{index} {length}"));
    }

    /// The client goes away without a word; the server learns of it later.
    pub(crate) fn disconnect(&mut self, index: usize) -> Outcome {
        if let Some(link) = self.clients[index].link.and_then(|id| self.links.get_mut(&id)) {
            link.client_closed = true;
            link.half_open = self.faults && self.dice.per_mille(self.options.half_open);
            link.to_client.clear();
        }
        self.clients[index].dropped();
        self.note("cl", "vanish", &index);
        self.see(&Seen::Dropped { client: index })
    }

    pub(super) fn receive(&mut self, id: usize) -> Outcome {
        let link = self.links.get_mut(&id).expect("enabled only while it exists");
        let index = link.client;
        let most = if self.dice.per_mille(self.options.pieces) {
            self.dice.between(1, 30) as usize
        } else {
            usize::MAX
        };
        let bytes = take(&mut link.to_client, most);
        if bytes.is_empty() {
            link.client_closed = true;
            let current = self.clients[index].link == Some(id);
            self.links.remove(&id);
            if current && let Standing::Asking(word) = self.clients[index].standing {
                self.hear_word(index, word)?;
            }
            self.note("cl", "dropped", &index);
            if current {
                self.clients[index].dropped();
                return self.see(&Seen::Dropped { client: index });
            }
            return Ok(());
        }
        self.clients[index].inbox.extend_from_slice(&bytes);
        while self.clients[index].link == Some(id)
            && !matches!(self.clients[index].standing, Standing::Asking(_))
        {
            let inbox = &mut self.clients[index].inbox;
            let (body, end) = match protocol::frame::split(inbox, 1 << 24) {
                Split::NeedMore { .. } => break,
                Split::Frame { payload } => (inbox[payload.clone()].to_vec(), payload.end),
                Split::BadLength(length) => {
                    return Err(self.violation("well_formed", format!("frame length {length}")));
                }
            };
            self.clients[index].inbox.drain(..end);
            self.frame(index, &body)?;
        }
        Ok(())
    }

    /// The text that a word was answered with, as far as it came.
    fn hear_word(&mut self, index: usize, word: [u8; 4]) -> Outcome {
        let text = std::mem::take(&mut self.clients[index].inbox);
        let text = String::from_utf8_lossy(&text);
        self.note("cl", "word", &format!("{index} {} {}", word.escape_ascii(), text.len()));
        let shown = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x"));
        let shown = shown.and_then(|hex| i64::from_str_radix(hex, 16).ok());
        if shown.is_some_and(|zxid| {
            zxid > self.history.seats[self.history.server_of(index)].published.0
        }) {
            let words = format!("{} told of {shown:?}", word.escape_ascii());
            return Err(self.violation("words_tell_the_truth", words));
        }
        if word == *b"ruok" && !text.is_empty() && text != "imok" {
            return Err(self.violation("words_tell_the_truth", format!("ruok: {text}")));
        }
        Ok(())
    }

    fn frame(&mut self, index: usize, body: &[u8]) -> Outcome {
        if self.clients[index].standing == Standing::Knocking {
            return self.connect_response(index, body);
        }
        let frame = ServerFrame::decode(body)
            .map_err(|error| self.violation("well_formed", format!("{error}: {body:?}")))?;
        match frame {
            ServerFrame::Event(event) => {
                self.summary.watch_events += 1;
                self.note("cl", "event", &format!("{index} {event:?}"));
                if self.scripted {
                    let path = String::from_utf8_lossy(event.path).into_owned();
                    self.told[index].push(Told::Event(event.kind, path));
                }
                self.see(&Seen::Event { client: index, event })
            }
            ServerFrame::Reply(header, rest) => {
                let Some(pending) = self.clients[index].pending.pop_front() else {
                    let words = format!("client {index} was owed nothing and got {header:?}");
                    return Err(self.violation("session_fifo", words));
                };
                self.summary.answers += 1;
                let answer = match header.err {
                    0 => Some(Answer::decode(pending.opcode, rest).map_err(|error| {
                        self.violation("well_formed", format!("{error} in {pending:?}: {rest:?}"))
                    })?),
                    _ => None,
                };
                let words = format!("{index} {:?} {:?} {}", header.xid, header.zxid, header.err);
                self.note("cl", "answer", &words);
                if self.scripted && pending.asked != Asked::Ping {
                    self.told[index].push(Told::Answer(header.err));
                }
                let session = self.clients[index].session;
                self.see(&Seen::Replied {
                    client: index,
                    session,
                    pending: &pending,
                    header,
                    answer: answer.as_ref(),
                })?;
                if !self.faults {
                    self.converges.answered(index, &pending.asked);
                }
                self.history.show(index, header.zxid);
                let client = &mut self.clients[index];
                if header.zxid.0 > 0 {
                    client.last_zxid = header.zxid;
                }
                remember(client, &pending.asked, header.err);
                if pending.asked == Asked::Close {
                    client.forget();
                }
                Ok(())
            }
        }
    }

    fn connect_response(&mut self, index: usize, body: &[u8]) -> Outcome {
        let response = ConnectResponse::decode(body)
            .map_err(|error| self.violation("well_formed", error.to_string()))?;
        let client = &mut self.clients[index];
        if response.timeout_ms <= 0 {
            let had = client.session;
            client.forget();
            self.note("cl", "refused", &format!("{index} {had}"));
            if self.scripted {
                self.told[index].push(Told::Refused);
            }
            return Ok(());
        }
        client.standing = Standing::Attached;
        if self.options.steal == 0 {
            // It was attached after that silence, so it had not ended.
            for seat in &mut self.history.seats {
                seat.silences.remove(&response.session);
            }
        }
        client.session = response.session;
        client.password = response.password;
        client.timeout_ms = response.timeout_ms;
        self.note("cl", "attached", &format!("{index} {}", response.session));
        self.see(&Seen::Attached {
            client: index,
            session: response.session,
            timeout_ms: response.timeout_ms,
        })?;
        let floor = self.history.floor(index);
        if self.clients[index].keeper {
            let bytes = self.clients[index].authenticate(floor);
            self.transmit(index, bytes);
        }
        if let Some(bytes) = self.clients[index].restore_watches(floor) {
            self.transmit(index, bytes);
        }
        Ok(())
    }
}

/// What the client library would restore after a reconnect.
fn remember(client: &mut Client, asked: &Asked, err: i32) {
    let (fine, missing) = (err == 0, err == model::ErrorCode::NoNode.code());
    let put = |list: &mut Vec<Vec<u8>>, path: &Vec<u8>| {
        if !list.contains(path) {
            list.push(path.clone());
        }
    };
    let [data, exist, child, persistent, recursive] = &mut client.remembered;
    match asked {
        Asked::Exists(path, true) if fine => put(data, path),
        Asked::Exists(path, true) if missing => put(exist, path),
        Asked::GetData(path, true) if fine => put(data, path),
        Asked::GetChildren(path, true) if fine => put(child, path),
        Asked::AddWatch(path, protocol::AddWatchMode::Persistent) if fine => put(persistent, path),
        Asked::AddWatch(path, protocol::AddWatchMode::PersistentRecursive) if fine => {
            put(recursive, path);
        }
        Asked::RemoveWatches(path) if fine => {
            for list in &mut client.remembered {
                list.retain(|known| known != path);
            }
        }
        Asked::Exists(..)
        | Asked::GetData(..)
        | Asked::GetChildren(..)
        | Asked::AddWatch(..)
        | Asked::RemoveWatches(_)
        | Asked::MultiRead(..)
        | Asked::GetAcl(_)
        | Asked::GetEphemerals
        | Asked::CountAll(_)
        | Asked::CheckWatches(_)
        | Asked::WhoAmI
        | Asked::Auth
        | Asked::Write(_)
        | Asked::Multi
        | Asked::Sync
        | Asked::Ping
        | Asked::SetWatches(..)
        | Asked::Close
        | Asked::Malformed => {}
    }
}
