//! Pods nobody else removes: bound to a node that is gone, deleted before they were bound, or ended and too many.

use std::time::Duration;

use controller_runtime::{Event, ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::ownership::is_deleting;
use crate::pods;
use crate::scope::{Scope, gone_is_fine};
use crate::stores::BY_NODE;

/// Says of a node that it is off for good: what ran there may run elsewhere.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A node may be deleted and registered again; its pods wait that long.
const QUARANTINE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    /// A node that may be gone.
    Node(String),
    /// A pod that was deleted before it was bound.
    Unbound(ObjectKey),
    /// A node that is said to be out of service.
    Off(String),
    /// The number of ended pods.
    Ended,
}

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("podgc");
    scope.stores.nodes.synced().await;
    let gone = queue.clone();
    scope.stores.nodes.on_event(move |event: &Event<Node>| {
        let name = event.object().metadata.name.clone().unwrap_or_default();
        match event {
            Event::Deleted(_) => gone.add_after(Item::Node(name), QUARANTINE),
            _ if is_off(event.object()) => gone.add(Item::Off(name)),
            _ => {}
        }
    });
    let (changed, nodes, threshold) = (queue.clone(), scope.stores.nodes.clone(), scope.config.ended_pods);
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        let pod = event.object();
        if matches!(event, Event::Deleted(_)) {
            return;
        }
        match pods::node(pod) {
            "" if is_deleting(pod.as_ref()) => changed.add(Item::Unbound(ObjectKey::of(pod.as_ref()))),
            "" => {}
            name => match nodes.get(&ObjectKey::cluster(name)) {
                None => changed.add_after(Item::Node(name.to_owned()), QUARANTINE),
                Some(node) if is_deleting(pod.as_ref()) && is_off(&node) => changed.add(Item::Off(name.to_owned())),
                Some(_) => {}
            },
        }
        let ended_now = pods::has_ended(pod) && event.old().is_none_or(|old| !pods::has_ended(old));
        if ended_now && threshold > 0 {
            changed.add(Item::Ended);
        }
    });
    scope.stores.pods.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, 1, move |item| reconcile(reconciling.clone(), item)).await;
}

async fn reconcile(scope: Scope, item: Item) -> Result<Requeue, kube::Error> {
    match item {
        Item::Unbound(key) => {
            if let Some(pod) =
                scope.stores.pods.get(&key).filter(|pod| pods::node(pod).is_empty() && is_deleting(pod.as_ref()))
            {
                remove(&scope, &pod).await?;
            }
        }
        Item::Node(name) => {
            let nodes: Api<Node> = Api::all(scope.client.clone());
            // The store may lag behind a node that was registered again: ask.
            if scope.stores.nodes.get(&ObjectKey::cluster(&name)).is_some() || nodes.get_opt(&name).await?.is_some() {
                return Ok(Requeue::No);
            }
            for pod in scope.stores.pods.by_index(BY_NODE, &name) {
                remove(&scope, &pod).await?;
            }
        }
        Item::Off(name) => {
            if scope.stores.nodes.get(&ObjectKey::cluster(&name)).is_some_and(|node| is_off(&node)) {
                let mut pods = scope.stores.pods.by_index(BY_NODE, &name);
                pods.retain(|pod| is_deleting(pod.as_ref()));
                for pod in pods {
                    remove(&scope, &pod).await?;
                }
            }
        }
        Item::Ended => {
            let mut ended = scope.stores.pods.list();
            ended.retain(|pod| pods::has_ended(pod) && !is_deleting(pod.as_ref()));
            ended.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
            let excess = ended.len().saturating_sub(scope.config.ended_pods);
            for pod in &ended[..excess] {
                remove(&scope, pod).await?;
            }
        }
    }
    Ok(Requeue::No)
}

/// Whether a node was said to be out of service, and does not say otherwise itself.
fn is_off(node: &Node) -> bool {
    let told = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == OUT_OF_SERVICE);
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    told && !conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Nobody is left to wait for: the pod goes without a grace period.
async fn remove(scope: &Scope, pod: &Pod) -> Result<(), kube::Error> {
    let (namespace, name) =
        (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
    tracing::info!(pod = %ObjectKey::of(pod), "removing a pod nobody else removes");
    gone_is_fine(scope.api::<Pod>(namespace).delete(name, &params).await)
}
