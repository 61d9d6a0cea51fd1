//! The Node authorizer: a kubelet reads what its own pods need, and writes about itself only.
//!
//! Which changes it may make *inside* the objects it may write is the `NodeRestriction` admission plugin's part.

mod graph;

use std::sync::{PoisonError, RwLock};

use apimachinery::Object;

use super::{Attributes, Decision};
use graph::{Graph, Kind};

/// Decides for users `system:node:NAME` in the group `system:nodes`.
#[derive(Default)]
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
}

/// What all kubelets may do, whatever runs on them: verbs, group, resource with subresource.
const COMMON: &[(&[&str], &str, &str)] = &[
    (&["create"], "authentication.k8s.io", "tokenreviews"),
    (&["create"], "authorization.k8s.io", "subjectaccessreviews"),
    (&["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    (&["create"], "authorization.k8s.io", "selfsubjectaccessreviews"),
    (&["get", "list", "watch"], "", "services"),
    (&["create", "update", "patch"], "", "nodes"),
    (&["update", "patch"], "", "nodes/status"),
    (&["create", "update", "patch"], "", "events"),
    (&["create", "update", "patch"], "events.k8s.io", "events"),
    (&["create", "delete"], "", "pods"),
    (&["update", "patch"], "", "pods/status"),
    (&["create"], "", "pods/eviction"),
    (&["get"], "", "endpoints"),
    (&["create", "get", "list", "watch"], "certificates.k8s.io", "certificatesigningrequests"),
    (&["get", "list", "watch"], "certificates.k8s.io", "clustertrustbundles"),
    (&["get", "list", "watch"], "storage.k8s.io", "csidrivers"),
    (&["get", "list", "watch"], "node.k8s.io", "runtimeclasses"),
];

impl NodeAuthorizer {
    /// Takes in a Pod, `PersistentVolume` or `VolumeAttachment` as it is now.
    pub fn put(&self, object: &Object) {
        self.graph.write().unwrap_or_else(PoisonError::into_inner).put(object);
    }

    /// Forgets one; the namespace is empty for those of the cluster.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.graph.write().unwrap_or_else(PoisonError::into_inner).remove(resource, namespace, name);
    }

    /// Decides; says nothing about users that are no nodes.
    pub fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let Some(node) = asked.user.node_name() else {
            let claims = asked.user.in_group("system:nodes");
            return Decision::no(if claims { "unknown node for user" } else { "" });
        };
        if !asked.is_resource {
            return Decision::no("");
        }
        match self.check(node, asked) {
            Some(Ok(())) => Decision::allow(""),
            Some(Err(why)) => Decision::no(why),
            None if common(asked) => Decision::allow(""),
            None => Decision::no(""),
        }
    }

    /// The decision for kinds that depend on the node, `None` for all others.
    fn check(&self, node: &str, asked: &Attributes<'_>) -> Option<Result<(), String>> {
        let own = |verbs: &[&str], name: &str| {
            verbs.contains(&asked.verb)
                && asked.subresource.is_empty()
                && (name == node || (asked.verb == "create" && name.is_empty()))
        };
        match (asked.group, asked.resource) {
            ("", "secrets") => Some(self.read(node, asked, Kind::Secret)),
            ("", "configmaps") => Some(self.read(node, asked, Kind::ConfigMap)),
            ("", "persistentvolumeclaims") => Some(self.claim(node, asked)),
            ("", "persistentvolumes") => Some(self.get(node, asked, Kind::Volume)),
            ("storage.k8s.io", "volumeattachments") => Some(self.get(node, asked, Kind::Attachment)),
            ("resource.k8s.io", "resourceclaims") => Some(self.get(node, asked, Kind::ResourceClaim)),
            ("", "serviceaccounts") => Some(self.service_account(node, asked)),
            ("coordination.k8s.io", "leases") => {
                let verbs = &["create", "get", "update", "patch", "delete"];
                let ok = asked.namespace == "kube-node-lease" && own(verbs, asked.name);
                Some(only(ok, "can only access node lease with the same name as the requesting node"))
            }
            ("storage.k8s.io", "csinodes") => {
                let ok = own(&["create", "get", "update", "patch", "delete"], asked.name);
                Some(only(ok, "can only access CSINode with the same name as the requesting node"))
            }
            ("resource.k8s.io", "resourceslices") => Some(slices(node, asked)),
            ("", "nodes") if matches!(asked.verb, "get" | "list" | "watch") && asked.subresource.is_empty() => {
                Some(only(asked.name == node, "node can only read its own Node object"))
            }
            ("", "pods") if asked.verb == "get" && asked.subresource.is_empty() => {
                Some(self.related(node, asked, Kind::Pod))
            }
            ("", "pods") if matches!(asked.verb, "list" | "watch") => Some(only(
                asked.subresource.is_empty() && selects(asked.field_selector, "spec.nodeName", node),
                "can only list/watch pods with spec.nodeName field selector",
            )),
            _ => None,
        }
    }

    fn read(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        if !matches!(asked.verb, "get" | "list" | "watch") || !asked.subresource.is_empty() {
            return Err("can only read resources of this type".into());
        }
        if asked.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(node, asked, kind)
    }

    fn get(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        if asked.verb != "get" || !asked.subresource.is_empty() {
            return Err("can only get individual resources of this type".into());
        }
        self.related(node, asked, kind)
    }

    fn claim(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") | ("status", "get" | "update" | "patch") => self.related(node, asked, Kind::Claim),
            _ => Err("can only get persistentvolumeclaims and update their status".into()),
        }
    }

    fn service_account(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") | ("token", "create") => self.related(node, asked, Kind::ServiceAccount),
            _ => Err("can only create tokens for individual service accounts".into()),
        }
    }

    fn related(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".into());
        }
        let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
        only(
            graph.related(node, kind, asked.namespace, asked.name),
            &format!("no relationship found between node '{node}' and this object"),
        )
    }
}

fn only(ok: bool, otherwise: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn slices(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    let ok = asked.subresource.is_empty()
        && match asked.verb {
            // Their node is checked in the object by admission.
            "create" | "get" | "update" | "patch" | "delete" => true,
            "list" | "watch" | "deletecollection" => selects(asked.field_selector, "spec.nodeName", node),
            _ => false,
        };
    only(ok, "can only access resourceslices of the requesting node")
}

fn common(asked: &Attributes<'_>) -> bool {
    let resource = asked.full_resource();
    COMMON.iter().any(|(verbs, group, name)| *group == asked.group && *name == resource && verbs.contains(&asked.verb))
}

/// Whether a field selector asks for exactly one value of a field.
fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|term| {
        let term = term.trim().strip_prefix(field).and_then(|rest| rest.strip_prefix('='));
        term.is_some_and(|rest| rest.strip_prefix('=').unwrap_or(rest) == value)
    })
}

#[cfg(test)]
mod tests;
