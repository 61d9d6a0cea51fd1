//! Endpoints that somebody wrote for a service without a selector, as endpoint slices: what follows services reads only
//! those.
//!
//! Each group of ports and family of addresses becomes one slice. Left alone are endpoints that say so, that hold a
//! leader's lock, and those of services that select pods.

mod plan;

use std::sync::Arc;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use crate::freshness::Freshness;
use crate::ownership::{is_deleting, labels};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::BY_SERVICE;
use plan::{Action, MANAGED_LABEL, MANAGER, SERVICE_LABEL};

const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
const LOCK_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("endpointslice-mirroring");
    let slices = queue.clone();
    scope.stores.slices.on_event(move |event| {
        if let Some(service) = labels(event.object().as_ref()).get(SERVICE_LABEL).filter(|_| is_ours(event.object())) {
            let namespace = event.object().metadata.namespace.clone().unwrap_or_default();
            slices.add(ObjectKey::new(namespace, service));
        }
    });
    tokio::join!(scope.stores.services.synced(), scope.stores.endpoints.synced(), scope.stores.slices.synced());
    Scope::feed(&scope.stores.services, &queue);
    Scope::feed(&scope.stores.endpoints, &queue);
    let (reconciling, freshness) = (scope.clone(), Arc::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), freshness.clone(), key)).await;
}

fn is_ours(slice: &EndpointSlice) -> bool {
    labels(slice).get(MANAGED_LABEL).map(String::as_str) == Some(MANAGER)
}

/// Whether the endpoints of a service are somebody's own.
fn is_mirrored(service: &Service, endpoints: &Endpoints) -> bool {
    let selects = service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    let locks = endpoints.metadata.annotations.iter().any(|all| all.contains_key(LOCK_ANNOTATION));
    let refused = labels(endpoints).get(SKIP_LABEL).map(String::as_str) == Some("true");
    !selects && !locks && !refused && !is_deleting(endpoints)
}

async fn reconcile(scope: Scope, freshness: Arc<Freshness<ObjectKey>>, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = freshness.wait(&key, scope.stores.slices.revision()) {
        return Ok(Requeue::After(wait));
    }
    let mut slices = scope.stores.slices.by_index(BY_SERVICE, &key.to_string());
    slices.retain(|slice| is_ours(slice) && !is_deleting(slice.as_ref()));
    let service = scope.stores.services.get(&key);
    let endpoints = scope.stores.endpoints.get(&key);
    let endpoints = service.zip(endpoints).filter(|(service, endpoints)| is_mirrored(service, endpoints));
    let api = scope.api::<EndpointSlice>(&key.namespace);
    for action in plan::plan(endpoints.as_ref().map(|(_, endpoints)| endpoints.as_ref()), &slices) {
        match action {
            Action::Create(slice) => match api.create(&PostParams::default(), &slice).await {
                Err(kube::Error::Api(status)) if super::namespace::is_terminating(&status) => {}
                outcome => freshness.wrote(&key, &outcome?),
            },
            Action::Replace(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                freshness.wrote(&key, &api.replace(&name, &PostParams::default(), &slice).await?);
            }
            Action::Delete(name) => gone_is_fine(api.delete(&name, &DeleteParams::default()).await)?,
        }
    }
    Ok(Requeue::No)
}

#[cfg(test)]
mod tests;
