//! Lets the network of a cluster rest that is powered off, with the daemon that was started for it.

use anyhow::Result;
use futures::future::BoxFuture;

use super::stop_machine;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "stop-network";

/// One step, if there is a network; its addresses stay allocated.
pub(crate) struct StopNetwork;

impl Phase for StopNetwork {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        if !seen.survey.network {
            return Vec::new();
        }
        let before = seen.survey.machines.keys().map(|name| Step::name(stop_machine::NAME, name));
        let cluster = context.desired.topology.name();
        vec![Step::new(NAME, cluster, Action::Stop, "the cluster is powered off").after(before)]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(context.infrastructure.remove_network())
    }
}
