//! From names and files on the command line to a cluster that can be worked with.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use pki::CertificateAuthority;
use pki::control_plane::Authority;
use tokio::sync::OnceCell;
use topology::Topology;

use crate::allocate;
use crate::config::Config;
use crate::context::{Context, Ledger};
use crate::desired::{Components, Desired};
use crate::exit::{Exit, Refusal};
use crate::lifecycle::{departures, mark};
use crate::lock::Allocating;
use crate::progress::{Progress, Silent};
use crate::state::{Allocations, StateDir, write_private};
use crate::timings::Timeline;
use crate::world::api::KubeApi;
use crate::world::etcd::GatewayMembers;
use crate::world::existing::{self, Existing};
use crate::world::hosts::SshHosts;
use crate::world::libvirt::{self, Libvirt};
use crate::world::{Drain, Hosts, Infrastructure};

/// A cluster that can be brought to what its topology asks for; nothing of that is written down yet.
pub(super) struct Prepared {
    /// What phases work with.
    pub(super) context: Context,
    /// Held until what was allocated is kept.
    allocating: Mutex<Option<Allocating>>,
}

impl Prepared {
    /// Keeps what is asked for, what was allocated and the secrets. Doing it twice is doing it once.
    pub(super) fn keep(&self) -> Result<()> {
        let Context { desired, state, ledger, .. } = &self.context;
        state.create()?;
        // The topology first: whoever finds allocations must be able to take the cluster down.
        write_private(&state.path("topology.yaml"), desired.topology.to_yaml().as_bytes())?;
        // What the run has learnt meanwhile stands in the ledger.
        ledger.save()?;
        drop(self.allocating.lock().unwrap_or_else(PoisonError::into_inner).take());
        desired.vault.save(state)?;
        write_private(&state.path("kubeconfig"), desired.kubeconfig.as_bytes())?;
        // What is asked for is a cluster that runs.
        state.set_stopped(false)?;
        self.context.timeline.mark("pki");
        Ok(())
    }
}

/// Reads and checks a topology file; `-` is standard input.
pub(super) fn read_topology(file: &Path) -> Result<Topology> {
    Ok(Topology::parse(&file.display().to_string(), &read_text(file)?)?)
}

/// Reads and checks a topology file, also against the cluster of its name, if there is one.
pub(super) fn read_wish(file: &Path, config: &Config) -> Result<Topology> {
    check_wish(&file.display().to_string(), &read_text(file)?, config)
}

/// Checks a topology, also against the cluster of its name, if there is one; `file` names it in errors.
pub(super) fn check_wish(file: &str, text: &str, config: &Config) -> Result<Topology> {
    let topology = Topology::parse(file, text)?;
    let state = StateDir::new(&config.state_dir, topology.name());
    if state.allocations()?.is_none() {
        return Ok(topology);
    }
    Ok(Topology::parse_successor(file, text, &saved_topology(&state)?)?)
}

/// The topology that a cluster was last brought to.
pub(super) fn saved_topology(state: &StateDir) -> Result<Topology> {
    let path = state.path("topology.yaml").display().to_string();
    let refuse = |what: String| {
        Refusal::new(Exit::Failed, what)
            .hint("put the file there that the cluster was made from, or `provision destroy` the cluster")
    };
    let text = state.topology()?.ok_or_else(|| refuse(format!("{path} is missing")))?;
    Topology::parse(&path, &text).map_err(|error| refuse(format!("what the cluster is cannot be read: {error}")).into())
}

fn read_text(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    if let Err(error) = read {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        return Err(Refusal::new(exit, format!("cannot read {}: {error}", file.display())).into());
    }
    Ok(text)
}

/// The name of a cluster from its name or from its topology file.
pub(super) fn cluster_name(argument: &str) -> Result<String> {
    let path = Path::new(argument);
    if argument.contains('/') || path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
        return Ok(read_topology(path)?.name().to_owned());
    }
    let is_label = argument.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if argument.is_empty() || !is_label {
        return Err(Refusal::new(Exit::NotFound, format!("{argument:?} cannot be the name of a cluster")).into());
    }
    Ok(argument.to_owned())
}

/// The state of a cluster that was applied before.
pub(super) fn state_of(name: &str, config: &Config) -> Result<StateDir> {
    let state = StateDir::new(&config.state_dir, name);
    // What cannot be understood is refused before anything else is looked at.
    if state.allocations()?.is_some() { Ok(state) } else { Err(no_cluster(name).into()) }
}

/// There is no such cluster.
pub(super) fn no_cluster(name: &str) -> Refusal {
    Refusal::new(Exit::NotFound, format!("there is no cluster {name}")).hint("`provision list` shows those there are")
}

/// The machine that was named, or the only one there is.
pub(super) fn machine_name(state: &StateDir, named: Option<&str>) -> Result<String> {
    let allocations = state.allocations()?.context("the cluster has no state")?;
    let known: Vec<&String> = allocations.machines.keys().collect();
    let listed = known.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    match (named, known.as_slice()) {
        (Some(name), _) if allocations.machines.contains_key(name) => Ok(name.to_owned()),
        // `worker-1` is short for `lab-worker-1`.
        (Some(name), _) if allocations.machines.contains_key(&format!("{}-{name}", allocations.name)) => {
            Ok(format!("{}-{name}", allocations.name))
        }
        (Some(name), _) => Err(Refusal::new(Exit::NotFound, format!("there is no machine {name}"))
            .hint(format!("there are: {listed}"))
            .into()),
        (None, [only]) => Ok((*only).clone()),
        (None, _) => Err(Refusal::new(Exit::Usage, "there is more than one machine")
            .hint(format!("name one of: {listed}"))
            .into()),
    }
}

/// A cluster to be worked on as the topology asks.
pub(super) async fn for_apply(topology: Topology, config: &Config, progress: Arc<dyn Progress>) -> Result<Prepared> {
    let state = StateDir::new(&config.state_dir, topology.name());
    let new = state.allocations()?.is_none();
    let allocating = if new { Some(Allocating::take(&config.state_dir).await?) } else { None };
    let allocations = allocations(&topology, &state, config).await?;
    let components = Components::read(&config.components()?)?;
    let context = settled(context(topology, allocations, components, &state, (config, progress))?, config).await?;
    context.infrastructure.preflight().await?;
    Ok(Prepared { context, allocating: Mutex::new(allocating) })
}

/// A cluster to be looked at; nothing is written.
pub(super) async fn for_plan(topology: Topology, config: &Config) -> Result<Context> {
    let state = StateDir::new(&config.state_dir, topology.name());
    let allocations = allocations(&topology, &state, config).await?;
    let components = Components::read(&config.components()?)?;
    let context = context(topology, allocations, components, &state, (config, Arc::new(Silent)))?;
    if context.desired.allocations.hosts.is_some() {
        // Whether somebody's machine may become ours is no matter of resources, which change until the plan is carried out.
        context.infrastructure.preflight().await?;
    }
    settled(context, config).await
}

/// A cluster as it was last asked for.
pub(super) fn existing(name: &str, config: &Config, progress: Arc<dyn Progress>) -> Result<Context> {
    let state = state_of(name, config)?;
    let mut allocations = state.allocations()?.ok_or_else(|| no_cluster(name))?;
    let topology = saved_topology(&state)?;
    // The run that asked for more machines may have been killed before it gave them addresses.
    allocate::extend(&mut allocations, &topology)?;
    // What was installed does not matter to those who only look, or take down.
    let components = match config.components() {
        Ok(file) => Components::read(&file)?,
        Err(_) => Components { hyperkube: std::path::PathBuf::new(), tag: "none".to_owned() },
    };
    context(topology, allocations, components, &state, (config, progress))
}

/// A cluster that shall go. What it was given says what goes: neither its topology nor its secrets are needed for that.
pub(super) fn for_removal(name: &str, config: &Config, progress: &Arc<dyn Progress>) -> Result<Context> {
    let state = state_of(name, config)?;
    let allocations = state.allocations()?.ok_or_else(|| no_cluster(name))?;
    let error = match existing(name, config, Arc::clone(progress)) {
        Ok(context) => return Ok(context),
        Err(error) => error,
    };
    super::note(&format!("{error:#}; what it was given is enough to take it down"));
    let topology = existing::stand_in(name, allocations.hosts.as_ref())?;
    let mut extended = allocations.clone();
    allocate::extend(&mut extended, &topology)?;
    let components = Components { hyperkube: std::path::PathBuf::new(), tag: "none".to_owned() };
    // Secrets are made anew, in memory only: nothing is asked of the machines.
    let nowhere = StateDir::new(&state.path("none"), name);
    let desired = Desired::new(topology, extended, components, &nowhere)?;
    assemble(desired, &state, config, Arc::clone(progress))
}

/// The same cluster with those machines marked that go, where fewer are asked for; the marks are kept with the rest.
async fn settled(context: Context, config: &Config) -> Result<Context> {
    let departures = departures(&context).await?;
    if departures.is_empty() {
        return Ok(context);
    }
    let Desired { topology, allocations, components, .. } = &*context.desired;
    let mut allocations = allocations.clone();
    mark(&mut allocations, departures);
    self::context(topology.clone(), allocations, components.clone(), &context.state, (config, context.progress))
}

async fn allocations(topology: &Topology, state: &StateDir, config: &Config) -> Result<Allocations> {
    let mut allocations = if let Some(kept) = state.allocations()? {
        kept
    } else {
        let site = match existing::of(topology) {
            Some(hosts) => existing::site(hosts),
            None => libvirt::site(topology, config).await?,
        };
        allocate::fresh(topology, &site)
    };
    allocate::extend(&mut allocations, topology)?;
    existing::choose_port(&mut allocations)?;
    Ok(allocations)
}

fn context(
    topology: Topology,
    allocations: Allocations,
    components: Components,
    state: &StateDir,
    (config, progress): (&Config, Arc<dyn Progress>),
) -> Result<Context> {
    assemble(Desired::new(topology, allocations, components, state)?, state, config, progress)
}

fn assemble(desired: Desired, state: &StateDir, config: &Config, progress: Arc<dyn Progress>) -> Result<Context> {
    let ledger = Arc::new(Ledger::new(state, desired.allocations.clone()));
    let (infrastructure, hosts): (Arc<dyn Infrastructure>, Arc<dyn Hosts>) = if desired.allocations.hosts.is_some() {
        let existing = Existing::new(&desired, state, config)?;
        let hosts = existing.ways();
        (Arc::new(existing), hosts)
    } else {
        let machines = Arc::new(Libvirt::new(&desired, state, config)?);
        let hosts = SshHosts::new(machines.clone(), Arc::clone(&ledger), desired.vault.identity()?, "root");
        (machines, Arc::new(hosts))
    };
    let authority = desired.vault.authority(Authority::Etcd).to_pem();
    let authority = CertificateAuthority::from_pem(&authority.cert_pem, &authority.key_pem)?;
    let etcd = GatewayMembers::new(infrastructure.clone(), authority);
    let cluster = KubeApi::new(&desired.kubeconfig, infrastructure.clone(), desired.control_planes());
    Ok(Context {
        desired: Arc::new(desired),
        state: state.clone(),
        cache_dir: config.cache_dir.clone(),
        infrastructure,
        etcd: Arc::new(etcd),
        hosts,
        cluster: Arc::new(cluster),
        drain: Drain::default(),
        progress,
        timeline: Timeline::default(),
        ledger,
        images: OnceCell::new(),
    })
}

#[cfg(test)]
mod tests;
