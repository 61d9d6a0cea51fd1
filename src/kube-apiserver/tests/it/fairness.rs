//! Priority and fairness of a running server.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::harness::{PATIENCE, Server, core};

const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

#[tokio::test]
async fn default_objects_are_there_come_back_and_are_told_in_headers() {
    let server = Server::start().await;
    let admin = server.admin();
    let catch_all = admin.get_soon(&format!("{SCHEMAS}/catch-all")).await;
    let nodes = admin.get_soon(&format!("{LEVELS}/node-high")).await;
    assert_eq!(nodes["spec"]["limited"]["nominalConcurrencyShares"], 40);
    // The mandatory ones come back as they were; a changed suggestion stays if its owner says so.
    admin.delete(&format!("{SCHEMAS}/catch-all")).await.ok();
    let back = async {
        loop {
            let found = admin.get(&format!("{SCHEMAS}/catch-all")).await;
            if found.code == 200 && found.body["metadata"]["uid"] != catch_all["metadata"]["uid"] {
                return found.body;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let back = tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(back["spec"], catch_all["spec"]);
    let mine = json!({
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 7}},
    });
    admin.patch(&format!("{LEVELS}/workload-low"), "merge", &mine).await.ok();
    // A schema of one's own is obeyed soon, and told in the headers.
    let schema = json!({
        "metadata": {"name": "mine"},
        "spec": {
            "matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "workload-low"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "alice"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            }],
        },
    });
    let made = admin.create(SCHEMAS, schema).await.ok();
    let alice = server.user("alice", &["system:masters"]);
    // Masters are exempt before any other schema is looked at.
    let exempt = alice.get(&core("pods")).await;
    assert_ne!(exempt.headers["x-kubernetes-pf-flowschema-uid"], made["metadata"]["uid"].as_str().unwrap());
    let alice = server.user("alice", &[]);
    let told = async {
        loop {
            let answer = alice.get(&core("pods")).await;
            if answer.headers["x-kubernetes-pf-flowschema-uid"] == made["metadata"]["uid"].as_str().unwrap() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap();
    let low = admin.get(&format!("{LEVELS}/workload-low")).await.ok();
    assert_eq!(told.headers["x-kubernetes-pf-prioritylevel-uid"], low["metadata"]["uid"].as_str().unwrap());
    assert_eq!(low["spec"]["limited"]["nominalConcurrencyShares"], 7);
}

#[tokio::test]
async fn a_flood_is_told_to_come_back_while_heartbeats_get_through() {
    let flags = ["--max-requests-inflight=4", "--max-mutating-requests-inflight=4"];
    let server = Server::start_with(&flags).await;
    let admin = server.admin();
    admin.get_soon(&format!("{LEVELS}/catch-all")).await;
    let node = json!({"metadata": {"name": "n"}});
    admin.create("/api/v1/nodes", node).await.ok();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n", "leaseDurationSeconds": 40}});
    let kubelet = server.user("system:node:n", &["system:nodes"]);
    let lease = kubelet.create(leases, lease).await.ok();
    // A level with few seats and short queues.
    let level = json!({"spec": {"limited": {"limitResponse": {"queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 2}}}},
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}});
    admin.patch(&format!("{LEVELS}/global-default"), "merge", &level).await.ok();
    let role =
        json!({"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await.ok();
    let binding = json!({"metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.ok();
    let eve = server.user("eve", &[]);
    eve.get_soon(&core("configmaps")).await;
    let flood = (0..60).map(|index| {
        let (eve, path) = (eve.clone(), core("configmaps"));
        async move { eve.create(&path, json!({"metadata": {"name": format!("c{index}")}})).await }
    });
    let heartbeats = async {
        let mut lease = lease;
        for _ in 0..5 {
            lease = kubelet.update(&format!("{leases}/n"), &lease).await.ok();
        }
    };
    let (answers, ()) = tokio::join!(join_all(flood), heartbeats);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.code == 429).collect();
    assert!(!refused.is_empty() && refused.len() < 60, "{}", refused.len());
    assert!(refused.iter().all(|answer| answer.headers.contains_key("retry-after")));
    let metrics = admin.get("/metrics").await;
    let metrics = metrics.body.as_str().unwrap();
    let counted = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"global-default\"";
    assert!(metrics.contains(counted), "{metrics}");
}
