//! One small valid object of every stored kind, and where it lives. A kind without an example fails a test.

use api::ResourceDescriptor;
use serde_json::{Value, json};

/// A kind with an object of it that the server takes.
pub(crate) struct Example {
    pub(crate) row: &'static ResourceDescriptor,
    pub(crate) object: Value,
}

impl Example {
    /// The collection the object is created in.
    pub(crate) fn collection(&self) -> String {
        collection(self.row, "default")
    }

    /// The object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name())
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap()
    }

    /// The key in etcd.
    pub(crate) fn key(&self) -> String {
        let folder = format!("/registry/{}", self.row.storage_prefix);
        let place = if self.row.is_namespaced() { "default/" } else { "" };
        format!("{folder}/{place}{}", self.name())
    }
}

/// The collection of a kind in a namespace.
pub(crate) fn collection(row: &ResourceDescriptor, namespace: &str) -> String {
    let base = match row.group {
        "" => format!("/api/{}", row.version),
        group => format!("/apis/{group}/{}", row.version),
    };
    let place = if row.is_namespaced() { format!("namespaces/{namespace}/") } else { String::new() };
    format!("{base}/{place}{}", row.plural)
}

/// An example of every stored kind.
pub(crate) fn all() -> Vec<Example> {
    let mut bodies: Vec<(&str, Value)> = [core(), workloads(), cluster_wide(), policies(), devices()].concat();
    let stored = api::resources().iter().filter(|row| row.is_stored());
    let examples = stored.map(|row| {
        let at = bodies.iter().position(|(kind, _)| *kind == row.kind);
        let (_, mut object) = bodies.swap_remove(at.unwrap_or_else(|| panic!("{} has no example", row.kind)));
        object["apiVersion"] = row.api_version().into();
        object["kind"] = row.kind.into();
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = "example".into();
        }
        Example { row, object }
    });
    examples.collect()
}

/// The example of a kind.
pub(crate) fn of(kind: &str) -> Example {
    all().into_iter().find(|example| example.row.kind == kind).unwrap()
}

/// A template of pods.
pub(crate) fn template(restart: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "example"}},
        "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "busybox:1"}]},
    })
}

fn core() -> Vec<(&'static str, Value)> {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    vec![
        ("ConfigMap", json!({"data": {"a": "1"}})),
        ("Endpoints", json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]})),
        (
            "Event",
            json!({
                "metadata": {"namespace": "default"}, "type": "Normal", "reason": "Example", "message": "it is one",
                "involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"},
            }),
        ),
        ("LimitRange", json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Ti"}}]}})),
        ("Namespace", json!({})),
        ("Node", json!({"spec": {"podCIDR": "10.1.0.0/24"}})),
        ("PersistentVolumeClaim", json!({"spec": claim})),
        (
            "PersistentVolume",
            json!({"spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
            }}),
        ),
        ("Pod", json!({"spec": {"containers": [{"name": "c", "image": "busybox:1"}]}})),
        ("PodTemplate", json!({"template": template("Always")})),
        ("ReplicationController", json!({"spec": {"selector": {"app": "example"}, "template": template("Always")}})),
        ("ResourceQuota", json!({"spec": {"hard": {"count/widgets.example.com": "10"}}})),
        ("Secret", json!({"data": {"a": "AQID"}})),
        ("ServiceAccount", json!({})),
        ("Service", json!({"spec": {"ports": [{"port": 80}]}})),
    ]
}

fn workloads() -> Vec<(&'static str, Value)> {
    let selected = json!({"selector": {"matchLabels": {"app": "example"}}, "template": template("Always")});
    let mut named = selected.clone();
    named["serviceName"] = "example".into();
    let target = json!({"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"});
    vec![
        ("ControllerRevision", json!({"revision": 1, "data": {"a": 1}})),
        ("DaemonSet", json!({"spec": selected})),
        ("Deployment", json!({"spec": selected})),
        ("ReplicaSet", json!({"spec": selected})),
        ("StatefulSet", json!({"spec": named})),
        (
            "CronJob",
            json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template("Never")}}}}),
        ),
        ("Job", json!({"spec": {"template": template("Never")}})),
        (
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }]}}),
        ),
        ("PodDisruptionBudget", json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}})),
        ("Lease", json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 10}})),
        (
            "EndpointSlice",
            json!({
                "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}],
                "ports": [{"name": "http", "port": 80}],
            }),
        ),
    ]
}

fn cluster_wide() -> Vec<(&'static str, Value)> {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let names = json!({"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"});
    vec![
        (
            "CustomResourceDefinition",
            json!({"metadata": {"name": "widgets.example.com"}, "spec": {
                "group": "example.com", "scope": "Namespaced", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            }}),
        ),
        (
            "APIService",
            json!({"metadata": {"name": "v1.example.org"}, "spec": {
                "group": "example.org", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "x"},
            }}),
        ),
        ("CertificateSigningRequest", signing_request()),
        (
            "FlowSchema",
            json!({"spec": {"matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "catch-all"}}}),
        ),
        (
            "PriorityLevelConfiguration",
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}}),
        ),
        ("CSIDriver", json!({"metadata": {"name": "driver.example.com"}, "spec": {"attachRequired": true}})),
        ("CSINode", json!({"spec": {"drivers": [{"name": "driver.example.com", "nodeID": "n"}]}})),
        (
            "CSIStorageCapacity",
            json!({"storageClassName": "fast", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"a": "b"}}}),
        ),
        ("StorageClass", json!({"provisioner": "driver.example.com"})),
        (
            "VolumeAttachment",
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
        ),
        ("VolumeAttributesClass", json!({"driverName": "driver.example.com", "parameters": {"a": "b"}})),
        ("RuntimeClass", json!({"handler": "runc"})),
        ("PriorityClass", json!({"value": 10})),
    ]
}

fn signing_request() -> Value {
    use pki::{KeyPair, csr};
    let key = KeyPair::generate().unwrap();
    let request = csr::create("somebody", &["some".to_owned()], &[], &key).unwrap();
    let encoded = data_encoding(request.as_bytes());
    json!({"spec": {"request": encoded, "signerName": "example.com/signer", "usages": ["client auth"]}})
}

/// Base64, which one test needs once.
pub(crate) fn data_encoding(bytes: &[u8]) -> String {
    use k8s_openapi::ByteString;
    serde_json::to_value(ByteString(bytes.to_vec())).unwrap().as_str().unwrap().to_owned()
}

fn policies() -> Vec<(&'static str, Value)> {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let reference = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "example"});
    let subjects = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "somebody"}]);
    let webhooks = json!([{
        "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://192.0.2.1/hook"}, "failurePolicy": "Ignore",
        "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
    }]);
    let resource_rules =
        json!([{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}]);
    vec![
        ("IngressClass", json!({"spec": {"controller": "example.com/ingress"}})),
        ("Ingress", json!({"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}})),
        (
            "IPAddress",
            json!({"metadata": {"name": "198.51.100.7"}, "spec": {"parentRef": {
                "resource": "services", "namespace": "default", "name": "x",
            }}}),
        ),
        ("NetworkPolicy", json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})),
        ("ServiceCIDR", json!({"spec": {"cidrs": ["10.97.0.0/24"]}})),
        ("MutatingWebhookConfiguration", json!({"webhooks": webhooks})),
        ("ValidatingWebhookConfiguration", json!({"webhooks": webhooks})),
        (
            "ValidatingAdmissionPolicy",
            json!({"spec": {
                "matchConstraints": {"resourceRules": resource_rules}, "validations": [{"expression": "true"}],
            }}),
        ),
        ("ValidatingAdmissionPolicyBinding", json!({"spec": {"policyName": "x", "validationActions": ["Audit"]}})),
        ("ClusterRole", json!({"rules": rules})),
        ("ClusterRoleBinding", json!({"subjects": subjects, "roleRef": reference("ClusterRole")})),
        ("Role", json!({"rules": rules})),
        ("RoleBinding", json!({"subjects": subjects, "roleRef": reference("Role")})),
    ]
}

fn devices() -> Vec<(&'static str, Value)> {
    let claim = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu.example.com"}}]}});
    vec![
        (
            "DeviceClass",
            json!({"metadata": {"name": "gpu.example.com"}, "spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
        ),
        ("ResourceClaim", json!({"spec": claim})),
        ("ResourceClaimTemplate", json!({"spec": {"spec": claim}})),
        (
            "ResourceSlice",
            json!({"spec": {
                "driver": "gpu.example.com", "nodeName": "n", "devices": [{"name": "d"}],
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            }}),
        ),
    ]
}
