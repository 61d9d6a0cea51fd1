//! Brings up the network of the machines.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "create-network";

/// One network a cluster.
pub(crate) struct CreateNetwork;

impl Phase for CreateNetwork {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        if seen.survey.network {
            return Vec::new();
        }
        let allocations = &context.desired.allocations;
        let reason = match allocations.hosts {
            Some(_) => "the API's port does not lead through the bastion".to_owned(),
            None => format!("{} is not up", allocations.network.subnet),
        };
        vec![Step::new(NAME, context.desired.topology.name(), Action::Create, reason)]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.infrastructure.create_network().await?;
            context.timeline.mark("network");
            Ok(())
        })
    }
}
