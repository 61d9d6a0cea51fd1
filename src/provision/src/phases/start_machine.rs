//! Powers machines on again: a thing goes before what uses it.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::{create_machine, create_network, leave_etcd};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::Power;

pub(crate) const NAME: &str = "start-machine";

/// One step for each machine that is off: all etcd members together, then control planes, balancers and workers. Of those that
/// go, only members come that etcd needs.
///
/// A rank waits until the rank before it is switched on, not until it is up: every component waits for what it needs,
/// and members of etcd come up only together.
pub(crate) struct StartMachine;

impl Phase for StartMachine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let mut before = vec![Step::name(create_network::NAME, cluster)];
        let recalled = leave_etcd::recalled(context, seen);
        let mut steps: Vec<Step> = recalled
            .iter()
            .map(|name| Step::new(NAME, name, Action::Start, create_machine::RECALLED).after(before.iter().cloned()))
            .collect();
        let ranks: [fn(&Role) -> bool; 4] = [
            |role| *role == Role::Etcd,
            |role| *role == Role::ControlPlane,
            |role| *role == Role::LoadBalancer,
            |role| matches!(role, Role::Worker(_)),
        ];
        for rank in ranks {
            let mut names = context.desired.names(rank);
            names.retain(|name| seen.survey.machines.get(name) == Some(&Power::Off));
            let new = names.iter().map(|name| {
                Step::new(NAME, name, Action::Start, "the cluster is powered on").after(before.iter().cloned())
            });
            steps.extend(new.collect::<Vec<_>>());
            if !names.is_empty() {
                before = names.iter().map(|name| Step::name(NAME, name)).collect();
            }
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(context.infrastructure.start_machine(&step.subject))
    }
}
