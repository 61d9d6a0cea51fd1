//! A pod as the scheduler sees it: what it asks for, taken apart once.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec};

use crate::resources::{self, Requests};
use crate::selector::Labels;

/// A port of the node that a pod occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The address; empty or unspecified means all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A pod.
#[derive(Debug, Clone)]
pub struct PodInfo {
    /// The object.
    pub pod: Arc<Pod>,
    /// Its identity.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its rank.
    pub priority: i32,
    /// What it asks for.
    pub requests: Requests,
    /// The ports it occupies.
    pub host_ports: Vec<HostPort>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it says anything about other pods.
    pub minds_others: bool,
}

impl PodInfo {
    /// Takes a pod apart.
    pub fn new(pod: Arc<Pod>) -> Self {
        let object = Arc::clone(&pod);
        let empty = PodSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let meta = &object.metadata;
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            requests: resources::of_pod(spec),
            host_ports: host_ports(spec),
            minds_others: spec
                .affinity
                .as_ref()
                .is_some_and(|a| a.pod_affinity.is_some() || a.pod_anti_affinity.is_some()),
            created: meta.creation_timestamp.as_ref().map(|t| t.0),
            pod,
        }
    }

    /// Its specification.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// The node it is bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.spec()?.node_name.as_deref().filter(|n| !n.is_empty())
    }

    /// Whether it was asked to go.
    pub fn is_leaving(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether it has ended and occupies nothing any more.
    pub fn has_ended(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|s| s.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// The terms of pods it must be together with.
    pub fn affinity_terms(&self) -> &[PodAffinityTerm] {
        let affinity = self.spec().and_then(|s| s.affinity.as_ref()).and_then(|a| a.pod_affinity.as_ref());
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// The terms of pods it must be apart from.
    pub fn anti_affinity_terms(&self) -> &[PodAffinityTerm] {
        let affinity = self.spec().and_then(|s| s.affinity.as_ref()).and_then(|a| a.pod_anti_affinity.as_ref());
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let host_port = |p: &k8s_openapi::api::core::v1::ContainerPort| {
        Some(HostPort {
            ip: p.host_ip.clone().unwrap_or_default(),
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: p.host_port.filter(|p| *p > 0)?,
        })
    };
    ports.filter_map(host_port).collect()
}
