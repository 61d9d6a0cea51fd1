//! What a cluster begins with: there with the first "ready", for few commits, and never against an administrator.

use std::collections::HashSet;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use storage::Etcd;
use storage::testing::EtcdServer;

use crate::harness::{Caller, Server, Site};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const APF: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
/// Far fewer than the objects, with room for leases, endpoints and other things that go on at the same time.
const FEW: i64 = 20;

/// The keys in etcd that are there from the start.
async fn keys(etcd: &Etcd) -> HashSet<String> {
    let mut keys = HashSet::new();
    let kinds = ["clusterroles", "clusterrolebindings", "roles", "rolebindings", "namespaces", "priorityclasses"];
    for kind in kinds.into_iter().chain(["flowschemas", "prioritylevelconfigurations"]) {
        etcd.list_all(&format!("/registry/{kind}/"), 0, |kv| keys.extend([kv.key])).await.unwrap();
    }
    keys
}

async fn put(etcd: &Etcd, key: &str, object: &Value) {
    etcd.create(key, Bytes::from(object.to_string()), None).await.unwrap();
}

fn role(name: &str, auto_update: &str) -> Value {
    let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": auto_update});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "uid": name, "annotations": annotations},
        "rules": [{"verbs": ["get"], "apiGroups": ["mine"], "resources": ["things"]}],
    })
}

async fn rules(caller: &Caller, name: &str) -> Vec<Value> {
    let role = caller.get(&format!("{RBAC}/clusterroles/{name}")).await.ok();
    role["rules"].as_array().unwrap().clone()
}

#[tokio::test]
async fn they_cost_a_few_commits_however_many_servers_start() {
    let etcd = EtcdServer::start().await;
    let client = etcd.connect().await;
    let before = client.current_revision().await.unwrap();
    let site = Site::new();
    let endpoints = [etcd.endpoint()];
    let starts = ["192.0.2.10", "192.0.2.11", "192.0.2.12"].map(async |address| {
        let flag = format!("--advertise-address={address}");
        Server::start_on(&endpoints, site.clone(), &[&flag]).await
    });
    let servers = join_all(starts).await;
    for server in &servers {
        server.wait_ready().await;
        // Ready means that all of it is there, for whoever asks this server.
        for path in ["flowschemas/catch-all", "prioritylevelconfigurations/global-default"] {
            server.admin().get(&format!("{APF}/{path}")).await.ok();
        }
        server.admin().get("/api/v1/namespaces/kube-node-lease").await.ok();
    }
    let commits = client.current_revision().await.unwrap() - before;
    let there = keys(&client).await;
    assert!(there.len() > 150, "{}", there.len());
    assert!(commits < 3 * FEW, "{commits} commits for {} objects", there.len());
    // One that comes later has nothing to do.
    let before = client.current_revision().await.unwrap();
    let later = Server::start_on(&endpoints, site, &["--advertise-address=192.0.2.13"]).await;
    later.wait_ready().await;
    let commits = client.current_revision().await.unwrap() - before;
    assert!(commits < FEW, "{commits} commits");
    assert_eq!(keys(&client).await, there);
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_finished_and_what_others_wrote_is_mended_not_replaced() {
    let etcd = EtcdServer::start().await;
    let client = etcd.connect().await;
    for (name, auto_update) in [("cluster-admin", "true"), ("view", "false")] {
        put(&client, &format!("/registry/clusterroles/{name}"), &role(name, auto_update)).await;
    }
    let mut server = Server::start_on(&[etcd.endpoint()], Site::new(), &[]).await;
    server.wait_ready().await;
    let admin = server.admin();
    let mended = rules(&admin, "cluster-admin").await;
    assert!(mended.len() == 3 && mended[0]["apiGroups"] == json!(["mine"]), "{mended:?}");
    assert_eq!(rules(&admin, "view").await.len(), 1);
    let complete = keys(&client).await;
    assert!(complete.len() > 150);
    // A cluster that lives: what is missing comes back with the next start, the rest stays as it is.
    for path in [format!("{RBAC}/clusterroles/system:node"), format!("{APF}/flowschemas/probes")] {
        admin.delete(&path).await.ok();
    }
    let level = json!({
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 7}},
    });
    let path = format!("{APF}/prioritylevelconfigurations/workload-low");
    admin.patch(&path, "merge", &level).await.ok();
    server.stop().await;
    let again = Server::start_on(&[etcd.endpoint()], Site::new(), &[]).await;
    again.wait_ready().await;
    assert_eq!(keys(&client).await, complete);
    assert_eq!(rules(&again.admin(), "cluster-admin").await, mended);
    assert_eq!(rules(&again.admin(), "view").await.len(), 1);
    let level = again.admin().get(&path).await.ok();
    assert_eq!(level["spec"]["limited"]["nominalConcurrencyShares"], 7);
}
