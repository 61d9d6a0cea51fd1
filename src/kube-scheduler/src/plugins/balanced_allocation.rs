//! `NodeResourcesBalancedAllocation`: processor and memory should be used up together.

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, Plugin};
use crate::pod::PodInfo;
use crate::resources::Resources;
use crate::snapshot::Snapshot;

pub(super) struct NodeResourcesBalancedAllocation;

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        let wanted = &pod.requests.exact;
        // A pod that asks for nothing changes no balance.
        (wanted.milli_cpu > 0 || wanted.memory > 0).then(|| Box::new(Balance(wanted)) as Box<dyn Judge>)
    }

    fn may_help(&self, _: &Event<'_>, _: &PodInfo) -> bool {
        false
    }
}

struct Balance<'a>(&'a Resources);

impl Judge for Balance<'_> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "shares of a node, 0 to 100")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |used: i64, all: i64| if all == 0 { 1.0 } else { (used as f64 / all as f64).min(1.0) };
        let cpu = share(node.requested.milli_cpu + self.0.milli_cpu, node.allocatable.milli_cpu);
        let memory = share(node.requested.memory + self.0.memory, node.allocatable.memory);
        // The standard deviation of two values is half their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    #[test]
    fn an_even_use_is_better_than_an_uneven_one() {
        let snapshot =
            cluster(&[node("n1", json!({})), node("n2", json!({"status": {"allocatable": {"memory": "2Gi"}}}))]);
        let pod = pod(
            "p",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}}),
        );
        let judge = NodeResourcesBalancedAllocation.prepare(&pod, &snapshot).unwrap();
        let scores: Vec<i64> = snapshot.nodes().iter().map(|n| judge.score(n)).collect();
        assert_eq!(scores, [100, 62]);
    }
}
