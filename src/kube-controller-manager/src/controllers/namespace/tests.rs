//! Namespaces emptied on a server in memory, on paused time.

use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};

use super::*;
use crate::testing::{IDLE, resources, scope, until};

const NAMESPACE: &str = "/api/v1/namespaces/work";
const POD: &str = "/api/v1/namespaces/work/pods/p";
const MAP: &str = "/api/v1/namespaces/work/configmaps/c";

fn start(api: &FakeApi) {
    let scope = scope(api);
    let core = [("pods", "Pod", true), ("configmaps", "ConfigMap", true), ("events", "Event", true)];
    api.serve("/api/v1", resources("v1", &core));
    api.put(NAMESPACE, json!({"spec": {"finalizers": ["kubernetes"]}}));
    tokio::spawn(run(scope));
}

fn end(api: &FakeApi) {
    let mut namespace = api.get(NAMESPACE).unwrap();
    namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.put(NAMESPACE, namespace);
}

fn condition(api: &FakeApi, kind: &str) -> Value {
    let namespace = api.get(NAMESPACE).unwrap();
    let conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let api = FakeApi::new();
    start(&api);
    for path in [POD, MAP, "/api/v1/namespaces/work/events/e", "/apis/apps/v1/namespaces/work/replicasets/r"] {
        api.put(path, json!({}));
    }
    api.put("/api/v1/namespaces/other/pods/p", json!({}));
    end(&api);
    until("the namespace is gone", || api.get(NAMESPACE).is_none()).await;
    assert!(api.get(POD).is_none() && api.get("/api/v1/namespaces/work/events/e").is_none());
    assert!(api.get("/api/v1/namespaces/other/pods/p").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_holds_a_namespace_is_told_and_its_end_is_waited_for_without_asking() {
    let api = FakeApi::new();
    start(&api);
    api.put(MAP, json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    end(&api);
    until("users are told", || condition(&api, "NamespaceFinalizersRemaining")["status"] == "True").await;
    assert_eq!(
        condition(&api, "NamespaceFinalizersRemaining")["message"],
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    assert_eq!(
        condition(&api, "NamespaceContentRemaining")["message"],
        "Some resources are remaining: configmaps. has 1 resource instances"
    );
    assert_eq!(condition(&api, "NamespaceDeletionDiscoveryFailure")["status"], "False");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = api.requests().len();
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().len(), before, "nothing is asked while nothing happens");
    api.remove(MAP);
    until("the namespace is gone", || api.get(NAMESPACE).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_late_goes_too() {
    let api = FakeApi::new();
    start(&api);
    api.put(MAP, json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    end(&api);
    until("it is being emptied", || api.get(MAP).unwrap()["metadata"]["deletionTimestamp"].is_string()).await;
    api.put(POD, json!({}));
    until("the late one is gone", || api.get(POD).is_none()).await;
    api.remove(MAP);
    until("the namespace is gone", || api.get(NAMESPACE).is_none()).await;
}
