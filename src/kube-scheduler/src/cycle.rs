//! One decision: filter the nodes, score what is left, choose. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::node::NodeInfo;
use crate::plugins::{Judge, PLUGINS};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// Up to this many possible nodes all are looked at.
const ENOUGH: usize = 100;
/// The smallest part of a large cluster that is looked at, in percent.
const LEAST_PERCENT: usize = 5;

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod goes to this node.
    Node(String),
    /// It fits nowhere.
    Nowhere(Diagnosis),
}

/// Why a pod fits nowhere; its text is what users read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes each reason excludes.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// The plugins that excluded nodes.
    pub plugins: BTreeSet<&'static str>,
    /// How many nodes no preemption could free.
    pub unhelpful: usize,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nodes;
        if total == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        // Sorted as whole texts, as upstream does.
        let mut reasons: Vec<String> = self.reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
        reasons.sort();
        write!(
            f,
            "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: ",
            reasons.join(", ")
        )?;
        let helpful = total - self.unhelpful;
        let mut outcomes = Vec::new();
        if helpful > 0 {
            outcomes.push(format!("{helpful} No preemption victims found for incoming pod"));
        }
        if self.unhelpful > 0 {
            outcomes.push(format!("{} Preemption is not helpful for scheduling", self.unhelpful));
        }
        outcomes.sort();
        write!(f, "{}.", outcomes.join(", "))
    }
}

/// Where decisions continue looking, and how they choose among equals.
#[derive(Debug)]
pub struct Rotation {
    next: usize,
    state: u64,
}

impl Rotation {
    /// A rotation whose choices follow from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self { next: 0, state: seed | 1 }
    }

    /// A number below `bound`, by xorshift: fair enough to spread pods over equal nodes.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % bound.max(1) as u64).unwrap_or(0)
    }
}

type Prepared<'a> = Vec<(&'static str, i64, Box<dyn Judge + 'a>)>;

/// Decides where a pod goes.
pub fn decide(pod: &PodInfo, snapshot: &Snapshot, rotation: &mut Rotation) -> Outcome {
    let judges: Prepared<'_> = PLUGINS
        .iter()
        .filter_map(|(plugin, weight)| Some((plugin.name(), *weight, plugin.prepare(pod, snapshot)?)))
        .collect();
    let nodes = snapshot.nodes();
    let mut diagnosis = Diagnosis { nodes: nodes.len(), ..Diagnosis::default() };
    let wanted = wanted(nodes.len());
    let mut possible: Vec<&NodeInfo> = Vec::new();
    let mut looked = 0;
    while looked < nodes.len() && possible.len() < wanted {
        let node = &nodes[(rotation.next + looked) % nodes.len()];
        looked += 1;
        if filter(&judges, node, &mut diagnosis) {
            possible.push(node);
        }
    }
    rotation.next = (rotation.next + looked) % nodes.len().max(1);
    match possible.as_slice() {
        [] => Outcome::Nowhere(diagnosis),
        [only] => Outcome::Node(only.name.clone()),
        several => Outcome::Node(best(&judges, several, rotation).name.clone()),
    }
}

/// How many possible nodes are enough: all of a small cluster, a smaller part of a larger one.
fn wanted(nodes: usize) -> usize {
    if nodes < ENOUGH {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(ENOUGH)
}

fn filter(judges: &Prepared<'_>, node: &NodeInfo, diagnosis: &mut Diagnosis) -> bool {
    for (name, _, judge) in judges {
        if let Err(rejection) = judge.filter(node) {
            diagnosis.plugins.insert(name);
            diagnosis.unhelpful += usize::from(!rejection.preemptible);
            for reason in rejection.reasons {
                *diagnosis.reasons.entry(reason).or_default() += 1;
            }
            return false;
        }
    }
    true
}

fn best<'n>(judges: &Prepared<'_>, nodes: &[&'n NodeInfo], rotation: &mut Rotation) -> &'n NodeInfo {
    let mut totals = vec![0_i64; nodes.len()];
    for (_, weight, judge) in judges.iter().filter(|(_, weight, _)| *weight > 0) {
        let mut scores: Vec<i64> = nodes.iter().map(|node| judge.score(node)).collect();
        judge.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * weight;
        }
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let equals: Vec<usize> = (0..nodes.len()).filter(|i| totals[*i] == highest).collect();
    nodes[equals[rotation.below(equals.len())]]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    fn nowhere(snapshot: &Snapshot, pod: &PodInfo) -> String {
        match decide(pod, snapshot, &mut Rotation::seeded(1)) {
            Outcome::Nowhere(diagnosis) => diagnosis.to_string(),
            Outcome::Node(name) => name,
        }
    }

    fn asking(cpu: &str) -> std::sync::Arc<PodInfo> {
        pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
    }

    #[test]
    fn the_reason_reads_as_upstreams() {
        let mut snapshot = cluster(&[node("n1", json!({}))]);
        snapshot.set_pod(
            pod("other", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}})),
            "n1",
        );
        assert_eq!(
            nowhere(&snapshot, &asking("2")),
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
             1 No preemption victims found for incoming pod."
        );
        let tainted =
            json!({"spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}});
        snapshot.set_node(node("n2", tainted));
        assert_eq!(
            nowhere(&snapshot, &asking("9")),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint \
             {node-role.kubernetes.io/control-plane: }. preemption: 0/2 nodes are available: \
             2 Preemption is not helpful for scheduling."
        );
        assert_eq!(nowhere(&Snapshot::default(), &asking("1")), "no nodes available to schedule pods");
    }

    #[test]
    fn equal_nodes_share_the_pods() {
        let snapshot = cluster(&[node("n1", json!({})), node("n2", json!({})), node("n3", json!({}))]);
        let (pod, mut rotation) = (asking("1"), Rotation::seeded(7));
        let chosen: BTreeSet<String> = (0..50)
            .map(|_| match decide(&pod, &snapshot, &mut rotation) {
                Outcome::Node(name) => name,
                Outcome::Nowhere(why) => panic!("{why}"),
            })
            .collect();
        assert_eq!(chosen.len(), 3);
    }

    #[test]
    fn a_large_cluster_is_not_looked_at_whole() {
        assert_eq!((wanted(50), wanted(100), wanted(1000), wanted(100_000)), (50, 100, 420, 5000));
    }
}
