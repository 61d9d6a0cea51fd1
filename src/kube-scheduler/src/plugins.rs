//! What is considered when a pod gets its node: the ordered list of plugins, and what a plugin is.

use std::borrow::Cow;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod resources_fit;
pub mod scheduling_gates;
mod taint_toleration;
mod topology_spread;

/// The best score a plugin gives.
pub const MAX_SCORE: i64 = 100;

/// Every plugin, in upstream's order, with the weight of its score.
pub const PLUGINS: &[(&dyn Plugin, i64)] = &[
    (&node_unschedulable::NodeUnschedulable, 0),
    (&node_name::NodeName, 0),
    (&taint_toleration::TaintToleration, 3),
    (&node_affinity::NodeAffinity, 2),
    (&node_ports::NodePorts, 0),
    (&resources_fit::NodeResourcesFit, 1),
    (&topology_spread::PodTopologySpread, 2),
    (&inter_pod_affinity::InterPodAffinity, 2),
    (&balanced_allocation::NodeResourcesBalancedAllocation, 1),
    (&image_locality::ImageLocality, 1),
];

/// One consideration.
pub trait Plugin: Sync {
    /// Its name in configuration files and reports.
    fn name(&self) -> &'static str;

    /// Prepares to judge nodes for a pod; `None` if it has nothing to say about this pod.
    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Judge + 'a>>;

    /// Whether a pod it rejected may fit after an event.
    fn may_help(&self, event: &Event<'_>, pod: &PodInfo) -> bool;
}

/// A plugin prepared for one pod.
pub trait Judge {
    /// Why the pod cannot be on a node.
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let _ = node;
        Ok(())
    }

    /// How good a node is; the scale is the plugin's own until it is normalized.
    fn score(&self, node: &NodeInfo) -> i64 {
        let _ = node;
        0
    }

    /// Brings the scores of all nodes to 0..=[`MAX_SCORE`].
    fn normalize(&self, scores: &mut [i64]) {
        let _ = scores;
    }
}

/// Why a node is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Upstream's words; several if several things are missing.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether the node could become possible if pods on it went away.
    pub preemptible: bool,
}

impl Rejection {
    /// One that pods on the node cause.
    pub fn by_pods(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], preemptible: true }
    }

    /// One that no other pod causes.
    pub fn by_node(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemptible: false }
    }
}

/// What happened in the cluster that may help a waiting pod.
#[derive(Debug)]
pub enum Event<'a> {
    /// A node is new or changed.
    Node {
        /// As it was; absent if it is new.
        old: Option<&'a NodeInfo>,
        /// As it is.
        new: &'a NodeInfo,
    },
    /// A pod is now on a node, or changed its labels there.
    PodPlaced(&'a PodInfo),
    /// A pod left its node.
    PodGone(&'a PodInfo),
}

impl Event<'_> {
    /// Whether a node is new or differs in something.
    fn node_differs<T: PartialEq>(&self, what: impl Fn(&NodeInfo) -> T) -> bool {
        match self {
            Self::Node { old: None, .. } => true,
            Self::Node { old: Some(old), new } => what(old) != what(new),
            _ => false,
        }
    }
}

/// Spreads scores over 0..=[`MAX_SCORE`] in proportion to the highest; `reverse` makes low ones good.
fn normalize_by_highest(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { *score * MAX_SCORE / highest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}
