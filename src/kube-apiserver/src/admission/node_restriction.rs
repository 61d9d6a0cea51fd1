//! `NodeRestriction`: a kubelet changes only its own node, its lease and the pods bound to it.

use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

/// Pods of files on a node carry this.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Labels below these prefixes are not a kubelet's to set, but for those in [`OWN_LABELS`].
const RESERVED: &[&str] = &["kubernetes.io", "k8s.io"];
/// Labels a kubelet may set on its own node.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "NodeRestriction",
    by_default: false,
    handles: |attributes| attributes.user.in_group("system:nodes"),
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let Some(node) = attributes.user.node_name() else {
        let why = "could not determine node from user";
        return futures::future::ready(Err(attributes.forbidden(why))).boxed();
    };
    let resource = attributes.resource.descriptor;
    let outcome = match (resource.group, resource.plural) {
        ("", "nodes") => on_node(attributes, node),
        ("", "pods") => on_pod(attributes, node),
        ("coordination.k8s.io", "leases") => on_lease(attributes, node),
        ("storage.k8s.io", "csinodes") if attributes.name() != node => {
            Err(attributes.forbidden("can only access CSINode with the same name as the requesting node"))
        }
        ("", "serviceaccounts") if attributes.info.subresource == "token" => Ok(()),
        _ => Ok(()),
    };
    futures::future::ready(outcome).boxed()
}

fn on_node(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    if attributes.name() != node {
        return Err(attributes
            .forbidden(format_args!("node \"{node}\" is not allowed to modify node \"{}\"", attributes.name())));
    }
    let Some(new) = attributes.object.as_deref() else {
        return Err(attributes.forbidden(format_args!("node \"{node}\" cannot delete itself")));
    };
    let empty = Object::default();
    let old = attributes.old.unwrap_or(&empty);
    let moved = forbidden_labels(new, old);
    if !moved.is_empty() {
        return Err(
            attributes.forbidden(format_args!("node \"{node}\" is not allowed to modify labels: {}", moved.join(", ")))
        );
    }
    if attributes.operation == Operation::Update {
        if new.at(&["spec", "taints"]) != old.at(&["spec", "taints"]) {
            return Err(attributes.forbidden(format_args!("node \"{node}\" is not allowed to modify taints")));
        }
        if new.owner_references() != old.owner_references() {
            return Err(attributes.forbidden(format_args!("node \"{node}\" is not allowed to modify ownerReferences")));
        }
    }
    Ok(())
}

/// Labels that were set, changed or removed and are not a kubelet's to touch.
fn forbidden_labels(new: &Object, old: &Object) -> Vec<String> {
    let reserved = |key: &str| {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let under =
            |domain: &&str| prefix.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let kubelets = ["kubelet.kubernetes.io", "node.kubernetes.io"].iter().any(under);
        RESERVED.iter().any(under) && !kubelets && !OWN_LABELS.contains(&key)
    };
    let changed = new.labels().strings().filter(|(key, value)| old.label(key) != Some(*value));
    let removed = old.labels().strings().filter(|(key, _)| new.label(key).is_none());
    changed.chain(removed).map(|(key, _)| key).filter(|key| reserved(key)).map(str::to_owned).collect()
}

fn on_pod(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    match (attributes.operation, attributes.info.subresource.as_str()) {
        (Operation::Create, "") => {
            let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
            check_mirror(pod, node).map_err(|why| attributes.forbidden(why))
        }
        (_, "binding") => Err(attributes.forbidden("nodes cannot bind pods")),
        _ => {
            let bound = attributes.old.map(|pod| pod.str_at(&["spec", "nodeName"])).unwrap_or_default();
            if bound == node {
                return Ok(());
            }
            Err(attributes
                .forbidden(format_args!("node \"{node}\" can only change pods with spec.nodeName set to itself")))
        }
    }
}

/// A kubelet creates mirror pods of itself and nothing else.
fn check_mirror(pod: &Object, node: &str) -> Result<(), String> {
    if pod.annotation(MIRROR).is_none() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let [owner] = pod.owner_references() else {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    };
    let own = owner.str("apiVersion") == "v1" && owner.str("kind") == "Node" && owner.str("name") == node;
    let blocks = owner.get("blockOwnerDeletion").and_then(Value::as_bool).unwrap_or(false);
    if own && !blocks {
        Ok(())
    } else {
        Err(format!("node {node:?} can only create pods with an owner reference set to itself"))
    }
}

fn on_lease(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    if attributes.info.namespace != "kube-node-lease" {
        return Err(attributes.forbidden("can only access leases in the \"kube-node-lease\" system namespace"));
    }
    if attributes.name() != node {
        return Err(attributes.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn a_kubelet_cannot_give_its_node_a_role() {
        let old = object(value!({"metadata": {"labels": {"kubernetes.io/hostname": "n"}}}));
        let new = object(value!({"metadata": {"labels": {
            "kubernetes.io/hostname": "n", "node-role.kubernetes.io/control-plane": "",
            "node.kubernetes.io/x": "ok", "topology.kubernetes.io/zone": "ok", "own": "ok",
            "node-restriction.kubernetes.io/x": "no",
        }}}));
        assert_eq!(
            forbidden_labels(&new, &old),
            ["node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/x"]
        );
        assert_eq!(forbidden_labels(&old, &new).len(), 2);
    }

    #[test]
    fn a_kubelet_creates_mirrors_of_its_own_files_only() {
        let mirror = |node: &str| {
            object(value!({
                "metadata": {
                    "annotations": {MIRROR: "x"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
                },
                "spec": {"nodeName": node},
            }))
        };
        assert!(check_mirror(&mirror("n"), "n").is_ok());
        assert!(check_mirror(&mirror("m"), "n").is_err());
        assert!(check_mirror(&object(value!({"spec": {"nodeName": "n"}})), "n").is_err());
    }
}
