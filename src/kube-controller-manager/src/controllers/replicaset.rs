//! A replica set has as many pods as it asks for.

mod plan;

use std::sync::Arc;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;

use crate::freshness::Freshness;
use crate::ownership::{Claim, claim, controller_uid, is_deleting, reference, selector, settle, uid};
use crate::pod_control::{PodControl, feed_pods};
use crate::scope::{Scope, WORKERS};
use crate::stores::{BY_OWNER, ORPHANS};
use crate::{pods, template};

use plan::{Action, Observed, Plan};

type Fresh = Arc<Freshness<ObjectKey>>;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("replicaset");
    Scope::feed(&scope.stores.replica_sets, &queue);
    feed_pods(&scope, &queue, &scope.stores.replica_sets, |set| set.spec.as_ref().map(|spec| &spec.selector));
    scope.stores.pods.synced().await;
    scope.stores.replica_sets.synced().await;
    let (reconciling, fresh) = (scope.clone(), Fresh::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&fresh), key)).await;
}

async fn reconcile(scope: Scope, fresh: Fresh, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = fresh.wait(&key, scope.stores.pods.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(set) = scope.stores.replica_sets.get(&key) else { return Ok(Requeue::No) };
    let Some(selector) = set.spec.as_ref().and_then(|spec| selector(&spec.selector)) else { return Ok(Requeue::No) };
    let pods = scope.api::<Pod>(&key.namespace);
    let owned = scope.stores.pods.by_index(BY_OWNER, uid(set.as_ref()));
    let orphans = scope.stores.pods.by_index(ORPHANS, &key.namespace);
    let claim: Claim<Pod> = claim(set.as_ref(), &selector, owned, orphans);
    let mine = settle(set.as_ref(), &scope.api(&key.namespace), &pods, claim).await?;
    let active: Vec<Arc<Pod>> = mine.into_iter().filter(|pod| pods::is_active(pod)).collect();
    let neighbours = neighbours(&scope, &set);
    let Plan { action, mut status, recheck } =
        plan::plan(&Observed { set: &set, active: &active, neighbours: &neighbours, now: Timestamp::now() });
    let control = PodControl { scope: &scope, owner: set.as_ref(), fresh: &fresh, key: &key };
    let acted = if is_deleting(set.as_ref()) { Ok(()) } else { act(&control, action).await };
    plan::set_failure(&mut status, acted.as_ref().err().map(ToString::to_string), Timestamp::now());
    write_status(&scope.api(&key.namespace), &set, status).await?;
    acted?;
    Ok(recheck.map_or(Requeue::No, Requeue::After))
}

/// Pods of all sets of the same owner: where two of them share a node, one may go first.
fn neighbours(scope: &Scope, set: &ReplicaSet) -> Vec<Arc<Pod>> {
    let sets = controller_uid(set).map_or_else(Vec::new, |owner| scope.stores.replica_sets.by_index(BY_OWNER, owner));
    sets.iter()
        .flat_map(|set| scope.stores.pods.by_index(BY_OWNER, uid(set.as_ref())))
        .filter(|pod| pods::is_active(pod))
        .collect()
}

async fn act(control: &PodControl<'_, ReplicaSet>, action: Action) -> Result<(), kube::Error> {
    match action {
        Action::Nothing => Ok(()),
        Action::Create(count) => create(control, count).await,
        Action::Delete(pods) => join_all(pods.iter().map(|pod| control.delete(pod))).await.into_iter().collect(),
    }
}

/// Creates in batches that double, so that a set whose pods are refused costs one request and not hundreds.
async fn create(control: &PodControl<'_, ReplicaSet>, count: usize) -> Result<(), kube::Error> {
    let set = control.owner;
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return Ok(()) };
    let generate = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
    let pod = template::pod(template, set.metadata.namespace.as_deref(), &generate, reference(set));
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let now = batch.min(left);
        let outcomes = join_all((0..now).map(|_| control.create(&pod))).await;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
        left -= now;
        batch *= 2;
    }
    Ok(())
}

async fn write_status(
    sets: &Api<ReplicaSet>,
    set: &ReplicaSet,
    status: k8s_openapi::api::apps::v1::ReplicaSetStatus,
) -> Result<(), kube::Error> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut changed = set.clone();
    changed.status = Some(status);
    missing_is_fine(
        sets.replace_status(set.metadata.name.as_deref().unwrap_or_default(), &PostParams::default(), &changed).await,
    )
}

fn missing_is_fine<T>(outcome: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}
