//! Node software as Debian packages, for machines that come without it and reach no archive themselves.
//!
//! A set is a folder with every package of the closure, down to the C library, and an index for apt: the machine's own
//! apt then takes what it lacks and nothing else. Container images need programs too; see [`ContainerPrograms`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::build::tool::{self, BuildError};
use super::{Listener, Progress, debian, lock};

mod programs;

pub use programs::ContainerPrograms;

/// Changes when the way a set is made changes.
const FORMAT: &str = "packages/1";

/// What a Node needs.
pub const NODE: &[&str] = &["containerd", "runc", "containernetworking-plugins", "nftables", "iptables", "conntrack"];

/// What an etcd member on a machine of its own needs.
pub const ETCD: &[&str] = &["etcd-server", "etcd-client"];

/// What a load balancer needs.
pub const BALANCER: &[&str] = &["haproxy", "keepalived"];

const STEPS: usize = 3;

/// Which packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSpec {
    /// The Debian release that the machines run.
    pub suite: String,
    /// Where packages come from; this machine's own mirror if absent.
    pub mirror: Option<String>,
}

/// A set that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSet {
    /// Its folder: the packages, and their index `Packages`.
    pub dir: PathBuf,
    /// The Debian release.
    pub suite: String,
    /// What its inputs hash to.
    pub hash: String,
}

impl Default for PackageSpec {
    fn default() -> Self {
        Self { suite: debian::SUITE.to_owned(), mirror: None }
    }
}

impl PackageSpec {
    /// The hash that names the set: everything it is made from except the packages' versions.
    pub fn hash(&self) -> String {
        let mut parts = vec![FORMAT, &self.suite];
        for package in all() {
            parts.push(package);
        }
        hex::encode(&Sha256::digest(parts.join("\n").as_bytes())[..8])
    }
}

impl PackageSet {
    /// The index for apt.
    pub fn index(&self) -> PathBuf {
        self.dir.join("Packages")
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    NODE.iter().chain(ETCD).chain(BALANCER).copied()
}

fn place(spec: &PackageSpec, cache_dir: &Path) -> PathBuf {
    cache_dir.join("packages").join(format!("{}-{}", spec.suite, spec.hash()))
}

/// The set for `spec` if it was fetched before.
pub fn cached(spec: &PackageSpec, cache_dir: &Path) -> Option<PackageSet> {
    let dir = place(spec, cache_dir);
    dir.join("Packages").exists().then(|| PackageSet { dir, suite: spec.suite.clone(), hash: spec.hash() })
}

/// The set for `spec`: found in the cache, or fetched with apt, which checks the archive's signature.
pub async fn fetch(spec: &PackageSpec, cache_dir: &Path, listener: Listener<'_>) -> Result<PackageSet, BuildError> {
    if let Some(set) = cached(spec, cache_dir) {
        return Ok(set);
    }
    let dir = place(spec, cache_dir);
    let waiting = || listener(Progress::Detail("waiting for another download of packages".into()));
    let held = lock::take(&dir.with_extension("lock"), waiting).await;
    let _held = held.map_err(|source| BuildError::File { path: dir.clone(), source })?;
    if let Some(set) = cached(spec, cache_dir) {
        return Ok(set);
    }
    let draft = dir.with_extension("draft");
    tool::remove_tree(&draft)?;
    let made = make(spec, &draft, listener).await;
    if let Err(error) = made {
        tool::remove_tree(&draft)?;
        return Err(error);
    }
    let moved = std::fs::rename(draft.join("archives"), &dir);
    moved.map_err(|source| BuildError::File { path: dir.clone(), source })?;
    tool::remove_tree(&draft)?;
    cached(spec, cache_dir).ok_or(BuildError::Incomplete { path: dir })
}

async fn make(spec: &PackageSpec, draft: &Path, listener: Listener<'_>) -> Result<(), BuildError> {
    let step = |number, title: &str| listener(Progress::Step { number, of: STEPS, title: title.to_owned() });
    for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg")] {
        if !tool::is_installed(program) {
            return Err(BuildError::NoTool { program, package });
        }
    }
    let own = debian::mirror(Path::new("/etc/apt"));
    let mirror = spec.mirror.clone().or(own).ok_or(BuildError::NoMirror)?;
    let apt = Apt::new(draft)?;
    step(1, "index of packages");
    apt.update(&mirror, &spec.suite, listener).await?;
    step(2, "packages");
    let download = ["install", "--yes", "--download-only"].into_iter().chain(all());
    apt.run(download, &mirror, listener).await?;
    let archives = draft.join("archives");
    for left in ["lock", "partial"] {
        tool::remove_tree(&archives.join(left)).or_else(|_| remove_file(&archives.join(left)))?;
    }
    step(3, "programs for containers");
    programs::write(&apt, &archives).await?;
    let index = index(&archives).await?;
    tool::write(&archives.join("Packages"), index.as_bytes(), 0o644)
}

fn remove_file(path: &Path) -> Result<(), BuildError> {
    std::fs::remove_file(path).map_err(|source| BuildError::File { path: path.to_owned(), source })
}

/// The index of the packages of a folder, as apt reads it.
async fn index(archives: &Path) -> Result<String, BuildError> {
    let mut text = String::new();
    for package in packages(archives)? {
        let bytes = std::fs::read(&package).map_err(|source| BuildError::File { path: package.clone(), source })?;
        let mut command = Command::new("dpkg-deb");
        let control = tool::output("dpkg-deb", command.arg("--field").arg(&package)).await?;
        let name = package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hash = hex::encode(Sha256::digest(&bytes));
        let _ = writeln!(text, "{}\nFilename: ./{name}\nSize: {}\nSHA256: {hash}\n", control.trim_end(), bytes.len());
    }
    Ok(text)
}

/// The packages of a folder, by name.
fn packages(archives: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let failed = |source| BuildError::File { path: archives.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(archives).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// An apt that knows of no installed package and leaves this machine's own alone.
struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self, BuildError> {
        for folder in ["lists/partial", "archives/partial", "etc"] {
            let path = dir.join(folder);
            std::fs::create_dir_all(&path).map_err(|source| BuildError::File { path, source })?;
        }
        let path = dir.display();
        let config = format!(
            "Dir::State \"{path}\";\nDir::State::lists \"{path}/lists\";\nDir::State::status \"{path}/status\";
Dir::Cache \"{path}\";\nDir::Cache::archives \"{path}/archives\";\nDir::Etc \"{path}/etc\";
Dir::Etc::sourcelist \"{path}/sources.list\";\nDir::Etc::trustedparts \"/etc/apt/trusted.gpg.d\";
Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{path}/etc\";
APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Install-Recommends \"false\";
APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\nAcquire::http::Timeout \"30\";\n"
        );
        tool::write(&dir.join("status"), b"", 0o644)?;
        tool::write(&dir.join("apt.conf"), config.as_bytes(), 0o644)?;
        Ok(Self { dir: dir.to_owned(), config: dir.join("apt.conf") })
    }

    async fn update(&self, mirror: &str, suite: &str, listener: Listener<'_>) -> Result<(), BuildError> {
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let options =
            if Path::new(keyring).exists() { format!("deb [signed-by={keyring}] ") } else { "deb ".to_owned() };
        let sources = debian::sources(mirror, suite).join("\n").replace("deb ", &options);
        tool::write(&self.dir.join("sources.list"), format!("{sources}\n").as_bytes(), 0o644)?;
        self.run(["update", "--error-on=any"], mirror, listener).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C.UTF-8").arg("--quiet");
        command
    }

    async fn run<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        mirror: &str,
        listener: Listener<'_>,
    ) -> Result<(), BuildError> {
        let made = tool::run("apt-get", self.command().args(arguments), listener).await;
        made.map_err(|error| error.explain(mirror))
    }
}

#[cfg(test)]
mod tests;
