//! Installs kube-proxy and cluster DNS through the API.

use anyhow::Result;
use futures::future::BoxFuture;

use super::start_control_plane;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "install-addons";

/// One step, if the cluster has other add-ons than those that are wanted.
pub(crate) struct InstallAddons;

impl Phase for InstallAddons {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let step = match &seen.cluster.addons {
            Some(present) if *present == context.desired.addons.hash => return Vec::new(),
            Some(_) => Step::new(NAME, cluster, Action::InPlace, "the add-ons are not those that are wanted"),
            None => Step::new(NAME, cluster, Action::Create, "no add-ons are installed"),
        };
        // The first server that is ready has an etcd with a majority, and what it is given is there for all of them. Whatever
        // takes a server or a member away waits for all servers by itself, so this may run beside those that still start.
        vec![step.after_any(start_control_plane::steps(context, seen))]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // While the API was silent, nobody could say that they were there.
            if context.cluster.survey().await.addons.as_ref() == Some(&context.desired.addons.hash) {
                return Ok(());
            }
            context.cluster.install(&context.desired.addons).await?;
            context.timeline.mark("addons");
            Ok(())
        })
    }
}
