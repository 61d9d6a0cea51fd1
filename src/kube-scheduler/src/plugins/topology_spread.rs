//! `PodTopologySpread`: like pods spread over zones, nodes or any other label.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Taint, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::node::NodeInfo;
use crate::plugins::taint_toleration::tolerates;
use crate::plugins::{Event, Judge, MAX_SCORE, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::selector::{selects, selects_node};
use crate::snapshot::Snapshot;

pub(super) struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        let constraints = pod.spec()?.topology_spread_constraints.as_deref().filter(|c| !c.is_empty())?;
        let of = |mode: &str| -> Vec<Spread> {
            let chosen: Vec<_> = constraints.iter().filter(|c| c.when_unsatisfiable == mode).collect();
            chosen.iter().map(|c| Spread::count(c, &chosen, pod, snapshot)).collect()
        };
        Some(Box::new(Spreading { hard: of("DoNotSchedule"), soft: of("ScheduleAnyway") }))
    }

    fn may_help(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Node { .. } => event.node_differs(|n| (n.labels.clone(), n.taints().to_vec())),
            Event::PodPlaced(other) | Event::PodGone(other) => other.namespace == pod.namespace,
        }
    }
}

struct Spreading {
    hard: Vec<Spread>,
    soft: Vec<Spread>,
}

/// One constraint, with the like pods in each part of the cluster.
struct Spread {
    key: String,
    max_skew: i64,
    own: i64,
    least: i64,
    counts: HashMap<String, i64>,
}

impl Spread {
    fn count(
        constraint: &TopologySpreadConstraint,
        together: &[&TopologySpreadConstraint],
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Self {
        let selector = with_match_keys(constraint, pod);
        let mut counts: HashMap<String, i64> = HashMap::new();
        for node in snapshot.nodes() {
            let has_keys = together.iter().all(|c| node.labels.contains_key(&c.topology_key));
            let Some(value) = node.labels.get(&constraint.topology_key).filter(|_| has_keys) else { continue };
            if !counts_for(constraint, pod, node) {
                continue;
            }
            let like =
                |p: &PodInfo| p.namespace == pod.namespace && !p.is_leaving() && selects(Some(&selector), &p.labels);
            let found = node.pods.iter().filter(|p| like(p)).count();
            *counts.entry(value.clone()).or_default() += i64::try_from(found).unwrap_or(i64::MAX);
        }
        let domains = i32::try_from(counts.len()).unwrap_or(i32::MAX);
        let too_few = constraint.min_domains.is_some_and(|min| domains < min);
        Self {
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            own: i64::from(selects(Some(&selector), &pod.labels)),
            least: if too_few { 0 } else { counts.values().copied().min().unwrap_or(0) },
            counts,
        }
    }
}

/// The selector, narrowed to the values that the pod itself has for some keys.
fn with_match_keys(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> LabelSelector {
    let mut selector = constraint.label_selector.clone().unwrap_or_else(|| LabelSelector {
        // Without selector nothing is alike.
        match_expressions: Some(vec![LabelSelectorRequirement::default()]),
        ..LabelSelector::default()
    });
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = pod.labels.get(key) {
            selector.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    selector
}

/// Whether a node's pods count, by the constraint's policies for nodes the pod cannot use.
fn counts_for(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let honors = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
    let hard = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    if honors(&constraint.node_taints_policy, "Ignore") && node.taints().iter().filter(hard).any(|t| !tolerates(pod, t))
    {
        return false;
    }
    if !honors(&constraint.node_affinity_policy, "Honor") {
        return true;
    }
    let Some(spec) = pod.spec() else { return true };
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| node.labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|r| selects_node(r, &node.labels, &node.name))
}

impl Judge for Spreading {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for spread in &self.hard {
            let Some(value) = node.labels.get(&spread.key) else {
                return Err(Rejection::by_node(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let here = spread.counts.get(value).copied().unwrap_or(0);
            if here + spread.own - spread.least > spread.max_skew {
                return Err(Rejection::by_pods("node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    /// How many like pods are near; fewer parts of the cluster weigh less.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of pods are small")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let near = |spread: &Spread| {
            let here = node.labels.get(&spread.key).and_then(|v| spread.counts.get(v)).copied().unwrap_or(0);
            here as f64 * (spread.counts.len() as f64 + 2.0).ln() + (spread.max_skew - 1) as f64
        };
        self.soft.iter().map(near).sum::<f64>().round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        if self.soft.is_empty() {
            scores.fill(0);
            return;
        }
        let highest = scores.iter().copied().max().unwrap_or(0);
        let lowest = scores.iter().copied().min().unwrap_or(0);
        for score in scores {
            *score = if highest == 0 { MAX_SCORE } else { MAX_SCORE * (highest + lowest - *score) / highest };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    fn spreading(name: &str, mode: &str) -> std::sync::Arc<PodInfo> {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": mode, "labelSelector": {"matchLabels": {"app": "web"}}}]}}),
        )
    }

    fn zones() -> Snapshot {
        let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
        let mut snapshot = cluster(&[zone("a1", "a"), zone("a2", "a"), zone("b1", "b"), node("c1", json!({}))]);
        snapshot.set_pod(spreading("one", "DoNotSchedule"), "a1");
        snapshot
    }

    #[test]
    fn the_fuller_zone_is_closed() {
        let (snapshot, pod) = (zones(), spreading("two", "DoNotSchedule"));
        let judge = PodTopologySpread.prepare(&pod, &snapshot).unwrap();
        let fits: Vec<bool> = snapshot.nodes().iter().map(|n| judge.filter(n).is_ok()).collect();
        assert_eq!(fits, [false, false, true, false]);
        let missing = judge.filter(&snapshot.nodes()[3]).unwrap_err();
        assert!(missing.reasons[0].contains("missing required label") && !missing.preemptible);
    }

    #[test]
    fn a_preference_only_scores() {
        let (snapshot, pod) = (zones(), spreading("two", "ScheduleAnyway"));
        let judge = PodTopologySpread.prepare(&pod, &snapshot).unwrap();
        assert!(snapshot.nodes().iter().all(|n| judge.filter(n).is_ok()));
        let mut scores: Vec<i64> = snapshot.nodes()[..3].iter().map(|n| judge.score(n)).collect();
        judge.normalize(&mut scores);
        assert!(scores[2] > scores[0] && scores[0] == scores[1], "{scores:?}");
    }
}
