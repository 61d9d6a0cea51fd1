//! A part of a volume as a mount of its own.
//!
//! A container may have put links into the volume that point out of it. The part is therefore opened by the kernel
//! with the rule that it must stay beneath the volume, and what was opened, not its name, is what gets mounted.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::mount;

/// Mounts `part` of `volume` at `target`, making the part as a folder if it does not exist.
pub fn prepare(volume: &Path, part: &Path, target: &Path) -> io::Result<PathBuf> {
    let handle = open_beneath(volume, part)?;
    let folder = fstat(&handle)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if target.exists() && mount::is_mount_point(target).unwrap_or(false) || is_bound(target) {
        mount::unmount(target)?;
    }
    if folder {
        fs::create_dir_all(target)?;
    } else {
        drop(OpenOptions::new().create(true).append(true).open(target)?);
    }
    mount::bind(Path::new(&format!("/proc/self/fd/{}", handle.as_raw_fd())), target)?;
    Ok(target.to_owned())
}

/// A bind mount of the same file system has no other device number; only the table tells.
fn is_bound(target: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let target = target.display().to_string();
    table.lines().any(|line| line.split(' ').nth(4) == Some(target.as_str()))
}

fn open_beneath(volume: &Path, part: &Path) -> io::Result<OwnedFd> {
    let how = || {
        OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let root = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut walked = PathBuf::new();
    for component in part.components() {
        walked.push(component);
        match openat2(&root, &walked, how()) {
            Ok(_) => {}
            Err(Errno::ENOENT) => make_folder(&root, &walked, how())?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(openat2(&root, if walked.as_os_str().is_empty() { Path::new(".") } else { &walked }, how())?)
}

fn make_folder(root: &OwnedFd, path: &Path, how: OpenHow) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = openat2(root, parent, how)?;
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    Ok(mkdirat(&parent, name, Mode::from_bits_truncate(0o750))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_lead_inside_but_never_out() {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("inner")).unwrap();
        std::os::unix::fs::symlink("inner", volume.path().join("good")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.path().join("evil")).unwrap();
        std::os::unix::fs::symlink("../..", volume.path().join("up")).unwrap();
        assert!(open_beneath(volume.path(), Path::new("good/new/deep")).is_ok());
        assert!(volume.path().join("inner/new/deep").is_dir());
        for path in ["evil", "evil/passwd", "up", "../x"] {
            assert!(open_beneath(volume.path(), Path::new(path)).is_err(), "{path}");
        }
    }
}
