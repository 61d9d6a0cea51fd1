//! What every phase works with.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::desired::Desired;
use crate::progress::Progress;
use crate::state::{Allocations, StateDir};
use crate::timings::Timeline;
use crate::world::{ClusterApi, Hosts, Infrastructure};

/// What shall be, the world that it shall become true in, and where the run is written down.
pub struct Context {
    /// What shall be.
    pub desired: Desired,
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
    /// What the user sees.
    pub progress: Arc<dyn Progress>,
    /// When what happened.
    pub timeline: Timeline,
    /// What the cluster was given, with the host keys that were learnt meanwhile.
    pub ledger: Arc<Ledger>,
}

/// The allocations as they are now, kept on disk.
pub struct Ledger {
    state: StateDir,
    allocations: Mutex<Allocations>,
}

impl Context {
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

    /// The SSH host key of a machine, if it is known.
    pub fn host_key(&self, name: &str) -> Option<String> {
        self.lock().machines.get(name).and_then(|machine| machine.host_key.clone())
    }

    /// Keeps the SSH host key of a machine.
    pub fn learn_host_key(&self, name: &str, key: &str) -> Result<()> {
        let mut allocations = self.lock();
        if let Some(machine) = allocations.machines.get_mut(name) {
            machine.host_key = Some(key.to_owned());
        }
        self.state.save_allocations(&allocations)
    }

    /// Forgets the SSH host key of a machine that is made anew.
    pub fn forget_host_key(&self, name: &str) -> Result<()> {
        let mut allocations = self.lock();
        if let Some(machine) = allocations.machines.get_mut(name) {
            machine.host_key = None;
        }
        self.state.save_allocations(&allocations)
    }

    fn lock(&self) -> MutexGuard<'_, Allocations> {
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
