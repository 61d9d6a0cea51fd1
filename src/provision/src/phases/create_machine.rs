//! Makes machines and switches on those that are off.

use anyhow::Result;
use futures::future::BoxFuture;

use super::{create_network, prepare_image};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::Power;

pub(crate) const NAME: &str = "create-machine";

/// One step a machine, all at once.
pub(crate) struct CreateMachine;

impl Phase for CreateMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let before = [Step::name(prepare_image::NAME, cluster), Step::name(create_network::NAME, cluster)];
        let mut steps = Vec::new();
        for desired in &context.desired.machines {
            let machine = &desired.machine;
            let step = match seen.survey.machines.get(&machine.name) {
                Some(Power::On) => continue,
                Some(Power::Off) => Step::new(NAME, &machine.name, Action::Restart, "it is switched off"),
                None => {
                    let size = format!("{} CPUs, {} memory, {} disk", machine.cpus, machine.memory, machine.disk);
                    Step::new(NAME, &machine.name, Action::Create, format!("it does not exist ({size})"))
                }
            };
            steps.push(step.after(before.clone()));
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if step.action == Action::Create {
                // A machine that was there before had another key.
                context.ledger.forget_host_key(&step.subject)?;
            }
            context.infrastructure.create_machine(&step.subject).await?;
            context.timeline.mark("machine");
            Ok(())
        })
    }
}
