//! Watches: order, selectors, bookmarks, other forms, timeouts, and what happens when history is gone.

use std::time::{Duration, Instant};

use apimachinery::protobuf;
use harness::{Caller, EventStream, core};
use serde_json::{Value, json};

use crate::every_kind::{PROTOBUF, from_protobuf};
use crate::lists::compact;
use crate::server;

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": label}}})
}

fn version(object: &Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

async fn now(admin: &Caller, collection: &str) -> i64 {
    version(&admin.get(collection).await.ok())
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order() {
    let server = server().await;
    let admin = server.admin();
    let start = now(&admin, &core("configmaps")).await;
    let open = |query: String| {
        let admin = admin.clone();
        async move { EventStream::open(&admin, &core(&format!("configmaps?watch=1&{query}"))).await }
    };
    let mut early = open(format!("resourceVersion={start}")).await;
    let mut told: Vec<(String, i64)> = Vec::new();
    admin.create(&core("configmaps"), &map("a", "x")).await.ok();
    for index in 0..20 {
        let patch = json!({"data": {"n": index.to_string()}});
        let changed = admin.patch(&core("configmaps/a"), "merge", &patch).await.ok();
        told.push(("MODIFIED".to_owned(), version(&changed)));
    }
    let last = admin.delete(&core("configmaps/a")).await;
    assert_eq!(last.code, 200);
    for watch in [&mut early, &mut open(format!("resourceVersion={start}")).await] {
        watch.expect("ADDED", "a").await;
        for (kind, revision) in &told {
            assert_eq!(version(&watch.expect(kind, "a").await), *revision);
        }
        let gone = watch.expect("DELETED", "a").await;
        assert!(version(&gone) > told.last().unwrap().1 && gone["data"]["n"] == "19", "{gone}");
    }
}

#[tokio::test]
async fn objects_come_into_and_go_out_of_a_selection() {
    let server = server().await;
    let admin = server.admin();
    let mut by_label = EventStream::open(&admin, &core("configmaps?watch=1&labelSelector=app+in+(a,b)")).await;
    let mut by_field = EventStream::open(&admin, &core("pods?watch=1&fieldSelector=spec.nodeName%3Dn1")).await;
    let mut unbound = EventStream::open(&admin, &core("pods?watch=1&fieldSelector=spec.nodeName%3D")).await;
    admin.create(&core("configmaps"), &map("m", "c")).await.ok();
    for (label, expected) in [("a", "ADDED"), ("b", "MODIFIED"), ("c", "DELETED"), ("b", "ADDED")] {
        let patch = json!({"metadata": {"labels": {"app": label}}});
        let changed = admin.patch(&core("configmaps/m"), "merge", &patch).await.ok();
        let seen = by_label.expect(expected, "m").await;
        assert_eq!(version(&seen), version(&changed), "the version is that of the change");
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "b:1"}]}});
    admin.create(&core("pods"), &pod).await.ok();
    unbound.expect("ADDED", "p").await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    admin.create(&core("pods/p/binding"), &binding).await.ok();
    by_field.expect("ADDED", "p").await;
    unbound.expect("DELETED", "p").await;
    admin.delete(&core("pods/p?gracePeriodSeconds=0")).await.ok();
    let last = by_field.next().await.unwrap();
    assert_eq!(last["type"], "DELETED", "{last}");
}

#[tokio::test]
async fn a_watch_speaks_protobuf_and_partial_metadata() {
    let server = server().await;
    let admin = server.admin();
    let accept = "application/vnd.kubernetes.protobuf;stream=watch";
    let mut watch = EventStream::open_as(&admin, &core("configmaps?watch=1"), accept).await;
    let created = admin.create(&core("configmaps"), &map("m", "a")).await.ok();
    let bytes = watch.raw(8).await;
    let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    assert_eq!(bytes.len(), length + 4);
    let of = api::schema().type_named("meta.v1.WatchEvent").unwrap();
    let event = protobuf::decode_message(&bytes[4..], api::schema(), of);
    // The object inside has an envelope of its own; it is found by its magic bytes.
    let at = bytes.windows(4).position(|window| window == protobuf::MAGIC).unwrap();
    assert!(bytes[4..at].windows(5).any(|window| window == b"ADDED"), "{event:?}");
    assert_eq!(from_protobuf(&bytes[at..]), created);

    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut watch = EventStream::open_as(&admin, &core("configmaps?watch=1"), partial).await;
    let seen = watch.expect("ADDED", "m").await;
    assert_eq!((&seen["kind"], &seen["metadata"]), (&json!("PartialObjectMetadata"), &created["metadata"]));
    let refused = admin.get_as(&core("configmaps?watch=1"), "application/yaml").await;
    assert_eq!(refused.code, 406);
    let _ = PROTOBUF;
}

#[tokio::test]
async fn bookmarks_are_never_ahead_of_what_was_told() {
    let server = server().await;
    let admin = server.admin();
    let path = "configmaps?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = EventStream::open(&admin, &core(&format!("{path}&timeoutSeconds=5"))).await;
    let writer = {
        let admin = server.admin();
        tokio::spawn(async move {
            for index in 0..40 {
                admin.create(&core("configmaps"), &map(&format!("m{index}"), "a")).await.ok();
            }
        })
    };
    let (mut newest, mut bookmarks, mut seen) = (0, 0, 0);
    while let Some(event) = watch.next().await {
        let revision = version(&event["object"]);
        if event["type"] == "BOOKMARK" {
            bookmarks += 1;
            assert!(revision >= newest, "a bookmark goes back: {event}");
        } else {
            seen += 1;
            assert!(revision > newest, "an event after a bookmark that said it was there: {event}");
        }
        newest = revision;
    }
    writer.await.unwrap();
    assert!(bookmarks >= 1, "at least the mark of the initial state");
    assert!(seen <= 40);
}

#[tokio::test]
async fn a_busy_watch_ends_in_time_too() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &map("busy", "a")).await.ok();
    let mut watch = EventStream::open(&admin, &core("configmaps?watch=1&timeoutSeconds=2")).await;
    let began = Instant::now();
    let writer = {
        let admin = server.admin();
        tokio::spawn(async move {
            for index in 0.. {
                admin.patch(&core("configmaps/busy"), "merge", &json!({"data": {"n": index.to_string()}})).await;
            }
        })
    };
    while watch.next().await.is_some() {
        assert!(began.elapsed() < Duration::from_secs(40), "the watch goes on for ever");
    }
    writer.abort();
}

#[tokio::test]
async fn what_is_too_old_is_told_so_and_the_client_recovers() {
    let mut server = server().await;
    let admin = server.admin();
    let old = now(&admin, &core("configmaps")).await;
    for index in 0..5 {
        admin.create(&core("configmaps"), &map(&format!("m{index}"), "a")).await.ok();
    }
    compact(&server).await;
    // A new server has no history of its own, and etcd has none any more.
    server.restart().await;
    let admin = server.admin();
    let mut watch = EventStream::open(&admin, &core(&format!("configmaps?watch=1&resourceVersion={old}"))).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR", "{event}");
    let status = &event["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
    assert_eq!(watch.next().await, None, "nothing comes after it");
    let list = admin.get(&core("configmaps")).await;
    assert_eq!(list.names().len(), 5);
    let from = version(&list.body);
    let mut watch = EventStream::open(&admin, &core(&format!("configmaps?watch=1&resourceVersion={from}"))).await;
    admin.create(&core("configmaps"), &map("new", "a")).await.ok();
    watch.expect("ADDED", "new").await;
    // The version of the newest object is never too old, however long nothing of the kind was written.
    for index in 0..300 {
        let lease = json!({"metadata": {"name": format!("l{index}")}});
        admin.create("/apis/coordination.k8s.io/v1/namespaces/default/leases", &lease).await.ok();
    }
    let from = now(&admin, &core("configmaps/new")).await;
    let one = core(&format!("configmaps?watch=1&fieldSelector=metadata.name%3Dnew&resourceVersion={from}"));
    let mut watch = EventStream::open(&admin, &one).await;
    admin.patch(&core("configmaps/new"), "merge", &json!({"data": {"a": "b"}})).await.ok();
    watch.expect("MODIFIED", "new").await;
}

#[tokio::test]
async fn old_paths_of_watches_still_lead_there() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &map("m", "a")).await.ok();
    for path in [
        "/api/v1/watch/namespaces/default/configmaps",
        "/api/v1/watch/configmaps",
        "/api/v1/watch/namespaces/default/configmaps/m",
    ] {
        let mut watch = EventStream::open(&admin, path).await;
        watch.expect("ADDED", "m").await;
    }
    for wrong in [
        "configmaps?watch=1&sendInitialEvents=true",
        "configmaps?watch=1&resourceVersionMatch=NotOlderThan",
        "configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact&allowWatchBookmarks=true",
    ] {
        let refused = admin.get(&core(wrong)).await;
        assert_eq!((refused.code, &refused.body["reason"]), (422, &json!("Invalid")), "{wrong}");
    }
    admin.get(&core("configmaps?watch=1&resourceVersion=abc")).await.failed(400);
    admin.get(&core("configmaps?watch=1&timeoutSeconds=abc")).await.failed(400);
}

#[tokio::test]
async fn a_slow_watcher_is_let_go_and_costs_no_memory() {
    let server = server().await;
    let admin = server.admin();
    let text = "x".repeat(100_000);
    admin.create(&core("configmaps"), &map("big", "a")).await.ok();
    // Nobody reads from these.
    let mut slow = Vec::new();
    for _ in 0..20 {
        // Each has a connection of its own: an unread stream may hold up others of its connection.
        slow.push(server.admin().request(reqwest::Method::GET, &core("configmaps?watch=1")).send().await.unwrap());
    }
    let before = server.memory();
    for index in 0..200 {
        let patch = json!({"data": {"n": index.to_string(), "text": text}});
        admin.patch(&core("configmaps/big"), "merge", &patch).await.ok();
    }
    // Twenty watchers times two hundred times 100 kB would be 400 MB.
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 150_000, "{grown} KiB more for watchers that do not read");
}
