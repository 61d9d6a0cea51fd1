//! Where machines' disks are kept: in the state directory beside a private daemon, else in a storage pool of the daemon,
//! which may be on another machine and in any case runs its guests as another user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use libvirt::volume::{self, DiskFormat};
use libvirt::{Daemon, HypervisorError, Overlay, Owner, Pool};

use super::boot::Base;
use crate::machines::{self, Kernel};
use crate::state::{Allocations, StateDir, private_dir};
use crate::world::Report;

/// Where libvirt's own pool is, and what its security drivers allow.
const POOLS: &str = "/var/lib/libvirt/images";
/// Folders of the state directory.
const DISKS: &str = "disks";
const CONSOLES: &str = "console";
/// How often a console that is elsewhere is looked at: libvirt tells nobody that a file has grown.
const LOOK: Duration = Duration::from_millis(100);

/// The place of one cluster.
pub(super) enum Store {
    /// Files of the state directory.
    Files(StateDir),
    /// A pool of the daemon.
    Pool(Pool),
}

impl Store {
    pub(super) fn of(allocations: &Allocations, state: &StateDir, owner: &Owner) -> Self {
        if allocations.libvirt == super::EMBEDDED {
            return Store::Files(state.clone());
        }
        let name = allocations.network.name.clone();
        Store::Pool(Pool { target: Path::new(POOLS).join(&name), name, owner: owner.clone() })
    }

    /// The pool of the daemon, if disks are kept in one.
    pub(super) fn pool(&self) -> Option<&Pool> {
        match self {
            Store::Files(_) => None,
            Store::Pool(pool) => Some(pool),
        }
    }

    /// A machine's root disk, as the daemon sees it.
    pub(super) fn disk(&self, name: &str) -> PathBuf {
        self.path(DISKS, &format!("{name}.qcow2"))
    }

    /// A machine's seed disk, as the daemon sees it.
    pub(super) fn seed(&self, name: &str) -> PathBuf {
        self.path(DISKS, &format!("{name}.seed"))
    }

    /// What a machine's console is written to, as the daemon sees it.
    pub(super) fn console(&self, name: &str) -> PathBuf {
        self.path(CONSOLES, &format!("{name}.log"))
    }

    fn path(&self, folder: &str, file: &str) -> PathBuf {
        match self {
            Store::Files(state) => state.path(folder).join(file),
            Store::Pool(pool) => pool.path(file),
        }
    }

    /// Whether machines can be made of `base` now, and whether there is anything of ours.
    pub(super) async fn is_stocked(&self, daemon: &Daemon, base: &Base) -> Result<bool> {
        match self {
            Store::Files(_) => Ok(true),
            Store::Pool(pool) => {
                Ok(daemon.volumes(pool).await?.is_some_and(|volumes| volumes.contains(&format!("{}.whole", base.id))))
            }
        }
    }

    /// Brings what machines boot to where the daemon is.
    pub(super) async fn stock(&self, daemon: &Daemon, base: &Base, report: Report<'_>) -> Result<()> {
        let Store::Pool(pool) = self else { return Ok(()) };
        daemon.ensure_pool(pool).await?;
        if self.is_stocked(daemon, base).await? {
            return Ok(());
        }
        let mut files = vec![("disk", compact(base).await?)];
        if let Some(kernel) = &base.kernel {
            files.extend([("kernel", kernel.image.clone()), ("initrd", kernel.initrd.clone())]);
        }
        for (part, file) in files {
            upload(daemon, pool, &format!("{}.{part}", base.id), (&file, part), report).await?;
        }
        Ok(daemon.upload_volume(pool, (&format!("{}.whole", base.id), 1), &b"\n"[..], |_| {}).await?)
    }

    /// What is started, as the daemon sees it.
    pub(super) fn kernel(&self, base: &Base) -> Option<Kernel> {
        let kernel = base.kernel.clone()?;
        Some(match self {
            Store::Files(_) => kernel,
            Store::Pool(pool) => {
                let path = |part: &str| pool.path(&format!("{}.{part}", base.id));
                Kernel { image: path("kernel"), initrd: path("initrd"), ..kernel }
            }
        })
    }

    /// Makes a machine's disk, unless it is there. A new disk gets a new host key: what an earlier machine of this name
    /// has said on its console counts no more.
    pub(super) async fn make_disk(&self, daemon: &Daemon, base: &Base, name: &str, bytes: u64) -> Result<()> {
        match self {
            Store::Files(state) => {
                for folder in [DISKS, CONSOLES] {
                    private_dir(&state.path(folder))?;
                }
                if !self.disk(name).exists() {
                    volume::remove(&self.console(name)).await?;
                }
                let (below, format) = match &base.components {
                    Some(components) => (&components.disk, DiskFormat::Qcow2),
                    None => (&base.disk, base.format),
                };
                Ok(volume::create_overlay(&self.disk(name), below, format, bytes).await?)
            }
            Store::Pool(pool) => {
                if !self.has_disk(daemon, name).await? {
                    daemon.remove_volume(pool, &format!("{name}.log")).await?;
                }
                let below = format!("{}.disk", base.id);
                let overlay = Overlay { name: format!("{name}.qcow2"), base: below, format: DiskFormat::Qcow2, bytes };
                Ok(daemon.ensure_overlay(pool, &overlay).await?)
            }
        }
    }

    /// Whether a machine has a disk.
    pub(super) async fn has_disk(&self, daemon: &Daemon, name: &str) -> Result<bool> {
        match self {
            Store::Files(_) => Ok(self.disk(name).exists()),
            Store::Pool(pool) => {
                let volumes = daemon.volumes(pool).await?.unwrap_or_default();
                Ok(volumes.contains(&format!("{name}.qcow2")))
            }
        }
    }

    /// Puts a machine's seed where it belongs; `write` makes it.
    pub(super) async fn put_seed(
        &self,
        daemon: &Daemon,
        name: &str,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let Store::Pool(pool) = self else { return write(&self.seed(name)) };
        let draft = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
        write(draft.path())?;
        let bytes = std::fs::read(draft.path()).context("the seed disk cannot be read back")?;
        let length = bytes.len() as u64;
        Ok(daemon.upload_volume(pool, (&format!("{name}.seed"), length), std::io::Cursor::new(bytes), |_| {}).await?)
    }

    /// Removes every file of a machine: its disk, its seed, drafts of them, and what it has said on its console, now and
    /// before. No daemon is needed for files.
    pub(super) async fn remove_files(&self, daemon: Option<&Daemon>, name: &str) -> Result<()> {
        match (self, daemon) {
            (Store::Pool(pool), Some(daemon)) => {
                let volumes = daemon.volumes(pool).await?.unwrap_or_default();
                for volume in volumes.iter().filter(|file| is_of(file, name)) {
                    daemon.remove_volume(pool, volume).await?;
                }
            }
            (Store::Pool(_), None) => {}
            (Store::Files(state), _) => {
                for folder in [DISKS, CONSOLES] {
                    remove_from(&state.path(folder), name).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes everything that is left.
    pub(super) async fn remove(&self, daemon: &Daemon) -> Result<()> {
        match self {
            Store::Files(_) => Ok(()),
            Store::Pool(pool) => Ok(daemon.remove_pool(pool).await?),
        }
    }

    /// What a machine has said on its console from `offset` on.
    pub(super) async fn read_console(&self, daemon: &Daemon, name: &str, offset: u64) -> Result<Vec<u8>> {
        let Store::Pool(pool) = self else {
            let path = self.console(name);
            return std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
        };
        match daemon.read_volume(pool, &format!("{name}.log"), offset).await {
            // Before the machine has said more than we have read.
            Err(HypervisorError::Operation { source, .. }) if offset > 0 => {
                tracing::debug!("the console of {name} cannot be read from {offset} on: {source}");
                Ok(Vec::new())
            }
            read => Ok(read?),
        }
    }

    /// Waits until a machine has told its SSH host key on its console.
    pub(super) async fn host_key(&self, daemon: &Daemon, name: &str, patience: Duration) -> Result<String> {
        if let Store::Files(_) = self {
            return Ok(machines::host_key(&self.console(name), patience).await?);
        }
        let mut said = Vec::new();
        let wait = async {
            loop {
                said.extend(self.read_console(daemon, name, said.len() as u64).await?);
                if let Some(key) = machines::console::find(&String::from_utf8_lossy(&said)) {
                    return Ok(key);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = tokio::time::timeout(patience, wait).await;
        waited.unwrap_or_else(|_| {
            let tail = machines::console::tail(&String::from_utf8_lossy(&said));
            Err(anyhow::anyhow!("no SSH host key on the console after {patience:?}; it ends with:\n{tail}"))
        })
    }
}

/// Whether a file is one of a machine's: they are called after it, and its name has no dot.
fn is_of(file: &str, machine: &str) -> bool {
    file.split_once('.').is_some_and(|(stem, _)| stem == machine)
}

async fn remove_from(folder: &Path, machine: &str) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|file| is_of(file, machine)) {
            volume::remove(&path).await?;
        }
    }
    Ok(())
}

/// The disk in a form without holes, which a stream would fill with zeros.
async fn compact(base: &Base) -> Result<PathBuf> {
    if base.format == DiskFormat::Qcow2 {
        return Ok(base.disk.clone());
    }
    let path = base.disk.with_extension("qcow2");
    if !path.exists() {
        let draft = tempfile::Builder::new().tempfile_in(path.parent().context("a disk is in a folder")?)?;
        volume::convert_to_qcow2(&base.disk, draft.path()).await?;
        draft.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

async fn upload(
    daemon: &Daemon,
    pool: &Pool,
    volume: &str,
    (path, part): (&Path, &'static str),
    report: Report<'_>,
) -> Result<()> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    let (sender, mut receiver) = tokio::sync::watch::channel(0);
    let sending = daemon.upload_volume(pool, (volume, bytes), file, move |gone| {
        sender.send_replace(gone);
    });
    let mut sending = std::pin::pin!(sending);
    loop {
        tokio::select! {
            sent = &mut sending => return Ok(sent?),
            Ok(()) = receiver.changed() => {
                let gone = *receiver.borrow_and_update();
                report(format!("{part} to the daemon: {} of {} MiB", gone >> 20, bytes >> 20));
            }
        }
    }
}
