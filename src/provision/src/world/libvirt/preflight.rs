//! What can be known to fail before anything is made.

use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use libvirt::{Hypervisor as _, subnet};
use topology::Topology;

use super::{EMBEDDED, Libvirt};
use crate::allocate::Site;
use crate::config::Config;
use crate::embedded::kvm;
use crate::embedded::select::{self, Choice, Wanted};
use crate::exit::{Exit, Refusal};
use crate::world::Infrastructure as _;
use crate::world::tunnel::{Remote, free_port};

/// Room on the disk that a machine fills soon: its overlay is sparse.
const DISK_FILL: u64 = 2 << 30;

/// Where a new cluster goes: the daemon, a network that nobody uses, a port for the API.
pub(super) async fn site(topology: &Topology, config: &Config) -> Result<Site> {
    let spec = &topology.cluster().spec;
    let asked = spec.infrastructure.libvirt.clone().unwrap_or_default();
    let libvirt = match select::choose(&Wanted::parse(&asked.uri), false, Box::pin(select::system())).await {
        Choice::Uri(uri) => uri,
        Choice::Embedded => EMBEDDED.to_owned(),
        Choice::System(_) => select::SYSTEM.to_owned(),
    };
    let embedded = libvirt == EMBEDDED;
    let mut used: Vec<Ipv4Net> =
        [spec.network.pods, spec.network.services].iter().filter_map(|cidr| v4(cidr.net())).collect();
    if !embedded {
        used.extend(subnet::host_routes().unwrap_or_default());
        let daemon = libvirt::Daemon::connect(&libvirt).await.map_err(|error| super::refuse(error.cure(), error))?;
        used.extend(daemon.occupied_networks().await?.into_iter().filter_map(|network| network.subnet));
    }
    let emulated = if embedded { !kvm::probe().await.is_usable() } else { emulates(&libvirt).await? };
    let mut ports = Vec::new();
    for state in crate::state::StateDir::all(&config.state_dir)? {
        let Some(other) = crate::state::StateDir::new(&config.state_dir, &state).allocations().ok().flatten() else {
            continue;
        };
        // A cluster that is powered off keeps its port, though nobody listens there.
        ports.extend(other.api_port);
        if other.libvirt == libvirt && !embedded {
            used.push(other.network.subnet);
        }
    }
    let subnet = match asked.network.and_then(|cidr| v4(cidr.net())) {
        Some(asked) => match used.iter().find(|taken| subnet::overlap(taken, &asked)) {
            Some(taken) => {
                let message = format!(
                    "spec.infrastructure.libvirt.network: {asked} overlaps {taken}, which is in use on this host"
                );
                return Err(Refusal::new(Exit::Host, message).hint("choose another network, or leave it out").into());
            }
            None => asked,
        },
        None => subnet::choose(&used).context("no private network is free on this host")?,
    };
    let behind = embedded || Remote::parse(&libvirt).is_some();
    let api_port = if behind { Some(free_port(&ports)?) } else { None };
    Ok(Site { id: uuid::Uuid::new_v4(), libvirt, subnet, api_port, emulated })
}

/// Whether the daemon's host has no KVM.
async fn emulates(uri: &str) -> Result<bool> {
    let daemon = libvirt::Daemon::connect(uri).await.map_err(|error| super::refuse(error.cure(), error))?;
    Ok(!daemon.host().await?.kvm)
}

/// Whether this host has the memory and the disk for the machines that are still to be made.
pub(super) async fn resources(cluster: &Libvirt) -> Result<()> {
    let survey = cluster.survey().await?;
    let missing: Vec<_> = cluster
        .machines
        .iter()
        .filter(|machine| survey.machines.get(&machine.name) != Some(&crate::world::Power::On))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted: u64 = missing.iter().map(|machine| machine.memory.0).sum();
    if !cluster.is_embedded() {
        refuse_foreign(cluster).await?;
    }
    let free = free_memory(cluster).await?;
    if free.is_some_and(|free| wanted > free) {
        let message = format!(
            "the machines to be made want {} of memory and their host has {} free",
            gib(wanted),
            gib(free.unwrap_or_default())
        );
        return Err(Refusal::new(Exit::Host, message)
            .hint("give machines less memory in the topology, or destroy a cluster that is not needed")
            .into());
    }
    refuse_full(&room(cluster).await?, DISK_FILL * missing.len() as u64)
}

/// How much is free where disks will be, if it can be known, and what to do if it is too little.
struct Room {
    place: String,
    free: Option<u64>,
    cure: &'static str,
}

/// A daemon of this machine keeps its disks here, where the file system itself can be asked.
async fn room(cluster: &Libvirt) -> Result<Room> {
    let Some(pool) = cluster.store.pool() else {
        let dir = cluster.state.root();
        let cure = "free disk space, or choose another --state-dir";
        return Ok(Room { place: dir.display().to_string(), free: free_disk_bytes(dir), cure });
    };
    let cure = "free disk space there, or mount a larger disk at that folder";
    let target = pool.target.display();
    if cluster.remote().is_none()
        && let Some(dir) = pool.target.ancestors().find(|dir| dir.exists())
    {
        return Ok(Room { place: target.to_string(), free: free_disk_bytes(dir), cure });
    }
    let free = cluster.selected().await?.daemon.room(pool).await?;
    Ok(Room { place: format!("{target} of {}", cluster.allocations.libvirt), free, cure })
}

fn refuse_full(room: &Room, fill: u64) -> Result<()> {
    let Some(free) = room.free.filter(|free| fill > *free) else { return Ok(()) };
    let message = format!("the disks of the machines need at least {} and {} has {}", gib(fill), room.place, gib(free));
    Err(Refusal::new(Exit::Host, message).hint(room.cure).into())
}

/// Machines of somebody else that have our names are found before anything is made.
async fn refuse_foreign(cluster: &Libvirt) -> Result<()> {
    let names = cluster.machines.iter().map(|machine| machine.name.clone()).collect();
    Ok(cluster.selected().await?.daemon.refuse_foreign(&cluster.owner, names).await?)
}

/// Memory where the machines will run.
async fn free_memory(cluster: &Libvirt) -> Result<Option<u64>> {
    if cluster.remote().is_none() {
        return Ok(free_memory_bytes());
    }
    Ok(Some(cluster.selected().await?.daemon.host().await?.free_memory_bytes))
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

/// Memory that new processes can have without swapping.
fn free_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Room on the file system of a directory.
fn free_disk_bytes(dir: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

#[expect(clippy::cast_precision_loss, reason = "one decimal of a gibibyte is all that is shown")]
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests;
