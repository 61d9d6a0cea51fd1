//! Disks as plain files: qcow2 overlays over a shared base image.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The format of a disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// QEMU's own format, with overlays.
    Qcow2,
    /// The bytes of the disk.
    Raw,
}

impl DiskFormat {
    /// The name QEMU and libvirt use.
    pub fn as_str(self) -> &'static str {
        match self {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "raw",
        }
    }
}

/// A failed operation on a disk file.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// qemu-img is not there or cannot be run.
    #[error("cannot run qemu-img for {path}")]
    Run {
        /// The disk file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// qemu-img refused.
    #[error("qemu-img cannot {action} {path}: {message}")]
    Refused {
        /// The verb, for a person.
        action: &'static str,
        /// The disk file.
        path: PathBuf,
        /// Its last words.
        message: String,
    },
    /// The file could not be moved or removed.
    #[error("cannot {action} {path}")]
    File {
        /// The verb, for a person.
        action: &'static str,
        /// The disk file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl VolumeError {
    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<&'static str> {
        match self {
            VolumeError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => Some("install qemu-utils"),
            VolumeError::Refused { message, .. } if message.contains("No space left") => {
                Some("free disk space, or choose another --state-dir")
            }
            _ => None,
        }
    }
}

/// Makes the qcow2 file `path` of `size_bytes` whose unwritten blocks are read from `base`.
///
/// An existing file is kept: a machine's disk is never thrown away by a second run. The file appears
/// whole or not at all.
pub async fn create_overlay(path: &Path, base: &Path, format: DiskFormat, size_bytes: u64) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    let draft = path.with_extension("draft");
    let size = size_bytes.to_string();
    let arguments: [&OsStr; 10] = [
        "create".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "-b".as_ref(),
        base.as_ref(),
        "-F".as_ref(),
        format.as_str().as_ref(),
        draft.as_ref(),
        size.as_ref(),
    ];
    qemu_img("create", path, &arguments).await?;
    let moved = tokio::fs::rename(&draft, path).await;
    moved.map_err(|source| VolumeError::File { action: "put in place", path: path.to_owned(), source })
}

/// Turns the raw disk `raw` into the qcow2 file `path`.
pub async fn convert_to_qcow2(raw: &Path, path: &Path) -> Result<(), VolumeError> {
    let arguments: [&OsStr; 7] = [
        "convert".as_ref(),
        "-f".as_ref(),
        "raw".as_ref(),
        "-O".as_ref(),
        "qcow2".as_ref(),
        raw.as_ref(),
        path.as_ref(),
    ];
    qemu_img("make", path, &arguments).await
}

/// The format qemu-img finds in a downloaded disk.
pub async fn detect_format(path: &Path) -> Result<DiskFormat, VolumeError> {
    let failed = |source| VolumeError::File { action: "read", path: path.to_owned(), source };
    let mut magic = [0_u8; 4];
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    tokio::io::AsyncReadExt::read_exact(&mut file, &mut magic).await.map_err(failed)?;
    Ok(if &magic == b"QFI\xfb" { DiskFormat::Qcow2 } else { DiskFormat::Raw })
}

/// Removes a disk; one that is not there is removed already.
pub async fn remove(path: &Path) -> Result<(), VolumeError> {
    match tokio::fs::remove_file(path).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(VolumeError::File { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

async fn qemu_img(action: &'static str, path: &Path, arguments: &[&OsStr]) -> Result<(), VolumeError> {
    let run = Command::new("qemu-img").args(arguments).kill_on_drop(true).output().await;
    let output = run.map_err(|source| VolumeError::Run { path: path.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(VolumeError::Refused { action, path: path.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_disk_is_removed_already() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("nothing.qcow2")).await.unwrap();
    }

    #[tokio::test]
    async fn an_overlay_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (base, disk) = (dir.path().join("base.raw"), dir.path().join("disk.qcow2"));
        std::fs::File::create(&base).unwrap().set_len(1 << 20).unwrap();
        match create_overlay(&disk, &base, DiskFormat::Raw, 8 << 20).await {
            Err(VolumeError::Run { .. }) => return,
            made => made.unwrap(),
        }
        assert_eq!(detect_format(&disk).await.unwrap(), DiskFormat::Qcow2);
        let before = std::fs::read(&disk).unwrap();
        create_overlay(&disk, &base, DiskFormat::Raw, 8 << 20).await.unwrap();
        assert_eq!(std::fs::read(&disk).unwrap(), before);
    }

    #[tokio::test]
    async fn a_missing_base_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let made = create_overlay(&dir.path().join("d.qcow2"), &dir.path().join("b"), DiskFormat::Qcow2, 1 << 20).await;
        assert!(made.unwrap_err().to_string().contains("qemu-img"));
    }
}
