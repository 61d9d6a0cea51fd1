//! Gives back what a machine had that is gone: its Node, its secrets and its address.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::{leave_etcd, retire_machine, start_control_plane};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "forget-machine";

/// One step for each machine that has an address and that nobody asks for.
pub(crate) struct ForgetMachine;

impl Phase for ForgetMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let step = |name: &str| {
            Step::new(NAME, name, Action::Destroy, "its Node, secrets and address are asked for no more")
                .after([Step::name(retire_machine::NAME, name), Step::name(leave_etcd::NAME, name)])
                .after(start_control_plane::steps(context, seen))
        };
        context.leavers().into_iter().map(|leaver| step(&leaver.name)).collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let role = context.leavers().into_iter().find(|leaver| leaver.name == step.subject).map(|it| &it.role);
            if role.is_some_and(Role::is_node) && context.ledger.founded() {
                context.cluster.delete_node(&step.subject).await?;
            }
            context.ledger.release(&step.subject)
        })
    }
}
