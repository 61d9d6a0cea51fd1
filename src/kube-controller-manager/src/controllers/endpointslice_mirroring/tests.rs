//! Endpoints mirrored on a server in memory, on paused time.

use std::time::Duration;

use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};

use super::*;
use crate::testing::{IDLE, scope, until};

const SERVICE: &str = "/api/v1/namespaces/default/services/db";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/db";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn start() -> FakeApi {
    let api = FakeApi::new();
    tokio::spawn(run(scope(&api)));
    api.put(SERVICE, json!({"spec": {"ports": [{"port": 5432}]}}));
    api
}

fn endpoints(ready: &[&str], other: &[&str]) -> Value {
    let list = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
    json!({
        "metadata": {"labels": {"app": "db"}, "annotations": {"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "subsets": [{"addresses": list(ready), "notReadyAddresses": list(other), "ports": [{"name": "sql", "port": 5432}]}],
    })
}

/// Each slice as `family address=ready,…:port`.
fn slices(api: &FakeApi) -> Vec<String> {
    let told = |name: String| {
        let slice = api.get(&format!("{SLICES}/{name}")).unwrap();
        let all = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let all = all
            .iter()
            .map(|one| format!("{}={}", one["addresses"][0].as_str().unwrap_or_default(), one["conditions"]["ready"]));
        let family = slice["addressType"].as_str().unwrap_or_default().to_owned();
        format!("{family} {}:{}", all.collect::<Vec<_>>().join(","), slice["ports"][0]["port"])
    };
    let mut all: Vec<String> = api.names(SLICES).into_iter().map(told).collect();
    all.sort();
    all
}

async fn until_slices(api: &FakeApi, expected: &[&str]) {
    until(&format!("{expected:?}, but {:?}", slices(api)), || slices(api) == expected).await;
}

#[tokio::test(start_paused = true)]
async fn each_family_and_group_of_ports_becomes_a_slice() {
    let api = start();
    api.put(ENDPOINTS, endpoints(&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"]));
    until_slices(&api, &["IPv4 192.0.2.1=true,192.0.2.2=false:5432", "IPv6 2001:db8::1=true:5432"]).await;
    let slice = api.get(&format!("{SLICES}/{}", api.names(SLICES)[0])).unwrap();
    let meta = &slice["metadata"];
    assert_eq!(
        meta["labels"],
        json!({"app": "db", "kubernetes.io/service-name": "db",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
    );
    assert_eq!(meta["annotations"], json!({"note": "x"}));
    assert_eq!(meta["ownerReferences"][0]["kind"], "Endpoints");
}

#[tokio::test(start_paused = true)]
async fn slices_follow_their_endpoints_keep_their_names_and_rest_with_them() {
    let api = start();
    api.put(ENDPOINTS, endpoints(&["192.0.2.1"], &[]));
    until_slices(&api, &["IPv4 192.0.2.1=true:5432"]).await;
    let name = api.names(SLICES);
    api.put(ENDPOINTS, endpoints(&["192.0.2.7"], &["no address"]));
    until_slices(&api, &["IPv4 192.0.2.7=true:5432"]).await;
    assert_eq!(api.names(SLICES), name);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = api.requests().len();
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().len(), before);
    api.remove(ENDPOINTS);
    until_slices(&api, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_selects_pods_has_no_mirror() {
    let api = start();
    api.put(ENDPOINTS, endpoints(&["192.0.2.1"], &[]));
    until_slices(&api, &["IPv4 192.0.2.1=true:5432"]).await;
    api.put(SERVICE, json!({"spec": {"selector": {"app": "db"}}}));
    until_slices(&api, &[]).await;
    api.put(SERVICE, json!({"spec": {}}));
    until_slices(&api, &["IPv4 192.0.2.1=true:5432"]).await;
    api.remove(SERVICE);
    until_slices(&api, &[]).await;
}

#[test]
fn endpoints_that_are_no_servers_or_say_so_are_left_alone() {
    let check = |metadata: Value, expected: bool| {
        let endpoints: Endpoints = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(is_mirrored(&Service::default(), &endpoints), expected);
    };
    check(json!({}), true);
    check(json!({"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}), false);
    check(json!({"labels": {"endpointslice.kubernetes.io/skip-mirror": "false"}}), true);
    check(json!({"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}), false);
}
