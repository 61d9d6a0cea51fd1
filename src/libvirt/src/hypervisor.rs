//! The trait behind which machines are made.

use std::time::Duration;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::description::{DhcpHost, Owner};
use crate::error::HypervisorError;

/// What the machine that runs the guests offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostInfo {
    /// Its host name.
    pub hostname: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// All memory.
    pub memory_bytes: u64,
    /// Memory that can be had now.
    pub free_memory_bytes: u64,
    /// The daemon offers KVM; without it guests run under QEMU's emulator.
    pub kvm: bool,
    /// Version of the hypervisor, as `10.0.2`.
    pub hypervisor_version: String,
}

/// Where a domain is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DomainState {
    /// Executing, or about to end but still there.
    Running,
    /// Held, by a person or by an I/O error.
    Paused,
    /// Defined and not running.
    Stopped,
    /// Ended by a crash.
    Crashed,
}

/// One domain of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainSummary {
    /// Its name, unique on the daemon.
    pub name: String,
    /// Its UUID, which the guest uses as machine id.
    pub uuid: String,
    /// Where it is in its life.
    pub state: DomainState,
    /// The `spec` attribute of its owner element: what the caller last asked for.
    pub spec: String,
}

/// One network of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSummary {
    /// Its name, unique on the daemon.
    pub name: String,
    /// The bridge on the host.
    pub bridge: String,
    /// The range its bridge address stands in.
    pub subnet: Option<Ipv4Net>,
    /// Its bridge is up.
    pub active: bool,
    /// Addresses promised to machines.
    pub hosts: Vec<DhcpHost>,
    /// The `spec` attribute of its owner element.
    pub spec: String,
}

/// A daemon that keeps virtual machines.
///
/// Every method that changes something is idempotent: asking for what is already so succeeds and changes
/// nothing. Every method that names an object refuses one that `owner` does not own.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The address of the daemon.
    fn uri(&self) -> &str;

    /// What the machine that runs the guests offers.
    async fn host(&self) -> Result<HostInfo, HypervisorError>;

    /// All domains of `owner`, by name.
    async fn domains(&self, owner: &Owner) -> Result<Vec<DomainSummary>, HypervisorError>;

    /// Makes or changes the domain that `xml` describes; a running domain takes the change at its next start.
    async fn define_domain(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError>;

    /// Starts a domain; resumes it if it is paused.
    async fn start_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError>;

    /// Asks the guest to shut down and waits until it has.
    async fn shutdown_domain(&self, owner: &Owner, name: &str, patience: Duration) -> Result<(), HypervisorError>;

    /// Pulls the plug.
    async fn destroy_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError>;

    /// Pulls the plug and forgets the domain; its disks stay.
    async fn remove_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError>;

    /// All networks of `owner`, by name.
    async fn networks(&self, owner: &Owner) -> Result<Vec<NetworkSummary>, HypervisorError>;

    /// The ranges and bridge names that networks of anybody use on this daemon.
    async fn occupied_networks(&self) -> Result<Vec<NetworkSummary>, HypervisorError>;

    /// Makes the network that `xml` describes, starts it, and has it started with the daemon.
    ///
    /// A network of `owner` that exists is started and otherwise left as it is.
    async fn ensure_network(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError>;

    /// Promises an address to a machine, on the running network too.
    async fn add_dhcp_host(&self, owner: &Owner, network: &str, host: &DhcpHost) -> Result<(), HypervisorError>;

    /// Takes back the promise for the machine with this MAC address.
    async fn remove_dhcp_host(&self, owner: &Owner, network: &str, mac: &str) -> Result<(), HypervisorError>;

    /// Stops the network and forgets it.
    async fn remove_network(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError>;
}
