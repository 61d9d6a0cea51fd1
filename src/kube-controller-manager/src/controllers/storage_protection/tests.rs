//! Claims and volumes on a server in memory, on paused time.

use std::time::Duration;

use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};

use super::*;
use crate::testing::{scope, until};

const CLAIM: &str = "/api/v1/namespaces/default/persistentvolumeclaims/data";
const POD: &str = "/api/v1/namespaces/default/pods/p";
const VOLUME: &str = "/api/v1/persistentvolumes/v";

fn ending(finalizer: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer, "own/one"]}})
}

fn finalizers(api: &FakeApi, path: &str) -> Value {
    api.get(path).unwrap()["metadata"]["finalizers"].clone()
}

#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
fn pod(node: &str, volume: Value) -> Value {
    json!({"spec": {"nodeName": node, "containers": [], "volumes": [volume]}, "status": {"phase": "Succeeded"}})
}

#[tokio::test(start_paused = true)]
async fn a_claim_stays_until_the_last_pod_that_names_it_is_gone() {
    let api = FakeApi::new();
    api.put(POD, pod("n1", json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}})));
    api.put(CLAIM, ending(CLAIM_FINALIZER));
    tokio::spawn(run_claims(scope(&api)));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(finalizers(&api, CLAIM), json!([CLAIM_FINALIZER, "own/one"]));
    api.remove(POD);
    until("the claim may go", || finalizers(&api, CLAIM) == json!(["own/one"])).await;
}

#[tokio::test(start_paused = true)]
async fn what_lives_is_protected() {
    let api = FakeApi::new();
    let scope = scope(&api);
    tokio::spawn(run_claims(scope.clone()));
    tokio::spawn(run_volumes(scope));
    api.put(CLAIM, json!({}));
    api.put(VOLUME, json!({}));
    until("both are", || {
        finalizers(&api, CLAIM) == json!([CLAIM_FINALIZER]) && finalizers(&api, VOLUME) == json!([VOLUME_FINALIZER])
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_stays_while_it_is_bound() {
    let api = FakeApi::new();
    let mut volume = ending(VOLUME_FINALIZER);
    volume["status"] = json!({"phase": "Bound"});
    api.put(VOLUME, volume.clone());
    tokio::spawn(run_volumes(scope(&api)));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(finalizers(&api, VOLUME), json!([VOLUME_FINALIZER, "own/one"]));
    volume["status"] = json!({"phase": "Released"});
    api.put(VOLUME, volume);
    until("the volume may go", || finalizers(&api, VOLUME) == json!(["own/one"])).await;
}

#[test]
fn only_pods_on_a_node_use_a_claim_and_only_their_own_ephemeral_one() {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "p-scratch",
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]}}))
    .unwrap();
    let check = |uid: &str, node: &str, volume: Value, expected: bool| {
        let mut pod: Pod = serde_json::from_value(pod(node, volume)).unwrap();
        (pod.metadata.name, pod.metadata.uid) = (Some("p".to_owned()), Some(uid.to_owned()));
        assert_eq!(uses(&pod, &claim), expected);
    };
    let ephemeral = || json!({"name": "scratch", "ephemeral": {}});
    check("u", "n1", ephemeral(), true);
    check("other", "n1", ephemeral(), false);
    check("u", "", ephemeral(), false);
    check("u", "n1", json!({"name": "x", "persistentVolumeClaim": {"claimName": "p-scratch"}}), true);
    check("u", "n1", json!({"name": "x", "persistentVolumeClaim": {"claimName": "data"}}), false);
}
