//! Quotas filled on a server in memory, on paused time.

use std::time::Duration;

use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};

use super::*;
use crate::testing::{IDLE, resources, scope, until};

const QUOTA: &str = "/api/v1/namespaces/default/resourcequotas/q";

fn pods(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
fn start(hard: Value, scopes: Value) -> FakeApi {
    let api = FakeApi::new();
    let scope = scope(&api);
    let core = [("pods", "Pod", true), ("configmaps", "ConfigMap", true), ("resourcequotas", "ResourceQuota", true)];
    api.serve("/api/v1", resources("v1", &core));
    api.put(QUOTA, json!({"spec": {"hard": hard, "scopes": scopes}}));
    tokio::spawn(run(scope));
    api
}

fn pod(cpu: &str, phase: &str) -> Value {
    let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    json!({"spec": {"containers": [container]}, "status": {"phase": phase, "qosClass": "Burstable"}})
}

fn status(api: &FakeApi) -> Value {
    api.get(QUOTA).unwrap()["status"].clone()
}

async fn until_used(api: &FakeApi, used: Value) {
    until(&format!("{used}, but {}", status(api)), || status(api)["used"] == used).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_quota_is_counted_and_follows_what_comes_and_goes() {
    let api = start(json!({"requests.cpu": "2", "pods": "5", "count/configmaps": "3", "configmaps": "3"}), Value::Null);
    until_used(&api, json!({"requests.cpu": "0", "pods": "0", "count/configmaps": "0", "configmaps": "0"})).await;
    assert_eq!(status(&api)["hard"]["requests.cpu"], "2");
    api.put(&pods("a"), pod("500m", "Running"));
    api.put(&pods("b"), pod("250m", "Running"));
    api.put("/api/v1/namespaces/default/configmaps/c", json!({}));
    api.put("/api/v1/namespaces/other/configmaps/c", json!({}));
    until_used(&api, json!({"requests.cpu": "750m", "pods": "2", "count/configmaps": "1", "configmaps": "1"})).await;
    api.put(&pods("b"), pod("250m", "Succeeded"));
    api.remove("/api/v1/namespaces/default/configmaps/c");
    until_used(&api, json!({"requests.cpu": "500m", "pods": "1", "count/configmaps": "0", "configmaps": "0"})).await;
    api.remove(&pods("a"));
    until_used(&api, json!({"requests.cpu": "0", "pods": "0", "count/configmaps": "0", "configmaps": "0"})).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_quota_limits_may_change_and_what_nobody_knows_is_not_counted() {
    let api = start(json!({"pods": "5", "count/widgets.example.com": "1"}), Value::Null);
    api.put(&pods("a"), pod("1", "Running"));
    until_used(&api, json!({"pods": "1"})).await;
    let mut quota = api.get(QUOTA).unwrap();
    quota["spec"]["hard"] = json!({"requests.cpu": "4"});
    api.put(QUOTA, quota);
    until_used(&api, json!({"requests.cpu": "1"})).await;
    assert_eq!(status(&api)["hard"], json!({"requests.cpu": "4"}));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_in_scope_counts() {
    let api = start(json!({"pods": "5"}), json!(["BestEffort"]));
    api.put(&pods("a"), pod("1", "Running"));
    let mut idle = pod("0", "Running");
    idle["status"]["qosClass"] = json!("BestEffort");
    api.put(&pods("b"), idle);
    until_used(&api, json!({"pods": "1"})).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_without_meaning_is_not_counted_and_idle_quotas_cost_nothing() {
    let api = start(json!({"pods": "5"}), Value::Null);
    api.put(&pods("a"), pod("1", "Pending"));
    until_used(&api, json!({"pods": "1"})).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = api.requests().len();
    api.put(&pods("a"), pod("1", "Running"));
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().len(), before);
}

#[test]
fn a_pod_that_should_be_gone_is_not_charged_and_one_that_will_be_is_looked_at_then() {
    struct Stuck(Vec<std::sync::Arc<Pod>>);
    impl Content for Stuck {
        fn pods(&self) -> Vec<std::sync::Arc<Pod>> {
            self.0.clone()
        }
        fn services(&self) -> Vec<std::sync::Arc<Service>> {
            Vec::new()
        }
        fn claims(&self) -> Vec<std::sync::Arc<PersistentVolumeClaim>> {
            Vec::new()
        }
        fn devices(&self) -> &[DynamicObject] {
            &[]
        }
        fn number(&self, _: &str) -> Option<usize> {
            None
        }
    }
    let quota: ResourceQuota =
        serde_json::from_value(json!({"spec": {"hard": {"pods": "5", "count/pods": "5"}}})).unwrap();
    let mut stuck = pod("1", "Running");
    stuck["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
    let content = Stuck(vec![std::sync::Arc::new(serde_json::from_value(stuck).unwrap())]);
    let check = |now: &str, expected: &str, later: bool| {
        let counted = count::count(&quota, &content, now.parse().unwrap());
        assert_eq!(counted.used["pods"].to_string(), expected);
        assert_eq!(counted.used["count/pods"].to_string(), "1");
        assert_eq!(counted.changes_at.is_some(), later);
    };
    check("2026-01-01T00:00:29Z", "1", true);
    check("2026-01-01T00:00:30Z", "0", false);
}
