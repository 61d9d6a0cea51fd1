//! An API server in memory, for tests of what is a client of one.
//!
//! It lists, watches, creates, replaces, merge-patches and deletes JSON objects of any kind by path, with resource
//! versions, conflicts, finalizers and uid preconditions. It knows no schema, no selectors but `metadata.name`, no
//! admission, and of discovery what it is told ([`FakeApi::serve`]).

mod path;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use path::Target;

type Answer = Response<BoxBody<Bytes, Infallible>>;

struct Watcher {
    target: Target,
    events: UnboundedSender<Bytes>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(String, String, String), Value>,
    documents: BTreeMap<String, Value>,
    watchers: Vec<Watcher>,
    requests: Vec<String>,
    failures: Vec<StatusCode>,
    /// How many requests to come stay without an answer.
    hangs: usize,
    down: bool,
    /// Whether lists and watches are refused.
    unwatched: bool,
    revision: u64,
}

/// The server; clones share their objects.
#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// An empty server.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that talks to it.
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.handle(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object at a path such as `/api/v1/namespaces/default/pods/a`, whether it exists or not.
    pub fn put(&self, path: &str, object: Value) {
        let target = Target::parse(path, "");
        self.lock().store(&target, object);
    }

    /// Answers reads of exactly this path with a document, such as a list of resources.
    pub fn serve(&self, path: &str, document: Value) {
        self.lock().documents.insert(path.to_owned(), document);
    }

    /// The object at a path.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(&Target::parse(path, "").key()).cloned()
    }

    /// Removes the object at a path at once.
    pub fn remove(&self, path: &str) {
        self.lock().remove(&Target::parse(path, ""));
    }

    /// The names of a collection such as `/apis/apps/v1/namespaces/default/replicasets`.
    pub fn names(&self, path: &str) -> Vec<String> {
        let target = Target::parse(path, "");
        self.lock().objects.keys().filter(|key| target.holds(key)).map(|key| key.2.clone()).collect()
    }

    /// Ends all watches, as a server that stops.
    pub fn end_watches(&self) {
        self.lock().watchers.clear();
    }

    /// Answers the next request with a failure; several calls answer several requests, the last said first.
    pub fn fail_next(&self, status: StatusCode) {
        self.lock().failures.push(status);
    }

    /// Fails every request and ends all watches, until it is up again.
    pub fn set_down(&self, down: bool) {
        let mut state = self.lock();
        state.down = down;
        state.watchers.clear();
    }

    /// Refuses lists and watches, as to those who may only read single objects, and ends those there are.
    pub fn refuse_watches(&self, refuse: bool) {
        let mut state = self.lock();
        state.unwatched = refuse;
        state.watchers.clear();
    }

    /// Does not answer the next requests, as many as said.
    pub fn hang_next(&self, requests: usize) {
        self.lock().hangs = requests;
    }

    /// All requests so far, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request that has come stays without an answer.
    fn hangs(&self) -> bool {
        let mut state = self.lock();
        let left = state.hangs.checked_sub(1);
        state.hangs = left.unwrap_or(0);
        left.is_some()
    }

    async fn handle(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let sent = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let sent: Value = serde_json::from_slice(&sent).unwrap_or(Value::Null);
        let target = Target::parse(head.uri.path(), head.uri.query().unwrap_or_default());
        self.lock().requests.push(format!("{} {}", head.method, head.uri.path()));
        if self.hangs() {
            return std::future::pending().await;
        }
        let mut state = self.lock();
        let failed = if state.down { Some(StatusCode::INTERNAL_SERVER_ERROR) } else { state.failures.pop() };
        if let Some(status) = failed {
            return failure(status, "asked to fail");
        }
        match head.method {
            Method::GET if state.documents.contains_key(head.uri.path()) => {
                answer(StatusCode::OK, &state.documents[head.uri.path()])
            }
            Method::GET if target.collection && state.unwatched => failure(StatusCode::FORBIDDEN, "no lists"),
            Method::GET if target.watch => state.watch(target),
            Method::GET if target.collection => state.list(&target),
            Method::GET => {
                state.objects.get(&target.key()).map_or_else(not_found, |object| answer(StatusCode::OK, object))
            }
            Method::POST => state.create(target, sent),
            Method::PUT => state.replace(&target, sent),
            Method::PATCH => state.patch(&target, &sent),
            Method::DELETE if target.collection => state.delete_collection(&target),
            Method::DELETE => state.delete(&target, &sent),
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "no such verb"),
        }
    }
}

impl State {
    fn list(&self, target: &Target) -> Answer {
        let items: Vec<&Value> =
            self.objects.iter().filter(|(key, _)| target.holds(key)).map(|(_, object)| object).collect();
        answer(
            StatusCode::OK,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.revision.to_string()}, "items": items}),
        )
    }

    fn watch(&mut self, target: Target) -> Answer {
        let (events, stream) = unbounded();
        if target.since == 0 {
            for object in self.objects.iter().filter(|(key, _)| target.holds(key)).map(|(_, object)| object) {
                // The receiver is still in scope.
                let _ = events.unbounded_send(event("ADDED", object));
            }
        }
        for object in self.objects.iter().filter(|(key, _)| target.holds(key)).map(|(_, object)| object) {
            if target.since > 0 && revision_of(object) > target.since {
                let _ = events.unbounded_send(event("MODIFIED", object));
            }
        }
        self.watchers.push(Watcher { target, events });
        let body = StreamBody::new(stream.map(|bytes| Ok(http_body::Frame::data(bytes))));
        Response::new(BoxBody::new(body))
    }

    fn create(&mut self, target: Target, mut object: Value) -> Answer {
        if !target.subresource.is_empty() || !target.name.is_empty() {
            return answer(StatusCode::CREATED, &object);
        }
        let meta = &object["metadata"];
        let name = match (meta["name"].as_str(), meta["generateName"].as_str()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{:05}", self.revision + 1),
            (None, None) => return failure(StatusCode::UNPROCESSABLE_ENTITY, "no name"),
        };
        object["metadata"]["name"] = json!(name);
        let target = Target { name, ..target };
        if self.objects.contains_key(&target.key()) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        answer(StatusCode::CREATED, &self.store(&target, object))
    }

    fn replace(&mut self, target: &Target, object: Value) -> Answer {
        let Some(current) = self.objects.get(&target.key()) else {
            return not_found();
        };
        let expected = object["metadata"]["resourceVersion"].as_str();
        if expected.is_some() && expected != current["metadata"]["resourceVersion"].as_str() {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let merged = match target.subresource.as_str() {
            "status" => {
                let mut merged = current.clone();
                merged["status"] = object["status"].clone();
                merged
            }
            _ => object,
        };
        self.finish(target, merged)
    }

    fn patch(&mut self, target: &Target, patch: &Value) -> Answer {
        let Some(current) = self.objects.get(&target.key()) else {
            return not_found();
        };
        let uid = patch["metadata"]["uid"].as_str();
        if uid.is_some() && uid != current["metadata"]["uid"].as_str() {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let mut merged = current.clone();
        merge(&mut merged, patch);
        self.finish(target, merged)
    }

    /// Stores a changed object, or removes one that waited only for its last finalizer.
    fn finish(&mut self, target: &Target, object: Value) -> Answer {
        let held = ["metadata", "spec"]
            .iter()
            .any(|part| object[part]["finalizers"].as_array().is_some_and(|list| !list.is_empty()));
        if object["metadata"]["deletionTimestamp"].is_string() && !held {
            self.remove(target);
            return answer(StatusCode::OK, &object);
        }
        answer(StatusCode::OK, &self.store(target, object))
    }

    fn delete(&mut self, target: &Target, options: &Value) -> Answer {
        let Some(mut object) = self.objects.get(&target.key()).cloned() else {
            return not_found();
        };
        let uid = options["preconditions"]["uid"].as_str();
        if uid.is_some() && uid != object["metadata"]["uid"].as_str() {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.finish(target, object)
    }

    fn delete_collection(&mut self, target: &Target) -> Answer {
        let held: Vec<_> = self.objects.keys().filter(|key| target.holds(key)).cloned().collect();
        for (resource, namespace, name) in held {
            self.delete(&Target { resource, namespace, name, ..Target::default() }, &Value::Null);
        }
        answer(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn store(&mut self, target: &Target, mut object: Value) -> Value {
        self.revision += 1;
        let known = self.objects.get(&target.key()).map(|object| object["metadata"]["uid"].clone());
        let meta = &mut object["metadata"];
        meta["name"] = json!(target.name);
        meta["resourceVersion"] = json!(self.revision.to_string());
        if !target.namespace.is_empty() {
            meta["namespace"] = json!(target.namespace);
        }
        if meta["uid"].is_null() {
            meta["uid"] = known.clone().unwrap_or_else(|| json!(format!("uid-{}", self.revision)));
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.objects.insert(target.key(), object.clone());
        self.tell(target, if known.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn remove(&mut self, target: &Target) {
        if let Some(mut object) = self.objects.remove(&target.key()) {
            self.revision += 1;
            object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            self.tell(target, "DELETED", &object);
        }
    }

    fn tell(&mut self, target: &Target, kind: &str, object: &Value) {
        let key = target.key();
        self.watchers.retain(|watcher| {
            !watcher.target.holds(&key) || watcher.events.unbounded_send(event(kind, object)).is_ok()
        });
    }
}

fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn event(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().map(|map| map.remove(name));
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(BoxBody::new(Full::new(Bytes::from(body.to_string()))));
    *response.status_mut() = status;
    response
}

fn not_found() -> Answer {
    failure(StatusCode::NOT_FOUND, "NotFound")
}

fn failure(status: StatusCode, reason: &str) -> Answer {
    answer(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": status.as_u16()}),
    )
}
