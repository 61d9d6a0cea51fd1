//! A stateful set has pods with names and volumes of their own, made and replaced in order.

mod plan;

use std::sync::Arc;

use controller_runtime::{EventType, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::api::PostParams;

use crate::freshness::Freshness;
use crate::ownership::{claim, is_deleting, labels, selector, settle, uid};
use crate::pod_control::{PodControl, feed_pods};
use crate::revisions::{self, HASH, Kept};
use crate::scope::{Scope, WORKERS};
use crate::stores::{BY_OWNER, ORPHANS};

use plan::{Observed, Plan};

type Fresh = Arc<Freshness<ObjectKey>>;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("statefulset");
    Scope::feed(&scope.stores.stateful_sets, &queue);
    feed_pods(&scope, &queue, &scope.stores.stateful_sets, |set| set.spec.as_ref().map(|spec| &spec.selector));
    scope.stores.pods.synced().await;
    scope.stores.revisions.synced().await;
    let (reconciling, fresh) = (scope.clone(), Fresh::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&fresh), key)).await;
}

async fn reconcile(scope: Scope, fresh: Fresh, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = fresh.wait(&key, scope.stores.pods.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(set) = scope.stores.stateful_sets.get(&key).filter(|set| !is_deleting(set.as_ref())) else {
        return Ok(Requeue::No);
    };
    let Some(spec) = set.spec.as_ref() else { return Ok(Requeue::No) };
    let Some(selector) = selector(&spec.selector) else { return Ok(Requeue::No) };
    let owned = scope.stores.pods.by_index(BY_OWNER, uid(set.as_ref()));
    let mut orphans = scope.stores.pods.by_index(ORPHANS, &key.namespace);
    orphans.retain(|pod| plan::ordinal(&set, pod).is_some());
    let claim = claim(set.as_ref(), &selector, owned, orphans);
    let pods = settle(set.as_ref(), &scope.api(&key.namespace), &scope.api(&key.namespace), claim).await?;
    let (current, updated) = revisions(&scope, &set, &pods).await?;
    let observed = Observed { set: &set, pods: &pods, current: &current, updated: &updated, now: Timestamp::now() };
    let Plan { create, delete, status, recheck } = plan::plan(&observed);
    let control = PodControl { scope: &scope, owner: set.as_ref(), fresh: &fresh, key: &key };
    let removed = join_all(delete.iter().map(|pod| control.delete(pod))).await;
    let made = join_all(create.into_iter().map(|(ordinal, hash)| make(&control, ordinal, hash))).await;
    if set.status.as_ref() != Some(&status) {
        let mut changed = StatefulSet::clone(&set);
        changed.status = Some(status);
        scope.api::<StatefulSet>(&key.namespace).replace_status(&key.name, &PostParams::default(), &changed).await?;
    }
    removed.into_iter().chain(made).collect::<Result<Vec<()>, _>>()?;
    Ok(recheck.map_or(Requeue::No, Requeue::After))
}

/// The hashes of the templates that count: the one all pods had last, and the one they are to have.
async fn revisions(scope: &Scope, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(String, String), kube::Error> {
    let Some(spec) = set.spec.as_ref() else { return Ok((String::new(), String::new())) };
    let mut in_use: Vec<String> = pods.iter().filter_map(|pod| labels(pod.as_ref()).get(HASH).cloned()).collect();
    let prefix = revisions::name_of(set, "");
    let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let current = current.and_then(|name| name.strip_prefix(&prefix)).map(str::to_owned);
    in_use.extend(current.clone());
    let kept = Kept {
        template: &spec.template,
        collisions: set.status.as_ref().and_then(|status| status.collision_count),
        limit: spec.revision_history_limit,
        in_use: &in_use,
    };
    let updated = revisions::keep(scope, set, &kept).await?;
    Ok((current.unwrap_or_else(|| updated.clone()), updated))
}

/// Makes the volumes of a pod and the pod.
async fn make(control: &PodControl<'_, StatefulSet>, ordinal: i32, hash: String) -> Result<(), kube::Error> {
    let (scope, set) = (control.scope, control.owner);
    let Some(spec) = set.spec.as_ref() else { return Ok(()) };
    let claims = scope.api::<PersistentVolumeClaim>(&control.key.namespace);
    for wanted in plan::claims(set, ordinal) {
        match claims.create(&PostParams::default(), &wanted).await {
            // It outlived an earlier pod of this name: that is what it is for.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if super::is_terminating(&status) => return Ok(()),
            Err(error) => {
                let name = wanted.metadata.name.unwrap_or_default();
                control.tell(EventType::Warning, "FailedCreate", format!("create Claim {name} failed: {error}"));
                return Err(error);
            }
            Ok(_) => {}
        }
    }
    let template: PodTemplateSpec = revisions::template_of(scope, set, &hash).unwrap_or_else(|| spec.template.clone());
    match control.create(&plan::pod(set, &template, ordinal, &hash)).await {
        // The pod of this name is still going, or not seen yet.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        outcome => outcome,
    }
}
