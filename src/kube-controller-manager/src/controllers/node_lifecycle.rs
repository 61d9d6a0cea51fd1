//! A node that is silent is unknown, and what is wrong with a node stands on it as taints.

mod zones;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;

use crate::ownership::is_deleting;
use crate::pods;
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::BY_NODE;

use zones::{Permit, Zones};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, the status that is bad, and the taint it means.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// When each node was last heard of, by our own clock.
type Heard = Arc<Mutex<HashMap<String, Instant>>>;

/// What the workers share.
#[derive(Clone, Default)]
struct Shared {
    heard: Heard,
    zones: Arc<Mutex<Zones>>,
}

pub(super) async fn run(scope: Scope) {
    let (queue, shared) = (WorkQueue::new("node-lifecycle"), Shared::default());
    let (nodes_queue, nodes_heard, nodes) = (queue.clone(), Arc::clone(&shared.heard), scope.stores.nodes.clone());
    scope.stores.nodes.on_event(move |event: &Event<Node>| {
        let key = ObjectKey::of(event.object().as_ref());
        let turned = event.old().is_none_or(|old| is_ready(old) != is_ready(event.object()));
        if turned || matches!(event, Event::Deleted(_)) {
            // Whether other nodes may be emptied depends on how many are well.
            nodes
                .list()
                .iter()
                .filter(|node| !is_ready(node))
                .for_each(|node| nodes_queue.add(ObjectKey::of(node.as_ref())));
        }
        let speaks = event.old().is_none_or(|old| heartbeat(old) != heartbeat(event.object()));
        let mut heard = nodes_heard.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Deleted(_) => drop(heard.remove(&key.name)),
            _ if speaks => drop(heard.insert(key.name.clone(), Instant::now())),
            _ => {}
        }
        nodes_queue.add(key);
    });
    // A lease is renewed every ten seconds for each node: it only moves a time, the node's one timer does the rest.
    let leases_heard = Arc::clone(&shared.heard);
    scope.stores.node_leases.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            let name = event.object().metadata.name.clone().unwrap_or_default();
            leases_heard.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Instant::now());
        }
    });
    scope.stores.nodes.synced().await;
    scope.stores.pods.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), shared.clone(), key)).await;
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// Whether a node says it is well.
fn is_ready(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "True")
}

/// The kubelet's own word, not ours: its heartbeat moves only when it writes.
fn heartbeat(node: &Node) -> Option<Timestamp> {
    ready(node)?.last_heartbeat_time.as_ref().map(|time| time.0)
}

async fn reconcile(scope: Scope, shared: Shared, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(node) = scope.stores.nodes.get(&key).filter(|node| !is_deleting(node.as_ref())) else {
        return Ok(Requeue::No);
    };
    let silent = shared
        .heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(key.name.clone())
        .or_insert_with(Instant::now)
        .elapsed();
    let nodes: Api<Node> = Api::all(scope.client.clone());
    let left = scope.config.node_grace.saturating_sub(silent);
    if left.is_zero() && ready(&node).is_none_or(|ready| ready.status != "Unknown") {
        let mut changed = Node::clone(&node);
        silence(&mut changed, Timestamp::now());
        nodes.replace_status(&key.name, &PostParams::default(), &changed).await?;
        let about = node.object_ref(&());
        scope.recorder.event(
            &about,
            EventType::Normal,
            "NodeNotReady",
            format!("Node {} status is now: NodeNotReady", key.name),
        );
        tracing::warn!(node = key.name, "the node is silent");
        // The written conditions come back as an event, and with them the taints.
        return Ok(Requeue::No);
    }
    let (evict, again) = may_evict(&scope, &shared, &node);
    let wanted = taints(&node, evict, Timestamp::now());
    if wanted != node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default() {
        let patch = json!({"metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version}, "spec": {"taints": wanted}});
        nodes.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    if ready(&node).is_some_and(|ready| ready.status != "True") {
        mark_pods(&scope, &key.name).await?;
    }
    let next = again.into_iter().chain((!left.is_zero()).then_some(left)).min();
    Ok(next.map_or(Requeue::No, |next| Requeue::After(next.max(Duration::from_millis(100)))))
}

/// Whether the pods of a node that is not ready may be evicted, and when to ask again.
fn may_evict(scope: &Scope, shared: &Shared, node: &Node) -> (bool, Option<Duration>) {
    if ready(node).is_none_or(|ready| ready.status == "True") {
        return (true, None);
    }
    let mut zones = shared.zones.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(evicts);
    let nodes = scope.stores.nodes.list();
    match zones.permit((node, begun), &nodes, scope.config.node_grace, Instant::now()) {
        Permit::Now => (true, None),
        Permit::After(wait) => (false, Some(wait)),
        Permit::No | Permit::Withdrawn => (false, None),
    }
}

/// Whether a taint of ours evicts pods.
fn evicts(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str())
}

/// What is said of a node that is not heard of.
fn silence(node: &mut Node, now: Timestamp) {
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for name in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let never = NodeCondition {
            type_: name.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusNeverUpdated".to_owned()),
            message: Some("Kubelet never posted node status.".to_owned()),
            last_heartbeat_time: created.clone(),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == name) {
            None => conditions.push(never),
            Some(known) if known.status != "Unknown" => {
                "Unknown".clone_into(&mut known.status);
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
}

/// The taints of a node: those of others as they are, ours as its conditions say. Those that are right keep their time.
///
/// `evict` tells whether one that evicts pods may be among them.
fn taints(node: &Node, evict: bool, now: Timestamp) -> Vec<Taint> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (name, bad, taint) in CONDITION_TAINTS {
        if conditions.iter().any(|condition| condition.type_ == name && condition.status == bad) {
            wanted.push((taint, "NoSchedule"));
            if name == "Ready" && evict {
                wanted.push((taint, "NoExecute"));
            }
        }
    }
    if conditions.iter().all(|condition| condition.type_ != "Ready") {
        // A node that never reported; the server puts the same taint on it at birth.
        wanted.push((NOT_READY, "NoSchedule"));
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let known = taint.key == UNSCHEDULABLE || CONDITION_TAINTS.iter().any(|(_, _, key)| taint.key == *key);
        known && (taint.effect == "NoSchedule" || evicts(taint))
    };
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let mut taints: Vec<Taint> =
        current.iter().filter(|taint| !ours(taint) || wanted.iter().any(|wanted| is(taint, wanted))).cloned().collect();
    for new in wanted.iter().filter(|wanted| !current.iter().any(|taint| is(taint, wanted))) {
        taints.push(Taint {
            key: new.0.to_owned(),
            effect: new.1.to_owned(),
            time_added: Some(Time(now)),
            value: None,
        });
    }
    taints
}

/// Pods on a node that is not ready do not serve.
async fn mark_pods(scope: &Scope, node: &str) -> Result<(), kube::Error> {
    for pod in scope.stores.pods.by_index(BY_NODE, node).into_iter().filter(|pod| pods::is_ready(pod)) {
        let mut changed = Pod::clone(&pod);
        let conditions = changed.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
        for condition in conditions.filter(|condition| condition.type_ == "Ready") {
            "False".clone_into(&mut condition.status);
            condition.reason = Some("NodeNotReady".to_owned());
            condition.last_transition_time = Some(Time(Timestamp::now()));
        }
        let (namespace, name) =
            (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
        gone_is_fine(scope.api::<Pod>(namespace).replace_status(name, &PostParams::default(), &changed).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "a JSON literal reads best at the call")]
    fn node(ready: &str, unschedulable: bool, taints: serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"unschedulable": unschedulable, "taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn shown(node: &Node) -> Vec<String> {
        taints(node, true, Timestamp::UNIX_EPOCH)
            .iter()
            .map(|taint| format!("{}:{}", taint.key, taint.effect))
            .collect()
    }

    #[test]
    fn a_silent_node_is_unreachable_and_a_failing_one_not_ready() {
        assert_eq!(
            shown(&node("Unknown", false, json!([]))),
            [format!("{UNREACHABLE}:NoSchedule"), format!("{UNREACHABLE}:NoExecute")]
        );
        assert_eq!(
            shown(&node("False", false, json!([]))),
            [format!("{NOT_READY}:NoSchedule"), format!("{NOT_READY}:NoExecute")]
        );
    }

    #[test]
    fn a_node_that_recovers_loses_our_taints_and_keeps_those_of_others() {
        let own = json!([{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
        assert_eq!(shown(&node("True", false, own)), ["node-role.kubernetes.io/control-plane:NoSchedule"]);
    }

    #[test]
    fn a_taint_that_stays_keeps_its_time() {
        let own = json!([{"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"}, {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]);
        let node = node("Unknown", false, own);
        assert_eq!(taints(&node, true, Timestamp::UNIX_EPOCH), node.spec.unwrap().taints.unwrap());
    }

    #[test]
    fn a_cordoned_node_is_tainted() {
        assert_eq!(shown(&node("True", true, json!([]))), [format!("{UNSCHEDULABLE}:NoSchedule")]);
    }

    #[test]
    fn silence_says_unknown_everywhere() {
        let mut node = node("True", false, json!([]));
        silence(&mut node, Timestamp::UNIX_EPOCH);
        let conditions = node.status.unwrap().conditions.unwrap();
        assert_eq!(conditions.len(), 4);
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    }
}
