//! How many pods of a disruption budget may be evicted now: what the eviction API counts down between two looks.

mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::api::PostParams;

use crate::ownership::{controller_of, is_deleting, uid};
use crate::scope::{Scope, WORKERS};
use crate::stores::BY_NAMESPACE;

use plan::{Observed, Plan};

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("disruption");
    Scope::feed(&scope.stores.budgets, &queue);
    feed_pods(&scope, &queue);
    scope.stores.budgets.synced().await;
    scope.stores.pods.synced().await;
    scope.stores.replica_sets.synced().await;
    scope.stores.deployments.synced().await;
    scope.stores.stateful_sets.synced().await;
    feed_scales(&scope, &queue);
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

/// A pod concerns the budgets that select it, now or before the change.
fn feed_pods(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    let (queue, budgets) = (queue.clone(), scope.stores.budgets.clone());
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        let namespace = event.object().metadata.namespace.as_deref().unwrap_or_default();
        for budget in budgets.by_index(BY_NAMESPACE, namespace) {
            if event.states().any(|pod| plan::selects(&budget, pod)) {
                queue.add(ObjectKey::of(budget.as_ref()));
            }
        }
    });
}

/// A scaled workload concerns the budgets of its namespace; that is rare enough not to look closer.
fn feed_scales(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    fn feed<K>(
        scope: &Scope,
        queue: &WorkQueue<ObjectKey>,
        store: &controller_runtime::Store<K>,
        replicas: fn(&K) -> i32,
    ) where
        K: Resource + Send + Sync + 'static,
    {
        let (queue, budgets) = (queue.clone(), scope.stores.budgets.clone());
        store.on_event(move |event| {
            if event.old().is_none_or(|old| replicas(old) == replicas(event.object())) {
                return;
            }
            let namespace = event.object().meta().namespace.as_deref().unwrap_or_default();
            for budget in budgets.by_index(BY_NAMESPACE, namespace) {
                queue.add(ObjectKey::of(budget.as_ref()));
            }
        });
    }
    let stores = &scope.stores;
    feed(scope, queue, &stores.replica_sets, |set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
    feed(scope, queue, &stores.deployments, |set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
    feed(scope, queue, &stores.stateful_sets, |set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(budget) = scope.stores.budgets.get(&key).filter(|budget| !is_deleting(budget.as_ref())) else {
        return Ok(Requeue::No);
    };
    let mut pods = scope.stores.pods.by_index(BY_NAMESPACE, &key.namespace);
    pods.retain(|pod| plan::selects(&budget, pod));
    let scale = scale(&scope, &key.namespace, &pods).await?;
    let Plan { status, recheck, undeleted } =
        plan::plan(&Observed { budget: &budget, pods: &pods, scale, now: Timestamp::now() });
    for pod in undeleted {
        let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
        scope.recorder.event(&pod.object_ref(&()), EventType::Warning, "NotDeleted", message);
    }
    if budget.status.as_ref() != Some(&status) {
        let mut changed = PodDisruptionBudget::clone(&budget);
        changed.status = Some(status);
        // With the revision that was seen: an eviction in between has counted down, and must not be overwritten.
        let written = scope
            .api::<PodDisruptionBudget>(&key.namespace)
            .replace_status(&key.name, &PostParams::default(), &changed)
            .await;
        match written {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // The next event brings the newer budget.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Requeue::RateLimited),
            outcome => drop(outcome?),
        }
    }
    Ok(recheck.map_or(Requeue::No, Requeue::After))
}

/// How many pods the controllers of some pods want together; the error names one that cannot be asked.
async fn scale(scope: &Scope, namespace: &str, pods: &[Arc<Pod>]) -> Result<Result<i32, String>, kube::Error> {
    let mut asked = HashSet::new();
    // By the one who decides: the sets of a deployment count once.
    let mut wanted: HashMap<String, i32> = HashMap::new();
    for owner in pods.iter().filter_map(|pod| controller_of(pod.as_ref())) {
        if !asked.insert(owner.uid.as_str()) {
            continue;
        }
        let key = ObjectKey::new(namespace, &owner.name);
        // A controller that is gone wants nothing; its pods follow it.
        let found = match owner.kind.as_str() {
            "ReplicaSet" => scale_of_set(scope, &key),
            "StatefulSet" => scope
                .stores
                .stateful_sets
                .get(&key)
                .map(|set| replicas(&owner.uid, set.spec.as_ref(), |spec| spec.replicas)),
            "ReplicationController" => scope
                .api::<ReplicationController>(namespace)
                .get_opt(&owner.name)
                .await?
                .map(|controller| replicas(&owner.uid, controller.spec.as_ref(), |spec| spec.replicas)),
            kind => return Ok(Err(format!("{kind} {} of a selected pod has no scale", owner.name))),
        };
        wanted.extend(found);
    }
    Ok(Ok(wanted.values().sum()))
}

fn replicas<S>(uid: &str, spec: Option<&S>, wanted: fn(&S) -> Option<i32>) -> (String, i32) {
    (uid.to_owned(), spec.and_then(wanted).unwrap_or(1))
}

/// The scale of a replica set, or of the deployment it belongs to.
fn scale_of_set(scope: &Scope, key: &ObjectKey) -> Option<(String, i32)> {
    let set = scope.stores.replica_sets.get(key)?;
    match controller_of(set.as_ref()).filter(|owner| owner.kind == "Deployment") {
        Some(owner) => {
            let deployment = scope.stores.deployments.get(&ObjectKey::new(&key.namespace, &owner.name))?;
            Some(replicas(&owner.uid, deployment.spec.as_ref(), |spec| spec.replicas))
        }
        None => Some(replicas(uid(set.as_ref()), set.spec.as_ref(), |spec| spec.replicas)),
    }
}
