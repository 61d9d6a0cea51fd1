//! The files of one host, in kubeadm's layout, and the services that read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;
use pki::control_plane::{self, Authority, CertificateSpec, Destination, LEAF_LIFETIME};
use pki::{LeafRequest, SubjectAltName, Usage};
use serde::Serialize;
use sha2::{Digest, Sha256};
use ssh::File;
use topology::{Machine, Role, Topology};

use super::API_PORT;
use super::view::{ClusterView, Member};
use crate::render::render;
use crate::vault::{Server, Vault};

/// Stands in files for the members that this member of etcd begins with: they are known when it begins, etcd reads them
/// once, and they must not make two configurations different.
pub const INITIAL_CLUSTER: &str = "@initial-cluster@";
/// Stands for `new` or `existing` in the same way.
pub const INITIAL_STATE: &str = "@initial-cluster-state@";

/// Names a manifest in itself, so that the mirror of a static pod tells what its kubelet has taken up.
pub const MANIFEST_MARK: &str = "provision.dev/manifest";
/// Stands in a manifest for its own mark.
const OWN_MARK: &str = "@manifest@";
/// Stands for the network card that has the machine's address, where only the machine knows its name.
pub const INTERFACE: &str = "@interface@";

/// What a host is told.
pub struct DesiredHost {
    /// Its files.
    pub files: Vec<File>,
    /// The services that read them.
    pub services: Vec<Service>,
    /// The marks of its static pods, by name.
    pub static_pods: BTreeMap<String, String>,
    /// Names all of it.
    pub hash: String,
}

/// A systemd service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The unit without `.service`.
    pub name: &'static str,
    /// How it takes up new files: the verb of `systemctl`.
    pub renew: &'static str,
}

const KUBELET: Service = Service { name: "kubelet", renew: "restart" };
/// A member that waits for others must not hold up what would bring them.
const ETCD: Service = Service { name: "etcd", renew: "restart --no-block" };
const HAPROXY: Service = Service { name: "haproxy", renew: "reload-or-restart" };
const KEEPALIVED: Service = Service { name: "keepalived", renew: "reload-or-restart" };

#[derive(Serialize)]
struct HostView<'a> {
    #[serde(flatten)]
    cluster: &'a ClusterView,
    name: &'a str,
    address: Ipv4Addr,
    etcd_servers: String,
    initial_cluster: &'a str,
    initial_state: &'a str,
    manifest_mark: &'a str,
    peers: Vec<Ipv4Addr>,
    node_labels: String,
    taints: String,
}

/// Collects what one host is told.
struct Draft<'a> {
    view: &'a ClusterView,
    vault: &'a mut Vault,
    machine: &'a Machine,
    member: Member,
    files: Vec<File>,
    services: Vec<Service>,
    static_pods: BTreeMap<String, String>,
}

/// Everything that `machine` is told.
pub(super) fn desired_host(
    machine: &Machine,
    address: Ipv4Addr,
    (topology, view): (&Topology, &ClusterView),
    vault: &mut Vault,
) -> Result<DesiredHost> {
    let member = Member { name: machine.name.clone(), address };
    let mut draft =
        Draft { view, vault, machine, member, files: Vec::new(), services: Vec::new(), static_pods: BTreeMap::new() };
    if machine.role == Role::ControlPlane {
        draft.control_plane()?;
    }
    if machine.role == Role::Etcd {
        draft.external_etcd()?;
    }
    if topology.has_balancer(&machine.role) {
        draft.balancer()?;
    }
    if machine.role.is_node() {
        draft.node()?;
    }
    let mut hash = Sha256::new();
    for file in &draft.files {
        hash.update(format!("{} {:o} {}\n", file.path, file.mode, file.content.len()));
        hash.update(&file.content);
    }
    let Draft { files, services, static_pods, .. } = draft;
    Ok(DesiredHost { files, services, static_pods, hash: hex::encode(hash.finalize()) })
}

impl Draft<'_> {
    fn control_plane(&mut self) -> Result<()> {
        for authority in Authority::ALL {
            let name = authority.file();
            self.secret_of_the_vault(&format!("{name}.crt"))?;
            // Whoever has the key of etcd's authority can join etcd: only where members are must it be.
            if self.view.stacked || authority != Authority::Etcd {
                self.secret_of_the_vault(&format!("{name}.key"))?;
            }
        }
        for name in ["sa.key", "sa.pub"] {
            self.secret_of_the_vault(name)?;
        }
        let url = format!("https://{}:{API_PORT}", self.member.address);
        for spec in control_plane::certificates(&self.view.control_plane_node(&self.member)) {
            // The kubelet's comes with those of every node.
            if !matches!(spec.destination, Destination::Kubeconfig { file: "kubelet.conf" }) {
                self.issue(&spec, &url)?;
            }
        }
        let etcd = self.view.stacked.then_some("etcd");
        for pod in etcd.into_iter().chain(["kube-apiserver", "kube-controller-manager", "kube-scheduler"]) {
            let text = self.render(&format!("static-pods/{pod}.yaml"))?;
            let mark = hex::encode(&Sha256::digest(&text)[..8]);
            let text = text.replace(OWN_MARK, &mark);
            self.static_pods.insert(format!("{pod}-{}", self.machine.name), mark);
            self.files.push(File::secret(format!("/etc/kubernetes/manifests/{pod}.yaml"), text));
        }
        Ok(())
    }

    fn external_etcd(&mut self) -> Result<()> {
        self.secret_of_the_vault("etcd/ca.crt")?;
        for spec in control_plane::etcd_member(&self.member.name, &[self.member.address.into()]) {
            self.issue(&spec, "")?;
        }
        self.public("etcd/etcd.service", "/etc/systemd/system/etcd.service")?;
        self.services.push(ETCD);
        Ok(())
    }

    fn balancer(&mut self) -> Result<()> {
        let authority = self.vault.authority(Authority::Cluster).cert_pem().to_owned();
        self.files.push(File::public("/etc/haproxy/kubernetes-ca.crt", authority));
        self.public("balancer/haproxy.cfg", "/etc/haproxy/haproxy.cfg")?;
        self.public("balancer/keepalived.conf", "/etc/keepalived/keepalived.conf")?;
        self.services.extend([HAPROXY, KEEPALIVED]);
        Ok(())
    }

    fn node(&mut self) -> Result<()> {
        let name = self.machine.name.clone();
        let url = self.view.server.clone();
        self.issue(&control_plane::kubelet(&name), &url)?;
        let serving = kubelet_serving(&self.member);
        let serving = self.vault.pair(&format!("pki/machines/{name}/kubelet-serving"), &serving)?;
        self.files.push(File::secret("/var/lib/kubelet/pki/kubelet.crt", serving.cert_pem));
        self.files.push(File::secret("/var/lib/kubelet/pki/kubelet.key", serving.key_pem));
        if self.machine.role != Role::ControlPlane {
            let authority = self.vault.authority(Authority::Cluster).cert_pem().to_owned();
            self.files.push(File::public("/etc/kubernetes/pki/ca.crt", authority));
        }
        self.public("node/masquerade.nft", "/etc/provision/masquerade.nft")?;
        self.public("kubelet/config.yaml", "/var/lib/kubelet/config.yaml")?;
        self.public("kubelet/kubelet.service", "/etc/systemd/system/kubelet.service")?;
        self.services.push(KUBELET);
        Ok(())
    }

    fn secret_of_the_vault(&mut self, name: &str) -> Result<()> {
        let text = self.vault.text(&format!("pki/{name}"))?.to_owned();
        self.files.push(File::secret(format!("/etc/kubernetes/pki/{name}"), text));
        Ok(())
    }

    fn issue(&mut self, spec: &CertificateSpec, url: &str) -> Result<()> {
        // Schedulers and controllers live and die with the API server beside them; kubelets outlive it.
        let servers = match spec.destination {
            Destination::Kubeconfig { file: "kubelet.conf" } => self.view.api_servers_from(self.member.address),
            _ => Vec::new(),
        };
        let server = Server { cluster: &self.view.cluster, url, addresses: &servers };
        let issued = self.vault.issue(&self.member.name, spec, &server)?;
        self.files.extend(issued.into_iter().map(|(path, text)| File::secret(path, text)));
        Ok(())
    }

    fn public(&mut self, template: &str, path: &str) -> Result<()> {
        let text = self.render(template)?;
        self.files.push(File::public(path, text));
        Ok(())
    }

    fn render(&self, template: &str) -> Result<String> {
        let balancers = self.view.balancer.iter().flat_map(|balancer| &balancer.members);
        let host = HostView {
            cluster: self.view,
            name: &self.member.name,
            address: self.member.address,
            etcd_servers: self.view.etcd_servers(),
            initial_cluster: INITIAL_CLUSTER,
            initial_state: INITIAL_STATE,
            manifest_mark: OWN_MARK,
            peers: balancers.map(|member| member.address).filter(|peer| *peer != self.member.address).collect(),
            node_labels: node_labels(self.machine),
            taints: taints(self.machine),
        };
        render(template, &host)
    }
}

/// The kubelet's own server, signed by the cluster's authority so that the API server can check whom it talks to.
fn kubelet_serving(member: &Member) -> CertificateSpec {
    CertificateSpec {
        authority: Authority::Cluster,
        destination: Destination::KeyPair { file: "kubelet" },
        request: LeafRequest {
            common_name: format!("system:node:{}", member.name),
            organizations: vec!["system:nodes".to_owned()],
            sans: vec![SubjectAltName::Dns(member.name.clone()), SubjectAltName::Ip(member.address.into())],
            usages: vec![Usage::ServerAuth],
            lifetime: LEAF_LIFETIME,
        },
    }
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
