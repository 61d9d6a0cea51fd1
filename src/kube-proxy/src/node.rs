//! What the rules depend on besides services: facts of the node the proxy runs on.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

/// The label that names a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// How traffic that comes from pods of this node or cluster is recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PodTraffic {
    /// Not at all; then nothing is masqueraded for coming from elsewhere.
    #[default]
    Unknown,
    /// By its source network.
    Networks(Vec<IpNet>),
    /// By the interface it arrives on.
    Interface(String),
    /// By the beginning of that interface's name.
    InterfacePrefix(String),
}

/// Facts of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its zone, for topology hints.
    pub zone: Option<String>,
    /// The addresses on which node ports are answered.
    pub port_addresses: Vec<IpAddr>,
    /// How pod traffic is recognised.
    pub pod_traffic: PodTraffic,
    /// Whether everything sent to a service is masqueraded.
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading, as a mask.
    pub mark: u32,
}

impl NodeFacts {
    /// Takes over what a Node object says; `addresses` are used where the caller knows better.
    pub fn observe(&mut self, node: &Node, addresses: Option<Vec<IpAddr>>) {
        let labels = node.metadata.labels.as_ref();
        self.zone = labels.and_then(|l| l.get(ZONE_LABEL)).cloned();
        self.port_addresses = addresses.unwrap_or_else(|| primary_addresses(node));
    }
}

/// The first internal address of each family, else the first external one.
pub fn primary_addresses(node: &Node) -> Vec<IpAddr> {
    let listed = node.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    let of_kind = |kind: &str| -> Vec<IpAddr> {
        listed.iter().filter(|a| a.type_ == kind).filter_map(|a| a.address.parse().ok()).collect()
    };
    let all = [of_kind("InternalIP"), of_kind("ExternalIP")].concat();
    let first = |four: bool| all.iter().copied().find(|ip| ip.is_ipv4() == four);
    [first(true), first(false)].into_iter().flatten().collect()
}

/// The networks of the node's own pods.
pub fn pod_networks(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let listed = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut networks: Vec<IpNet> = listed.filter_map(|n| n.parse().ok()).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ports_answer_on_the_first_internal_address_of_each_family() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"labels": {ZONE_LABEL: "z1"}},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "192.0.2.7"},
                {"type": "InternalIP", "address": "10.0.0.5"}, {"type": "InternalIP", "address": "10.0.0.6"},
                {"type": "InternalIP", "address": "fd00::5"}]},
        }))
        .unwrap();
        let mut facts = NodeFacts::default();
        facts.observe(&node, None);
        assert_eq!(facts.port_addresses, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(facts.zone.as_deref(), Some("z1"));
        assert_eq!(pod_networks(&node).len(), 1);
    }
}
