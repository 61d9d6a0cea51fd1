//! The topology file as types; field names and their documentation are what users see in the JSON Schema.

mod addons;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;
use crate::units::{Bytes, Cidr, PortRange};

pub use addons::{Addons, DnsAddon, ProxyAddon};

/// The only `apiVersion` that this release reads.
pub const API_VERSION: &str = "provision.dev/v1alpha1";

/// A Kubernetes cluster: what machines it has and what runs on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Always `provision.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Cluster`.
    pub kind: Kind,
    /// Who the cluster is.
    pub metadata: Metadata,
    /// What the cluster shall be.
    #[serde(default)]
    pub spec: Spec,
}

/// The version of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first format.
    #[serde(rename = "provision.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A cluster.
    Cluster,
}

/// Name of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A DNS label of at most 40 characters; machines are called `<name>-control-plane-1` and so on.
    pub name: String,
}

/// Everything about the cluster that has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// Version of Kubernetes.
    pub kubernetes: Kubernetes,
    /// Addresses of pods and Services.
    pub network: Network,
    /// Where machines come from.
    pub infrastructure: Infrastructure,
    /// What the machines boot.
    pub image: Image,
    /// The machines that run the API server, scheduler and controllers.
    pub control_plane: ControlPlane,
    /// Where etcd runs.
    pub etcd: Etcd,
    /// The machines that run workloads.
    pub workers: Vec<WorkerPool>,
    /// The balancer in front of several API servers.
    pub load_balancer: Option<LoadBalancer>,
    /// What is installed into the cluster once it runs.
    pub addons: Addons,
}

/// Version of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// The Kubernetes level, such as `v1.35.0`.
    #[serde(default = "defaults::version")]
    pub version: String,
}

/// Addresses inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// The network that pods get addresses from.
    #[serde(default = "defaults::pods")]
    pub pods: Cidr,
    /// The network that Services get addresses from.
    #[serde(default = "defaults::services")]
    pub services: Cidr,
    /// Prefix length of the part of `pods` that each node gets.
    #[serde(default = "defaults::node_prefix")]
    pub node_prefix: u8,
    /// The DNS domain of the cluster.
    #[serde(default = "defaults::domain")]
    pub domain: String,
    /// Ports that Services of type `NodePort` may use.
    #[serde(default = "defaults::node_ports")]
    pub node_ports: PortRange,
}

/// Where machines come from: virtual machines made through libvirt, or hosts that exist already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Infrastructure {
    /// Make virtual machines (the default).
    pub libvirt: Option<Libvirt>,
    /// Use machines that exist already and are reached by SSH.
    pub hosts: Option<Hosts>,
}

/// How libvirt is reached and what it makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Libvirt {
    /// `auto` (the system daemon if there is one, else `embedded`), `embedded`, `qemu:///system` or `qemu+ssh://…`.
    #[serde(default = "defaults::libvirt_uri")]
    pub uri: String,
    /// The network of the machines; a free one is chosen if this is left out.
    pub network: Option<Cidr>,
}

/// Machines that exist already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hosts {
    /// The user to log in as; must be root or have passwordless sudo.
    #[serde(default = "defaults::user")]
    pub user: String,
    /// The private key to log in with.
    pub identity_file: String,
    /// A host to go through.
    #[serde(default)]
    pub bastion: Option<Bastion>,
    /// The machines.
    #[schemars(length(min = 1))]
    pub machines: Vec<ExistingHost>,
}

/// A host that connections to the other hosts go through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bastion {
    /// Its address.
    pub address: String,
    /// The port of its sshd.
    #[serde(default = "defaults::port")]
    pub port: u16,
    /// The user to log in as.
    #[serde(default = "defaults::user")]
    pub user: String,
    /// Its public host key, as in `known_hosts` (`ssh-ed25519 AAAA…`).
    pub host_key: String,
}

/// A machine that exists already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingHost {
    /// Its name, and the name of its Node.
    pub name: String,
    /// Its address, as this host and the other machines reach it.
    pub address: IpAddr,
    /// The port of its sshd.
    #[serde(default = "defaults::port")]
    pub port: u16,
    /// Its public host key, as in `known_hosts` (`ssh-ed25519 AAAA…`).
    pub host_key: String,
    /// `control-plane`, `etcd`, `load-balancer`, or the name of a worker pool.
    pub role: String,
}

/// What the machines boot: the node image (built here from Debian packages) or a cloud image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// Build the node image from this Debian release (the default).
    pub debian: Option<DebianImage>,
    /// Download an official cloud image.
    pub cloud: Option<CloudImage>,
}

/// The node image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DebianImage {
    /// The code name of the release.
    #[serde(default = "defaults::release")]
    pub release: String,
    /// The mirror to install from; the one of this host if left out.
    pub mirror: Option<String>,
}

/// A cloud image, booted with cloud-init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudImage {
    /// Where to download it (qcow2 or raw).
    #[schemars(regex(pattern = r"^https?://.+"))]
    pub url: String,
    /// Its SHA-256, in hexadecimal; checked before the image is used.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// The size of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MachineSize {
    /// Virtual CPUs.
    #[schemars(range(min = 1, max = 512))]
    pub cpus: Option<u16>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Size of the disk; it is sparse.
    pub disk: Option<Bytes>,
}

/// The machines that run the API server, scheduler and controllers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlPlane {
    /// How many; odd, so that a majority is always clear.
    #[serde(default = "defaults::one")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u16,
    /// Their size.
    pub machine: MachineSize,
    /// Whether workloads run here too; true if there are no workers, else false.
    pub schedulable: Option<bool>,
    /// Labels of their Nodes.
    pub labels: BTreeMap<String, String>,
    /// More names and addresses for the API server's certificate.
    pub extra_sans: Vec<String>,
}

/// Where etcd runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Etcd {
    /// `stacked` on the control-plane machines, or `external` on machines of its own.
    pub mode: EtcdMode,
    /// How many machines, if external; odd.
    #[schemars(range(min = 1, max = 7))]
    pub replicas: Option<u16>,
    /// Their size, if external.
    pub machine: MachineSize,
}

/// Where etcd members run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EtcdMode {
    /// As static pods beside each API server.
    #[default]
    Stacked,
    /// As systemd services on machines of their own.
    External,
}

/// Workers of one kind (a `MachineDeployment`, in the words of Cluster API).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerPool {
    /// Its name, a DNS label.
    pub name: String,
    /// How many machines.
    #[serde(default = "defaults::one")]
    #[schemars(range(max = 1000))]
    pub replicas: u16,
    /// Their size.
    #[serde(default)]
    pub machine: MachineSize,
    /// Labels of their Nodes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints of their Nodes.
    #[serde(default)]
    pub taints: Vec<Taint>,
}

/// A taint of a Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: String,
    /// What the taint does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// New pods only if nothing else fits.
    PreferNoSchedule,
    /// No new pods, and the present ones go.
    NoExecute,
}

/// The balancer in front of several API servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancer {
    /// How many machines of its own (1 or 2); 0 puts it on the control-plane machines.
    #[schemars(range(max = 2))]
    pub replicas: u16,
    /// The virtual address; one is chosen from the machines' network if left out.
    pub address: Option<IpAddr>,
    /// Size of its machines.
    pub machine: MachineSize,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { version: defaults::version() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            pods: defaults::pods(),
            services: defaults::services(),
            node_prefix: defaults::node_prefix(),
            domain: defaults::domain(),
            node_ports: defaults::node_ports(),
        }
    }
}

impl Default for Libvirt {
    fn default() -> Self {
        Self { uri: defaults::libvirt_uri(), network: None }
    }
}

impl Default for DebianImage {
    fn default() -> Self {
        Self { release: defaults::release(), mirror: None }
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            replicas: 1,
            machine: MachineSize::default(),
            schedulable: None,
            labels: BTreeMap::new(),
            extra_sans: Vec::new(),
        }
    }
}

impl Default for Etcd {
    fn default() -> Self {
        Self { mode: EtcdMode::Stacked, replicas: None, machine: MachineSize::default() }
    }
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self { replicas: 1, address: None, machine: MachineSize::default() }
    }
}
