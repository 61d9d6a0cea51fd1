//! What every phase works with.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::desired::{Desired, Leaver};
use crate::progress::Progress;
use crate::state::{Allocations, Seat, StateDir};
use crate::timings::Timeline;
use crate::vault::Vault;
use crate::world::{ClusterApi, Drain, EtcdMembers, Hosts, Infrastructure};

/// What shall be, the world that it shall become true in, and where the run is written down.
pub struct Context {
    /// What shall be.
    pub desired: Arc<Desired>,
    /// Where the cluster's state is kept.
    pub state: StateDir,
    /// Where images are kept.
    pub cache_dir: PathBuf,
    /// Makes machines.
    pub infrastructure: Arc<dyn Infrastructure>,
    /// Reaches machines.
    pub hosts: Arc<dyn Hosts>,
    /// The cluster's API.
    pub cluster: Arc<dyn ClusterApi>,
    /// The members of its etcd.
    pub etcd: Arc<dyn EtcdMembers>,
    /// How Nodes are emptied.
    pub drain: Drain,
    /// What the user sees.
    pub progress: Arc<dyn Progress>,
    /// When what happened.
    pub timeline: Timeline,
    /// What the cluster was given, with the host keys that were learnt meanwhile.
    pub ledger: Arc<Ledger>,
    /// The archive with the images that is brought to every node, made ready once.
    pub images: OnceCell<PathBuf>,
}

/// The allocations as they are now, kept on disk.
pub struct Ledger {
    state: StateDir,
    allocations: Mutex<Allocations>,
}

impl Context {
    /// Machines that nobody asks for any more and that still have something.
    pub fn leavers(&self) -> Vec<&Leaver> {
        self.desired.leavers.iter().filter(|leaver| self.ledger.address(&leaver.name).is_some()).collect()
    }

    /// Whether the machine has told us its SSH host key.
    pub fn host_key_known(&self, name: &str) -> bool {
        self.ledger.host_key(name).is_some()
    }
}

impl Ledger {
    /// A ledger that begins with these allocations.
    pub fn new(state: &StateDir, allocations: Allocations) -> Self {
        Self { state: state.clone(), allocations: Mutex::new(allocations) }
    }

    /// Brings the allocations as they are now to the disk.
    pub fn save(&self) -> Result<()> {
        self.state.save_allocations(&self.lock())
    }

    /// The SSH host key of a machine, if it is known.
    pub fn host_key(&self, name: &str) -> Option<String> {
        self.lock().machines.get(name).and_then(|machine| machine.host_key.clone())
    }

    /// Keeps the SSH host key of a machine.
    pub fn learn_host_key(&self, name: &str, key: &str) -> Result<()> {
        self.change(|allocations| {
            if let Some(machine) = allocations.machines.get_mut(name) {
                machine.host_key = Some(key.to_owned());
            }
        })
    }

    /// Whether etcd has begun.
    pub fn founded(&self) -> bool {
        self.lock().founded
    }

    /// Etcd has begun: whoever comes now joins. It is kept with the next thing that is.
    pub fn note_founded(&self) {
        self.lock().founded = true;
    }

    /// Keeps in mind that etcd has begun.
    pub fn mark_founded(&self) -> Result<()> {
        self.note_founded();
        self.save()
    }

    /// Whether the cluster's removal has begun.
    pub fn destroying(&self) -> bool {
        self.lock().destroying
    }

    /// Keeps in mind that the cluster's removal has begun.
    pub fn mark_destroying(&self) -> Result<()> {
        self.change(|allocations| allocations.destroying = true)
    }

    /// The machine goes, whatever is asked for later: what it gave up it does not get back.
    pub fn mark_leaving(&self, name: &str) -> Result<()> {
        self.change(|allocations| {
            if let Some(machine) = allocations.machines.get_mut(name) {
                machine.leaving = true;
            }
        })
    }

    /// Members that etcd begins with.
    pub fn founders(&self) -> BTreeSet<String> {
        self.lock().founders.clone()
    }

    /// Whether this machine is one of those that etcd begins with, and still has what it began with.
    pub fn is_founder(&self, name: &str) -> bool {
        let allocations = self.lock();
        let seated = allocations.machines.get(name).is_some_and(|machine| machine.etcd.is_some());
        allocations.founders.contains(name) && !seated
    }

    /// How the machine joined etcd, if it did.
    pub fn seat(&self, name: &str) -> Option<Seat> {
        self.lock().machines.get(name).and_then(|machine| machine.etcd.clone())
    }

    /// Keeps how the machine joined etcd.
    pub fn take_seat(&self, name: &str, seat: Seat) -> Result<()> {
        self.change(|allocations| {
            if let Some(machine) = allocations.machines.get_mut(name) {
                machine.etcd = Some(seat);
            }
        })
    }

    /// The members that etcd begins with, as `--initial-cluster` wants them.
    pub fn founding_cluster(&self) -> String {
        let allocations = self.lock();
        let known = allocations.founders.iter().filter_map(|name| Some((name, allocations.machines.get(name)?)));
        let members = known.map(|(name, machine)| format!("{name}=https://{}:2380", machine.address));
        members.collect::<Vec<_>>().join(",")
    }

    /// A new disk comes into this machine: it will have another host key, and what etcd kept on the old one is lost.
    pub fn forget_disk(&self, name: &str) -> Result<()> {
        self.change(|allocations| {
            if allocations.founded {
                allocations.founders.remove(name);
            }
            if let Some(machine) = allocations.machines.get_mut(name) {
                (machine.host_key, machine.etcd) = (None, None);
            }
        })
    }

    /// The address of a machine.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.lock().machines.get(name).map(|machine| machine.address)
    }

    /// Gives back all that a machine had, its secrets first: an entry says that there may be some.
    pub fn release(&self, name: &str) -> Result<()> {
        Vault::forget(&self.state, name)?;
        self.change(|allocations| {
            allocations.machines.remove(name);
            allocations.founders.remove(name);
            if let Some(hosts) = &mut allocations.hosts {
                hosts.machines.retain(|host| host.name != name);
            }
        })
    }

    fn change(&self, act: impl FnOnce(&mut Allocations)) -> Result<()> {
        let mut allocations = self.lock();
        let before = allocations.clone();
        act(&mut allocations);
        if *allocations == before {
            return Ok(());
        }
        self.state.save_allocations(&allocations)
    }

    fn lock(&self) -> MutexGuard<'_, Allocations> {
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
