//! Where proxied requests may go: to pods and services of the cluster, never to the host or its neighbours.

use std::net::IpAddr;

use apimachinery::{Object, Status, Value};
use ipnet::IpNet;

/// The address of a pod, if it is one the pod can really have.
///
/// `status.podIP` is written by whoever may write pod status. Believing it blindly would let them reach, with this
/// server's eyes, its own loopback, cloud metadata services or the control plane.
pub(super) fn pod_address(pod: &Object, node: Option<&Object>) -> Result<IpAddr, Status> {
    let text = pod.str_at(&["status", "podIP"]);
    let refuse = || Status::bad_request("address not allowed");
    if text.is_empty() {
        return Err(Status::service_unavailable(format!("no address is known of pod {:?}", pod.name())));
    }
    let address: IpAddr = text.parse().map_err(|_| refuse())?;
    if !is_ordinary(address) {
        return Err(refuse());
    }
    let node = node.ok_or_else(refuse)?;
    let on_host = pod.bool_at(&["spec", "hostNetwork"]);
    let is_nodes = node.list_at(&["status", "addresses"]).iter().any(|entry| entry.str("address") == text);
    if on_host || is_nodes {
        return if on_host && is_nodes { Ok(address) } else { Err(refuse()) };
    }
    let networks = networks_of(node);
    if networks.is_empty() || networks.iter().any(|network| network.contains(&address)) {
        Ok(address)
    } else {
        Err(refuse())
    }
}

fn networks_of(node: &Object) -> Vec<IpNet> {
    let listed = node.list_at(&["spec", "podCIDRs"]).iter().filter_map(Value::as_str);
    let single = std::iter::once(node.str_at(&["spec", "podCIDR"]));
    listed.chain(single).filter_map(|text| text.parse().ok()).collect()
}

/// An address a machine somewhere can have: not loopback, link-local, multicast, broadcast or nothing.
pub(super) fn is_ordinary(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let special = v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast();
            !special && v4.octets()[0] != 0
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_ordinary(IpAddr::V4(v4)),
            None => !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
        },
    }
}

/// `[scheme:]name[:port]` as proxies write names in paths.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyName<'a> {
    pub(super) https: bool,
    pub(super) name: &'a str,
    pub(super) port: &'a str,
}

impl<'a> ProxyName<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Status> {
        let invalid = || Status::bad_request(format!("invalid proxy request {text:?}"));
        let (https, name, port) = match text.split(':').collect::<Vec<_>>().as_slice() {
            [name] => (false, *name, ""),
            [scheme @ ("" | "http" | "https"), name, port] => (*scheme == "https", *name, *port),
            [name, port] => (false, *name, *port),
            _ => return Err(invalid()),
        };
        let good = apimachinery::names::dns1123_subdomain(name).is_empty()
            && port.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if good { Ok(Self { https, name, port }) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests;
