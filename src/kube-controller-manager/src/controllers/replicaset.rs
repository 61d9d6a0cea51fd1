//! A replica set has as many pods as it asks for.

mod plan;

use std::sync::Arc;

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource};

use crate::freshness::Freshness;
use crate::ownership::{
    Claim, claim, controller_of, controller_uid, is_deleting, labels, reference, selector, settle, uid,
};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::{BY_NAMESPACE, BY_OWNER, ORPHANS};
use crate::{pods, template};

use plan::{Action, Observed, Plan};

type Fresh = Arc<Freshness<ObjectKey>>;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("replicaset");
    Scope::feed(&scope.stores.replica_sets, &queue);
    feed_pods(&scope, &queue);
    scope.stores.pods.synced().await;
    scope.stores.replica_sets.synced().await;
    let (reconciling, fresh) = (scope.clone(), Fresh::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&fresh), key)).await;
}

/// A pod concerns its controller, or, if it has none, the sets that may adopt it.
fn feed_pods(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    let (queue, sets) = (queue.clone(), scope.stores.replica_sets.clone());
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        for pod in event.states() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(pod.as_ref()) {
                Some(owner) if owner.kind == "ReplicaSet" => queue.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None if matches!(event, Event::Deleted(_)) => {}
                None => {
                    let candidates = sets.by_index(BY_NAMESPACE, namespace);
                    let fitting = candidates.iter().filter(|set| adopts(set, pod));
                    fitting.for_each(|set| queue.add(ObjectKey::of(set.as_ref())));
                }
            }
        }
    });
}

fn adopts(set: &ReplicaSet, pod: &Pod) -> bool {
    use kube::core::SelectorExt;
    set.spec.as_ref().and_then(|spec| selector(&spec.selector)).is_some_and(|selector| selector.matches(labels(pod)))
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
    let acting = Acting { scope: &scope, set: &set, pods: &pods, fresh: (&fresh, &key) };
    let acted = if is_deleting(set.as_ref()) { Ok(()) } else { acting.act(action).await };
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

struct Acting<'a> {
    scope: &'a Scope,
    set: &'a ReplicaSet,
    pods: &'a Api<Pod>,
    fresh: (&'a Fresh, &'a ObjectKey),
}

impl Acting<'_> {
    async fn act(&self, action: Action) -> Result<(), kube::Error> {
        match action {
            Action::Nothing => Ok(()),
            Action::Create(count) => self.create(count).await,
            Action::Delete(pods) => self.delete(pods).await,
        }
    }

    /// Creates in batches that double, so that a set whose pods are refused costs one request and not hundreds.
    async fn create(&self, count: usize) -> Result<(), kube::Error> {
        let Some(template) = self.set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return Ok(()) };
        let generate = format!("{}-", self.set.metadata.name.as_deref().unwrap_or_default());
        let pod = template::pod(template, self.set.metadata.namespace.as_deref(), &generate, reference(self.set));
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let now = batch.min(left);
            let outcomes = join_all((0..now).map(|_| self.create_one(&pod))).await;
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, pod: &Pod) -> Result<(), kube::Error> {
        let about = self.set.object_ref(&());
        match self.pods.create(&PostParams::default(), pod).await {
            Ok(made) => {
                self.fresh.0.wrote(self.fresh.1, &made);
                let name = made.metadata.name.unwrap_or_default();
                self.scope.recorder.event(
                    &about,
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {name}"),
                );
                Ok(())
            }
            Err(kube::Error::Api(status)) if super::namespace::is_terminating(&status) => Ok(()),
            Err(error) => {
                self.scope.recorder.event(
                    &about,
                    EventType::Warning,
                    "FailedCreate",
                    format!("Error creating: {}", told(&error)),
                );
                Err(error)
            }
        }
    }

    async fn delete(&self, pods: Vec<Arc<Pod>>) -> Result<(), kube::Error> {
        let about = self.set.object_ref(&());
        let outcomes = join_all(pods.iter().map(|pod| async {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let outcome = self.pods.delete(name, &params).await;
            if let Ok(answer) = &outcome {
                if let Some(pod) = answer.as_ref().left() {
                    self.fresh.0.wrote(self.fresh.1, pod);
                }
                self.scope.recorder.event(
                    &about,
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
            }
            gone_is_fine(outcome)
        }))
        .await;
        outcomes.into_iter().collect()
    }
}

fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
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
