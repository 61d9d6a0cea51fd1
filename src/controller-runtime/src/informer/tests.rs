//! Informers against the server in memory.

use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::fake::FakeApi;
use crate::{Event, ObjectKey};

const A: &str = "/api/v1/namespaces/default/configmaps/a";
const B: &str = "/api/v1/namespaces/default/configmaps/b";

fn start(api: &FakeApi, token: &CancellationToken) -> Store<ConfigMap> {
    Informer::new(Api::all(api.client())).start(token.clone())
}

#[tokio::test(start_paused = true)]
async fn it_lists_then_follows() {
    let api = FakeApi::new();
    api.put(A, json!({"metadata": {"managedFields": [{"manager": "x"}]}}));
    let token = CancellationToken::new();
    let store = start(&api, &token);
    store.synced().await;
    let a = store.get(&ObjectKey::new("default", "a")).unwrap();
    assert_eq!(a.metadata.managed_fields, None, "managed fields are not kept");

    let mut events = store.subscribe();
    assert!(matches!(events.recv().await, Some(Event::Added(_))));
    api.put(B, json!({}));
    assert!(matches!(events.recv().await, Some(Event::Added(object)) if object.metadata.name.as_deref() == Some("b")));
    api.put(A, json!({"data": {"k": "v"}}));
    assert!(
        matches!(events.recv().await, Some(Event::Updated { old, new }) if old.data.is_none() && new.data.is_some())
    );
    api.remove(A);
    assert!(
        matches!(events.recv().await, Some(Event::Deleted(object)) if object.metadata.name.as_deref() == Some("a"))
    );
    assert_eq!(store.len(), 1);
    token.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_first_is_tried_again() {
    let api = FakeApi::new();
    api.put(A, json!({}));
    api.fail_next(StatusCode::INTERNAL_SERVER_ERROR);
    api.fail_next(StatusCode::FORBIDDEN);
    let token = CancellationToken::new();
    let store = start(&api, &token);
    store.synced().await;
    assert_eq!(store.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let api = FakeApi::new();
    api.put(A, json!({}));
    let token = CancellationToken::new();
    let store = start(&api, &token);
    store.synced().await;
    let mut events = store.subscribe();
    assert!(matches!(events.recv().await, Some(Event::Added(_))));
    api.end_watches();
    api.put(B, json!({}));
    assert!(matches!(events.recv().await, Some(Event::Added(object)) if object.metadata.name.as_deref() == Some("b")));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_gone_leads_to_a_new_list() {
    let api = FakeApi::new();
    api.put(A, json!({}));
    let token = CancellationToken::new();
    let store = start(&api, &token);
    store.synced().await;
    let mut events = store.subscribe();
    assert!(matches!(events.recv().await, Some(Event::Added(_))));
    while !api.requests().iter().any(|request| request.contains("configmaps")) {
        tokio::task::yield_now().await;
    }
    api.fail_next(StatusCode::GONE);
    api.end_watches();
    api.remove(A);
    assert!(matches!(events.recv().await, Some(Event::Deleted(_))));
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_list_comes_as_soon_as_the_server_answers() {
    let api = FakeApi::new();
    api.put(A, json!({}));
    api.set_down(true);
    let store = start(&api, &CancellationToken::new());
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    api.set_down(false);
    tokio::time::sleep(std::time::Duration::from_millis(101)).await;
    assert!(store.is_synced());
}
