//! Gives Nodes the labels that a kubelet may not give itself.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::future::BoxFuture;
use topology::{Machine, Role};

use super::{configure_host, start_control_plane};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::NodeMark;

pub(crate) const NAME: &str = "mark-node";

/// One step for each Node without its labels.
pub(crate) struct MarkNode;

impl Phase for MarkNode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps = Vec::new();
        for name in context.desired.names(Role::is_node) {
            if !seen.cluster.marked_nodes.contains(&name) {
                let step = Step::new(NAME, &name, Action::InPlace, "its Node lacks the labels of its role")
                    .after([Step::name(configure_host::NAME, &name)])
                    .after_any(start_control_plane::steps(context, seen));
                steps.push(step);
            }
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let machine = &context.desired.machine(&step.subject)?.machine;
            context.cluster.mark_node(&NodeMark { name: machine.name.clone(), labels: labels(machine) }).await
        })
    }
}

/// The labels of the machine's role, as kubeadm sets them, and those that the topology asks for.
fn labels(machine: &Machine) -> BTreeMap<String, String> {
    let mut labels = machine.labels.clone();
    match &machine.role {
        Role::ControlPlane => {
            labels.insert("node-role.kubernetes.io/control-plane".to_owned(), String::new());
        }
        Role::Worker(pool) => {
            labels.insert("provision.dev/pool".to_owned(), pool.clone());
        }
        Role::Etcd | Role::LoadBalancer => {}
    }
    labels.insert("provision.dev/machine".to_owned(), machine.name.clone());
    labels
}
