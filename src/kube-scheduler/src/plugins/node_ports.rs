//! `NodePorts`: ports of the node that another pod occupies.

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, Plugin, Rejection};
use crate::pod::{HostPort, PodInfo};
use crate::snapshot::Snapshot;

pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        (!pod.host_ports.is_empty()).then(|| Box::new(Wanted(&pod.host_ports)) as Box<dyn Judge>)
    }

    fn may_help(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Node { old, .. } => old.is_none(),
            Event::PodGone(gone) => conflicts(&pod.host_ports, &gone.host_ports),
            Event::PodPlaced(_) => false,
        }
    }
}

fn conflicts(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|w| taken.iter().any(|t| w.conflicts(t)))
}

struct Wanted<'a>(&'a [HostPort]);

impl Judge for Wanted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.pods.iter().any(|p| conflicts(self.0, &p.host_ports)) {
            return Err(Rejection::by_pods("node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    #[test]
    fn a_port_is_taken_by_address_and_protocol() {
        let with = |name: &str, ip: &str, protocol: &str| {
            pod(
                name,
                json!({"spec": {"containers": [{"name": "c", "ports": [
                {"containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol}]}]}}),
            )
        };
        let mut snapshot = cluster(&[node("n1", json!({}))]);
        snapshot.set_pod(with("a", "10.0.0.1", "TCP"), "n1");
        for (ip, protocol, fits) in
            [("10.0.0.1", "TCP", false), ("", "TCP", false), ("10.0.0.2", "TCP", true), ("10.0.0.1", "UDP", true)]
        {
            let pod = with("b", ip, protocol);
            let judge = NodePorts.prepare(&pod, &snapshot).unwrap();
            assert_eq!(judge.filter(&snapshot.nodes()[0]).is_ok(), fits, "{ip} {protocol}");
        }
    }
}
