//! Removes a machine that nobody asks for any more, with its disk.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::{configure_host, drain_node, leave_etcd};
use crate::context::Context;
use crate::desired::Leaver;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "retire-machine";

/// One step for each machine that has an address and that the topology does not ask for.
pub(crate) struct RetireMachine;

impl Phase for RetireMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, _: &Inventory) -> Vec<Step> {
        // Also where no machine is seen: the run that removed it may have been killed before its disk.
        let leavers = context.leavers().into_iter();
        let staying = context.desired.names(|_| true);
        let step = |leaver: &Leaver| {
            let name = &leaver.name;
            // Whoever sends it requests must know before it goes; nobody does to a worker.
            let clients = staying.iter().filter(|_| !matches!(leaver.role, Role::Worker(_)));
            Step::new(NAME, name, Action::Destroy, leaver.reason.clone())
                .after([Step::name(drain_node::NAME, name), Step::name(leave_etcd::NAME, name)])
                .after(clients.map(|other| Step::name(configure_host::NAME, other)))
        };
        leavers.map(step).collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(context.infrastructure.remove_machine(&step.subject))
    }
}
