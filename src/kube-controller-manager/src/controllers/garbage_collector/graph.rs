//! Who owns whom, as far as it was seen.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::discovery::Discovered;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// An object as the graph knows it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) kind: Arc<Discovered>,
    owners: Vec<OwnerReference>,
    fate: Fate,
    /// Something of ours hangs on its finalizers.
    finishing: bool,
}

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there, and its dependents with it.
    Lives,
    /// It is being deleted and goes after its dependents.
    WaitsForDependents,
    /// It is not there.
    Gone,
}

impl Fate {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let waits =
            meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|name| name == FOREGROUND);
        if waits { Self::WaitsForDependents } else { Self::Lives }
    }
}

impl Node {
    pub(super) fn of<K: Resource>(object: &Arc<K>, kind: &Arc<Discovered>) -> Self {
        let meta = object.meta();
        let ours = meta.finalizers.iter().flatten().any(|name| name == FOREGROUND || name == ORPHAN);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            kind: Arc::clone(kind),
            owners: meta.owner_references.clone().unwrap_or_default(),
            fate: Fate::of(meta),
            finishing: meta.deletion_timestamp.is_some() && ours,
        }
    }
}

/// All objects seen, and their dependents.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, HashSet<String>>,
    /// Uids of owners that are gone for certain. Uids are never used again.
    buried: HashSet<String>,
}

impl Graph {
    /// Takes an object in; returns whom to look at.
    pub(super) fn observe(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid.clone();
        if let Some(known) = self.nodes.get(&uid).cloned() {
            self.unlink(&known);
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let mut touched = Vec::new();
        if self.doubts(&node) {
            touched.push(uid.clone());
        }
        if node.finishing {
            touched.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        self.nodes.insert(uid, node);
        touched
    }

    /// Forgets an object; returns its dependents, and its owners that may wait for it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut touched: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if let Some(node) = self.nodes.remove(uid) {
            self.unlink(&node);
            let waiting = |owner: &&OwnerReference| self.nodes.get(&owner.uid).is_some_and(|owner| owner.finishing);
            touched.extend(node.owners.iter().filter(waiting).map(|owner| owner.uid.clone()));
        }
        if !touched.is_empty() {
            self.bury(uid);
        }
        touched
    }

    fn unlink(&mut self, node: &Node) {
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&node.uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                    self.buried.remove(&owner.uid);
                }
            }
        }
    }

    /// Remembers that an owner is gone, as long as something names it.
    pub(super) fn bury(&mut self, uid: &str) {
        if self.dependents.contains_key(uid) {
            self.buried.insert(uid.to_owned());
        }
    }

    /// An object that something may have to be done about.
    pub(super) fn in_doubt(&self, uid: &str) -> Option<Node> {
        self.nodes.get(uid).filter(|node| self.doubts(node)).cloned()
    }

    fn doubts(&self, node: &Node) -> bool {
        node.finishing || node.owners.iter().any(|owner| self.fate(owner, &node.namespace) != Some(Fate::Lives))
    }

    pub(super) fn has_dependents(&self, uid: &str) -> bool {
        self.dependents.contains_key(uid)
    }

    /// The dependents of an object: those its deletion waits for, and the others.
    pub(super) fn dependents(&self, uid: &str) -> (Vec<Node>, Vec<Node>) {
        let all =
            self.dependents.get(uid).into_iter().flatten().filter_map(|dependent| self.nodes.get(dependent).cloned());
        all.partition(|node| {
            node.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        })
    }

    /// What became of an owner, if that is known. A namespaced owner of an object elsewhere counts as gone: owners do
    /// not reach across namespaces.
    pub(super) fn fate(&self, owner: &OwnerReference, namespace: &str) -> Option<Fate> {
        if self.buried.contains(&owner.uid) {
            return Some(Fate::Gone);
        }
        let node = self.nodes.get(&owner.uid)?;
        let reaches = node.namespace.is_empty() || node.namespace == namespace;
        Some(if reaches { node.fate } else { Fate::Gone })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ApiResource;
    use serde_json::json;

    use super::*;

    fn node(uid: &str, owners: &[(&str, bool)], finalizer: Option<&str>) -> Node {
        let owners: Vec<_> = owners.iter().map(|(uid, blocks)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks})).collect();
        let object: ConfigMap = serde_json::from_value(json!({"metadata": {
            "uid": uid, "name": uid, "namespace": "default", "ownerReferences": owners, "finalizers": finalizer.into_iter().collect::<Vec<_>>(),
            "deletionTimestamp": finalizer.map(|_| "2026-01-01T00:00:00Z"),
        }}))
        .unwrap();
        let kind = Discovered { resource: ApiResource::erase::<ConfigMap>(&()), namespaced: true, verbs: Vec::new() };
        Node::of(&Arc::new(object), &Arc::new(kind))
    }

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() }
    }

    #[test]
    fn an_object_whose_owner_was_not_seen_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(graph.observe(node("child", &[("parent", true)], None)), ["child"]);
        assert!(graph.observe(node("parent", &[], None)).is_empty());
        assert!(graph.observe(node("child", &[("parent", true)], None)).is_empty(), "now the owner is known");
        assert!(graph.in_doubt("child").is_none());
        graph.remove("parent");
        assert!(graph.in_doubt("child").is_some());
    }

    #[test]
    fn dependents_of_a_removed_object_are_looked_at() {
        let mut graph = Graph::default();
        graph.observe(node("parent", &[], None));
        graph.observe(node("child", &[("parent", true)], None));
        assert_eq!(graph.remove("parent"), ["child"]);
        assert_eq!(graph.fate(&owner("parent"), "default"), Some(Fate::Gone));
        graph.remove("child");
        assert_eq!(graph.fate(&owner("parent"), "default"), None, "nothing names it any more");
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_its_dependent_goes() {
        let mut graph = Graph::default();
        graph.observe(node("child", &[("parent", true)], None));
        graph.observe(node("other", &[("parent", false)], None));
        let mut touched = graph.observe(node("parent", &[], Some(FOREGROUND)));
        touched.sort();
        assert_eq!(touched, ["child", "other", "parent"]);
        assert_eq!(graph.fate(&owner("parent"), "default"), Some(Fate::WaitsForDependents));
        let (blocking, others) = graph.dependents("parent");
        assert_eq!((blocking.len(), others.len()), (1, 1));
        assert_eq!(graph.remove("child"), ["parent"]);
    }

    #[test]
    fn an_owner_in_another_namespace_does_not_count() {
        let mut graph = Graph::default();
        graph.observe(node("parent", &[], None));
        assert_eq!(graph.fate(&owner("parent"), "elsewhere"), Some(Fate::Gone));
    }
}
