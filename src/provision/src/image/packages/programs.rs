//! Programs for container images, with the libraries they are linked to, taken out of packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Apt, PackageSet, packages};
use crate::image::NodeImage;
use crate::image::build::tool::{self, BuildError};
use crate::image::files;
use crate::image::layer::Layer;

/// Layers of container images, as archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPrograms {
    /// etcd with what it is linked to.
    pub etcd: PathBuf,
    /// The programs that kube-proxy calls.
    pub netfilter: PathBuf,
}

impl From<&NodeImage> for ContainerPrograms {
    fn from(image: &NodeImage) -> Self {
        Self { etcd: image.etcd_layer.clone(), netfilter: image.netfilter_layer.clone() }
    }
}

impl From<&PackageSet> for ContainerPrograms {
    fn from(set: &PackageSet) -> Self {
        Self { etcd: set.dir.join("etcd.tar"), netfilter: set.dir.join("netfilter.tar") }
    }
}

/// The packages that the programs are in.
const SOURCES: &[&str] = &["etcd-server", "etcd-client", "nftables", "conntrack"];

/// Writes the layers beside the packages.
pub(super) async fn write(apt: &Apt, archives: &Path) -> Result<(), BuildError> {
    let mut command = apt.command();
    let planned = tool::output("apt-get", command.args(["install", "--simulate"]).args(SOURCES)).await?;
    let names: BTreeSet<&str> = planned.lines().filter_map(installed).collect();
    let root = apt.dir.join("root");
    for package in packages(archives)? {
        let file = package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if file.split('_').next().is_some_and(|name| names.contains(name)) {
            tool::bytes("dpkg-deb", Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root)).await?;
        }
    }
    layer(&root, files::ETCD_PROGRAMS, &archives.join("etcd.tar")).await?;
    layer(&root, files::NETFILTER_PROGRAMS, &archives.join("netfilter.tar")).await
}

/// The package of a line such as `Inst libc6 (2.41-12 Debian:13 [amd64])`.
fn installed(line: &str) -> Option<&str> {
    line.strip_prefix("Inst ")?.split(' ').next()
}

async fn layer(root: &Path, programs: &[&str], path: &Path) -> Result<(), BuildError> {
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|dir| root.join(dir));
    let loader = ["usr/lib64", "lib64"].map(|dir| root.join(dir).join("ld-linux-x86-64.so.2"));
    let loader = loader.iter().find(|path| path.exists());
    let loader = loader.ok_or_else(|| BuildError::Incomplete { path: root.join("lib64") })?;
    let mut layer = Layer::default();
    layer.file("lib64/ld-linux-x86-64.so.2", loader, 0o755);
    for program in programs {
        let source = inside(root, program)?;
        layer.file(program, &source, 0o755);
        // The loader of the packages themselves, told to look nowhere else, says what it would load.
        let mut command = Command::new(loader);
        command.args(["--inhibit-cache", "--library-path"]);
        command.arg(format!("{}:{}", libraries[0].display(), libraries[1].display())).arg("--list").arg(&source);
        let text = tool::output("ld.so", &mut command).await?;
        for library in text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))) {
            let library = Path::new(library);
            let Some(name) = library.file_name().filter(|_| library.starts_with(root)) else { continue };
            if library != loader {
                layer.file(&format!("usr/lib/x86_64-linux-gnu/{}", name.to_string_lossy()), library, 0o755);
            }
        }
    }
    layer.text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n", 0o644);
    layer.directory("tmp");
    let failed = |source| BuildError::File { path: path.to_owned(), source };
    let file = std::fs::File::create(path).map_err(failed)?;
    layer.write(std::io::BufWriter::new(file)).map_err(failed)
}

/// Where a program is in the unpacked packages, whether its release has merged `/bin` into `/usr/bin` or not.
fn inside(root: &Path, program: &str) -> Result<PathBuf, BuildError> {
    let plain = program.trim_start_matches('/');
    let places = [root.join(plain), root.join(plain.trim_start_matches("usr/"))];
    let found = places.iter().find(|place| place.exists()).cloned();
    found.ok_or_else(|| BuildError::Incomplete { path: root.join(plain) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_apt_would_install_counts() {
        assert_eq!(installed("Inst libc6 (2.41-12 Debian:13/stable [amd64])"), Some("libc6"));
        assert_eq!(installed("Conf libc6 (2.41-12 Debian:13/stable [amd64])"), None);
    }
}
