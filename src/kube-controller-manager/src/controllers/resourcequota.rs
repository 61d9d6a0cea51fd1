//! What quotas allow, and how much of it is used.
//!
//! The API server charges a quota for what is made while it is made; here all is counted anew when a quota changes and
//! when something comes, goes or changes its size. Both measure with [`api::quota`], so they agree. A count never
//! overwrites a charge: it is written only to the quota it was made for, revision and all.

mod count;

use controller_runtime::{Event, ObjectKey, Requeue, Store, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::Resource;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use std::sync::Arc;

use crate::discovery::Discovered;
use crate::kinds::Kinds;
use crate::scope::{Scope, WORKERS};
use crate::stores::{BY_NAMESPACE, Stores};
use count::{Content, Counted};

/// Kinds of which more counts than their number: their own stores tell of them.
const MEASURED: [(&str, &str); 3] = [("", "pods"), ("", "services"), ("", "persistentvolumeclaims")];

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("resourcequota");
    scope.kinds.ready().await;
    // Half a picture would show less than is used.
    tokio::join!(scope.stores.pods.synced(), scope.stores.services.synced(), scope.stores.claims.synced());
    let (quotas, counting) = (scope.stores.quotas.clone(), queue.clone());
    scope.kinds.on_event(move |kind, event| {
        if !matches!(event, Event::Updated { .. }) && !kind.is_one_of(&MEASURED) {
            touch(&quotas, &counting, event.object().metadata.namespace.as_deref());
        }
    });
    feed(&scope.stores.pods, (&scope.stores.quotas, &queue), |old: &Pod, new: &Pod| {
        count::pod_part(old) == count::pod_part(new)
    });
    feed(&scope.stores.services, (&scope.stores.quotas, &queue), |old: &Service, new: &Service| old.spec == new.spec);
    let same =
        |old: &PersistentVolumeClaim, new: &PersistentVolumeClaim| old.spec == new.spec && old.status == new.status;
    feed(&scope.stores.claims, (&scope.stores.quotas, &queue), same);
    Scope::feed(&scope.stores.quotas, &queue);
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

/// Counts anew where an object comes, goes or is not the same any more.
fn feed<K>(
    store: &Store<K>,
    (quotas, queue): (&Store<ResourceQuota>, &WorkQueue<ObjectKey>),
    same: impl Fn(&K, &K) -> bool + Send + 'static,
) where
    K: Resource + Send + Sync + 'static,
{
    let (quotas, queue) = (quotas.clone(), queue.clone());
    store.on_event(move |event| {
        if !event.old().is_some_and(|old| same(old, event.object())) {
            touch(&quotas, &queue, event.object().meta().namespace.as_deref());
        }
    });
}

fn touch(quotas: &Store<ResourceQuota>, queue: &WorkQueue<ObjectKey>, namespace: Option<&str>) {
    for quota in quotas.by_index(BY_NAMESPACE, namespace.unwrap_or_default()) {
        queue.add(ObjectKey::of(quota.as_ref()));
    }
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(quota) = scope.stores.quotas.get(&key) else { return Ok(Requeue::No) };
    let devices = if count::limits_devices(&quota) {
        devices(&scope.reader, &scope.kinds, &key.namespace).await?
    } else {
        Vec::new()
    };
    let content = Present { stores: &scope.stores, kinds: &scope.kinds, namespace: &key.namespace, devices };
    let Counted { used, changes_at } = count::count(&quota, &content, Timestamp::now());
    if let Some(status) = count::next_status(&quota, used) {
        let api = scope.api::<ResourceQuota>(&key.namespace);
        let next = ResourceQuota { status: Some(status), ..ResourceQuota::clone(&quota) };
        match api.replace_status(&key.name, &PostParams::default(), &next).await {
            // It was charged or changed meanwhile, which is an event.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            outcome => drop(outcome?),
        }
    }
    let wait = changes_at.map(|at| at.duration_since(Timestamp::now()));
    Ok(match wait.map(std::time::Duration::try_from) {
        Some(Ok(wait)) => Requeue::After(wait),
        Some(Err(_)) => Requeue::RateLimited,
        None => Requeue::No,
    })
}

/// The device claims of a namespace, which nobody else here has a use for.
async fn devices(reader: &Client, kinds: &Kinds, namespace: &str) -> Result<Vec<DynamicObject>, kube::Error> {
    let Some((kind, _)) = kinds.find(|kind| kind.is_one_of(&[("resource.k8s.io", "resourceclaims")])) else {
        return Ok(Vec::new());
    };
    let api: Api<DynamicObject> = Api::namespaced_with(reader.clone(), namespace, &kind.resource);
    Ok(api.list(&ListParams::default()).await?.items)
}

/// What is in a namespace, as the stores know it.
struct Present<'a> {
    stores: &'a Stores,
    kinds: &'a Kinds,
    namespace: &'a str,
    devices: Vec<DynamicObject>,
}

impl Content for Present<'_> {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.stores.pods.by_index(BY_NAMESPACE, self.namespace)
    }

    fn services(&self) -> Vec<Arc<Service>> {
        self.stores.services.by_index(BY_NAMESPACE, self.namespace)
    }

    fn claims(&self) -> Vec<Arc<PersistentVolumeClaim>> {
        self.stores.claims.by_index(BY_NAMESPACE, self.namespace)
    }

    fn devices(&self) -> &[DynamicObject] {
        &self.devices
    }

    fn number(&self, qualified: &str) -> Option<usize> {
        let (_, store) = self.kinds.find(|kind: &Discovered| kind.namespaced && kind.qualified() == qualified)?;
        Some(store.select(|object| object.metadata.namespace.as_deref() == Some(self.namespace)).len())
    }
}

#[cfg(test)]
mod tests;
