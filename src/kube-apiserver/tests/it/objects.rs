//! Creating, reading, changing and deleting objects.

use serde_json::json;

use crate::harness::{Server, core};

fn config_map(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test]
async fn an_object_lives_its_life() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.create(&core("configmaps"), config_map("x")).await.ok();
    assert_eq!(made["metadata"]["namespace"], "default");
    for stamp in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(made["metadata"][stamp].is_string(), "{stamp}");
    }
    assert_eq!(admin.get(&core("configmaps/x")).await.ok(), made);
    let again = admin.create(&core("configmaps"), config_map("x")).await;
    assert_eq!(again.failed(409), "configmaps \"x\" already exists");

    let mut changed = made.clone();
    changed["data"]["a"] = "2".into();
    let changed = admin.update(&core("configmaps/x"), &changed).await.ok();
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    // The old state can no longer be written back.
    assert!(admin.update(&core("configmaps/x"), &made).await.failed(409).contains("has been modified"));
    // A write that changes nothing leaves the version alone.
    assert_eq!(admin.update(&core("configmaps/x"), &changed).await.ok(), changed);

    let gone = admin.delete(&core("configmaps/x")).await.ok();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(admin.get(&core("configmaps/x")).await.failed(404), "configmaps \"x\" not found");
    admin.update(&core("configmaps/x"), &changed).await.failed(404);
    admin.delete(&core("configmaps/x")).await.failed(404);
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let server = Server::start().await;
    let admin = server.admin();
    let unnamed = json!({"metadata": {"generateName": "x-"}});
    let first = admin.create(&core("configmaps"), unnamed.clone()).await.ok();
    let second = admin.create(&core("configmaps"), unnamed).await.ok();
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    for name in ["Upper", "", "a/b"] {
        admin.create(&core("configmaps"), json!({"metadata": {"name": name}})).await.failed(422);
    }
    let elsewhere = json!({"metadata": {"name": "x", "namespace": "other"}});
    admin.create(&core("configmaps"), elsewhere).await.failed(400);
    let nowhere = admin.create("/api/v1/namespaces/none/configmaps", config_map("x")).await;
    assert_eq!(nowhere.failed(404), "namespaces \"none\" not found");
}

#[tokio::test]
async fn patches_of_every_kind() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), json!({"metadata": {"name": "default"}})).await.ok();
    let pod = json!({
        "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]},
    });
    admin.create(&core("pods"), pod).await.ok();
    let path = core("pods/p");
    let json_patch = json!([{"op": "add", "path": "/metadata/labels/one", "value": "1"}]);
    assert_eq!(admin.patch(&path, "json", &json_patch).await.ok()["metadata"]["labels"]["one"], "1");
    let merge = json!({"metadata": {"labels": {"one": null, "two": "2"}}});
    let merged = admin.patch(&path, "merge", &merge).await.ok();
    assert_eq!(merged["metadata"]["labels"], json!({"app": "web", "two": "2"}));
    let strategic = json!({"spec": {"containers": [{"name": "b", "image": "z"}]}});
    let merged = admin.patch(&path, "strategic-merge", &strategic).await.ok();
    assert_eq!(merged["spec"]["containers"].as_array().map(Vec::len), Some(2));
    assert_eq!(merged["spec"]["containers"][1]["image"], "z");
    let missing = json!([{"op": "remove", "path": "/spec/none"}]);
    let refused = admin.patch(&path, "json", &missing).await;
    assert!((400..500).contains(&refused.code), "{}", refused.body);
    admin.patch(&path, "unknown", &missing).await.failed(415);
    admin.patch(&core("pods/none"), "merge", &merge).await.failed(404);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let server = Server::start().await;
    let admin = server.admin();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let made = admin
        .create(
            deployments,
            json!({
                "metadata": {"name": "web"},
                "spec": {
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {
                        "metadata": {"labels": {"a": "b"}},
                        "spec": {"containers": [{"name": "c", "image": "i"}]},
                    },
                },
                "status": {"replicas": 7},
            }),
        )
        .await
        .ok();
    assert_eq!((&made["spec"]["replicas"], &made["metadata"]["generation"]), (&json!(1), &json!(1)));
    assert_ne!(made["status"]["replicas"], 7);
    let path = format!("{deployments}/web");
    let both = json!({"spec": {"replicas": 3}, "status": {"replicas": 5}});
    let main = admin.patch(&path, "merge", &both).await.ok();
    assert_eq!((&main["spec"]["replicas"], &main["metadata"]["generation"]), (&json!(3), &json!(2)));
    assert_ne!(main["status"]["replicas"], 5);
    let both = json!({"spec": {"replicas": 9}, "status": {"replicas": 5}});
    let status = admin.patch(&format!("{path}/status"), "merge", &both).await.ok();
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(3), &json!(5)));
    assert_eq!(status["metadata"]["generation"], 2);

    let scale = admin.get(&format!("{path}/scale")).await.ok();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(scale["status"]["selector"], "a=b");
    let scaled = admin.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": 4}})).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 4);
    assert_eq!(admin.get(&path).await.ok()["metadata"]["generation"], 3);
}

#[tokio::test]
async fn a_running_pod_ends_in_order() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), json!({"metadata": {"name": "default"}})).await.ok();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let pod = admin.create(&core("pods"), pod).await.ok();
    let mounts = &pod["spec"]["containers"][0]["volumeMounts"];
    assert_eq!(mounts[0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    admin.create(&core("pods/p/binding"), binding.clone()).await.ok();
    admin.create(&core("pods/p/binding"), binding).await.failed(409);
    let marked = admin.delete(&core("pods/p")).await.ok();
    assert_eq!((&marked["kind"], &marked["spec"]["nodeName"]), (&json!("Pod"), &json!("n")));
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let other = json!({"preconditions": {"uid": "another"}});
    admin.delete_with(&core("pods/p"), &other).await.failed(409);
    let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": marked["metadata"]["uid"]}});
    admin.delete_with(&core("pods/p"), &now).await.ok();
    admin.get(&core("pods/p")).await.failed(404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut held = config_map("x");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(&core("configmaps"), held).await.ok();
    let marked = admin.delete(&core("configmaps/x")).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    admin.patch(&core("configmaps/x"), "merge", &more).await.failed(422);
    let none = json!({"metadata": {"finalizers": null}});
    admin.patch(&core("configmaps/x"), "merge", &none).await.ok();
    admin.get(&core("configmaps/x")).await.failed(404);

    admin.create(&core("configmaps"), config_map("y")).await.ok();
    let foreground = json!({"propagationPolicy": "Foreground"});
    let marked = admin.delete_with(&core("configmaps/y"), &foreground).await.ok();
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test]
async fn a_namespace_ends_by_its_finalizer() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.create("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let marked = admin.delete("/api/v1/namespaces/n").await.ok();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let late = admin.create("/api/v1/namespaces/n/configmaps", config_map("x")).await;
    assert!(late.failed(403).contains("it is being terminated"));
    let mut last = marked;
    last["spec"]["finalizers"] = json!([]);
    admin.update("/api/v1/namespaces/n/finalize", &last).await.ok();
    admin.get("/api/v1/namespaces/n").await.failed(404);
    assert!(admin.delete("/api/v1/namespaces/default").await.failed(403).contains("may not be deleted"));
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let server = Server::start().await;
    let admin = server.admin();
    let dry = core("configmaps?dryRun=All");
    assert!(admin.create(&dry, config_map("x")).await.ok()["metadata"]["uid"].is_string());
    admin.get(&core("configmaps/x")).await.failed(404);
    let made = admin.create(&core("configmaps"), config_map("x")).await.ok();
    admin.create(&dry, config_map("x")).await.failed(409);
    let shown = admin.patch(&core("configmaps/x?dryRun=All"), "merge", &json!({"data": {"a": "9"}})).await.ok();
    assert_eq!(shown["data"]["a"], "9");
    admin.delete(&core("configmaps/x?dryRun=All")).await.ok();
    assert_eq!(admin.get(&core("configmaps/x")).await.ok(), made);
}

#[tokio::test]
async fn unknown_fields_are_told_or_refused() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut odd = config_map("x");
    odd["dta"] = json!({});
    let told = admin.create(&core("configmaps"), odd.clone()).await;
    let warning = told.headers["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("unknown field"), "{warning}");
    assert!(told.ok().get("dta").is_none());
    let strict = core("configmaps?fieldValidation=Strict");
    assert!(admin.create(&strict, odd.clone()).await.failed(400).contains("strict decoding error: unknown field"));
    odd["metadata"]["name"] = "y".into();
    let silent = admin.create(&core("configmaps?fieldValidation=Ignore"), odd).await;
    assert!(!silent.headers.contains_key("warning"));
}

#[tokio::test]
async fn events_are_one_store_with_two_faces() {
    let server = Server::start().await;
    let admin = server.admin();
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Act", "reason": "Because",
        "reportingController": "example.com/c", "reportingInstance": "c-1", "type": "Normal", "note": "text",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = admin.create(path, event).await.ok();
    assert_eq!((&made["apiVersion"], &made["note"]), (&json!("events.k8s.io/v1"), &json!("text")));
    let same = admin.get(&core("events/e")).await.ok();
    assert_eq!((&same["apiVersion"], &same["message"]), (&json!("v1"), &json!("text")));
    assert_eq!(same["involvedObject"]["name"], "p");
    for (path, field) in [(path.to_owned(), "regarding.name"), (core("events"), "involvedObject.name")] {
        let found = admin.get(&format!("{path}?fieldSelector={field}%3Dp")).await.ok();
        assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{path}");
        admin.get(&format!("{path}?fieldSelector=nothing%3Dp")).await.failed(400);
    }
}

#[tokio::test]
async fn an_eviction_respects_budgets() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("serviceaccounts"), json!({"metadata": {"name": "default"}})).await.ok();
    let pod = json!({
        "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x"}]},
    });
    admin.create(&core("pods"), pod).await.ok();
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin.patch(&core("pods/p/status"), "merge", &ready).await.ok();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    admin.create(budgets, budget).await.ok();
    let eviction = json!({"metadata": {"name": "p"}});
    let refused = admin.create(&core("pods/p/eviction"), eviction.clone()).await;
    assert!(refused.failed(429).contains("disruption budget"));
    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    admin.patch(&format!("{budgets}/b/status"), "merge", &status).await.ok();
    admin.create(&core("pods/p/eviction"), eviction).await.ok();
    assert!(admin.get(&core("pods/p")).await.ok()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(admin.get(&format!("{budgets}/b")).await.ok()["status"]["disruptionsAllowed"], 0);
}

#[tokio::test]
async fn fields_have_owners() {
    let server = Server::start().await;
    let admin = server.admin();
    let apply = |manager: &str, data: serde_json::Value, more: &str| {
        let path = core(&format!("configmaps/x?fieldManager={manager}{more}"));
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data});
        let request = admin.request(reqwest::Method::PATCH, &path);
        crate::harness::answer(request.header("content-type", "application/apply-patch+yaml").body(body.to_string()))
    };
    let made = apply("one", json!({"a": "1", "b": "1"}), "").await;
    assert_eq!(made.code, 201);
    let made = made.ok();
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "one");
    // The same again changes nothing.
    assert_eq!(apply("one", json!({"a": "1", "b": "1"}), "").await.ok(), made);
    let conflict = apply("two", json!({"a": "2"}), "").await;
    assert_eq!(conflict.body["details"]["causes"][0]["field"], ".data.a");
    conflict.failed(409);
    assert_eq!(apply("two", json!({"a": "2"}), "&force=true").await.ok()["data"], json!({"a": "2", "b": "1"}));
    // What its owner no longer names goes away.
    assert_eq!(apply("one", json!({}), "").await.ok()["data"], json!({"a": "2"}));
    let nameless = admin.request(reqwest::Method::PATCH, &core("configmaps/x"));
    let nameless = nameless.header("content-type", "application/apply-patch+yaml").body("{}");
    crate::harness::answer(nameless).await.failed(422);
}
