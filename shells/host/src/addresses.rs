//! The addresses by which this machine is reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The source addresses of the default routes: IPv4 first, then IPv6, each only where such a route exists.
///
/// The kernel is asked by connecting a UDP socket to a documentation address (RFC 5737, RFC 3849), which sends nothing.
pub fn default_addresses() -> Vec<IpAddr> {
    let families: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    families.into_iter().filter_map(|(any, peer)| source_towards(any, peer)).collect()
}

fn source_towards(any: IpAddr, peer: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, 9)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_never_the_unspecified_one() {
        assert!(default_addresses().iter().all(|address| !address.is_unspecified()));
    }
}
