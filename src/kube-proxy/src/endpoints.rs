//! Endpoints of one service port, and which of them may receive traffic now.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};

use crate::node::NodeFacts;
use crate::service::{Protocol, TrafficPolicy};

/// A place where a service port is answered.
#[expect(clippy::struct_excessive_bools, reason = "the conditions of the API are independent of each other")]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it wants new connections.
    pub ready: bool,
    /// Whether it answers at all.
    pub serving: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// Whether it is on this node.
    pub local: bool,
    /// Zones that should use it; empty if it carries no hint.
    pub zones: Vec<String>,
    /// Nodes that should use it; empty if it carries no hint.
    pub nodes: Vec<String>,
}

/// The endpoints chosen for one service port.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For traffic that may go anywhere.
    pub cluster: Vec<Endpoint>,
    /// For traffic that must stay on this node.
    pub local: Vec<Endpoint>,
    /// Whether any endpoint of the cluster can be used at all.
    pub any: bool,
}

impl Chosen {
    /// The endpoints that a policy allows.
    pub fn for_policy(&self, policy: TrafficPolicy) -> &[Endpoint] {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }
}

/// All endpoints of the port `name` of one family, sorted, each once.
pub fn of_port<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    name: &str,
    protocol: Protocol,
    node: &NodeFacts,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for slice in slices {
        let port = slice.ports.iter().flatten().find(|p| {
            p.name.as_deref().unwrap_or_default() == name && Protocol::parse(p.protocol.as_deref()) == Some(protocol)
        });
        let number = port.and_then(|p| p.port).and_then(|p| u16::try_from(p).ok());
        let Some(number) = number.filter(|p| *p != 0) else {
            continue;
        };
        endpoints.extend(slice.endpoints.iter().filter_map(|e| endpoint(e, number, node)));
    }
    // One that is ready beats its own stale copy in another slice.
    endpoints.sort_by_key(|e| (e.ip, e.port, !e.ready));
    endpoints.dedup_by_key(|e| (e.ip, e.port));
    endpoints
}

fn endpoint(endpoint: &ApiEndpoint, port: u16, node: &NodeFacts) -> Option<Endpoint> {
    let ip = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = endpoint.hints.as_ref();
    let zones = hints.and_then(|h| h.for_zones.as_deref()).unwrap_or_default();
    let nodes = hints.and_then(|h| h.for_nodes.as_deref()).unwrap_or_default();
    Some(Endpoint {
        ip,
        port,
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        local: endpoint.node_name.as_deref() == Some(node.name.as_str()),
        zones: zones.iter().map(|z| z.name.clone()).collect(),
        nodes: nodes.iter().map(|n| n.name.clone()).collect(),
    })
}

/// Chooses: the ready ones; if none is ready, those that still serve while they terminate.
pub fn choose(endpoints: &[Endpoint], node: &NodeFacts) -> Chosen {
    let ready: Vec<&Endpoint> = endpoints.iter().filter(|e| e.ready).collect();
    let leaving: Vec<&Endpoint> = endpoints.iter().filter(|e| !e.ready && e.serving && e.terminating).collect();
    let usable = if ready.is_empty() { &leaving } else { &ready };
    let local_ready: Vec<Endpoint> = ready.iter().filter(|e| e.local).copied().cloned().collect();
    let local = if local_ready.is_empty() {
        leaving.iter().filter(|e| e.local).copied().cloned().collect()
    } else {
        local_ready
    };
    Chosen {
        any: !usable.is_empty() || !local.is_empty(),
        cluster: near(usable, node).into_iter().cloned().collect(),
        local,
    }
}

/// Keeps the endpoints hinted for this node, else for its zone; hints count only if all carry them.
fn near<'a>(endpoints: &[&'a Endpoint], node: &NodeFacts) -> Vec<&'a Endpoint> {
    if !endpoints.is_empty() && endpoints.iter().all(|e| !e.nodes.is_empty()) {
        let here: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.nodes.contains(&node.name)).collect();
        if !here.is_empty() {
            return here;
        }
    }
    if let Some(zone) = &node.zone
        && endpoints.iter().all(|e| !e.zones.is_empty())
    {
        let here: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.zones.contains(zone)).collect();
        if !here.is_empty() {
            return here;
        }
    }
    endpoints.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeFacts {
        NodeFacts { name: "n1".to_owned(), zone: Some("z1".to_owned()), ..NodeFacts::default() }
    }

    fn endpoint(last: u8, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
        let mut endpoint = Endpoint {
            ip: IpAddr::from([10, 244, 0, last]),
            port: 80,
            ready: true,
            serving: true,
            terminating: false,
            local: false,
            zones: Vec::new(),
            nodes: Vec::new(),
        };
        change(&mut endpoint);
        endpoint
    }

    fn lasts(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(|e| e.ip.to_string()).collect()
    }

    #[test]
    fn terminating_endpoints_serve_only_when_nothing_is_ready() {
        let leaving = endpoint(1, |e| (e.ready, e.terminating) = (false, true));
        let dead = endpoint(2, |e| (e.ready, e.serving) = (false, false));
        let ready = endpoint(3, |_| ());
        let both = choose(&[leaving.clone(), dead.clone(), ready], &node());
        assert_eq!(lasts(&both.cluster), ["10.244.0.3"]);
        let last = choose(&[leaving, dead.clone()], &node());
        assert_eq!(lasts(&last.cluster), ["10.244.0.1"]);
        assert!(!choose(&[dead], &node()).any);
    }

    #[test]
    fn a_local_endpoint_that_terminates_serves_local_traffic_alone() {
        let leaving = endpoint(1, |e| {
            (e.ready, e.terminating, e.local) = (false, true, true);
        });
        let far = endpoint(2, |_| ());
        let chosen = choose(&[leaving, far], &node());
        assert_eq!(lasts(&chosen.cluster), ["10.244.0.2"]);
        assert_eq!(lasts(&chosen.local), ["10.244.0.1"]);
    }

    #[test]
    fn zone_hints_count_only_if_all_endpoints_carry_them() {
        let here = endpoint(1, |e| e.zones = vec!["z1".to_owned()]);
        let there = endpoint(2, |e| e.zones = vec!["z2".to_owned()]);
        let bare = endpoint(3, |_| ());
        assert_eq!(lasts(&choose(&[here.clone(), there.clone()], &node()).cluster), ["10.244.0.1"]);
        assert_eq!(choose(&[here, there.clone(), bare], &node()).cluster.len(), 3);
        assert_eq!(choose(&[there], &node()).cluster.len(), 1);
    }

    #[test]
    fn node_hints_beat_zone_hints() {
        let same = endpoint(1, |e| {
            (e.nodes, e.zones) = (vec!["n1".into()], vec!["z2".into()]);
        });
        let zone = endpoint(2, |e| {
            (e.nodes, e.zones) = (vec!["n2".into()], vec!["z1".into()]);
        });
        assert_eq!(lasts(&choose(&[same, zone], &node()).cluster), ["10.244.0.1"]);
    }

    #[test]
    fn an_address_in_two_slices_counts_once() {
        let slice = |ready: bool| -> EndpointSlice {
            serde_json::from_value(serde_json::json!({"addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
                "endpoints": [{"addresses": ["10.244.0.7"], "nodeName": "n1", "conditions": {"ready": ready}}]}))
            .unwrap()
        };
        let found = of_port(&[slice(false), slice(true)], "", Protocol::Tcp, &node());
        assert_eq!(found.len(), 1);
        assert!(found[0].ready && found[0].local && found[0].port == 8080);
    }
}
