//! Waits until Nodes are Ready.

use anyhow::Result;
use futures::future::BoxFuture;
use ssh::Script;
use topology::Role;

use super::{PATIENCE, configure_host, connect_host, install_addons, leave_etcd, start_machine};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "wait-node";

/// Tells this boot of the machine from every other; kubelet tells the API the same.
const BOOT: &str = "exec cat /proc/sys/kernel/random/boot_id";

/// One step for each Node that is not Ready; whoever says that it is has an etcd, whose members are on.
pub(crate) struct WaitNode;

impl Phase for WaitNode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let mut members = context.desired.etcd();
        members.extend(leave_etcd::recalled(context, seen));
        let mut steps = Vec::new();
        for name in context.desired.names(Role::is_node) {
            if !seen.cluster.ready_nodes.contains(&name) {
                let before = [
                    Step::name(install_addons::NAME, cluster),
                    Step::name(configure_host::NAME, &name),
                    Step::name(connect_host::NAME, &name),
                    Step::name(start_machine::NAME, &name),
                ];
                let step = Step::new(NAME, &name, Action::Wait, "its Node is not Ready yet").after(before);
                steps.push(step.after(members.iter().map(|member| Step::name(start_machine::NAME, member))));
            }
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let host = context.hosts.connect(&step.subject, PATIENCE).await?;
            let boot = host.run(&Script::new(BOOT)).await?.text();
            context.cluster.wait_node(&step.subject, boot.trim()).await?;
            context.timeline.mark("nodeReady");
            Ok(())
        })
    }
}
