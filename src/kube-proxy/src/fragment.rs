//! What one Service contributes to a table, as data: chains, elements of shared maps, and sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A named set or map of the table whose elements services contribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Every cluster address in use.
    ClusterIps,
    /// The addresses of this node that answer node ports.
    NodePortIps,
    /// Load balancer addresses with a list of allowed sources.
    Firewall,
    /// Virtual addresses without endpoints.
    NoEndpointServices,
    /// Node ports without endpoints.
    NoEndpointNodePorts,
    /// Virtual addresses with endpoints.
    ServiceIps,
    /// Node ports with endpoints.
    ServiceNodePorts,
}

impl Collection {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::NodePortIps => "nodeport-ips",
            Self::Firewall => "firewall-ips",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
        }
    }
}

/// What a map says for an element; plain sets say nothing.
pub type Verdict = Option<String>;

/// An element of a set or map, by its key's text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementKey {
    /// Where it lives.
    pub collection: Collection,
    /// Its key as nft writes it.
    pub key: String,
}

/// Where UDP clients send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpFrontend {
    /// A virtual address; absent for a node port.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// What one Service contributes to one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Elements with their verdict; plain set elements have none.
    pub elements: BTreeMap<ElementKey, Verdict>,
    /// Chains with their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Sets that remember clients, with their timeout in seconds.
    pub affinity_sets: BTreeMap<String, u32>,
    /// UDP addresses with the endpoints behind them, for connection tracking.
    pub udp: BTreeMap<UdpFrontend, BTreeSet<IpAddr>>,
}

impl Fragment {
    /// Adds an element of a map.
    pub(crate) fn verdict(&mut self, collection: Collection, key: String, verdict: impl Into<String>) {
        self.elements.insert(ElementKey { collection, key }, Some(verdict.into()));
    }

    /// Adds an element of a set.
    pub(crate) fn member(&mut self, collection: Collection, key: String) {
        self.elements.insert(ElementKey { collection, key }, None);
    }
}
