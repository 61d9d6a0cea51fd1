//! Gives machines their addresses and names their network. Pure: what is taken and what is random are arguments.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use topology::Topology;

use crate::exit::{Exit, Refusal};
use crate::state::{AllocatedMachine, AllocatedNetwork, Allocations, FORMAT};

/// The first host number of a machine: those below are the gateway's and, later, virtual addresses.
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
        machines: std::collections::BTreeMap::new(),
    }
}

/// Gives an address to every machine of the topology that has none; those that have one keep it.
///
/// # Errors
/// The network is full.
pub fn extend(allocations: &mut Allocations, topology: &Topology) -> Result<()> {
    let mut taken: BTreeSet<Ipv4Addr> = allocations.machines.values().map(|machine| machine.address).collect();
    for machine in topology.machines() {
        if allocations.machines.contains_key(&machine.name) {
            continue;
        }
        let subnet = allocations.network.subnet;
        let address = free_address(subnet, &taken).ok_or_else(|| {
            Refusal::new(
                Exit::Topology,
                format!("the machines' network {subnet} has no address left for {}", machine.name),
            )
            .hint("ask for fewer machines, or destroy the cluster and give it a larger network")
        })?;
        taken.insert(address);
        let seed = Sha256::digest(format!("{}/{}", allocations.id, machine.name));
        let id = uuid::Builder::from_random_bytes(std::array::from_fn(|n| seed[n])).into_uuid();
        let used: BTreeSet<&str> = allocations.machines.values().map(|machine| machine.mac.as_str()).collect();
        // Among a thousand machines, two of the same three bytes are to be expected; the next three will do.
        let mac = seed[16..].windows(3).map(mac).find(|mac| !used.contains(mac.as_str()));
        let entry = AllocatedMachine {
            mac: mac.with_context(|| format!("no MAC address is left for {}", machine.name))?,
            address,
            uuid: id.to_string(),
            host_key: None,
        };
        allocations.machines.insert(machine.name, entry);
    }
    Ok(())
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
