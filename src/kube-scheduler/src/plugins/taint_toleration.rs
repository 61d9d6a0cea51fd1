//! `TaintToleration`: taints of nodes that a pod does not bear.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, Plugin, Rejection, normalize_by_highest};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        Some(Box::new(Tolerant(pod)))
    }

    fn may_help(&self, event: &Event<'_>, _: &PodInfo) -> bool {
        event.node_differs(|node| node.taints().to_vec())
    }
}

/// Whether a pod bears a taint.
pub(super) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    pod.spec().into_iter().flat_map(|s| s.tolerations.iter().flatten()).any(|t| bears(t, taint))
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let effect = given(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = given(&toleration.key).is_none_or(|key| key == taint.key);
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            given(&toleration.key).is_some()
                && toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    };
    effect && key && value
}

struct Tolerant<'a>(&'a PodInfo);

impl Judge for Tolerant<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let hard = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
        match node.taints().iter().filter(hard).find(|t| !tolerates(self.0, t)) {
            None => Ok(()),
            Some(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                Err(Rejection::by_node(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)))
            }
        }
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node.taints().iter().filter(|t| t.effect == "PreferNoSchedule");
        i64::try_from(soft.filter(|t| !tolerates(self.0, t)).count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_highest(scores, true);
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    fn filter(tolerations: serde_json::Value) -> bool {
        let snapshot =
            cluster(&[node("n1", json!({"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}}))]);
        let pod = pod("p", json!({"spec": {"tolerations": tolerations}}));
        let judge = TaintToleration.prepare(&pod, &snapshot).unwrap();
        judge.filter(&snapshot.nodes()[0]).is_ok()
    }

    #[test]
    fn a_taint_needs_its_toleration() {
        assert!(!filter(json!([])));
        assert!(!filter(json!([{"key": "a", "value": "c"}])));
        assert!(!filter(json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}])));
        assert!(filter(json!([{"key": "a", "value": "b", "effect": "NoSchedule"}])));
        assert!(filter(json!([{"operator": "Exists"}])));
        assert!(!filter(json!([{"value": "b"}])), "without key only Exists means all");
    }
}
