//! The rules of one Service: its addresses and endpoints turned into chains and map elements.
//!
//! Pure. A [`Fragment`] holds all that one Service contributes to the table of one address family
//! and nothing else refers to its chains, so a change of one Service never touches another.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netfilter::Family;

use crate::endpoints::{self, Chosen, Endpoint};
use crate::fragment::{Collection, Fragment, UdpFrontend};
use crate::names;
use crate::node::{NodeFacts, PodTraffic};
use crate::service::{Protocol, ServiceName, TrafficPolicy, VirtualPort, VirtualService};

/// The contribution of the node itself: the addresses that answer node ports.
pub fn of_node(node: &NodeFacts, family: Family) -> Fragment {
    let mut fragment = Fragment::default();
    for ip in node.port_addresses.iter().filter(|ip| in_family(**ip, family)) {
        fragment.member(Collection::NodePortIps, ip.to_string());
    }
    fragment
}

/// The contribution of one Service, given the endpoints of each of its ports.
pub fn of_service(
    name: &ServiceName,
    service: &VirtualService,
    ports: &[(&VirtualPort, Vec<Endpoint>)],
    (node, family): (&NodeFacts, Family),
) -> Fragment {
    let mut fragment = Fragment::default();
    let own = |ips: &[IpAddr]| -> Vec<IpAddr> { ips.iter().copied().filter(|ip| in_family(*ip, family)).collect() };
    let cluster_ips = own(&service.cluster_ips);
    if cluster_ips.is_empty() {
        return fragment;
    }
    for ip in &cluster_ips {
        fragment.member(Collection::ClusterIps, ip.to_string());
    }
    let (external_ips, balancer_ips) = (own(&service.external_ips), own(&service.load_balancer_ips));
    for (port, endpoints) in ports {
        PortRules {
            full_name: names::port(name, port),
            service,
            port,
            node,
            family,
            cluster_ips: &cluster_ips,
            external_ips: &external_ips,
            balancer_ips: &balancer_ips,
            chosen: endpoints::choose(endpoints, node),
        }
        .write(&mut fragment);
    }
    fragment
}

/// Whether an address belongs to a table's family.
pub fn in_family(ip: IpAddr, family: Family) -> bool {
    ip.is_ipv4() == (family == Family::Ip)
}

struct PortRules<'a> {
    full_name: String,
    service: &'a VirtualService,
    port: &'a VirtualPort,
    node: &'a NodeFacts,
    family: Family,
    cluster_ips: &'a [IpAddr],
    external_ips: &'a [IpAddr],
    balancer_ips: &'a [IpAddr],
    chosen: Chosen,
}

impl PortRules<'_> {
    fn write(&self, out: &mut Fragment) {
        let is_external =
            self.port.node_port.is_some() || !self.external_ips.is_empty() || !self.balancer_ips.is_empty();
        self.write_endpoints(out);
        self.write_policy_chain(out, TrafficPolicy::Cluster);
        if self.service.internal == TrafficPolicy::Local
            || (is_external && self.service.external == TrafficPolicy::Local)
        {
            self.write_policy_chain(out, TrafficPolicy::Local);
        }
        self.write_internal(out);
        if is_external {
            self.write_external(out);
        }
        self.write_firewall(out);
        self.write_udp(out);
    }

    fn write_endpoints(&self, out: &mut Fragment) {
        for endpoint in self.chosen.cluster.iter().chain(&self.chosen.local) {
            let mut rules = vec![format!("{} saddr {} jump mark-for-masquerade", self.family, endpoint.ip)];
            if let Some(seconds) = self.service.affinity_seconds {
                let set = names::affinity(&self.full_name, endpoint, seconds);
                rules.push(format!("update @{set} {{ {} saddr }}", self.family));
                out.affinity_sets.insert(set, seconds);
            }
            rules.push(format!("meta l4proto {} dnat to {}", self.port.protocol, socket(endpoint)));
            out.chains.insert(names::endpoint(&self.full_name, endpoint), rules);
        }
    }

    /// The chain that spreads new connections over the endpoints a policy allows.
    fn write_policy_chain(&self, out: &mut Fragment, policy: TrafficPolicy) {
        let endpoints = self.chosen.for_policy(policy);
        if endpoints.is_empty() {
            return;
        }
        let mut rules = Vec::new();
        if self.service.internal == policy {
            rules.extend(self.cluster_ips.iter().filter_map(|ip| self.masquerade_foreign(*ip)));
        }
        let target = |e: &Endpoint| format!("goto {}", names::endpoint(&self.full_name, e));
        if let Some(seconds) = self.service.affinity_seconds {
            rules.extend(endpoints.iter().map(|e| {
                let set = names::affinity(&self.full_name, e, seconds);
                format!("{} saddr @{set} {}", self.family, target(e))
            }));
        }
        let row = |(i, e): (usize, &Endpoint)| format!("{i} : {}", target(e));
        let table: Vec<String> = endpoints.iter().enumerate().map(row).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), table.join(", ")));
        out.chains.insert(self.policy_chain(policy), rules);
    }

    /// Traffic to a cluster address from outside the pods must come back through this node.
    fn masquerade_foreign(&self, ip: IpAddr) -> Option<String> {
        let to = format!("{} daddr {ip} {} dport {}", self.family, self.port.protocol, self.port.port);
        if self.node.masquerade_all {
            return Some(format!("{to} jump mark-for-masquerade"));
        }
        let foreign = from_pods(&self.node.pod_traffic, self.family, false)?;
        Some(format!("{to} {foreign} jump mark-for-masquerade"))
    }

    fn write_internal(&self, out: &mut Fragment) {
        let policy = self.service.internal;
        let usable = !self.chosen.for_policy(policy).is_empty();
        for ip in self.cluster_ips {
            let key = self.address_key(*ip);
            if usable {
                out.verdict(Collection::ServiceIps, key, format!("goto {}", self.policy_chain(policy)));
            } else {
                out.verdict(Collection::NoEndpointServices, key, self.absent());
            }
        }
    }

    fn write_external(&self, out: &mut Fragment) {
        let chain = names::external(&self.full_name);
        if self.chosen.any {
            out.chains.insert(chain.clone(), self.external_rules());
        }
        let usable = !self.chosen.for_policy(self.service.external).is_empty();
        let rows = |out: &mut Fragment, with, without, key: String| {
            if self.chosen.any {
                out.verdict(with, key.clone(), format!("goto {chain}"));
            }
            if !usable {
                out.verdict(without, key, self.absent());
            }
        };
        for ip in self.external_ips.iter().chain(self.balancer_ips) {
            rows(out, Collection::ServiceIps, Collection::NoEndpointServices, self.address_key(*ip));
        }
        if let Some(port) = self.port.node_port {
            let key = format!("{} . {port}", self.port.protocol);
            rows(out, Collection::ServiceNodePorts, Collection::NoEndpointNodePorts, key);
        }
    }

    fn external_rules(&self) -> Vec<String> {
        let cluster = self.policy_chain(TrafficPolicy::Cluster);
        if self.service.external == TrafficPolicy::Cluster {
            return vec!["jump mark-for-masquerade".to_owned(), format!("goto {cluster}")];
        }
        let mut rules = Vec::new();
        if !self.chosen.cluster.is_empty() {
            // Pods and the node itself are inside: they may use every endpoint.
            if let Some(inside) = from_pods(&self.node.pod_traffic, self.family, true) {
                rules.push(format!("{inside} goto {cluster}"));
            }
            rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
            rules.push(format!("fib saddr type local goto {cluster}"));
        }
        if !self.chosen.local.is_empty() {
            rules.push(format!("goto {}", self.policy_chain(TrafficPolicy::Local)));
        }
        rules
    }

    fn write_firewall(&self, out: &mut Fragment) {
        let ranges: Vec<IpNet> =
            self.service.source_ranges.iter().copied().filter(|r| in_family(r.addr(), self.family)).collect();
        let restricted = !self.service.source_ranges.is_empty();
        if !restricted || self.balancer_ips.is_empty() || ranges.iter().any(|r| r.prefix_len() == 0) {
            return;
        }
        let chain = names::firewall(&self.full_name);
        let mut rules = Vec::new();
        if !ranges.is_empty() {
            let texts: Vec<String> = IpNet::aggregate(&ranges).iter().map(|r| r.trunc().to_string()).collect();
            rules.push(format!("{} saddr {{ {} }} return", self.family, texts.join(", ")));
        }
        rules.push("drop".to_owned());
        out.chains.insert(chain.clone(), rules);
        for ip in self.balancer_ips {
            out.verdict(Collection::Firewall, self.address_key(*ip), format!("goto {chain}"));
        }
    }

    fn write_udp(&self, out: &mut Fragment) {
        if self.port.protocol != Protocol::Udp {
            return;
        }
        let all = self.chosen.cluster.iter().chain(&self.chosen.local);
        let endpoints: BTreeSet<IpAddr> = all.map(|e| e.ip).collect();
        let addresses = self.cluster_ips.iter().chain(self.external_ips).chain(self.balancer_ips);
        let virtual_port = self.port.port;
        let fronts = addresses.map(|ip| UdpFrontend { address: Some(*ip), port: virtual_port });
        let node_port = self.port.node_port.map(|port| UdpFrontend { address: None, port });
        out.udp.extend(fronts.chain(node_port).map(|front| (front, endpoints.clone())));
    }

    fn policy_chain(&self, policy: TrafficPolicy) -> String {
        match policy {
            TrafficPolicy::Cluster => names::service(&self.full_name),
            TrafficPolicy::Local => names::local(&self.full_name),
        }
    }

    fn address_key(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol, self.port.port)
    }

    /// Endpoints elsewhere: let the client try another node. None at all: tell it at once.
    fn absent(&self) -> &'static str {
        if self.chosen.any { "drop" } else { "goto reject-chain" }
    }
}

fn socket(endpoint: &Endpoint) -> String {
    std::net::SocketAddr::new(endpoint.ip, endpoint.port).to_string()
}

/// A match for traffic that comes from pods, or for traffic that does not.
fn from_pods(traffic: &PodTraffic, family: Family, wanted: bool) -> Option<String> {
    let equal = if wanted { "" } else { "!= " };
    match traffic {
        PodTraffic::Unknown => None,
        PodTraffic::Interface(name) => Some(format!("iifname {equal}\"{name}\"")),
        PodTraffic::InterfacePrefix(prefix) => Some(format!("iifname {equal}\"{prefix}*\"")),
        PodTraffic::Networks(networks) => {
            let own: Vec<String> =
                networks.iter().filter(|n| in_family(n.addr(), family)).map(|n| n.trunc().to_string()).collect();
            match own.as_slice() {
                [] => None,
                [one] => Some(format!("{family} saddr {equal}{one}")),
                many => Some(format!("{family} saddr {equal}{{ {} }}", many.join(", "))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
