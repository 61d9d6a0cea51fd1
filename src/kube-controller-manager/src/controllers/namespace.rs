//! A namespace that is deleted is emptied, then let go.

use std::time::Duration;

use controller_runtime::{Event, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta};
use kube::core::{DynamicObject, Status};
use kube::{Api, Client};

use crate::discovery::{Discovered, discover};
use crate::ownership::is_deleting;
use crate::scope::{Scope, WORKERS};

const FINALIZER: &str = "kubernetes";

/// For what no event tells: a finalizer on an object this program does not follow.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
pub(super) fn is_terminating(status: &Status) -> bool {
    let told =
        status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating");
    told || (status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces"))
}

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("namespace");
    Scope::feed(&scope.stores.namespaces, &queue);
    // Pods are the slow part of emptying a namespace: their end is the event to wait for.
    let (ended, namespaces) = (queue.clone(), scope.stores.namespaces.clone());
    scope.stores.pods.on_event(move |event| {
        if let Event::Deleted(pod) = event {
            let key = ObjectKey::cluster(pod.metadata.namespace.clone().unwrap_or_default());
            if namespaces.get(&key).is_some_and(|namespace| is_deleting(namespace.as_ref())) {
                ended.add(key);
            }
        }
    });
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, Error> {
    let Some(namespace) = scope.stores.namespaces.get(&key).filter(|namespace| is_deleting(namespace.as_ref())) else {
        return Ok(Requeue::No);
    };
    let holds = |namespace: &Namespace| {
        namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|name| name == FINALIZER)
    };
    if !holds(&namespace) {
        return Ok(Requeue::No);
    }
    let (resources, failed) = discover(&scope.client).await?;
    let content: Vec<Discovered> =
        resources.into_iter().filter(|resource| resource.namespaced && resource.can(&["delete", "list"])).collect();
    let left: usize = join_all(content.iter().map(|resource| empty(&scope.client, &key.name, resource)))
        .await
        .into_iter()
        .sum::<Result<_, _>>()?;
    if !failed.is_empty() {
        return Err(Error::Discovery(failed.join(", ")));
    }
    if left > 0 {
        tracing::debug!(namespace = key.name, left, "not empty yet");
        return Ok(Requeue::After(LOOK_AGAIN));
    }
    finalize(&scope.client, Namespace::clone(&namespace)).await?;
    tracing::info!(namespace = key.name, "emptied");
    Ok(Requeue::No)
}

/// Deletes all objects of a resource in a namespace; returns how many are still there.
async fn empty(client: &Client, namespace: &str, resource: &Discovered) -> Result<usize, kube::Error> {
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client.clone(), namespace, &resource.resource);
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
