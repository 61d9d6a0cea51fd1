use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::exit::hint;

const PODS: &str = "/api/v1/pods";
const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";
const EVICT: &str = "/api/v1/namespaces/default/pods/web-1/eviction";
const DRAIN: Drain = Drain { patience: Duration::from_millis(200), force: false };
const FORCED: Drain = Drain { force: true, ..DRAIN };

/// An API in which Node `w-1` runs one pod; what it was asked stands in `asked`.
struct FakeApi {
    pod: Value,
    ready: &'static str,
    /// How an eviction is answered.
    evicts: Mutex<StatusCode>,
    /// An eviction was asked for.
    asked_to_evict: Notify,
    /// What watches are told after the lists, each by its path.
    events: watch::Sender<Vec<(&'static str, Value)>>,
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
                "name": "web-1", "namespace": "default", "uid": "p1", "resourceVersion": "1", "labels": { "app": "web" },
                "ownerReferences": owners.into_iter().collect::<Vec<_>>(),
            },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let (evicts, events) = (Mutex::new(evicts), watch::Sender::default());
        let (elections, asked, asked_to_evict) = (Mutex::default(), Mutex::default(), Notify::new());
        Self { pod, ready: "True", evicts, asked_to_evict, events, elections, asked }
    }

    /// Something changes at this path.
    fn tell(&self, path: &'static str, kind: &str, object: &Value) {
        self.events.send_modify(|events| events.push((path, json!({ "type": kind, "object": object }))));
    }

    /// How often the pod was to be evicted in earnest.
    fn evictions(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| **asked == format!("POST {EVICT}")).count()
    }

    fn answer(&self, request: &Request<Body>) -> (StatusCode, Value) {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let dry = if query.contains("dryRun") { "dry " } else { "" };
        self.asked.lock().unwrap().push(format!("{dry}{} {path}", request.method()));
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
            (&Method::GET, PODS) => {
                assert!(query.contains("spec.nodeName%3Dw-1"), "{query}");
                (StatusCode::OK, json!({ "metadata": { "resourceVersion": "1" }, "items": [self.pod] }))
            }
            (&Method::GET, BUDGETS) => (StatusCode::OK, budgets()),
            (&Method::POST, EVICT) => {
                let code = *self.evicts.lock().unwrap();
                if dry.is_empty() {
                    self.asked_to_evict.notify_one();
                    if code == StatusCode::CREATED {
                        self.tell(PODS, "DELETED", &self.pod);
                    }
                }
                let mut refusal = failure(code, "Cannot evict pod as it would violate");
                refusal["details"] = json!({ "causes": [{ "reason": "DisruptionBudget" }] });
                (code, refusal)
            }
            _ => (StatusCode::NOT_FOUND, failure(StatusCode::NOT_FOUND, "not found")),
        }
    }

    fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        let serve = move |request: Request<Body>| {
            let listed = [PODS, BUDGETS].into_iter().find(|path| *path == request.uri().path());
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let (code, body): (_, UnsyncBoxBody<Bytes, Infallible>) = if let Some(path) = listed.filter(|_| is_watch) {
                (StatusCode::OK, StreamBody::new(told(api.events.subscribe(), path)).boxed_unsync())
            } else {
                let (code, answer) = api.answer(&request);
                (code, Full::new(Bytes::from(answer.to_string())).boxed_unsync())
            };
            std::future::ready(Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()))
        };
        Client::new(tower::service_fn(serve), "default")
    }
}

/// Whatever is told at a path, from the beginning and for ever.
fn told(
    events: watch::Receiver<Vec<(&'static str, Value)>>,
    path: &'static str,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures::stream::unfold((events, 0), move |(mut events, told)| async move {
        let there = events.wait_for(|events| events.iter().filter(|(of, _)| *of == path).count() > told);
        let event = there.await.ok()?.iter().filter(|(of, _)| *of == path).nth(told)?.1.to_string();
        Some((Ok(Frame::data(Bytes::from(event + "\n"))), (events, told + 1)))
    })
}

fn failure(code: StatusCode, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": "x", "message": message })
}

/// One budget that covers the pod, one in another namespace and one for other pods.
fn budgets() -> Value {
    let others = [budget("far", "x", "web", ("1", 0)), budget("db", "default", "db", ("1", 0))];
    let [far, db] = others;
    json!({ "metadata": { "resourceVersion": "1" }, "items": [budget("web", "default", "web", ("1", 0)), far, db] })
}

fn budget(name: &str, namespace: &str, app: &str, (version, allowed): (&str, i32)) -> Value {
    json!({
        "metadata": { "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "resourceVersion": version },
        "spec": { "selector": { "matchLabels": { "app": app } } },
        "status": { "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": allowed, "expectedPods": 1 },
    })
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
async fn what_a_budget_keeps_is_not_asked_for_again_while_nothing_changes() {
    let api = FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS);
    let patience = Duration::from_millis(1500);
    let (ended, _, asked) = drained(api, Drain { patience, force: false }).await;
    assert!(ended.is_err());
    assert_eq!(asked.iter().filter(|asked| **asked == format!("POST {EVICT}")).count(), 1, "{asked:?}");
}

const FOR_EVER: Drain = Drain { patience: Duration::ZERO, force: false };

#[tokio::test]
async fn it_is_asked_for_again_when_its_budget_gives_way() {
    let api = Arc::new(FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS));
    let change = async {
        api.asked_to_evict.notified().await;
        api.tell(BUDGETS, "MODIFIED", &budget("db", "default", "db", ("2", 1)));
        api.tell(BUDGETS, "MODIFIED", &budget("web", "default", "web", ("3", 0)));
        *api.evicts.lock().unwrap() = StatusCode::CREATED;
        api.tell(BUDGETS, "MODIFIED", &budget("web", "default", "web", ("4", 1)));
    };
    let client = api.client();
    let (ended, ()) = tokio::join!(drain(&client, "w-1", FOR_EVER, &|_| {}), change);
    ended.unwrap();
    assert_eq!(api.evictions(), 2);
}

#[tokio::test]
async fn it_is_asked_for_again_when_its_budget_is_deleted() {
    let api = Arc::new(FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS));
    let change = async {
        api.asked_to_evict.notified().await;
        *api.evicts.lock().unwrap() = StatusCode::CREATED;
        api.tell(BUDGETS, "DELETED", &budget("web", "default", "web", ("2", 0)));
    };
    let client = api.client();
    let (ended, ()) = tokio::join!(drain(&client, "w-1", FOR_EVER, &|_| {}), change);
    ended.unwrap();
    assert_eq!(api.evictions(), 2);
}

#[tokio::test]
async fn a_pod_that_goes_by_itself_is_not_evicted_again() {
    let api = Arc::new(FakeApi::new(Some("StatefulSet"), StatusCode::TOO_MANY_REQUESTS));
    let change = async {
        api.asked_to_evict.notified().await;
        api.tell(PODS, "DELETED", &api.pod);
    };
    let client = api.client();
    let (ended, ()) = tokio::join!(drain(&client, "w-1", FOR_EVER, &|_| {}), change);
    ended.unwrap();
    assert_eq!(api.evictions(), 1, "one of its name may run elsewhere by now");
}

#[tokio::test]
async fn a_pod_that_is_not_ready_is_asked_for_whenever_its_budget_changes() {
    let (mut api, changes) = (FakeApi::new(Some("ReplicaSet"), StatusCode::TOO_MANY_REQUESTS), 3);
    api.pod["status"]["conditions"][0]["status"] = "False".into();
    let api = Arc::new(api);
    let change = async {
        for version in 0..changes {
            api.asked_to_evict.notified().await;
            api.tell(BUDGETS, "MODIFIED", &budget("web", "default", "web", (&format!("{}", 2 + version), 0)));
        }
        *api.evicts.lock().unwrap() = StatusCode::CREATED;
        api.tell(BUDGETS, "MODIFIED", &budget("web", "default", "web", ("9", 0)));
    };
    let client = api.client();
    let (ended, ()) = tokio::join!(drain(&client, "w-1", FOR_EVER, &|_| {}), change);
    ended.unwrap();
    assert!(api.evictions() > changes, "{}", api.evictions());
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
