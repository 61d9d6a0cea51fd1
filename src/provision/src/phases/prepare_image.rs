//! Gets ready what the machines boot.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "prepare-image";

/// Builds or downloads the image, once for all clusters.
pub(crate) struct PrepareImage;

impl Phase for PrepareImage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let made = |name: &String| seen.survey.machines.contains_key(name);
        let all_made = context.desired.machines.iter().all(|desired| made(&desired.machine.name));
        let reason = match (seen.survey.image, seen.survey.stocked || all_made) {
            (true, true) => return Vec::new(),
            (true, false) => "the image that is cached lacks the components of this release",
            (false, _) => "no image of this content is cached",
        };
        vec![Step::new(NAME, context.desired.topology.name(), Action::Create, reason)]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let report = |detail: String| context.progress.detail(&step.subject, &detail);
            context.infrastructure.prepare_image(&report).await?;
            context.timeline.mark("image");
            Ok(())
        })
    }
}
