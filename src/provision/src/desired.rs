//! What shall be, down to the last byte: for every machine its size and files, for the cluster its add-ons. Each part has
//! a hash, so that one look at a machine tells whether it is as it should be.

mod addons;
mod host;
mod ports;
mod view;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use topology::{Machine, Role, Topology};

pub use addons::Addons;
pub use host::{DesiredHost, INITIAL_CLUSTER, INITIAL_STATE, INTERFACE, MANIFEST_MARK, Service};
pub use ports::ports;

use crate::allocate;
use crate::image::file_hash;
use crate::state::{Allocations, StateDir};
use crate::vault::{Server, Vault};
use view::ClusterView;

/// The port of the API server, and of a balancer on a machine of its own.
pub const API_PORT: u16 = 6443;
/// The port of a balancer that shares its machine with an API server, as kubeadm's guides have it.
pub const BALANCED_PORT: u16 = 8443;

/// Everything that one run works towards.
pub struct Desired {
    /// What was asked for.
    pub topology: Topology,
    /// What the cluster was given.
    pub allocations: Allocations,
    /// The secrets.
    pub vault: Vault,
    /// The node programs.
    pub components: Components,
    /// The machines, control plane first.
    pub machines: Vec<DesiredMachine>,
    /// Machines that are there and that nobody asks for any more.
    pub leavers: Vec<Leaver>,
    /// Where the API is reached once there is more than one server, as machines see it.
    pub balancer: Option<(Ipv4Addr, u16)>,
    /// What is installed into the cluster.
    pub addons: Addons,
    /// The kubeconfig of the administrator, as used on this host.
    pub kubeconfig: String,
}

/// One machine.
pub struct DesiredMachine {
    /// What was asked for.
    pub machine: Machine,
    /// What it is told once it can be reached.
    pub host: DesiredHost,
}

/// A machine that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Its name.
    pub name: String,
    /// What it was for.
    pub role: Role,
    /// Why it goes.
    pub reason: String,
}

/// The one static binary that all node programs are.
#[derive(Clone, Debug)]
pub struct Components {
    /// The file on this host.
    pub hyperkube: PathBuf,
    /// Names the content: the tag of every image made from it.
    pub tag: String,
}

/// The names of the images, as templates use them.
#[derive(Clone, Debug, Serialize)]
pub struct ImageNames {
    etcd: String,
    kube_apiserver: String,
    kube_controller_manager: String,
    kube_scheduler: String,
    kube_proxy: String,
    cluster_dns: String,
}

impl Components {
    /// Looks at the binary and names its content.
    pub fn read(hyperkube: &Path) -> Result<Self> {
        let hash = file_hash(hyperkube);
        let mut hash = hash.with_context(|| format!("cannot read {}", hyperkube.display()))?;
        hash.truncate(12);
        Ok(Self { hyperkube: hyperkube.to_owned(), tag: format!("v{}-{hash}", env!("CARGO_PKG_VERSION")) })
    }

    fn images(&self) -> ImageNames {
        let name = |component: &str| format!("provision.local/{component}:{}", self.tag);
        ImageNames {
            etcd: name("etcd"),
            kube_apiserver: name("kube-apiserver"),
            kube_controller_manager: name("kube-controller-manager"),
            kube_scheduler: name("kube-scheduler"),
            kube_proxy: name("kube-proxy"),
            cluster_dns: name("cluster-dns"),
        }
    }
}

impl Desired {
    /// Works out everything; only fresh keys are random, and those are kept in the vault.
    pub fn new(topology: Topology, allocations: Allocations, components: Components, state: &StateDir) -> Result<Self> {
        let mut vault = Vault::open(state, Timestamp::now())?;
        let view = ClusterView::new(&topology, &allocations, &components)?;
        let mut machines = Vec::new();
        for machine in allocate::roster(&topology, &allocations) {
            let address = allocations.machines.get(&machine.name).context("a machine without an address")?.address;
            let host = host::desired_host(&machine, address, (&topology, &view), &mut vault)?;
            machines.push(DesiredMachine { machine, host });
        }
        let leavers = allocate::leavers(&topology, &allocations).into_iter().map(|(name, role)| Leaver {
            reason: allocations.machines[&name].chosen.clone().unwrap_or("the topology does not ask for it".to_owned()),
            name,
            role,
        });
        let addons = addons::addons(&topology, &view)?;
        let kubeconfig = admin_kubeconfig(&topology, &allocations, &view, &mut vault)?;
        Ok(Self {
            leavers: leavers.collect(),
            balancer: view.balancer.as_ref().map(|balancer| (balancer.address, balancer.port)),
            topology,
            allocations,
            vault,
            components,
            machines,
            addons,
            kubeconfig,
        })
    }

    /// The machine of that name.
    pub fn machine(&self, name: &str) -> Result<&DesiredMachine> {
        self.machines
            .iter()
            .find(|desired| desired.machine.name == name)
            .with_context(|| format!("the topology has no machine {name}"))
    }

    /// Names of the machines that run an etcd member.
    pub fn etcd(&self) -> Vec<String> {
        self.names(|role| self.topology.has_etcd(role))
    }

    /// Names of the machines that run an API server.
    pub fn control_planes(&self) -> Vec<String> {
        self.names(|role| *role == Role::ControlPlane)
    }

    /// Names of the machines that have this property.
    pub fn names(&self, wanted: impl Fn(&Role) -> bool) -> Vec<String> {
        let fitting = self.machines.iter().filter(|desired| wanted(&desired.machine.role));
        fitting.map(|desired| desired.machine.name.clone()).collect()
    }
}

/// The administrator's kubeconfig for this host: it goes to the loopback port if machines cannot be reached directly.
fn admin_kubeconfig(
    topology: &Topology,
    allocations: &Allocations,
    view: &ClusterView,
    vault: &mut Vault,
) -> Result<String> {
    let url = match allocations.api_port {
        Some(port) => format!("https://127.0.0.1:{port}"),
        None => view.server.clone(),
    };
    let first = view.control_planes.first().context("a topology has a control plane")?;
    let node = view.control_plane_node(first);
    let spec = pki::control_plane::certificates(&node)
        .into_iter()
        .find(|spec| matches!(spec.destination, pki::control_plane::Destination::Kubeconfig { file: "admin.conf" }))
        .context("a control plane has an admin.conf")?;
    let server = Server { cluster: topology.name(), url: &url, addresses: &[] };
    let files = vault.issue("administrator", &spec, &server)?;
    files.into_iter().next().map(|(_, text)| text).context("an admin.conf is one file")
}

#[cfg(test)]
mod tests;
