//! The outside world as the lifecycle sees it: machines, hosts and the cluster's API, each behind a trait so that a
//! simulated world can stand in.

pub mod api;
mod dial;
pub mod etcd;
pub mod existing;
pub mod hosts;
pub mod libvirt;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::desired::Addons;
use crate::image::ContainerPrograms;

/// A connection to a port of a machine.
pub type Stream = Box<dyn Duplex>;

/// Something that bytes go into and come out of.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Takes a few words on how far a long step has come.
pub type Report<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Whether a machine is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    On,
    /// It exists and does not run.
    Off,
}

/// What there is of the cluster outside of its machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What machines boot is at hand.
    pub image: bool,
    /// It has all that it can have of this release in place, which matters to machines that are still to be made.
    pub stocked: bool,
    /// The network is up.
    pub network: bool,
    /// Machines of this cluster, also those that the topology no longer asks for.
    pub machines: BTreeMap<String, Power>,
}

/// Makes and removes machines.
#[async_trait]
pub trait Infrastructure: Send + Sync {
    /// Refuses what can be known to fail before anything is made.
    async fn preflight(&self) -> Result<()>;

    /// What there is. Changes nothing.
    async fn survey(&self) -> Result<Survey>;

    /// Gets ready what machines boot.
    async fn prepare_image(&self, report: Report<'_>) -> Result<()>;

    /// Brings up the network.
    async fn create_network(&self) -> Result<()>;

    /// Makes a machine and switches it on.
    async fn create_machine(&self, name: &str) -> Result<()>;

    /// Asks a machine to shut down, and pulls its plug if it does not within `patience`; one that is off stays off.
    async fn stop_machine(&self, name: &str, patience: Duration) -> Result<()>;

    /// Switches on a machine that exists.
    async fn start_machine(&self, name: &str) -> Result<()>;

    /// Removes a machine with its disk.
    async fn remove_machine(&self, name: &str) -> Result<()>;

    /// Gives up machines as they are that are ours and cannot be asked to give anything back; returns their names. Whoever
    /// makes machines can always remove them.
    async fn abandon(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Removes the network, and whatever was started to make it.
    async fn remove_network(&self) -> Result<()>;

    /// Removes what is left once there are neither machines nor a network; nothing else is.
    async fn remove_store(&self) -> Result<()>;

    /// What a machine has said on its console.
    async fn console(&self, name: &str) -> Result<Vec<u8>>;

    /// The SSH host key of a machine, over a channel that nobody else can write to; waits for the first boot.
    async fn host_key(&self, name: &str) -> Result<String>;

    /// Opens a connection to a port of a machine.
    async fn dial(&self, name: &str, port: u16) -> Result<Stream>;

    /// Programs for container images; nothing before the image is prepared.
    fn container_programs(&self) -> Option<ContainerPrograms>;

    /// Whether machines come with the software of a node in place; else it is installed on them.
    fn has_node_software(&self) -> bool;
}

/// Reaches machines by SSH.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// The host, over a connection that is opened once and then shared. Tries for `patience`.
    async fn connect(&self, name: &str, patience: Duration) -> Result<Arc<dyn ssh::Host>>;
}

/// What the cluster's API says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenCluster {
    /// It answers and is ready.
    pub ready: bool,
    /// Names the add-ons that were installed last.
    pub addons: Option<String>,
    /// The add-ons that have been seen at work, by the same name.
    pub verified: Option<String>,
    /// Nodes that are Ready.
    pub ready_nodes: BTreeSet<String>,
    /// Nodes that have the labels that provision gives them.
    pub marked_nodes: BTreeSet<String>,
    /// Every Node that there is.
    pub nodes: BTreeSet<String>,
    /// Machines whose own API server is ready.
    pub servers: BTreeSet<String>,
}

/// What the end of a Node would cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burden {
    /// It takes no new pods.
    pub cordoned: bool,
    /// Pods that would not move: nothing starts them elsewhere, or a budget keeps them.
    pub stuck: usize,
}

/// How a Node is emptied before its machine goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long its pods may take to go; zero is for ever.
    pub patience: Duration,
    /// Pods that nothing will start elsewhere go too, and in the end those that did not move in time.
    pub force: bool,
}

impl Drain {
    /// How long its pods may take to go, if there is an end to it.
    pub fn limit(self) -> Option<Duration> {
        Some(self.patience).filter(|patience| !patience.is_zero())
    }
}

impl Default for Drain {
    /// As long as most programs need to end in good order, and nothing is lost.
    fn default() -> Self {
        Self { patience: Duration::from_mins(5), force: false }
    }
}

/// A member of etcd as etcd sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where the other members reach it, `https://address:2380`.
    pub peer: String,
    /// It has no vote yet.
    pub learner: bool,
    /// It leads.
    pub leader: bool,
}

/// What the member of one machine says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdLook {
    /// Its id.
    pub id: u64,
    /// Its version.
    pub version: String,
    /// The id of the leader; zero if it sees none.
    pub leader: u64,
    /// The size of its database.
    pub bytes: u64,
    /// What is wrong, in its own words.
    pub complaints: Vec<String>,
    /// All members, as far as it knows; a learner does not tell.
    pub members: Vec<EtcdMember>,
}

/// Labels that provision gives to a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMark {
    /// The Node.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// The cluster's API.
#[async_trait]
pub trait ClusterApi: Send + Sync {
    /// What it says. Changes nothing and does not wait.
    async fn survey(&self) -> SeenCluster;

    /// Waits until the API server on this machine answers `/readyz`.
    async fn wait_server(&self, machine: &str) -> Result<()>;

    /// Waits until the static pods of this machine, by name, run as the manifests say that have these marks, and are ready.
    async fn wait_static_pods(&self, machine: &str, marks: &BTreeMap<String, String>) -> Result<()>;

    /// Applies the add-ons.
    async fn install(&self, addons: &Addons) -> Result<()>;

    /// Waits until the Node is there and gives it its labels.
    async fn mark_node(&self, mark: &NodeMark) -> Result<()>;

    /// Waits until the Node is Ready, and says so of this boot of its machine (`/proc/sys/kernel/random/boot_id`): what a
    /// Node said before the power went is not the state of the one that came back.
    async fn wait_node(&self, name: &str, boot: &str) -> Result<()>;

    /// Waits until a pod runs that is not of a static file.
    async fn wait_first_pod(&self) -> Result<()>;

    /// Waits until every pod of the add-ons is ready.
    async fn wait_addons(&self) -> Result<()>;

    /// Keeps in mind that these add-ons have been seen at work.
    async fn mark_verified(&self, hash: &str) -> Result<()>;

    /// What the end of each Node would cost; nothing if it cannot be told. Changes nothing and does not wait.
    async fn burdens(&self) -> BTreeMap<String, Burden>;

    /// Lets no new pods onto the Node and evicts those that are there, as far as their budgets allow; nothing to do for a
    /// Node that does not exist. `report` hears what is waited for.
    async fn drain(&self, node: &str, how: Drain, report: Report<'_>) -> Result<()>;

    /// Removes the Node, if it is there.
    async fn delete_node(&self, name: &str) -> Result<()>;
}

/// The members of etcd. Each change is asked of one machine, `via`, that runs a voter.
#[async_trait]
pub trait EtcdMembers: Send + Sync {
    /// The members, as `via` sees them; fails if there is no leader.
    async fn members(&self, via: &str) -> Result<Vec<EtcdMember>>;

    /// What the member of this machine says, whether or not it sees a leader. Changes nothing and does not wait for it to
    /// come up.
    async fn look(&self, machine: &str) -> Result<EtcdLook>;

    /// Adds a member without a vote, as soon as etcd trusts the voters that it has.
    async fn add_learner(&self, via: &str, peer: &str) -> Result<()> {
        etcd::until_settled(self.pause(), || self.try_add_learner(via, peer)).await
    }

    /// Asks once for a member without a vote.
    async fn try_add_learner(&self, via: &str, peer: &str) -> Result<()>;

    /// Waits until a learner knows what the others know, and gives it a vote.
    async fn promote(&self, via: &str, id: u64) -> Result<()>;

    /// Passes leadership on; `via` must lead.
    async fn move_leader(&self, via: &str, to: u64) -> Result<()>;

    /// Removes a member, as soon as etcd trusts the voters that stay.
    async fn remove(&self, via: &str, id: u64) -> Result<()> {
        etcd::until_settled(self.pause(), || self.try_remove(via, id)).await
    }

    /// Asks once for a member to be removed.
    async fn try_remove(&self, via: &str, id: u64) -> Result<()>;

    /// Between two times that etcd is asked for the same: it has no event for what it waits for.
    fn pause(&self) -> Duration {
        etcd::RETRY
    }
}
