//! Domains and networks as libvirt wants them described.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use libvirt::{DhcpHost, Owner};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::image::{KERNEL_COMMAND_LINE, NodeImage};
use crate::render::render;

/// The serial number by which a machine finds its seed disk.
pub const SEED_SERIAL: &str = "provision-seed";

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// Its name at libvirt.
    pub name: String,
    /// Its UUID, which becomes the machine id of its operating system.
    pub uuid: String,
    /// Whose it is.
    pub owner: Owner,
    /// Its host name.
    pub hostname: String,
    /// Runs on the CPU itself instead of the emulator.
    pub kvm: bool,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// What is started; a boot loader from the first disk if absent.
    pub kernel: Option<Kernel>,
    /// Its disks, the root disk first.
    pub disks: Vec<Disk>,
    /// Its network cards.
    pub interfaces: Vec<Interface>,
    /// The file that its serial console is written to.
    pub console_log: PathBuf,
}

/// A kernel that is started without a boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// What it is told.
    pub command_line: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
    /// The name under `/dev/disk/by-id/virtio-…`, at most 20 characters.
    pub serial: Option<String>,
    /// Cannot be written; such a file may be shared by many machines.
    pub readonly: bool,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The network's name at libvirt.
    pub network: String,
    /// Its address.
    pub mac: String,
}

/// A network with its DHCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Its name at libvirt.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Whose it is.
    pub owner: Owner,
    /// The bridge on the host.
    pub bridge: String,
    /// Machines reach the world through the host; a private daemon has no world to reach.
    pub nat: bool,
    /// The DNS domain of the machines.
    pub domain: String,
    /// The host's address.
    pub gateway: Ipv4Addr,
    /// The size of the range.
    pub netmask: Ipv4Addr,
    /// The first address for machines that were promised none.
    pub range_start: Ipv4Addr,
    /// The last such address.
    pub range_end: Ipv4Addr,
    /// Addresses promised to machines.
    pub hosts: Vec<DhcpHost>,
}

#[derive(Serialize)]
struct Described<'a, T> {
    #[serde(flatten)]
    of: &'a T,
    spec: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disks: Vec<Attached<'a>>,
}

#[derive(Serialize)]
struct Attached<'a> {
    #[serde(flatten)]
    disk: &'a Disk,
    device: String,
}

impl Kernel {
    /// The kernel of a node image.
    pub fn of(image: &NodeImage) -> Self {
        Self { image: image.kernel.clone(), initrd: image.initrd.clone(), command_line: KERNEL_COMMAND_LINE.to_owned() }
    }
}

impl Disk {
    /// A machine's own root disk.
    pub fn root(path: PathBuf) -> Self {
        Self { path, format: "qcow2".into(), serial: None, readonly: false }
    }

    /// The seed disk of a machine.
    pub fn seed(path: PathBuf) -> Self {
        Self { path, format: "raw".into(), serial: Some(SEED_SERIAL.into()), readonly: true }
    }
}

impl Domain {
    /// What `spec` of the domain's owner element is: a hash of everything that is asked for.
    pub fn spec(&self) -> Result<String> {
        Ok(hash(&self.describe("")?))
    }

    /// The description.
    pub fn to_xml(&self) -> Result<String> {
        self.describe(&self.spec()?)
    }

    fn describe(&self, spec: &str) -> Result<String> {
        let letters = 'a'..='z';
        let disks = self.disks.iter().zip(letters);
        let disks = disks.map(|(disk, letter)| Attached { disk, device: format!("vd{letter}") }).collect();
        render("libvirt/domain.xml", &Described { of: self, spec, disks })
    }
}

impl Network {
    /// What `spec` of the network's owner element is. Machines come and go without changing it.
    pub fn spec(&self) -> Result<String> {
        let empty = Self { hosts: Vec::new(), ..self.clone() };
        Ok(hash(&empty.describe("")?))
    }

    /// The description.
    pub fn to_xml(&self) -> Result<String> {
        self.describe(&self.spec()?)
    }

    fn describe(&self, spec: &str) -> Result<String> {
        render("libvirt/network.xml", &Described { of: self, spec, disks: Vec::new() })
    }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests;
