//! Claims and volumes that are in use stay: their finalizer is taken away once they are deleted and nothing uses them.
//!
//! A claim is in use while there is a pod on a node that names it, ended or not; a volume while it is bound.

use std::fmt::Debug;
use std::sync::Arc;

use controller_runtime::{ObjectKey, Requeue, Store, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ownership::{controller_uid, is_deleting};
use crate::pods;
use crate::scope::{Scope, WORKERS};
use crate::stores::BY_NAMESPACE;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Looks after claims.
pub(super) async fn run_claims(scope: Scope) {
    let queue = WorkQueue::new("pvc-protection");
    Scope::feed(&scope.stores.claims, &queue);
    let (gone, claims) = (queue.clone(), scope.stores.claims.clone());
    scope.stores.pods.on_event(move |event| {
        // A pod that comes needs no claim to go; one that goes may have been the last.
        if let controller_runtime::Event::Deleted(pod) = event {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            for claim in claims.by_index(BY_NAMESPACE, namespace).iter().filter(|claim| is_deleting(claim.as_ref())) {
                gone.add(ObjectKey::of(claim.as_ref()));
            }
        }
    });
    tokio::join!(scope.stores.claims.synced(), scope.stores.pods.synced());
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile_claim(reconciling.clone(), key)).await;
}

/// Looks after volumes.
pub(super) async fn run_volumes(scope: Scope) {
    let queue = WorkQueue::new("pv-protection");
    Scope::feed(&scope.stores.volumes, &queue);
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile_volume(reconciling.clone(), key)).await;
}

async fn reconcile_claim(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let api = scope.api::<PersistentVolumeClaim>(&key.namespace);
    let Some(claim) = todo(&scope.stores.claims, &key, CLAIM_FINALIZER) else { return Ok(Requeue::No) };
    if is_deleting(claim.as_ref()) {
        let seen = scope.stores.pods.by_index(BY_NAMESPACE, &key.namespace);
        if seen.iter().any(|pod| uses(pod, &claim)) {
            return Ok(Requeue::No);
        }
        // What is not seen yet may use it already: data is at stake, so the server is asked.
        let pods: Api<Pod> = scope.api(&key.namespace);
        if pods.list(&ListParams::default()).await?.items.iter().any(|pod| uses(pod, &claim)) {
            return Ok(Requeue::RateLimited);
        }
    }
    write(&api, &claim, CLAIM_FINALIZER).await
}

async fn reconcile_volume(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(volume) = todo(&scope.stores.volumes, &key, VOLUME_FINALIZER) else { return Ok(Requeue::No) };
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if is_deleting(volume.as_ref()) && phase == Some("Bound") {
        return Ok(Requeue::No);
    }
    let api: Api<PersistentVolume> = Api::all(scope.client.clone());
    write(&api, &volume, VOLUME_FINALIZER).await
}

/// An object whose finalizer is not as it shall be: one that lives lacks it, or one that is being deleted has it.
fn todo<K: Resource + Send + Sync + 'static>(store: &Store<K>, key: &ObjectKey, finalizer: &str) -> Option<Arc<K>> {
    let has = |object: &K| object.meta().finalizers.iter().flatten().any(|name| name == finalizer);
    store.get(key).filter(|object| is_deleting(object.as_ref()) == has(object))
}

/// Whether a pod on a node uses a claim, by name or because the claim was made for it.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if pods::node(pod).is_empty() {
        return false;
    }
    let (pod_name, name) = (pod.metadata.name.as_deref().unwrap_or_default(), claim.metadata.name.as_deref());
    let own = pod.metadata.uid.is_some() && controller_uid(claim) == pod.metadata.uid.as_deref();
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.as_str());
        let made = volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name));
        (named.is_some() && named == name) || (own && made.is_some() && made.as_deref() == name)
    })
}

/// Turns the finalizer round: away from what is being deleted, onto what lives.
async fn write<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Requeue, kube::Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let mut next = object.clone();
    let finalizers = next.meta_mut().finalizers.get_or_insert_default();
    if is_deleting(object) {
        finalizers.retain(|name| name != finalizer);
    } else {
        finalizers.push(finalizer.to_owned());
    }
    let name = object.meta().name.clone().unwrap_or_default();
    match api.replace(&name, &PostParams::default(), &next).await {
        // It changed or went meanwhile, which is an event.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Requeue::No),
        outcome => outcome.map(|_| Requeue::No),
    }
}

#[cfg(test)]
mod tests;
