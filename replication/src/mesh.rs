//! Election connections: at most one per pair of servers, and the one that the server with the
//! larger number opened survives (`zab-wire` 1.2 to 1.4).

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Mono, ServerId};

use crate::election::Vote;
use crate::membership::Address;
use crate::output::{Bytes, LinkId, Output, Port};
use crate::wire::WireError;
use crate::wire::election::{Initiation, Notification, frame};

/// Connections that have not said who they are, at most.
const STRANGERS_MAX: usize = 64;

/// A vote that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) from: ServerId,
    pub(crate) vote: Vote,
}

#[derive(Debug)]
enum Channel {
    Dialing { peer: ServerId, until: Mono },
    Stranger { bytes: Vec<u8>, until: Mono },
    Open { peer: ServerId, bytes: Vec<u8> },
}

#[derive(Debug, Default)]
struct Peer {
    open: Option<LinkId>,
    dialing: Option<LinkId>,
    /// Said again whenever a connection comes about.
    last: Option<Bytes>,
    /// There was a connection once. A server that was never there may be starting.
    seen: bool,
    /// The last attempt to connect to it failed, and it has not connected since.
    unreachable: bool,
    /// Where it said to be reachable, for servers the configuration does not know.
    called_from: Vec<Address>,
}

/// All election connections of a server.
#[derive(Debug)]
pub(crate) struct Mesh {
    me: ServerId,
    initiation: Vec<u8>,
    setup_limit: Duration,
    channels: BTreeMap<LinkId, Channel>,
    peers: BTreeMap<ServerId, Peer>,
    next_link: u64,
}

impl Mesh {
    pub(crate) fn new(me: ServerId, own: &[Address], setup_limit: Duration) -> Mesh {
        let own: Vec<String> = own.iter().take(1).map(Address::to_string).collect();
        let addresses = own.iter().map(String::as_str).collect();
        let message = Initiation { server: i64::from(me.0), addresses, multi_address: false };
        let initiation = message.to_bytes();
        let (channels, peers) = (BTreeMap::new(), BTreeMap::new());
        Mesh { me, initiation, setup_limit, channels, peers, next_link: 0 }
    }

    /// An id for a connection to ask for, on either port.
    pub(crate) fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId::dialed(self.next_link)
    }

    /// True if this is an election connection.
    pub(crate) fn has(&self, link: LinkId) -> bool {
        self.channels.contains_key(&link)
    }

    /// Says something to a peer, replacing what was said before and not delivered. Connects
    /// first if need be; `configured` is where the configuration says the peer is.
    pub(crate) fn send(
        &mut self,
        peer: ServerId,
        configured: Vec<Address>,
        message: Bytes,
        now: Mono,
        out: &mut Vec<Output>,
    ) {
        let slot = self.peers.entry(peer).or_default();
        slot.last = Some(message.clone());
        match slot.open {
            Some(link) => out.push(Output::Send { link, bytes: message }),
            None => self.dial(peer, configured, now, out),
        }
    }

    /// True if nobody answers any more at a peer's address.
    pub(crate) fn is_unreachable(&self, peer: ServerId) -> bool {
        self.peers.get(&peer).is_some_and(|slot| slot.unreachable)
    }

    /// True if there was a connection to a peer, and now there is none.
    pub(crate) fn is_lost(&self, peer: ServerId) -> bool {
        self.peers.get(&peer).is_some_and(|slot| slot.seen && slot.open.is_none())
    }

    fn dial(&mut self, peer: ServerId, to: Vec<Address>, now: Mono, out: &mut Vec<Output>) {
        let link = self.new_link();
        let slot = self.peers.entry(peer).or_default();
        let to = if to.is_empty() { slot.called_from.clone() } else { to };
        if slot.dialing.is_some() || to.is_empty() {
            return;
        }
        slot.dialing = Some(link);
        self.channels.insert(link, Channel::Dialing { peer, until: now + self.setup_limit });
        out.push(Output::Dial { link, peer, port: Port::Election, to });
    }

    /// Somebody connected.
    pub(crate) fn on_accepted(&mut self, link: LinkId, now: Mono, out: &mut Vec<Output>) {
        let strangers = |c: &&Channel| matches!(c, Channel::Stranger { .. });
        if self.channels.values().filter(strangers).count() >= STRANGERS_MAX {
            out.push(Output::Close { link });
            return;
        }
        let until = now + self.setup_limit;
        self.channels.insert(link, Channel::Stranger { bytes: Vec::new(), until });
    }

    /// A connection we asked for is there: introduce ourselves, and leave it to the larger number.
    pub(crate) fn on_connected(&mut self, link: LinkId, out: &mut Vec<Output>) {
        let Some(Channel::Dialing { peer, .. }) = self.channels.get(&link) else { return };
        let peer = *peer;
        let slot = self.peers.entry(peer).or_default();
        slot.dialing = None;
        slot.unreachable = false;
        out.push(Output::Send { link, bytes: Bytes::from(&self.initiation[..]) });
        if peer > self.me {
            self.channels.remove(&link);
            out.push(Output::Close { link });
        } else {
            self.keep(peer, link, Vec::new(), out);
        }
    }

    /// Bytes arrived on an election connection. `configured` says where a server is reachable.
    pub(crate) fn on_received(
        &mut self,
        link: LinkId,
        received: &[u8],
        now: Mono,
        configured: impl Fn(ServerId) -> Vec<Address>,
        out: &mut Vec<Output>,
    ) -> Vec<Heard> {
        let mut heard = Vec::new();
        if let Some(Channel::Stranger { bytes, .. }) = self.channels.get_mut(&link) {
            bytes.extend_from_slice(received);
            let bytes = std::mem::take(bytes);
            match Initiation::decode(&bytes) {
                Ok(None) => {
                    if let Some(Channel::Stranger { bytes: kept, .. }) =
                        self.channels.get_mut(&link)
                    {
                        *kept = bytes;
                    }
                }
                Ok(Some((message, len))) => {
                    let rest = bytes[len..].to_vec();
                    self.introduce(link, &message, rest, now, configured, out);
                }
                Err(error) => {
                    tracing::warn!(?link, "election connection of a stranger closed: {error}");
                    self.drop_link(link, out);
                }
            }
        } else if let Some(Channel::Open { bytes, .. }) = self.channels.get_mut(&link) {
            bytes.extend_from_slice(received);
        }
        if let Err(error) = self.read_frames(link, &mut heard) {
            if let Some(Channel::Open { peer, .. }) = self.channels.get(&link) {
                tracing::warn!(server = peer.0, "election connection closed: {error}");
            }
            self.drop_link(link, out);
        }
        heard
    }

    /// A stranger said who it is.
    fn introduce(
        &mut self,
        link: LinkId,
        message: &Initiation<'_>,
        rest: Vec<u8>,
        now: Mono,
        configured: impl Fn(ServerId) -> Vec<Address>,
        out: &mut Vec<Output>,
    ) {
        let peer = u8::try_from(message.server).map(ServerId);
        let Some(peer) = peer.ok().filter(|peer| *peer != self.me) else {
            // Nobody we could call back: an observer without a number, or ourselves.
            return self.drop_link(link, out);
        };
        let called = message.addresses.iter().filter_map(|text| Address::parse(text));
        let slot = self.peers.entry(peer).or_default();
        slot.unreachable = false;
        slot.called_from = called.filter(|address| !address.is_wildcard()).collect();
        if peer > self.me {
            return self.keep(peer, link, rest, out);
        }
        let existing = slot.open.take();
        for link in existing.into_iter().chain([link]) {
            self.channels.remove(&link);
            out.push(Output::Close { link });
        }
        self.dial(peer, configured(peer), now, out);
    }

    /// A connection is the one to use from now on.
    fn keep(&mut self, peer: ServerId, link: LinkId, bytes: Vec<u8>, out: &mut Vec<Output>) {
        self.channels.insert(link, Channel::Open { peer, bytes });
        let slot = self.peers.entry(peer).or_default();
        slot.seen = true;
        if let Some(older) = slot.open.replace(link) {
            self.channels.remove(&older);
            out.push(Output::Close { link: older });
        }
        if let Some(last) = slot.last.clone() {
            out.push(Output::Send { link, bytes: last });
        }
    }

    fn read_frames(&mut self, link: LinkId, heard: &mut Vec<Heard>) -> Result<(), WireError> {
        let Some(Channel::Open { peer, bytes }) = self.channels.get_mut(&link) else {
            return Ok(());
        };
        let mut at = 0;
        while let Some((body, len)) = frame(&bytes[at..])? {
            at += len;
            // What cannot be understood is skipped; the connection is not at fault.
            if let Ok(notification) = Notification::decode(body) {
                heard.push(Heard { from: *peer, vote: Vote::of(&notification) });
            }
        }
        bytes.drain(..at);
        Ok(())
    }

    fn drop_link(&mut self, link: LinkId, out: &mut Vec<Output>) {
        out.push(Output::Close { link });
        self.on_disconnected(link);
    }

    /// A connection ended. It is opened again when there is something to say.
    pub(crate) fn on_disconnected(&mut self, link: LinkId) {
        match self.channels.remove(&link) {
            Some(Channel::Dialing { peer, .. }) => {
                let slot = self.peers.entry(peer).or_default();
                slot.dialing = slot.dialing.filter(|dialing| *dialing != link);
                slot.unreachable = slot.seen && slot.open.is_none();
            }
            Some(Channel::Open { peer, .. }) => {
                let slot = self.peers.entry(peer).or_default();
                slot.open = slot.open.filter(|open| *open != link);
            }
            Some(Channel::Stranger { .. }) | None => {}
        }
    }

    /// Ends connections that did not come about in time.
    pub(crate) fn on_link_setup(&mut self, now: Mono, out: &mut Vec<Output>) {
        let late = |channel: &Channel| match channel {
            Channel::Dialing { until, .. } | Channel::Stranger { until, .. } => *until <= now,
            Channel::Open { .. } => false,
        };
        let links = self.channels.iter().filter(|(_, c)| late(c)).map(|(link, _)| *link);
        for link in links.collect::<Vec<_>>() {
            self.drop_link(link, out);
        }
    }

    /// When the next connection that is coming about will be late.
    pub(crate) fn setup_deadline(&self) -> Option<Mono> {
        let deadline = |channel: &Channel| match channel {
            Channel::Dialing { until, .. } | Channel::Stranger { until, .. } => Some(*until),
            Channel::Open { .. } => None,
        };
        self.channels.values().filter_map(deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::election::PeerState;
    use model::Zxid;

    fn address(port: u16) -> Address {
        Address { host: "h".into(), port }
    }

    fn mesh(me: u8) -> Mesh {
        Mesh::new(ServerId(me), &[address(u16::from(me))], Duration::from_secs(5))
    }

    fn say(text: u8) -> Bytes {
        Bytes::from([text])
    }

    fn short(out: &mut Vec<Output>) -> Vec<String> {
        let short = |output: Output| match output {
            Output::Dial { peer, to, .. } => format!("dial {} at {}", peer.0, to[0]),
            Output::Send { bytes, .. } if bytes.len() == 1 => format!("say {}", bytes[0]),
            Output::Send { .. } => "introduce".into(),
            Output::Close { .. } => "close".into(),
            other => format!("{other:?}"),
        };
        out.drain(..).map(short).collect()
    }

    fn introduction(of: u8) -> Vec<u8> {
        mesh(of).initiation
    }

    #[test]
    fn smaller_number_lets_itself_be_called_back() {
        let (mut one, mut out) = (mesh(1), Vec::new());
        one.send(ServerId(2), vec![address(2)], say(7), Mono(0), &mut out);
        one.send(ServerId(2), vec![address(2)], say(8), Mono(0), &mut out);
        let Some(Output::Dial { link, .. }) = out.first() else { panic!("one dial") };
        let link = *link;
        assert_eq!(short(&mut out), ["dial 2 at h:2"]);
        one.on_connected(link, &mut out);
        assert_eq!(short(&mut out), ["introduce", "close"]);
        let called = LinkId::accepted(1);
        one.on_accepted(called, Mono(0), &mut out);
        let hello = introduction(2);
        one.on_received(called, &hello[..9], Mono(0), |_| vec![], &mut out);
        assert!(out.is_empty());
        one.on_received(called, &hello[9..], Mono(0), |_| vec![], &mut out);
        assert_eq!(short(&mut out), ["say 8"]);
    }

    #[test]
    fn larger_number_calls_back() {
        let (mut two, mut out) = (mesh(2), Vec::new());
        let called = LinkId::accepted(1);
        two.on_accepted(called, Mono(0), &mut out);
        two.on_received(called, &introduction(1), Mono(0), |_| vec![], &mut out);
        assert_eq!(short(&mut out), ["close", "dial 1 at h:1"]);
        // Until that connection is there or has failed, no second one is tried.
        two.send(ServerId(1), vec![address(9)], say(3), Mono(0), &mut out);
        assert!(out.is_empty());
        let dialing = *two.channels.keys().next().expect("the dial");
        two.on_connected(dialing, &mut out);
        assert_eq!(short(&mut out), ["introduce", "say 3"]);
        // The peer opens another one all the same: both are given up and it is called again.
        let again = LinkId::accepted(2);
        two.on_accepted(again, Mono(0), &mut out);
        two.on_received(again, &introduction(1), Mono(0), |_| vec![address(9)], &mut out);
        assert_eq!(short(&mut out), ["close", "close", "dial 1 at h:9"]);
    }

    #[test]
    fn votes_arrive_in_any_pieces_and_noise_is_skipped() {
        let (mut one, mut out) = (mesh(1), Vec::new());
        let link = LinkId::accepted(1);
        one.on_accepted(link, Mono(0), &mut out);
        let mut wire = introduction(2);
        let state = PeerState::Looking;
        let (zxid, config) = (Zxid(9), None);
        let note =
            Notification { state, leader: 2, zxid, round: 4, peer_epoch: 0, version: 2, config };
        note.encode(&mut wire);
        wire.extend_from_slice(&[0, 0, 0, 3, 1, 2, 3]);
        note.encode(&mut wire);
        let mut heard = Vec::new();
        for piece in wire.chunks(7) {
            heard.extend(one.on_received(link, piece, Mono(0), |_| vec![], &mut out));
        }
        assert_eq!(heard.len(), 2);
        assert!(heard.iter().all(|h| h.from == ServerId(2) && h.vote.round == 4));
        assert!(out.is_empty());
        one.on_received(link, &[0xFF; 4], Mono(0), |_| vec![], &mut out);
        assert_eq!(short(&mut out), ["close"]);
    }

    #[test]
    fn silent_strangers_are_ended() {
        let (mut one, mut out) = (mesh(1), Vec::new());
        for n in 0..=STRANGERS_MAX as u64 {
            one.on_accepted(LinkId::accepted(n), Mono(0), &mut out);
        }
        assert_eq!(short(&mut out), ["close"]);
        let deadline = one.setup_deadline().expect("strangers");
        one.on_link_setup(deadline, &mut out);
        assert_eq!(out.len(), STRANGERS_MAX);
        assert_eq!(one.setup_deadline(), None);
    }
}
