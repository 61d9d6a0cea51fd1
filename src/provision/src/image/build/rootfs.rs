//! The root file system: made by mmdebstrap, turned into a node's, taken apart into disk, kernel and layer.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::tool::{self, BuildError};
use super::{ImageSpec, Listener, initrd};
use crate::image::files::{self, RootFile};
use crate::image::layer::Layer;
use crate::image::{Progress, debian};

/// The disk's size; machines get larger overlays and grow their file system at the first boot.
const DISK_SIZE: &str = "2G";

/// Unpacks Debian into `root`.
pub(super) async fn bootstrap(
    spec: &ImageSpec,
    packages: &[&str],
    mirror: &str,
    root: &Path,
    listener: Listener<'_>,
) -> Result<(), BuildError> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=directory", "--architectures=amd64"]);
    command.args(["--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\""]);
    command.args(["--aptopt=Acquire::Retries \"3\"", "--aptopt=Acquire::http::Timeout \"30\""]);
    command.args(files::EXCLUDED_PATHS.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(&spec.suite).arg(root).args(debian::sources(mirror, &spec.suite));
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    // We make the initial RAM disk ourselves.
    command.env("INITRD", "No");
    let made = tool::run("mmdebstrap", &mut command, listener).await;
    made.map_err(|error| error.explain(mirror))
}

/// Makes a node of a plain Debian.
pub(super) fn configure(root: &Path) -> Result<(), BuildError> {
    let units = root.join("etc/systemd/system");
    for target in list(&units)? {
        if target.extension().is_some_and(|e| e == "wants") {
            tool::remove_tree(&target)?;
        }
    }
    write_files(root, files::FILES)?;
    for (target, unit) in files::ENABLED {
        let name = unit.rsplit('/').next().unwrap_or(unit);
        link(unit, &units.join(format!("{target}.wants")).join(name))?;
    }
    for unit in files::MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    for generator in files::SILENCED_GENERATORS {
        link("/dev/null", &root.join("etc/systemd/system-generators").join(generator))?;
    }
    for pattern in files::REMOVED {
        remove_matching(root, pattern)?;
    }
    // An empty file, unlike none, is filled by systemd without the ceremonies of a first boot.
    tool::write(&root.join("etc/machine-id"), b"", 0o444)?;
    tool::write(&root.join("etc/hostname"), b"machine\n", 0o644)?;
    tool::write(&root.join("etc/resolv.conf"), b"", 0o644)?;
    for stamp in ["etc/.updated", "var/.updated"] {
        tool::write(&root.join(stamp), b"", 0o644)?;
    }
    Ok(())
}

/// Writes programs with the libraries they are linked to.
pub(super) async fn write_layer(root: &Path, programs: &[&str], path: &Path) -> Result<(), BuildError> {
    let mut layer = Layer::default();
    for program in programs {
        let mut command = Command::new("chroot");
        command.arg(root).args(["ldd", program]);
        let text = tool::output("ldd", &mut command).await?;
        for object in std::iter::once(*program).chain(linked(&text)) {
            let source = inside(root, object)?;
            layer.file(object, &source, 0o755);
        }
    }
    layer.text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n", 0o644);
    layer.directory("tmp");
    let failed = |source| BuildError::File { path: path.to_owned(), source };
    let file = std::fs::File::create(path).map_err(failed)?;
    layer.write(std::io::BufWriter::new(file)).map_err(failed)
}

/// The packages with their versions.
pub(super) async fn packages(root: &Path) -> Result<Vec<String>, BuildError> {
    let mut command = Command::new("chroot");
    command.arg(root).args(["dpkg-query", "-W", "-f", "${Package}=${Version}\\n"]);
    let text = tool::output("dpkg-query", &mut command).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Unpacks the kernel's modules: an emulated machine takes longer to unpack one than to load it.
async fn unpack_modules(root: &Path, version: &str) -> Result<(), BuildError> {
    const SCRIPT: &str =
        "find /usr/lib/modules -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P 4 xz -d && depmod \"$1\"";
    let mut command = Command::new("chroot");
    command.arg(root).args(["sh", "-c", SCRIPT, "sh", version]);
    tool::output("xz", &mut command).await.map(drop)
}

/// Takes the kernel out of the root, where nobody would read it, and makes what machines are started with.
pub(super) async fn take_kernel(root: &Path, draft: &Path) -> Result<String, BuildError> {
    let boot = root.join("boot");
    let kernel = list(&boot)?.into_iter().find(|path| name_of(path).starts_with("vmlinuz-"));
    let kernel = kernel.ok_or_else(|| BuildError::Incomplete { path: boot.join("vmlinuz") })?;
    let version = name_of(&kernel).trim_start_matches("vmlinuz-").to_owned();
    unpack_modules(root, &version).await?;
    initrd::write(root, &version, &kernel, draft)?;
    tool::remove_tree(&boot)?;
    Ok(version)
}

/// Writes the root file system as a disk.
pub(super) async fn write_disk(root: &Path, disk: &Path) -> Result<(), BuildError> {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", "provision", "-m", "0", "-b", "4096"]);
    command.args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]);
    command.arg("-d").arg(root).arg(disk).arg(DISK_SIZE);
    let quiet = |_: Progress| {};
    tool::run("mke2fs", &mut command, &quiet).await
}

fn write_files(root: &Path, list: &[RootFile]) -> Result<(), BuildError> {
    list.iter().try_for_each(|file| tool::write(&root.join(file.path), file.rendered().as_bytes(), file.mode))
}

fn link(target: &str, path: &Path) -> Result<(), BuildError> {
    let made = (|| {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path)?;
        }
        symlink(target, path)
    })();
    made.map_err(|source| BuildError::File { path: path.to_owned(), source })
}

/// Removes what a pattern of [`files::REMOVED`] names.
fn remove_matching(root: &Path, pattern: &str) -> Result<(), BuildError> {
    let path = root.join(pattern);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let name = name.to_string_lossy();
    for found in list(dir)? {
        let hit = match name.strip_suffix('*') {
            Some(prefix) => name_of(&found).starts_with(prefix),
            None => name_of(&found) == name,
        };
        if !hit {
            continue;
        }
        if found.is_dir() && !found.is_symlink() {
            tool::remove_tree(&found)?;
        } else {
            std::fs::remove_file(&found).map_err(|source| BuildError::File { path: found.clone(), source })?;
        }
    }
    Ok(())
}

/// The objects in the output of `ldd` that are files.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// Where a path of the root file system is, with links followed as if `root` were `/`.
fn inside(root: &Path, path: &str) -> Result<PathBuf, BuildError> {
    let mut place = root.join(path.trim_start_matches('/'));
    for _ in 0..16 {
        let resolved = place.canonicalize().map_err(|source| BuildError::File { path: place.clone(), source })?;
        if resolved.starts_with(root) {
            return Ok(resolved);
        }
        place = root.join(resolved.strip_prefix("/").unwrap_or(&resolved));
    }
    Err(BuildError::Incomplete { path: place })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, BuildError> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(BuildError::File { path: dir.to_owned(), source }),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let found: Vec<_> = linked(text).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn patterns_remove_what_they_name_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ssh/key_a", "ssh/key_b.pub", "ssh/config", "log/deep/x"] {
            tool::write(&dir.path().join(name), b"", 0o600).unwrap();
        }
        for pattern in ["ssh/key_*", "log/*", "absent/*", "absent"] {
            remove_matching(dir.path(), pattern).unwrap();
        }
        assert!(dir.path().join("ssh/config").exists() && dir.path().join("log").exists());
        assert_eq!(list(&dir.path().join("ssh")).unwrap().len(), 1);
        assert!(list(&dir.path().join("log")).unwrap().is_empty());
    }

    #[test]
    fn an_unreachable_mirror_is_told_from_other_failures() {
        let failed = |message: &str| BuildError::Failed { program: "mmdebstrap".into(), message: message.into() };
        let mirror = failed("E: Failed to fetch http://m/debian/dists").explain("http://m/debian");
        assert!(mirror.cure().unwrap().contains("http://m/debian"), "{mirror}");
        assert!(matches!(failed("E: unmet dependencies").explain("m"), BuildError::Failed { .. }));
    }
}
