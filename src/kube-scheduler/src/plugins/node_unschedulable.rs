//! `NodeUnschedulable`: nodes closed for new pods.

use crate::node::NodeInfo;
use crate::plugins::taint_toleration::tolerates;
use crate::plugins::{Event, Judge, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::Taint;

pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        let closed = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        (!tolerates(pod, &closed)).then(|| Box::new(Open) as Box<dyn Judge>)
    }

    fn may_help(&self, event: &Event<'_>, _: &PodInfo) -> bool {
        event.node_differs(NodeInfo::is_unschedulable)
    }
}

struct Open;

impl Judge for Open {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.is_unschedulable() {
            return Err(Rejection::by_node("node(s) were unschedulable"));
        }
        Ok(())
    }
}
