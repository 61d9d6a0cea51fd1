//! A world in memory for tests of the lifecycle: machines, hosts and an API that are as honest as the real ones about
//! what has been done to them, and that break wherever a test wants them to.
//!
//! Everything that an adapter does is cut into points: the smallest changes between which a real process can die. At each
//! point a [`Fault`] may strike. A process that has died does nothing more; the next one begins with [`World::begin`].
//!
//! Start reading at [`World::point`], then [`lab`], which runs whole lives in the world.

mod api;
mod etcd;
mod host;
pub(crate) mod lab;
mod machines;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub(crate) use lab::{Ended, Lab};

/// What may happen at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails and has changed nothing.
    FailBefore,
    /// The operation has done its work and says that it failed.
    FailAfter,
    /// The process dies before the operation.
    KillBefore,
    /// The process dies after the operation.
    KillAfter,
    /// The user presses Ctrl-C.
    Interrupt,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::FailBefore, Self::FailAfter, Self::KillBefore, Self::KillAfter, Self::Interrupt];
}

/// Where faults strike during one life.
pub(crate) enum Faults {
    /// Nowhere.
    None,
    /// At the `n`th point.
    At(usize, Fault),
    /// Wherever the name of a point contains this word.
    Named(&'static str, Fault),
    /// At one point of `rarity`, chosen by chance.
    Random { rarity: u64 },
}

/// The world, shared by everybody who looks at it.
pub(crate) struct World {
    state: Mutex<State>,
    life: Mutex<Life>,
    etcd_layer: PathBuf,
    /// The release that images shall be made with, if they shall, and whether that succeeds.
    release: Mutex<Option<(String, bool)>>,
    doors: Mutex<BTreeMap<(String, u16), SocketAddr>>,
}

/// One process in the world.
struct Life {
    faults: Faults,
    chance: Chance,
    points: Vec<String>,
    death: CancellationToken,
    interrupt: CancellationToken,
}

/// Everything that there is; what a clean run leaves behind is compared with what a broken one does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    image: bool,
    /// The release whose components are in place in the image.
    stocked: Option<String>,
    forward: bool,
    network: bool,
    machines: BTreeMap<String, Machine>,
    etcd: Option<Cluster>,
    /// Every change that was made, in order.
    pub(crate) changes: Vec<String>,
    /// How many disks were ever made: each gets a key of its own.
    disks_made: usize,
    /// Pods that would not move, by Node.
    stuck: BTreeMap<String, usize>,
    /// Machines that run and let nobody in.
    mute: BTreeSet<String>,
    /// Machines that let nobody in for so many times.
    slow: BTreeMap<String, usize>,
    /// So many times, whoever asks for etcd's members hears that there is no leader yet.
    leaderless: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Machine {
    disk: Option<Disk>,
    /// Its other files by how they end: the seed, and what its console has said.
    files: BTreeSet<&'static str>,
    /// The network keeps an address for it.
    promised: bool,
    defined: bool,
    on: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Disk {
    host_key: String,
    files: BTreeMap<String, (u32, Bytes)>,
    images: BTreeSet<String>,
    /// The image whose files can be seen.
    mounted: Option<String>,
    loaded_unit: Bytes,
    enabled: BTreeSet<String>,
    /// Services besides the kubelet that run, each with the files that it read.
    running: BTreeMap<String, BTreeMap<String, Bytes>>,
    kubelet: Option<Kubelet>,
    /// The id of the member whose data lies here.
    member: Option<u64>,
}

/// What the running kubelet was started with: it does not read its files again.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kubelet {
    unit: Bytes,
    files: BTreeMap<String, Bytes>,
}

/// What all members of etcd agree on, as long as most of them have their disks.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cluster {
    /// The list that it began with.
    founded_as: String,
    members: BTreeMap<u64, Member>,
    leader: u64,
    next: u64,
    /// Voters that were seen to run when a change of members was last asked for.
    connected: BTreeSet<u64>,
    content: Content,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Member {
    name: String,
    peer: String,
    learner: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    objects: BTreeMap<String, serde_json::Value>,
    record: BTreeMap<String, String>,
    nodes: BTreeMap<String, BTreeMap<String, String>>,
    /// Nodes that take no new pods.
    cordoned: BTreeSet<String>,
}

impl State {
    /// Where two worlds differ, in a few words.
    pub(crate) fn differs(&self, other: &Self) -> String {
        let lines = |state: &Self| -> BTreeSet<String> {
            let rest = Self { machines: BTreeMap::new(), ..state.clone() };
            let mut lines = BTreeSet::from([format!("{rest:?}")]);
            for (name, machine) in &state.machines {
                let Machine { disk, files, promised, defined, on } = machine;
                lines.insert(format!("{name}: {files:?}, promised {promised}, defined {defined}, on {on}"));
                let Some(disk) = disk else { continue };
                for (path, (mode, content)) in &disk.files {
                    lines.insert(format!("{name}: {path} {mode:o} {content:?}"));
                }
                let Disk { images, loaded_unit, enabled, kubelet, running, .. } = disk;
                lines.insert(format!("{name}: {images:?} {loaded_unit:?} {enabled:?} {kubelet:?} {running:?}"));
            }
            lines
        };
        let (ours, others) = (lines(self), lines(other));
        let more = ours.difference(&others).map(|line| format!("+ {line:.600}"));
        let less = others.difference(&ours).map(|line| format!("- {line:.600}"));
        more.chain(less).collect::<Vec<_>>().join("\n")
    }
}

/// Chance that can be had again: `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn fault(&mut self) -> Fault {
        Fault::ALL[usize::try_from(self.below(5)).expect("below 5")]
    }
}

impl World {
    pub(crate) fn new(etcd_layer: &Path) -> Arc<Self> {
        let life = Life {
            faults: Faults::None,
            chance: Chance::new(0),
            points: Vec::new(),
            death: CancellationToken::new(),
            interrupt: CancellationToken::new(),
        };
        Arc::new(Self {
            state: Mutex::default(),
            life: Mutex::new(life),
            etcd_layer: etcd_layer.to_owned(),
            release: Mutex::default(),
            doors: Mutex::default(),
        })
    }

    /// Whoever dials this port of the machine is connected with something real.
    pub(crate) fn open_door(&self, machine: &str, port: u16, address: SocketAddr) {
        lock(&self.doors).insert((machine.to_owned(), port), address);
    }

    /// A new process begins; returns what says that it has died, and what Ctrl-C cancels.
    fn begin(&self, faults: Faults, seed: u64) -> (CancellationToken, CancellationToken) {
        let mut life = lock(&self.life);
        life.faults = faults;
        life.chance = Chance::new(seed);
        life.points.clear();
        life.death = CancellationToken::new();
        life.interrupt = CancellationToken::new();
        (life.death.clone(), life.interrupt.clone())
    }

    /// From now on images are made with the components of this release in place.
    pub(crate) fn bake(&self, tag: &str) {
        *lock(&self.release) = Some((tag.to_owned(), true));
    }

    /// From now on they should be, and cannot.
    pub(crate) fn bake_in_vain(&self, tag: &str) {
        *lock(&self.release) = Some((tag.to_owned(), false));
    }

    fn release(&self) -> Option<(String, bool)> {
        lock(&self.release).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Names of the points that this life has come to.
    pub(crate) fn points(&self) -> Vec<String> {
        lock(&self.life).points.clone()
    }

    /// How many changes were ever made.
    pub(crate) fn changes(&self) -> usize {
        self.state().changes.len()
    }

    /// Every change that was ever made, in order.
    pub(crate) fn snapshot_of_changes(&self) -> Vec<String> {
        self.state().changes.clone()
    }

    /// Everything but what may differ from run to run: keys that machines made, and how they came to be.
    pub(crate) fn snapshot(&self) -> State {
        let mut state = self.state().clone();
        state.changes.clear();
        state.disks_made = 0;
        if let Some(cluster) = &mut state.etcd {
            cluster.forget_history();
        }
        for machine in state.machines.values_mut() {
            if let Some(disk) = &mut machine.disk {
                disk.host_key.clear();
                disk.member = None;
                disk.forget_how_etcd_began();
                // A draft of a mark says nothing to anybody, and the next mark takes its place.
                disk.files.retain(|path, _| !path.starts_with("/var/lib/provision/") || !is_draft(path));
            }
        }
        state
    }

    /// A small change of the world, or a look at it; a fault may strike before and after.
    async fn point<T>(&self, name: impl Into<String>, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let name = name.into();
        let (fault, pauses, death) = {
            let mut life = lock(&self.life);
            (life.next(&name), life.chance.below(3), life.death.clone())
        };
        // Steps that run side by side meet in every order.
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        if death.is_cancelled() || fault == Some(Fault::KillBefore) {
            return die(&death).await;
        }
        if fault == Some(Fault::FailBefore) {
            anyhow::bail!("{name}: did not begin, as the test wants it");
        }
        let done = act(&mut self.state());
        match fault {
            Some(Fault::FailAfter) => anyhow::bail!("{name}: failed at its end, as the test wants it"),
            Some(Fault::KillAfter) => die(&death).await,
            Some(Fault::Interrupt) => {
                lock(&self.life).interrupt.cancel();
                done
            }
            _ => done,
        }
    }

    /// A point that changes something.
    async fn change(&self, name: impl Into<String>, act: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        let name = name.into();
        self.point(name.clone(), |state| {
            state.changes.push(name);
            act(state)
        })
        .await
    }
}

impl Life {
    fn next(&mut self, name: &str) -> Option<Fault> {
        let number = self.points.len();
        self.points.push(name.to_owned());
        match &self.faults {
            Faults::None => None,
            Faults::At(at, fault) => (*at == number).then_some(*fault),
            Faults::Named(word, fault) => name.contains(word).then_some(*fault),
            Faults::Random { rarity } => (self.chance.below(*rarity) == 0).then(|| self.chance.fault()),
        }
    }
}

fn is_draft(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "new" || end == "provision-new")
}

/// Nothing more happens in this life.
async fn die<T>(death: &CancellationToken) -> T {
    death.cancel();
    std::future::pending().await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
