//! Addresses and ports of Services, and what every cluster has.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Server, core};

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}})
}

#[tokio::test]
async fn no_address_or_port_is_given_twice() {
    let server = Server::start().await;
    let admin = server.admin();
    let names: Vec<String> = (0..10).map(|index| format!("s{index}")).collect();
    let path = core("services");
    let made = join_all(names.iter().map(|name| admin.create(&path, service(name, "NodePort")))).await;
    let made: Vec<Value> = made.into_iter().map(crate::harness::Answer::ok).collect();
    let ips: HashSet<&str> = made.iter().map(|made| made["spec"]["clusterIP"].as_str().unwrap()).collect();
    let ports: HashSet<i64> = made.iter().map(|made| made["spec"]["ports"][0]["nodePort"].as_i64().unwrap()).collect();
    assert_eq!((ips.len(), ports), (10, (30000..=30009).collect()));
    // The range is used up; what is given back can be had again.
    admin.create(&core("services"), service("more", "NodePort")).await.failed(500);
    admin.delete(&core("services/s3")).await.ok();
    let again = admin.create(&core("services"), service("more", "NodePort")).await.ok();
    assert_eq!(again["spec"]["ports"][0]["nodePort"], made[3]["spec"]["ports"][0]["nodePort"]);
    let mut taken = service("taken", "ClusterIP");
    taken["spec"]["clusterIP"] = made[0]["spec"]["clusterIP"].clone();
    assert!(admin.create(&core("services"), taken).await.failed(422).contains("already allocated"));
    let mut outside = service("outside", "ClusterIP");
    outside["spec"]["clusterIP"] = "192.0.2.1".into();
    assert!(admin.create(&core("services"), outside).await.failed(422).contains("not in the valid range"));
}

#[tokio::test]
async fn a_service_keeps_what_an_update_leaves_out() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.create(&core("services"), service("s", "NodePort")).await.ok();
    let mut bare = service("s", "NodePort");
    bare["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    bare["metadata"]["labels"] = json!({"a": "b"});
    let updated = admin.update(&core("services/s"), &bare).await.ok();
    assert_eq!(updated["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(updated["spec"]["ports"], made["spec"]["ports"]);
    let plain = admin.patch(&core("services/s"), "merge", &json!({"spec": {"type": "ClusterIP"}})).await.ok();
    assert!(plain["spec"]["ports"][0].get("nodePort").is_none(), "{plain}");
    let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    let headless = admin.create(&core("services"), headless).await.ok();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn a_cluster_has_its_first_objects() {
    let server = Server::start().await;
    let admin = server.admin();
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        admin.get(&format!("/api/v1/namespaces/{namespace}")).await.ok();
    }
    let service = admin.get(&core("services/kubernetes")).await.ok();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    // The endpoints are announced right after the server is ready.
    let slice = admin.get_soon("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.10");
    let endpoints = admin.get_soon(&core("endpoints/kubernetes")).await;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.10");
    let network = admin.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(network["spec"]["cidrs"][0].as_str().map(|network| &network[..8]), Some("10.96.0."), "{network}");
    assert_eq!(network["status"]["conditions"][0]["type"], "Ready");
    let known = admin.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.ok();
    assert_eq!(known["data"]["client-ca-file"].as_str().unwrap().trim(), server.file("ca.crt").trim());
    for class in ["system-node-critical", "system-cluster-critical"] {
        admin.get(&format!("/apis/scheduling.k8s.io/v1/priorityclasses/{class}")).await.ok();
    }
    let roles = admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await.ok();
    assert!(roles["items"].as_array().unwrap().len() > 30);
}
