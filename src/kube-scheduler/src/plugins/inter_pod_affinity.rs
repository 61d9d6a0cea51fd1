//! `InterPodAffinity`: pods that belong together, and pods that must stay apart.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, MAX_SCORE, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::selector::selects;
use crate::snapshot::Snapshot;

/// What it is worth to be near a pod that requires pods like this one.
const REQUIRED_BY_OTHERS: i64 = 1;

pub(super) struct InterPodAffinity;

/// A part of the cluster: a label and its value.
type Place = (String, String);

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        if !pod.minds_others && !snapshot.has_minding_pods() {
            return None;
        }
        let mut minding = Minding::new(pod, snapshot);
        for node in snapshot.nodes() {
            for other in &node.pods {
                minding.consider(other, node, snapshot);
            }
        }
        Some(Box::new(minding))
    }

    fn may_help(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Node { .. } => event.node_differs(|n| n.labels.clone()),
            Event::PodPlaced(_) => !pod.affinity_terms().is_empty(),
            Event::PodGone(gone) => !pod.anti_affinity_terms().is_empty() || gone.minds_others,
        }
    }
}

struct Minding<'a> {
    pod: &'a PodInfo,
    /// Places that hold a pod this one must be with.
    wanted: HashSet<Place>,
    /// Places that hold a pod this one must be apart from.
    avoided: HashSet<Place>,
    /// Places closed by pods that do not want this one.
    closed: HashSet<Place>,
    /// What each place is worth.
    worth: HashMap<Place, i64>,
    /// Whether the pod would satisfy its own terms, as the first of its kind does.
    is_own_kind: bool,
}

impl<'a> Minding<'a> {
    fn new(pod: &'a PodInfo, snapshot: &Snapshot) -> Self {
        let is_own_kind = pod.affinity_terms().iter().all(|t| term_selects(t, pod, pod, snapshot));
        Self {
            pod,
            wanted: HashSet::new(),
            avoided: HashSet::new(),
            closed: HashSet::new(),
            worth: HashMap::new(),
            is_own_kind,
        }
    }

    fn consider(&mut self, other: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) {
        let pod = self.pod;
        let terms = pod.affinity_terms();
        if !terms.is_empty() && terms.iter().all(|t| term_selects(t, pod, other, snapshot)) {
            self.wanted.extend(terms.iter().filter_map(|t| place(t, node)));
        }
        let apart = pod.anti_affinity_terms().iter().filter(|t| term_selects(t, pod, other, snapshot));
        self.avoided.extend(apart.filter_map(|t| place(t, node)));
        let (near, far) = preferred(pod);
        self.weigh(near, 1, (pod, other), (node, snapshot));
        self.weigh(far, -1, (pod, other), (node, snapshot));
        if !other.minds_others {
            return;
        }
        let against = other.anti_affinity_terms().iter().filter(|t| term_selects(t, other, pod, snapshot));
        self.closed.extend(against.filter_map(|t| place(t, node)));
        for term in other.affinity_terms().iter().filter(|t| term_selects(t, other, pod, snapshot)) {
            self.add(place(term, node), REQUIRED_BY_OTHERS);
        }
        let (near, far) = preferred(other);
        self.weigh(near, 1, (other, pod), (node, snapshot));
        self.weigh(far, -1, (other, pod), (node, snapshot));
    }

    fn weigh(
        &mut self,
        terms: &[WeightedPodAffinityTerm],
        sign: i64,
        (owner, subject): (&PodInfo, &PodInfo),
        (node, snapshot): (&NodeInfo, &Snapshot),
    ) {
        for weighted in terms {
            if term_selects(&weighted.pod_affinity_term, owner, subject, snapshot) {
                self.add(place(&weighted.pod_affinity_term, node), sign * i64::from(weighted.weight));
            }
        }
    }

    fn add(&mut self, place: Option<Place>, worth: i64) {
        if let Some(place) = place {
            *self.worth.entry(place).or_default() += worth;
        }
    }
}

fn preferred(pod: &PodInfo) -> (&[WeightedPodAffinityTerm], &[WeightedPodAffinityTerm]) {
    let affinity = pod.spec().and_then(|s| s.affinity.as_ref());
    let near = affinity.and_then(|a| a.pod_affinity.as_ref());
    let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    (
        near.and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default(),
        far.and_then(|f| f.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default(),
    )
}

fn place(term: &PodAffinityTerm, node: &NodeInfo) -> Option<Place> {
    Some((term.topology_key.clone(), node.labels.get(&term.topology_key)?.clone()))
}

/// Whether a term of `owner` means `subject`.
fn term_selects(term: &PodAffinityTerm, owner: &PodInfo, subject: &PodInfo, snapshot: &Snapshot) -> bool {
    let named = term.namespaces.as_deref().unwrap_or_default();
    let in_namespace = if named.is_empty() && term.namespace_selector.is_none() {
        subject.namespace == owner.namespace
    } else {
        let empty = crate::selector::Labels::new();
        named.contains(&subject.namespace)
            || selects(
                term.namespace_selector.as_ref(),
                snapshot.namespace_labels(&subject.namespace).unwrap_or(&empty),
            )
    };
    in_namespace && selects(term.label_selector.as_ref(), &subject.labels)
}

impl Judge for Minding<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let terms = self.pod.affinity_terms();
        let places: Option<Vec<Place>> = terms.iter().map(|t| place(t, node)).collect();
        let together = places.is_some_and(|places| {
            // The first pod of its kind may go anywhere, or none could ever start.
            places.iter().all(|p| self.wanted.contains(p)) || (self.wanted.is_empty() && self.is_own_kind)
        });
        if !together {
            return Err(Rejection::by_node("node(s) didn't match pod affinity rules"));
        }
        let apart = self.pod.anti_affinity_terms().iter().filter_map(|t| place(t, node));
        if apart.into_iter().any(|p| self.avoided.contains(&p)) {
            return Err(Rejection::by_pods("node(s) didn't match pod anti-affinity rules"));
        }
        if self.closed.iter().any(|(key, value)| node.labels.get(key) == Some(value)) {
            return Err(Rejection::by_pods("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let here = self.worth.iter().filter(|((key, value), _)| node.labels.get(key) == Some(value));
        here.map(|(_, worth)| worth).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let highest = scores.iter().copied().max().unwrap_or(0);
        let lowest = scores.iter().copied().min().unwrap_or(0);
        for score in scores {
            *score = if highest == lowest { 0 } else { MAX_SCORE * (*score - lowest) / (highest - lowest) };
        }
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    fn with(name: &str, app: &str, affinity: Value) -> Arc<PodInfo> {
        pod(name, json!({"metadata": {"labels": {"app": app}}, "spec": {"affinity": affinity}}))
    }

    fn term(app: &str) -> Value {
        json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}])
    }

    fn apart(app: &str) -> Value {
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(app)}})
    }

    fn together(app: &str) -> Value {
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(app)}})
    }

    fn fits(snapshot: &Snapshot, pod: &PodInfo) -> Vec<bool> {
        let judge = InterPodAffinity.prepare(pod, snapshot).unwrap();
        snapshot.nodes().iter().map(|n| judge.filter(n).is_ok()).collect()
    }

    #[test]
    fn pods_stay_apart_whichever_of_them_asks() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({}))]);
        snapshot.set_pod(with("a", "web", apart("web")), "n1");
        assert_eq!(fits(&snapshot, &with("b", "web", apart("web"))), [false, true]);
        assert_eq!(fits(&snapshot, &with("b", "web", json!({}))), [false, true]);
        assert_eq!(fits(&snapshot, &with("b", "db", json!({}))), [true, true]);
    }

    #[test]
    fn the_first_of_its_kind_goes_anywhere_and_the_next_to_it() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({}))]);
        assert_eq!(fits(&snapshot, &with("a", "web", together("web"))), [true, true]);
        assert_eq!(fits(&snapshot, &with("a", "db", together("web"))), [false, false]);
        snapshot.set_pod(with("a", "web", together("web")), "n2");
        assert_eq!(fits(&snapshot, &with("b", "web", together("web"))), [false, true]);
    }

    #[test]
    fn a_preference_scores_places_near_its_pods() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({}))]);
        snapshot.set_pod(with("a", "db", json!({})), "n2");
        let near = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "podAffinityTerm": term("db")[0]}]}});
        let pod = with("b", "web", near);
        let judge = InterPodAffinity.prepare(&pod, &snapshot).unwrap();
        let mut scores: Vec<i64> = snapshot.nodes().iter().map(|n| judge.score(n)).collect();
        judge.normalize(&mut scores);
        assert_eq!(scores, [0, 100]);
    }
}
