//! The two ports of a server for its fellow servers.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use model::Mono;
use replication::Port;

use super::super::preflight::{StartError, cannot};
use super::super::sockets::{Listener, bind_only};
use crate::config::{Host, PeerListen};

/// Connections that wait to be accepted on one port.
const BACKLOG: i32 = 128;
/// Time between two attempts to take an address.
const RETRY: Duration = Duration::from_secs(1);

/// Both ports. The election port listens; the quorum port is taken, and listens while this server
/// leads.
#[derive(Debug)]
pub(crate) struct Ports {
    listeners: Vec<(Port, Listener)>,
    quorum: Vec<SocketAddr>,
    /// Taken and not listening. Empty while open.
    taken: Vec<OwnedFd>,
    open: bool,
    /// Since when the quorum port should be open and is not.
    late_since: Option<Mono>,
    patience: Option<Duration>,
}

impl Ports {
    /// Takes the ports, as often as configured, a second apart. Before the executors start: an
    /// address that cannot be had is an error of the configuration, told at once.
    pub(crate) fn open(listen: &PeerListen) -> Result<Ports, StartError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Ports::try_open(listen) {
                Err(error) if listen.bind_tries.is_none_or(|most| tries < most) => {
                    tracing::warn!(%error, tries, "trying again in a second");
                    std::thread::sleep(RETRY);
                }
                other => return other,
            }
        }
    }

    fn try_open(listen: &PeerListen) -> Result<Ports, StartError> {
        let mut listeners = Vec::new();
        for (address, bound) in take_all(&listen.election)? {
            let listener = Listener::listen(bound, Some(BACKLOG));
            let listener = listener.map_err(|error| StartError::Listen { address, error })?;
            listeners.push((Port::Election, listener));
        }
        let (quorum, taken) = take_all(&listen.quorum)?.into_iter().unzip();
        let patience = listen.bind_tries.map(|tries| RETRY * tries);
        Ok(Ports { listeners, quorum, taken, open: false, late_since: None, patience })
    }

    /// Where it listens, or would.
    #[cfg(test)]
    pub(crate) fn addresses(&self, port: Port) -> Vec<SocketAddr> {
        match port {
            Port::Quorum => self.quorum.clone(),
            Port::Election => {
                let of = |(_, listener): &(Port, Listener)| listener.address().expect("bound");
                let election = self.listeners.iter().filter(|(port, _)| *port == Port::Election);
                election.map(of).collect()
            }
        }
    }

    /// Everything that listens, by number.
    pub(super) fn listeners(&mut self) -> &mut [(Port, Listener)] {
        &mut self.listeners
    }

    /// Opens the quorum port; the listeners that came by it, from this number on. None if it cannot
    /// be opened now: [`Ports::retry`] goes on trying.
    pub(super) fn open_quorum(&mut self, now: Mono) -> Option<usize> {
        if self.open {
            return None;
        }
        let first = self.listeners.len();
        match self.listen_quorum() {
            Ok(more) => {
                self.listeners.extend(more.into_iter().map(|listener| (Port::Quorum, listener)));
                (self.open, self.late_since) = (true, None);
                Some(first)
            }
            Err((address, error)) => {
                if self.late_since.is_none() {
                    tracing::warn!(%address, %error, "cannot listen for fellow servers");
                    self.late_since = Some(now);
                }
                None
            }
        }
    }

    fn listen_quorum(&mut self) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
        let mut taken = std::mem::take(&mut self.taken).into_iter();
        let open = |address: &SocketAddr| {
            let bound = taken.next().map_or_else(|| bind_only(*address), Ok);
            let listener = bound.and_then(|bound| Listener::listen(bound, Some(BACKLOG)));
            listener.map_err(|error| (*address, error))
        };
        self.quorum.iter().map(open).collect()
    }

    /// Closes the quorum port: connections are refused, those that were not accepted yet are reset.
    pub(super) fn close_quorum(&mut self) {
        self.late_since = None;
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.listeners.retain(|(port, _)| *port == Port::Election);
        // Kept from others, as far as the system does that. What fails now is tried again when the
        // port is to be opened.
        let taken: io::Result<Vec<OwnedFd>> = self.quorum.iter().map(|a| bind_only(*a)).collect();
        self.taken = taken.unwrap_or_default();
    }

    /// True if the quorum port should be open and is not.
    pub(super) fn is_late(&self) -> bool {
        self.late_since.is_some()
    }

    /// Why this server cannot go on.
    pub(super) fn fatal(&self, now: Mono) -> Option<String> {
        let late = now.since(self.late_since?);
        let places: Vec<String> = self.quorum.iter().map(SocketAddr::to_string).collect();
        (late >= self.patience?).then(|| {
            format!("cannot listen for fellow servers on {}: in use by others", places.join(", "))
        })
    }
}

/// Takes all of these places, each address once.
fn take_all(places: &[(Host, u16)]) -> Result<Vec<(SocketAddr, OwnedFd)>, StartError> {
    let mut taken = Vec::new();
    for (host, port) in places {
        take(host, *port, &mut taken)?;
    }
    Ok(taken)
}

/// Takes a port on every address that a host has here, unless it is taken already.
fn take(host: &Host, port: u16, taken: &mut Vec<(SocketAddr, OwnedFd)>) -> Result<(), StartError> {
    let what = match host {
        Host::Any => "listening for fellow servers".to_owned(),
        Host::Named(name) => format!("looking up this server's own address {name}"),
    };
    let wanted: Vec<SocketAddr> = match host {
        Host::Any => {
            vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
        }
        Host::Named(name) => {
            let found = (name.as_str(), port).to_socket_addrs().map_err(cannot(&*what))?;
            found.collect()
        }
    };
    let before = taken.len();
    let (mut have, mut missing) = (false, None);
    for mut address in wanted {
        if let Some((first, _)) = taken.get(before) {
            // A port that the system chooses is the same on all addresses.
            address.set_port(first.port());
        }
        if taken.iter().any(|(other, _)| *other == address) {
            have = true;
            continue;
        }
        match bind_only(address).and_then(|fd| Ok((bound_address(&fd)?, fd))) {
            Ok(bound) => taken.push(bound),
            // The name has more addresses than this machine.
            Err(error) if is_foreign(&error) => {
                missing = Some((address, error));
                continue;
            }
            Err(error) => return Err(StartError::Listen { address, error }),
        }
        have = true;
        if *host == Host::Any {
            // IPv6's "any" is IPv4's too.
            break;
        }
    }
    match missing {
        _ if have => Ok(()),
        Some((address, error)) => Err(StartError::Listen { address, error }),
        None => Err(cannot(what)(io::Error::other("there is no address"))),
    }
}

fn is_foreign(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bound_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    // Any socket will do for the question.
    std::net::TcpListener::from(fd.try_clone()?).local_addr()
}
