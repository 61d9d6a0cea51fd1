//! What all pods of a node share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cri::Runtime;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodStatus};
use tokio::sync::{mpsc, watch};

use crate::cgroup::Cgroups;
use crate::cluster::Cluster;
use crate::eviction::Pressure;
use crate::paths::Paths;
use crate::pod::dns::DnsSettings;
use crate::pod::identity;
use crate::pod::qos::Qos;
use crate::pod::resources::{self, Needs};
use crate::pod::status::Waiting;

/// Tells users what was done.
pub trait Reporter: Send + Sync + 'static {
    /// An event about an object; `warning` if it is trouble.
    fn report(&self, about: &ObjectReference, warning: bool, reason: &str, message: &str);
}

/// What becomes of the status of a pod.
#[derive(Debug, Clone)]
pub struct StatusUpdate {
    /// The pod it belongs to.
    pub pod: Arc<Pod>,
    /// The status.
    pub status: PodStatus,
    /// Nothing of the pod is left: the API object may go.
    pub gone: bool,
}

/// What the node offers to pods.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// How many pods.
    pub pods: usize,
    /// All of the node's memory, in bytes.
    pub memory_capacity: i64,
}

/// The node as its pods see it.
pub struct NodeContext {
    /// The name of the node.
    pub node_name: String,
    /// Its addresses, the first one first.
    pub host_ips: Vec<String>,
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The kind of runtime, for container ids.
    pub runtime_name: String,
    /// The API.
    pub cluster: Arc<dyn Cluster>,
    /// Where events go.
    pub reporter: Arc<dyn Reporter>,
    /// Where statuses go.
    pub statuses: mpsc::UnboundedSender<StatusUpdate>,
    /// Whether the network of pods works.
    pub network_ready: watch::Receiver<bool>,
    /// What the node lacks.
    pub pressure: watch::Receiver<Pressure>,
    /// Folders.
    pub paths: Paths,
    /// Control groups.
    pub cgroups: Cgroups,
    /// Name resolution.
    pub dns: DnsSettings,
    /// What pods may use.
    pub offer: Offer,
    /// Where seccomp profiles lie.
    pub seccomp_root: PathBuf,
    /// Who uses what.
    pub ledger: Ledger,
}

impl NodeContext {
    /// Shares the CPUs between the classes of pods as the admitted ones ask for them; no pod waits for it.
    pub fn weigh_classes(self: &Arc<Self>) {
        let node = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = node.cgroups.weigh(node.offer.cpu, || node.ledger.burstable_cpu()).await {
                tracing::warn!(%error, "the classes of pods were not weighed");
            }
        });
    }
}

/// What the admitted pods need and their classes, by uid.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, (Needs, Qos)>>);

impl Ledger {
    /// Books a pod if it fits; the error is what the pod fails with. A pod that runs already always fits.
    pub fn admit(&self, pod: &Pod, runs_already: bool, offer: &Offer) -> Result<(), Waiting> {
        let mut booked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = identity::uid(pod);
        let needs = resources::of_pod(pod);
        if !runs_already && !booked.contains_key(uid) && !identity::is_static(pod) {
            let cpu: i64 = booked.values().map(|(needs, _)| needs.cpu).sum();
            let memory: i64 = booked.values().map(|(needs, _)| needs.memory).sum();
            let lacks = |name: &str, wanted: i64, used: i64, all: i64| {
                let message = format!(
                    "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {all}"
                );
                Err(Waiting::new(&format!("OutOf{name}"), message))
            };
            if booked.len() >= offer.pods {
                return lacks(
                    "pods",
                    1,
                    i64::try_from(booked.len()).unwrap_or(i64::MAX),
                    i64::try_from(offer.pods).unwrap_or(i64::MAX),
                );
            }
            if needs.cpu > 0 && cpu + needs.cpu > offer.cpu {
                return lacks("cpu", needs.cpu, cpu, offer.cpu);
            }
            if needs.memory > 0 && memory + needs.memory > offer.memory {
                return lacks("memory", needs.memory, memory, offer.memory);
            }
        }
        booked.insert(uid.to_owned(), (needs, Qos::of(pod)));
        Ok(())
    }

    /// What all burstable pods ask for together, in thousandths of a CPU.
    pub fn burstable_cpu(&self) -> i64 {
        let booked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        booked.values().filter(|(_, class)| *class == Qos::Burstable).map(|(needs, _)| needs.cpu).sum()
    }

    /// Gives back what a pod needed.
    pub fn release(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// How events refer to a pod, or to one container of it.
pub fn reference(pod: &Pod, field: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: Some(identity::namespace(pod).to_owned()),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn what_does_not_fit_is_refused_and_what_leaves_makes_room() {
        let offer = Offer { cpu: 1000, memory: 1 << 30, pods: 2, memory_capacity: 1 << 30 };
        let ledger = Ledger::default();
        let wants = |uid: &str, cpu: &str| {
            let mut pod = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}));
            pod.metadata.uid = Some(uid.to_owned());
            pod
        };
        ledger.admit(&wants("a", "700m"), false, &offer).unwrap();
        assert_eq!(ledger.admit(&wants("b", "400m"), false, &offer).unwrap_err().reason, "OutOfcpu");
        ledger.admit(&wants("b", "400m"), true, &offer).unwrap();
        assert_eq!(ledger.admit(&wants("c", "0"), false, &offer).unwrap_err().reason, "OutOfpods");
        assert_eq!(ledger.burstable_cpu(), 1100);
        ledger.release("a");
        assert_eq!(ledger.burstable_cpu(), 400);
        ledger.admit(&wants("c", "600m"), false, &offer).unwrap();
    }
}
