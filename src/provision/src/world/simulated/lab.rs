//! Whole lives in the simulated world: a cluster that is asked for, and processes that work on it one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use topology::Topology;

use super::host::SimulatedHosts;
use super::{Faults, World};
use crate::allocate::{self, Site};
use crate::context::{Context, Ledger};
use crate::desired::{Components, Desired};
use crate::inventory::{Inventory, observe};
use crate::lifecycle::{DOWN, UP, converge, converge_through, departures, mark, power};
use crate::plan::Plan;
use crate::progress::Silent;
use crate::state::{Allocations, StateDir};
use crate::timings::Timeline;
use crate::world::Drain;

/// A cluster in a world of its own.
pub(crate) struct Lab {
    pub(crate) world: Arc<World>,
    pub(crate) state: StateDir,
    subnet: ipnet::Ipv4Net,
    /// How large the node programs are at least.
    program: u64,
    dir: tempfile::TempDir,
    asked: (String, String),
    /// As it was when the last process began.
    desired: Option<Arc<Desired>>,
    /// Certificates take longer to make than a cluster to live.
    known: BTreeMap<String, Arc<Desired>>,
}

/// What a life is for.
#[derive(Clone, Copy)]
enum Verb {
    Up,
    Down,
    Stop,
    Start,
}

/// How a life ended.
pub(crate) enum Ended {
    /// By itself.
    Well(Result<Plan>),
    /// By a fault.
    Killed,
}

impl Ended {
    /// How it ended, for a story of several lives.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Well(Ok(_)) => "done".to_owned(),
            Self::Well(Err(error)) => format!("{error:#}"),
            Self::Killed => "killed".to_owned(),
        }
    }

    /// What a life came to that was not killed.
    pub(crate) fn into_result(self) -> Result<Plan> {
        match self {
            Self::Well(result) => result,
            Self::Killed => panic!("the run was killed"),
        }
    }

    /// The plan of a life that ended well.
    pub(crate) fn plan(self) -> Plan {
        match self {
            Self::Well(Ok(plan)) => plan,
            Self::Well(Err(error)) => panic!("the run failed: {error:#}"),
            Self::Killed => panic!("the run was killed"),
        }
    }

    /// The error of a life that did not.
    pub(crate) fn error(self) -> anyhow::Error {
        match self {
            Self::Well(result) => result.expect_err("the run should have failed"),
            Self::Killed => panic!("the run was killed"),
        }
    }
}

impl Lab {
    /// A cluster called `demo` with this `spec`, of which nothing exists yet.
    pub(crate) fn new(spec: &str) -> Self {
        Self::within("10.80.0.0/24", spec)
    }

    /// The same in a network of this size.
    pub(crate) fn within(subnet: &str, spec: &str) -> Self {
        // In memory, if there is such a place: thousands of runs sync their journals.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        std::fs::write(dir.path().join("etcd.tar"), b"etcd").unwrap();
        let world = World::new(&dir.path().join("etcd.tar"));
        let asked = (spec.to_owned(), "v0.1.0-one".to_owned());
        let mut lab = Self {
            world,
            state: StateDir::new(dir.path(), "demo"),
            subnet: subnet.parse().unwrap(),
            program: 0,
            dir,
            asked,
            desired: None,
            known: BTreeMap::new(),
        };
        let allocations = lab.allocations();
        lab.desired = Some(lab.work_out(&allocations));
        lab
    }

    /// The same cluster in a world where nothing exists yet.
    pub(crate) fn start_over(&mut self) {
        self.world = World::new(&self.dir.path().join("etcd.tar"));
        self.state.remove().unwrap();
    }

    /// Something else is asked for from now on; keys are kept.
    pub(crate) fn ask_for(&mut self, spec: &str, tag: &str) {
        self.asked = (spec.to_owned(), tag.to_owned());
        let allocations = self.allocations();
        self.desired = Some(self.work_out(&allocations));
    }

    pub(crate) fn desired(&self) -> &Desired {
        self.desired.as_ref().expect("a lab works it out when it is made")
    }

    /// One `provision apply` without its command line.
    pub(crate) async fn up(&mut self, faults: Faults, seed: u64) -> Ended {
        self.live(Verb::Up, faults, seed).await
    }

    /// One `provision stop` without its command line.
    pub(crate) async fn stop(&mut self, faults: Faults, seed: u64) -> Ended {
        self.live(Verb::Stop, faults, seed).await
    }

    /// One `provision start` without its command line.
    pub(crate) async fn start(&mut self, faults: Faults, seed: u64) -> Ended {
        self.live(Verb::Start, faults, seed).await
    }

    /// One `provision destroy` without its command line.
    pub(crate) async fn down(&mut self, faults: Faults, seed: u64) -> Ended {
        if !self.state.root().exists() {
            return Ended::Well(Ok(Plan::default()));
        }
        let ended = self.live(Verb::Down, faults, seed).await;
        if let Ended::Well(Ok(_)) = &ended {
            self.state.remove().unwrap();
            self.world.state_directory_is_gone();
        }
        ended
    }

    /// One look at everything.
    pub(crate) async fn look(&mut self) -> Inventory {
        self.world.begin(Faults::None, 0);
        observe(&self.context()).await.unwrap()
    }

    async fn live(&mut self, verb: Verb, faults: Faults, seed: u64) -> Ended {
        let (death, interrupt) = self.world.begin(faults, seed);
        tokio::select! {
            biased;
            () = death.cancelled() => Ended::Killed,
            result = self.work(verb, &interrupt) => Ended::Well(result),
        }
    }

    async fn work(&mut self, verb: Verb, interrupt: &CancellationToken) -> Result<Plan> {
        let context = self.context();
        match verb {
            Verb::Up => {
                let context = self.settled(context).await?;
                let told = Mutex::default();
                let gate = |round: usize, plan: &Plan| agree(&context, &told, (round, plan));
                converge_through(UP, &context, interrupt, &gate).await
            }
            Verb::Stop => power::stop(&context, interrupt).await,
            Verb::Start => power::start(&context, interrupt).await,
            Verb::Down => {
                let plan = converge(DOWN, &context, interrupt).await?;
                context.infrastructure.remove_network().await?;
                Ok(plan)
            }
        }
    }

    /// The same with those machines marked that go.
    pub(crate) async fn settled(&mut self, context: Context) -> Result<Context> {
        let departures = departures(&context).await?;
        if departures.is_empty() {
            return Ok(context);
        }
        let mut allocations = self.allocations();
        mark(&mut allocations, departures);
        Ok(self.context_of(allocations))
    }

    /// What a process knows when it begins: what is asked for, and what the state directory says.
    pub(crate) fn context(&mut self) -> Context {
        let allocations = self.allocations();
        self.context_of(allocations)
    }

    fn context_of(&mut self, allocations: Allocations) -> Context {
        let desired = self.work_out(&allocations);
        self.desired = Some(Arc::clone(&desired));
        let ledger = Arc::new(Ledger::new(&self.state, allocations));
        Context {
            desired,
            state: self.state.clone(),
            cache_dir: self.dir.path().join("cache"),
            infrastructure: Arc::clone(&self.world) as _,
            hosts: Arc::new(SimulatedHosts { world: Arc::clone(&self.world), ledger: Arc::clone(&ledger) }),
            cluster: Arc::clone(&self.world) as _,
            progress: Arc::new(Silent),
            timeline: Timeline::default(),
            etcd: Arc::clone(&self.world) as _,
            drain: Drain::default(),
            ledger,
            images: OnceCell::new(),
        }
    }

    /// What was given to the cluster, and to the machines that are asked for now.
    fn allocations(&self) -> Allocations {
        let topology = self.topology();
        let site = Site {
            id: uuid::Uuid::from_u128(7),
            libvirt: "embedded".to_owned(),
            subnet: self.subnet,
            api_port: Some(16443),
            emulated: false,
        };
        let kept = self.state.allocations().unwrap();
        let mut allocations = kept.unwrap_or_else(|| allocate::fresh(&topology, &site));
        allocate::extend(&mut allocations, &topology).unwrap();
        allocations
    }

    fn topology(&self) -> Topology {
        let spec = &self.asked.0;
        let text =
            format!("apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec: {spec}\n");
        Topology::parse("demo.yaml", &text).unwrap()
    }

    /// Keys come from a place that outlives the cluster, so that two of its lives can be held against each other.
    fn work_out(&mut self, allocations: &Allocations) -> Arc<Desired> {
        let machines = allocations.machines.iter().map(|(name, it)| (name, it.address, it.leaving, &it.chosen));
        let key = format!("{:?} {:?} {:?}", self.asked, allocations.virtual_address, machines.collect::<Vec<_>>());
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        self.write_program();
        let (dir, tag) = (self.dir.path(), self.asked.1.clone());
        let escrow = StateDir::new(dir, "escrow");
        let components = Components { hyperkube: dir.join("hyperkube"), tag };
        let desired = Desired::new(self.topology(), allocations.clone(), components, &escrow).unwrap();
        desired.vault.save(&escrow).unwrap();
        let desired = Arc::new(desired);
        self.known.insert(key, Arc::clone(&desired));
        desired
    }

    /// Node programs that are as large as the real ones.
    pub(crate) fn bring_program(&mut self, bytes: u64) {
        self.program = bytes;
        self.write_program();
    }

    fn write_program(&self) {
        let path = self.dir.path().join("hyperkube");
        std::fs::write(&path, &self.asked.1).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(self.program.max(file.metadata().unwrap().len())).unwrap();
    }

    /// What a process knows that has just begun: everything is read and worked out anew.
    pub(crate) fn context_from_disk(&mut self) -> Context {
        self.known.clear();
        let components = Components::read(&self.dir.path().join("hyperkube")).unwrap();
        assert!(!components.tag.is_empty());
        self.context()
    }

    /// Machines that have secrets on the disk.
    pub(crate) fn machines_with_secrets(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.state.path("pki/machines")) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What a user agrees to once, and is not asked again: no later round takes away what the first one has not told.
fn agree(context: &Context, told: &Mutex<BTreeSet<String>>, (round, plan): (usize, &Plan)) -> Result<()> {
    let mut told = super::lock(told);
    let goes: BTreeSet<String> = plan.irrevocable().map(|step| step.id.clone()).collect();
    if round == 0 {
        *told = goes;
        return keep(context);
    }
    assert!(goes.is_subset(&told), "round {round} wants to take away {goes:?}, and the user was told {told:?}");
    Ok(())
}

/// What the command line keeps once everybody agrees.
fn keep(context: &Context) -> Result<()> {
    context.state.create()?;
    context.ledger.save()?;
    for name in context.desired.allocations.machines.keys() {
        std::fs::create_dir_all(context.state.path("pki/machines").join(name))?;
    }
    context.state.set_stopped(false)
}
