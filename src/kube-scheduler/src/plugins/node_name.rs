//! `NodeName`: the node a pod already names.

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, Plugin, Rejection};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        Some(Box::new(Named(pod.node_name()?)))
    }

    fn may_help(&self, event: &Event<'_>, _: &PodInfo) -> bool {
        matches!(event, Event::Node { old: None, .. })
    }
}

struct Named<'a>(&'a str);

impl Judge for Named<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.name == self.0 {
            return Ok(());
        }
        Err(Rejection::by_node("node(s) didn't match the requested node name"))
    }
}
