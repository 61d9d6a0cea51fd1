//! Lists: pages, versions, selectors, and what is said when history is gone.

use harness::{ApiServer, Caller, core};
use serde_json::{Value, json};

use crate::server;

async fn fill(admin: &Caller, count: usize) {
    for index in 0..count {
        let labels = json!({"parity": if index % 2 == 0 { "even" } else { "odd" }});
        let map = json!({"metadata": {"name": format!("m{index:04}"), "labels": labels}});
        admin.create(&core("configmaps"), &map).await.ok();
    }
}

/// Drops all history up to now.
pub(crate) async fn compact(server: &ApiServer) {
    let etcd = server.etcd.connect().await;
    etcd.compact(etcd.current_revision().await.unwrap()).await.unwrap();
}

fn token(answer: &Value) -> String {
    answer["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// All names of a collection, page by page, with the versions of the pages.
async fn pages(admin: &Caller, query: &str, limit: usize) -> (Vec<String>, Vec<Value>) {
    let (mut names, mut versions, mut next) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{query}&limit={limit}&continue={next}")).await;
        assert!(page.code == 200 && page.names().len() <= limit, "{} {}", page.code, page.body);
        names.extend(page.names().iter().map(|name| (*name).to_owned()));
        versions.push(page.body["metadata"]["resourceVersion"].clone());
        next = token(&page.body);
        if next.is_empty() {
            return (names, versions);
        }
    }
}

#[tokio::test]
async fn every_page_size_shows_the_whole_collection_once() {
    let server = server().await;
    let admin = server.admin();
    fill(&admin, 23).await;
    let all: Vec<String> = (0..23).map(|index| format!("m{index:04}")).collect();
    for limit in [1, 2, 5, 22, 23, 24, 500] {
        let (names, versions) = pages(&admin, &core("configmaps?x=y"), limit).await;
        assert_eq!(names, all, "pages of {limit}");
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "one version: {versions:?}");
        let (odd, _) = pages(&admin, &core("configmaps?labelSelector=parity%3Dodd"), limit).await;
        assert_eq!(odd.len(), 11, "pages of {limit} of a selection");
    }
    let (everywhere, _) = pages(&admin, "/api/v1/namespaces?x=y", 1).await;
    assert_eq!(everywhere, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    // A page that begins at an old state still ends there.
    let first = admin.get(&core("configmaps?limit=20")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    for index in 20..23 {
        admin.delete(&core(&format!("configmaps/m00{index}"))).await.ok();
    }
    let rest = admin.get(&core(&format!("configmaps?limit=20&continue={}", token(&first)))).await;
    assert_eq!(rest.names(), ["m0020", "m0021", "m0022"]);
}

#[tokio::test]
async fn pages_are_pinned_while_others_write() {
    let server = server().await;
    let admin = server.admin();
    fill(&admin, 60).await;
    let writer = {
        let admin = server.admin();
        tokio::spawn(async move {
            for index in 0..60 {
                admin.delete(&core(&format!("configmaps/m{:04}", 59 - index))).await;
                admin.create(&core("configmaps"), &json!({"metadata": {"name": format!("n{index:04}")}})).await;
            }
        })
    };
    while !writer.is_finished() {
        let (names, versions) = pages(&admin, &core("configmaps?x=y"), 7).await;
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");
        assert_eq!(names.len(), names.iter().collect::<std::collections::HashSet<_>>().len(), "nothing is shown twice");
        // One goes when one comes, so a pinned list has sixty, give or take the one in between.
        assert!((59..=60).contains(&names.len()), "{}", names.len());
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_token_whose_history_is_gone_comes_with_another_one() {
    let server = server().await;
    let admin = server.admin();
    fill(&admin, 6).await;
    let first = admin.get(&core("configmaps?limit=2")).await.ok();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m0003a"}})).await.ok();
    compact(&server).await;
    let expired = admin.get(&core(&format!("configmaps?limit=2&continue={}", token(&first)))).await;
    assert_eq!(expired.body["reason"], "Expired", "{}", expired.body);
    let next = token(&expired.body);
    assert!(!next.is_empty(), "the status says how to go on: {}", expired.body);
    expired.failed(410);
    let second = admin.get(&core(&format!("configmaps?limit=2&continue={next}"))).await;
    assert_eq!(second.names(), ["m0002", "m0003"], "it goes on where it stopped");
    let version = |list: &Value| list["metadata"]["resourceVersion"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(version(&second.body) > version(&first), "in the newest state");
    let third = admin.get(&core(&format!("configmaps?limit=9&continue={}", token(&second.body)))).await;
    assert_eq!(third.names(), ["m0003a", "m0004", "m0005"]);
}

#[tokio::test]
async fn versions_mean_what_the_documentation_says() {
    let server = server().await;
    let admin = server.admin();
    fill(&admin, 3).await;
    let before = admin.get(&core("configmaps")).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    admin.delete(&core("configmaps/m0000")).await.ok();
    let list = |query: String| {
        let admin = admin.clone();
        async move { admin.get(&core(&format!("configmaps?{query}"))).await }
    };
    assert_eq!(list(String::new()).await.names().len(), 2, "what was written is read");
    let exact = list(format!("resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!((exact.names().len(), &exact.body["metadata"]["resourceVersion"]), (3, &json!(before)));
    let exact = list(format!("resourceVersion={before}&limit=2")).await;
    assert_eq!((exact.names().len(), &exact.body["metadata"]["remainingItemCount"]), (2, &json!(1)));
    let newer = list(format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan")).await;
    assert!(newer.names().len() <= 3 && newer.code == 200);
    assert_eq!(list("resourceVersion=0".to_owned()).await.code, 200);
    let future = list("resourceVersion=9999999".to_owned()).await;
    assert_eq!(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!((future.code, &future.body["reason"]), (504, &json!("Timeout")));
    compact(&server).await;
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "later"}})).await.ok();
    let gone = list(format!("resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!((gone.code, &gone.body["reason"]), (410, &json!("Expired")), "{}", gone.body);
    for wrong in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Never",
        "resourceVersion=abc",
        "limit=many",
    ] {
        let answer = list(wrong.to_owned()).await;
        assert!(answer.code == 400 || answer.code == 422, "{wrong}: {} {}", answer.code, answer.body);
    }
    let name = admin.get(&core("configmaps/m0001?resourceVersion=0")).await;
    assert_eq!(name.code, 200);
}

#[tokio::test]
async fn field_selectors_look_at_what_they_name() {
    let server = server().await;
    let admin = server.admin();
    for (name, node) in [("free", ""), ("bound", "n1"), ("other", "n2")] {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "b:1"}]}});
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        admin.create(&core("pods"), &pod).await.ok();
    }
    admin.patch(&core("pods/bound/status"), "merge", &json!({"status": {"phase": "Running"}})).await.ok();
    for (selector, expected) in [
        ("spec.nodeName=", vec!["free"]),
        ("spec.nodeName!=", vec!["bound", "other"]),
        ("spec.nodeName=n1", vec!["bound"]),
        ("status.phase=Running", vec!["bound"]),
        ("status.phase!=Running", vec!["free", "other"]),
        ("status.phase=Pending,spec.nodeName=n2", vec!["other"]),
        ("spec.restartPolicy==Always,metadata.name=free", vec!["free"]),
        ("status.podIP=", vec!["bound", "free", "other"]),
        ("spec.schedulerName=default-scheduler", vec!["bound", "free", "other"]),
    ] {
        let found = admin.get(&core(&format!("pods?fieldSelector={}", selector.replace('=', "%3D")))).await;
        assert_eq!(found.names(), expected, "{selector}");
    }
    let refused = admin.get(&core("pods?fieldSelector=spec.containers%3Dx")).await.failed(400);
    assert!(refused.contains("field label not supported"), "{refused}");
}

#[tokio::test]
async fn large_collections_are_not_cut() {
    let server = server().await;
    let (admin, etcd) = (server.admin(), server.etcd.connect().await);
    // Written behind the server's back, which is quicker and shows that the cache follows etcd.
    for index in 0..1200 {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": format!("m{index:04}"), "namespace": "default", "uid": format!("{index}"),
            "labels": {"last": if index >= 1190 { "yes" } else { "no" }},
        }, "data": {"a": "x".repeat(100)}});
        let key = format!("/registry/configmaps/default/m{index:04}");
        etcd.create(&key, bytes::Bytes::from(value.to_string()), None).await.unwrap();
    }
    assert_eq!(admin.get(&core("configmaps")).await.names().len(), 1200);
    let everywhere = admin.get("/api/v1/configmaps").await;
    assert_eq!(everywhere.names().iter().filter(|name| name.starts_with('m')).count(), 1200);
    assert_eq!(admin.get(&core("configmaps?labelSelector=last%3Dyes")).await.names().len(), 10);
    let (names, _) = pages(&admin, &core("configmaps?x=y"), 500).await;
    assert_eq!(names.len(), 1200);
    let deleted = admin.delete(&core("configmaps?labelSelector=last%3Dno")).await;
    assert_eq!(deleted.code, 200);
    assert_eq!(admin.get(&core("configmaps")).await.names().len(), 10);
}
