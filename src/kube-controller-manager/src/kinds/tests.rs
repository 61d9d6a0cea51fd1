//! Kinds that come and go on a server in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use controller_runtime::fake::FakeApi;
use serde_json::json;

use super::*;
use crate::testing::{IDLE, resources, scope, serve_groups, until};

const EXTENSIONS: &str = "apiextensions.k8s.io";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const WIDGET: &str = "/apis/example.com/v1/namespaces/default/widgets/a";

fn with_definitions(api: &FakeApi) -> Kinds {
    let kinds = scope(api).kinds;
    serve_groups(api, &["apps", EXTENSIONS]);
    let definitions = [("customresourcedefinitions", "CustomResourceDefinition", false)];
    api.serve("/apis/apiextensions.k8s.io/v1", resources("apiextensions.k8s.io/v1", &definitions));
    kinds
}

fn serve_widgets(api: &FakeApi) {
    serve_groups(api, &["apps", EXTENSIONS, "example.com"]);
    api.serve("/apis/example.com/v1", resources("example.com/v1", &[("widgets", "Widget", true)]));
}

fn names(kinds: &Kinds) -> Vec<String> {
    kinds.followed().iter().map(|(kind, _)| kind.qualified()).collect()
}

fn discoveries(api: &FakeApi) -> usize {
    api.requests().iter().filter(|request| *request == "GET /apis").count()
}

#[tokio::test(start_paused = true)]
async fn objects_of_all_kinds_are_told_and_nothing_is_asked_when_idle() {
    let api = FakeApi::new();
    api.put("/api/v1/namespaces/default/pods/p", json!({}));
    let kinds = scope(&api).kinds;
    kinds.ready().await;
    let told = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&told);
    kinds.on_event(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(told.load(Ordering::SeqCst), 1);
    api.put("/apis/apps/v1/namespaces/default/replicasets/r", json!({}));
    until("the new object is told", || told.load(Ordering::SeqCst) == 2).await;
    let before = api.requests().len();
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().len(), before, "nothing is asked while nothing happens");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_defined_later_is_followed_and_left_when_it_goes() {
    let api = FakeApi::new();
    let kinds = with_definitions(&api);
    kinds.ready().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    kinds.on_event(move |kind, _| log.lock().unwrap().push(kind.resource.kind.clone()));
    // The definition is written before the server serves the kind.
    api.put(DEFINITION, json!({}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!names(&kinds).contains(&"widgets.example.com".to_owned()));
    serve_widgets(&api);
    api.put(WIDGET, json!({}));
    until("its objects are told", || seen.lock().unwrap().contains(&"Widget".to_owned())).await;
    serve_groups(&api, &["apps", EXTENSIONS]);
    api.remove(DEFINITION);
    until("the kind is gone", || !names(&kinds).contains(&"widgets.example.com".to_owned())).await;
    api.put(WIDGET, json!({"data": "unseen"}));
    let before = api.requests().len();
    tokio::time::sleep(IDLE).await;
    assert_eq!(api.requests().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_never_served_is_not_looked_for_for_ever() {
    let api = FakeApi::new();
    let kinds = with_definitions(&api);
    kinds.ready().await;
    api.put(DEFINITION, json!({}));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = discoveries(&api);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(discoveries(&api), before);
}

#[tokio::test(start_paused = true)]
async fn the_kinds_of_a_group_that_does_not_answer_stay() {
    let api = FakeApi::new();
    let kinds = with_definitions(&api);
    serve_widgets(&api);
    kinds.ready().await;
    api.serve("/apis/example.com/v1", json!("no list"));
    kinds.refresh().await.unwrap();
    assert!(names(&kinds).contains(&"widgets.example.com".to_owned()));
    assert_eq!(kinds.discovery().silent.len(), 1);
}
