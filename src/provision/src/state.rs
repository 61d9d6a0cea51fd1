//! The state directory of a cluster: what was allocated, the secrets, the journal and the lock.
//!
//! Layout: `topology.yaml` (what was last asked for), `cluster.json` ([`Allocations`]), `journal.jsonl`, `lock`,
//! `stopped` (while it is meant to be powered off), `ssh/` (our key), `pki/` (authorities and leaves), `kubeconfig`, `disks/`, `console/`, `embedded/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Refusal};

/// The version of the layout; a directory with another one is refused rather than guessed at.
pub const FORMAT: u32 = 2;

/// Is there while the cluster is meant to be powered off.
const STOPPED: &str = "stopped";

/// The directory of one cluster.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

/// What was given to this cluster and to nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocations {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name.
    pub name: String,
    /// Tells two clusters of one name apart; every libvirt object carries it.
    pub id: String,
    /// The daemon that runs the machines: `embedded`, or a libvirt URI.
    pub libvirt: String,
    /// The network of the machines.
    pub network: AllocatedNetwork,
    /// The loopback port on which the API answers, where machines cannot be reached directly.
    pub api_port: Option<u16>,
    /// The machines are emulated, several times slower than their host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emulated: bool,
    /// The virtual address of the API, if there is a balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_address: Option<Ipv4Addr>,
    /// The members that etcd begins with; never changed once it has begun.
    #[serde(default)]
    pub founders: BTreeSet<String>,
    /// Etcd has answered: whoever comes now joins, and a member that lost its disk does so too.
    #[serde(default)]
    pub founded: bool,
    /// Its removal has begun: it can only be finished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroying: bool,
    /// How machines that exist already are reached, those too that the topology does not name any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<topology::spec::Hosts>,
    /// The machines by name; an entry stays until its machine is destroyed.
    pub machines: BTreeMap<String, AllocatedMachine>,
}

/// The network of the machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedNetwork {
    /// Name of the libvirt network.
    pub name: String,
    /// Name of its bridge, at most 15 characters.
    pub bridge: String,
    /// Its addresses; the first is the host's.
    pub subnet: Ipv4Net,
}

/// What one machine keeps for life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocatedMachine {
    /// The role as it stands in its name: `control-plane`, `etcd`, `load-balancer`, or the pool.
    pub role: String,
    /// Address of its network card.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The domain's UUID, which is also the machine id.
    pub uuid: String,
    /// Its SSH host key, once it has printed it.
    pub host_key: Option<String>,
    /// It was chosen to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Why it and no other of its role was, if there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// How it came to etcd, if it did so after etcd had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Seat>,
}

/// The place of a member that joined etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// The members when it joined, itself among them, as `--initial-cluster` wants them.
    pub initial_cluster: String,
    /// It has a vote; before, it only learns.
    pub voter: bool,
}

impl StateDir {
    /// The directory of the cluster `name` below `base`; nothing is made yet.
    pub fn new(base: &Path, name: &str) -> Self {
        Self { root: base.join("clusters").join(name) }
    }

    /// The names of all clusters below `base`.
    pub fn all(base: &Path) -> Result<Vec<String>> {
        let dir = base.join("clusters");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether the cluster has ever been applied.
    pub fn exists(&self) -> bool {
        self.path("cluster.json").exists()
    }

    /// Makes the directory, readable for its owner only.
    pub fn create(&self) -> Result<()> {
        private_dir(&self.root)
    }

    /// What was allocated, if anything.
    ///
    /// # Errors
    /// A broken file or one of another format is refused: guessing could orphan machines.
    pub fn allocations(&self) -> Result<Option<Allocations>> {
        let path = self.path("cluster.json");
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let broken = |why: String| {
            Refusal::new(Exit::Failed, format!("{} {why}", path.display()))
                .hint("restore it from a backup, or use the release that wrote it")
        };
        let format = serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|error| broken(format!("is not JSON ({error})")))?["format"]
            .as_u64();
        if format != Some(u64::from(FORMAT)) {
            let seen = format.map_or("no format".to_owned(), |format| format!("format {format}"));
            return Err(broken(format!("has {seen}, this release reads {FORMAT}")).into());
        }
        let allocations = serde_json::from_str(&text).map_err(|error| broken(format!("cannot be read ({error})")))?;
        Ok(Some(allocations))
    }

    /// Keeps the allocations.
    pub fn save_allocations(&self, allocations: &Allocations) -> Result<()> {
        let text = serde_json::to_vec_pretty(allocations).context("cannot write allocations as JSON")?;
        write_private(&self.path("cluster.json"), &text)
    }

    /// The topology that was last asked for, as text.
    pub fn topology(&self) -> Result<Option<String>> {
        read_if_there(&self.path("topology.yaml"))
    }

    /// Whether the cluster is meant to be powered off.
    pub fn is_stopped(&self) -> bool {
        self.path(STOPPED).exists()
    }

    /// Keeps whether the cluster is meant to be powered off.
    pub fn set_stopped(&self, stopped: bool) -> Result<()> {
        let path = self.path(STOPPED);
        if stopped {
            return write_private(&path, format!("since {}\n", jiff::Timestamp::now()).as_bytes());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory and all that is in it.
    pub fn remove(&self) -> Result<()> {
        // Without allocations there is no cluster: a removal that is killed half-way is finished by the next one.
        for removed in [fs::remove_file(self.path("cluster.json")), fs::remove_dir_all(&self.root)] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", self.root.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes a directory, and those above it, for its owner only.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Writes a file at once and for its owner only: a reader sees the old content or the new one. A file that has this
/// content already is not touched.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let draft = path.with_extension("draft");
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    let written = write();
    if written.is_err() {
        // Half a file is of no use, and takes room that may be missing.
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The text of a file, or nothing if there is none.
pub fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests;
