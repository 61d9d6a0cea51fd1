//! Slices for a service and pods, planned again over what was planned.

use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "a JSON literal reads best at the call")]
fn service(target: serde_json::Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.5", "ipFamilies": ["IPv4"], "ports": [{"name": "http", "port": 80, "targetPort": target}]},
    }))
    .unwrap()
}

fn pod(index: usize, ready: bool) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("web-{index}"), "namespace": "default", "uid": format!("p{index}"), "labels": {"app": "web"}},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080 + i32::from(index == 1)}]}]},
            "status": {"phase": "Running", "podIP": format!("10.244.{}.{}", index / 250, index % 250), "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap(),
    )
}

fn planned(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    plan(&Observed { service, pods, slices, zone: &|_| Some("zone-1".to_owned()) })
}

fn created(actions: Vec<Action>) -> Vec<Arc<EndpointSlice>> {
    let mut slices = Vec::new();
    for (index, action) in actions.into_iter().enumerate() {
        let Action::Create(mut slice) = action else { panic!("expected a creation, not {action:?}") };
        slice.metadata.name = Some(format!("web-{index}"));
        slices.push(Arc::from(slice));
    }
    slices
}

#[test]
fn a_ready_pod_is_an_endpoint_with_its_node_and_zone() {
    let slices = created(planned(&service(json!(8080)), &[pod(0, true)], &[]));
    let endpoint = &slices[0].endpoints[0];
    assert_eq!(endpoint.addresses, ["10.244.0.0"]);
    assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("node-a"), Some("zone-1")));
    assert_eq!(endpoint.conditions.as_ref().unwrap().ready, Some(true));
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    assert_eq!(slices[0].metadata.labels.as_ref().unwrap()[SERVICE_LABEL], "web");
}

#[test]
fn what_is_right_is_left_alone() {
    let (service, pods) = (service(json!(8080)), [pod(0, true), pod(2, false)]);
    let slices = created(planned(&service, &pods, &[]));
    assert!(planned(&service, &pods, &slices).is_empty());
}

#[test]
fn a_pod_that_becomes_ready_changes_its_slice_only() {
    let service = service(json!(8080));
    let pods: Vec<_> = (0..150).map(|index| pod(index, index != 120)).collect();
    let slices = created(planned(&service, &pods, &[]));
    assert_eq!(slices.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>(), [100, 50]);
    let pods: Vec<_> = (0..150).map(|index| pod(index, true)).collect();
    let actions = planned(&service, &pods, &slices);
    assert!(matches!(&actions[..], [Action::Replace(_)]), "{actions:?}");
}

#[test]
fn pods_with_other_port_numbers_get_a_slice_of_their_own() {
    let slices = created(planned(&service(json!("http")), &[pod(0, true), pod(1, true)], &[]));
    assert_eq!(slices.len(), 2);
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let service = service(json!(8080));
    let slices = created(planned(&service, &[], &[]));
    assert_eq!((slices.len(), slices[0].endpoints.len()), (1, 0));
    assert!(planned(&service, &[], &slices).is_empty());
}

#[test]
fn the_last_pod_going_empties_the_slices_to_one() {
    let service = service(json!(8080));
    let slices = created(planned(&service, &(0..150).map(|index| pod(index, true)).collect::<Vec<_>>(), &[]));
    let actions = planned(&service, &[], &slices);
    let deleted = actions.iter().filter(|action| matches!(action, Action::Delete(_))).count();
    let made = actions
        .iter()
        .filter(|action| matches!(action, Action::Create(slice) | Action::Replace(slice) if slice.endpoints.is_empty()))
        .count();
    assert_eq!(
        (made, slices.len() - deleted + actions.iter().filter(|action| matches!(action, Action::Create(_))).count()),
        (1, 1),
        "{actions:?}"
    );
}

#[test]
fn a_pod_that_is_being_deleted_serves_and_is_not_ready() {
    let mut leaving = Pod::clone(&pod(0, true));
    leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let slices = created(planned(&service(json!(8080)), &[Arc::new(leaving)], &[]));
    let conditions = slices[0].endpoints[0].conditions.clone().unwrap();
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (Some(false), Some(true), Some(true)));
}
