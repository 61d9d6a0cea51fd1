//! Machines made through libvirt.

mod boot;
mod preflight;
mod specs;
mod store;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use libvirt::{Daemon, DomainState, Hypervisor, HypervisorError, NetworkSummary, Owner};
use tokio::sync::OnceCell;
use topology::{Machine, Topology};

use self::boot::Boot;
use self::store::Store;
use super::tunnel::{self, Forward, Remote};
use super::{Infrastructure, Power, Report, Stream, Survey};
use crate::allocate::{self, Site};
use crate::config::Config;
use crate::desired::{API_PORT, Desired};
use crate::embedded::select::{Selected, Wanted};
use crate::embedded::{self, EmbeddedHandle, Options};
use crate::exit::{Exit, Refusal};
use crate::image::ContainerPrograms;
use crate::machines;
use crate::state::{Allocations, StateDir};

/// From power on to the host key on the console, on an emulated machine among many.
const BOOT_PATIENCE: Duration = Duration::from_mins(5);
/// How long one attempt to open a connection may take.
const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// What a cluster's `libvirt` says if it has a private daemon.
const EMBEDDED: &str = "embedded";

/// The libvirt side of one cluster.
pub struct Libvirt {
    owner: Owner,
    allocations: Allocations,
    machines: Vec<Machine>,
    /// Nobody asks for them any more, and they may have to start once more.
    leavers: Vec<Machine>,
    balancer: Option<(Ipv4Addr, u16)>,
    authorized_key: String,
    boot: Boot,
    store: Store,
    state: StateDir,
    cache_dir: PathBuf,
    daemon: OnceCell<Selected>,
}

/// Chooses where a new cluster goes; nothing is made.
pub async fn site(topology: &Topology, config: &Config) -> Result<Site> {
    preflight::site(topology, config).await
}

impl Libvirt {
    /// Connects only when asked something.
    pub fn new(desired: &Desired, state: &StateDir, config: &Config) -> Result<Self> {
        let allocations = desired.allocations.clone();
        let owner = Owner { cluster: allocations.name.clone(), id: allocations.id.clone() };
        Ok(Self {
            store: Store::of(&allocations, state, &owner),
            owner,
            machines: desired.machines.iter().map(|desired| desired.machine.clone()).collect(),
            leavers: allocate::leavers_as_made(&desired.topology, &desired.allocations),
            balancer: desired.balancer,
            authorized_key: desired.vault.identity()?.public(),
            boot: Boot::of(desired),
            allocations,
            state: state.clone(),
            cache_dir: config.cache_dir.clone(),
            daemon: OnceCell::new(),
        })
    }

    /// The network as libvirt is asked for it; `nat` if the daemon's host has a world to reach.
    pub fn describe_network(&self, nat: bool) -> Result<machines::Network> {
        specs::network(self, nat)
    }

    /// A machine as libvirt is asked for it.
    pub fn describe_machine(
        &self,
        name: &str,
        kernel: Option<machines::Kernel>,
        kvm: bool,
    ) -> Result<machines::Domain> {
        specs::domain(self, self.machine(name)?, kernel, kvm)
    }

    fn machine(&self, name: &str) -> Result<&Machine> {
        let mut machines = self.machines.iter().chain(&self.leavers);
        machines.find(|machine| machine.name == name).with_context(|| format!("nobody says how large {name} is"))
    }

    fn is_embedded(&self) -> bool {
        self.allocations.libvirt == EMBEDDED
    }

    fn embedded_dir(&self) -> PathBuf {
        self.state.path("embedded")
    }

    fn options(&self) -> Result<Options> {
        embedded_options(&self.embedded_dir())
    }

    /// The daemon; a private one is started if it does not run.
    async fn selected(&self) -> Result<&Selected> {
        let connect = async {
            let wanted = Wanted::parse(&self.allocations.libvirt);
            let selected = embedded::select::connect(&wanted, &self.options()?).await;
            selected.map_err(|error| refuse(error.cure(), error))
        };
        self.daemon.get_or_try_init(|| connect).await
    }

    /// The private daemon, if there is one and it runs.
    fn running_embedded(&self) -> Option<EmbeddedHandle> {
        self.is_embedded().then(|| embedded::find(&self.embedded_dir())).flatten()
    }

    /// What is left of machines while no daemon can be asked: their disks.
    fn survey_disks(&self) -> BTreeMap<String, Power> {
        let present = self.allocations.machines.keys().filter(|name| self.store.disk(name).exists());
        present.map(|name| (name.clone(), Power::Off)).collect()
    }

    fn address(&self, name: &str, port: u16) -> Result<SocketAddr> {
        let machine = self.allocations.machines.get(name).with_context(|| format!("{name} has no address"))?;
        Ok(SocketAddr::from((machine.address, port)))
    }

    /// The host of the daemon, if our machines are behind it.
    fn remote(&self) -> Option<Remote> {
        Remote::parse(&self.allocations.libvirt)
    }

    fn tunnel(&self) -> PathBuf {
        self.state.path("tunnel")
    }

    /// Passes the API's port on the host's loopback to the balancer, or to the only control plane.
    async fn forward_api(&self, embedded: Option<&EmbeddedHandle>) -> Result<()> {
        let Some(forward) = self.api_forward() else { return Ok(()) };
        if let Some(handle) = embedded {
            return embedded::forward(handle, forward.listen, forward.target)
                .await
                .map(drop)
                .map_err(|error| refuse(error.cure(), error));
        }
        match self.remote() {
            Some(remote) => remote.forward(&forward, &self.tunnel()).await,
            None => Ok(()),
        }
    }

    /// The API's port on the host's loopback, and the balancer or the only control plane that it leads to.
    fn api_forward(&self) -> Option<Forward> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, self.allocations.api_port?));
        let target = match self.balancer {
            Some((address, port)) => SocketAddr::from((address, port)),
            None => self.address(&self.machines.first()?.name, API_PORT).ok()?,
        };
        Some(Forward { listen, target })
    }

    /// Whether the API's port is passed on, where it must be, and to where it must be: a balancer may have come or gone.
    fn is_forwarded(&self) -> bool {
        let Some(forward) = self.api_forward() else { return true };
        if self.is_embedded() {
            return embedded::forwarded(&self.embedded_dir(), forward.listen) == Some(forward.target);
        }
        self.remote().is_none() || forward.stands(&self.tunnel())
    }

    /// The network keeps an address for the machine: it may be older than the machine, and then does not know it.
    async fn promise(&self, daemon: &Daemon, name: &str) -> Result<()> {
        let machine = self.allocations.machines.get(name).with_context(|| format!("{name} has no address"))?;
        let network = &self.allocations.network.name;
        Ok(daemon.add_dhcp_host(&self.owner, network, &specs::promise(name, machine)).await?)
    }

    /// A private daemon that was started again knows no domains: they are described to it anew.
    async fn define_and_start(&self, name: &str, kernel: Option<machines::Kernel>) -> Result<()> {
        let daemon = &self.selected().await?.daemon;
        let kvm = daemon.host().await?.kvm;
        let domain = self.describe_machine(name, kernel, kvm)?;
        daemon.define_domain(&self.owner, &domain.to_xml()?).await?;
        Ok(daemon.start_domain(&self.owner, name).await?)
    }
}

#[async_trait]
impl Infrastructure for Libvirt {
    async fn preflight(&self) -> Result<()> {
        preflight::resources(self).await
    }

    async fn survey(&self) -> Result<Survey> {
        let mut image = self.boot.is_prepared(&self.cache_dir);
        // A pool has the plain image only.
        let stocked = !self.is_embedded() || self.boot.is_stocked(&self.cache_dir);
        if self.is_embedded() && self.running_embedded().is_none() {
            return Ok(Survey { image, stocked, network: false, machines: self.survey_disks() });
        }
        let daemon = &self.selected().await?.daemon;
        let (domains, networks) = tokio::try_join!(daemon.domains(&self.owner), daemon.networks(&self.owner))?;
        if image {
            image = self.store.is_stocked(daemon, &self.boot.base(&self.cache_dir).await?).await?;
        }
        let ours = |network: &NetworkSummary| network.name == self.allocations.network.name && network.active;
        let power = |state| if state == DomainState::Running { Power::On } else { Power::Off };
        Ok(Survey {
            image,
            stocked,
            network: networks.iter().any(ours) && self.is_forwarded(),
            machines: domains.into_iter().map(|domain| (domain.name, power(domain.state))).collect(),
        })
    }

    async fn prepare_image(&self, report: Report<'_>) -> Result<()> {
        self.boot.prepare(&self.cache_dir, report).await?;
        if self.is_embedded() {
            self.boot.stock(&self.cache_dir, report).await;
            return Ok(());
        }
        let base = self.boot.base(&self.cache_dir).await?;
        self.store.stock(&self.selected().await?.daemon, &base, report).await
    }

    async fn create_network(&self) -> Result<()> {
        let selected = self.selected().await?;
        // The port first: a network that is up says that this step is done.
        self.forward_api(selected.embedded.as_ref()).await?;
        let network = self.describe_network(selected.embedded.is_none())?;
        Ok(selected.daemon.ensure_network(&self.owner, &network.to_xml()?).await?)
    }

    async fn create_machine(&self, name: &str) -> Result<()> {
        let machine = self.machine(name)?;
        let base = self.boot.base(&self.cache_dir).await?;
        let daemon = &self.selected().await?.daemon;
        self.promise(daemon, name).await?;
        self.store.make_disk(daemon, &base, name, machine.disk.0).await?;
        self.store.put_seed(daemon, name, |path| specs::write_seed(self, machine, path)).await?;
        self.define_and_start(name, self.store.kernel(&base)).await
    }

    async fn stop_machine(&self, name: &str, patience: Duration) -> Result<()> {
        if self.is_embedded() && self.running_embedded().is_none() {
            return Ok(());
        }
        let daemon = &self.selected().await?.daemon;
        match daemon.shutdown_domain(&self.owner, name, patience).await {
            Err(error @ (HypervisorError::StillRunning { .. } | HypervisorError::Operation { .. })) => {
                tracing::debug!("{name} is stopped by force: {error}");
                Ok(daemon.destroy_domain(&self.owner, name).await?)
            }
            asked => Ok(asked?),
        }
    }

    async fn start_machine(&self, name: &str) -> Result<()> {
        let there = self.store.has_disk(&self.selected().await?.daemon, name).await?;
        anyhow::ensure!(there, "the disk of {name} is gone; `provision apply` makes it anew");
        self.define_and_start(name, self.store.kernel(&self.boot.base(&self.cache_dir).await?)).await
    }

    async fn remove_machine(&self, name: &str) -> Result<()> {
        let mut daemon = None;
        if !self.is_embedded() || self.running_embedded().is_some() {
            daemon = Some(&self.selected().await?.daemon);
        }
        if let Some(daemon) = daemon {
            daemon.remove_domain(&self.owner, name).await?;
            if let Some(machine) = self.allocations.machines.get(name) {
                daemon.remove_dhcp_host(&self.owner, &self.allocations.network.name, &machine.mac).await?;
            }
        }
        self.store.remove_files(daemon, name).await
    }

    async fn remove_network(&self) -> Result<()> {
        if self.is_embedded() {
            return Ok(embedded::stop(&self.embedded_dir()).await?);
        }
        tunnel::end_forward(&self.tunnel());
        Ok(self.selected().await?.daemon.remove_network(&self.owner, &self.allocations.network.name).await?)
    }

    async fn remove_store(&self) -> Result<()> {
        if self.is_embedded() { Ok(()) } else { self.store.remove(&self.selected().await?.daemon).await }
    }

    async fn host_key(&self, name: &str) -> Result<String> {
        let key = self.store.host_key(&self.selected().await?.daemon, name, BOOT_PATIENCE).await;
        key.with_context(|| format!("{name} does not say who it is"))
    }

    async fn console(&self, name: &str) -> Result<Vec<u8>> {
        if self.is_embedded() {
            let path = self.store.console(name);
            return match std::fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                read => read.with_context(|| format!("cannot read {}", path.display())),
            };
        }
        self.store.read_console(&self.selected().await?.daemon, name, 0).await
    }

    async fn dial(&self, name: &str, port: u16) -> Result<Stream> {
        let address = self.address(name, port)?;
        let context = || format!("{name} ({address}) cannot be reached");
        if self.is_embedded() {
            let handle = self
                .running_embedded()
                .with_context(|| format!("the private libvirt daemon of {} does not run", self.owner.cluster))?;
            return Ok(Box::new(embedded::connect_tcp(&handle, address, DIAL_PATIENCE).await.with_context(context)?));
        }
        if let Some(remote) = self.remote() {
            return Ok(Box::new(remote.dial(address).with_context(context)?));
        }
        let stream = tokio::time::timeout(DIAL_PATIENCE, tokio::net::TcpStream::connect(address)).await;
        Ok(Box::new(stream.with_context(context)?.with_context(context)?))
    }

    fn container_programs(&self) -> Option<ContainerPrograms> {
        self.boot.container_programs(&self.cache_dir)
    }

    fn has_node_software(&self) -> bool {
        !self.boot.is_cloud()
    }
}

fn embedded_options(dir: &Path) -> Result<Options> {
    Ok(Options {
        dir: dir.to_owned(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        arguments: vec!["embedded-supervisor".into()],
    })
}

/// An error of this host, with the cure that its source knows.
fn refuse(cure: Option<String>, error: impl Into<anyhow::Error>) -> anyhow::Error {
    let refusal = Refusal::new(Exit::Host, format!("{:#}", error.into()));
    match cure {
        Some(cure) => refusal.hint(cure).into(),
        None => refusal.into(),
    }
}

#[cfg(test)]
mod tests;
