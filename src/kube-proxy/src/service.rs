//! Services as the proxy sees them: checked addresses and numbers instead of optional strings.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort as ApiPort, ServiceSpec};

/// The label by which a Service asks for another proxy than this one.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// How long a client stays with its endpoint when the Service does not say.
const DEFAULT_AFFINITY_SECONDS: u32 = 3 * 60 * 60;

/// The transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Reads Kubernetes' spelling; absent means TCP.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Whose Service something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Which endpoints traffic may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of the cluster.
    Cluster,
    /// Only those of the node that received it.
    Local,
}

/// A Service with virtual addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualService {
    /// Its cluster addresses, one a family.
    pub cluster_ips: Vec<IpAddr>,
    /// Its `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Its load balancer's addresses, where the balancer delivers packets unchanged.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; empty means everybody.
    pub source_ranges: Vec<IpNet>,
    /// Seconds for which a client keeps its endpoint.
    pub affinity_seconds: Option<u32>,
    /// Policy for the cluster addresses.
    pub internal: TrafficPolicy,
    /// Policy for node ports, external and load balancer addresses.
    pub external: TrafficPolicy,
    /// Where load balancers ask whether this node has endpoints.
    pub health_check_port: Option<u16>,
    /// Its ports.
    pub ports: Vec<VirtualPort>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualPort {
    /// Its name; empty if it is the only one.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number on the virtual addresses.
    pub port: u16,
    /// Its number on the nodes.
    pub node_port: Option<u16>,
}

/// The service as this proxy has to serve it, or `None` if it is not for this proxy.
pub fn read(service: &Service) -> Option<VirtualService> {
    let spec = service.spec.as_ref()?;
    if service.metadata.labels.as_ref().is_some_and(|l| l.contains_key(OTHER_PROXY_LABEL)) {
        return None;
    }
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let cluster_ips = cluster_ips(spec);
    if cluster_ips.is_empty() {
        return None;
    }
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let ingress = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|l| l.ingress.as_deref())
        .filter(|_| balanced)
        .unwrap_or_default();
    Some(VirtualService {
        cluster_ips,
        external_ips: addresses(spec.external_ips.as_deref()),
        load_balancer_ips: ingress.iter().filter_map(balancer_address).collect(),
        source_ranges: if balanced { ranges(spec) } else { Vec::new() },
        affinity_seconds: affinity(spec),
        internal: policy(spec.internal_traffic_policy.as_deref()),
        external: policy(spec.external_traffic_policy.as_deref()),
        health_check_port: spec.health_check_node_port.and_then(number),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
    })
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = addresses(spec.cluster_ips.as_deref());
    if listed.is_empty() {
        return spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect();
    }
    listed
}

fn addresses(texts: Option<&[String]>) -> Vec<IpAddr> {
    texts.unwrap_or_default().iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn balancer_address(ingress: &LoadBalancerIngress) -> Option<IpAddr> {
    // With mode Proxy packets reach the node with the node's own address.
    if ingress.ip_mode.as_deref() == Some("Proxy") {
        return None;
    }
    ingress.ip.as_deref()?.parse().ok()
}

fn ranges(spec: &ServiceSpec) -> Vec<IpNet> {
    let texts = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    texts.iter().filter_map(|r| r.trim().parse().ok()).collect()
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let asked = spec.session_affinity_config.as_ref()?.client_ip.as_ref()?.timeout_seconds;
    Some(asked.and_then(|s| u32::try_from(s).ok()).unwrap_or(DEFAULT_AFFINITY_SECONDS))
}

fn policy(text: Option<&str>) -> TrafficPolicy {
    if text == Some("Local") { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn port(port: &ApiPort) -> Option<VirtualPort> {
    Some(VirtualPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: Protocol::parse(port.protocol.as_deref())?,
        port: number(port.port)?,
        node_port: port.node_port.and_then(number),
    })
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|p| *p != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(json: serde_json::Value) -> Service {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn headless_external_and_foreign_services_are_not_ours() {
        for spec in [
            serde_json::json!({"spec": {"clusterIP": "None"}}),
            serde_json::json!({"spec": {"clusterIP": ""}}),
            serde_json::json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
            serde_json::json!({"metadata": {"labels": {OTHER_PROXY_LABEL: "x"}},
                "spec": {"clusterIP": "10.96.0.1"}}),
        ] {
            assert_eq!(read(&service(spec.clone())), None, "{spec}");
        }
    }

    #[test]
    fn fields_are_checked_numbers_and_addresses() {
        let read = read(&service(serde_json::json!({
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"],
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": [" 10.0.0.0/8", "nonsense"],
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 70000}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}]}},
        })))
        .unwrap();
        assert_eq!(read.cluster_ips.len(), 2);
        assert_eq!(read.load_balancer_ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(read.source_ranges.len(), 1);
        assert_eq!(read.affinity_seconds, Some(60));
        assert_eq!((read.internal, read.external), (TrafficPolicy::Cluster, TrafficPolicy::Local));
        let ports: Vec<_> = read.ports.iter().map(|p| (p.port, p.node_port)).collect();
        assert_eq!(ports, [(80, Some(30080)), (53, None)]);
    }
}
