use serde_json::json;

use super::*;
use crate::user::User;

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn authorizer() -> NodeAuthorizer {
    let authorizer = NodeAuthorizer::default();
    authorizer.put(&object(json!({
        "kind": "Pod", "metadata": {"name": "web", "namespace": "blue"},
        "spec": {
            "nodeName": "n1", "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c",
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "a"}}}],
                "envFrom": [{"configMapRef": {"name": "settings"}}]}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "mounted"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {}},
                {"name": "csi", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "publish"}}},
            ],
        },
    })));
    authorizer.put(&object(json!({
        "kind": "Pod", "metadata": {"name": "static-n1", "namespace": "blue", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "volumes": [{"name": "s", "secret": {"secretName": "stolen"}}]},
    })));
    authorizer.put(&object(json!({
        "kind": "PersistentVolume", "metadata": {"name": "pv1"},
        "spec": {"claimRef": {"namespace": "blue", "name": "data"}, "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "store"}, "controllerExpandSecretRef": {"name": "expand", "namespace": "store"}}},
    })));
    authorizer
        .put(&object(json!({"kind": "VolumeAttachment", "metadata": {"name": "va1"}, "spec": {"nodeName": "n1"}})));
    authorizer
}

fn node(name: &str) -> User {
    User::new(format!("system:node:{name}"), ["system:nodes", "system:authenticated"])
}

/// `verb group resource[/sub] namespace/name [field selector]`
fn ask(authorizer: &NodeAuthorizer, user: &User, text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let group = if words[1] == "core" { "" } else { words[1] };
    let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
    let (namespace, name) = words.get(3).and_then(|word| word.split_once('/')).unwrap_or_default();
    let field_selector = words.get(4).copied().unwrap_or_default();
    let asked = Attributes {
        subresource,
        namespace,
        name,
        field_selector,
        ..Attributes::resource(user, words[0], (group, resource))
    };
    authorizer.authorize(&asked).allowed
}

#[test]
fn kubelet_sees_what_its_pods_need() {
    let authorizer = authorizer();
    for allowed in [
        "get core secrets blue/pull",
        "get core secrets blue/env",
        "get core secrets blue/init",
        "watch core secrets blue/mounted",
        "list core secrets blue/projected",
        "get core secrets blue/publish",
        "get core secrets store/stage",
        "get core configmaps blue/settings",
        "watch core configmaps blue/kube-root-ca.crt",
        "get core persistentvolumeclaims blue/data",
        "get core persistentvolumeclaims blue/web-scratch",
        "patch core persistentvolumeclaims/status blue/data",
        "get core persistentvolumes /pv1",
        "get storage.k8s.io volumeattachments /va1",
        "create core serviceaccounts/token blue/robot",
        "get core pods blue/web",
        "get core pods blue/static-n1",
        "list core pods / spec.nodeName=n1",
        "watch core pods / spec.nodeName=n1",
        "get core nodes /n1",
        "watch core nodes /n1",
        "patch core nodes/status /n1",
        "create core nodes /",
        "update coordination.k8s.io leases kube-node-lease/n1",
        "create coordination.k8s.io leases kube-node-lease/",
        "create core events blue/",
        "create authentication.k8s.io tokenreviews /",
    ] {
        assert!(ask(&authorizer, &node("n1"), allowed), "n1 {allowed}");
        let common = ["create ", "patch core nodes/status"].iter().any(|start| allowed.starts_with(start));
        if !common || allowed.contains("token b") {
            assert!(!ask(&authorizer, &node("n2"), allowed), "n2 {allowed}");
        }
        assert!(!ask(&authorizer, &User::new("system:node:n1", ["others"]), allowed), "no node {allowed}");
    }
}

#[test]
fn kubelet_sees_nothing_else() {
    let authorizer = authorizer();
    for refused in [
        "get core secrets blue/stolen",
        "get core secrets red/mounted",
        "get core secrets store/expand",
        "list core secrets blue/",
        "list core secrets /",
        "update core secrets blue/mounted",
        "get core secrets blue/other",
        "create core serviceaccounts/token blue/other",
        "list core pods /",
        "list core pods blue/",
        "list core pods / spec.nodeName=n2",
        "list core pods / spec.nodeName!=n1",
        "get core nodes /n2",
        "list core nodes /",
        "update coordination.k8s.io leases kube-node-lease/n2",
        "update coordination.k8s.io leases kube-system/n1",
        "delete core nodes /n1",
        "get core nodes/proxy /n1",
        "create core pods/exec blue/web",
        "escalate rbac.authorization.k8s.io clusterroles /x",
    ] {
        assert!(!ask(&authorizer, &node("n1"), refused), "{refused}");
    }
}

#[test]
fn access_ends_with_the_pod() {
    let authorizer = authorizer();
    authorizer.remove("pods", "blue", "web");
    for refused in ["get core secrets blue/mounted", "get core secrets store/stage", "get core persistentvolumes /pv1"]
    {
        assert!(!ask(&authorizer, &node("n1"), refused), "{refused}");
    }
}
