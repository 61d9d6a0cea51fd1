//! Services as names: what one Service contributes to the zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A named port, as SRV records need it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name in lower case.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub number: u16,
}

/// One address behind a headless Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The label under the Service's name that means this address alone.
    pub label: String,
    /// The address.
    pub ip: IpAddr,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What a Service's name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Virtual addresses.
    Cluster {
        /// The addresses, one a family.
        ips: Vec<IpAddr>,
        /// The named ports.
        ports: Vec<Port>,
        /// Endpoints that have a hostname of their own.
        backends: Vec<Backend>,
    },
    /// Its endpoints themselves.
    Headless(Vec<Backend>),
    /// Another name.
    External(String),
}

/// The meaning of a Service, given its slices; `None` if it has no name (yet).
pub fn read(service: &Service, slices: &[impl AsRef<EndpointSlice>]) -> Option<Target> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let name = spec.external_name.as_deref().filter(|n| !n.is_empty())?;
        return Some(Target::External(name.to_owned()));
    }
    let unready = spec.publish_not_ready_addresses.unwrap_or(false);
    let backends = backends(slices, unready);
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Target::Headless(backends));
    }
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let ips: BTreeSet<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        return None;
    }
    let ports =
        spec.ports.iter().flatten().filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), Some(p.port)));
    Some(Target::Cluster {
        ips: ips.into_iter().collect(),
        ports: ports.collect(),
        backends: backends.into_iter().filter(|b| b.label != address_label(b.ip)).collect(),
    })
}

fn port(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        number: u16::try_from(number?).ok()?,
    })
}

fn backends(slices: &[impl AsRef<EndpointSlice>], unready: bool) -> Vec<Backend> {
    let mut found: BTreeMap<(String, IpAddr), BTreeSet<Port>> = BTreeMap::new();
    for slice in slices.iter().map(AsRef::as_ref) {
        let ports = slice.ports.iter().flatten();
        let ports: Vec<Port> = ports.filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port)).collect();
        for endpoint in &slice.endpoints {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if !ready && !unready {
                continue;
            }
            for ip in endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()) {
                let label = endpoint.hostname.clone().filter(|h| !h.is_empty());
                let label = label.unwrap_or_else(|| address_label(ip)).to_ascii_lowercase();
                found.entry((label, ip)).or_default().extend(ports.iter().cloned());
            }
        }
    }
    found.into_iter().map(|((label, ip), ports)| Backend { label, ip, ports: ports.into_iter().collect() }).collect()
}

/// The label of an endpoint without hostname: its address with dashes, all groups written out.
pub fn address_label(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string().replace('.', "-"),
        IpAddr::V6(ip) => ip.segments().map(|s| format!("{s:x}")).join("-"),
    }
}

/// The address that a pod's label means: `10-244-0-3`, or an IPv6 address with dashes for colons.
pub fn label_address(label: &str) -> Option<IpAddr> {
    let four = label.replace('-', ".").parse::<std::net::Ipv4Addr>();
    four.map(IpAddr::V4).or_else(|_| label.replace('-', ":").parse().map(IpAddr::V6)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_label_and_back() {
        for (ip, label) in [("10.244.0.3", "10-244-0-3"), ("fd00::a", "fd00-0-0-0-0-0-0-a")] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(address_label(ip), label);
            assert_eq!(label_address(label), Some(ip));
        }
        assert_eq!(label_address("fd00--a"), Some("fd00::a".parse().unwrap()));
        assert_eq!(label_address("10-244-0"), None);
        assert_eq!(label_address("web-0"), None);
    }

    #[test]
    fn unready_endpoints_have_no_name_unless_the_service_publishes_them() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({"addressType": "IPv4", "ports": [],
            "endpoints": [{"addresses": ["10.244.0.3"], "conditions": {"ready": false}, "hostname": "Web-0"}]}))
        .unwrap();
        let service = |publish: bool| -> Service {
            serde_json::from_value(
                serde_json::json!({"spec": {"clusterIP": "None", "publishNotReadyAddresses": publish}}),
            )
            .unwrap()
        };
        let slices = [Box::new(slice)];
        assert_eq!(read(&service(false), &slices), Some(Target::Headless(Vec::new())));
        let Some(Target::Headless(backends)) = read(&service(true), &slices) else { panic!() };
        assert_eq!(backends[0].label, "web-0");
    }

    #[test]
    fn a_service_without_address_yet_has_no_name() {
        let service: Service = serde_json::from_value(serde_json::json!({"spec": {"type": "ClusterIP"}})).unwrap();
        assert_eq!(read(&service, &[] as &[Box<EndpointSlice>]), None);
    }
}
