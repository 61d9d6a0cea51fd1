//! Waits until the API answers.

use anyhow::Result;
use futures::future::BoxFuture;
use topology::Role;

use super::configure_node;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "start-control-plane";

/// One step, if the API does not answer.
pub(crate) struct StartControlPlane;

impl Phase for StartControlPlane {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        if seen.cluster.ready {
            return Vec::new();
        }
        let control_planes = context.desired.names(|role| *role == Role::ControlPlane);
        let before = control_planes.iter().map(|name| Step::name(configure_node::NAME, name));
        vec![
            Step::new(NAME, context.desired.topology.name(), Action::Wait, "the API does not answer yet").after(before),
        ]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.cluster.wait_ready().await?;
            context.timeline.mark("apiReady");
            Ok(())
        })
    }
}
