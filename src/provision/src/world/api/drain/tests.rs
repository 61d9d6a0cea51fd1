use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::exit::hint;

const EVICT: &str = "/api/v1/namespaces/default/pods/web-1/eviction";
const DRAIN: Drain = Drain { patience: Duration::from_millis(200), force: false };
const FORCED: Drain = Drain { force: true, ..DRAIN };

/// An API in which Node `w-1` runs one pod; what it was asked stands in `asked`.
struct FakeApi {
    pod: Value,
    ready: &'static str,
    /// How an eviction is answered.
    evicts: StatusCode,
    /// How many requests are answered with "not now" before the others.
    elections: Mutex<u32>,
    asked: Mutex<Vec<String>>,
}

impl FakeApi {
    fn new(owner: Option<&str>, evicts: StatusCode) -> Self {
        let owners = owner.map(
            |kind| json!({ "apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "u", "controller": true }),
        );
        let pod = json!({
            "metadata": {
                "name": "web-1", "namespace": "default", "uid": "p1", "labels": { "app": "web" },
                "ownerReferences": owners.into_iter().collect::<Vec<_>>(),
            },
            "status": { "phase": "Running" },
        });
        Self { pod, ready: "True", evicts, elections: Mutex::default(), asked: Mutex::default() }
    }

    fn answer(&self, request: &Request<Body>) -> (StatusCode, Value) {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{} {path}", request.method()));
        let mut elections = self.elections.lock().unwrap();
        if *elections > 0 {
            *elections -= 1;
            return (StatusCode::GATEWAY_TIMEOUT, failure(StatusCode::GATEWAY_TIMEOUT, "etcd has no leader"));
        }
        match (request.method(), path) {
            (&Method::PATCH, "/api/v1/nodes/w-1") => {
                let conditions = json!([{ "type": "Ready", "status": self.ready }]);
                (StatusCode::OK, json!({ "metadata": { "name": "w-1" }, "status": { "conditions": conditions } }))
            }
            (&Method::GET, "/api/v1/pods") => {
                assert!(query.contains("spec.nodeName%3Dw-1"), "{query}");
                (StatusCode::OK, json!({ "metadata": { "resourceVersion": "1" }, "items": [self.pod] }))
            }
            (&Method::GET, "/apis/policy/v1/poddisruptionbudgets") => (StatusCode::OK, budgets()),
            (&Method::POST, EVICT) => (self.evicts, failure(self.evicts, "Cannot evict pod as it would violate")),
            _ => (StatusCode::NOT_FOUND, failure(StatusCode::NOT_FOUND, "not found")),
        }
    }

    fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        let serve = move |request: Request<Body>| {
            let (code, body) = api.answer(&request);
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, std::convert::Infallible>(response.unwrap()))
        };
        Client::new(tower::service_fn(serve), "default")
    }
}

fn failure(code: StatusCode, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": "x", "message": message })
}

/// One budget that covers the pod, one in another namespace and one for other pods.
fn budgets() -> Value {
    let budget = |name: &str, namespace: &str, app: &str| {
        json!({
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": { "matchLabels": { "app": app } } },
            "status": { "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1 },
        })
    };
    json!({ "metadata": {}, "items": [budget("web", "default", "web"), budget("far", "x", "web"), budget("db", "default", "db")] })
}

/// What became of a drain, and what was reported meanwhile.
async fn drained(api: FakeApi, how: Drain) -> (Result<()>, Vec<String>, Vec<String>) {
    let api = Arc::new(api);
    let told = Mutex::new(Vec::new());
    let report = |detail: String| told.lock().unwrap().push(detail);
    let ended = drain(&api.client(), "w-1", how, &report).await;
    let asked = api.asked.lock().unwrap().clone();
    (ended, told.into_inner().unwrap(), asked)
}

#[tokio::test]
async fn what_a_budget_keeps_is_told_with_pod_and_budget() {
    let api = FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS);
    let error = drained(api, DRAIN).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Node w-1 is not empty after 200ms: default/web-1 is kept by PodDisruptionBudget web (1 healthy, 1 needed)"
    );
    let hint = hint(&error).unwrap();
    assert!(hint.contains("--drain-timeout") && hint.contains("--force"), "{hint}");
}

#[tokio::test]
async fn what_a_budget_keeps_goes_with_the_machine_where_that_is_asked_for() {
    let api = FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS);
    let (ended, told, asked) = drained(api, FORCED).await;
    ended.unwrap();
    assert!(asked.contains(&format!("POST {EVICT}")), "it is asked to go in good order first: {asked:?}");
    let lost = "these go with the machine: default/web-1 is kept by PodDisruptionBudget web (1 healthy, 1 needed)";
    assert_eq!(told.last().map(String::as_str), Some(lost));
}

#[tokio::test]
async fn a_pod_that_nothing_starts_elsewhere_is_not_evicted_unless_that_is_asked_for() {
    let (ended, _, asked) = drained(FakeApi::new(None, StatusCode::CREATED), DRAIN).await;
    let error = ended.unwrap_err();
    assert!(error.to_string().contains("nothing would start elsewhere: default/web-1"), "{error}");
    assert!(!asked.contains(&format!("POST {EVICT}")), "{asked:?}");
    let mut silent = FakeApi::new(None, StatusCode::CREATED);
    silent.ready = "Unknown";
    let (ended, _, asked) = drained(silent, FORCED).await;
    ended.unwrap();
    assert!(asked.contains(&format!("POST {EVICT}")), "{asked:?}");
}

#[tokio::test]
async fn a_drain_outlasts_an_election() {
    let mut api = FakeApi::new(Some("ReplicaSet"), StatusCode::CREATED);
    (api.ready, api.elections) = ("Unknown", Mutex::new(3));
    let (ended, _, asked) = drained(api, Drain { patience: Duration::ZERO, force: false }).await;
    ended.unwrap();
    let cordons = asked.iter().filter(|asked| asked.starts_with("PATCH")).count();
    assert_eq!(cordons, 4, "{asked:?}");
}

#[tokio::test]
async fn the_end_of_a_pod_is_not_waited_for_where_the_kubelet_is_silent() {
    let mut api = FakeApi::new(Some("ReplicaSet"), StatusCode::CREATED);
    api.ready = "Unknown";
    drained(api, Drain { patience: Duration::ZERO, force: false }).await.0.unwrap();
}

#[tokio::test]
async fn pods_of_files_of_daemons_and_those_that_have_ended_stay() {
    let check = |owner: Option<&str>, annotations: Value, phase: &str, expected: bool| {
        let mut pod = FakeApi::new(owner, StatusCode::OK).pod;
        pod["metadata"]["annotations"] = annotations;
        pod["status"]["phase"] = phase.into();
        assert_eq!(moves(&serde_json::from_value(pod).unwrap()), expected, "{owner:?} {phase}");
    };
    check(Some("ReplicaSet"), json!({}), "Running", true);
    check(None, json!({}), "Pending", true);
    check(Some("DaemonSet"), json!({}), "Running", false);
    check(Some("Node"), json!({ MIRROR: "hash" }), "Running", false);
    check(Some("Job"), json!({}), "Succeeded", false);
}

#[tokio::test]
async fn a_node_that_does_not_exist_is_empty() {
    let api = Arc::new(FakeApi::new(None, StatusCode::OK));
    drain(&api.client(), "w-2", DRAIN, &|_| {}).await.unwrap();
    assert_eq!(*api.asked.lock().unwrap(), ["PATCH /api/v1/nodes/w-2"]);
}
