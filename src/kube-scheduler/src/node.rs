//! A node as the scheduler sees it: what it has, and what the pods on it take.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod::PodInfo;
use crate::resources::Resources;
use crate::selector::Labels;

/// A node with its pods.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The object.
    pub node: Arc<Node>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What pods may take in all.
    pub allocatable: Resources,
    /// What its pods take.
    pub requested: Resources,
    /// What its pods take, with defaults where they do not say.
    pub assumed: Resources,
    /// Its pods.
    pub pods: Vec<Arc<PodInfo>>,
    /// The images it holds, with their size in bytes.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            node: Arc::clone(&node),
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: Labels::new(),
            allocatable: Resources::default(),
            requested: Resources::default(),
            assumed: Resources::default(),
            pods: Vec::new(),
            images: HashMap::new(),
        };
        info.set_node(node);
        info
    }

    /// Takes over a newer object; the pods stay.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.allocatable = Resources::read(status.and_then(|s| s.allocatable.as_ref()));
        let images = status.and_then(|s| s.images.as_deref()).unwrap_or_default();
        let sized =
            images.iter().flat_map(|i| i.names.iter().flatten().map(|n| (n.clone(), i.size_bytes.unwrap_or(0))));
        self.images = sized.collect();
        self.node = node;
    }

    /// Adds a pod.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests.exact);
        self.assumed.add(&pod.requests.assumed);
        self.pods.push(pod);
    }

    /// Removes a pod by its identity.
    pub fn remove(&mut self, uid: &str) {
        let Some(at) = self.pods.iter().position(|p| p.uid == uid) else { return };
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests.exact);
        self.assumed.subtract(&pod.requests.assumed);
    }

    /// Its taints.
    pub fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
    }

    /// Whether it was closed for new pods.
    pub fn is_unschedulable(&self) -> bool {
        self.node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false)
    }
}
