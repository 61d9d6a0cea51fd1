//! What is: one look at machines, hosts and the API, all at once. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use ssh::{Host, Script};

use crate::context::Context;
use crate::world::{Power, SeenCluster, Survey};

/// How long a machine that runs may take to let us in before it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one run starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Machines, network and image.
    pub survey: Survey,
    /// What each running machine said; those that could not be reached are missing, see [`Inventory::is_silent`].
    pub hosts: BTreeMap<String, SeenHost>,
    /// What the API said.
    pub cluster: SeenCluster,
}

/// What a host said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenHost {
    /// Tag of the node programs that it has.
    pub components: String,
    /// Hash of the files that it was given last.
    pub configured: String,
    /// Mark of the packages that it was brought, on a machine that came without.
    pub software: String,
    /// The services of ours that run or are about to.
    pub services: BTreeSet<String>,
    /// A member of etcd runs here, as a service or in a pod.
    pub member: bool,
}

impl Inventory {
    /// Whether the machine is there, has let us in before and could not be asked now: nobody knows what it has.
    pub fn is_silent(&self, context: &Context, name: &str) -> bool {
        self.survey.machines.contains_key(name) && !self.hosts.contains_key(name) && context.host_key_known(name)
    }
}

/// Prints three words, of which each may be `-`, the state of each of our services, and `member` if etcd runs.
pub(crate) const LOOK: &str = "for mark in components configured software; do
  cat /var/lib/provision/$mark 2>/dev/null || echo -
done
systemctl is-active kubelet etcd haproxy keepalived 2>/dev/null || true
pidof etcd >/dev/null && echo member || echo -";

/// The services in the order in which [`LOOK`] prints them.
pub(crate) const SERVICES: [&str; 4] = ["kubelet", "etcd", "haproxy", "keepalived"];

/// Looks at everything.
pub async fn observe(context: &Context) -> Result<Inventory> {
    let survey = context.infrastructure.survey().await?;
    let running: Vec<&String> =
        survey.machines.iter().filter(|(_, power)| **power == Power::On).map(|(name, _)| name).collect();
    if running.is_empty() {
        return Ok(Inventory { survey, ..Inventory::default() });
    }
    let hosts = join_all(running.iter().map(|name| look(context, name)));
    let (hosts, cluster) = tokio::join!(hosts, context.cluster.survey());
    let mut seen = BTreeMap::new();
    for (name, host) in running.iter().zip(hosts) {
        if let Some(host) = host? {
            seen.insert((*name).clone(), host);
        }
    }
    Ok(Inventory { hosts: seen, cluster, survey })
}

/// A host that cannot be reached is nothing; one that is somebody else is an error.
async fn look(context: &Context, name: &str) -> Result<Option<SeenHost>> {
    if !context.host_key_known(name) {
        return Ok(None);
    }
    let seen = async { ask(&*context.hosts.connect(name, PATIENCE).await?).await };
    match seen.await {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if crate::exit::classify(&error) == crate::exit::Exit::Identity => Err(error),
        Err(error) => {
            tracing::debug!(host = name, "cannot be reached: {error:#}");
            Ok(None)
        }
    }
}

/// What the host says of itself now. Changes nothing.
pub(crate) async fn ask(host: &dyn Host) -> Result<SeenHost> {
    Ok(parse(&host.run(&Script::new(LOOK)).await?.text()))
}

fn parse(text: &str) -> SeenHost {
    let mut lines = text.lines().map(str::trim);
    let mut word = || lines.next().unwrap_or("-").to_owned();
    let (components, configured, software) = (word(), word(), word());
    let running = SERVICES.iter().filter(|name| match word().as_str() {
        "active" | "reloading" => true,
        // A member of etcd that waits for the others is not to be started anew.
        "activating" => **name == "etcd",
        _ => false,
    });
    let services = running.map(|name| (*name).to_owned()).collect();
    SeenHost { components, configured, software, services, member: word() == "member" }
}

#[cfg(test)]
mod tests;
