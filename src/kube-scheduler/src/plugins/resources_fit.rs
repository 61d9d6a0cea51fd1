//! `NodeResourcesFit`: what is left of a node must be enough; emptier nodes are better.

use std::borrow::Cow;

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, MAX_SCORE, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::resources::Requests;
use crate::snapshot::Snapshot;

pub(super) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        Some(Box::new(Fitting(&pod.requests)))
    }

    fn may_help(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            // A node on which the pod would not even fit alone is no help.
            Event::Node { new, .. } => {
                let mut empty = (*new).clone();
                empty.pods.clear();
                empty.requested = crate::resources::Resources::default();
                event.node_differs(|n| n.allocatable.clone()) && missing(&pod.requests, &empty).is_empty()
            }
            Event::PodGone(_) => true,
            Event::PodPlaced(_) => false,
        }
    }
}

struct Fitting<'a>(&'a Requests);

impl Judge for Fitting<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let reasons = missing(self.0, node);
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Rejection { reasons, preemptible: could_ever_fit(self.0, node) })
    }

    /// `LeastAllocated`: the mean of the free shares of processor and memory.
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |capacity: i64, used: i64| {
            if capacity == 0 || used > capacity { 0 } else { (capacity - used) * MAX_SCORE / capacity }
        };
        let cpu = free(node.allocatable.milli_cpu, node.assumed.milli_cpu + self.0.assumed.milli_cpu);
        let memory = free(node.allocatable.memory, node.assumed.memory + self.0.assumed.memory);
        match (node.allocatable.milli_cpu, node.allocatable.memory) {
            (0, 0) => 0,
            (0, _) => memory,
            (_, 0) => cpu,
            _ => i64::midpoint(cpu, memory),
        }
    }
}

fn missing(requests: &Requests, node: &NodeInfo) -> Vec<Cow<'static, str>> {
    let (wanted, all, used) = (&requests.exact, &node.allocatable, &node.requested);
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX).saturating_add(1) > all.pods {
        reasons.push("Too many pods".into());
    }
    let short = |wanted: i64, all: i64, used: i64| wanted > 0 && wanted > all - used;
    if short(wanted.milli_cpu, all.milli_cpu, used.milli_cpu) {
        reasons.push("Insufficient cpu".into());
    }
    if short(wanted.memory, all.memory, used.memory) {
        reasons.push("Insufficient memory".into());
    }
    if short(wanted.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage) {
        reasons.push("Insufficient ephemeral-storage".into());
    }
    for (name, amount) in &wanted.scalars {
        let of = |r: &crate::resources::Resources| r.scalars.get(name).copied().unwrap_or(0);
        if short(*amount, of(all), of(used)) {
            reasons.push(format!("Insufficient {name}").into());
        }
    }
    reasons
}

/// Whether the pod would fit if nothing else were there.
fn could_ever_fit(requests: &Requests, node: &NodeInfo) -> bool {
    let (wanted, all) = (&requests.exact, &node.allocatable);
    let scalars = wanted.scalars.iter().all(|(n, a)| *a <= all.scalars.get(n).copied().unwrap_or(0));
    wanted.milli_cpu <= all.milli_cpu
        && wanted.memory <= all.memory
        && wanted.ephemeral_storage <= all.ephemeral_storage
        && scalars
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    fn asking(name: &str, requests: serde_json::Value) -> std::sync::Arc<PodInfo> {
        pod(name, json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
    }

    #[test]
    fn every_missing_kind_is_named() {
        let mut snapshot = cluster(&[node("n1", json!({"status": {"allocatable": {"pods": "1"}}}))]);
        snapshot.set_pod(asking("a", json!({"cpu": "3"})), "n1");
        let pod = asking("b", json!({"cpu": "2", "memory": "9Gi", "example.com/gpu": "1"}));
        let rejection = NodeResourcesFit.prepare(&pod, &snapshot).unwrap().filter(&snapshot.nodes()[0]).unwrap_err();
        assert_eq!(
            rejection.reasons,
            ["Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient example.com/gpu"]
        );
        assert!(!rejection.preemptible, "nine GiB never fit here");
    }

    #[test]
    fn a_pod_that_asks_for_nothing_fits_on_a_full_node() {
        let mut snapshot = cluster(&[node("n1", json!({}))]);
        snapshot.set_pod(asking("a", json!({"cpu": "4"})), "n1");
        let pod = asking("b", json!({}));
        assert!(NodeResourcesFit.prepare(&pod, &snapshot).unwrap().filter(&snapshot.nodes()[0]).is_ok());
    }

    #[test]
    fn the_emptier_node_is_better() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({}))]);
        snapshot.set_pod(asking("a", json!({"cpu": "2", "memory": "4Gi"})), "n1");
        let pod = asking("b", json!({"cpu": "1", "memory": "1Gi"}));
        let judge = NodeResourcesFit.prepare(&pod, &snapshot).unwrap();
        let scores: Vec<i64> = snapshot.nodes().iter().map(|n| judge.score(n)).collect();
        assert_eq!(scores, [31, 81]);
    }
}
