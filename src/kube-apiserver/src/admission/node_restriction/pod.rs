//! What a kubelet may do with pods: mirror its own files, report, evict and delete what runs on it, and ask for
//! tokens of the service accounts of its pods.

use apimachinery::{Object, Status, Value};

use super::super::{Attributes, Operation};
use super::has;
use crate::authz;

/// Pods of files on a node carry this.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

pub(super) async fn check(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(attributes.forbidden(why));
    let is_own = attributes.old.is_some_and(|pod| pod.str_at(&["spec", "nodeName"]) == node);
    match (attributes.operation, attributes.info.subresource.as_str()) {
        (Operation::Create, "") => {
            let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
            check_mirror(pod, node).map_err(|why| attributes.forbidden(why))?;
            check_owner(attributes, pod, node).await
        }
        (Operation::Delete, "") if is_own => Ok(()),
        (Operation::Delete, "") => {
            refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        (Operation::Update, "status") if is_own => {
            let (Some(new), Some(old)) = (attributes.object.as_deref(), attributes.old) else { return Ok(()) };
            check_status(new, old, node).map_err(|why| attributes.forbidden(why))
        }
        (Operation::Update, "status") => {
            refuse(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        (_, "eviction") if is_own => Ok(()),
        (_, "eviction") => refuse(format!("node {node} can only evict pods with spec.nodeName set to itself")),
        (operation, "") => refuse(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            format!("{operation:?}").to_uppercase()
        )),
        (_, sub) => refuse(format!("unexpected pod subresource {sub:?}")),
    }
}

fn check_status(new: &Object, old: &Object, node: &str) -> Result<(), String> {
    if new.labels() != old.labels() {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    for (field, what) in [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        if new.at(&["status", field]) != old.at(&["status", field]) {
            return Err(format!("node {node:?} cannot update {what}"));
        }
    }
    Ok(())
}

/// A kubelet creates mirrors of its own files, which refer to nothing in the API, and nothing else.
fn check_mirror(pod: &Object, node: &str) -> Result<(), String> {
    if pod.annotation(MIRROR).is_none() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match pod.owner_references() {
        [] => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        [one] => one,
        _ => return Err(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    if owner.str("apiVersion") != "v1" || owner.str("kind") != "Node" || owner.str("name") != node {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    let says = |field: &str| owner.get(field) == Some(&Value::Bool(true));
    if !says("controller") {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if says("blockOwnerDeletion") {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    match reference(pod) {
        None => Ok(()),
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
    }
}

/// What of the API a pod refers to; the kubelet could read it then.
fn reference(pod: &Object) -> Option<&'static str> {
    if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Some("a service account");
    }
    let volumes = || pod.list_at(&["spec", "volumes"]).iter();
    let projections =
        || volumes().flat_map(|volume| volume.get("projected").map(|one| one.list("sources")).unwrap_or_default());
    let containers = || LISTS.iter().flat_map(|list| pod.list_at(&["spec", list]));
    let env = |reference: &'static [&'static str], from: &'static str| {
        containers().any(|container| {
            container.list("env").iter().any(|env| has(env, reference))
                || container.list("envFrom").iter().any(|env| has(env, &[from]))
        })
    };
    let secret_users = ["azureFile", "cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
    let secrets = !pod.list_at(&["spec", "imagePullSecrets"]).is_empty()
        || volumes().any(|volume| {
            let used = |kind: &&str| has(volume, &[kind, "secretRef"]) || has(volume, &[kind, "secretName"]);
            has(volume, &["secret"]) || has(volume, &["csi", "nodePublishSecretRef"]) || secret_users.iter().any(used)
        })
        || projections().any(|source| has(source, &["secret"]))
        || env(&["valueFrom", "secretKeyRef"], "secretRef");
    if secrets {
        return Some("secrets");
    }
    let maps = volumes().any(|volume| has(volume, &["configMap"]))
        || projections().any(|source| has(source, &["configMap"]))
        || env(&["valueFrom", "configMapKeyRef"], "configMapRef");
    if maps {
        return Some("configmaps");
    }
    if projections().any(|source| has(source, &["clusterTrustBundle"])) {
        return Some("clustertrustbundles");
    }
    if volumes().any(|volume| has(volume, &["persistentVolumeClaim"])) {
        return Some("persistentvolumeclaims");
    }
    (!pod.list_at(&["spec", "resourceClaims"]).is_empty()).then_some("resourceclaims")
}

/// The owner must be the node that is there now, not one of the same name.
async fn check_owner(attributes: &Attributes<'_>, pod: &Object, node: &str) -> Result<(), Status> {
    let found = attributes.app.registry.get_fresh("", "nodes", "", node).await;
    let found = found.ok_or_else(|| Status::not_found("", "nodes", node))?;
    let uid = pod.owner_references().first().map_or("", |owner| owner.str("uid"));
    if uid == &*found.uid {
        return Ok(());
    }
    Err(attributes.forbidden(format_args!("node {node} UID mismatch: expected {uid} got {}", found.uid)))
}

/// Tokens a node asks for are bound to a pod that runs on it, and good for what that pod mounts.
pub(super) async fn check_token(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let Some(request) = attributes.object.as_deref() else { return Ok(()) };
    let refuse = |why: String| Err(attributes.forbidden(why));
    let bound = request.map_at(&["spec", "boundObjectRef"]);
    if bound.str("apiVersion") != "v1" || bound.str("kind") != "Pod" || bound.str("name").is_empty() {
        return refuse("node requested token not bound to a pod".to_owned());
    }
    if bound.str("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    let namespace = attributes.info.namespace.as_str();
    let found = attributes.app.registry.get_fresh("", "pods", namespace, bound.str("name")).await;
    let pod = found.ok_or_else(|| Status::not_found("", "pods", bound.str("name")))?.object();
    if bound.str("uid") != pod.uid() {
        return refuse(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            bound.str("uid")
        ));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return refuse("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    let audience = match request.list_at(&["spec", "audiences"]) {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences".to_owned()),
    };
    if mounts(attributes, &pod, audience) || is_allowed(attributes, audience) {
        return Ok(());
    }
    refuse(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        attributes.user.name
    ))
}

/// Whether a volume of the pod, or the driver behind one, wants tokens for an audience.
fn mounts(attributes: &Attributes<'_>, pod: &Object, audience: &str) -> bool {
    let registry = &attributes.app.registry;
    let wants = |driver: &str| {
        registry.get("storage.k8s.io", "csidrivers", "", driver).is_some_and(|driver| {
            driver.object().list_at(&["spec", "tokenRequests"]).iter().any(|wish| wish.str("audience") == audience)
        })
    };
    let behind_claim = |claim: &str| {
        let claim = registry.get("", "persistentvolumeclaims", pod.namespace(), claim)?.object();
        let volume = registry.get("", "persistentvolumes", "", claim.str_at(&["spec", "volumeName"]))?.object();
        Some(wants(volume.str_at(&["spec", "csi", "driver"])))
    };
    pod.list_at(&["spec", "volumes"]).iter().any(|volume| {
        let text = |path: &[&str]| volume.at(path).and_then(Value::as_str);
        let projected = volume.get("projected").map(|one| one.list("sources")).unwrap_or_default();
        let token =
            |source: &Value| source.get("serviceAccountToken").is_some_and(|one| one.str("audience") == audience);
        let ephemeral = has(volume, &["ephemeral"]).then(|| format!("{}-{}", pod.name(), volume.str("name")));
        projected.iter().any(token)
            || text(&["csi", "driver"]).is_some_and(wants)
            || text(&["persistentVolumeClaim", "claimName"]).and_then(behind_claim).unwrap_or(false)
            || ephemeral.as_deref().and_then(behind_claim).unwrap_or(false)
    })
}

fn is_allowed(attributes: &Attributes<'_>, audience: &str) -> bool {
    let asked = authz::Attributes {
        namespace: &attributes.info.namespace,
        name: &attributes.info.name,
        ..authz::Attributes::resource(attributes.user, "request-serviceaccounts-token-audience", ("", audience))
    };
    attributes.app.authorizer.authorize(&asked).allowed
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    fn mirror(change: (&str, Value)) -> Object {
        let mut pod = object(value!({
            "metadata": {
                "annotations": {MIRROR: "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}],
            },
            "spec": {"nodeName": "n", "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        }));
        let path: Vec<&str> = change.0.split('/').collect();
        pod.set_at(&path, change.1);
        pod
    }

    #[test]
    fn a_kubelet_creates_mirrors_of_its_own_files_only() {
        let check = |path: &str, value: Value, expected: &str| {
            let seen = check_mirror(&mirror((path, value)), "n").err().unwrap_or_default();
            assert_eq!(seen, expected);
        };
        check("spec/x", Value::Null, "");
        check("spec/nodeName", "m".into(), "node \"n\" can only create pods with spec.nodeName set to itself");
        check(
            "metadata/ownerReferences/0/controller",
            false.into(),
            "node \"n\" can only create pods with a controller owner reference set to itself",
        );
        check(
            "metadata/ownerReferences/0/blockOwnerDeletion",
            true.into(),
            "node \"n\" must not set blockOwnerDeletion on an owner reference",
        );
        check(
            "metadata/ownerReferences",
            value!([]),
            "node \"n\" can only create pods with an owner reference set to itself",
        );
        check(
            "metadata/annotations",
            Value::map(),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
        );
    }

    #[test]
    fn a_mirror_refers_to_nothing_a_kubelet_could_read_then() {
        let check = |path: &str, value: Value, expected: &str| {
            assert_eq!(reference(&mirror((path, value))), Some(expected), "{path}");
        };
        check("spec/serviceAccountName", "x".into(), "a service account");
        check("spec/imagePullSecrets", value!([{"name": "x"}]), "secrets");
        check("spec/volumes", value!([{"secret": {"secretName": "x"}}]), "secrets");
        check("spec/volumes", value!([{"projected": {"sources": [{"secret": {"name": "x"}}]}}]), "secrets");
        check("spec/volumes", value!([{"configMap": {"name": "x"}}]), "configmaps");
        check("spec/volumes", value!([{"persistentVolumeClaim": {"claimName": "x"}}]), "persistentvolumeclaims");
        check("spec/containers", value!([{"env": [{"valueFrom": {"secretKeyRef": {"key": "a"}}}]}]), "secrets");
        check("spec/containers", value!([{"envFrom": [{"configMapRef": {"name": "a"}}]}]), "configmaps");
        assert_eq!(reference(&mirror(("spec/x", Value::Null))), None);
    }

    #[test]
    fn a_status_moves_no_labels() {
        let pod = |label: &str| object(value!({"metadata": {"labels": {"a": label}}, "status": {"phase": "Running"}}));
        assert!(check_status(&pod("x"), &pod("x"), "n").is_ok());
        assert!(check_status(&pod("y"), &pod("x"), "n").unwrap_err().contains("cannot update labels"));
    }
}
