//! Waits until Nodes are Ready.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::{configure_host, install_addons, start_machine};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "wait-node";

/// One step for each Node that is not Ready.
pub(crate) struct WaitNode;

impl Phase for WaitNode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let mut steps = Vec::new();
        for name in context.desired.names(Role::is_node) {
            if !seen.cluster.ready_nodes.contains(&name) {
                let before = [
                    Step::name(install_addons::NAME, cluster),
                    Step::name(configure_host::NAME, &name),
                    Step::name(start_machine::NAME, &name),
                ];
                steps.push(Step::new(NAME, &name, Action::Wait, "its Node is not Ready yet").after(before));
            }
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.cluster.wait_node(&step.subject).await?;
            context.timeline.mark("nodeReady");
            Ok(())
        })
    }
}
