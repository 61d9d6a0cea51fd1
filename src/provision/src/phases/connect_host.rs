//! Waits until a machine can be reached by SSH, and learns its host key over its console before the first SSH byte.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;

use super::{create_machine, start_machine};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "connect-host";

/// From the host key on the console to sshd listening, on an emulated machine among many.
const PATIENCE: Duration = Duration::from_mins(2);

/// One step for each machine that could not be reached.
pub(crate) struct ConnectHost;

impl Phase for ConnectHost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let machines = context.desired.machines.iter().map(|desired| &desired.machine.name);
        machines
            .filter(|name| !seen.hosts.contains_key(*name))
            .map(|name| {
                Step::new(NAME, name, Action::Wait, "it cannot be reached by SSH yet")
                    .after([Step::name(create_machine::NAME, name), Step::name(start_machine::NAME, name)])
            })
            .collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !context.host_key_known(&step.subject) {
                let key = context.infrastructure.host_key(&step.subject).await?;
                context.ledger.learn_host_key(&step.subject, &key)?;
            }
            context.timeline.mark("boot");
            context.hosts.connect(&step.subject, PATIENCE).await?;
            context.timeline.mark("ssh");
            Ok(())
        })
    }
}
