//! A daemon set has one pod on every node it is meant for.

mod plan;

use std::sync::Arc;

use controller_runtime::{Event, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use kube::api::PostParams;

use crate::freshness::Freshness;
use crate::ownership::{claim, is_deleting, reference, selector, settle, uid};
use crate::pod_control::{PodControl, feed_pods};
use crate::revisions::{self, Kept};
use crate::scope::{Scope, WORKERS};
use crate::stores::{BY_OWNER, ORPHANS};
use crate::template;

use plan::Observed;

type Fresh = Arc<Freshness<ObjectKey>>;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("daemonset");
    Scope::feed(&scope.stores.daemon_sets, &queue);
    feed_pods_and_nodes(&scope, &queue);
    scope.stores.pods.synced().await;
    scope.stores.nodes.synced().await;
    scope.stores.revisions.synced().await;
    let (reconciling, fresh) = (scope.clone(), Fresh::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&fresh), key)).await;
}

fn feed_pods_and_nodes(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    feed_pods(scope, queue, &scope.stores.daemon_sets, |set| set.spec.as_ref().map(|spec| &spec.selector));
    let (by_node, sets) = (queue.clone(), scope.stores.daemon_sets.clone());
    scope.stores.nodes.on_event(move |event: &Event<Node>| {
        if event.old().is_none_or(|old| plan::node_matters(old, event.object())) || matches!(event, Event::Deleted(_)) {
            sets.list().iter().for_each(|set| by_node.add(ObjectKey::of(set.as_ref())));
        }
    });
}

async fn reconcile(scope: Scope, fresh: Fresh, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = fresh.wait(&key, scope.stores.pods.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(set) = scope.stores.daemon_sets.get(&key).filter(|set| !is_deleting(set.as_ref())) else {
        return Ok(Requeue::No);
    };
    let Some(selector) = set.spec.as_ref().and_then(|spec| selector(&spec.selector)) else { return Ok(Requeue::No) };
    let owned = scope.stores.pods.by_index(BY_OWNER, uid(set.as_ref()));
    let orphans = scope.stores.pods.by_index(ORPHANS, &key.namespace);
    let pods = settle(
        set.as_ref(),
        &scope.api(&key.namespace),
        &scope.api(&key.namespace),
        claim(set.as_ref(), &selector, owned, orphans),
    )
    .await?;
    let Some(spec) = set.spec.as_ref() else { return Ok(Requeue::No) };
    let kept = Kept {
        template: &spec.template,
        collisions: set.status.as_ref().and_then(|status| status.collision_count),
        limit: spec.revision_history_limit,
        in_use: &[],
    };
    let hash = revisions::keep(&scope, set.as_ref(), &kept).await?;
    let nodes = scope.stores.nodes.list();
    let plan = plan::plan(&Observed { set: &set, nodes: &nodes, pods: &pods, hash: &hash, now: Timestamp::now() });
    let control = PodControl { scope: &scope, owner: set.as_ref(), fresh: &fresh, key: &key };
    let removed = join_all(plan.delete.iter().map(|pod| control.delete(pod))).await;
    let wanted: Vec<Pod> = plan.create_on.iter().map(|node| pod_for(&set, &spec.template, node, &hash)).collect();
    let made = join_all(wanted.iter().map(|pod| control.create(pod))).await;
    if set.status.as_ref() != Some(&plan.status) {
        let mut changed = DaemonSet::clone(&set);
        changed.status = Some(plan.status);
        scope.api::<DaemonSet>(&key.namespace).replace_status(&key.name, &PostParams::default(), &changed).await?;
    }
    removed.into_iter().chain(made).collect::<Result<Vec<()>, _>>()?;
    Ok(plan.recheck.map_or(Requeue::No, Requeue::After))
}

fn pod_for(set: &DaemonSet, template: &PodTemplateSpec, node: &str, hash: &str) -> Pod {
    let generate = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
    let mut pod = template::pod(template, set.metadata.namespace.as_deref(), &generate, reference(set));
    plan::fit(&mut pod, set, node, hash);
    pod
}
