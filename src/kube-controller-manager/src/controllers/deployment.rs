//! A deployment moves its pods from one template to the next without losing service.

mod history;
mod plan;
mod scale;
mod status;

use std::sync::Arc;

use controller_runtime::{EventType, ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::freshness::Freshness;
use crate::ownership::{claim, controller_of, labels, selector, settle, uid};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::{BY_NAMESPACE, BY_OWNER, ORPHANS};
use crate::template;

use history::same_template;
use plan::{Action, Observed};

type Fresh = Arc<Freshness<ObjectKey>>;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("deployment");
    Scope::feed(&scope.stores.deployments, &queue);
    feed_sets(&scope, &queue);
    scope.stores.deployments.synced().await;
    scope.stores.replica_sets.synced().await;
    scope.stores.pods.synced().await;
    let (reconciling, fresh) = (scope.clone(), Fresh::new(Freshness::new()));
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&fresh), key)).await;
}

fn feed_sets(scope: &Scope, queue: &WorkQueue<ObjectKey>) {
    let (sets_queue, deployments) = (queue.clone(), scope.stores.deployments.clone());
    scope.stores.replica_sets.on_event(move |event| {
        for set in event.states() {
            let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(set.as_ref()) {
                Some(owner) if owner.kind == "Deployment" => sets_queue.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None => {
                    let candidates = deployments.by_index(BY_NAMESPACE, namespace);
                    candidates
                        .iter()
                        .filter(|deployment| adopts(deployment, set))
                        .for_each(|found| sets_queue.add(ObjectKey::of(found.as_ref())));
                }
            }
        }
    });
    // A deployment that recreates waits for the last old pod to end.
    let (pods_queue, sets) = (queue.clone(), scope.stores.replica_sets.clone());
    scope.stores.pods.on_event(move |event| {
        if let controller_runtime::Event::Deleted(pod) = event
            && let Some(owner) = controller_of(pod.as_ref()).filter(|owner| owner.kind == "ReplicaSet")
        {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let deployment = sets
                .get(&ObjectKey::new(namespace, &owner.name))
                .and_then(|set| controller_of(set.as_ref()).map(|owner| owner.name.clone()));
            if let Some(name) = deployment {
                pods_queue.add(ObjectKey::new(namespace, name));
            }
        }
    });
}

fn adopts(deployment: &Deployment, set: &ReplicaSet) -> bool {
    use kube::core::SelectorExt;
    deployment
        .spec
        .as_ref()
        .and_then(|spec| selector(&spec.selector))
        .is_some_and(|selector| selector.matches(labels(set)))
}

async fn reconcile(scope: Scope, fresh: Fresh, key: ObjectKey) -> Result<Requeue, kube::Error> {
    if let Some(wait) = fresh.wait(&key, scope.stores.replica_sets.revision()) {
        return Ok(Requeue::After(wait));
    }
    let Some(deployment) = scope.stores.deployments.get(&key) else { return Ok(Requeue::No) };
    let Some(selector) = deployment.spec.as_ref().and_then(|spec| selector(&spec.selector)) else {
        return Ok(Requeue::No);
    };
    let owned = scope.stores.replica_sets.by_index(BY_OWNER, uid(deployment.as_ref()));
    let orphans = scope.stores.replica_sets.by_index(ORPHANS, &key.namespace);
    let claim = claim(deployment.as_ref(), &selector, owned, orphans);
    let mut sets = settle(deployment.as_ref(), &scope.api(&key.namespace), &scope.api(&key.namespace), claim).await?;
    sets.sort_by(|a, b| {
        a.metadata
            .creation_timestamp
            .cmp(&b.metadata.creation_timestamp)
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    let pods_left = |set: &ReplicaSet| {
        scope.stores.pods.by_index(BY_OWNER, uid(set)).iter().any(|pod| !crate::pods::has_ended(pod))
    };
    let occupied: Vec<bool> = sets.iter().map(|set| pods_left(set)).collect();
    let observed = Observed { deployment: &deployment, sets: &sets, occupied: &occupied, now: Timestamp::now() };
    let plan = plan::plan(&observed);
    let acting = Acting { scope: &scope, deployment: &deployment, fresh: (&fresh, &key) };
    let mut current = Deployment::clone(&deployment);
    for action in plan.actions {
        acting.act(action, &mut current).await?;
    }
    Ok(plan.recheck.map_or(Requeue::No, Requeue::After))
}

struct Acting<'a> {
    scope: &'a Scope,
    deployment: &'a Deployment,
    fresh: (&'a Fresh, &'a ObjectKey),
}

impl Acting<'_> {
    /// `current` is the deployment as the last act left it.
    async fn act(&self, action: Action, current: &mut Deployment) -> Result<(), kube::Error> {
        let (namespace, name) = (&self.fresh.1.namespace, self.fresh.1.name.as_str());
        let deployments = self.scope.api::<Deployment>(namespace);
        match action {
            Action::Create(set) => self.create(*set).await,
            Action::Scale { set, replicas, annotations } => self.scale(&set, replicas, annotations).await,
            Action::Delete(set) => {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let outcome = self.scope.api::<ReplicaSet>(namespace).delete(name, &DeleteParams::background()).await;
                gone_is_fine(outcome)
            }
            Action::SetRevision(revision) => {
                let annotations = current.metadata.annotations.get_or_insert_default();
                annotations.insert(history::REVISION.to_owned(), revision);
                *current = deployments.replace(name, &PostParams::default(), current).await?;
                Ok(())
            }
            Action::Status(status) => {
                current.status = Some(*status);
                *current = deployments.replace_status(name, &PostParams::default(), current).await?;
                Ok(())
            }
        }
    }

    async fn create(&self, set: ReplicaSet) -> Result<(), kube::Error> {
        let sets = self.scope.api::<ReplicaSet>(&self.fresh.1.namespace);
        match sets.create(&PostParams::default(), &set).await {
            Ok(made) => {
                self.fresh.0.wrote(self.fresh.1, &made);
                self.tell_scaled(&made, 0);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => self.collide(&set).await,
            Err(kube::Error::Api(status)) if super::namespace::is_terminating(&status) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by our own set that was not seen yet, or by another content with the same hash.
    async fn collide(&self, set: &ReplicaSet) -> Result<(), kube::Error> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let taken = self.scope.api::<ReplicaSet>(&self.fresh.1.namespace).get(name).await?;
        let ours = controller_of(&taken).is_some_and(|owner| owner.uid == uid(self.deployment));
        if ours && same_template(self.deployment, &taken) {
            self.fresh.0.wrote(self.fresh.1, &taken);
            return Ok(());
        }
        let mut changed = self.deployment.clone();
        let status = changed.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        let name = self.deployment.metadata.name.as_deref().unwrap_or_default();
        self.scope
            .api::<Deployment>(&self.fresh.1.namespace)
            .replace_status(name, &PostParams::default(), &changed)
            .await
            .map(|_| ())
    }

    async fn scale(&self, set: &ReplicaSet, replicas: i32, annotations: plan::Annotations) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {"uid": set.metadata.uid, "resourceVersion": set.metadata.resource_version, "annotations": annotations},
            "spec": {"replicas": replicas},
        });
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let changed = self
            .scope
            .api::<ReplicaSet>(&self.fresh.1.namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        self.fresh.0.wrote(self.fresh.1, &changed);
        self.tell_scaled(&changed, history::replicas(set));
        Ok(())
    }

    fn tell_scaled(&self, set: &ReplicaSet, before: i32) {
        let (after, name) = (history::replicas(set), set.metadata.name.as_deref().unwrap_or_default());
        let direction = match after.cmp(&before) {
            std::cmp::Ordering::Greater => "up",
            std::cmp::Ordering::Less => "down",
            std::cmp::Ordering::Equal => return,
        };
        let message = format!("Scaled {direction} replica set {name} from {before} to {after}");
        self.scope.recorder.event(&self.deployment.object_ref(&()), EventType::Normal, "ScalingReplicaSet", message);
    }
}

/// The name of a new set and the label its pods carry.
fn set_hash(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    template::hash(&template, deployment.status.as_ref().and_then(|status| status.collision_count))
}

#[cfg(test)]
mod tests;
