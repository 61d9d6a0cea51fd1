//! Who may do what, seen through the whole chain.

use serde_json::json;

use crate::harness::{Server, core};

#[tokio::test]
async fn strangers_see_only_that_the_server_lives() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    let refused = nobody.get("/api/v1/nodes").await.failed(403);
    assert_eq!(
        refused,
        "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    let stranger = server.user("somebody", &[]);
    stranger.get(&core("pods")).await.failed(403);
    stranger.create(&core("configmaps"), json!({"metadata": {"name": "x"}})).await.failed(403);
    stranger.get("/api").await.ok();
}

#[tokio::test]
async fn roles_give_what_they_say() {
    let server = Server::start().await;
    let (admin, reader) = (server.admin(), server.user("reader", &[]));
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({
        "metadata": {"name": "read"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
    });
    admin.create(&format!("{rbac}/roles"), role).await.ok();
    let binding = json!({
        "metadata": {"name": "read"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "reader"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
    });
    admin.create(&format!("{rbac}/rolebindings"), binding).await.ok();
    reader.get_soon(&core("configmaps")).await;
    reader.get(&core("secrets")).await.failed(403);
    reader.get("/api/v1/configmaps").await.failed(403);
    reader.delete(&core("configmaps/x")).await.failed(403);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let server = Server::start().await;
    let (admin, somebody) = (server.admin(), server.user("writer", &[]));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({
        "metadata": {"name": "writer"},
        "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["create", "get"]}],
    });
    admin.create(&format!("{rbac}/clusterroles"), role).await.ok();
    let bind = |name: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "writer"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        })
    };
    admin.create(&format!("{rbac}/clusterrolebindings"), bind("writer", "writer")).await.ok();
    somebody.get_soon(&format!("{rbac}/clusterroles/writer")).await;
    let more = bind("more", "cluster-admin");
    somebody.create(&format!("{rbac}/clusterrolebindings"), more).await.failed(403);
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": "secrets"}, "rules": [secrets]});
    somebody.create(&format!("{rbac}/clusterroles"), role).await.failed(403);
}

#[tokio::test]
async fn a_kubelet_changes_only_what_is_its_own() {
    let server = Server::start().await;
    let kubelet = server.user("system:node:n", &["system:nodes"]);
    let node = kubelet.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.ok();
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    kubelet.create("/api/v1/nodes", json!({"metadata": {"name": "m"}})).await.failed(403);
    let role = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    kubelet.patch("/api/v1/nodes/n", "merge", &role).await.failed(403);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    kubelet.patch("/api/v1/nodes/n/status", "merge", &ready).await.ok();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    kubelet.create(leases, json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}})).await.ok();
    kubelet.create(leases, json!({"metadata": {"name": "m"}})).await.failed(403);
    kubelet.get(&core("secrets/x")).await.failed(403);
}

#[tokio::test]
async fn a_service_account_token_opens_the_door() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), json!({"metadata": {"name": "robot"}})).await.ok();
    let asked = json!({"spec": {"expirationSeconds": 600}});
    let answer = admin.create(&core("serviceaccounts/robot/token"), asked).await.ok();
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let review = json!({"spec": {"token": token}});
    let review = admin.create("/apis/authentication.k8s.io/v1/tokenreviews", review).await.ok();
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:robot");
    let request = server.anonymous().request(reqwest::Method::GET, &core("pods")).bearer_auth(&token);
    let refused = crate::harness::answer(request).await.failed(403);
    assert!(refused.contains("system:serviceaccount:default:robot"), "{refused}");
    let forged = server.anonymous().request(reqwest::Method::GET, "/api").bearer_auth(format!("{token}x"));
    crate::harness::answer(forged).await.failed(401);
    assert!(!server.file("sa.pub").is_empty());
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_with_a_status() {
    let server = Server::start().await;
    let admin = server.admin();
    let post = |body: String, media: &str| {
        admin.request(reqwest::Method::POST, &core("configmaps")).header("content-type", media).body(body)
    };
    let deep = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for (body, media, code) in [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        ("null", "application/json", 400),
        ("\u{1}", "application/json", 400),
        (deep.as_str(), "application/json", 400),
        ("{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}", "application/json", 400),
        ("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v2\"}", "application/json", 400),
        ("{\"metadata\":{\"name\":5}}", "application/json", 400),
        ("a: [", "application/yaml", 400),
        ("k8s\u{0}\u{ff}", "application/vnd.kubernetes.protobuf", 400),
        ("{}", "text/plain", 415),
    ] {
        let answer = crate::harness::answer(post(body.to_owned(), media)).await;
        assert_eq!(answer.code, code, "{} {}", &body[..body.len().min(40)], answer.body);
        assert_eq!(answer.body["kind"], "Status");
    }
    let huge = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 * 1024 * 1024));
    crate::harness::answer(post(huge, "application/json")).await.failed(413);
    assert_eq!(admin.get("/livez").await.code, 200);
}
