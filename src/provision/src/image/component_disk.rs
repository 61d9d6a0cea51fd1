//! The node image with the components of a release in place: a thin disk over it, from which machines start with the
//! programs of a node, their images unpacked, and the mark that says so.
//!
//! What containerd keeps is written by the containerd of the node image itself, here on the host; nothing of this machine is
//! used but its kernel, and no disk is mounted.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::build::tool;
use super::{BuildError, NodeImage, lock};

mod containerd;
mod debugfs;
mod write;

/// Changes when the way such a disk is made changes in a manner that its other inputs do not show.
const FORMAT: &str = "component-disk/1";

/// Room that making one needs: a copy of the node image's disk, and what is added.
const NEEDED_BYTES: u64 = 2 << 30;

/// What making one leaves behind if it is killed.
const DRAFT: &str = ".draft-components-";

/// A disk that is whole and may be used by any number of machines at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentDisk {
    /// The disk: qcow2, over the node image's, which it finds beside itself.
    pub disk: PathBuf,
}

/// The disk for these components if it was made before. The tag names the content of the programs.
pub fn cached(image: &NodeImage, tag: &str) -> Option<ComponentDisk> {
    let disk = place(image, tag);
    disk.exists().then_some(ComponentDisk { disk })
}

/// The disk for these components: found in the cache, or made from the archive of their images, which takes some seconds
/// and needs root.
pub async fn build(
    image: &NodeImage,
    archive: &Path,
    tag: &str,
    on_wait: impl FnOnce(),
) -> Result<ComponentDisk, BuildError> {
    let disk = place(image, tag);
    let dir = image.disk.parent().ok_or_else(|| BuildError::Incomplete { path: image.disk.clone() })?;
    let failed = |source| BuildError::File { path: dir.to_owned(), source };
    let _held = lock::take(&dir.join(".lock"), on_wait).await.map_err(failed)?;
    if let Some(made) = cached(image, tag) {
        return Ok(made);
    }
    remove_drafts(dir).map_err(failed)?;
    check_host(dir)?;
    // A folder that goes when it is dropped, also by a failure or an interrupt.
    let stage = tempfile::Builder::new().prefix(DRAFT).tempdir_in(dir).map_err(failed)?;
    containerd::import(&image.disk, archive, stage.path()).await?;
    let draft = write::disk(&image.disk, tag, stage.path()).await?;
    std::fs::rename(&draft, &disk).map_err(|source| BuildError::File { path: disk.clone(), source })?;
    Ok(ComponentDisk { disk })
}

/// Removes what a killed run has left. What cannot be removed yet, because a program of that run still writes there, goes
/// the next time.
fn remove_drafts(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_draft = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(DRAFT));
        if is_draft && let Err(error) = tool::remove_tree(&path) {
            tracing::debug!("{} stays for now: {error:#}", path.display());
        }
    }
    Ok(())
}

/// Beside the disk that it lies over: whoever removes the one removes the other.
fn place(image: &NodeImage, tag: &str) -> PathBuf {
    image.disk.with_file_name(format!("components-{}.qcow2", key(image, tag)))
}

/// Names everything that is in the disk: the programs by the tag, etcd and the programs of kube-proxy by the build of the node
/// image that they are taken from.
fn key(image: &NodeImage, tag: &str) -> String {
    let manifest = serde_json::to_string(&image.manifest).expect("a manifest has only strings and a number");
    let way = [FORMAT, super::oci::FORMAT, containerd::SCRIPT, containerd::CONFIG];
    let mut hash = Sha256::new();
    for part in way.into_iter().chain([tag, &manifest]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Everything that can be known to fail before a copy is made.
fn check_host(dir: &Path) -> Result<(), BuildError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BuildError::NotRoot);
    }
    let tools =
        [("unshare", "util-linux"), ("debugfs", "e2fsprogs"), ("e2fsck", "e2fsprogs"), ("qemu-img", "qemu-utils")];
    for (program, package) in tools {
        if !tool::is_installed(program) {
            return Err(BuildError::NoTool { program, package });
        }
    }
    let free = tool::free_bytes(dir)?;
    if free < NEEDED_BYTES {
        let (free_mib, needed_mib) = (free >> 20, NEEDED_BYTES >> 20);
        return Err(BuildError::NoSpace { path: dir.to_owned(), free_mib, needed_mib });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
