//! Machines that exist already: reached by SSH with keys that the topology pins, directly or through a bastion.
//!
//! To make a machine is to claim it: it is checked to be who it should be and nobody else's, and gets our mark. To remove
//! it is to take back what we brought. Nothing is switched on or off.

mod facts;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures::future::join_all;
use ipnet::Ipv4Net;
use ssh::{File, Host as _, Script};
use topology::Topology;
use topology::spec::Hosts;

use self::facts::Facts;
use self::ways::Ways;
use super::tunnel::{self, Forward};
use super::{Infrastructure, Power, Report, Stream, Survey};
use crate::allocate::Site;
use crate::config::Config;
use crate::desired::{API_PORT, Desired, ports};
use crate::exit::{Exit, Refusal, classify};
use crate::image::packages::{self, PackageSpec};
use crate::image::{ContainerPrograms, tell};
use crate::software;
use crate::state::{Allocations, StateDir, private_dir, write_private};

/// What a cluster's `libvirt` says if its machines are not made through libvirt.
const HOSTS: &str = "hosts";
const CLAIM: &str = include_str!("../../../../templates/software/claim.sh");

/// The existing machines of one cluster.
pub struct Existing {
    /// What a claimed machine keeps: the cluster's id and its name.
    mark: String,
    ways: Arc<Ways>,
    /// Machines that the topology names, each with the ports that it needs; the others are on their way out.
    named: BTreeMap<String, Vec<(u16, &'static str)>>,
    /// Machines that are given up as they are.
    abandoned: Mutex<BTreeSet<String>>,
    state: StateDir,
    cache_dir: PathBuf,
    api: Option<Forward>,
}

/// The hosts of a topology, if it has any.
pub fn of(topology: &Topology) -> Option<&Hosts> {
    topology.cluster().spec.infrastructure.hosts.as_ref()
}

/// Where a new cluster of existing machines goes; nothing is made.
pub fn site(hosts: &Hosts) -> Site {
    let first = hosts.machines.iter().find_map(|host| match host.address {
        IpAddr::V4(address) => Some(Ipv4Net::from(address)),
        IpAddr::V6(_) => None,
    });
    // Nobody chooses addresses for these machines; the range is only shown.
    let subnet = first.unwrap_or_default();
    Site { id: uuid::Uuid::new_v4(), libvirt: HOSTS.to_owned(), subnet, api_port: None, emulated: false }
}

/// Chooses the loopback port of the API for machines behind a bastion, once.
pub fn choose_port(allocations: &mut Allocations) -> Result<()> {
    let bastion = allocations.hosts.as_ref().is_some_and(|hosts| hosts.bastion.is_some());
    if bastion && allocations.api_port.is_none() {
        allocations.api_port = Some(tunnel::free_port(&[])?);
    }
    Ok(())
}

/// The key that logs in to the hosts; `~` is the home of whoever runs us.
pub fn identity_file(hosts: &Hosts) -> PathBuf {
    ways::identity_file(hosts)
}

/// A topology that is enough to take a cluster down whose own cannot be read.
pub fn stand_in(name: &str, hosts: Option<&Hosts>) -> Result<Topology> {
    let text = format!("apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {name}}}\n");
    let topology = Topology::parse("the name of the cluster", &text)?;
    let Some(hosts) = hosts else { return Ok(topology) };
    let mut hosts = hosts.clone();
    hosts.machines.retain(|host| host.role == "control-plane");
    hosts.machines.truncate(1);
    Ok(topology.with("what the cluster was given", |cluster| cluster.spec.infrastructure.hosts = Some(hosts))?)
}

impl Existing {
    /// Connects only when asked something.
    pub fn new(desired: &Desired, state: &StateDir, config: &Config) -> Result<Self> {
        let allocations = &desired.allocations;
        let hosts = allocations.hosts.as_ref().context("the cluster has no hosts")?;
        let control_plane = desired.control_planes().into_iter().next();
        let control_plane = control_plane.and_then(|name| Some((allocations.machines.get(&name)?.address, API_PORT)));
        let api = allocations.api_port.zip(desired.balancer.or(control_plane)).map(|(port, target)| Forward {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            target: target.into(),
        });
        Ok(Self {
            mark: format!("{} {}", allocations.id, allocations.name),
            ways: Arc::new(Ways::new(hosts, state)?),
            named: desired
                .machines
                .iter()
                .map(|it| (it.machine.name.clone(), ports(&desired.topology, &it.machine.role)))
                .collect(),
            abandoned: Mutex::default(),
            state: state.clone(),
            cache_dir: config.cache_dir.clone(),
            api,
        })
    }

    /// The same connections for those who work on the machines.
    pub fn ways(&self) -> Arc<dyn super::Hosts> {
        self.ways.clone()
    }

    /// Remembers here that a machine was claimed, for when it cannot be asked.
    fn claim(&self, name: &str) -> PathBuf {
        self.state.path("claims").join(name)
    }

    fn give_up(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.claim(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot forget a claim"),
            _ => Ok(()),
        }
    }

    fn tunnel(&self) -> PathBuf {
        self.state.path("tunnel")
    }

    async fn facts(&self, name: &str) -> Result<Facts> {
        let said = self.ways.shared(name).await?.run(&Script::new(CLAIM)).await?;
        Ok(Facts::parse(&said.text()))
    }

    /// Whether a machine is ours; one that cannot be reached is as we knew it last.
    async fn look(&self, name: &str) -> Result<Option<Power>> {
        if self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Ok(None);
        }
        let claimed = self.claim(name).exists();
        match self.facts(name).await {
            Ok(facts) => Ok((facts.mark == self.mark).then_some(Power::On)),
            Err(error) if claimed && classify(&error) == Exit::Identity => Err(error),
            Err(error) => {
                tracing::debug!("{name} cannot be reached: {error:#}");
                Ok(claimed.then_some(Power::Off))
            }
        }
    }
}

#[async_trait]
impl Infrastructure for Existing {
    async fn preflight(&self) -> Result<()> {
        let hosts = self.ways.machines().iter().filter(|host| self.named.contains_key(&host.name));
        let hosts: Vec<_> = hosts.collect();
        let said = join_all(hosts.iter().map(|host| self.facts(&host.name))).await;
        let mut seen = Vec::new();
        for (host, facts) in hosts.into_iter().zip(said) {
            match facts {
                Ok(facts) => {
                    facts.check(host, &self.mark)?;
                    if facts.mark != self.mark {
                        facts.check_ports(&host.name, &self.named[&host.name])?;
                    }
                    seen.push((host, facts));
                }
                // A machine of ours that is down now is a matter for the plan.
                Err(error) if self.claim(&host.name).exists() && classify(&error) != Exit::Identity => {}
                Err(error) => return Err(error),
            }
        }
        facts::check_all(&seen)
    }

    async fn survey(&self) -> Result<Survey> {
        let names = self.ways.machines().iter().map(|host| host.name.clone());
        let seen = join_all(names.clone().map(|name| async move { self.look(&name).await })).await;
        let mut machines = BTreeMap::new();
        for (name, power) in names.zip(seen) {
            if let Some(power) = power? {
                machines.insert(name, power);
            }
        }
        let network = self.api.as_ref().is_none_or(|forward| forward.stands(&self.tunnel()));
        Ok(Survey { image: self.container_programs().is_some(), stocked: true, network, machines })
    }

    async fn prepare_image(&self, report: Report<'_>) -> Result<()> {
        let listener = |progress| tell(progress, report);
        let fetched = packages::fetch(&PackageSpec::default(), &self.cache_dir, &listener).await;
        fetched.map(drop).context("cannot fetch the software of a node")
    }

    async fn create_network(&self) -> Result<()> {
        let (Some(forward), Some(way)) = (&self.api, self.ways.to_bastion()?) else { return Ok(()) };
        way.forward(forward, &self.tunnel()).await
    }

    async fn create_machine(&self, name: &str) -> Result<()> {
        let host = self.ways.host(name)?;
        self.facts(name).await.with_context(|| format!("{name} cannot be claimed"))?.check(host, &self.mark)?;
        private_dir(&self.state.path("claims"))?;
        write_private(&self.claim(name), b"")?;
        // Its owner can have it back when neither we nor our state are there any more.
        let way_back = File { mode: 0o755, ..File::public(software::WAY_BACK, software::REMOVE) };
        let connection = self.ways.shared(name).await?;
        connection.upload(&[way_back, File::public("/var/lib/provision/cluster", format!("{}\n", self.mark))]).await?;
        Ok(())
    }

    async fn stop_machine(&self, name: &str, _: Duration) -> Result<()> {
        Err(not_ours_to_switch(name))
    }

    async fn start_machine(&self, name: &str) -> Result<()> {
        Err(not_ours_to_switch(name))
    }

    async fn remove_machine(&self, name: &str) -> Result<()> {
        match self.facts(name).await {
            Ok(facts) if facts.mark == self.mark => software::remove(&*self.ways.shared(name).await?).await?,
            // It is nobody's, or somebody else's by now.
            Ok(_) => {}
            // Who takes a machine that is lost out of the topology wants the cluster to go on without it.
            Err(error) if !self.named.contains_key(name) && classify(&error) != Exit::Identity => {
                tracing::warn!("{name} is given up as it is: {error:#}");
            }
            Err(error) => {
                let message = format!("what was installed on {name} cannot be taken back: {error:#}");
                let hint = "bring it back and run this again, or let it go as it is with --abandon";
                return Err(Refusal::new(classify(&error), message).hint(hint).into());
            }
        }
        self.ways.forget(name).await;
        self.give_up(name)
    }

    async fn abandon(&self) -> Result<Vec<String>> {
        let claimed = self.ways.machines().iter().filter(|host| self.claim(&host.name).exists());
        let said = join_all(claimed.map(|host| async move { (&host.name, self.facts(&host.name).await) })).await;
        let lost: Vec<String> =
            said.into_iter().filter(|(_, facts)| facts.is_err()).map(|(name, _)| name.clone()).collect();
        for name in &lost {
            self.give_up(name)?;
        }
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).extend(lost.iter().cloned());
        Ok(lost)
    }

    async fn remove_network(&self) -> Result<()> {
        tunnel::end_forward(&self.tunnel());
        Ok(())
    }

    async fn remove_store(&self) -> Result<()> {
        Ok(())
    }

    async fn console(&self, name: &str) -> Result<Vec<u8>> {
        let message = format!("{name} exists already: its console is elsewhere");
        Err(Refusal::new(Exit::NotFound, message).hint("`provision logs` shows what its services write").into())
    }

    async fn host_key(&self, name: &str) -> Result<String> {
        Ok(self.ways.host_key(name)?.line())
    }

    async fn dial(&self, name: &str, port: u16) -> Result<Stream> {
        self.ways.dial(name, port).await
    }

    fn container_programs(&self) -> Option<ContainerPrograms> {
        packages::cached(&PackageSpec::default(), &self.cache_dir).as_ref().map(ContainerPrograms::from)
    }

    fn has_node_software(&self) -> bool {
        false
    }
}

/// Refuses to power machines off or on that are not ours to switch.
pub fn refuse_power(desired: &Desired) -> Result<()> {
    let hosts = desired.allocations.hosts.as_ref().and_then(|hosts| hosts.machines.first());
    hosts.map_or(Ok(()), |host| Err(not_ours_to_switch(&host.name)))
}

fn not_ours_to_switch(name: &str) -> anyhow::Error {
    let message = format!("{name} exists already: it is not switched on or off from here");
    Refusal::new(Exit::Host, message).hint("switch it where it was made; its kubelet starts with it").into()
}
