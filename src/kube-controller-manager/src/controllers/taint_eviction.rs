//! Pods that do not tolerate what is wrong with their node are removed, when their patience ends.

use std::time::Duration;

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::Resource;
use kube::api::{DeleteParams, Preconditions};

use crate::ownership::is_deleting;
use crate::pods;
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::BY_NODE;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("taint-eviction");
    let (by_node, pods) = (queue.clone(), scope.stores.pods.clone());
    scope.stores.nodes.on_event(move |event: &Event<Node>| {
        let node = event.object();
        if event.old().map(|old| no_execute(old)).unwrap_or_default() != no_execute(node) {
            let on_node = pods.by_index(BY_NODE, node.metadata.name.as_deref().unwrap_or_default());
            for pod in on_node {
                by_node.add(ObjectKey::of(pod.as_ref()));
            }
        }
    });
    let (by_pod, nodes) = (queue.clone(), scope.stores.nodes.clone());
    scope.stores.pods.on_event(move |event: &Event<Pod>| {
        let node = pods::node(event.object());
        let moved =
            event.old().is_none_or(|old| pods::node(old) != node || tolerations(old) != tolerations(event.object()));
        if moved && nodes.get(&ObjectKey::cluster(node)).is_some_and(|node| !no_execute(&node).is_empty()) {
            by_pod.add(ObjectKey::of(event.object().as_ref()));
        }
    });
    scope.stores.nodes.synced().await;
    scope.stores.pods.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(pod) = scope.stores.pods.get(&key).filter(|pod| !is_deleting(pod.as_ref()) && !pods::has_ended(pod))
    else {
        return Ok(Requeue::No);
    };
    let Some(node) = scope.stores.nodes.get(&ObjectKey::cluster(pods::node(&pod))) else { return Ok(Requeue::No) };
    match patience(&no_execute(&node), tolerations(&pod), Timestamp::now()) {
        None => Ok(Requeue::No),
        Some(left) if !left.is_zero() => Ok(Requeue::After(left)),
        Some(_) => {
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            gone_is_fine(scope.api::<Pod>(&key.namespace).delete(&key.name, &params).await)?;
            scope.recorder.event(
                &pod.object_ref(&()),
                EventType::Normal,
                "TaintManagerEviction",
                format!("Marking for deletion Pod {key}"),
            );
            Ok(Requeue::No)
        }
    }
}

/// How long a pod still stays; `None` is forever, zero is no longer.
fn patience(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Option<Duration> {
    let mut shortest = None;
    for taint in taints {
        let fitting: Vec<&Toleration> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if fitting.is_empty() {
            return Some(Duration::ZERO);
        }
        let Some(seconds) = fitting.iter().filter_map(|toleration| toleration.toleration_seconds).min() else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let waited: Duration = now.duration_since(since).try_into().unwrap_or(Duration::ZERO);
        let left = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(waited);
        shortest = Some(shortest.map_or(left, |shortest: Duration| shortest.min(left)));
    }
    shortest
}

/// Whether a toleration is meant for a taint.
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let effect = given(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = given(&toleration.key);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let named = match key {
        None => exists,
        Some(key) => key == taint.key,
    };
    effect
        && named
        && (exists || toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn left(tolerations: serde_json::Value, now: &str) -> Option<u64> {
        let taints: Vec<Taint> = serde_json::from_value(
            json!([{"key": "down", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]),
        )
        .unwrap();
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
        patience(&taints, &tolerations, now.parse().unwrap()).map(|left| left.as_secs())
    }

    #[test]
    fn a_pod_that_tolerates_nothing_goes_at_once() {
        assert_eq!(left(json!([]), "2026-01-01T00:00:00Z"), Some(0));
        assert_eq!(left(json!([{"key": "other", "operator": "Exists"}]), "2026-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn a_pod_that_tolerates_everything_stays() {
        assert_eq!(left(json!([{"operator": "Exists"}]), "2026-01-01T00:00:00Z"), None);
        assert_eq!(
            left(json!([{"key": "down", "operator": "Exists", "effect": "NoExecute"}]), "2026-01-01T00:00:00Z"),
            None
        );
    }

    #[test]
    fn patience_counts_from_the_taint() {
        let some = json!([{"key": "down", "operator": "Exists", "tolerationSeconds": 300}]);
        assert_eq!(left(some.clone(), "2026-01-01T00:01:00Z"), Some(240));
        assert_eq!(left(some, "2026-01-01T00:06:00Z"), Some(0));
    }
}
