//! The node image's file system with what was staged in it, and of that only what differs.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::debugfs::{self, Access};
use crate::image::BuildError;
use crate::image::build::tool;
use crate::image::oci::{HYPERKUBE, NODE_PROGRAM};

/// Where containerd keeps things on a node.
const CONTAINERD: &str = "/var/lib/containerd";

/// Makes the draft of the disk in `stage`, from what is there.
pub(super) async fn disk(base: &Path, tag: &str, stage: &Path) -> Result<PathBuf, BuildError> {
    let filled = stage.join("filled.raw");
    let mut copy = Command::new("cp");
    tool::bytes("cp", copy.args(["--reflink=auto", "--sparse=auto"]).arg(base).arg(&filled)).await?;
    tool::write(&stage.join("mark"), format!("{tag}\n").as_bytes(), 0o644)?;
    debugfs::run(&filled, Access::Write, &commands(stage)?, stage).await?;
    tool::bytes("e2fsck", Command::new("e2fsck").args(["-f", "-n"]).arg(&filled)).await?;

    // The name of the disk below is relative, and stands for the same file from here and from where the draft goes.
    let below = base.file_name().ok_or_else(|| BuildError::Incomplete { path: base.to_owned() })?;
    let (link, draft) = (stage.join(below), stage.join("draft.qcow2"));
    symlink(Path::new("..").join(below), &link).map_err(|source| BuildError::File { path: link, source })?;
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "filled.raw"]).arg(&draft);
    tool::bytes("qemu-img", &mut create).await?;
    let mut rebase = Command::new("qemu-img");
    rebase.args(["rebase", "-f", "qcow2", "-F", "raw", "-b"]).arg(below).arg(&draft);
    tool::bytes("qemu-img", &mut rebase).await?;
    Ok(draft)
}

/// What debugfs is told, with names from the stage.
fn commands(stage: &Path) -> Result<String, BuildError> {
    let mut text = String::new();
    let program = add_folder(&mut text, stage, ("root", CONTAINERD))?;
    let program = program.ok_or_else(|| BuildError::Incomplete { path: stage.join("root") })?;
    let (folder, name) = NODE_PROGRAM.rsplit_once('/').expect("the program has an absolute path");
    // One file for containers and kubelet alike: it is read from the disk, and kept in memory, once.
    let _ = write!(
        text,
        "mkdir {folder}\ncd {folder}\nln {program} {name}\nsif {name} links_count 2\n\
         cd /usr/bin\nsymlink kubelet {NODE_PROGRAM}\n\
         mkdir /var/lib/provision\ncd /var/lib/provision\nwrite mark components\n"
    );
    Ok(text)
}

/// Adds a folder of the stage with all that is in it; says where the program comes to lie, if it is there.
fn add_folder(text: &mut String, stage: &Path, (from, to): (&str, &str)) -> Result<Option<String>, BuildError> {
    let place = stage.join(from);
    let failed = |source| BuildError::File { path: place.clone(), source };
    let mode = place.metadata().map_err(failed)?.permissions().mode();
    let _ = writeln!(text, "mkdir {to}\nsif {to} mode 0{mode:o}\ncd {to}");
    let (mut folders, mut program) = (Vec::new(), None);
    for name in names(&place)? {
        let path = place.join(&name);
        let kind = path.symlink_metadata().map_err(failed)?;
        if kind.is_dir() {
            folders.push(name);
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).map_err(failed)?;
            let _ = writeln!(text, "symlink {name} {}", target.display());
        } else {
            let _ = writeln!(text, "write {from}/{name} {name}");
            let inside = format!("{to}/{name}");
            if inside.strip_suffix(HYPERKUBE).is_some_and(|above| above.ends_with('/')) {
                program = Some(inside);
            }
        }
    }
    for name in folders {
        let found = add_folder(text, stage, (&format!("{from}/{name}"), &format!("{to}/{name}")))?;
        program = found.or(program);
    }
    Ok(program)
}

/// What is in a folder, always in the same order.
fn names(place: &Path) -> Result<Vec<String>, BuildError> {
    let failed = |source| BuildError::File { path: place.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        // debugfs splits at blanks.
        if name.contains(|letter: char| letter.is_whitespace() || letter == '"') {
            return Err(BuildError::Incomplete { path: place.join(name) });
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_one_file_for_containers_and_kubelet() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("root/snapshots/1/fs/usr/local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(bin.join("hyperkube"), "program").unwrap();
        symlink("hyperkube", bin.join("pause")).unwrap();
        let text = commands(dir.path()).unwrap();
        let inside = "/var/lib/containerd/snapshots/1/fs/usr/local/bin";
        for line in [
            format!("mkdir {inside}\nsif {inside} mode 040700\ncd {inside}\n"),
            "write root/snapshots/1/fs/usr/local/bin/hyperkube hyperkube\nsymlink pause hyperkube\n".to_owned(),
            format!("ln {inside}/hyperkube hyperkube\nsif hyperkube links_count 2\n"),
            "cd /var/lib/provision\nwrite mark components\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }

    #[test]
    fn without_the_program_or_with_a_blank_in_a_name_there_is_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        assert!(commands(dir.path()).is_err());
        let bin = root.join("usr/local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("hyperkube"), "").unwrap();
        assert!(commands(dir.path()).is_ok());
        std::fs::write(root.join("a b"), "").unwrap();
        assert!(commands(dir.path()).is_err());
    }
}
