//! The pods of one owner: which events concern it, and how they are made and removed.

use std::fmt::Debug;

use controller_runtime::{Event, EventType, ObjectKey, Store, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::SelectorExt;

use crate::controllers::is_terminating;
use crate::freshness::Freshness;
use crate::ownership::{controller_of, labels, selector};
use crate::scope::{Scope, gone_is_fine};
use crate::stores::BY_NAMESPACE;

/// Queues owners when their pods change: a pod concerns its controller, or, if it has none, those that may adopt it.
pub(crate) fn feed_pods<K>(
    scope: &Scope,
    queue: &WorkQueue<ObjectKey>,
    owners: &Store<K>,
    selector_of: fn(&K) -> Option<&LabelSelector>,
) where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let (queue, owners) = (queue.clone(), owners.clone());
    let adopts = move |owner: &K, pod: &Pod| {
        selector_of(owner).and_then(selector).is_some_and(|selector| selector.matches(labels(pod)))
    };
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        for pod in event.states() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(pod.as_ref()) {
                Some(owner) if owner.kind == K::kind(&()) => queue.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None if matches!(event, Event::Deleted(_)) => {}
                None => {
                    for owner in owners.by_index(BY_NAMESPACE, namespace).iter().filter(|owner| adopts(owner, pod)) {
                        queue.add(ObjectKey::of(owner.as_ref()));
                    }
                }
            }
        }
    });
}

/// Makes and removes pods for an owner, tells of it, and remembers what was written.
pub(crate) struct PodControl<'a, O> {
    pub(crate) scope: &'a Scope,
    pub(crate) owner: &'a O,
    pub(crate) fresh: &'a Freshness<ObjectKey>,
    pub(crate) key: &'a ObjectKey,
}

impl<O: Resource<DynamicType = ()> + Debug> PodControl<'_, O> {
    /// Makes a pod; in a namespace that is going away none is made, and that is right.
    pub(crate) async fn create(&self, pod: &Pod) -> Result<(), kube::Error> {
        match self.scope.api::<Pod>(&self.key.namespace).create(&PostParams::default(), pod).await {
            Ok(made) => {
                self.fresh.wrote(self.key, &made);
                let name = made.metadata.name.unwrap_or_default();
                self.tell(EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(kube::Error::Api(status)) if is_terminating(&status) => Ok(()),
            Err(error) => {
                self.tell(EventType::Warning, "FailedCreate", format!("Error creating: {}", told(&error)));
                Err(error)
            }
        }
    }

    /// Removes a pod, if it is still the one that was seen.
    pub(crate) async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let outcome = self.scope.api::<Pod>(&self.key.namespace).delete(name, &params).await;
        if let Ok(answer) = &outcome {
            if let Some(pod) = answer.as_ref().left() {
                self.fresh.wrote(self.key, pod);
            }
            self.tell(EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        gone_is_fine(outcome)
    }

    /// An event about the owner.
    pub(crate) fn tell(&self, kind: EventType, reason: &str, message: String) {
        self.scope.recorder.event(&self.owner.object_ref(&()), kind, reason, message);
    }
}

fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
