//! A path of the node, checked or made as its type demands.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::VolumeError;

/// Checks or makes the path; answers it.
pub fn set_up(source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let io = |source| VolumeError::Io { path: path.clone(), source };
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" if !path.exists() => {
            DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(io)?;
        }
        "FileOrCreate" if !path.exists() => {
            drop(OpenOptions::new().create(true).append(true).mode(0o644).open(&path).map_err(io)?);
        }
        kind => check(&path, kind)?,
    }
    Ok(path)
}

fn check(path: &Path, kind: &str) -> Result<(), VolumeError> {
    let file_type = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    let is = |test: fn(&fs::FileType) -> bool| file_type.as_ref().is_some_and(test);
    let (fits, wanted) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        _ => (true, ""),
    };
    if fits { Ok(()) } else { Err(VolumeError::HostPath { path: path.display().to_string(), wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, kind: &str| {
            set_up(&HostPathVolumeSource {
                path: folder.path().join(name).display().to_string(),
                type_: Some(kind.to_owned()),
            })
        };
        at("d/e", "DirectoryOrCreate").unwrap();
        at("f", "FileOrCreate").unwrap();
        at("d", "Directory").unwrap();
        at("anything", "").unwrap();
        assert!(
            at("d", "File").is_err()
                && at("f", "Directory").is_err()
                && at("none", "File").is_err()
                && at("f", "Socket").is_err()
        );
    }
}
