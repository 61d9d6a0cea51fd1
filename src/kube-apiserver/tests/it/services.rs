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

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn at(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

fn range(name: &str, network: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"cidrs": [network]}})
}

/// A server with six addresses, one of which it has taken itself, and the Services that have the others.
async fn full() -> (Server, Vec<Value>) {
    let server = Server::start_with(&["--service-cluster-ip-range=10.96.0.0/29"]).await;
    let admin = server.admin();
    let mut made = Vec::new();
    for index in 0..5 {
        made.push(admin.create(&core("services"), service(&format!("s{index}"), "ClusterIP")).await.ok());
    }
    let why = admin.create(&core("services"), service("none-left", "ClusterIP")).await.failed(500);
    assert!(why.contains("range is full"), "{why}");
    (server, made)
}

fn ip(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap()
}

#[tokio::test]
async fn a_second_network_takes_over_when_the_first_is_full() {
    let (server, made) = full().await;
    let admin = server.admin();
    admin.create(&core("services"), at("early", "10.97.0.6")).await.failed(422);
    let more = admin.create(RANGES, range("more", "10.97.0.0/29")).await;
    assert!(more.headers.get("warning").is_none(), "{:?}", more.headers);
    let next = admin.create(&core("services"), service("next", "ClusterIP")).await.ok();
    assert!(ip(&next).starts_with("10.97.0."), "{next}");
    let own = if ip(&next) == "10.97.0.6" { "10.97.0.5" } else { "10.97.0.6" };
    let named = admin.create(&core("services"), at("named", own)).await.ok();
    assert_eq!(ip(&named), own);
    // Each address is an object that says whose it is, and goes with it.
    let address = admin.get(&format!("{ADDRESSES}/{own}")).await.ok();
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "named"});
    let empty_or = |mut parent: Value| {
        parent["group"] = "".into();
        parent
    };
    assert_eq!(empty_or(address["spec"]["parentRef"].clone()), parent);
    assert_eq!(
        address["metadata"]["labels"],
        json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io", "ipaddress.kubernetes.io/ip-family": "IPv4"})
    );
    assert!(admin.create(&core("services"), at("again", own)).await.failed(422).contains("already allocated"));
    admin.delete(&core("services/named")).await.ok();
    admin.get(&format!("{ADDRESSES}/{own}")).await.failed(404);
    // What somebody else has taken is no Service's.
    let gateway = json!({"metadata": {"name": own}, "spec": {"parentRef": {
        "group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g"}}});
    admin.create(ADDRESSES, gateway).await.ok();
    assert!(admin.create(&core("services"), at("again", own)).await.failed(422).contains("already allocated"));
    // The first network is still used where there is room.
    admin.delete(&core("services/s2")).await.ok();
    let back = admin.create(&core("services"), service("back", "ClusterIP")).await.ok();
    assert_eq!(ip(&back), ip(&made[2]));
}

#[tokio::test]
async fn a_network_that_ends_or_is_not_ready_gives_out_nothing_and_keeps_what_it_gave() {
    let (server, _) = full().await;
    let admin = server.admin();
    let mut more = range("more", "10.97.0.0/29");
    more["metadata"]["finalizers"] = json!(["networking.k8s.io/service-cidr-finalizer"]);
    admin.create(RANGES, more).await.ok();
    let here = admin.create(&core("services"), service("here", "ClusterIP")).await.ok();
    let (path, at_status) = (format!("{RANGES}/more"), format!("{RANGES}/more/status"));
    let condition = |status: &str| {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "Test", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    admin.patch(&at_status, "merge", &condition("False")).await.ok();
    admin.create(&core("services"), service("next", "ClusterIP")).await.failed(500);
    admin.patch(&at_status, "merge", &condition("True")).await.ok();
    admin.create(&core("services"), service("next", "ClusterIP")).await.ok();
    let ending = admin.delete(&path).await.ok();
    assert!(ending["metadata"]["deletionTimestamp"].is_string(), "{ending}");
    admin.create(&core("services"), service("late", "ClusterIP")).await.failed(500);
    assert!(
        admin.create(&core("services"), at("late", "10.97.0.3")).await.failed(422).contains("not in the valid range")
    );
    // Whoever has an address keeps it, and may change.
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = admin.patch(&core("services/here"), "merge", &labelled).await.ok();
    assert_eq!(ip(&changed), ip(&here));
    admin.delete(&core("services/here")).await.ok();
    admin.get(&format!("{ADDRESSES}/{}", ip(&here))).await.failed(404);
    admin.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await.ok();
    admin.get(&path).await.failed(404);
}

#[tokio::test]
async fn a_server_that_starts_makes_good_what_is_missing_of_addresses_and_networks() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.create(&core("services"), service("s", "ClusterIP")).await.ok();
    let address = format!("{ADDRESSES}/{}", ip(&made));
    admin.delete(&address).await.ok();
    admin.delete(&format!("{RANGES}/kubernetes")).await.ok();
    // Without the object the flags still count.
    admin.create(&core("services"), service("t", "ClusterIP")).await.ok();
    let flags = ["--advertise-address=192.0.2.11", "--service-cluster-ip-range=10.96.0.0/24,fd00::/112"];
    let wider = server.beside(&flags).await;
    admin.get(&address).await.ok();
    let networks = admin.get(&format!("{RANGES}/kubernetes")).await.ok();
    assert_eq!(networks["spec"]["cidrs"], json!(["10.96.0.0/24", "fd00::/112"]));
    let mut both = service("both", "ClusterIP");
    both["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    let both = wider.admin().create(&core("services"), both).await.ok();
    assert!(both["spec"]["clusterIPs"][1].as_str().unwrap().starts_with("fd00::"), "{both}");
}
