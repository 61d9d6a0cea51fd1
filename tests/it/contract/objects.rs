//! Halves of objects, objects that are not there, and objects that were written by somebody older.

use harness::{EventStream, core};
use reqwest::Method;
use serde_json::{Value, json};

use crate::every_kind::{PROTOBUF, from_protobuf, to_protobuf};
use crate::{examples, server};

#[tokio::test]
async fn a_put_of_what_is_not_there_creates_nothing() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        let answer = admin.update(&example.path(), &example.object).await;
        let allowed = example.row.strategy.create_on_update;
        assert_eq!(answer.code, if allowed { 201 } else { 404 }, "{}: {}", example.row.kind, answer.body);
        assert!(!allowed || is_created_by_put_upstream(example.row.kind), "{}", example.row.kind);
        let mut gone = example.object.clone();
        gone["metadata"]["resourceVersion"] = "1".into();
        gone["metadata"]["name"] = "gone".into();
        let path = format!("{}/gone", example.collection());
        let answer = admin.update(&path, &gone).await;
        assert!(matches!(answer.code, 404 | 409), "{} with a version: {}", example.row.kind, answer.body);
    }
}

/// Upstream creates a few kinds by PUT; no other kind may.
fn is_created_by_put_upstream(kind: &str) -> bool {
    let first = ["Event", "Lease", "Endpoints", "LimitRange", "Service", "RuntimeClass", "CSINode", "PriorityClass"];
    first.contains(&kind) || kind.ends_with("Role") || kind.ends_with("RoleBinding")
}

#[tokio::test]
async fn no_put_of_one_half_loses_the_other() {
    let server = server().await;
    let admin = server.admin();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let mut made = admin.create(&core("pods"), &pod).await.ok();
    made["status"] = json!({"phase": "Running", "podIP": "192.0.2.9", "podIPs": [{"ip": "192.0.2.9"}], "conditions": [{"type": "Ready", "status": "True"}]});
    let path = core("pods/p");
    // By protobuf, as a kubelet does it: the status through its own door, with a spec that is empty.
    let mut thin = made.clone();
    thin["spec"] = json!({"containers": []});
    let request = admin
        .request(Method::PUT, &format!("{path}/status"))
        .header("content-type", PROTOBUF)
        .header("accept", PROTOBUF);
    let told = from_protobuf(&harness::answer(request.body(to_protobuf(&thin))).await.bytes);
    assert_eq!(
        (&told["status"]["podIP"], &told["spec"]["containers"][0]["name"]),
        (&json!("192.0.2.9"), &json!("c")),
        "{told}"
    );
    let mut object = admin.get(&path).await.ok();
    object["metadata"]["labels"]["c"] = "d".into();
    object.as_object_mut().unwrap().remove("status");
    for (media, body) in [("application/json", object.to_string().into_bytes()), (PROTOBUF, Vec::new())] {
        let body = if body.is_empty() {
            let mut object = admin.get(&path).await.ok();
            object.as_object_mut().unwrap().remove("status");
            object["metadata"]["labels"]["e"] = "f".into();
            to_protobuf(&object)
        } else {
            body
        };
        let answer = admin.send(Method::PUT, &path, media, body).await.ok();
        assert_eq!(answer["status"]["podIP"], "192.0.2.9", "{media}: {answer}");
        assert_eq!(answer["status"]["conditions"][0]["type"], "Ready", "{media}: {answer}");
    }
    let last = admin.get(&path).await.ok();
    assert_eq!(last["metadata"]["labels"], json!({"a": "b", "c": "d", "e": "f"}));
}

/// Upstream's controllers follow pointers that its own server has always filled in.
#[tokio::test]
async fn every_way_of_reading_shows_the_defaults_clients_rely_on() {
    let server = server().await;
    let admin = server.admin();
    let example = examples::of("Deployment");
    let collection = example.collection();
    admin.create(&collection, &example.object).await.ok();
    let has_defaults = |object: &Value| {
        let spec = &object["spec"];
        let filled = spec["replicas"] == 1 && spec["revisionHistoryLimit"] == 10 && object["status"].is_object();
        filled && spec["strategy"]["type"] == "RollingUpdate" && spec["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    };
    let one = admin.get(&example.path()).await.ok();
    assert!(has_defaults(&one), "get: {one}");
    let list = admin.get(&collection).await.ok();
    assert!(has_defaults(&list["items"][0]), "list: {list}");
    let mut watch = EventStream::open(&admin, &format!("{collection}?watch=1")).await;
    let seen = watch.expect("ADDED", example.name()).await;
    assert!(has_defaults(&seen), "watch: {seen}");
    let coded = from_protobuf(&admin.get_as(&example.path(), PROTOBUF).await.bytes);
    assert!(has_defaults(&coded), "protobuf: {coded}");
}

#[tokio::test]
async fn whoever_uses_a_deprecated_kind_is_told_what_to_use_instead() {
    let server = server().await;
    let admin = server.admin();
    let wanted = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    let made = admin.create(&core("endpoints"), &json!({"metadata": {"name": "old"}})).await;
    let ways = [made, admin.get(&core("endpoints")).await, admin.get(&core("endpoints/old")).await];
    for answer in ways {
        assert_eq!(answer.header("warning"), wanted, "{}", answer.body);
    }
    assert_eq!(admin.get(&core("services")).await.header("warning"), "");
}
