//! Networks of cluster IPs on a server in memory, on paused time.

use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};

use super::*;
use crate::testing::{IDLE, scope, until};

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn range(cidr: &str) -> Value {
    json!({"spec": {"cidrs": [cidr]}})
}

fn ending(cidr: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER, "own/one"]},
        "spec": {"cidrs": [cidr]}})
}

fn address(manager: &str) -> Value {
    json!({"metadata": {"labels": {MANAGED_BY.0: manager}},
        "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "s"}}})
}

fn finalizers(api: &FakeApi, name: &str) -> Value {
    api.get(&format!("{RANGES}/{name}")).unwrap()["metadata"]["finalizers"].clone()
}

fn ready(api: &FakeApi, name: &str) -> String {
    let range = api.get(&format!("{RANGES}/{name}")).unwrap();
    let condition = &range["status"]["conditions"][0];
    format!("{}{}", condition["status"].as_str().unwrap_or_default(), condition["reason"].as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_network_that_lives_is_protected_and_ready() {
    let api = FakeApi::new();
    tokio::spawn(run(scope(&api)));
    api.put(&format!("{RANGES}/a"), range("10.97.0.0/24"));
    until("it is protected", || finalizers(&api, "a") == json!([FINALIZER])).await;
    until("it is ready", || ready(&api, "a") == "True").await;
    let asked = api.requests().iter().filter(|request| request.starts_with("PUT")).count();
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().iter().filter(|request| request.starts_with("PUT")).count(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_network_stays_until_the_last_address_that_is_of_no_other_one_is_gone() {
    let api = FakeApi::new();
    let taken = format!("{ADDRESSES}/10.97.0.7");
    api.put(&taken, address("ipallocator.k8s.io"));
    api.put(&format!("{RANGES}/a"), ending("10.97.0.0/24"));
    tokio::spawn(run(scope(&api)));
    until("it says why it stays", || ready(&api, "a") == "FalseTerminating").await;
    tokio::time::sleep(IDLE).await;
    assert_eq!(finalizers(&api, "a"), json!([FINALIZER, "own/one"]));
    api.remove(&taken);
    until("it may go", || finalizers(&api, "a") == json!(["own/one"])).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_may_go_when_another_one_takes_over_its_addresses() {
    let api = FakeApi::new();
    api.put(&format!("{ADDRESSES}/10.97.0.7"), address("ipallocator.k8s.io"));
    api.put(&format!("{RANGES}/a"), ending("10.97.0.0/24"));
    tokio::spawn(run(scope(&api)));
    until("it says why it stays", || ready(&api, "a") == "FalseTerminating").await;
    api.put(&format!("{RANGES}/b"), range("10.97.0.0/16"));
    until("it may go", || finalizers(&api, "a") == json!(["own/one"])).await;
}

#[test]
fn only_addresses_of_services_hold_a_network_and_only_living_ones_take_them_over() {
    let named = |name: &str, mut object: Value| {
        object["metadata"]["name"] = name.into();
        object
    };
    let ranges = |objects: Vec<Value>| -> Vec<Arc<ServiceCIDR>> {
        objects.into_iter().map(|object| Arc::new(serde_json::from_value(object).unwrap())).collect()
    };
    let check = |others: Vec<Value>, ip: &str, manager: &str, expected: bool| {
        let own: ServiceCIDR = serde_json::from_value(named("a", ending("10.97.0.0/24"))).unwrap();
        let address = Arc::new(serde_json::from_value(named(ip, address(manager))).unwrap());
        assert_eq!(is_in_use(&own, &ranges(others), &[address]), expected, "{ip} {manager}");
    };
    let ours = "ipallocator.k8s.io";
    check(vec![named("a", ending("10.97.0.0/24"))], "10.97.0.7", ours, true);
    check(vec![], "10.97.1.7", ours, false);
    check(vec![], "10.97.0.7", "gateway", false);
    check(vec![named("b", range("10.97.0.0/28"))], "10.97.0.7", ours, false);
    check(vec![named("b", range("10.97.0.0/28"))], "10.97.0.77", ours, true);
    check(vec![named("b", ending("10.97.0.0/24"))], "10.97.0.7", ours, true);
}

#[test]
fn api_servers_are_given_time_to_see_the_end() {
    let range: ServiceCIDR = serde_json::from_value(ending("10.97.0.0/24")).unwrap();
    let check = |now: &str, expected: u64| {
        assert_eq!(grace_left(&range, now.parse().unwrap()), Duration::from_secs(expected), "{now}");
    };
    check("2026-01-01T00:00:03Z", 7);
    check("2026-01-01T00:00:10Z", 0);
    check("2026-01-01T01:00:00Z", 0);
}
