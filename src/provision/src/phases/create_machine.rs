//! Makes machines and switches on those that are off.

use anyhow::Result;
use futures::future::BoxFuture;

use super::{create_network, leave_etcd, prepare_image};
use crate::context::Context;
use crate::exit::{Exit, Refusal};
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::Power;

pub(crate) const NAME: &str = "create-machine";

/// Why one is switched on that goes.
pub(crate) const RECALLED: &str = "it goes, and etcd has no majority without it";

/// One step a machine, all at once; also for those that go and without which etcd cannot let them.
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
                // Nobody switches on a machine that was there before us.
                Some(Power::Off) if context.desired.allocations.hosts.is_some() => continue,
                Some(Power::Off) => Step::new(NAME, &machine.name, Action::Start, "it is switched off"),
                None if context.desired.allocations.hosts.is_some() => {
                    Step::new(NAME, &machine.name, Action::Create, "it exists and is not part of the cluster")
                }
                None => {
                    let size = format!("{} CPUs, {} memory, {} disk", machine.cpus, machine.memory, machine.disk);
                    // A machine that has let us in before was there.
                    let (action, why) = if context.host_key_known(&machine.name) {
                        (Action::Replace, "it is lost, with its disk")
                    } else {
                        (Action::Create, "it does not exist")
                    };
                    Step::new(NAME, &machine.name, action, format!("{why} ({size})"))
                }
            };
            steps.push(step.after(before.clone()));
        }
        let recalled = leave_etcd::recalled(context, seen).into_iter();
        steps.extend(recalled.map(|name| Step::new(NAME, &name, Action::Start, RECALLED).after(before.clone())));
        steps
    }

    fn refuse(&self, context: &Context, _: &Inventory) -> Result<()> {
        if !context.ledger.destroying() {
            return Ok(());
        }
        let name = context.desired.topology.name();
        Err(Refusal::new(Exit::Failed, format!("the removal of cluster {name} has begun and was not finished"))
            .hint(format!("`provision destroy {name}` finishes it; then apply again"))
            .into())
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if matches!(step.action, Action::Create | Action::Replace) {
                context.ledger.forget_disk(&step.subject)?;
            }
            if context.desired.machine(&step.subject).is_err() {
                // It goes: what it has is enough.
                return context.infrastructure.start_machine(&step.subject).await;
            }
            context.infrastructure.create_machine(&step.subject).await?;
            context.timeline.mark("machine");
            Ok(())
        })
    }
}
