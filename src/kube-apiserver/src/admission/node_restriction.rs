//! `NodeRestriction`: a kubelet changes only its own node, its lease, the pods bound to it and what those use.

mod labels;
mod pod;

use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "NodeRestriction",
    by_default: false,
    handles: |attributes| attributes.user.in_group("system:nodes") && attributes.user.name.starts_with("system:node:"),
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let Some(node) = attributes.user.node_name() else {
            return Err(
                attributes.forbidden(format_args!("could not determine node from user {:?}", attributes.user.name))
            );
        };
        let resource = attributes.resource.descriptor;
        let sub = attributes.info.subresource.as_str();
        match (resource.group, resource.plural, sub) {
            ("", "pods", _) => pod::check(attributes, node).await,
            ("", "serviceaccounts", "token") => pod::check_token(attributes, node).await,
            ("", "nodes", _) => refuse(attributes, on_node(attributes, node)),
            ("", "persistentvolumeclaims", "status") => refuse(attributes, on_claim_status(attributes, node)),
            ("", "persistentvolumeclaims", _) => Err(attributes.forbidden("may only update PVC status")),
            ("coordination.k8s.io", "leases", _) => refuse(attributes, on_lease(attributes, node)),
            ("storage.k8s.io", "csinodes", _) if attributes.name() != node => {
                Err(attributes.forbidden("can only access CSINode with the same name as the requesting node"))
            }
            ("resource.k8s.io", "resourceslices", _) => refuse(attributes, on_slice(attributes, node)),
            _ => Ok(()),
        }
    }
    .boxed()
}

fn refuse(attributes: &Attributes<'_>, outcome: Result<(), String>) -> Result<(), Status> {
    outcome.map_err(|why| attributes.forbidden(why))
}

fn on_node(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    if attributes.name() != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", attributes.name()));
    }
    let Some(new) = attributes.object.as_deref() else { return Ok(()) };
    check_node(attributes.operation, node, new, attributes.old.unwrap_or(&Object::default()))
}

fn check_node(operation: Operation, node: &str, new: &Object, old: &Object) -> Result<(), String> {
    let source = ["spec", "configSource"];
    if new.at(&source).is_some_and(|wanted| !wanted.is_null() && Some(wanted) != old.at(&source)) {
        return Err(match operation {
            Operation::Create => format!("node {node:?} is not allowed to create pods with a non-nil configSource"),
            _ => format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"),
        });
    }
    if operation == Operation::Update {
        if new.at(&["spec", "taints"]) != old.at(&["spec", "taints"]) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        if new.owner_references() != old.owner_references() {
            return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
    }
    let moved = labels::forbidden(new, old);
    match operation {
        _ if moved.is_empty() => Ok(()),
        Operation::Create => {
            Err(format!("node {node:?} is not allowed to set the following labels: {}", moved.join(", ")))
        }
        _ => Err(format!("is not allowed to modify labels: {}", moved.join(", "))),
    }
}

/// A kubelet reports how large a volume has become and nothing else.
fn on_claim_status(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    let (Some(new), Some(old)) = (attributes.object.as_deref(), attributes.old) else { return Ok(()) };
    if rest_of_claim(new) == rest_of_claim(old) {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
}

fn rest_of_claim(claim: &Object) -> Object {
    let mut rest = claim.clone();
    for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
        rest.remove_at(&["status", field]);
    }
    for field in ["resourceVersion", "managedFields"] {
        rest.remove_at(&["metadata", field]);
    }
    rest
}

fn on_lease(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    if attributes.info.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    if attributes.name() != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// A kubelet publishes and withdraws the devices of its own node.
fn on_slice(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    let is_own = |slice: &Object| slice.str_at(&["spec", "nodeName"]) == node;
    match attributes.operation {
        Operation::Delete if attributes.old.is_some_and(|old| !is_own(old)) => {
            Err("can only delete ResourceSlice for the same NodeName as the requesting node".to_owned())
        }
        Operation::Create if attributes.object.as_deref().is_some_and(|new| !is_own(new)) => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        Operation::Update if attributes.old.is_some_and(|old| !is_own(old)) => {
            Err("can only access ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        _ => Ok(()),
    }
}

/// True if something in an object is set.
fn has(value: &Value, path: &[&str]) -> bool {
    value.at(path).is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn a_kubelet_may_not_change_what_steers_pods_to_its_node() {
        let old = object(value!({"spec": {"taints": [{"key": "a"}]}}));
        let check = |operation, new: Value, expected: Result<(), &str>| {
            let seen = check_node(operation, "n", &object(new), &old);
            assert_eq!(seen.as_ref().err().map(String::as_str), expected.err());
        };
        let same = || value!({"spec": {"taints": [{"key": "a"}]}});
        check(Operation::Update, same(), Ok(()));
        check(Operation::Update, value!({}), Err("node \"n\" is not allowed to modify taints"));
        let mut labelled = same();
        labelled.set_at(&["metadata", "labels"], value!({"node-role.kubernetes.io/control-plane": ""}));
        let told = "is not allowed to modify labels: node-role.kubernetes.io/control-plane";
        check(Operation::Update, labelled.clone(), Err(told));
        let told = "node \"n\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane";
        check(Operation::Create, labelled, Err(told));
        let mut steered = same();
        steered.set_at(&["spec", "configSource"], value!({"configMap": {"name": "x"}}));
        let told = "node \"n\" is not allowed to create pods with a non-nil configSource";
        check(Operation::Create, steered, Err(told));
    }

    #[test]
    fn of_a_claim_only_its_size_is_a_kubelets_to_tell() {
        let claim = |capacity: &str, label: &str| {
            object(value!({"metadata": {"labels": {"a": label}, "resourceVersion": capacity},
                "status": {"phase": "Bound", "capacity": {"storage": capacity}}}))
        };
        assert_eq!(rest_of_claim(&claim("1Gi", "x")), rest_of_claim(&claim("2Gi", "x")));
        assert_ne!(rest_of_claim(&claim("1Gi", "x")), rest_of_claim(&claim("1Gi", "y")));
    }
}
