//! Every value that a topology may leave out, in one place, each with its reason.

use crate::units::{Bytes, Cidr, PortRange};

/// Kubernetes level of the components in this release.
pub const KUBERNETES_VERSION: &str = "v1.35.0";
/// Pod addresses: what kubeadm's documentation and most network add-ons assume.
pub const POD_NETWORK: &str = "10.244.0.0/16";
/// Service addresses: kubeadm's default.
pub const SERVICE_NETWORK: &str = "10.96.0.0/12";
/// One /24 a node: 254 pods, more than twice the default limit of 110.
pub const NODE_PREFIX: u8 = 24;
/// Cluster domain: kubeadm's default.
pub const DNS_DOMAIN: &str = "cluster.local";
/// `NodePort` range: kube-apiserver's default.
pub const NODE_PORTS: &str = "30000-32767";
/// The Debian release of the node image.
pub const DEBIAN_RELEASE: &str = "trixie";
/// Two virtual CPUs: what kubeadm's preflight asks of a control plane.
pub const CPUS: u16 = 2;
/// 2 GiB: kubeadm asks for 1.7 GB, and the components need far less.
pub const MEMORY: Bytes = Bytes(2 << 30);
/// 10 GiB, sparse: room for images and logs.
pub const DISK: Bytes = Bytes(10 << 30);
/// 1 GiB is plenty for a machine that only runs etcd or a load balancer.
pub const SMALL_MEMORY: Bytes = Bytes(1 << 30);
/// The user that a machine of ours lets in by key.
pub const SSH_USER: &str = "root";
/// The port of sshd.
pub const SSH_PORT: u16 = 22;

pub(crate) fn version() -> String {
    KUBERNETES_VERSION.to_owned()
}
pub(crate) fn pods() -> Cidr {
    POD_NETWORK.parse().expect("the default pod network is valid")
}
pub(crate) fn services() -> Cidr {
    SERVICE_NETWORK.parse().expect("the default service network is valid")
}
pub(crate) fn node_prefix() -> u8 {
    NODE_PREFIX
}
pub(crate) fn domain() -> String {
    DNS_DOMAIN.to_owned()
}
pub(crate) fn node_ports() -> PortRange {
    NODE_PORTS.parse().expect("the default port range is valid")
}
pub(crate) fn release() -> String {
    DEBIAN_RELEASE.to_owned()
}
pub(crate) fn libvirt_uri() -> String {
    "auto".to_owned()
}
pub(crate) fn user() -> String {
    SSH_USER.to_owned()
}
pub(crate) fn port() -> u16 {
    SSH_PORT
}
pub(crate) fn one() -> u16 {
    1
}
pub(crate) fn yes() -> bool {
    true
}
