//! The rules that a schema cannot say. Each check is one function that reports field paths; the list is [`check`].

use std::collections::BTreeSet;

use crate::error::Problem;
use crate::spec::{Cluster, EtcdMode};
use crate::units::{Bytes, Cidr};

/// Kubernetes needs room for the ClusterIP of the API, of DNS and of a few Services.
const LEAST_SERVICE_ADDRESSES_BITS: u8 = 4;
/// kube-apiserver's own limit: its allocation bitmap covers a million Services.
const MOST_SERVICE_ADDRESSES_BITS: u8 = 20;
const LEAST_MEMORY: Bytes = Bytes(768 << 20);
const LEAST_DISK: Bytes = Bytes(3 << 30);
/// The first ten addresses of the machines' network are the gateway's and virtual ones, the last is for broadcast.
const NOT_FOR_MACHINES: u64 = 11;
/// Host names are DNS labels of 63 characters: the longest suffix is a pool name and a number.
const LONGEST_NAME: usize = 40;

pub(crate) fn check(cluster: &Cluster) -> Vec<Problem> {
    let mut report = Report(Vec::new());
    names(cluster, &mut report);
    version(cluster, &mut report);
    networks(cluster, &mut report);
    control_plane(cluster, &mut report);
    etcd(cluster, &mut report);
    workers(cluster, &mut report);
    load_balancer(cluster, &mut report);
    infrastructure(cluster, &mut report);
    host_counts(cluster, &mut report);
    image(cluster, &mut report);
    report.0
}

struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { line: 0, column: 0, path: path.into(), message: message.into() });
    }
}

fn names(cluster: &Cluster, report: &mut Report) {
    label(&cluster.metadata.name, LONGEST_NAME, "metadata.name", report);
    let mut seen = BTreeSet::new();
    for (index, pool) in cluster.spec.workers.iter().enumerate() {
        let path = format!("spec.workers[{index}].name");
        label(&pool.name, 63 - LONGEST_NAME - "-1000-".len(), &path, report);
        if ["control-plane", "etcd", "load-balancer"].contains(&pool.name.as_str()) {
            report.add(&path, format!("{:?} is the name of a role; choose another for the pool", pool.name));
        }
        if !seen.insert(&pool.name) {
            report.add(&path, format!("{:?} is the name of an earlier pool too; names must differ", pool.name));
        }
    }
    let domain = &cluster.spec.network.domain;
    if domain.is_empty() || domain.split('.').any(|part| !is_label(part, 63)) {
        report.add("spec.network.domain", format!("{domain:?} is not a DNS domain such as cluster.local"));
    }
}

fn version(cluster: &Cluster, report: &mut Report) {
    let version = &cluster.spec.kubernetes.version;
    let ours = crate::defaults::KUBERNETES_VERSION;
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    if minor(version) != minor(ours) || !version.starts_with('v') {
        let message = format!("{version:?} is not a version of this release, which brings {ours}");
        report.add("spec.kubernetes.version", message);
    }
}

fn networks(cluster: &Cluster, report: &mut Report) {
    let network = &cluster.spec.network;
    let mut named = vec![("spec.network.pods", network.pods), ("spec.network.services", network.services)];
    if let Some(machines) = cluster.spec.infrastructure.libvirt.as_ref().and_then(|libvirt| libvirt.network) {
        named.push(("spec.infrastructure.libvirt.network", machines));
    }
    for (index, (path, net)) in named.iter().enumerate() {
        if net.net().max_prefix_len() != 32 {
            report.add(*path, format!("{net} is an IPv6 network; this release builds IPv4 clusters"));
        }
        for (other_path, other) in &named[..index] {
            if net.overlaps(*other) {
                report.add(*path, format!("{net} overlaps {other_path} ({other}); choose one apart"));
            }
        }
    }
    let bits = network.services.net().max_prefix_len() - network.services.net().prefix_len();
    if !(LEAST_SERVICE_ADDRESSES_BITS..=MOST_SERVICE_ADDRESSES_BITS).contains(&bits) {
        let message = format!("{} must have a prefix between /12 and /28", network.services);
        report.add("spec.network.services", message);
    }
    pod_network(network.pods, network.node_prefix, cluster, report);
    if network.node_ports.first < 1024 {
        report.add("spec.network.nodePorts", "must begin at 1024 or above: lower ports belong to the machines");
    }
    machine_network(cluster, report);
}

fn pod_network(pods: Cidr, node_prefix: u8, cluster: &Cluster, report: &mut Report) {
    let prefix = pods.net().prefix_len();
    if node_prefix <= prefix || node_prefix > 28 {
        let message =
            format!("/{node_prefix} must be longer than the prefix of spec.network.pods (/{prefix}) and at most /28");
        report.add("spec.network.nodePrefix", message);
        return;
    }
    let room = 1_u64 << u32::from(node_prefix - prefix).min(32);
    let workers: u64 = cluster.spec.workers.iter().map(|pool| u64::from(pool.replicas)).sum();
    let nodes = u64::from(cluster.spec.control_plane.replicas) + workers;
    if nodes > room {
        let message =
            format!("{pods} has room for {room} nodes at /{node_prefix} each, and the topology asks for {nodes}");
        report.add("spec.network.pods", message);
    }
}

fn machine_network(cluster: &Cluster, report: &mut Report) {
    let Some(net) = cluster.spec.infrastructure.libvirt.as_ref().and_then(|libvirt| libvirt.network) else {
        return;
    };
    let host_bits = net.net().max_prefix_len() - net.net().prefix_len();
    let room = (1_u64 << u32::from(host_bits).min(32)).saturating_sub(NOT_FOR_MACHINES);
    let machines = machine_count(cluster);
    if machines > room {
        let message = format!("{net} has room for {room} machines, and the topology asks for {machines}");
        report.add("spec.infrastructure.libvirt.network", message);
    }
}

fn machine_count(cluster: &Cluster) -> u64 {
    let spec = &cluster.spec;
    let etcd = match spec.etcd.mode {
        EtcdMode::External => spec.etcd.replicas.unwrap_or(spec.control_plane.replicas),
        EtcdMode::Stacked => 0,
    };
    let balancers = spec.load_balancer.as_ref().map_or(0, |balancer| balancer.replicas);
    let workers: u64 = spec.workers.iter().map(|pool| u64::from(pool.replicas)).sum();
    u64::from(spec.control_plane.replicas) + u64::from(etcd) + u64::from(balancers) + workers
}

fn control_plane(cluster: &Cluster, report: &mut Report) {
    let control_plane = &cluster.spec.control_plane;
    let stacked = cluster.spec.etcd.mode == EtcdMode::Stacked;
    if stacked && control_plane.replicas.is_multiple_of(2) {
        let message = format!(
            "{0} etcd voters tolerate no more failures than {1}; choose {1} or {2}",
            control_plane.replicas,
            control_plane.replicas.saturating_sub(1).max(1),
            control_plane.replicas + 1
        );
        report.add("spec.controlPlane.replicas", message);
    }
    if control_plane.replicas > 1 && cluster.spec.load_balancer.is_none() {
        report.add("spec.loadBalancer", "is required with more than one control plane: clients need one address");
    }
    size(control_plane.machine, "spec.controlPlane.machine", report);
}

fn etcd(cluster: &Cluster, report: &mut Report) {
    let etcd = &cluster.spec.etcd;
    match (etcd.mode, etcd.replicas) {
        (EtcdMode::Stacked, Some(_)) => {
            report.add("spec.etcd.replicas", "has no meaning for stacked etcd, which has one member per control plane");
        }
        (EtcdMode::External, Some(replicas)) if replicas.is_multiple_of(2) => {
            let message =
                format!("{replicas} etcd voters tolerate no more failures than {}; choose an odd number", replicas - 1);
            report.add("spec.etcd.replicas", message);
        }
        (EtcdMode::External, None) if cluster.spec.control_plane.replicas.is_multiple_of(2) => {
            report.add("spec.etcd.replicas", "is required with an even number of control planes; choose an odd number");
        }
        _ => {}
    }
    size(etcd.machine, "spec.etcd.machine", report);
}

fn workers(cluster: &Cluster, report: &mut Report) {
    for (index, pool) in cluster.spec.workers.iter().enumerate() {
        size(pool.machine, &format!("spec.workers[{index}].machine"), report);
        for (at, taint) in pool.taints.iter().enumerate() {
            if taint.key.is_empty() {
                report.add(format!("spec.workers[{index}].taints[{at}].key"), "must not be empty");
            }
        }
    }
    if !cluster.spec.control_plane.schedulable.unwrap_or(true)
        && cluster.spec.workers.iter().all(|pool| pool.replicas == 0)
    {
        report.add("spec.controlPlane.schedulable", "must be true if there are no workers: no pod would find a node");
    }
}

fn load_balancer(cluster: &Cluster, report: &mut Report) {
    let Some(balancer) = &cluster.spec.load_balancer else {
        return;
    };
    size(balancer.machine, "spec.loadBalancer.machine", report);
    if cluster.spec.infrastructure.hosts.is_some() && balancer.address.is_none() {
        let message = "is required for machines that exist: nobody here knows which address of their network is free";
        report.add("spec.loadBalancer.address", message);
    }
    let (Some(address), Some(net)) =
        (balancer.address, cluster.spec.infrastructure.libvirt.as_ref().and_then(|libvirt| libvirt.network))
    else {
        return;
    };
    if !net.net().contains(&address) {
        report.add("spec.loadBalancer.address", format!("{address} is not in the machines' network {net}"));
    }
}

fn infrastructure(cluster: &Cluster, report: &mut Report) {
    let infrastructure = &cluster.spec.infrastructure;
    if let Some(libvirt) = &infrastructure.libvirt {
        let known = ["auto", "embedded"].contains(&libvirt.uri.as_str()) || libvirt.uri.starts_with("qemu");
        if !known {
            let message = format!("{:?} is not one of auto, embedded, qemu:///system, qemu+ssh://…", libvirt.uri);
            report.add("spec.infrastructure.libvirt.uri", message);
        }
        if infrastructure.hosts.is_some() {
            report.add("spec.infrastructure.hosts", "cannot stand beside libvirt; keep one of the two");
        }
    }
    let Some(hosts) = &infrastructure.hosts else {
        return;
    };
    let file = &hosts.identity_file;
    if !file.starts_with('/') && !file.starts_with("~/") {
        let message = format!("{file:?} must begin with / or ~/: the cluster outlives the folder that you are in");
        report.add("spec.infrastructure.hosts.identityFile", message);
    }
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for (index, host) in hosts.machines.iter().enumerate() {
        let path = format!("spec.infrastructure.hosts.machines[{index}]");
        label(&host.name, 63, &format!("{path}.name"), report);
        if !names.insert(&host.name) {
            report.add(format!("{path}.name"), format!("{:?} is the name of an earlier machine too", host.name));
        }
        if !addresses.insert(host.address) {
            report.add(format!("{path}.address"), format!("{} is the address of an earlier machine too", host.address));
        }
        let pool = cluster.spec.workers.iter().any(|pool| pool.name == host.role);
        if !pool && !["control-plane", "etcd", "load-balancer"].contains(&host.role.as_str()) {
            let message =
                format!("{:?} is neither control-plane, etcd, load-balancer nor a pool of spec.workers", host.role);
            report.add(format!("{path}.role"), message);
        }
    }
}

/// As many machines of each role as hosts that are written down for it.
fn host_counts(cluster: &Cluster, report: &mut Report) {
    let spec = &cluster.spec;
    let Some(hosts) = &spec.infrastructure.hosts else { return };
    let external = spec.etcd.mode == EtcdMode::External;
    let etcd = if external { spec.etcd.replicas.unwrap_or(spec.control_plane.replicas) } else { 0 };
    let balancers = spec.load_balancer.as_ref().map_or(0, |balancer| balancer.replicas);
    let fixed = [
        ("control-plane", spec.control_plane.replicas, "spec.controlPlane.replicas".to_owned()),
        ("etcd", etcd, "spec.etcd.replicas".to_owned()),
        ("load-balancer", balancers, "spec.loadBalancer.replicas".to_owned()),
    ];
    let pools = spec.workers.iter().enumerate();
    let pools =
        pools.map(|(index, pool)| (pool.name.as_str(), pool.replicas, format!("spec.workers[{index}].replicas")));
    for (role, wanted, path) in fixed.into_iter().chain(pools) {
        let there = hosts.machines.iter().filter(|host| host.role == role).count();
        if there != usize::from(wanted) {
            let message = format!("is {wanted}, and spec.infrastructure.hosts has {there} machines of the role {role}");
            report.add(path, message);
        }
    }
}

fn image(cluster: &Cluster, report: &mut Report) {
    let image = &cluster.spec.image;
    if image.debian.is_some() && image.cloud.is_some() {
        report.add("spec.image.cloud", "cannot stand beside debian; keep one of the two");
    }
    let Some(cloud) = &image.cloud else { return };
    if !cloud.url.starts_with("https://") && !cloud.url.starts_with("http://") {
        report.add("spec.image.cloud.url", "must begin with https:// or http://");
    }
    if cloud.sha256.len() != 64 || !cloud.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        report.add("spec.image.cloud.sha256", "must be 64 lower-case hexadecimal digits");
    }
}

fn size(size: crate::spec::MachineSize, path: &str, report: &mut Report) {
    if size.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        report.add(format!("{path}.memory"), format!("must be at least {LEAST_MEMORY}: less does not boot to a Node"));
    }
    if size.disk.is_some_and(|disk| disk < LEAST_DISK) {
        report.add(format!("{path}.disk"), format!("must be at least {LEAST_DISK}: the node image needs it"));
    }
}

fn label(name: &str, longest: usize, path: &str, report: &mut Report) {
    if !is_label(name, longest) {
        let message = format!(
            "{name:?} must be a DNS label: lower-case letters, digits and '-', at most {longest}, beginning and ending with a letter or digit"
        );
        report.add(path, message);
    }
}

fn is_label(name: &str, longest: usize) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    name.len() <= longest
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}
