//! The addresses behind a service, in endpoint slices.

mod plan;

use std::sync::Arc;

use controller_runtime::{Event, ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::{DeleteParams, PostParams};

use crate::freshness::Freshness;
use crate::ownership::{is_deleting, labels};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::{BY_NAMESPACE, BY_SERVICE};

use plan::{Action, Observed};

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("endpointslice");
    Scope::feed(&scope.stores.services, &queue);
    feed_pods(&scope, &queue);
    let slices = queue.clone();
    scope.stores.slices.on_event(move |event| {
        let slice = event.object();
        if let Some(service) = labels(slice.as_ref()).get(plan::SERVICE_LABEL) {
            slices.add(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), service));
        }
    });
    scope.stores.services.synced().await;
    scope.stores.pods.synced().await;
    scope.stores.slices.synced().await;
    scope.stores.nodes.synced().await;
    let (reconciling, freshness) = (scope.clone(), Arc::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), freshness.clone(), key)).await;
}

/// A pod concerns the services that select it, now or before the change.
fn feed_pods(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    let (queue, services) = (queue.clone(), scope.stores.services.clone());
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        if event.old().is_some_and(|old| !plan::matters(old, event.object())) {
            return;
        }
        let namespace = event.object().metadata.namespace.as_deref().unwrap_or_default();
        for service in services.by_index(BY_NAMESPACE, namespace) {
            if event.states().any(|pod| plan::selects(&service, pod)) {
                queue.add(ObjectKey::of(service.as_ref()));
            }
        }
    });
}

async fn reconcile(scope: Scope, freshness: Arc<Freshness<ObjectKey>>, key: ObjectKey) -> Result<Requeue, kube::Error> {
    // On a view without the slices that were made last there would soon be two of each.
    if let Some(wait) = freshness.wait(&key, scope.stores.slices.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(service) = scope.stores.services.get(&key).filter(|service| !is_deleting(service.as_ref())) else {
        // The slices of a service that is gone are its dependents: the garbage collector removes them.
        return Ok(Requeue::No);
    };
    if service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_none_or(std::collections::BTreeMap::is_empty) {
        return Ok(Requeue::No);
    }
    let mut pods = scope.stores.pods.by_index(BY_NAMESPACE, &key.namespace);
    pods.retain(|pod| plan::selects(&service, pod));
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut slices = scope.stores.slices.by_index(BY_SERVICE, &key.to_string());
    slices.retain(|slice| labels(slice.as_ref()).get(plan::MANAGED_LABEL).map(String::as_str) == Some(plan::MANAGER));
    let nodes = scope.stores.nodes.clone();
    let zone = |node: &str| {
        nodes
            .get(&ObjectKey::cluster(node))
            .and_then(|node| labels(node.as_ref()).get("topology.kubernetes.io/zone").cloned())
    };
    let api = scope.api::<EndpointSlice>(&key.namespace);
    let actions = plan::plan(&Observed { service: &service, pods: &pods, slices: &slices, zone: &zone });
    for action in actions {
        match action {
            Action::Create(slice) => match api.create(&PostParams::default(), &slice).await {
                Err(kube::Error::Api(status)) if super::namespace::is_terminating(&status) => {}
                outcome => freshness.wrote(&key, &outcome?),
            },
            Action::Replace(slice) => {
                let name = slice.meta().name.as_deref().unwrap_or_default();
                freshness.wrote(&key, &api.replace(name, &PostParams::default(), &slice).await?);
            }
            Action::Delete(name) => gone_is_fine(api.delete(&name, &DeleteParams::default()).await)?,
        }
    }
    Ok(Requeue::No)
}
