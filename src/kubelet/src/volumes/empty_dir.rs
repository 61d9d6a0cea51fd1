//! A folder that lives as long as the pod.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{VolumeError, atomic_writer, mount};
use crate::pod::amount;

/// Makes the folder, on disk or in memory, writable by everyone in the pod.
pub fn set_up(path: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> Result<(), VolumeError> {
    let make = || {
        if path.exists() && source.medium.as_deref() != Some("Memory") {
            return Ok(());
        }
        fs::create_dir_all(path)?;
        if source.medium.as_deref() == Some("Memory") {
            mount::tmpfs(path, source.size_limit.as_ref().and_then(amount::units))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        group.map_or(Ok(()), |group| atomic_writer::own_folder(path, group))
    };
    make().map_err(|source| VolumeError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_may_write_and_content_survives_a_second_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        set_up(&path, &EmptyDirVolumeSource::default(), None).unwrap();
        fs::write(path.join("x"), "1").unwrap();
        set_up(&path, &EmptyDirVolumeSource::default(), None).unwrap();
        assert!(path.join("x").exists());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
    }
}
