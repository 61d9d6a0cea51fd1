//! A job runs pods until enough of them have succeeded.
//!
//! Every pod carries a finalizer, so that none ends uncounted: its uid is first written to the job's status, then the
//! finalizer goes, then the uid becomes a number. Whatever is cut short in between is taken up by the next pass.

pub(super) mod plan;

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{EventType, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use serde_json::json;

use crate::freshness::Freshness;
use crate::ownership::{claim, is_deleting, selector, settle, uid};
use crate::pod_control::{PodControl, feed_pods};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::{BY_OWNER, ORPHANS};

use plan::{Observed, Plan};

/// What was written last, for each store by itself: a store that has nothing to tell does not move on, so the revision
/// of a job's status must never be waited for among pods, nor the other way round.
struct Written {
    pods: Freshness<ObjectKey>,
    status: Freshness<ObjectKey>,
}

impl Written {
    fn new() -> Self {
        Self { pods: Freshness::new(), status: Freshness::new() }
    }

    /// How long to wait at most for stores at these revisions to show what was written for a job.
    fn wait(&self, key: &ObjectKey, pods: u64, jobs: u64) -> Option<Duration> {
        self.pods.wait(key, pods).max(self.status.wait(key, jobs))
    }
}

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("job");
    Scope::feed(&scope.stores.jobs, &queue);
    feed_pods(&scope, &queue, &scope.stores.jobs, |job| job.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
    scope.stores.pods.synced().await;
    let (reconciling, written) = (scope.clone(), Arc::new(Written::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&written), key)).await;
}

/// Removes jobs that have ended and were to stay for a time only.
pub(super) async fn run_ttl(scope: Scope) {
    let queue = WorkQueue::new("ttl-after-finished");
    Scope::feed(&scope.stores.jobs, &queue);
    let reconciling = scope.clone();
    scope.work(queue, 1, move |key| expire(reconciling.clone(), key)).await;
}

async fn expire(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(job) = scope.stores.jobs.get(&key).filter(|job| !is_deleting(job.as_ref())) else {
        return Ok(Requeue::No);
    };
    match plan::expires(&job, Timestamp::now()) {
        None => Ok(Requeue::No),
        Some(left) if !left.is_zero() => Ok(Requeue::After(left)),
        Some(_) => {
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                preconditions: Some(Preconditions { uid: job.metadata.uid.clone(), ..Preconditions::default() }),
                ..DeleteParams::default()
            };
            gone_is_fine(scope.api::<Job>(&key.namespace).delete(&key.name, &params).await)?;
            Ok(Requeue::No)
        }
    }
}

async fn reconcile(scope: Scope, written: Arc<Written>, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = written.wait(&key, scope.stores.pods.revision(), scope.stores.jobs.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(job) = scope.stores.jobs.get(&key) else { return Ok(Requeue::No) };
    let spec = job.spec.as_ref();
    if spec.and_then(|spec| spec.managed_by.as_deref()).is_some_and(|by| by != "kubernetes.io/job-controller") {
        return Ok(Requeue::No);
    }
    let selector = spec.and_then(|spec| spec.selector.as_ref()).and_then(selector);
    let Some(selector) = selector else { return Ok(Requeue::No) };
    let owned = scope.stores.pods.by_index(BY_OWNER, uid(job.as_ref()));
    if is_deleting(job.as_ref()) {
        // Nobody will count any more: its pods must be able to go.
        return release(&scope, owned.iter()).await.map(|()| Requeue::No);
    }
    let orphans = scope.stores.pods.by_index(ORPHANS, &key.namespace);
    let claim = claim(job.as_ref(), &selector, owned, orphans);
    let pods = settle(job.as_ref(), &scope.api(&key.namespace), &scope.api(&key.namespace), claim).await?;
    let Plan { create, delete, counted, status, recheck, ended } =
        plan::plan(&Observed { job: &job, pods: &pods, now: Timestamp::now() });
    let control = PodControl { scope: &scope, owner: job.as_ref(), fresh: &written.pods, key: &key };
    if job.status.as_ref() != Some(&status) {
        let mut changed = Job::clone(&job);
        changed.status = Some(status);
        let taken =
            scope.api::<Job>(&key.namespace).replace_status(&key.name, &PostParams::default(), &changed).await?;
        written.status.wrote(&key, &taken);
    }
    // What is counted is written down by now.
    release(&scope, counted.iter()).await?;
    let removed = join_all(delete.iter().map(|pod| control.delete(pod))).await;
    let made = join_all(create.iter().map(|pod| control.create(pod))).await;
    removed.into_iter().chain(made).collect::<Result<Vec<()>, _>>()?;
    if let Some((kind, reason, message)) = ended {
        let kind = if kind == "Complete" { EventType::Normal } else { EventType::Warning };
        scope.recorder.event(&job.object_ref(&()), kind, reason, message);
    }
    Ok(recheck.map_or(Requeue::No, Requeue::After))
}

/// Takes the finalizer from pods.
async fn release<'a>(scope: &Scope, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Result<(), kube::Error> {
    let held = pods.filter(|pod| plan::is_tracked(pod));
    let released = join_all(held.map(|pod| async move {
        let (namespace, name) =
            (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
        let left: Vec<&String> =
            pod.metadata.finalizers.iter().flatten().filter(|name| *name != plan::FINALIZER).collect();
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version, "finalizers": left}});
        let patched =
            scope.api::<Pod>(namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            outcome => outcome.map(drop),
        }
    }))
    .await;
    released.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_stay_as_they_are_hold_up_no_job() {
        let (written, key) = (Written::new(), ObjectKey { namespace: "a".into(), name: "b".into() });
        let at = |revision: &str| kube::api::ObjectMeta {
            resource_version: Some(revision.into()),
            ..kube::api::ObjectMeta::default()
        };
        written.pods.wrote(&key, &Pod { metadata: at("5"), ..Pod::default() });
        written.status.wrote(&key, &Job { metadata: at("9"), ..Job::default() });
        assert!(written.wait(&key, 5, 8).is_some(), "the status is not seen yet");
        written.pods.wrote(&key, &Pod { metadata: at("5"), ..Pod::default() });
        assert!(written.wait(&key, 4, 9).is_some(), "the pod is not seen yet");
        assert_eq!(written.wait(&key, 5, 9), None);
    }
}
