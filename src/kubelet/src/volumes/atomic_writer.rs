//! Exchanging the files of a folder in one step.
//!
//! The files lie in a folder named after the time; `..data` points to it, and each visible name points into
//! `..data`. A change writes a new folder and moves `..data`, so a reader sees the old files or the new ones, never
//! a mixture. This is upstream's layout: programs watch `..data` to learn of changes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path};

use super::payload::Payload;

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes `folder` hold exactly `payload`; answers whether anything changed.
pub fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    for name in payload.keys() {
        check(name)?;
    }
    let current = fs::read_link(folder.join(DATA)).ok();
    if current.as_ref().is_some_and(|current| same(&folder.join(current), payload)) {
        return Ok(false);
    }
    let fresh = fresh_name();
    fill(&folder.join(&fresh), payload, group)?;
    if let Some(group) = group {
        own_folder(folder, group)?;
    }
    remove_if_there(&folder.join(NEXT))?;
    symlink(&fresh, folder.join(NEXT))?;
    fs::rename(folder.join(NEXT), folder.join(DATA))?;
    link_names(folder, payload)?;
    if let Some(old) = current.filter(|old| old.as_os_str() != fresh.as_str()) {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(true)
}

fn fresh_name() -> String {
    let now = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    format!("..{now}.{}", rand::random::<u32>())
}

/// Names must stay inside the folder and must not look like ours.
fn check(name: &str) -> io::Result<()> {
    let mut parts = Path::new(name).components();
    let sane = !name.is_empty() && !name.starts_with("..") && parts.all(|part| matches!(part, Component::Normal(_)));
    if sane {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {name:?} in volume")))
    }
}

fn same(folder: &Path, payload: &Payload) -> bool {
    let mut names = BTreeSet::new();
    if collect(folder, folder, &mut names).is_err() || !names.iter().eq(payload.keys()) {
        return false;
    }
    payload.iter().all(|(name, file)| fs::read(folder.join(name)).is_ok_and(|data| data == file.data))
}

fn collect(root: &Path, folder: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), names)?;
        } else if let Ok(name) = entry.path().strip_prefix(root) {
            names.insert(name.display().to_string());
        }
    }
    Ok(())
}

fn fill(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    // Readers that are not root must pass, whatever our umask is.
    DirBuilder::new().mode(0o755).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for (name, file) in payload {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        handle.write_all(&file.data)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if file.owner.is_some() || group.is_some() {
            std::os::unix::fs::chown(&path, file.owner, group)?;
        }
    }
    Ok(())
}

/// Lets a group share a folder: what is created in it belongs to the group too.
pub fn own_folder(folder: &Path, group: u32) -> io::Result<()> {
    std::os::unix::fs::chown(folder, None, Some(group))?;
    let mode = fs::metadata(folder)?.permissions().mode();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o2770))
}

fn link_names(folder: &Path, payload: &Payload) -> io::Result<()> {
    let first = |name: &String| Path::new(name).components().next().map(|part| part.as_os_str().to_owned());
    let wanted: BTreeSet<OsString> = payload.keys().filter_map(first).collect();
    for name in &wanted {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(&name) {
            remove_if_there(&folder.join(name))?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::payload::File;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(name, data)| ((*name).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o640, owner: None }))
            .collect()
    }

    #[test]
    fn files_are_exchanged_together_and_stale_ones_vanish() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap());
        let first = fs::read_link(folder.path().join(DATA)).unwrap();
        assert!(!write(folder.path(), &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap());
        assert_eq!(fs::read_link(folder.path().join(DATA)).unwrap(), first);
        assert_eq!(fs::read_to_string(folder.path().join("deep/b")).unwrap(), "2");
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);

        assert!(write(folder.path(), &payload(&[("a", "3")]), None).unwrap());
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "3");
        assert!(!folder.path().join("deep").exists() && !folder.path().join(first).exists());
        let hidden = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(hidden, 3, "the time folder, ..data and one name");
    }

    #[test]
    fn a_write_cut_short_is_finished_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &payload(&[("a", "1")]), None).unwrap();
        symlink("..gone", folder.path().join(NEXT)).unwrap();
        fs::remove_file(folder.path().join("a")).unwrap();
        write(folder.path(), &payload(&[("a", "2")]), None).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "2");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "/etc/passwd", "a/../../b", "..data", ""] {
            assert!(write(folder.path(), &payload(&[(name, "x")]), None).is_err(), "{name}");
        }
    }
}
