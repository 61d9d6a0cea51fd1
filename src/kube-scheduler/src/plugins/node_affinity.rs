//! `NodeAffinity`: node selectors, and nodes a pod must have or prefers.

use k8s_openapi::api::core::v1::NodeAffinity as Affinity;

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, Plugin, Rejection, normalize_by_highest};
use crate::pod::PodInfo;
use crate::selector::{Labels, selects_node, term_selects};
use crate::snapshot::Snapshot;

pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        let spec = pod.spec()?;
        let selector = spec.node_selector.as_ref().filter(|s| !s.is_empty());
        let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        if selector.is_none() && affinity.is_none() {
            return None;
        }
        Some(Box::new(Attracted { selector, affinity }))
    }

    fn may_help(&self, event: &Event<'_>, _: &PodInfo) -> bool {
        event.node_differs(|node| node.labels.clone())
    }
}

struct Attracted<'a> {
    selector: Option<&'a Labels>,
    affinity: Option<&'a Affinity>,
}

impl Judge for Attracted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let selected = self.selector.into_iter().flatten().all(|(k, v)| node.labels.get(k) == Some(v));
        let required = self.affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        if selected && required.is_none_or(|r| selects_node(r, &node.labels, &node.name)) {
            return Ok(());
        }
        Err(Rejection::by_node("node(s) didn't match Pod's node affinity/selector"))
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let preferred = self.affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        let matching =
            preferred.unwrap_or_default().iter().filter(|p| term_selects(&p.preference, &node.labels, &node.name));
        matching.map(|p| i64::from(p.weight)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_highest(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    #[test]
    fn selector_and_affinity_must_both_fit() {
        let snapshot = cluster(&[node("n1", json!({"metadata": {"labels": {"disk": "ssd"}}}))]);
        let check = |selector: serde_json::Value, name: &str| {
            let pod = pod(
                "p",
                json!({"spec": {"nodeSelector": selector, "affinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]}}}}}),
            );
            let judge = NodeAffinity.prepare(&pod, &snapshot).unwrap();
            judge.filter(&snapshot.nodes()[0]).is_ok()
        };
        assert!(check(json!({"disk": "ssd"}), "n1"));
        assert!(!check(json!({"disk": "hdd"}), "n1"));
        assert!(!check(json!({"disk": "ssd"}), "n2"));
    }
}
