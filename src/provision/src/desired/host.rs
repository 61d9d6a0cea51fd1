//! The files of one host, in kubeadm's layout.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use pki::control_plane::{self, Authority, CertificateSpec, ControlPlaneNode, Destination, LEAF_LIFETIME};
use pki::{LeafRequest, SubjectAltName, Usage};
use serde::Serialize;
use sha2::{Digest, Sha256};
use ssh::File;
use topology::{Machine, Role, Topology};

use super::{API_PORT, Components, ImageNames};
use crate::render::render;
use crate::state::Allocations;
use crate::vault::{Server, Vault};

/// What a host is told.
pub struct DesiredHost {
    /// Its files; nothing for a machine that is not a Node.
    pub files: Vec<File>,
    /// Names all of it.
    pub hash: String,
}

/// The address of the `n`th Service: 1 is the API, 10 is DNS.
const DNS_SERVICE: u32 = 10;

/// The cluster as templates see it.
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
    pub(super) server: String,
    pub(super) etcd_servers: String,
    pub(super) initial_cluster: String,
    pub(super) images: ImageNames,
    pub(super) control_planes: Vec<Member>,
    pub(super) extra_sans: Vec<String>,
}

/// A machine as templates see it.
#[derive(Clone, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

#[derive(Serialize)]
struct HostView<'a> {
    #[serde(flatten)]
    cluster: &'a ClusterView,
    name: &'a str,
    address: Ipv4Addr,
    node_labels: String,
    taints: String,
}

impl ClusterView {
    pub(super) fn new(topology: &Topology, allocations: &Allocations, components: &Components) -> Result<Self> {
        let spec = &topology.cluster().spec;
        let service = |n| spec.network.services.nth(n).context("the Service network is too small");
        let mut control_planes = Vec::new();
        for machine in topology.machines().iter().filter(|machine| machine.role == Role::ControlPlane) {
            let allocated = allocations.machines.get(&machine.name).context("a machine without an address")?;
            control_planes.push(Member { name: machine.name.clone(), address: allocated.address });
        }
        let first = control_planes.first().context("a topology has a control plane")?.address;
        let join = |text: fn(&Member) -> String| control_planes.iter().map(text).collect::<Vec<_>>().join(",");
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
            server: format!("https://{first}:{API_PORT}"),
            etcd_servers: join(|member| format!("https://{}:2379", member.address)),
            initial_cluster: join(|member| format!("{}=https://{}:2380", member.name, member.address)),
            images: components.images(),
            extra_sans: spec.control_plane.extra_sans.clone(),
            control_planes,
        })
    }
}

/// Everything that `machine` is told.
pub(super) fn desired_host(
    machine: &Machine,
    address: Ipv4Addr,
    view: &ClusterView,
    vault: &mut Vault,
) -> Result<DesiredHost> {
    let mut files = Vec::new();
    if machine.role == Role::ControlPlane {
        let member = Member { name: machine.name.clone(), address };
        control_plane_files(&member, view, vault, &mut files)?;
    }
    if machine.role.is_node() {
        node_files(machine, address, view, vault, &mut files)?;
    }
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(format!("{} {:o} {}\n", file.path, file.mode, file.content.len()));
        hash.update(&file.content);
    }
    Ok(DesiredHost { files, hash: hex::encode(hash.finalize()) })
}

/// What the certificates of a control plane depend on.
pub(super) fn control_plane_node(view: &ClusterView, member: &Member) -> ControlPlaneNode {
    ControlPlaneNode {
        name: member.name.clone(),
        addresses: vec![member.address.into()],
        endpoints: view.extra_sans.clone(),
        service_addresses: vec![view.api_service],
        domain: view.domain.clone(),
        stacked_etcd: true,
    }
}

fn control_plane_files(member: &Member, view: &ClusterView, vault: &mut Vault, files: &mut Vec<File>) -> Result<()> {
    for authority in Authority::ALL {
        let name = authority.file();
        for extension in ["crt", "key"] {
            let text = vault.text(&format!("pki/{name}.{extension}"))?.to_owned();
            files.push(File::secret(format!("/etc/kubernetes/pki/{name}.{extension}"), text));
        }
    }
    for name in ["sa.key", "sa.pub"] {
        let text = vault.text(&format!("pki/{name}"))?.to_owned();
        files.push(File::secret(format!("/etc/kubernetes/pki/{name}"), text));
    }
    let url = format!("https://{}:{API_PORT}", member.address);
    for spec in control_plane::certificates(&control_plane_node(view, member)) {
        // The kubelet's comes with those of every node.
        if !matches!(spec.destination, Destination::Kubeconfig { file: "kubelet.conf" }) {
            let server = Server { cluster: &view.cluster, url: &url };
            secrets(vault.issue(&member.name, &spec, &server)?, files);
        }
    }
    let host = HostView {
        cluster: view,
        name: &member.name,
        address: member.address,
        node_labels: String::new(),
        taints: String::new(),
    };
    for pod in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let text = render(&format!("static-pods/{pod}.yaml"), &host)?;
        files.push(File::secret(format!("/etc/kubernetes/manifests/{pod}.yaml"), text));
    }
    Ok(())
}

fn node_files(
    machine: &Machine,
    address: Ipv4Addr,
    view: &ClusterView,
    vault: &mut Vault,
    files: &mut Vec<File>,
) -> Result<()> {
    let url = match machine.role {
        // A control plane's kubelet talks to the API server beside it.
        Role::ControlPlane => format!("https://{address}:{API_PORT}"),
        _ => view.server.clone(),
    };
    let server = Server { cluster: &view.cluster, url: &url };
    secrets(vault.issue(&machine.name, &control_plane::kubelet(&machine.name), &server)?, files);
    let serving = vault
        .pair(&format!("pki/machines/{}/kubelet-serving", machine.name), &kubelet_serving(&machine.name, address))?;
    files.push(File::secret("/var/lib/kubelet/pki/kubelet.crt", serving.cert_pem));
    files.push(File::secret("/var/lib/kubelet/pki/kubelet.key", serving.key_pem));
    if machine.role != Role::ControlPlane {
        let authority = vault.authority(Authority::Cluster).cert_pem().to_owned();
        files.push(File::public("/etc/kubernetes/pki/ca.crt", authority));
    }
    let host = HostView {
        cluster: view,
        name: &machine.name,
        address,
        node_labels: node_labels(machine),
        taints: taints(machine),
    };
    files.push(File::public("/etc/provision/masquerade.nft", render("node/masquerade.nft", &host)?));
    files.push(File::public("/var/lib/kubelet/config.yaml", render("kubelet/config.yaml", &host)?));
    files.push(File::public("/etc/systemd/system/kubelet.service", render("kubelet/kubelet.service", &host)?));
    Ok(())
}

/// The kubelet's own server, signed by the cluster's authority so that the API server can check whom it talks to.
fn kubelet_serving(name: &str, address: Ipv4Addr) -> CertificateSpec {
    CertificateSpec {
        authority: Authority::Cluster,
        destination: Destination::KeyPair { file: "kubelet" },
        request: LeafRequest {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".to_owned()],
            sans: vec![SubjectAltName::Dns(name.to_owned()), SubjectAltName::Ip(address.into())],
            usages: vec![Usage::ServerAuth],
            lifetime: LEAF_LIFETIME,
        },
    }
}

fn secrets(issued: Vec<(String, String)>, files: &mut Vec<File>) {
    files.extend(issued.into_iter().map(|(path, text)| File::secret(path, text)));
}

fn node_labels(machine: &Machine) -> String {
    // Labels that a kubelet may not set on itself are set through the API once the Node is there.
    let own = machine.labels.iter().filter(|(key, _)| !key.contains("kubernetes.io/") && !key.contains("k8s.io/"));
    own.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn taints(machine: &Machine) -> String {
    let mut text = String::new();
    for taint in &machine.taints {
        let separator = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{separator}{}={}:{:?}", taint.key, taint.value, taint.effect);
    }
    text
}
