//! Who belongs to the ensemble: the configuration text and its meaning (`zab-wire` 6.1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::ServerId;

use crate::quorum::{Ballot, Quorum};

/// A place to connect to. Names are to be resolved anew on every attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    /// Name or number; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, with brackets around IPv6 hosts.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok()?;
        (!host.is_empty()).then(|| Address { host: host.to_owned(), port })
    }

    /// True for hosts that mean "every interface" and cannot be connected to.
    pub fn is_wildcard(&self) -> bool {
        matches!(&self.host[..], "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One of a member's addresses for its fellow servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// Name or number.
    pub host: String,
    /// Where it serves learners while it leads.
    pub quorum_port: u16,
    /// Where it listens for elections.
    pub election_port: u16,
}

/// One server of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// At least one.
    pub addresses: Vec<PeerAddress>,
    /// Learns without voting.
    pub observer: bool,
    /// What follows the semicolon, verbatim: where clients connect.
    pub client: Option<String>,
}

impl Member {
    /// Where it serves learners.
    pub fn quorum_addresses(&self) -> Vec<Address> {
        let address = |a: &PeerAddress| Address { host: a.host.clone(), port: a.quorum_port };
        self.addresses.iter().map(address).collect()
    }

    /// Where it listens for elections.
    pub fn election_addresses(&self) -> Vec<Address> {
        let address = |a: &PeerAddress| Address { host: a.host.clone(), port: a.election_port };
        self.addresses.iter().map(address).collect()
    }
}

/// One configuration of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    members: BTreeMap<ServerId, Member>,
    quorum: Quorum,
    version: i64,
}

/// Why a text is no configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Not `key=value`, or a key that does not belong here.
    #[error("unknown line {0:?}")]
    UnknownLine(String),
    /// A member line that cannot be understood.
    #[error("bad member {0:?}")]
    BadMember(String),
    /// Quorum and election port must differ.
    #[error("server {0} uses one port twice")]
    SamePort(u8),
    /// A group or weight line that cannot be understood, or a voter in no group.
    #[error("bad group or weight {0:?}")]
    BadGroup(String),
    /// A version that is not hexadecimal.
    #[error("bad version {0:?}")]
    BadVersion(String),
    /// Nobody votes.
    #[error("no voter")]
    NoVoter,
}

impl Membership {
    /// A configuration of these members with majority quorums and version 0.
    pub fn new(members: BTreeMap<ServerId, Member>) -> Result<Membership, MembershipError> {
        Membership::with_groups(members, &BTreeMap::new(), &BTreeMap::new(), 0)
    }

    fn with_groups(
        members: BTreeMap<ServerId, Member>,
        groups: &BTreeMap<i64, Vec<ServerId>>,
        weights: &BTreeMap<ServerId, u64>,
        version: i64,
    ) -> Result<Membership, MembershipError> {
        let voters: BTreeSet<ServerId> =
            members.iter().filter(|(_, member)| !member.observer).map(|(id, _)| *id).collect();
        if voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        let quorum = if groups.is_empty() {
            Quorum::Majority(voters)
        } else {
            let mut ballots = BTreeMap::new();
            for (group, ids) in groups {
                for id in ids.iter().filter(|id| voters.contains(id)) {
                    let weight = weights.get(id).copied().unwrap_or(1);
                    if ballots.insert(*id, Ballot { group: *group, weight }).is_some() {
                        return Err(MembershipError::BadGroup(format!("{} is in two", id.0)));
                    }
                }
            }
            if let Some(id) = voters.iter().find(|id| !ballots.contains_key(id)) {
                return Err(MembershipError::BadGroup(format!("{} is in none", id.0)));
            }
            Quorum::Hierarchical(ballots)
        };
        Ok(Membership { members, quorum, version })
    }

    /// Reads configuration text. Order of lines does not matter; empty lines are skipped.
    pub fn parse(text: &str) -> Result<Membership, MembershipError> {
        let mut members = BTreeMap::new();
        let (mut groups, mut weights) = (BTreeMap::new(), BTreeMap::new());
        let mut version = 0;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let unknown = || MembershipError::UnknownLine(line.to_owned());
            let (key, value) = line.split_once('=').ok_or_else(unknown)?;
            let (key, value) = (key.trim(), value.trim());
            let bad_group = || MembershipError::BadGroup(line.to_owned());
            match key.split_once('.') {
                None if key == "version" => {
                    version = i64::from_str_radix(value, 16)
                        .map_err(|_| MembershipError::BadVersion(value.to_owned()))?;
                }
                Some(("server", id)) => {
                    let id = id.parse().map_err(|_| MembershipError::BadMember(line.to_owned()))?;
                    members.insert(ServerId(id), parse_member(id, value)?);
                }
                Some(("group", group)) => {
                    let ids: Result<Vec<_>, _> =
                        value.split(':').map(|id| id.trim().parse().map(ServerId)).collect();
                    let group: i64 = group.parse().map_err(|_| bad_group())?;
                    groups.insert(group, ids.map_err(|_| bad_group())?);
                }
                Some(("weight", id)) => {
                    let id = id.parse().map_err(|_| bad_group())?;
                    weights.insert(ServerId(id), value.parse().map_err(|_| bad_group())?);
                }
                Some(_) | None => return Err(unknown()),
            }
        }
        Membership::with_groups(members, &groups, &weights, version)
    }

    /// The rule of this configuration.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// zxid of the reconfiguration that made it; 0: never agreed upon.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// A member.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = (ServerId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// True if this server votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.quorum.is_voter(id)
    }

    /// True if this server is listed as an observer.
    pub fn is_observer(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|member| member.observer)
    }
}

fn parse_member(id: u8, value: &str) -> Result<Member, MembershipError> {
    let bad = || MembershipError::BadMember(value.to_owned());
    let (peers, client) = match value.split_once(';') {
        Some((_, client)) if client.contains(';') => return Err(bad()),
        Some((peers, client)) => (peers, Some(client.to_owned())),
        None => (value, None),
    };
    let (peers, observer) = match peers.rsplit_once(':') {
        Some((rest, role)) if role.eq_ignore_ascii_case("observer") => (rest, true),
        Some((rest, role)) if role.eq_ignore_ascii_case("participant") => (rest, false),
        _ => (peers, false),
    };
    let mut addresses = Vec::new();
    for part in peers.split('|') {
        let (quorum, election_port) = part.rsplit_once(':').ok_or_else(bad)?;
        let Address { host, port: quorum_port } = Address::parse(quorum).ok_or_else(bad)?;
        let election_port = election_port.parse().map_err(|_| bad())?;
        if quorum_port == election_port {
            return Err(MembershipError::SamePort(id));
        }
        addresses.push(PeerAddress { host, quorum_port, election_port });
    }
    Ok(Member { addresses, observer, client })
}

/// The text as servers exchange it: no newline at the end.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, member) in &self.members {
            write!(f, "server.{}=", id.0)?;
            for (i, a) in member.addresses.iter().enumerate() {
                let separator = if i == 0 { "" } else { "|" };
                let quorum = Address { host: a.host.clone(), port: a.quorum_port };
                write!(f, "{separator}{quorum}:{}", a.election_port)?;
            }
            f.write_str(if member.observer { ":observer" } else { ":participant" })?;
            if let Some(client) = &member.client {
                write!(f, ";{client}")?;
            }
            f.write_str("\n")?;
        }
        if let Quorum::Hierarchical(ballots) = &self.quorum {
            let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for (id, ballot) in ballots {
                groups.entry(ballot.group).or_default().push(id.0.to_string());
            }
            for (group, ids) in groups {
                writeln!(f, "group.{group}={}", ids.join(":"))?;
            }
            for (id, ballot) in ballots {
                writeln!(f, "weight.{}={}", id.0, ballot.weight)?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_round_trips() {
        let text = "server.1=127.0.0.1:28811:38811:participant\n\
                    server.2=[::1]:28812:38812:participant;0.0.0.0:2181\n\
                    server.3=a:1:2|b:3:4:observer\nversion=100000003";
        let membership = Membership::parse(text).expect("valid");
        assert_eq!(membership.to_string(), text);
        assert_eq!(membership.version(), 0x1_0000_0003);
        assert_eq!(membership.quorum().voters(), [ServerId(1), ServerId(2)]);
        assert!(membership.is_observer(ServerId(3)) && !membership.is_voter(ServerId(3)));
        let second = membership.member(ServerId(2)).expect("listed");
        assert_eq!(second.election_addresses()[0].to_string(), "[::1]:38812");
        let third = membership.member(ServerId(3)).expect("listed");
        let quorum: Vec<String> = third.quorum_addresses().iter().map(Address::to_string).collect();
        assert_eq!(quorum, ["a:1", "b:3"]);
    }

    #[test]
    fn groups_and_weights() {
        let text = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n\
                    server.3=c:1:2:participant\ngroup.1=1:2\ngroup.2=3\n\
                    weight.1=1\nweight.2=3\nweight.3=1\nversion=0";
        let membership = Membership::parse(text).expect("valid");
        assert_eq!(membership.to_string(), text);
        assert!(membership.quorum().holds(|id| id.0 >= 2));
        assert!(!membership.quorum().holds(|id| id.0 != 2));
    }

    #[test]
    fn refusals() {
        let check = |text: &str, expect: MembershipError| {
            assert_eq!(Membership::parse(text), Err(expect), "{text}");
        };
        check("server.1=a:1:1", MembershipError::SamePort(1));
        check("server.1=a:1:2:observer", MembershipError::NoVoter);
        check("server.1=a:1", MembershipError::BadMember("a:1".into()));
        check("server.999=a:1:2", MembershipError::BadMember("server.999=a:1:2".into()));
        check("server.1=a:1:2;3;4", MembershipError::BadMember("a:1:2;3;4".into()));
        check("tickTime=3", MembershipError::UnknownLine("tickTime=3".into()));
        check("version=xyz", MembershipError::BadVersion("xyz".into()));
        let lonely = "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1";
        check(lonely, MembershipError::BadGroup("2 is in none".into()));
        assert!(Membership::parse("server.1 = a:1:2\n\n;").is_err());
        assert!(Membership::parse("server.1 = a:1:2;2181").is_ok());
    }
}
