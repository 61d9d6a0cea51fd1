//! Empties a Node whose machine goes: no new pods, and the present ones move as far as their budgets allow.

use anyhow::Result;
use futures::future::BoxFuture;

use super::{start_control_plane, wait_node};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "drain-node";

/// One step for each Node whose machine goes and still works, for us or for the cluster.
pub(crate) struct DrainNode;

impl Phase for DrainNode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for leaver in context.leavers().into_iter().filter(|leaver| leaver.role.is_node()) {
            // Pods of a machine that is gone or silent are let go with its Node; that we cannot log in is no reason for it.
            if !(seen.hosts.contains_key(&leaver.name) || seen.cluster.ready_nodes.contains(&leaver.name)) {
                continue;
            }
            // New machines take up what the old ones give away; and not all of those at once. Nobody waits for one that is silent.
            let mut newcomers = context.desired.names(topology::Role::is_node);
            newcomers.retain(|name| !seen.is_silent(context, name));
            let earlier = steps.last().map(|step| step.id.clone());
            let step = Step::new(NAME, &leaver.name, Action::InPlace, "its pods have to move")
                .after(newcomers.iter().map(|name| Step::name(wait_node::NAME, name)))
                .after(start_control_plane::steps(context, seen))
                .after(earlier);
            steps.push(step);
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let report = |detail: String| context.progress.detail(&step.subject, &detail);
            context.ledger.mark_leaving(&step.subject)?;
            context.cluster.drain(&step.subject, context.drain, &report).await
        })
    }
}
