//! What this machine lacks for building clusters, and how to mend it. Data only: the caller shows it.

use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use libvirt::{Daemon, Hypervisor};
use serde::Serialize;

use crate::config::Config;
use crate::embedded::kvm::{self, Kvm};
use crate::embedded::select::{SYSTEM, Wanted};

mod checks;
mod host;

pub use checks::CHECKS;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// A cluster can be built, with a drawback.
    Warning,
    /// No cluster can be built.
    Failure,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, for programs.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen, for a person.
    pub detail: String,
    /// What to do; always there unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// What the machine is to be fit for.
#[derive(Debug, Clone)]
pub struct Needs {
    /// Which libvirt daemon.
    pub libvirt: Wanted,
    /// Where images are kept.
    pub cache_dir: PathBuf,
    /// Where machines' disks are kept.
    pub state_dir: PathBuf,
    /// The range for machines; a free one is looked for if absent.
    pub subnet: Option<Ipv4Net>,
    /// Memory of all machines together.
    pub memory_mib: u64,
}

/// Everything the checks look at, gathered once.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What is needed.
    pub needs: Needs,
    /// The calling user is root.
    pub root: bool,
    /// Programs that are installed, by path.
    pub programs: Vec<PathBuf>,
    /// Whether guests run on the CPU.
    pub kvm: Kvm,
    /// What the libvirt daemon says, or why it does not; nothing if a private one would be started.
    pub libvirt: Option<Result<String, (String, Option<String>)>>,
    /// Free MiB below the cache and the state directory.
    pub free_disk_mib: [Option<u64>; 2],
    /// Processors.
    pub cpus: usize,
    /// Memory that can be had, in MiB.
    pub available_memory_mib: u64,
    /// Ranges in use.
    pub routes: Vec<Ipv4Net>,
    /// A Debian mirror is known.
    pub mirror: Option<String>,
    /// The kernel can have namespaces, bridges and tun devices.
    pub missing_kernel_features: Vec<&'static str>,
}

/// What all checks found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One finding a check, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether a cluster can be built.
    pub fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| finding.outcome != Outcome::Failure)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.findings.iter().enumerate() {
            let word = match finding.outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "warning",
                Outcome::Failure => "FAILURE",
            };
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{word:<8} {:<12} {}", finding.check, finding.detail)?;
            if let Some(cure) = &finding.cure {
                write!(f, "\n{:21} cure: {cure}", "")?;
            }
        }
        Ok(())
    }
}

impl From<&Config> for Needs {
    /// What any cluster needs, whatever its topology says.
    fn from(config: &Config) -> Self {
        let (cache_dir, state_dir) = (config.cache_dir.clone(), config.state_dir.clone());
        Self { libvirt: Wanted::Auto, cache_dir, state_dir, subnet: None, memory_mib: 2048 }
    }
}

/// Looks at this machine; changes nothing and starts nothing that stays.
pub async fn examine(needs: impl Into<Needs>) -> Report {
    let facts = gather(needs.into()).await;
    Report { findings: CHECKS.iter().map(|check| check(&facts)).collect() }
}

async fn gather(needs: Needs) -> Facts {
    let libvirt = match &needs.libvirt {
        Wanted::Embedded => None,
        Wanted::Auto => greet(SYSTEM).await.ok().map(Ok),
        Wanted::Uri(uri) => Some(greet(uri).await),
    };
    Facts {
        root: nix::unistd::geteuid().is_root(),
        programs: host::programs(),
        kvm: kvm::probe().await,
        libvirt,
        free_disk_mib: [host::free_mib(&needs.cache_dir), host::free_mib(&needs.state_dir)],
        cpus: host::cpus(),
        available_memory_mib: host::available_memory_mib(),
        routes: libvirt::subnet::host_routes().unwrap_or_default(),
        mirror: crate::image::debian::mirror(Path::new("/etc/apt")),
        missing_kernel_features: host::missing_kernel_features(),
        needs,
    }
}

/// What a daemon says about its host, or why it cannot be asked.
async fn greet(uri: &str) -> Result<String, (String, Option<String>)> {
    let daemon = Daemon::connect(uri).await.map_err(|e| (with_causes(&e), e.cure()))?;
    let host = daemon.host().await.map_err(|e| (with_causes(&e), e.cure()))?;
    Ok(format!("{uri} on {}: QEMU {}, {} CPUs", host.hostname, host.hypervisor_version, host.cpus))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
