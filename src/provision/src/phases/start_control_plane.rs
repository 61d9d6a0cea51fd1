//! Waits until the API server of each control plane answers.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::{configure_host, create_machine, install_components, join_etcd, leave_etcd, promote_etcd, start_machine};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "start-control-plane";

/// One step for each API server that does not answer.
pub(crate) struct StartControlPlane;

/// The steps of which each is enough for the API to be used: none if it can be used already.
pub(crate) fn steps(context: &Context, seen: &Inventory) -> Vec<String> {
    if seen.cluster.ready {
        return Vec::new();
    }
    context.desired.control_planes().iter().map(|name| Step::name(NAME, name)).collect()
}

impl Phase for StartControlPlane {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let silent = context.desired.control_planes().into_iter().filter(|name| !seen.cluster.servers.contains(name));
        let members = context.desired.etcd();
        let mut external = context.desired.names(|role| *role == Role::Etcd);
        let late = join_etcd::latecomers(context, seen);
        external.retain(|member| !late.contains(member));
        let recalled = leave_etcd::recalled(context, seen);
        let step = |name: String| {
            let step = Step::new(NAME, &name, Action::Wait, "its API server does not answer yet").after(
                [start_machine::NAME, configure_host::NAME, install_components::NAME, promote_etcd::NAME]
                    .map(|it| Step::name(it, &name)),
            );
            // Etcd begins with most of its members, wherever they are.
            let founders = members.iter().filter(|name| !context.ledger.founded() && context.ledger.is_founder(name));
            let voters = members.iter().chain(&recalled).map(|member| Step::name(start_machine::NAME, member));
            step.after(founders.map(|founder| Step::name(configure_host::NAME, founder)))
                .after(voters)
                .after(external.iter().map(|member| Step::name(configure_host::NAME, member)))
                .after(recalled.iter().map(|member| Step::name(create_machine::NAME, member)))
        };
        silent.map(step).collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.cluster.wait_server(&step.subject).await?;
            context.timeline.mark("apiReady");
            // An API server that is ready has an etcd that has decided.
            context.ledger.mark_founded()
        })
    }
}
