//! The addresses of the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use k8s_openapi::api::core::v1::NodeAddress;

/// The addresses that were given, or else the one from which the default route leaves.
pub fn node_ips(given: &[IpAddr]) -> Vec<IpAddr> {
    if given.iter().any(|ip| !ip.is_unspecified()) {
        return given.iter().copied().filter(|ip| !ip.is_unspecified()).collect();
    }
    let ipv4 = source_towards(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)));
    let ipv6 = || source_towards(SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)));
    ipv4.or_else(ipv6).or_else(any_interface).into_iter().collect()
}

/// Connecting a datagram socket asks the routing table and sends nothing.
fn source_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn any_interface() -> Option<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let addresses = interfaces.filter_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())));
    addresses.into_iter().find(|ip| !ip.is_loopback())
}

/// The addresses as the API shows them.
pub fn of_node(ips: &[IpAddr], name: &str) -> Vec<NodeAddress> {
    let internal = ips.iter().map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() });
    internal.chain([NodeAddress { type_: "Hostname".to_owned(), address: name.to_owned() }]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_addresses_stand() {
        let given = ["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        assert_eq!(node_ips(&given), given);
        let shown = of_node(&given, "n1");
        assert_eq!((shown[1].type_.as_str(), shown[2].address.as_str()), ("InternalIP", "n1"));
    }
}
