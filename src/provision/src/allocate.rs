//! Gives machines their addresses and names their network. Pure: what is taken and what is random are arguments.

mod adopt;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use topology::{Machine, Role, Topology};

use crate::exit::{Exit, Refusal};
use crate::state::{AllocatedMachine, AllocatedNetwork, Allocations, FORMAT};

/// The first host number of a machine: those below are the gateway's and virtual addresses.
const FIRST_MACHINE: u32 = 10;

/// Where a new cluster goes.
pub struct Site {
    /// Fresh randomness that becomes the cluster's id.
    pub id: uuid::Uuid,
    /// The daemon that runs the machines.
    pub libvirt: String,
    /// A network that nobody uses.
    pub subnet: Ipv4Net,
    /// A loopback port for the API, where machines cannot be reached directly.
    pub api_port: Option<u16>,
    /// The machines will be emulated.
    pub emulated: bool,
}

/// The allocations of a cluster that has none.
pub fn fresh(topology: &Topology, site: &Site) -> Allocations {
    let short: String = site.id.simple().to_string().chars().take(8).collect();
    Allocations {
        format: FORMAT,
        name: topology.name().to_owned(),
        id: site.id.to_string(),
        libvirt: site.libvirt.clone(),
        network: AllocatedNetwork {
            name: format!("{}-{short}", topology.name()),
            bridge: format!("pv-{short}"),
            subnet: site.subnet,
        },
        api_port: site.api_port,
        emulated: site.emulated,
        virtual_address: None,
        founders: BTreeSet::new(),
        founded: false,
        destroying: false,
        hosts: None,
        machines: std::collections::BTreeMap::new(),
    }
}

/// The machines that shall be: as many of each role as the topology asks for, and of those that are there already the
/// ones with the lowest numbers. Numbers have gaps where machines went before.
pub fn roster(topology: &Topology, allocations: &Allocations) -> Vec<Machine> {
    let asked = topology.machines();
    // Machines that exist already have names.
    if topology.cluster().spec.infrastructure.hosts.is_some() {
        return asked;
    }
    let mut roster = Vec::with_capacity(asked.len());
    for group in asked.chunk_by(|a, b| a.role == b.role) {
        let slug = group[0].role.slug();
        let prefix = format!("{}-{slug}-", topology.name());
        let present = allocations.machines.iter().filter(|(_, machine)| machine.role == slug);
        let (leaving, staying): (Vec<_>, Vec<_>) = present.partition(|(_, machine)| machine.leaving);
        let taken: BTreeSet<usize> = leaving.iter().filter_map(|(name, _)| number(name, &prefix)).collect();
        let mut numbers: BTreeSet<usize> = staying.iter().filter_map(|(name, _)| number(name, &prefix)).collect();
        let missing = group.len().saturating_sub(numbers.len());
        let free: Vec<usize> = (1..).filter(|n| !taken.contains(n) && !numbers.contains(n)).take(missing).collect();
        numbers.extend(free);
        let named = group.iter().zip(numbers);
        roster.extend(named.map(|(machine, number)| Machine { name: format!("{prefix}{number}"), ..machine.clone() }));
    }
    roster
}

/// Machines that are there and that nobody asks for any more.
pub fn leavers(topology: &Topology, allocations: &Allocations) -> Vec<(String, Role)> {
    let staying: BTreeSet<String> = roster(topology, allocations).into_iter().map(|machine| machine.name).collect();
    let leaving = allocations.machines.iter().filter(|(name, _)| !staying.contains(*name));
    leaving.map(|(name, machine)| (name.clone(), Role::from_slug(&machine.role))).collect()
}

/// Those of them whose role the topology still knows, as they were made: sizes of a role do not change.
pub fn leavers_as_made(topology: &Topology, allocations: &Allocations) -> Vec<Machine> {
    let asked = topology.machines();
    let of_role = |(name, role): (String, Role)| {
        let like = asked.iter().find(|machine| machine.role == role)?;
        Some(Machine { name, ..like.clone() })
    };
    leavers(topology, allocations).into_iter().filter_map(of_role).collect()
}

/// The number of a machine of this role: the higher, the newer. Zero for a name that is none of ours.
pub fn number_of(topology: &Topology, role: &Role, name: &str) -> usize {
    number(name, &format!("{}-{}-", topology.name(), role.slug())).unwrap_or_default()
}

fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Gives an address to every machine of the topology that has none; those that have one keep it.
///
/// # Errors
/// The network is full, or a machine that exists already is not what it was.
pub fn extend(allocations: &mut Allocations, topology: &Topology) -> Result<()> {
    let roster = roster(topology, allocations);
    if allocations.founders.is_empty() && !allocations.founded {
        let members = roster.iter().filter(|machine| topology.has_etcd(&machine.role));
        allocations.founders = members.map(|machine| machine.name.clone()).collect();
    }
    if let Some(hosts) = &topology.cluster().spec.infrastructure.hosts {
        adopt::adopt(allocations, hosts)?;
        return virtual_address(allocations, topology);
    }
    virtual_address(allocations, topology)?;
    let mut taken: BTreeSet<Ipv4Addr> = allocations.machines.values().map(|machine| machine.address).collect();
    taken.extend(allocations.virtual_address);
    let subnet = allocations.network.subnet;
    for machine in roster {
        if allocations.machines.contains_key(&machine.name) {
            continue;
        }
        let address = free_address(subnet, &taken).ok_or_else(|| {
            Refusal::new(
                Exit::Topology,
                format!("the machines' network {subnet} has no address left for {}", machine.name),
            )
            .hint("ask for fewer machines, or destroy the cluster and give it a larger network")
        })?;
        taken.insert(address);
        let (seed, id) = identity(&allocations.id, &machine.name);
        let used: BTreeSet<&str> = allocations.machines.values().map(|machine| machine.mac.as_str()).collect();
        // Among a thousand machines, two of the same three bytes are to be expected; the next three will do.
        let mac = seed[16..].windows(3).map(mac).find(|mac| !used.contains(mac.as_str()));
        let entry = AllocatedMachine {
            mac: mac.with_context(|| format!("no MAC address is left for {}", machine.name))?,
            address,
            uuid: id,
            host_key: None,
            role: machine.role.slug().to_owned(),
            leaving: false,
            chosen: None,
            etcd: None,
        };
        allocations.machines.insert(machine.name, entry);
    }
    Ok(())
}

/// The address of the API's balancer: as asked, else the first below those of the machines.
fn virtual_address(allocations: &mut Allocations, topology: &Topology) -> Result<()> {
    let Some(balancer) = &topology.cluster().spec.load_balancer else {
        allocations.virtual_address = None;
        return Ok(());
    };
    let subnet = allocations.network.subnet;
    let address = match balancer.address {
        Some(IpAddr::V4(asked)) => asked,
        Some(asked) => anyhow::bail!("spec.loadBalancer.address: {asked} is no IPv4 address"),
        None => subnet.hosts().nth(1).context("the machines' network is too small for a virtual address")?,
    };
    let owner = allocations.machines.iter().find(|(_, machine)| machine.address == address);
    if let Some((owner, _)) = owner {
        let message = format!("spec.loadBalancer.address: {address} is the address of {owner}");
        return Err(Refusal::new(Exit::Topology, message).hint("choose one below .10 of the network").into());
    }
    allocations.virtual_address = Some(address);
    Ok(())
}

/// What tells a machine of a cluster from all others, and its UUID.
fn identity(cluster: &str, name: &str) -> (Vec<u8>, String) {
    let seed = Sha256::digest(format!("{cluster}/{name}"));
    let id = uuid::Builder::from_random_bytes(std::array::from_fn(|n| seed[n])).into_uuid();
    (seed.to_vec(), id.to_string())
}

/// The prefix is the one that QEMU's own guests have.
fn mac(end: &[u8]) -> String {
    format!("52:54:00:{:02x}:{:02x}:{:02x}", end[0], end[1], end[2])
}

fn free_address(subnet: Ipv4Net, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = u32::from(subnet.network()).checked_add(FIRST_MACHINE)?;
    (first..u32::from(subnet.broadcast())).map(Ipv4Addr::from).find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests;
