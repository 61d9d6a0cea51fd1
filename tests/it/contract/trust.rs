//! Who may do what, tried the way others were broken.

use harness::{ApiServer, Caller, answer, core};
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::is_well;
use crate::{examples, server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Gives a user a cluster-wide role with these rules, and waits until it counts.
async fn grant(server: &ApiServer, user: &str, rules: Value) {
    let admin = server.admin();
    let role = json!({"metadata": {"name": user}, "rules": rules});
    admin.create(&format!("{RBAC}/clusterroles"), &role).await.ok();
    admin.create(&format!("{RBAC}/clusterrolebindings"), &binding(user, user, user)).await.ok();
    let rule = &rules[0];
    let review = json!({"spec": {"user": user, "resourceAttributes": {
        "verb": rule["verbs"][0], "group": rule["apiGroups"][0], "namespace": "default", "name": rule["resourceNames"][0].as_str().unwrap_or_default(),
        "resource": rule["resources"][0].as_str().unwrap().split('/').next(),
        "subresource": rule["resources"][0].as_str().unwrap().split_once('/').map_or("", |(_, sub)| sub).replace('*', "x"),
    }}});
    for _ in 0..500 {
        let seen = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.ok();
        if seen["status"]["allowed"] == true {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{user} is not granted {rules}");
}

fn binding(name: &str, user: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    })
}

/// Whether a user may do something, asked of the server.
async fn may(server: &ApiServer, user: &str, verb: &str, (group, resource, subresource): (&str, &str, &str)) -> bool {
    let review = json!({"spec": {"user": user, "resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "default", "name": "x",
    }}});
    let seen = server.admin().create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.ok();
    seen["status"]["allowed"] == true
}

#[tokio::test]
async fn rules_for_subresources_mean_what_they_say() {
    let server = server().await;
    let verbs = json!(["get"]);
    grant(&server, "subs", json!([{"apiGroups": [""], "resources": ["pods/log"], "verbs": verbs}])).await;
    grant(&server, "scales", json!([{"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": verbs}])).await;
    grant(&server, "plain", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}])).await;
    grant(&server, "all", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}])).await;
    for (user, resource, expected) in [
        ("subs", ("", "pods", "log"), true),
        ("subs", ("", "pods", ""), false),
        ("subs", ("", "pods", "exec"), false),
        ("scales", ("apps", "deployments", "scale"), true),
        ("scales", ("apps", "statefulsets", "scale"), true),
        ("scales", ("apps", "deployments", ""), false),
        ("scales", ("apps", "deployments", "status"), false),
        ("scales", ("", "replicationcontrollers", "scale"), false),
        ("plain", ("", "pods", ""), true),
        ("plain", ("", "pods", "log"), false),
        ("all", ("apps", "deployments", "scale"), true),
        ("all", ("", "secrets", ""), true),
    ] {
        assert_eq!(may(&server, user, "get", resource).await, expected, "{user}: {resource:?}");
    }
    // As upstream, `pods/*` is no pattern: it names a subresource called `*`, and so gives nothing.
    let odd =
        json!({"metadata": {"name": "odd"}, "rules": [{"apiGroups": [""], "resources": ["pods/*"], "verbs": verbs}]});
    server.admin().create(&format!("{RBAC}/clusterroles"), &odd).await.ok();
    server.admin().create(&format!("{RBAC}/clusterrolebindings"), &binding("odd", "odd", "odd")).await.ok();
    grant(&server, "marker", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}])).await;
    assert!(!may(&server, "odd", "get", ("", "pods", "exec")).await);
    assert!(!may(&server, "odd", "get", ("", "pods", "")).await);
}

#[tokio::test]
async fn binding_and_escalating_are_different_rights() {
    let server = server().await;
    let rule = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": resources, "verbs": verbs});
    let writes = rule(&["clusterroles", "clusterrolebindings"], &["create", "update", "patch", "get"]);
    grant(&server, "binder", json!([writes, rule(&["clusterroles"], &["bind"])])).await;
    grant(&server, "escalator", json!([writes, rule(&["clusterroles"], &["escalate"])])).await;
    grant(&server, "writer", json!([writes])).await;
    let strong = |name: &str| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    for (user, may_bind, may_write) in [("binder", true, false), ("escalator", false, true), ("writer", false, false)] {
        let caller = server.user(user, &[]);
        let bound = caller
            .create(&format!("{RBAC}/clusterrolebindings"), &binding(&format!("{user}-more"), user, "cluster-admin"))
            .await;
        assert_eq!(bound.code, if may_bind { 201 } else { 403 }, "{user} binds: {}", bound.body);
        if !may_bind {
            let role = caller.create(&format!("{RBAC}/clusterroles"), &strong(&format!("{user}-more"))).await;
            assert_eq!(role.code, if may_write { 201 } else { 403 }, "{user} writes a role: {}", role.body);
        }
    }
    let writer = server.user("writer", &[]);
    let patch = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    for form in ["merge", "strategic-merge"] {
        writer.patch(&format!("{RBAC}/clusterroles/writer"), form, &patch).await.failed(403);
    }
    let media = "application/apply-patch+yaml";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "writer"}, "rules": patch["rules"]});
    let path = format!("{RBAC}/clusterroles/writer?fieldManager=x&force=true");
    writer.send(Method::PATCH, &path, media, role.to_string()).await.failed(403);
    let aggregated = json!({"metadata": {"name": "x"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
    writer.create(&format!("{RBAC}/clusterroles"), &aggregated).await.failed(403);
}

#[tokio::test]
async fn a_binding_that_is_gone_gives_nothing_any_more() {
    let server = server().await;
    let admin = server.admin();
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "brief"}})).await.ok();
    let mut bound = binding("b", "guest", "view");
    bound["kind"] = "RoleBinding".into();
    let bindings = format!("{RBAC}/namespaces/brief/rolebindings");
    admin.create(&bindings, &bound).await.ok();
    let guest = server.user("guest", &[]);
    guest.get_until("/api/v1/namespaces/brief/pods", |answer| answer.code == 200).await;
    admin.delete(&bindings.replace("/rolebindings", "/rolebindings/b")).await.ok();
    guest.get_until("/api/v1/namespaces/brief/pods", |answer| answer.code == 403).await;
}

#[tokio::test]
async fn impersonation_is_a_right_and_is_obeyed() {
    let server = server().await;
    let admin = server.admin();
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let act = |caller: Caller, headers: &'static [(&'static str, &'static str)]| async move {
        let mut request = caller.request(Method::POST, review).header("content-type", "application/json").body("{}");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    };
    let seen = act(
        admin.clone(),
        &[("impersonate-user", "ann"), ("impersonate-group", "dev"), ("impersonate-extra-scope", "one")],
    )
    .await
    .ok();
    let user = &seen["status"]["userInfo"];
    assert_eq!(user["username"], "ann");
    assert_eq!((&user["groups"], &user["extra"]["scope"]), (&json!(["dev", "system:authenticated"]), &json!(["one"])));
    let stranger = server.user("stranger", &[]);
    act(stranger, &[("impersonate-user", "kubernetes-admin")]).await.failed(403);
    grant(
        &server,
        "actor",
        json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["x"]}]),
    )
    .await;
    let actor = server.user("actor", &[]);
    assert_eq!(act(actor.clone(), &[("impersonate-user", "x")]).await.code, 201);
    act(actor.clone(), &[("impersonate-user", "y")]).await.failed(403);
    act(actor.clone(), &[("impersonate-user", "x"), ("impersonate-group", "system:masters")]).await.failed(403);
    let lonely = act(admin, &[("impersonate-group", "dev")]).await;
    assert!(lonely.code >= 400, "a group without a user is nobody: {}", lonely.body);
}

#[tokio::test]
async fn a_node_reaches_only_what_its_pods_need() {
    let server = server().await;
    let (admin, kubelet) = (server.admin(), server.user("system:node:n1", &["system:nodes"]));
    for name in ["needed", "other"] {
        admin.create(&core("secrets"), &json!({"metadata": {"name": name}})).await.ok();
    }
    kubelet.get(&core("secrets/needed")).await.failed(403);
    let mut pod = examples::of("Pod").object;
    pod["spec"]["nodeName"] = "n1".into();
    pod["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "needed"}}]);
    admin.create(&core("pods"), &pod).await.ok();
    kubelet.get_until(&core("secrets/needed"), |answer| answer.code == 200).await;
    kubelet.get(&core("secrets/other")).await.failed(403);
    kubelet.get(&core("secrets")).await.failed(403);
    kubelet.get("/api/v1/secrets").await.failed(403);
    let other = server.user("system:node:n2", &["system:nodes"]);
    other.get(&core("secrets/needed")).await.failed(403);
    other.patch(&core("pods/example/status"), "merge", &json!({"status": {"phase": "Failed"}})).await.failed(403);
    other.delete(&core("pods/example")).await.failed(403);
    kubelet.create(&core("pods"), &examples::of("Pod").object).await.failed(403);
    // Without the group a name is only a name.
    server.user("system:node:n1", &[]).get(&core("secrets/needed")).await.failed(403);
    server.user("n1", &["system:nodes"]).get(&core("secrets/needed")).await.failed(403);
    admin.delete(&core("pods/example?gracePeriodSeconds=0")).await.ok();
    kubelet.get_until(&core("secrets/needed"), |answer| answer.code == 403).await;
}

#[tokio::test]
async fn an_empty_token_is_nobody() {
    let files = tempfile::tempdir().unwrap();
    let tokens = files.path().join("tokens.csv");
    std::fs::write(&tokens, "good,ann,1,\"system:masters\"\n").unwrap();
    let flag = format!("--token-auth-file={}", tokens.display());
    let server = ApiServer::start_with(crate::PROGRAM, &[&flag]).await;
    let knock = |value: &'static str| {
        let nobody = server.anonymous();
        async move { answer(nobody.request(Method::GET, &core("secrets")).header("authorization", value)).await.code }
    };
    assert_eq!(knock("Bearer good").await, 200);
    for value in ["Bearer ", "Bearer", "Bearer  ", "bearer goodx", "Bearer good x", "Basic good", "Bearer GOOD", ""] {
        let code = knock(value).await;
        assert!(matches!(code, 401 | 403), "{value:?}: {code}");
    }
}

#[tokio::test]
async fn line_ends_in_names_do_not_reach_a_kubelet() {
    let server = server().await;
    let admin = server.admin();
    admin.create("/api/v1/nodes", &examples::of("Node").object).await.ok();
    let mut pod = examples::of("Pod").object;
    pod["spec"]["nodeName"] = "example".into();
    admin.create(&core("pods"), &pod).await.ok();
    for path in [
        "pods/example/portforward?ports=80%0d%0aX-Evil:%20yes",
        "pods/example/exec?command=a%0d%0a%0d%0aGET%20/evil%20HTTP/1.1&stdout=true",
        "pods/example/log?container=c%0d%0aX:%20y",
        "pods/example%0d%0aX:y/log",
        "pods/example/proxy/a%0d%0aX-Evil:%20yes",
    ] {
        let answer = admin.get(&core(path)).await;
        assert!(answer.code >= 400, "{path}: {} {}", answer.code, answer.body);
        assert!(answer.header("x-evil").is_empty());
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn a_pod_cannot_lead_the_proxy_to_forbidden_addresses() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("pods"), &examples::of("Pod").object).await.ok();
    for address in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1", "fe80::1"] {
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        let told = admin.patch(&core("pods/example/status"), "merge", &status).await;
        if told.code == 200 {
            let port = server.port();
            let answer = admin.get(&core(&format!("pods/https:example:{port}/proxy/livez"))).await;
            assert!(answer.code >= 400 && answer.body != "ok", "{address}: {} {}", answer.code, answer.body);
        }
    }
}

#[tokio::test]
async fn tokens_that_are_expired_forged_or_garbage_open_nothing() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), &json!({"metadata": {"name": "robot"}})).await.ok();
    let issued =
        admin.create(&core("serviceaccounts/robot/token"), &json!({"spec": {"expirationSeconds": 600}})).await.ok();
    let token = issued["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(knock(&server, &token).await, 403, "it is known, and may do little");
    let parts: Vec<&str> = token.split('.').collect();
    let claims = decoded(parts[1]);
    let signer = pki::jwt::TokenSigner::from_pem(&std::fs::read_to_string(server.path("sa.key")).unwrap()).unwrap();
    let mut expired: Value = serde_json::from_slice(&claims).unwrap();
    expired["exp"] = 1_000_000_000.into();
    let mut early = expired.clone();
    early["exp"] = 9_000_000_000_i64.into();
    early["nbf"] = 8_000_000_000_i64.into();
    let mut other: Value = serde_json::from_slice(&claims).unwrap();
    other["sub"] = "system:serviceaccount:kube-system:default".into();
    other["kubernetes.io"]["serviceaccount"]["name"] = "other".into();
    let mut audience: Value = serde_json::from_slice(&claims).unwrap();
    audience["aud"] = json!(["somebody-else"]);
    let sign = |claims: &Value| signer.sign(claims.to_string().as_bytes()).unwrap();
    let stranger = pki::jwt::TokenSigner::new(pki::KeyPair::generate().unwrap()).unwrap();
    let none = format!("{}.{}.", encoded(br#"{"alg":"none","typ":"JWT"}"#), parts[1]);
    let swapped = format!("{}.{}.{}", parts[0], encoded(other.to_string().as_bytes()), parts[2]);
    for (what, forged) in [
        ("expired", sign(&expired)),
        ("not yet valid", sign(&early)),
        ("for an account that is not there", sign(&other)),
        ("for another audience", sign(&audience)),
        ("signed by a stranger", stranger.sign(&claims).unwrap()),
        ("without a signature", none),
        ("with other claims under the same signature", swapped),
        ("with a spoilt signature", format!("{token}x")),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(60_000)),
        ("empty", String::new()),
    ] {
        let code = knock(&server, &forged).await;
        assert!(
            code == 401 || (forged.len() > 50_000 && code == 431) || (forged.is_empty() && code == 403),
            "a token {what}: {code}"
        );
    }
    admin.delete(&core("serviceaccounts/robot")).await.ok();
    let mut code = 0;
    for _ in 0..500 {
        code = knock(&server, &token).await;
        if code == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(code, 401, "an account that is gone takes its tokens along");
    is_well(&server).await;
}

async fn knock(server: &ApiServer, token: &str) -> u16 {
    let nobody: Caller = server.anonymous();
    let request = nobody.request(Method::GET, &core("secrets")).header("authorization", format!("Bearer {token}"));
    answer(request).await.code
}

fn decoded(part: &str) -> Vec<u8> {
    let standard = part.replace('-', "+").replace('_', "/");
    let padded = format!("{standard}{}", "=".repeat((4 - standard.len() % 4) % 4));
    let bytes: k8s_openapi::ByteString = serde_json::from_value(padded.into()).unwrap();
    bytes.0
}

fn encoded(bytes: &[u8]) -> String {
    examples::data_encoding(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}
