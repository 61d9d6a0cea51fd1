use apimachinery::value;

use super::*;

fn object(tree: Value) -> Object {
    Object::try_from(tree).unwrap()
}

fn meter(group: &str, plural: &str) -> Meter {
    Meter::of(crate::resources().iter().find(|row| row.group == group && row.plural == plural).unwrap()).unwrap()
}

fn used(group: &str, plural: &str, tree: Value) -> String {
    let usage = meter(group, plural).usage(&object(tree));
    usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_kind_counts() {
    assert_eq!(used("apps", "deployments", value!({})), "count/deployments.apps=1");
    assert_eq!(used("", "secrets", value!({})), "count/secrets=1 secrets=1");
    assert!(Meter::of(crate::resources().iter().find(|row| row.plural == "events").unwrap()).is_none());
}

#[test]
fn services_use_ports_and_balancers() {
    let check = |spec: Value, expected: &str| assert_eq!(used("", "services", value!({"spec": (spec)})), expected);
    check(value!({"type": "ClusterIP", "ports": [{}]}), "count/services=1 services=1 services.nodeports=0");
    check(value!({"type": "NodePort", "ports": [{}, {}]}), "count/services=1 services=1 services.nodeports=2");
    check(
        value!({"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}], "allocateLoadBalancerNodePorts": false}),
        "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
    );
}

#[test]
fn claims_use_storage_of_their_class() {
    let claim = value!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(
        used("", "persistentvolumeclaims", claim),
        "count/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
         fast.storageclass.storage.k8s.io/requests.storage=2Gi persistentvolumeclaims=1 requests.storage=2Gi"
    );
    assert!(meter("", "persistentvolumeclaims").measures("gold.storageclass.storage.k8s.io/requests.storage"));
}

#[test]
fn claims_for_devices_count_them_by_class() {
    let claim = value!({"spec": {"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}},
        {"name": "b", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}},
        {"name": "c", "firstAvailable": [{"deviceClassName": "x", "count": 3}, {"deviceClassName": "x"}]},
    ]}}});
    assert_eq!(
        used("resource.k8s.io", "resourceclaims", claim),
        "count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=34 \
         x.deviceclass.resource.k8s.io/devices=3"
    );
}

#[test]
fn pods_use_what_runs_side_by_side_or_the_largest_before() {
    let container = |cpu: &str| value!({"name": "c", "resources": {"requests": {"cpu": cpu, "example.com/gpu": "1"}}});
    let pod = value!({"spec": {
        "containers": [(container("1")), (container("500m"))],
        "initContainers": [(container("2"))],
        "overhead": {"cpu": "100m"},
    }});
    assert_eq!(used("", "pods", pod), "count/pods=1 cpu=2100m pods=1 requests.cpu=2100m requests.example.com/gpu=2");
    let ended = value!({"spec": {"containers": [(container("1"))]}, "status": {"phase": "Succeeded"}});
    assert_eq!(used("", "pods", ended), "count/pods=1");
    let mut sidecar = container("2");
    sidecar.set_at(&["restartPolicy"], "Always");
    let pod = value!({"spec": {"containers": [(container("1"))], "initContainers": [(sidecar), (container("3"))]}});
    assert!(used("", "pods", pod).contains("requests.cpu=5 "));
}

#[test]
fn a_pod_being_made_smaller_still_uses_what_it_has() {
    let pod = value!({
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}]},
        "status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "3"}, "resources": {"limits": {"memory": "2Gi"}}}]},
    });
    assert_eq!(used("", "pods", pod), "count/pods=1 cpu=3 limits.memory=2Gi pods=1 requests.cpu=3");
}

#[test]
fn containers_must_say_what_is_limited() {
    let pod = object(value!({"spec": {
        "containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
        "initContainers": [{"name": "i"}],
    }}));
    let names = ["requests.cpu", "limits.memory", "pods", "requests.storage"].map(str::to_owned);
    assert_eq!(
        meter("", "pods").missing(&names, &pod).unwrap(),
        "must specify limits.memory for: a,b,i; requests.cpu for: b,i"
    );
    assert_eq!(meter("", "pods").missing(&["requests.ephemeral-storage".to_owned()], &pod), None);
}
