//! What the end of each Node would cost.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::drain::{covers, is_owned, moves};
use crate::world::Burden;

/// Looks at all Nodes, pods and budgets.
pub(super) async fn burdens(client: &Client) -> Result<BTreeMap<String, Burden>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::all(client.clone());
    let budgets: Api<PodDisruptionBudget> = Api::all(client.clone());
    let all = ListParams::default();
    let (nodes, pods, budgets) = tokio::try_join!(nodes.list(&all), pods.list(&all), budgets.list(&all))?;
    Ok(weigh(&nodes.items, &pods.items, &budgets.items))
}

fn weigh(nodes: &[Node], pods: &[Pod], budgets: &[PodDisruptionBudget]) -> BTreeMap<String, Burden> {
    let stuck = |pod: &Pod| {
        let kept = |budget: &PodDisruptionBudget| {
            covers(budget, pod) && budget.status.as_ref().is_none_or(|status| status.disruptions_allowed <= 0)
        };
        moves(pod) && (!is_owned(pod) || budgets.iter().any(kept))
    };
    let weigh = |node: &Node| {
        let name = node.name_any();
        let on_node = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name);
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        let stuck = pods.iter().filter(on_node).filter(|pod| stuck(pod)).count();
        (name, Burden { cordoned, stuck })
    };
    nodes.iter().map(weigh).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pods_count_that_nothing_starts_elsewhere_or_that_a_budget_keeps() {
        let nodes: Vec<Node> = read(json!([
            { "metadata": { "name": "w-1" }, "spec": { "unschedulable": true } },
            { "metadata": { "name": "w-2" } },
        ]));
        let pod = |name: &str, node: &str, owner: Option<&str>| {
            let owner = owner
                .map(|kind| json!({ "apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true }));
            json!({
                "metadata": { "name": name, "namespace": "default", "labels": { "app": name }, "ownerReferences": owner.into_iter().collect::<Vec<_>>() },
                "spec": { "nodeName": node, "containers": [] },
                "status": { "phase": "Running" },
            })
        };
        let pods: Vec<Pod> = read(json!([
            pod("bare", "w-1", None),
            pod("kept", "w-1", Some("StatefulSet")),
            pod("free", "w-1", Some("ReplicaSet")),
            pod("proxy", "w-1", Some("DaemonSet")),
            pod("free", "w-2", Some("ReplicaSet")),
        ]));
        let budget = |app: &str, allowed: i32| {
            json!({
                "metadata": { "name": app, "namespace": "default" },
                "spec": { "selector": { "matchLabels": { "app": app } } },
                "status": { "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": allowed, "expectedPods": 1 },
            })
        };
        let budgets: Vec<PodDisruptionBudget> = read(json!([budget("kept", 0), budget("free", 1)]));
        let burdens = weigh(&nodes, &pods, &budgets);
        assert_eq!(burdens["w-1"], Burden { cordoned: true, stuck: 2 });
        assert_eq!(burdens["w-2"], Burden { cordoned: false, stuck: 0 });
    }
}
