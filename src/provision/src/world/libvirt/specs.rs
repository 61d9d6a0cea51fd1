//! Our network and machines as libvirt wants them described.

use std::path::Path;

use anyhow::{Context as _, Result};
use libvirt::DhcpHost;
use topology::Machine;

use super::Libvirt;
use crate::machines::{CloudSeed, Disk, Domain, Interface, Kernel, Network, Seed};
use crate::state::AllocatedMachine;

/// The network, with an address promised to every machine; `nat` if the daemon's host has a world to reach.
pub(super) fn network(cluster: &Libvirt, nat: bool) -> Result<Network> {
    let network = &cluster.allocations.network;
    let mut hosts = network.subnet.hosts();
    let promised = cluster.allocations.machines.iter().map(|(name, machine)| promise(name, machine));
    Ok(Network {
        name: network.name.clone(),
        uuid: cluster.allocations.id.clone(),
        owner: cluster.owner.clone(),
        bridge: network.bridge.clone(),
        nat,
        domain: domain_name(cluster),
        gateway: hosts.next().context("the machines' network is empty")?,
        netmask: network.subnet.netmask(),
        range_start: hosts.next().context("the machines' network is too small")?,
        range_end: network.subnet.hosts().last().context("the machines' network is empty")?,
        hosts: promised.collect(),
    })
}

/// The address that the network keeps for a machine.
pub(super) fn promise(name: &str, machine: &AllocatedMachine) -> DhcpHost {
    DhcpHost { name: name.to_owned(), mac: machine.mac.clone(), address: machine.address }
}

/// One machine.
pub(super) fn domain(cluster: &Libvirt, machine: &Machine, kernel: Option<Kernel>, kvm: bool) -> Result<Domain> {
    let allocated = cluster.allocations.machines.get(&machine.name).context("a machine without an address")?;
    Ok(Domain {
        name: machine.name.clone(),
        uuid: allocated.uuid.clone(),
        owner: cluster.owner.clone(),
        hostname: machine.name.clone(),
        kvm,
        cpus: machine.cpus.into(),
        memory_mib: machine.memory.mebibytes(),
        kernel,
        disks: vec![Disk::root(cluster.store.disk(&machine.name)), Disk::seed(cluster.store.seed(&machine.name))],
        interfaces: vec![Interface { network: cluster.allocations.network.name.clone(), mac: allocated.mac.clone() }],
        console_log: cluster.store.console(&machine.name),
    })
}

/// Writes what a machine is told before it can be reached.
pub(super) fn write_seed(cluster: &Libvirt, machine: &Machine, path: &Path) -> Result<()> {
    let subnet = cluster.allocations.network.subnet;
    let gateway = subnet.hosts().next();
    let allocated = cluster.allocations.machines.get(&machine.name).context("a machine without an address")?;
    if cluster.boot.is_cloud() {
        let seed = CloudSeed {
            instance_id: allocated.uuid.clone(),
            hostname: machine.name.clone(),
            authorized_keys: vec![cluster.authorized_key.clone()],
            mac: allocated.mac.clone(),
        };
        return seed.write(path);
    }
    let address = ipnet::Ipv4Net::new(allocated.address, subnet.prefix_len()).ok();
    let seed = Seed {
        hostname: machine.name.clone(),
        address: address.zip(gateway),
        authorized_keys: vec![cluster.authorized_key.clone()],
        nameservers: gateway.map(Into::into).into_iter().collect(),
        domain: domain_name(cluster),
    };
    seed.write(path)
}

fn domain_name(cluster: &Libvirt) -> String {
    format!("{}.internal", cluster.allocations.name)
}
