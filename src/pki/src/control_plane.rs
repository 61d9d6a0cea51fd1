//! The complete set of certificates of a control-plane node, with kubeadm's names, subjects and files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::ca::LeafRequest;
use crate::certificate::{SubjectAltName, Usage};

/// A year, what kubeadm gives leaves.
pub const LEAF_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// Ten years, what kubeadm gives authorities.
pub const CA_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// The three authorities of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Authority {
    /// Signs the API server, kubelets and users.
    Cluster,
    /// Signs etcd members and their clients.
    Etcd,
    /// Signs the API server when it speaks for a user to an extension server.
    FrontProxy,
}

impl Authority {
    /// All authorities.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Etcd, Self::FrontProxy];

    /// The common name.
    pub fn common_name(self) -> &'static str {
        match self {
            Self::Cluster => "kubernetes",
            Self::Etcd => "etcd-ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }

    /// The file without `.crt` or `.key`, below `/etc/kubernetes/pki`.
    pub fn file(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::Etcd => "etcd/ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }
}

/// What the certificates of one control-plane node depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneNode {
    /// The Node's name.
    pub name: String,
    /// The addresses of the host, the advertised one first.
    pub addresses: Vec<IpAddr>,
    /// Names and addresses clients use besides: the control plane endpoint, virtual addresses.
    pub endpoints: Vec<String>,
    /// The first address of each service range, that of the `kubernetes` Service.
    pub service_addresses: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub domain: String,
    /// Whether an etcd member runs here.
    pub stacked_etcd: bool,
}

/// Where a certificate goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `<file>.crt` and `<file>.key` below `/etc/kubernetes/pki`.
    KeyPair {
        /// The path without extension.
        file: &'static str,
    },
    /// A kubeconfig below `/etc/kubernetes`.
    Kubeconfig {
        /// The file name.
        file: &'static str,
    },
}

/// One certificate of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Who signs it.
    pub authority: Authority,
    /// Where it goes.
    pub destination: Destination,
    /// What it says.
    pub request: LeafRequest,
}

/// Every leaf certificate and kubeconfig of a control-plane node.
pub fn certificates(node: &ControlPlaneNode) -> Vec<CertificateSpec> {
    let mut set = vec![
        server(Authority::Cluster, "apiserver", "kube-apiserver", apiserver_names(node)),
        client(
            Authority::Cluster,
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            "kubeadm:cluster-admins",
        ),
        client(Authority::FrontProxy, "front-proxy-client", "front-proxy-client", ""),
        client(Authority::Etcd, "apiserver-etcd-client", "kube-apiserver-etcd-client", ""),
        kubeconfig("admin.conf", "kubernetes-admin", "kubeadm:cluster-admins"),
        kubeconfig("super-admin.conf", "kubernetes-super-admin", "system:masters"),
        kubeconfig("controller-manager.conf", "system:kube-controller-manager", ""),
        kubeconfig("scheduler.conf", "system:kube-scheduler", ""),
        kubelet(&node.name),
    ];
    if node.stacked_etcd {
        set.extend(etcd_member(&node.name, &node.addresses));
    }
    set
}

/// The certificate of a kubelet, control plane or worker.
pub fn kubelet(node_name: &str) -> CertificateSpec {
    kubeconfig("kubelet.conf", &format!("system:node:{node_name}"), "system:nodes")
}

/// The certificates of an etcd member, stacked or external.
pub fn etcd_member(name: &str, addresses: &[IpAddr]) -> Vec<CertificateSpec> {
    let mut names = vec![SubjectAltName::Dns(name.to_owned()), SubjectAltName::Dns("localhost".into())];
    names.extend(addresses.iter().copied().map(SubjectAltName::Ip));
    names.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(SubjectAltName::Ip));
    let member = |file| {
        let mut spec = server(Authority::Etcd, file, name, names.clone());
        // Members are clients of each other.
        spec.request.usages.push(Usage::ClientAuth);
        spec
    };
    vec![
        member("etcd/server"),
        member("etcd/peer"),
        client(Authority::Etcd, "etcd/healthcheck-client", "kube-etcd-healthcheck-client", ""),
    ]
}

fn apiserver_names(node: &ControlPlaneNode) -> Vec<SubjectAltName> {
    let mut names: Vec<SubjectAltName> = [
        node.name.clone(),
        "kubernetes".into(),
        "kubernetes.default".into(),
        "kubernetes.default.svc".into(),
        format!("kubernetes.default.svc.{}", node.domain),
        "localhost".into(),
    ]
    .into_iter()
    .map(SubjectAltName::Dns)
    .collect();
    names.extend(node.service_addresses.iter().copied().map(SubjectAltName::Ip));
    names.extend(node.addresses.iter().copied().map(SubjectAltName::Ip));
    names.push(SubjectAltName::Ip(Ipv4Addr::LOCALHOST.into()));
    names.extend(node.endpoints.iter().map(|endpoint| SubjectAltName::parse(endpoint)));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn server(authority: Authority, file: &'static str, common_name: &str, sans: Vec<SubjectAltName>) -> CertificateSpec {
    CertificateSpec {
        authority,
        destination: Destination::KeyPair { file },
        request: LeafRequest { sans, ..request(common_name, "", Usage::ServerAuth) },
    }
}

fn client(authority: Authority, file: &'static str, common_name: &str, organization: &str) -> CertificateSpec {
    CertificateSpec {
        authority,
        destination: Destination::KeyPair { file },
        request: request(common_name, organization, Usage::ClientAuth),
    }
}

fn kubeconfig(file: &'static str, common_name: &str, organization: &str) -> CertificateSpec {
    CertificateSpec {
        authority: Authority::Cluster,
        destination: Destination::Kubeconfig { file },
        request: request(common_name, organization, Usage::ClientAuth),
    }
}

fn request(common_name: &str, organization: &str, usage: Usage) -> LeafRequest {
    LeafRequest {
        common_name: common_name.to_owned(),
        organizations: if organization.is_empty() { Vec::new() } else { vec![organization.to_owned()] },
        sans: Vec::new(),
        usages: vec![Usage::DigitalSignature, usage],
        lifetime: LEAF_LIFETIME,
    }
}

#[cfg(test)]
mod tests;
