//! A namespace that is deleted is emptied, then let go.
//!
//! The watches of all [`Kinds`] tell what is left in it; the server itself is asked only when they show nothing any more.

mod conditions;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller_runtime::{Event, ObjectKey, Requeue, Store, WorkQueue};
use futures::future::join_all;
use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::core::{DynamicObject, Status};
use kube::{Api, Client};

use crate::discovery::Discovered;
use crate::kinds::{Kinds, Meta};
use crate::ownership::is_deleting;
use crate::scope::{Scope, WORKERS};
use conditions::Left;

const FINALIZER: &str = "kubernetes";

/// After this long without a change users are told what holds the namespace.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("some groups do not answer: {0}")]
    Discovery(String),
    #[error("cannot make the request")]
    Request(#[from] http::Error),
    #[error("cannot write the namespace")]
    Encode(#[from] serde_json::Error),
}

/// Whether new objects may be made in a namespace.
pub(super) fn is_active(namespace: &Namespace) -> bool {
    !is_deleting(namespace)
}

/// Whether an answer says that the namespace is being deleted.
pub(crate) fn is_terminating(status: &Status) -> bool {
    let told =
        status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating");
    told || (status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces"))
}

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("namespace");
    scope.kinds.ready().await;
    Scope::feed(&scope.stores.namespaces, &queue);
    let (touched, namespaces) = (queue.clone(), scope.stores.namespaces.clone());
    scope.kinds.on_event(move |_, event| {
        // Of an object that changes only its end matters here.
        if !matches!(event, Event::Updated { .. }) {
            let key = ObjectKey::cluster(event.object().metadata.namespace.clone().unwrap_or_default());
            if is_emptied(&namespaces, &key) {
                touched.add(key);
            }
        }
    });
    let emptier = Emptier { scope: scope.clone(), seen: Arc::default() };
    scope.work(queue, WORKERS, move |key| emptier.clone().reconcile(key)).await;
}

fn is_emptied(namespaces: &Store<Namespace>, key: &ObjectKey) -> bool {
    namespaces.get(key).is_some_and(|namespace| is_deleting(namespace.as_ref()))
}

#[derive(Clone)]
struct Emptier {
    scope: Scope,
    /// How many objects were left when a namespace was looked at last.
    seen: Arc<Mutex<HashMap<ObjectKey, usize>>>,
}

impl Emptier {
    async fn reconcile(self, key: ObjectKey) -> Result<Requeue, Error> {
        let namespace = self.scope.stores.namespaces.get(&key).filter(|namespace| is_deleting(namespace.as_ref()));
        let Some(namespace) = namespace.filter(|namespace| holds(namespace)) else {
            self.forget(&key);
            return Ok(Requeue::No);
        };
        let left = look(&self.scope.kinds, &key.name);
        let client = &self.scope.client;
        if left.is_empty() {
            return self.verify(&namespace).await;
        }
        let waiting = left.values().filter(|left| left.deleting < left.number());
        for outcome in join_all(waiting.map(|left| empty(client, &key.name, &left.kind))).await {
            outcome?;
        }
        let number = left.values().map(Left::number).sum();
        if self.saw(&key, number) != Some(number) {
            // Their ends are events. If none comes for a while, somebody may want to know why.
            return Ok(Requeue::After(QUIET));
        }
        tracing::debug!(namespace = key.name, left = number, "not empty yet");
        conditions::write(client, &namespace, &left, &self.scope.kinds.discovery().silent).await?;
        Ok(Requeue::No)
    }

    /// Nothing is seen in the namespace: asks the server, which alone knows.
    async fn verify(&self, namespace: &Namespace) -> Result<Requeue, Error> {
        let key = ObjectKey::of(namespace);
        let client = &self.scope.client;
        self.scope.kinds.refresh().await?;
        let discovery = self.scope.kinds.discovery();
        let content = discovery.kinds.iter().filter(|kind| kind.namespaced && kind.can(&["delete", "list"]));
        let content: Vec<&Arc<Discovered>> = content.collect();
        let found = join_all(content.iter().map(|kind| empty(client, &key.name, kind))).await;
        let (mut unseen, mut watched) = (0, 0);
        for (kind, left) in content.iter().zip(found) {
            let tells = self.scope.kinds.find(|known| known.path() == kind.path()).is_some();
            *(if tells { &mut watched } else { &mut unseen }) += left?;
        }
        if !discovery.silent.is_empty() {
            conditions::write(client, namespace, &BTreeMap::new(), &discovery.silent).await?;
            let silent: Vec<_> = discovery.silent.iter().map(|(group, why)| format!("{group}: {why}")).collect();
            return Err(Error::Discovery(silent.join(", ")));
        }
        if unseen > 0 {
            return Ok(Requeue::RateLimited);
        }
        if watched > 0 {
            // The watches are behind; what they still have to tell leads here again.
            return Ok(Requeue::No);
        }
        finalize(client, namespace.clone()).await?;
        self.forget(&key);
        tracing::info!(namespace = key.name, "emptied");
        Ok(Requeue::No)
    }

    /// Notes how many objects are left; returns how many were before.
    fn saw(&self, key: &ObjectKey, number: usize) -> Option<usize> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), number)
    }

    fn forget(&self, key: &ObjectKey) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn holds(namespace: &Namespace) -> bool {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|name| name == FINALIZER)
}

/// What the watches know to be in a namespace, by the qualified name of the kind.
fn look(kinds: &Kinds, namespace: &str) -> BTreeMap<String, Left> {
    let mut found = BTreeMap::new();
    for (kind, store) in kinds.followed().into_iter().filter(|(kind, _)| kind.namespaced) {
        let objects = store.select(|object: &Meta| object.metadata.namespace.as_deref() == Some(namespace));
        if !objects.is_empty() {
            found.insert(kind.qualified(), Left::of(kind, &objects));
        }
    }
    found
}

/// Deletes all objects of a resource in a namespace; returns how many are still there.
async fn empty(client: &Client, namespace: &str, resource: &Discovered) -> Result<usize, kube::Error> {
    let api: Api<Meta> = Api::namespaced_with(client.clone(), namespace, &resource.resource);
    let there = api.list(&ListParams::default()).await?.items;
    if there.is_empty() {
        return Ok(0);
    }
    // A pod keeps its own grace period; everything else goes at once, dependents follow by the garbage collector.
    let params = DeleteParams::background();
    let waiting = there.iter().filter(|object| !is_deleting(*object)).count();
    if waiting > 0 && resource.can(&["deletecollection"]) {
        ignore_missing(delete_collection(client, namespace, resource).await)?;
    } else {
        for object in there.iter().filter(|object| !is_deleting(*object)) {
            ignore_missing(api.delete(object.metadata.name.as_deref().unwrap_or_default(), &params).await.map(|_| ()))?;
        }
    }
    Ok(api.list(&ListParams::default()).await?.items.len())
}

async fn delete_collection(client: &Client, namespace: &str, resource: &Discovered) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource.resource);
    let request = Request::delete(format!("{}?propagationPolicy=Background", api.resource_url()))
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(|_| ())
}

fn ignore_missing(outcome: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        // 405: the resource says it can be deleted, and cannot.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => Ok(()),
        outcome => outcome,
    }
}

async fn finalize(client: &Client, mut namespace: Namespace) -> Result<(), Error> {
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|name| name != FINALIZER);
    }
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let request = Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&namespace)?)?;
    match client.request_text(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => Ok(outcome.map(|_| ())?),
    }
}

#[cfg(test)]
mod tests;
