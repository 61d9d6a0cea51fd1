//! The node image: Debian with everything a Kubernetes machine needs, made once and shared by all machines.
//!
//! Nothing in it is secret and nothing tells two machines apart: the SSH host key, the machine id and the
//! random seed are made by each machine for itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Listener, Progress, debian, files, lock};

mod initrd;
mod rootfs;
pub(super) mod tool;

pub use tool::BuildError;

/// What the kernel is told: no boot loader passes anything on.
///
/// The list of security modules is Debian's without those that nothing here uses; without `bpf` in it systemd
/// does not compile programs at each boot.
pub const KERNEL_COMMAND_LINE: &str = "root=/dev/vda rw console=ttyS0 quiet loglevel=4 net.ifnames=0 systemd.show_status=auto \
     lsm=landlock,lockdown,yama,apparmor cryptomgr.notests rcupdate.rcu_expedited=1";

/// Room that a build needs beside what it leaves behind.
const NEEDED_BYTES: u64 = 3 << 30;

const STEPS: usize = 5;

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The Debian release.
    pub suite: String,
    /// Where packages come from; the machine's own mirror if absent.
    pub mirror: Option<String>,
    /// Packages beside those that every node has.
    pub extra_packages: Vec<String>,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self { suite: debian::SUITE.to_owned(), mirror: None, extra_packages: Vec::new() }
    }
}

/// An image that is whole and may be used by any number of machines at once.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeImage {
    /// The root disk, raw, without a partition table; machines get overlays over it.
    pub disk: PathBuf,
    /// The kernel that machines are started with.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// Layer of the etcd container image, made of the packages of this image.
    pub etcd_layer: PathBuf,
    /// Layer of the kube-proxy container image with the programs that it calls.
    pub netfilter_layer: PathBuf,
    /// What its inputs hash to.
    pub hash: String,
    /// What it is made of, for a person and for bug reports.
    pub manifest: Manifest,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The Debian release.
    pub suite: String,
    /// The kernel's version.
    pub kernel: String,
    /// How long the build took.
    pub build_seconds: f64,
    /// Every package with its version.
    pub packages: Vec<String>,
}

impl ImageSpec {
    /// The hash that names the image: everything it is made from except the packages' versions.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(files::FORMAT);
        add(&self.suite);
        for package in self.packages() {
            add(package);
        }
        for file in files::FILES {
            add(file.path);
            add(&format!("{:o}", file.mode));
            add(&file.rendered());
        }
        for (target, unit) in files::ENABLED {
            add(target);
            add(unit);
        }
        add(files::INIT);
        for list in [
            files::MASKED,
            files::INITRD_MODULES,
            files::SILENCED_GENERATORS,
            files::REMOVED,
            files::EXCLUDED_PATHS,
            files::ETCD_PROGRAMS,
            files::NETFILTER_PROGRAMS,
        ] {
            for item in list {
                add(item);
            }
        }
        hex::encode(&hash.finalize()[..8])
    }

    fn packages(&self) -> Vec<&str> {
        let mut all: Vec<&str> = files::PACKAGES.to_vec();
        all.extend(self.extra_packages.iter().map(String::as_str));
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl NodeImage {
    /// The image in its directory, if it is whole.
    fn open(dir: &Path, hash: String) -> Option<Self> {
        let text = std::fs::read(dir.join("manifest.json")).ok()?;
        Some(Self {
            disk: dir.join("disk.raw"),
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd.img"),
            etcd_layer: dir.join("etcd.tar"),
            netfilter_layer: dir.join("netfilter.tar"),
            hash,
            manifest: serde_json::from_slice(&text).ok()?,
        })
    }
}

/// The image for `spec` if it was made before.
pub fn cached(spec: &ImageSpec, cache_dir: &Path) -> Option<NodeImage> {
    let hash = spec.hash();
    NodeImage::open(&images(cache_dir).join(&hash), hash)
}

/// The image for `spec`: found in the cache, or made, which takes about a minute and needs root.
pub async fn build(spec: &ImageSpec, cache_dir: &Path, listener: Listener<'_>) -> Result<NodeImage, BuildError> {
    if let Some(image) = cached(spec, cache_dir) {
        return Ok(image);
    }
    let images = images(cache_dir);
    let waiting = || listener(Progress::Detail("waiting for another build of an image".into()));
    let held = lock::take(&images.join(".lock"), waiting).await;
    let _held = held.map_err(|source| BuildError::File { path: images.clone(), source })?;
    if let Some(image) = cached(spec, cache_dir) {
        return Ok(image);
    }
    let hash = spec.hash();
    let draft = images.join(format!(".draft-{hash}"));
    tool::remove_tree(&draft)?;
    let made = make(spec, &draft, listener).await;
    // A root file system of half a gigabyte is not left behind, whether it was of use or not.
    tool::remove_tree(&draft.join("root"))?;
    if let Err(error) = made {
        tool::remove_tree(&draft)?;
        return Err(error);
    }
    let place = images.join(&hash);
    let moved = std::fs::rename(&draft, &place);
    moved.map_err(|source| BuildError::File { path: place.clone(), source })?;
    NodeImage::open(&place, hash).ok_or(BuildError::Incomplete { path: place })
}

fn images(cache_dir: &Path) -> PathBuf {
    cache_dir.join("images")
}

async fn make(spec: &ImageSpec, draft: &Path, listener: Listener<'_>) -> Result<(), BuildError> {
    let began = Instant::now();
    let step = |number, title: &str| listener(Progress::Step { number, of: STEPS, title: title.to_owned() });
    check_host(draft)?;
    let own = debian::mirror(Path::new("/etc/apt"));
    let mirror = spec.mirror.clone().or(own).ok_or(BuildError::NoMirror)?;
    let root = draft.join("root");

    step(1, "Debian packages");
    rootfs::bootstrap(spec, &spec.packages(), &mirror, &root, listener).await?;
    step(2, "configuration of a node");
    rootfs::configure(&root)?;
    step(3, "programs for containers");
    rootfs::write_layer(&root, files::ETCD_PROGRAMS, &draft.join("etcd.tar")).await?;
    rootfs::write_layer(&root, files::NETFILTER_PROGRAMS, &draft.join("netfilter.tar")).await?;
    let packages = rootfs::packages(&root).await?;
    step(4, "kernel");
    let kernel = rootfs::take_kernel(&root, draft).await?;
    step(5, "disk");
    rootfs::write_disk(&root, &draft.join("disk.raw")).await?;

    let build_seconds = began.elapsed().as_secs_f64();
    let manifest = Manifest { suite: spec.suite.clone(), kernel, build_seconds, packages };
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has only strings and a number");
    tool::write(&draft.join("manifest.json"), &text, 0o644)
}

/// Everything that can be known to fail before a minute is spent.
fn check_host(draft: &Path) -> Result<(), BuildError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BuildError::NotRoot);
    }
    for (program, package) in [("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs")] {
        if !tool::is_installed(program) {
            return Err(BuildError::NoTool { program, package });
        }
    }
    std::fs::create_dir_all(draft).map_err(|source| BuildError::File { path: draft.to_owned(), source })?;
    let free = tool::free_bytes(draft)?;
    if free < NEEDED_BYTES {
        return Err(BuildError::NoSpace {
            path: draft.to_owned(),
            free_mib: free >> 20,
            needed_mib: NEEDED_BYTES >> 20,
        });
    }
    Ok(())
}

/// How long no tool may stay silent before it is taken for hung.
const SILENCE: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests;
