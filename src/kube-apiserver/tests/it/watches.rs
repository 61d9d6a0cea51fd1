//! Watches: what is there, what changes, and when history is gone.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{Caller, PATIENCE, Server, core};

/// An open watch.
pub(crate) struct Watch {
    response: Response,
    buffer: Vec<u8>,
}

impl Watch {
    pub(crate) async fn open(caller: &Caller, path: &str) -> Self {
        Self::open_as(caller, path, "application/json").await
    }

    async fn open_as(caller: &Caller, path: &str, accept: &str) -> Self {
        let response = caller.request(Method::GET, path).header("accept", accept).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self { response, buffer: Vec::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let wait = tokio::time::timeout(PATIENCE, self.response.chunk());
            self.buffer.extend_from_slice(&wait.await.expect("an event comes").unwrap()?);
        }
    }

    /// Checks type and name of the next event and returns its object.
    pub(crate) async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let mut event = self.next().await.expect("the watch is open");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!(kind), &json!(name)), "{event}");
        event["object"].take()
    }
}

fn labelled(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": label}}})
}

#[tokio::test]
async fn a_watch_shows_what_is_there_and_what_changes() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), labelled("x", "a")).await.ok();
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1")).await;
    let seen = watch.expect("ADDED", "x").await;
    admin.create(&core("configmaps"), labelled("y", "a")).await.ok();
    watch.expect("ADDED", "y").await;
    let changed = admin.patch(&core("configmaps/x"), "merge", &json!({"data": {"k": "v"}})).await.ok();
    assert_eq!(watch.expect("MODIFIED", "x").await, changed);
    admin.delete(&core("configmaps/x")).await.ok();
    let last = watch.expect("DELETED", "x").await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(version(&last) > version(&changed));
    // From a version on, nothing is missed and nothing older is shown.
    let path = core(&format!("configmaps?watch=1&resourceVersion={}", version(&seen)));
    let mut resumed = Watch::open(&admin, &path).await;
    for (kind, name) in [("ADDED", "y"), ("MODIFIED", "x"), ("DELETED", "x")] {
        resumed.expect(kind, name).await;
    }
}

#[tokio::test]
async fn a_selector_makes_objects_come_and_go() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1&labelSelector=app%3Da")).await;
    admin.create(&core("configmaps"), labelled("x", "b")).await.ok();
    let relabel = |label: &str| json!({"metadata": {"labels": {"app": label}}});
    admin.patch(&core("configmaps/x"), "merge", &relabel("a")).await.ok();
    watch.expect("ADDED", "x").await;
    let left = admin.patch(&core("configmaps/x"), "merge", &relabel("c")).await.ok();
    let last = watch.expect("DELETED", "x").await;
    assert_eq!(last["metadata"]["labels"]["app"], "a");
    assert_eq!(last["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn initial_events_end_with_a_mark() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), labelled("x", "a")).await.ok();
    let path =
        core("configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut watch = Watch::open(&admin, &path).await;
    watch.expect("ADDED", "x").await;
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    admin.create(&core("configmaps"), labelled("y", "a")).await.ok();
    watch.expect("ADDED", "y").await;
    admin.get(&core("configmaps?watch=1&sendInitialEvents=true")).await.failed(422);
}

#[tokio::test]
async fn a_version_of_the_past_is_told_to_be_gone() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1&resourceVersion=1")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_ends_when_it_is_asked_to() {
    let mut server = Server::start().await;
    let admin = server.admin();
    let began = std::time::Instant::now();
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1&timeoutSeconds=1")).await;
    assert_eq!(watch.next().await, None);
    assert!(began.elapsed() >= Duration::from_secs(1));
    // A server that ends lets go of its watchers, and leaves the endpoints of the kubernetes Service.
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1")).await;
    let etcd = server.etcd().connect().await;
    let key = "/registry/masterleases/192.0.2.10";
    assert!(etcd.get(key).await.unwrap().0.is_some());
    server.stop().await;
    assert_eq!(watch.next().await, None);
    assert!(etcd.get(key).await.unwrap().0.is_none());
}

#[tokio::test]
async fn a_table_watch_tells_its_columns_once() {
    let server = Server::start().await;
    let admin = server.admin();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open_as(&admin, &core("configmaps?watch=1"), accept).await;
    admin.create(&core("configmaps"), labelled("x", "a")).await.ok();
    admin.create(&core("configmaps"), labelled("y", "a")).await.ok();
    for (name, told) in [("x", true), ("y", false)] {
        let event = watch.next().await.unwrap();
        assert_eq!(event["object"]["kind"], "Table");
        assert_eq!(event["object"]["rows"][0]["object"]["metadata"]["name"], name);
        assert_eq!(!event["object"]["columnDefinitions"].as_array().unwrap().is_empty(), told);
    }
}
