//! Removes machines with their disks.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "remove-machine";

/// One step for each machine of the cluster, also those that the topology does not know.
pub(crate) struct RemoveMachine;

impl Phase for RemoveMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, _: &Context, seen: &Inventory) -> Vec<Step> {
        let machines = seen.survey.machines.keys();
        machines.map(|name| Step::new(NAME, name, Action::Destroy, "the cluster is taken down")).collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.ledger.mark_destroying()?;
            context.infrastructure.remove_machine(&step.subject).await
        })
    }
}
