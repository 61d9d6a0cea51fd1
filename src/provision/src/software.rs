//! The software of a node on machines that come without it: brought as packages over SSH, installed by the machine's own
//! package manager, and taken away again.
//!
//! A machine keeps what it had: what was there before is written down below `/var/lib/provision` before anything changes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use ssh::{File, Host, Script, quote};
use topology::{Role, Topology};

use crate::exit::{Exit, Refusal};
use crate::image::files::{self, RootFile};
use crate::image::packages::{self, PackageSet, PackageSpec};
use crate::image::tell;
use crate::world::Report;

const LOOK: &str = include_str!("../../../templates/software/look.sh");
const APT: &str = include_str!("../../../templates/software/apt.sh");
const RESOLVE: &str = include_str!("../../../templates/software/resolve.sh");
const INSTALL: &str = include_str!("../../../templates/software/install.sh");
const CONFIGURE: &str = include_str!("../../../templates/software/configure.sh");
/// Takes back what was brought, on the machine itself.
pub const REMOVE: &str = include_str!("../../../templates/software/remove.sh");

/// Where a machine keeps [`REMOVE`], for its owner.
pub const WAY_BACK: &str = "/var/lib/provision/give-back";
const PACKAGES: &str = "/var/lib/provision/packages";
/// An emulated machine unpacks a few megabytes a second.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// Files of the node image that other machines need too.
const NODE_FILES: &[&str] = &[
    "etc/systemd/networkd.conf.d/provision.conf",
    "etc/sysctl.d/90-kubernetes.conf",
    "etc/modules-load.d/provision.conf",
    "etc/containerd/config.toml",
    "etc/containerd/cni.conflist.template",
    "etc/systemd/system/provision-masquerade.service",
];

/// Files of ours where the packages of a balancer have theirs.
const BALANCER_FILES: &[&str] =
    &["etc/haproxy/haproxy.cfg", "etc/haproxy/kubernetes-ca.crt", "etc/keepalived/keepalived.conf"];
/// And those of etcd.
const ETCD_FILES: &[&str] = &["etc/systemd/system/etcd.service"];

/// What a machine needs beside its system, for all that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kit {
    node: bool,
    etcd: bool,
    balancer: bool,
}

impl Kit {
    /// What machines of this role need.
    pub fn of(topology: &Topology, role: &Role) -> Self {
        Self { node: role.is_node(), etcd: *role == Role::Etcd, balancer: topology.has_balancer(role) }
    }

    /// Whether this mark of a machine says that it has all of it.
    pub fn is_marked(self, mark: &str) -> bool {
        mark.split_once('-').is_some_and(|(_, kit)| kit == self.name())
    }

    fn select<T: Copy>(self, node: &[T], etcd: &[T], balancer: &[T]) -> Vec<T> {
        let parts = [(self.node, node), (self.etcd, etcd), (self.balancer, balancer)];
        parts.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, part)| part.iter().copied()).collect()
    }

    fn name(self) -> String {
        self.select(&["node"], &["etcd"], &["balancer"]).join("+")
    }

    fn packages(self) -> String {
        self.select(packages::NODE, packages::ETCD, packages::BALANCER).join(" ")
    }

    /// Files of the machine that ours take the place of, from the root.
    fn files(self) -> Vec<&'static str> {
        self.select(NODE_FILES, ETCD_FILES, BALANCER_FILES)
    }
}

/// What a machine said of itself.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    distribution: String,
    release: String,
    architecture: String,
    mark: String,
}

/// Brings the software that a machine needs; does nothing if it has it.
pub async fn install(host: &dyn Host, kit: Kit, cache_dir: &Path, report: Report<'_>) -> Result<()> {
    let seen = parse(&host.run(&Script::new(LOOK)).await?.text());
    let suite = seen.suite(host.name())?;
    let spec = PackageSpec { suite: suite.to_owned(), mirror: None };
    let mark = format!("{}-{}", spec.hash(), kit.name());
    if seen.mark == mark {
        return Ok(());
    }
    let listener = |progress| tell(progress, report);
    let set = packages::fetch(&spec, cache_dir, &listener).await;
    let set = set.with_context(|| format!("cannot fetch the software for {} ({suite})", host.name()))?;
    // Before packages bring theirs.
    keep(host, kit).await?;
    bring(host, &set, kit, report).await?;
    if kit.node {
        report("configuring the machine".to_owned());
        configure(host).await?;
    }
    let done = format!(
        "printf '%s\\n' {} >/var/lib/provision/software.new
mv /var/lib/provision/software.new /var/lib/provision/software",
        quote(&mark)
    );
    host.run(&Script::new(done)).await?;
    Ok(())
}

/// Takes away everything that was brought and made, and nothing else.
pub async fn remove(host: &dyn Host) -> Result<()> {
    host.run(&Script::new(REMOVE).with_limit(INSTALL_LIMIT)).await?;
    Ok(())
}

async fn bring(host: &dyn Host, set: &PackageSet, kit: Kit, report: Report<'_>) -> Result<()> {
    let index = read(&set.index()).await?;
    host.upload(&[File::public(format!("{PACKAGES}/Packages"), index)]).await?;
    let packages = format!("packages={}\n{APT}", quote(&kit.packages()));
    let lacking = host.run(&Script::new(format!("{packages}{RESOLVE}"))).await?.text();
    let mut files = Vec::new();
    for name in lacking.lines() {
        // The name comes from the machine: it must be one of ours.
        anyhow::ensure!(!name.contains('/') && set.dir.join(name).exists(), "{} asks for {name:?}", host.name());
        files.push(File::public(format!("{PACKAGES}/archives/{name}"), read(&set.dir.join(name)).await?));
    }
    let size: usize = files.iter().map(|file| file.content.len()).sum();
    report(format!("bringing {} packages, {} MiB", files.len(), size >> 20));
    host.upload(&files).await?;
    report(format!("installing {} packages", files.len()));
    host.run(&Script::new(format!("{packages}{INSTALL}")).with_limit(INSTALL_LIMIT)).await?;
    Ok(())
}

/// Puts files aside that ours will take the place of.
async fn keep(host: &dyn Host, kit: Kit) -> Result<()> {
    let paths: Vec<String> = kit.files().into_iter().map(|path| format!("/{path}")).collect();
    let keep = format!(
        "state=/var/lib/provision
mkdir -p $state
for path in {}; do
  if [ ! -e $state/files-brought ] || ! grep -qxF \"$path\" $state/files-brought; then
    [ -d \"${{path%/*}}\" ] || printf '%s\\n' \"${{path%/*}}\" >>$state/folders-made
    if [ -e \"$path\" ]; then mkdir -p \"$state/before${{path%/*}}\"; cp -a \"$path\" \"$state/before$path\"; fi
    printf '%s\\n' \"$path\" >>$state/files-brought
  fi
done",
        paths.join(" ")
    );
    host.run(&Script::new(keep)).await?;
    Ok(())
}

async fn configure(host: &dyn Host) -> Result<()> {
    let ours = files::FILES.iter().filter(|file| NODE_FILES.contains(&file.path));
    let rendered = ours.map(|file: &RootFile| File::public(format!("/{}", file.path), file.rendered()));
    host.upload(&rendered.collect::<Vec<_>>()).await?;
    host.run(&Script::new(CONFIGURE)).await?;
    Ok(())
}

async fn read(path: &Path) -> Result<Bytes> {
    Ok(tokio::fs::read(path).await.with_context(|| format!("cannot read {}", path.display()))?.into())
}

fn parse(text: &str) -> Seen {
    let mut lines = text.lines().map(str::trim);
    let system = lines.next().unwrap_or_default();
    let (distribution, release) = system.split_once(' ').unwrap_or((system, ""));
    let mut word = || lines.next().unwrap_or("-").to_owned();
    Seen { distribution: distribution.to_owned(), release: release.to_owned(), architecture: word(), mark: word() }
}

impl Seen {
    /// The Debian release whose packages fit, if any do.
    fn suite(&self, host: &str) -> Result<&str> {
        if self.distribution == "debian" && self.architecture == "amd64" && !self.release.is_empty() {
            return Ok(&self.release);
        }
        let Self { distribution, release, architecture, .. } = self;
        let message =
            format!("{host} runs {distribution} {release} on {architecture}, for which there is no software of a node");
        Err(Refusal::new(Exit::Host, message).hint("use Debian 13 or 12 on amd64").into())
    }
}

#[cfg(test)]
mod tests;
