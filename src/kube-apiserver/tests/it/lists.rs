//! Collections: selectors, pages, versions, forms.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Caller, Server, answer, core};

async fn fill(admin: &Caller, count: usize) {
    for index in 0..count {
        let parity = if index % 2 == 0 { "even" } else { "odd" };
        let body = json!({"metadata": {"name": format!("x{index}"), "labels": {"parity": parity}}});
        admin.create(&core("configmaps"), body).await.ok();
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_shows_its_own_writes_and_obeys_selectors() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, 4).await;
    let all = admin.get(&core("configmaps")).await.ok();
    assert_eq!((&all["kind"], names(&all)), (&json!("ConfigMapList"), vec!["x0", "x1", "x2", "x3"]));
    for item in all["items"].as_array().unwrap() {
        assert!(item["metadata"]["resourceVersion"].is_string());
    }
    for (query, expected) in [
        ("labelSelector=parity%3Deven", vec!["x0", "x2"]),
        ("labelSelector=parity+in+(odd),parity!%3Deven", vec!["x1", "x3"]),
        ("labelSelector=!parity", vec![]),
        ("fieldSelector=metadata.name%3Dx1", vec!["x1"]),
        ("fieldSelector=metadata.name!%3Dx1,metadata.namespace%3Ddefault", vec!["x0", "x2", "x3"]),
    ] {
        let found = admin.get(&core(&format!("configmaps?{query}"))).await.ok();
        assert_eq!(names(&found), expected, "{query}");
    }
    for query in ["labelSelector=a%3D%3D%3Db", "labelSelector=in+in", "fieldSelector=data.a%3D1", "limit=x"] {
        admin.get(&core(&format!("configmaps?{query}"))).await.failed(400);
    }
}

#[tokio::test]
async fn pages_show_one_revision_whatever_is_written_meanwhile() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, 5).await;
    let first = admin.get(&core("configmaps?limit=2")).await.ok();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["x0", "x1"], &json!(3)));
    let selected = admin.get(&core("configmaps?limit=2&labelSelector=parity%3Deven")).await.ok();
    assert!(selected["metadata"].get("remainingItemCount").is_none());
    admin.create(&core("configmaps"), json!({"metadata": {"name": "x2a"}})).await.ok();
    admin.delete(&core("configmaps/x3")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = admin.get(&core(&format!("configmaps?limit=2&continue={token}"))).await.ok();
    assert_eq!(names(&second), ["x2", "x3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = admin.get(&core(&format!("configmaps?limit=2&continue={token}"))).await.ok();
    assert_eq!(names(&third), ["x4"]);
    assert!(third["metadata"].get("continue").is_none());

    let etcd = server.etcd().connect().await;
    etcd.compact(etcd.current_revision().await.unwrap()).await.unwrap();
    let late = admin.get(&core(&format!("configmaps?limit=2&continue={token}"))).await;
    assert_eq!(late.body["reason"], "Expired");
    late.failed(410);
}

#[tokio::test]
async fn versions_are_matched_as_documented() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, 2).await;
    let now = admin.get(&core("configmaps")).await.ok();
    let version = now["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    admin.delete(&core("configmaps/x1")).await.ok();
    let exact = format!("configmaps?resourceVersion={version}&resourceVersionMatch=Exact");
    let then = admin.get(&core(&exact)).await.ok();
    assert_eq!((names(&then).len(), &then["metadata"]["resourceVersion"]), (2, &json!(version)));
    let later = format!("configmaps?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
    assert!(names(&admin.get(&core(&later)).await.ok()).contains(&"x0"));
    admin.get(&core("configmaps?resourceVersion=0")).await.ok();
    admin.get(&core("configmaps?resourceVersionMatch=Exact")).await.failed(400);
    let future = admin.get(&core("configmaps?resourceVersion=999999999")).await;
    assert_eq!(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    future.failed(504);
}

async fn get_as(admin: &Caller, path: &str, accept: &str) -> crate::harness::Answer {
    answer(admin.request(Method::GET, path).header("accept", accept)).await
}

#[tokio::test]
async fn a_client_gets_the_form_it_asks_for() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, 2).await;
    let table = get_as(&admin, &core("configmaps"), "application/json;as=Table;v=v1;g=meta.k8s.io").await.ok();
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let kind = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = get_as(&admin, &core("configmaps"), kind).await.ok();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert!(partial["items"][0].get("data").is_none());
    let yaml = get_as(&admin, &core("configmaps/x0"), "application/yaml").await;
    assert!(yaml.body.as_str().unwrap().contains("kind: ConfigMap"), "{}", yaml.body);
    get_as(&admin, &core("configmaps"), "text/html").await.failed(406);
    let protobuf = get_as(&admin, &core("configmaps"), "application/vnd.kubernetes.protobuf").await;
    assert_eq!(protobuf.headers["content-type"], "application/vnd.kubernetes.protobuf");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, 4).await;
    let gone = admin.delete(&core("configmaps?labelSelector=parity%3Deven")).await.ok();
    assert_eq!(names(&gone), ["x0", "x2"]);
    assert_eq!(names(&admin.get(&core("configmaps")).await.ok()), ["x1", "x3"]);
}

#[tokio::test]
async fn everything_served_is_told() {
    let server = Server::start().await;
    let admin = server.admin();
    assert_eq!(admin.get("/api").await.ok()["versions"], json!(["v1"]));
    let groups = admin.get("/apis").await.ok();
    let groups = groups["groups"].as_array().unwrap();
    assert!(groups.iter().any(|group| group["name"] == "apps"));
    for group in groups {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        let list = admin.get(&format!("/apis/{version}")).await.ok();
        assert_eq!(list["groupVersion"], version);
        assert!(!list["resources"].as_array().unwrap().is_empty(), "{version}");
    }
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let all = get_as(&admin, "/apis", accept).await;
    let tag = all.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(all.ok()["kind"], "APIGroupDiscoveryList");
    let again = admin.request(Method::GET, "/apis").header("accept", accept).header("if-none-match", tag);
    assert_eq!(answer(again).await.code, 304);
    assert_eq!(admin.get("/version").await.ok()["major"], "1");
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("apiserver_request_total"), "{metrics}");
    admin.get("/apis/none").await.failed(404);
    admin.get("/api/v1/nothing").await.failed(404);
    admin.get("/nothing").await.failed(404);
}
