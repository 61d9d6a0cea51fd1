//! What must hold when many write at once, when a value in etcd is broken, and when a write fails half-way.

use std::collections::HashSet;

use bytes::Bytes;
use futures::future::join_all;
use harness::{ApiServer, core};
use serde_json::{Value, json};

use crate::server;

#[tokio::test]
async fn an_object_that_cannot_be_read_is_not_silently_missing() {
    let server = server().await;
    let (admin, etcd) = (server.admin(), server.etcd.connect().await);
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "whole"}})).await.ok();
    let key = "/registry/configmaps/default/broken";
    let written = etcd.create(key, Bytes::from_static(b"{\"kind\":\"ConfigMap\",\"metadata\":{"), None).await.unwrap();
    let list = admin.get_until(&core("configmaps"), |answer| answer.code != 200).await;
    assert_eq!(list["kind"], "Status", "a list that leaves something out would be a lie");
    assert!(list["message"].as_str().unwrap().contains("broken"), "it says which: {list}");
    assert_eq!(admin.get(&core("configmaps/whole")).await.code, 200, "the others can be reached");
    assert_eq!(admin.get(&core("secrets")).await.code, 200);
    etcd.delete(key, written).await.unwrap();
    let list = admin.get_until(&core("configmaps"), |answer| answer.code == 200).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn writes_without_a_version_do_not_lose_each_other() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}})).await.ok();
    // Patches touch what they name and nothing else, whoever is first.
    let patches = (0..40).map(|index| {
        let (caller, key) = (server.admin(), format!("k{index}"));
        async move { caller.patch(&core("configmaps/m"), "merge", &json!({"data": {key: "1"}})).await.ok() }
    });
    join_all(patches).await;
    assert_eq!(admin.get(&core("configmaps/m")).await.ok()["data"].as_object().unwrap().len(), 40);
    // Of updates from one version exactly one wins.
    let current = admin.get(&core("configmaps/m")).await.ok();
    let updates = (0..20).map(|index| {
        let (caller, mut object) = (server.admin(), current.clone());
        object["data"]["winner"] = index.to_string().into();
        async move { caller.update(&core("configmaps/m"), &object).await.code }
    });
    let codes = join_all(updates).await;
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 200 | 409)), "{codes:?}");
    // Of creates of one name exactly one wins, and of deletes with one version too.
    let creates = (0..20).map(|_| {
        let caller = server.admin();
        async move { caller.create(&core("configmaps"), &json!({"metadata": {"name": "once"}})).await.code }
    });
    let codes = join_all(creates).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 1, "{codes:?}");
    let version = admin.get(&core("configmaps/once")).await.ok()["metadata"]["resourceVersion"].clone();
    admin.patch(&core("configmaps/once"), "merge", &json!({"data": {"a": "b"}})).await.ok();
    let stale = json!({"preconditions": {"resourceVersion": version}});
    admin.delete_with(&core("configmaps/once"), &stale).await.failed(409);
}

#[tokio::test]
async fn every_list_shows_the_callers_own_writes() {
    let server = server().await;
    let (admin, other) = (server.admin(), server.admin());
    for index in 0..60 {
        let name = format!("m{index}");
        admin.create(&core("configmaps"), &json!({"metadata": {"name": name}})).await.ok();
        assert!(other.get(&core("configmaps")).await.names().contains(&&*name), "{name} is not there yet");
        admin.delete(&core(&format!("configmaps/{name}"))).await.ok();
        assert_eq!(other.get(&core(&format!("configmaps/{name}"))).await.code, 404);
        assert!(!admin.get("/api/v1/configmaps").await.names().contains(&&*name), "{name} is still there");
    }
}

#[tokio::test]
async fn a_failed_write_blocks_nobody() {
    let mut server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}})).await.ok();
    // Writes that are refused at every stage, then requests whose client goes away in the middle.
    for body in [json!({}), json!({"metadata": {"name": "m"}}), json!({"metadata": {"name": "-"}})] {
        admin.create(&core("configmaps"), &body).await;
    }
    server.etcd.pause();
    let (path, patch) = (core("configmaps/m"), json!({"data": {"a": "1"}}));
    let hanging = admin.patch(&path, "merge", &patch);
    // Whether it is told that this failed or loses patience does not matter.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), hanging).await;
    server.etcd.resume();
    let written = admin.patch(&core("configmaps/m"), "merge", &json!({"data": {"b": "2"}})).await;
    assert_eq!(written.code, 200, "{}", written.body);
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "after"}})).await.ok();
}

#[tokio::test]
async fn no_address_is_given_twice_however_many_ask() {
    let server = server().await;
    let services = (0..30).map(|index| {
        let caller = server.admin();
        let service =
            json!({"metadata": {"name": format!("s{index}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        async move { caller.create(&core("services"), &service).await.ok() }
    });
    let made: Vec<Value> = join_all(services).await;
    let addresses: HashSet<&str> = made.iter().map(|service| service["spec"]["clusterIP"].as_str().unwrap()).collect();
    let ports: HashSet<i64> =
        made.iter().map(|service| service["spec"]["ports"][0]["nodePort"].as_i64().unwrap()).collect();
    assert_eq!((addresses.len(), ports.len()), (30, 30));
    let admin = server.admin();
    let taken = addresses.iter().next().unwrap();
    let thief = json!({"metadata": {"name": "thief"}, "spec": {"clusterIP": taken, "ports": [{"port": 80}]}});
    let refused = admin.create(&core("services"), &thief).await.failed(422);
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    let port = ports.iter().next().unwrap();
    let thief =
        json!({"metadata": {"name": "thief"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}});
    let refused = admin.create(&core("services"), &thief).await.failed(422);
    assert!(refused.contains("provided port is already allocated"), "{refused}");
    // What a failed create took is free again.
    for _ in 0..300 {
        admin
            .create(&core("services"), &json!({"metadata": {"name": "s0"}, "spec": {"ports": [{"port": 80}]}}))
            .await
            .failed(409);
    }
    admin
        .create(&core("services"), &json!({"metadata": {"name": "last"}, "spec": {"ports": [{"port": 80}]}}))
        .await
        .ok();
}

#[tokio::test]
async fn a_quota_holds_however_many_ask() {
    let server = server().await;
    let admin = server.admin();
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "5"}}});
    admin.create(&core("resourcequotas"), &quota).await.ok();
    // The controller that counts is not here; this is what it writes.
    let status = json!({"status": {"hard": {"count/configmaps": "5"}, "used": {"count/configmaps": "0"}}});
    admin.patch(&core("resourcequotas/q/status"), "merge", &status).await.ok();
    let maps = (0..25).map(|index| {
        let caller = server.admin();
        async move { caller.create(&core("configmaps"), &json!({"metadata": {"name": format!("m{index}")}})).await }
    });
    let answers = join_all(maps).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.code, 201 | 403 | 409 | 500)), "{answers:?}");
    assert!((1..=5).contains(&made), "{made} were made");
    assert_eq!(admin.get(&core("configmaps")).await.names().len(), made);
    refuses_more(&server).await;
}

async fn refuses_more(server: &ApiServer) {
    let admin = server.admin();
    for index in 0..6 {
        admin.create(&core("configmaps"), &json!({"metadata": {"name": format!("n{index}")}})).await;
    }
    assert_eq!(admin.get(&core("configmaps")).await.names().len(), 5);
    let refused = admin.create(&core("configmaps"), &json!({"metadata": {"name": "more"}})).await.failed(403);
    assert!(
        refused.contains("exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=5"),
        "{refused}"
    );
}
