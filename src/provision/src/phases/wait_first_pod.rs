//! Waits until the first pod that came through the API runs: from then on the cluster does what clusters are for.

use anyhow::Result;
use futures::future::BoxFuture;

use super::install_addons;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "wait-first-pod";

/// One step for a cluster that never had add-ons.
pub(crate) struct WaitFirstPod;

impl Phase for WaitFirstPod {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        if seen.cluster.addons.is_some() {
            return Vec::new();
        }
        let cluster = context.desired.topology.name();
        let step = Step::new(NAME, cluster, Action::Wait, "no pod runs yet");
        vec![step.after([Step::name(install_addons::NAME, cluster)])]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.cluster.wait_first_pod().await?;
            context.timeline.mark("firstPodRunning");
            Ok(())
        })
    }
}
