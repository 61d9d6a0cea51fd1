//! What the node does when memory, disk or processes run short: it takes back what nobody needs, then ends one pod at a
//! time, until there is enough again.
//!
//! Nothing tells when a file system fills up, so it measures from time to time, as often as upstream. `threshold.rs` says
//! when something is short, `rank.rs` who goes first.

mod rank;
pub mod threshold;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::CriError;
use cri::api::{ContainerState, ContainerStats};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::image_gc::ImageCollector;
use crate::node::facts;
use crate::node_context::{NodeContext, reference};
use crate::pod::identity;
use crate::pod::status::Waiting;
use crate::pods::Pods;
use rank::Candidate;
use threshold::{EvictionSettings, Measured, Met, Shortage, Signal, Watched};

/// Between two measurements, as upstream.
const PERIOD: Duration = Duration::from_secs(10);
/// The grace of a pod at a hard threshold, in seconds.
const HARD_GRACE: i64 = 1;

/// What the node lacks now.
pub type Pressure = Vec<Shortage>;

/// A pod that has to end by the node's own decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// What its user is told.
    pub why: Waiting,
    /// The most grace it gets, in seconds.
    pub grace: i64,
}

/// Looks after the resources of the node.
pub struct Evictor {
    /// The node.
    pub node: Arc<NodeContext>,
    /// Its pods.
    pub pods: Arc<Pods>,
    /// Its images.
    pub images: Arc<ImageCollector>,
    /// When and how.
    pub settings: EvictionSettings,
    /// Who wants to know what is short.
    pub pressure: watch::Sender<Pressure>,
}

/// Why a new pod cannot come now, if it cannot.
pub fn refusal(pod: &Pod, pressure: &[Shortage]) -> Option<Waiting> {
    let only_memory = pressure.iter().all(|shortage| *shortage == Shortage::Memory);
    if pressure.is_empty() || !rank::may_go(pod) || (only_memory && rank::bears_memory_pressure(pod)) {
        return None;
    }
    let conditions: Vec<&str> = pressure.iter().map(|shortage| shortage.condition()).collect();
    Some(Waiting::new("Evicted", format!("The node had condition: [{}]. ", conditions.join(" "))))
}

impl Evictor {
    /// Looks after the node until the token is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let mut watched = Watched::default();
        let mut mount = None;
        loop {
            if mount.is_none() {
                mount = self.images.mountpoint().await.ok();
            }
            let measured = measure(&self.node.paths.pods(), mount.as_deref());
            if let Err(error) = self.pass(&mut watched, &measured, mount.as_deref()).await {
                tracing::warn!(%error, "nothing could be done about what is short");
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// One look; answers the pod that has to go.
    pub(crate) async fn pass(
        &self,
        watched: &mut Watched,
        measured: &Measured,
        mount: Option<&Path>,
    ) -> Result<Option<Arc<Pod>>, CriError> {
        let now = Instant::now();
        let met = watched.take(&self.settings, measured, now);
        let shortages = watched.shortages(&self.settings, now);
        self.pressure.send_if_modified(|known| {
            let differs = *known != shortages;
            known.clone_from(&shortages);
            differs
        });
        let mut due = watched.due(met, now);
        // Memory first, as upstream: a node without any is lost soonest.
        due.sort_by_key(|met| met.threshold.signal);
        let Some(first) = due.first().copied() else { return Ok(None) };
        if first.threshold.signal.shortage() == Shortage::Disk && self.reclaimed(&first, mount).await? {
            return Ok(None);
        }
        self.evict(&first).await
    }

    /// Whether enough disk is free again after all unused images are gone.
    async fn reclaimed(&self, met: &Met, mount: Option<&Path>) -> Result<bool, CriError> {
        tracing::warn!(resource = met.threshold.signal.resource(), free = met.free, "disk is short");
        if self.images.remove_unused().await? == 0 {
            return Ok(false);
        }
        let measured = measure(&self.node.paths.pods(), mount);
        let free = measured.get(&met.threshold.signal).map_or(0, |(free, _)| *free);
        Ok(free >= met.threshold.least.of(met.whole).saturating_add(met.threshold.reclaim.of(met.whole)))
    }

    async fn evict(&self, met: &Met) -> Result<Option<Arc<Pod>>, CriError> {
        let running = self.running().await?;
        if self.pods.evicted().iter().any(|uid| running.contains_key(uid)) {
            // What the last one gives back is not known before it has ended.
            return Ok(None);
        }
        let signal = met.threshold.signal;
        let stats = self.node.runtime.list_container_stats().await?;
        let lives = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_none();
        let pods = self.pods.list().into_iter().filter(lives);
        let pods: Vec<_> = pods.filter(|pod| running.contains_key(identity::uid(pod)) && rank::may_go(pod)).collect();
        let files = self.files(signal, &pods).await;
        let mut candidates: Vec<Candidate> =
            pods.into_iter().map(|pod| Candidate { uses: uses(signal, &pod, &stats, &files), pod }).collect();
        rank::rank(signal, &mut candidates);
        let Some(victim) = candidates.into_iter().next() else {
            tracing::warn!(resource = signal.resource(), "short, and there is no pod to evict");
            return Ok(None);
        };
        let why = Waiting::new("Evicted", rank::message(met, &victim));
        let own = identity::grace_period(&victim.pod);
        let grace = met.threshold.grace.map_or(HARD_GRACE, |_| self.settings.most_grace.min(own));
        tracing::warn!(pod = identity::full_name(&victim.pod), why = why.message, "evicting the pod");
        self.node.reporter.report(&reference(&victim.pod, None), true, &why.reason, &why.message);
        self.pods.evict(identity::uid(&victim.pod), Eviction { why, grace });
        Ok(Some(victim.pod))
    }

    /// The running containers of each pod.
    async fn running(&self) -> Result<HashMap<String, usize>, CriError> {
        let mut running = HashMap::new();
        for container in self.node.runtime.list_containers(cri::Labels::new()).await? {
            if container.state == ContainerState::ContainerRunning as i32
                && let Some(uid) = container.labels.get(identity::POD_UID)
            {
                *running.entry(uid.clone()).or_default() += 1;
            }
        }
        Ok(running)
    }

    /// What pods keep on the file system that holds pods, beside what their containers wrote, by uid.
    async fn files(&self, signal: Signal, pods: &[Arc<Pod>]) -> HashMap<String, i64> {
        if ![Signal::NodeDisk, Signal::NodeInodes].contains(&signal) {
            return HashMap::new();
        }
        let paths = &self.node.paths;
        let folders: Vec<(String, [PathBuf; 2])> = pods
            .iter()
            .map(|pod| {
                let own = paths.pod(identity::uid(pod)).join("volumes/kubernetes.io~empty-dir");
                (identity::uid(pod).to_owned(), [own, paths.pod_logs(pod)])
            })
            .collect();
        let counted = tokio::task::spawn_blocking(move || {
            let of = |(bytes, files)| if signal == Signal::NodeDisk { bytes } else { files };
            folders.into_iter().map(|(uid, own)| (uid, own.iter().map(|folder| of(content(folder))).sum())).collect()
        });
        // A count that panicked found nothing.
        counted.await.unwrap_or_default()
    }
}

/// What a pod uses of a resource, by container; what belongs to none is under the empty name.
fn uses(signal: Signal, pod: &Pod, stats: &[ContainerStats], files: &HashMap<String, i64>) -> Vec<(String, i64)> {
    let label = |one: &ContainerStats, name: &str| -> String {
        one.attributes.as_ref().and_then(|own| own.labels.get(name)).cloned().unwrap_or_default()
    };
    let uid = identity::uid(pod);
    let mut uses: BTreeMap<String, i64> = [(String::new(), files.get(uid).copied().unwrap_or(0))].into();
    for one in stats.iter().filter(|one| label(one, identity::POD_UID) == uid) {
        let disk = one.writable_layer.clone().unwrap_or_default();
        let amount = match signal {
            Signal::Memory => one.memory.as_ref().and_then(|memory| memory.working_set_bytes),
            Signal::NodeDisk | Signal::ImageDisk => disk.used_bytes,
            Signal::NodeInodes | Signal::ImageInodes => disk.inodes_used,
            Signal::Pids => None,
        };
        let amount = amount.map_or(0, |amount| i64::try_from(amount.value).unwrap_or(i64::MAX));
        *uses.entry(label(one, identity::CONTAINER_NAME)).or_default() += amount;
    }
    uses.into_iter().collect()
}

/// Bytes and files below a folder, on its own file system.
fn content(folder: &Path) -> (i64, i64) {
    let (mut bytes, mut files) = (0_i64, 0_i64);
    let Ok(device) = std::fs::symlink_metadata(folder).map(|meta| meta.dev()) else { return (0, 0) };
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != device {
                continue;
            }
            files += 1;
            bytes = bytes.saturating_add(i64::try_from(meta.blocks().saturating_mul(512)).unwrap_or(i64::MAX));
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    (bytes, files)
}

fn measure(pods: &Path, images: Option<&Path>) -> Measured {
    let node = facts::free(pods);
    let mut measured: Measured = [
        (Signal::Memory, (node.memory, facts::sizes(pods).memory)),
        (Signal::NodeDisk, (node.disk, node.disk_size)),
        (Signal::NodeInodes, (node.inodes, node.inodes_size)),
        (Signal::Pids, (node.pids, node.pids_size)),
    ]
    .into();
    if let Some(images) = images {
        let own = facts::free(images);
        measured.insert(Signal::ImageDisk, (own.disk, own.disk_size));
        measured.insert(Signal::ImageInodes, (own.inodes, own.inodes_size));
    }
    // File systems that count no files have none to run out of.
    measured.retain(|_, (_, whole)| *whole > 0);
    measured
}

#[cfg(test)]
mod tests;
