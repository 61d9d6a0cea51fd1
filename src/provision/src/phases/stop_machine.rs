//! Powers machines off: what uses a thing goes before the thing.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::Power;

pub(crate) const NAME: &str = "stop-machine";

/// From the power button to off, on an emulated machine among many; then the plug is pulled.
const PATIENCE: Duration = Duration::from_mins(2);

/// One step for each machine that runs: workers, then balancers, control planes, and etcd last.
pub(crate) struct StopMachine;

impl Phase for StopMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let running = seen.survey.machines.iter().filter(|(_, power)| **power == Power::On);
        let mut ranks: [Vec<&String>; 4] = Default::default();
        for (name, _) in running {
            ranks[rank(context, name)].push(name);
        }
        let mut steps = Vec::new();
        let mut before: Vec<String> = Vec::new();
        for rank in ranks.into_iter().filter(|rank| !rank.is_empty()) {
            let new = rank.iter().map(|name| {
                Step::new(NAME, name, Action::Stop, "the cluster is powered off").after(before.iter().cloned())
            });
            steps.extend(new.collect::<Vec<_>>());
            before = rank.iter().map(|name| Step::name(NAME, name)).collect();
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(context.infrastructure.stop_machine(&step.subject, PATIENCE))
    }
}

/// A machine that the topology does not know is one of a pool that is gone.
fn rank(context: &Context, name: &str) -> usize {
    match context.desired.machine(name).map(|desired| &desired.machine.role) {
        Ok(Role::Etcd) => 3,
        Ok(Role::ControlPlane) => 2,
        Ok(Role::LoadBalancer) => 1,
        Ok(Role::Worker(_)) | Err(_) => 0,
    }
}
