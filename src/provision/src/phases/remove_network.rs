//! Removes the network, once no machine is in it.

use anyhow::Result;
use futures::future::BoxFuture;

use super::remove_machine;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "remove-network";

/// One step, if there is a network.
pub(crate) struct RemoveNetwork;

impl Phase for RemoveNetwork {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        if !seen.survey.network {
            return Vec::new();
        }
        let before = seen.survey.machines.keys().map(|name| Step::name(remove_machine::NAME, name));
        vec![
            Step::new(NAME, context.desired.topology.name(), Action::Destroy, "the cluster is taken down")
                .after(before),
        ]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(context.infrastructure.remove_network())
    }
}
