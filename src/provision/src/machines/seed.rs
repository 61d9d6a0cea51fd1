//! Seed disks: what a machine is told about itself. Public data only, because whoever may read the disk learns it.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::image::layer::Layer;
use crate::render::render;

/// Disks are made of sectors; libvirt and QEMU like round numbers.
const SEED_BYTES: usize = 64 << 10;

/// The smallest FAT file system that every kernel takes without complaint.
const CLOUD_SEED_BYTES: u64 = 2 << 20;

/// What a machine of the node image is told: a plain tar archive on a disk, so no tool is needed to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its host name.
    pub hostname: String,
    /// Public keys that may log in as root.
    pub authorized_keys: Vec<String>,
    /// Its address with the size of its range, and the way out; asked of DHCP if absent.
    pub address: Option<(Ipv4Net, Ipv4Addr)>,
    /// DNS servers of the machine itself.
    pub nameservers: Vec<IpAddr>,
    /// The DNS domain of the machines.
    pub domain: String,
}

/// What a cloud image is told, in the form of cloud-init's `NoCloud`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudSeed {
    /// Changes when the machine is another machine.
    pub instance_id: String,
    /// Its host name.
    pub hostname: String,
    /// Public keys that may log in as root.
    pub authorized_keys: Vec<String>,
    /// The address of its network card.
    pub mac: String,
}

impl Seed {
    /// Writes the disk, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut layer = Layer::default();
        layer.text("hostname", format!("{}\n", self.hostname), 0o644);
        layer.text("authorized_keys", lines(&self.authorized_keys), 0o644);
        let address = self.address.map(|(address, gateway)| format!("{address} {gateway}\n"));
        layer.text("address", address.unwrap_or_default(), 0o644);
        let mut resolver: Vec<String> = self.nameservers.iter().map(|server| format!("nameserver {server}")).collect();
        if !self.domain.is_empty() {
            resolver.push(format!("search {}", self.domain));
        }
        layer.text("resolv.conf", lines(&resolver), 0o644);
        let mut bytes = layer.to_bytes().context("cannot pack a seed disk")?;
        bytes.resize(bytes.len().next_multiple_of(SEED_BYTES), 0);
        write_whole(path, &bytes)
    }
}

impl CloudSeed {
    /// Writes the disk, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut disk = io::Cursor::new(vec![0; usize::try_from(CLOUD_SEED_BYTES)?]);
        let label = fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ");
        fatfs::format_volume(&mut disk, label).context("cannot make the file system of a seed disk")?;
        {
            let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
            for name in ["meta-data", "user-data", "network-config"] {
                let text = render(&format!("cloud-init/{name}"), self)?;
                let mut file = volume.root_dir().create_file(name)?;
                file.write_all(text.as_bytes())?;
            }
        }
        write_whole(path, &disk.into_inner())
    }
}

fn lines(list: &[String]) -> String {
    list.iter().flat_map(|line| [line.trim(), "\n"]).collect()
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("draft");
    let written = std::fs::write(&draft, bytes).and_then(|()| std::fs::rename(&draft, path));
    written.with_context(|| format!("cannot write the seed disk {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_seed_is_a_tar_archive_of_whole_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.img");
        let seed = Seed {
            hostname: "cp-1".into(),
            authorized_keys: vec!["ssh-ed25519 AAAA one".into()],
            address: Some(("10.87.0.11/24".parse().unwrap(), [10, 87, 0, 1].into())),
            nameservers: vec!["10.87.0.1".parse().unwrap()],
            domain: "lab.internal".into(),
        };
        seed.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["address", "authorized_keys", "hostname", "resolv.conf"]);
        assert!(String::from_utf8_lossy(&bytes).contains("10.87.0.11/24 10.87.0.1\n"));
        assert!(String::from_utf8_lossy(&bytes).contains("nameserver 10.87.0.1\nsearch lab.internal\n"));
    }

    #[test]
    fn a_cloud_seed_is_found_by_its_label() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.img");
        let seed = CloudSeed {
            instance_id: "i-1".into(),
            hostname: "cp-1".into(),
            authorized_keys: vec!["ssh-ed25519 AAAA+/= one".into()],
            mac: "52:54:00:00:00:01".into(),
        };
        seed.write(&path).unwrap();
        let volume = fatfs::FileSystem::new(std::fs::File::open(&path).unwrap(), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label().trim(), "CIDATA");
        let mut text = String::new();
        volume.root_dir().open_file("user-data").unwrap().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("#cloud-config\n") && text.contains("- ssh-ed25519 AAAA+/= one\n"), "{text}");
    }
}
