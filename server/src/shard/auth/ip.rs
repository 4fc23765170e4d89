//! Scheme `ip`: every connection is its address, without asking.

use std::net::IpAddr;

use model::AuthId;

/// The address as ZooKeeper writes it: dotted IPv4 (also when mapped into IPv6), or all eight
/// groups of an IPv6 address without zero compression.
pub fn text(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|g| format!("{g:x}")).collect();
            groups.join(":")
        }
    }
}

/// The identity of a peer.
pub fn identity(peer: IpAddr) -> AuthId {
    AuthId::new("ip", text(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_like_zookeepers() {
        for (address, expect) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:db8::a", "2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(text(address.parse().expect("an address")), expect);
        }
    }
}
