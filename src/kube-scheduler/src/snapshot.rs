//! What is: all nodes with their pods, including pods that were just assigned and not yet bound.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// The picture of the cluster that decisions are made on. One task owns it, so it needs no lock.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    /// Where each pod is, with whether that is only our own decision so far.
    placed: HashMap<String, Placed>,
    /// How many placed pods say something about other pods.
    minding: usize,
    /// Labels of namespaces, for terms that select namespaces.
    namespaces: HashMap<String, crate::selector::Labels>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    pod: Arc<PodInfo>,
    is_assumed: bool,
}

impl Snapshot {
    /// All nodes.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|at| &self.nodes[*at])
    }

    /// Whether any placed pod says something about other pods.
    pub fn has_minding_pods(&self) -> bool {
        self.minding > 0
    }

    /// The labels of a namespace.
    pub fn namespace_labels(&self, name: &str) -> Option<&crate::selector::Labels> {
        self.namespaces.get(name)
    }

    /// Sets or removes a namespace.
    pub fn set_namespace(&mut self, name: &str, labels: Option<crate::selector::Labels>) {
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
    }

    /// Adds a node or takes over its newer state; pods that were seen before their node find it.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(at) = self.by_name.get(&name) {
            self.nodes[*at].set_node(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        for placed in self.placed.values().filter(|p| p.node == name) {
            info.add(Arc::clone(&placed.pod));
        }
        self.by_name.insert(name, self.nodes.len());
        self.nodes.push(info);
    }

    /// Removes a node; its pods are still known until they are removed themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.by_name.remove(name) else { return };
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name.clone(), at);
        }
    }

    /// Takes over where a pod is, as the API server says; confirms an assumption.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.place(pod, node, false);
    }

    /// Counts a pod on a node before the API server knows it.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.place(pod, node, true);
    }

    /// Takes back an assumption; a confirmed pod stays. Tells whether there was one.
    pub fn forget(&mut self, uid: &str) -> bool {
        let is_assumed = self.placed.get(uid).is_some_and(|p| p.is_assumed);
        if is_assumed {
            self.remove_pod(uid);
        }
        is_assumed
    }

    /// Removes a pod that is gone or has ended. Tells whether it was on a node.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else { return false };
        self.minding -= usize::from(placed.pod.minds_others);
        if let Some(at) = self.by_name.get(&placed.node) {
            self.nodes[*at].remove(uid);
        }
        true
    }

    /// Whether a pod is on a node, be it by our own decision.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: &str, is_assumed: bool) {
        self.remove_pod(&pod.uid);
        self.minding += usize::from(pod.minds_others);
        if let Some(at) = self.by_name.get(node) {
            self.nodes[*at].add(Arc::clone(&pod));
        }
        self.placed.insert(pod.uid.clone(), Placed { node: node.to_owned(), pod, is_assumed });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A node with 4 processors, 8 GiB and room for 110 pods, changed by `extra`.
    pub(crate) fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi"}}});
        merge(&mut node, extra);
        Arc::new(serde_json::from_value(node).unwrap())
    }

    /// A pod with one container, changed by `extra`.
    pub(crate) fn pod(name: &str, extra: Value) -> Arc<PodInfo> {
        let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
            "spec": {"containers": [{"name": "c", "image": "web:1"}]}});
        merge(&mut pod, extra);
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    pub(crate) fn cluster(nodes: &[Arc<Node>]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            snapshot.set_node(Arc::clone(node));
        }
        snapshot
    }

    fn requesting(name: &str) -> Arc<PodInfo> {
        pod(name, json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}))
    }

    #[test]
    fn a_pod_counts_once_whether_assumed_or_confirmed() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({}))]);
        snapshot.assume(requesting("a"), "n1");
        snapshot.set_pod(requesting("a"), "n1");
        assert_eq!(snapshot.node("n1").unwrap().requested.milli_cpu, 1000);
        assert!(!snapshot.forget("uid-a"), "a confirmed pod stays");
        snapshot.set_pod(requesting("a"), "n2");
        assert_eq!(snapshot.node("n1").unwrap().requested.milli_cpu, 0);
        snapshot.remove_pod("uid-a");
        assert_eq!(snapshot.node("n2").unwrap().requested.milli_cpu, 0);
    }

    #[test]
    fn pods_seen_before_their_node_count_when_it_comes() {
        let mut snapshot = Snapshot::default();
        snapshot.set_pod(requesting("a"), "n1");
        snapshot.set_node(node("n1", json!({})));
        assert_eq!(snapshot.node("n1").unwrap().requested.milli_cpu, 1000);
    }

    #[test]
    fn names_stay_right_when_a_node_goes() {
        let mut snapshot = cluster(&[node("n1", json!({})), node("n2", json!({})), node("n3", json!({}))]);
        snapshot.remove_node("n1");
        assert!(snapshot.node("n1").is_none());
        assert_eq!(snapshot.node("n3").unwrap().name, "n3");
        assert_eq!(snapshot.node("n2").unwrap().name, "n2");
    }
}
