//! Which form an answer takes, and which forms a body may have.

use apimachinery::protobuf;
use harness::{answer, core};
use reqwest::Method;
use serde_json::json;

use crate::every_kind::{PROTOBUF, from_protobuf, to_protobuf};
use crate::server;

#[tokio::test]
async fn the_best_form_that_both_know_is_taken() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}})).await.ok();
    let json = "application/json";
    for (accept, expected) in [
        ("*/*", json),
        ("application/*", json),
        ("application/json", json),
        ("application/json;q=0.5, application/vnd.kubernetes.protobuf", PROTOBUF),
        ("application/vnd.kubernetes.protobuf;q=0.1, application/json;q=0.9", json),
        ("application/vnd.kubernetes.protobuf,application/json", PROTOBUF),
        ("application/json;q=0, application/yaml", "application/yaml"),
        ("text/html, application/json;q=0.1", json),
        ("text/html;q=0.9, */*;q=0.1", json),
        ("application/yaml", "application/yaml"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", json),
        ("application/json; charset=utf-8", json),
    ] {
        for path in ["configmaps", "configmaps/m"] {
            let answer = admin.get_as(&core(path), accept).await;
            assert_eq!((answer.code, answer.header("content-type")), (200, expected), "{accept} of {path}");
        }
    }
    for accept in
        ["text/html", "application/xml", "application/json;q=0", "application/json;as=Nothing;v=v1;g=meta.k8s.io"]
    {
        let refused = admin.get_as(&core("configmaps"), accept).await;
        assert_eq!(refused.body["reason"], "NotAcceptable", "{accept}: {}", refused.body);
        refused.failed(406);
    }
    let none = admin.request(Method::GET, &core("configmaps/m")).header("accept", "");
    assert_eq!(answer(none).await.code, 200);
}

#[tokio::test]
async fn tables_and_partial_objects_have_their_versions() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}, "data": {"a": "b"}})).await.ok();
    let table = |more: &str| format!("application/json;as=Table;v=v1;g=meta.k8s.io{more}");
    let list = admin.get_as(&core("configmaps"), &table("")).await.ok();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert!(list["metadata"]["resourceVersion"].is_string());
    for (include, kind) in
        [("Object", json!("ConfigMap")), ("Metadata", json!("PartialObjectMetadata")), ("None", json!(null))]
    {
        let list = admin.get_as(&core(&format!("configmaps?includeObject={include}")), &table("")).await.ok();
        assert_eq!(list["rows"][0]["object"]["kind"], kind, "{include}");
    }
    let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json";
    let plain = admin.get_as(&core("configmaps"), old).await.ok();
    assert!(plain["kind"] == "ConfigMapList" || plain["apiVersion"] == "meta.k8s.io/v1beta1", "{plain}");
    admin.get_as(&core("configmaps"), "application/json;as=Table;v=v9;g=meta.k8s.io").await.failed(406);
    let partial = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    let list = admin.get_as(&core("configmaps"), &partial("PartialObjectMetadataList")).await.ok();
    assert_eq!(list["items"][0]["metadata"]["name"], "m");
    assert!(list["items"][0]["data"].is_null() && list["metadata"]["resourceVersion"].is_string(), "{list}");
    let coded = format!("{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let list = admin.get_as(&core("configmaps"), &coded).await;
    assert_eq!(from_protobuf(&list.bytes)["kind"], "PartialObjectMetadataList");
    let coded = format!("{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let one = from_protobuf(&admin.get_as(&core("configmaps/m"), &coded).await.bytes);
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("m")));
    let yaml = admin.get_as(&core("configmaps"), "application/yaml").await;
    assert!(yaml.body.as_str().unwrap().contains("kind: ConfigMapList"), "{}", yaml.body);
}

#[tokio::test]
async fn a_client_of_protobuf_is_answered_in_protobuf_whatever_happens() {
    let server = server().await;
    let admin = server.admin();
    let missing = admin.get_as(&core("configmaps/none"), PROTOBUF).await;
    assert_eq!((missing.code, missing.header("content-type")), (404, PROTOBUF));
    let status = from_protobuf(&missing.bytes);
    assert_eq!(
        (&status["kind"], &status["reason"], &status["code"]),
        (&json!("Status"), &json!("NotFound"), &json!(404))
    );
    assert_eq!(status["details"], json!({"name": "none", "kind": "configmaps"}));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    let request =
        |method, path: &str| admin.request(method, path).header("content-type", PROTOBUF).header("accept", PROTOBUF);
    let created = answer(request(Method::POST, &core("configmaps")).body(to_protobuf(&map))).await;
    assert_eq!(created.code, 201);
    let mut object = from_protobuf(&created.bytes);
    assert_eq!(object["metadata"]["namespace"], "default", "the namespace of the path is filled in");
    object["data"]["c"] = json!("d");
    let updated = answer(request(Method::PUT, &core("configmaps/m")).body(to_protobuf(&object))).await;
    assert_eq!(from_protobuf(&updated.bytes)["data"], json!({"a": "b", "c": "d"}));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "wrong"}});
    let refused = answer(request(Method::DELETE, &core("configmaps/m")).body(to_protobuf(&options))).await;
    assert_eq!(from_protobuf(&refused.bytes)["reason"], "Conflict");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    let deleted = answer(request(Method::DELETE, &core("configmaps/m")).body(to_protobuf(&options))).await;
    assert_eq!((deleted.code, from_protobuf(&deleted.bytes)["status"].clone()), (200, json!("Success")));
    // Empty bodies and bodies that leave their kind to the path are taken too.
    let raw = protobuf::envelope("", "", &[]);
    let refused = answer(request(Method::POST, &core("configmaps")).body(raw)).await;
    assert_eq!(from_protobuf(&refused.bytes)["code"], 422, "a name is missing, the kind is not");
}
