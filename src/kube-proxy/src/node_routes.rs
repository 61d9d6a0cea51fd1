//! The way to the pods of other nodes: one route for each of their pod networks, through the node's own address.
//!
//! Nodes share one network, so that no tunnel and no daemon is needed. [`wanted`] is pure; [`NodeRoutes`] compares it
//! with what the kernel has whenever Nodes or the kernel's routes, addresses or links change. Only routes that carry
//! [`netfilter::routes::PROTOCOL`] are looked at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{Event, Store};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use netfilter::{Route, RouteMonitor, Routes, RoutesError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::node::pod_networks;

/// How long changes are gathered: many come at once when nodes join or a link comes up.
const WINDOW: Duration = Duration::from_millis(50);
/// First and longest wait before a route the kernel refused is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A pod network that gets no route, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The node that claims the network.
    pub node: String,
    /// The network.
    pub network: IpNet,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The routes this node should have, and the pod networks that are refused.
///
/// `own` is the name of this node, `addresses` all addresses of its interfaces.
pub fn wanted<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    own: &str,
    addresses: &[IpAddr],
) -> (BTreeSet<Route>, BTreeSet<Refused>) {
    let (mine, mut others): (Vec<&Node>, Vec<&Node>) =
        nodes.into_iter().partition(|node| node.metadata.name.as_deref() == Some(own));
    // Of two nodes that claim one network, the older one has it.
    others.sort_by_key(|node| (node.metadata.creation_timestamp.clone(), node.metadata.name.clone()));
    let mut taken: Vec<IpNet> = mine.iter().flat_map(|node| pod_networks(node)).collect();
    let hosts: BTreeSet<IpAddr> = mine.iter().chain(&others).flat_map(|node| internal_addresses(node)).collect();
    let (mut routes, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for node in others {
        let gateways = internal_addresses(node);
        for network in pod_networks(node) {
            let four = network.addr().is_ipv4();
            // Without an address of this family the node is merely not there yet.
            let Some(gateway) = gateways.iter().copied().find(|gateway| gateway.is_ipv4() == four) else { continue };
            let within = |address: &IpAddr| network.contains(address);
            let reason = if taken.iter().any(|other| overlap(other, &network)) {
                "it overlaps the pod network of another node"
            } else if addresses.iter().any(within) {
                "it holds an address of this node"
            } else if hosts.iter().any(within) {
                "it holds the address of a node"
            } else if addresses.contains(&gateway) {
                "the node claims an address of this node"
            } else if network.prefix_len() == 0 || network.addr().is_loopback() || network.addr().is_multicast() {
                "it is no network pods can have"
            } else {
                taken.push(network);
                routes.insert(Route { destination: network.trunc(), gateway });
                continue;
            };
            refused.insert(Refused { node: node.metadata.name.clone().unwrap_or_default(), network, reason });
        }
    }
    (routes, refused)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn internal_addresses(node: &Node) -> Vec<IpAddr> {
    let listed = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    listed.iter().filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect()
}

/// Keeps the routes of this node.
pub struct NodeRoutes<R> {
    routes: R,
    nodes: Store<Node>,
    own: String,
    refused: BTreeSet<Refused>,
}

impl<R: Routes> NodeRoutes<R> {
    /// Nothing is written yet; `nodes` are all nodes.
    pub fn new(routes: R, nodes: Store<Node>, own: &str) -> Self {
        Self { routes, nodes, own: own.to_owned(), refused: BTreeSet::new() }
    }

    /// Follows changes until the token is cancelled; the routes stay in place afterwards.
    pub async fn run(mut self, token: CancellationToken) {
        let noted = Arc::new(Notify::new());
        let note = Arc::clone(&noted);
        self.nodes.on_event(move |event| {
            if matters(event) {
                note.notify_one();
            }
        });
        let mut monitor = match RouteMonitor::start() {
            Ok(monitor) => Some(monitor),
            Err(error) => {
                tracing::warn!(%error, "changes of routes by others are not noticed");
                None
            }
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = self.nodes.synced() => {}
        }
        let mut wait = RETRY.0;
        loop {
            let failed = self.sync().inspect_err(|error| {
                let error = error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, retry = ?wait, "a route to the pods of another node is missing");
            });
            let retry = failed.is_err().then_some(wait);
            wait = if failed.is_err() { (wait * 2).min(RETRY.1) } else { RETRY.0 };
            tokio::select! {
                () = token.cancelled() => return,
                () = noted.notified() => {}
                () = disturbed(&mut monitor) => {}
                () = async { tokio::time::sleep(retry.unwrap_or_default()).await }, if retry.is_some() => {}
            }
            tokio::time::sleep(WINDOW).await;
        }
    }

    /// Brings the kernel's routes in order; one that is refused does not hold up the others, and is the error.
    pub fn sync(&mut self) -> Result<(), RoutesError> {
        let everywhere = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        self.sync_with(&crate::host::addresses_within(&everywhere))
    }

    fn sync_with(&mut self, addresses: &[IpAddr]) -> Result<(), RoutesError> {
        let nodes = self.nodes.list();
        let (wanted, refused) = wanted(nodes.iter().map(AsRef::as_ref), &self.own, addresses);
        for one in refused.difference(&self.refused) {
            tracing::error!(node = one.node, network = %one.network, reason = one.reason, "a pod network gets no route");
        }
        self.refused = refused;
        let have: BTreeSet<Route> = self.routes.list()?.into_iter().collect();
        let mut outcome = Ok(());
        for route in wanted.difference(&have) {
            match self.routes.replace(route) {
                Ok(()) => tracing::info!(pods = %route.destination, node = %route.gateway, "route set"),
                Err(error) => outcome = Err(error),
            }
        }
        // What was moved to another gateway is gone already; asking again does no harm.
        for route in have.difference(&wanted) {
            match self.routes.remove(route) {
                Ok(()) => tracing::info!(pods = %route.destination, node = %route.gateway, "route removed"),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

/// Whether an event can change a route.
fn matters(event: &Event<Node>) -> bool {
    let facts = |node: &Node| (pod_networks(node), internal_addresses(node));
    match event {
        Event::Updated { old, new } => facts(old) != facts(new),
        Event::Added(_) | Event::Deleted(_) => true,
    }
}

async fn disturbed(monitor: &mut Option<RouteMonitor>) {
    let Some(listening) = monitor else { return std::future::pending().await };
    if let Err(error) = listening.changed().await {
        tracing::warn!(%error, "changes of routes by others are not noticed any more");
        *monitor = None;
    }
}

#[cfg(test)]
mod tests {
    use netfilter::fake::FakeHost;
    use serde_json::json;

    use super::*;

    fn node(name: &str, networks: &[&str], addresses: &[&str]) -> Node {
        let addresses: Vec<_> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        serde_json::from_value(json!({"metadata": {"name": name},
            "spec": {"podCIDR": networks.first(), "podCIDRs": networks}, "status": {"addresses": addresses}}))
        .unwrap()
    }

    fn check(nodes: &[Node], expected: &[&str], refused: &[&str]) {
        let (routes, no) = wanted(nodes, "n1", &["10.80.0.1".parse().unwrap(), "10.244.1.1".parse().unwrap()]);
        let routes: Vec<String> = routes.iter().map(|r| format!("{} via {}", r.destination, r.gateway)).collect();
        assert_eq!(routes, expected);
        let no: Vec<String> = no.iter().map(|r| format!("{}: {}", r.node, r.reason)).collect();
        assert_eq!(no, refused);
    }

    fn own() -> Node {
        node("n1", &["10.244.1.0/24"], &["10.80.0.1"])
    }

    #[test]
    fn every_other_node_gets_a_route_for_each_family() {
        let other = node("n2", &["10.244.2.0/24", "fd00:2::/64"], &["10.80.0.2", "fd80::2"]);
        check(&[own(), other], &["10.244.2.0/24 via 10.80.0.2", "fd00:2::/64 via fd80::2"], &[]);
    }

    #[test]
    fn a_node_without_network_or_address_is_waited_for() {
        check(&[own(), node("n2", &[], &["10.80.0.2"]), node("n3", &["10.244.3.0/24"], &[])], &[], &[]);
        check(&[own(), node("n2", &["10.244.2.0/24"], &["fd80::2"])], &[], &[]);
    }

    #[test]
    fn networks_that_would_lead_traffic_astray_are_refused() {
        let bad = |network: &str, reason: &str| {
            check(&[own(), node("n2", &[network], &["10.80.0.2"])], &[], &[&format!("n2: {reason}")]);
        };
        bad("10.244.1.0/24", "it overlaps the pod network of another node");
        bad("10.244.0.0/16", "it overlaps the pod network of another node");
        bad("10.80.0.0/30", "it holds an address of this node");
        bad("10.80.0.2/32", "it holds the address of a node");
        bad("127.0.0.0/8", "it is no network pods can have");
        let thief = node("n2", &["10.244.2.0/24"], &["10.80.0.1"]);
        check(&[own(), thief], &[], &["n2: the node claims an address of this node"]);
    }

    #[test]
    fn of_two_nodes_with_one_network_the_older_one_has_it() {
        let mut older = node("z", &["10.244.2.0/24"], &["10.80.0.3"]);
        older.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let mut newer = node("a", &["10.244.2.0/24"], &["10.80.0.2"]);
        newer.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
        let refused = ["a: it overlaps the pod network of another node"];
        check(&[own(), newer, older], &["10.244.2.0/24 via 10.80.0.3"], &refused);
    }

    #[test]
    fn routes_follow_the_nodes_and_one_refusal_holds_up_nobody() {
        let host = FakeHost::new();
        let sync = |nodes: Vec<Node>| NodeRoutes::new(host.clone(), Store::fixed(nodes, []), "n1").sync_with(&[]);
        let listed = || -> Vec<String> {
            host.list().unwrap().iter().map(|r| format!("{} via {}", r.destination, r.gateway)).collect()
        };
        let (two, three) =
            (node("n2", &["10.244.2.0/24"], &["10.80.0.2"]), node("n3", &["10.244.3.0/24"], &["10.80.0.3"]));
        host.refuse_next();
        assert!(sync(vec![own(), two.clone(), three.clone()]).is_err());
        assert_eq!(listed(), ["10.244.3.0/24 via 10.80.0.3"]);
        sync(vec![own(), two, three]).unwrap();
        assert_eq!(listed().len(), 2);
        sync(vec![own(), node("n2", &["10.244.2.0/24"], &["10.80.0.22"])]).unwrap();
        assert_eq!(listed(), ["10.244.2.0/24 via 10.80.0.22"]);
    }
}
