//! The cluster as templates see it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use pki::control_plane::ControlPlaneNode;
use serde::Serialize;
use topology::spec::EtcdMode;
use topology::{Machine, Role, Topology};

use super::host::INTERFACE;
use super::{API_PORT, BALANCED_PORT, Components, ImageNames};
use crate::allocate;
use crate::state::Allocations;

/// The address of the `n`th Service: 1 is the API, 10 is DNS.
const DNS_SERVICE: u32 = 10;

#[derive(Clone, Serialize)]
pub(super) struct ClusterView {
    pub(super) cluster: String,
    pub(super) cluster_id: String,
    pub(super) domain: String,
    pub(super) pods: String,
    pub(super) services: String,
    pub(super) node_ports: String,
    pub(super) node_prefix: u8,
    pub(super) dns_address: IpAddr,
    pub(super) api_service: IpAddr,
    pub(super) dns_replicas: u16,
    /// Where clients outside the cluster find the API: the balancer, or the only API server.
    pub(super) server: String,
    /// Every API server, as `address:port`.
    pub(super) api_servers: Vec<String>,
    pub(super) images: ImageNames,
    pub(super) control_planes: Vec<Member>,
    pub(super) etcd: Vec<Member>,
    pub(super) stacked: bool,
    pub(super) balancer: Option<BalancerView>,
    pub(super) extra_sans: Vec<String>,
    /// The network card that a virtual address is put on.
    pub(super) interface: &'static str,
    /// How often etcd's leader is heard of, and how long it may be silent.
    pub(super) etcd_heartbeat_ms: u32,
    pub(super) etcd_election_ms: u32,
    /// Several times slower than a real machine: what is slow elsewhere is usual here.
    pub(super) emulated: bool,
}

/// The balancer in front of the API servers.
#[derive(Clone, Serialize)]
pub(super) struct BalancerView {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) port: u16,
    /// How often each API server is asked whether it is ready.
    pub(super) check_ms: u32,
    /// Tells the groups of one network apart.
    pub(super) router: u8,
    pub(super) members: Vec<Member>,
}

/// A machine as templates see it.
#[derive(Clone, PartialEq, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

impl ClusterView {
    pub(super) fn new(topology: &Topology, allocations: &Allocations, components: &Components) -> Result<Self> {
        let spec = &topology.cluster().spec;
        let service = |n| spec.network.services.nth(n).context("the Service network is too small");
        let roster = allocate::roster(topology, allocations);
        let control_planes = members(&roster, allocations, |role| *role == Role::ControlPlane)?;
        // Etcd's own default; emulated machines are late for it, and would elect leaders for ever.
        let heartbeat = if allocations.emulated { 500 } else { 100 };
        let balancer = balancer(topology, allocations, &roster)?;
        let server = match &balancer {
            Some(balancer) => format!("https://{}:{}", balancer.address, balancer.port),
            None => format!("https://{}:{API_PORT}", control_planes.first().context("a control plane")?.address),
        };
        Ok(Self {
            cluster: topology.name().to_owned(),
            cluster_id: allocations.id.clone(),
            domain: spec.network.domain.clone(),
            pods: spec.network.pods.to_string(),
            services: spec.network.services.to_string(),
            node_ports: spec.network.node_ports.to_string(),
            node_prefix: spec.network.node_prefix,
            dns_address: service(DNS_SERVICE)?,
            api_service: service(1)?,
            dns_replicas: topology.dns_replicas(),
            server,
            api_servers: control_planes.iter().map(|member| format!("{}:{API_PORT}", member.address)).collect(),
            images: components.images(),
            etcd: members(&roster, allocations, |role| topology.has_etcd(role))?,
            stacked: spec.etcd.mode == EtcdMode::Stacked,
            balancer,
            interface: if allocations.hosts.is_some() { INTERFACE } else { "eth0" },
            extra_sans: spec.control_plane.extra_sans.clone(),
            etcd_heartbeat_ms: heartbeat,
            etcd_election_ms: heartbeat * 10,
            emulated: allocations.emulated,
            control_planes,
        })
    }

    /// What an API server on `member` asks: the etcd beside it, or all of those on machines of their own.
    pub(super) fn etcd_servers(&self) -> String {
        if self.stacked {
            return "https://127.0.0.1:2379".to_owned();
        }
        self.etcd.iter().map(|member| format!("https://{}:2379", member.address)).collect::<Vec<_>>().join(",")
    }

    /// Every API server, that of `own` first.
    pub(super) fn api_servers_from(&self, own: Ipv4Addr) -> Vec<String> {
        let own = format!("{own}:{API_PORT}");
        let (mut servers, others): (Vec<String>, Vec<String>) =
            self.api_servers.iter().cloned().partition(|server| *server == own);
        servers.extend(others);
        servers
    }

    /// What the certificates of a control plane depend on.
    pub(super) fn control_plane_node(&self, member: &Member) -> ControlPlaneNode {
        let mut endpoints = self.extra_sans.clone();
        endpoints.extend(self.balancer.as_ref().map(|balancer| balancer.address.to_string()));
        ControlPlaneNode {
            name: member.name.clone(),
            addresses: vec![member.address.into()],
            endpoints,
            service_addresses: vec![self.api_service],
            domain: self.domain.clone(),
            stacked_etcd: self.stacked,
        }
    }
}

fn members(roster: &[Machine], allocations: &Allocations, wanted: impl Fn(&Role) -> bool) -> Result<Vec<Member>> {
    let machines = roster.iter().filter(|machine| wanted(&machine.role));
    let member = |machine: &Machine| {
        let allocated = allocations.machines.get(&machine.name).context("a machine without an address")?;
        Ok(Member { name: machine.name.clone(), address: allocated.address })
    };
    machines.map(member).collect()
}

fn balancer(topology: &Topology, allocations: &Allocations, roster: &[Machine]) -> Result<Option<BalancerView>> {
    let Some(address) = allocations.virtual_address else { return Ok(None) };
    let members = members(roster, allocations, |role| topology.has_balancer(role))?;
    let shared = topology.has_balancer(&Role::ControlPlane);
    Ok(Some(BalancerView {
        address,
        prefix: allocations.network.subnet.prefix_len(),
        // Each question is a TLS handshake, and an emulated machine takes tens of milliseconds for one.
        check_ms: if allocations.emulated { 5000 } else { 1000 },
        // Beside an API server its port is taken.
        port: if shared { BALANCED_PORT } else { API_PORT },
        // The last byte of the address: no two virtual addresses of one network are alike.
        router: address.octets()[3].max(1),
        members,
    }))
}
