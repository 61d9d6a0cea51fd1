//! A daemon set has one pod on every node it is meant for.

mod plan;

use std::sync::Arc;

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::json;

use crate::freshness::Freshness;
use crate::ownership::{claim, controller_of, is_deleting, labels, reference, selector, settle, uid};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::{BY_NAMESPACE, BY_OWNER, ORPHANS};
use crate::template;

use plan::{HASH, Observed};

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
    let (by_pod, sets) = (queue.clone(), scope.stores.daemon_sets.clone());
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        for pod in event.states() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(pod.as_ref()) {
                Some(owner) if owner.kind == "DaemonSet" => by_pod.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None => {
                    let candidates = sets.by_index(BY_NAMESPACE, namespace);
                    candidates
                        .iter()
                        .filter(|set| adopts(set, pod))
                        .for_each(|set| by_pod.add(ObjectKey::of(set.as_ref())));
                }
            }
        }
    });
    let (by_node, sets) = (queue.clone(), scope.stores.daemon_sets.clone());
    scope.stores.nodes.on_event(move |event: &Event<Node>| {
        if event.old().is_none_or(|old| plan::node_matters(old, event.object())) || matches!(event, Event::Deleted(_)) {
            sets.list().iter().for_each(|set| by_node.add(ObjectKey::of(set.as_ref())));
        }
    });
}

fn adopts(set: &DaemonSet, pod: &Pod) -> bool {
    use kube::core::SelectorExt;
    set.spec.as_ref().and_then(|spec| selector(&spec.selector)).is_some_and(|selector| selector.matches(labels(pod)))
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
    let hash = keep_history(&scope, &set).await?;
    let nodes = scope.stores.nodes.list();
    let plan = plan::plan(&Observed { set: &set, nodes: &nodes, pods: &pods, hash: &hash, now: Timestamp::now() });
    let acting = Acting { scope: &scope, set: &set, fresh: (&fresh, &key) };
    let removed = join_all(plan.delete.iter().map(|pod| acting.delete(pod))).await;
    let made = join_all(plan.create_on.iter().map(|node| acting.create(node, &hash))).await;
    if set.status.as_ref() != Some(&plan.status) {
        let mut changed = DaemonSet::clone(&set);
        changed.status = Some(plan.status);
        scope.api::<DaemonSet>(&key.namespace).replace_status(&key.name, &PostParams::default(), &changed).await?;
    }
    removed.into_iter().chain(made).collect::<Result<Vec<()>, _>>()?;
    Ok(plan.recheck.map_or(Requeue::No, Requeue::After))
}

struct Acting<'a> {
    scope: &'a Scope,
    set: &'a DaemonSet,
    fresh: (&'a Fresh, &'a ObjectKey),
}

impl Acting<'_> {
    async fn create(&self, node: &str, hash: &str) -> Result<(), kube::Error> {
        let Some(spec) = self.set.spec.as_ref() else { return Ok(()) };
        let generate = format!("{}-", self.set.metadata.name.as_deref().unwrap_or_default());
        let mut pod =
            template::pod(&spec.template, self.set.metadata.namespace.as_deref(), &generate, reference(self.set));
        plan::fit(&mut pod, self.set, node, hash);
        let about = self.set.object_ref(&());
        match self.scope.api::<Pod>(&self.fresh.1.namespace).create(&PostParams::default(), &pod).await {
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
                    format!("Error creating: {error}"),
                );
                Err(error)
            }
        }
    }

    async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let outcome = self.scope.api::<Pod>(&self.fresh.1.namespace).delete(name, &params).await;
        if let Ok(answer) = &outcome {
            if let Some(pod) = answer.as_ref().left() {
                self.fresh.0.wrote(self.fresh.1, pod);
            }
            self.scope.recorder.event(
                &self.set.object_ref(&()),
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {name}"),
            );
        }
        gone_is_fine(outcome)
    }
}

/// Keeps the current template as a revision; returns its hash. Revisions beyond the limit go, oldest first.
async fn keep_history(scope: &Scope, set: &DaemonSet) -> Result<String, kube::Error> {
    let Some(spec) = set.spec.as_ref() else { return Ok(String::new()) };
    let data = json!({"spec": {"template": template_patch(&spec.template)}});
    let hash = template::hash(&data, set.status.as_ref().and_then(|status| status.collision_count));
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let api = scope.api::<ControllerRevision>(namespace);
    let mut history = scope.stores.revisions.by_index(BY_OWNER, uid(set));
    history.sort_by_key(|revision| revision.revision);
    let latest = history.last().map_or(0, |revision| revision.revision);
    let name = format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default());
    match history.iter().find(|revision| revision.metadata.name.as_deref() == Some(name.as_str())) {
        Some(current) if current.revision == latest => {}
        Some(current) => {
            let raised = ControllerRevision { revision: latest + 1, ..ControllerRevision::clone(current) };
            api.replace(&name, &PostParams::default(), &raised).await?;
        }
        None => {
            let mut labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
            labels.insert(HASH.to_owned(), hash.clone());
            let metadata = ObjectMeta {
                name: Some(name),
                labels: Some(labels),
                owner_references: Some(vec![reference(set)]),
                ..ObjectMeta::default()
            };
            let revision = ControllerRevision { metadata, data: Some(RawExtension(data)), revision: latest + 1 };
            match api.create(&PostParams::default(), &revision).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                outcome => drop(outcome?),
            }
        }
    }
    let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(10) + 1;
    for old in history.iter().take(history.len().saturating_sub(limit)) {
        gone_is_fine(api.delete(old.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await)?;
    }
    Ok(hash)
}

/// The template as `kubectl rollout undo` applies it: a patch that replaces the whole.
fn template_patch(template: &k8s_openapi::api::core::v1::PodTemplateSpec) -> serde_json::Value {
    let mut patch = json!(template);
    patch["$patch"] = json!("replace");
    patch
}
