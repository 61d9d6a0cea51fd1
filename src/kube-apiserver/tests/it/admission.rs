//! What is changed and refused on its way in, through the whole server.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server, core};

async fn server() -> (Server, Caller) {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), json!({"metadata": {"name": "default"}})).await.ok();
    (server, admin)
}

fn pod(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"containers": [{"name": "c", "image": "i"}]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": whole})
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_namespace_says_how_hardened_its_pods_must_be() {
    let (_server, admin) = server().await;
    let privileged = || json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]});
    admin.create(&core("pods"), pod("before", &privileged())).await.ok();
    let label = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let path = "/api/v1/namespaces/default";
    let wrong = admin.patch(path, "merge", &label("strict")).await.failed(422);
    assert!(wrong.contains("must be one of privileged, baseline, restricted"), "{wrong}");
    let answer = admin.patch(path, "merge", &label("baseline")).await;
    assert_eq!(
        warnings(&answer),
        [
            r#"299 - "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"""#,
            r#"299 - "before: privileged""#,
        ]
    );
    let refused = admin.create(&core("pods"), pod("p", &privileged())).await.failed(403);
    assert_eq!(
        refused,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"c\" must not set \
         securityContext.privileged=true)"
    );
    admin.create(&core("pods"), pod("fine", &json!({}))).await.ok();
    // What would make such pods is only warned of.
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": privileged()},
    }});
    let answer = admin.create("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    assert_eq!(answer.code, 201);
    assert!(warnings(&answer)[0].contains("would violate PodSecurity"), "{:?}", warnings(&answer));
    // An ephemeral container is a container too.
    let debug = json!({"spec": {"ephemeralContainers": [
        {"name": "d", "image": "i", "securityContext": {"privileged": true}, "terminationMessagePolicy": "File",
         "imagePullPolicy": "Always"}]}});
    let path = core("pods/fine/ephemeralcontainers");
    admin.patch(&path, "strategic-merge", &debug).await.failed(403);
}

#[tokio::test]
async fn what_a_namespace_says_counts_for_the_very_next_pod() {
    let (_server, admin) = server().await;
    let privileged = json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]});
    for round in 0..30 {
        for (level, code) in [("baseline", 403), ("privileged", 201)] {
            let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
            admin.patch("/api/v1/namespaces/default", "merge", &label).await.ok();
            let answer = admin.create(&core("pods"), pod(&format!("p{round}"), &privileged)).await;
            assert_eq!(answer.code, code, "{level} in round {round}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_quota_is_never_exceeded_by_writes_side_by_side() {
    let (_server, admin) = server().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5", "requests.cpu": "1"}}});
    let mut quota = admin.create(&core("resourcequotas"), quota).await.ok();
    quota["status"] = json!({"hard": {"pods": "5", "requests.cpu": "1"}, "used": {"pods": "0", "requests.cpu": "0"}});
    admin.update(&core("resourcequotas/q/status"), &quota).await.ok();
    let silent = admin.create(&core("pods"), pod("silent", &json!({}))).await.failed(403);
    assert_eq!(silent, "pods \"silent\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    let wants = |name: &str, cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        pod(name, &json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}))
    };
    let all = (0..12).map(|index| {
        let (admin, body) = (admin.clone(), wants(&format!("p{index}"), "100m"));
        async move { admin.create(&core("pods"), body).await.code }
    });
    let codes = futures::future::join_all(all).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 5, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), 7, "{codes:?}");
    let used = || async { admin.get(&core("resourcequotas/q")).await.ok()["status"]["used"].clone() };
    assert_eq!(used().await, json!({"pods": "5", "requests.cpu": "500m"}));
    let more = admin.create(&core("pods"), wants("more", "100m")).await.failed(403);
    assert_eq!(more, "pods \"more\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5");

    // Room again: neither a dry run nor a name that is taken uses it up.
    quota = admin.get(&core("resourcequotas/q")).await.ok();
    quota["status"]["used"] = json!({"pods": "2", "requests.cpu": "200m"});
    admin.update(&core("resourcequotas/q/status"), &quota).await.ok();
    let taken = codes.iter().position(|code| *code == 201).unwrap();
    admin.create(&core("pods"), wants(&format!("p{taken}"), "100m")).await.failed(409);
    admin.create(&core("pods?dryRun=All"), wants("dry", "100m")).await.ok();
    assert_eq!(used().await, json!({"pods": "2", "requests.cpu": "200m"}));
    admin.create(&core("pods"), wants("large", "900m")).await.failed(403);
    assert_eq!(used().await, json!({"pods": "2", "requests.cpu": "200m"}));
}

#[tokio::test]
async fn kinds_are_counted_and_ports_of_services_too() {
    let (_server, admin) = server().await;
    let hard = json!({"count/configmaps": "1", "services.nodeports": "1"});
    let mut quota =
        admin.create(&core("resourcequotas"), json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await.ok();
    quota["status"] = json!({"hard": hard, "used": {"count/configmaps": "0", "services.nodeports": "0"}});
    admin.update(&core("resourcequotas/q/status"), &quota).await.ok();
    let map = |name: &str| json!({"metadata": {"name": name}});
    admin.create(&core("configmaps"), map("a")).await.ok();
    assert!(admin.create(&core("configmaps"), map("b")).await.failed(403).contains("limited: count/configmaps=1"));
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let mut service = admin.create(&core("services"), service).await.ok();
    service["spec"]["ports"] = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let refused = admin.update(&core("services/s"), &service).await.failed(403);
    assert!(refused.contains("exceeded quota: q, requested: services.nodeports=1"), "{refused}");
}

#[tokio::test]
async fn what_plugins_fill_in_counts_for_what_follows() {
    let (_server, admin) = server().await;
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}}]}});
    admin.create(&core("limitranges"), range).await.ok();
    let class = json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "p"});
    admin.create("/apis/storage.k8s.io/v1/storageclasses", class).await.ok();
    let class = json!({"metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/web"}});
    admin.create("/apis/networking.k8s.io/v1/ingressclasses", class).await.ok();
    let made = admin.create(&core("pods"), pod("p", &json!({}))).await.ok();
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let claim = admin.create(&core("persistentvolumeclaims"), claim).await.ok();
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let ingress = admin.create("/apis/networking.k8s.io/v1/namespaces/default/ingresses", ingress).await.ok();
    assert_eq!(ingress["spec"]["ingressClassName"], "web");
    let unknown = admin.create(&core("pods"), pod("r", &json!({"runtimeClassName": "none"}))).await.failed(403);
    assert_eq!(unknown, "pods \"r\" is forbidden: pod rejected: RuntimeClass \"none\" not found");
}

#[tokio::test]
async fn who_asks_for_a_certificate_is_written_down_and_may_be_approved() {
    let (server, admin) = server().await;
    let requester = server.user("alice", &["dev"]);
    let role = json!({"metadata": {"name": "ask"}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create", "get"]}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await.ok();
    let binding = json!({"metadata": {"name": "ask"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole", "name": "ask"}, "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.ok();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({"metadata": {"name": "r"}, "spec": {"request": Server::request_for_certificate("bob"),
        "signerName": "example.com/signer", "usages": ["client auth"], "username": "somebody else"}});
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    let made = loop {
        let answer = requester.create(path, request.clone()).await;
        if answer.code != 403 || std::time::Instant::now() > deadline {
            break answer.ok();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(made["spec"]["username"], "alice");
    assert!(made["spec"]["groups"].as_array().unwrap().contains(&json!("dev")), "{made}");
    let one = format!("{path}/r");
    // Through the object itself nothing of it changes.
    let mut forged = made.clone();
    forged["spec"]["username"] = "system:admin".into();
    forged["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="});
    let kept = admin.update(&one, &forged).await.ok();
    assert_eq!((&kept["spec"], &kept["status"]), (&made["spec"], &made["status"]));
    let mut approved = made.clone();
    approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test", "message": "m"}],
        "certificate": "eA=="});
    let approved = admin.update(&format!("{one}/approval"), &approved).await.ok();
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["status"]["certificate"], Value::Null);
    assert!(approved["status"]["conditions"][0]["lastUpdateTime"].is_string(), "{approved}");
    let mut withdrawn = approved.clone();
    withdrawn["status"]["conditions"] = json!([]);
    admin.update(&format!("{one}/approval"), &withdrawn).await.failed(422);
    let mut signed = approved.clone();
    signed["status"]["certificate"] = json!("bm8gY2VydGlmaWNhdGU=");
    admin.update(&format!("{one}/status"), &signed).await.failed(422);
}

#[tokio::test]
async fn an_eviction_takes_from_the_budget_or_is_told_to_wait() {
    let (_server, admin) = server().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let mut budget = admin.create(budgets, budget).await.ok();
    for name in ["a", "b", "c"] {
        let mut pod = pod(name, &json!({}));
        pod["metadata"]["labels"] = json!({"app": "web"});
        let mut pod = admin.create(&core("pods"), pod).await.ok();
        let ready = if name == "c" { "False" } else { "True" };
        pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        admin.update(&core(&format!("pods/{name}/status")), &pod).await.ok();
    }
    let evict = |name: &'static str, query: &'static str| {
        let admin = admin.clone();
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        async move { admin.create(&core(&format!("pods/{name}/eviction{query}")), body).await }
    };
    // Nobody has counted yet what the budget allows.
    let answer = evict("a", "").await;
    assert_eq!((answer.code, &answer.body["details"]["retryAfterSeconds"]), (429, &json!(10)));
    budget["status"] = json!({"observedGeneration": budget["metadata"]["generation"], "disruptionsAllowed": 1,
        "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 3});
    admin.update(&format!("{budgets}/b/status"), &budget).await.ok();
    evict("a", "?dryRun=All").await.ok();
    let allowed = || async { admin.get(&format!("{budgets}/b")).await.ok()["status"]["disruptionsAllowed"].clone() };
    assert_eq!(allowed().await, 1);
    evict("a", "").await.ok();
    assert_eq!(allowed().await, 0);
    let refused = evict("b", "").await;
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(refused.failed(429), "Cannot evict pod as it would violate the pod's disruption budget.");
    // A pod that is not ready is not counted while enough others are.
    evict("c", "").await.ok();
    evict("none", "").await.failed(404);
}

#[tokio::test]
async fn a_kubelet_mirrors_and_asks_only_for_what_runs_on_it() {
    let (server, admin) = server().await;
    let kubelet = server.user("system:node:n", &["system:nodes"]);
    let node = kubelet.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.ok();
    let mirror = |name: &str, uid: &serde_json::Value, spec: &Value| {
        let mut whole = pod(name, spec);
        whole["spec"]["nodeName"] = "n".into();
        whole["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        whole["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid, "controller": true}]);
        whole
    };
    let uid = &node["metadata"]["uid"];
    kubelet.create(&core("pods"), mirror("m", uid, &json!({}))).await.ok();
    let stale = kubelet.create(&core("pods"), mirror("s", &json!("other"), &json!({}))).await.failed(403);
    assert!(stale.contains("UID mismatch"), "{stale}");
    let curious = json!({"volumes": [{"name": "v", "configMap": {"name": "x"}}]});
    let refused = kubelet.create(&core("pods"), mirror("c", uid, &curious)).await.failed(403);
    assert_eq!(refused, "pods \"c\" is forbidden: node \"n\" can not create pods that reference configmaps");
    // A pod of this node, made by somebody else.
    let made = admin.create(&core("pods"), pod("p", &json!({"nodeName": "n"}))).await.ok();
    let token = |uid: &Value, audiences: Value| {
        json!({"spec": {"audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}}})
    };
    let path = core("serviceaccounts/default/token");
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        // The authorizer learns of the pod a moment later.
        let answer = kubelet.create(&path, token(&made["metadata"]["uid"], json!([]))).await;
        if answer.code == 201 {
            break;
        }
        assert!(answer.code == 403 && std::time::Instant::now() < deadline, "{}", answer.body);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    kubelet.create(&path, json!({"spec": {}})).await.failed(403);
    let refused = kubelet.create(&path, token(&json!("other"), json!([]))).await.failed(403);
    assert!(refused.contains("does not match the UID in record"), "{refused}");
    let refused = kubelet.create(&path, token(&made["metadata"]["uid"], json!(["vault"]))).await.failed(403);
    assert!(refused.contains("audience \"vault\" not found in pod spec volume"), "{refused}");
}
