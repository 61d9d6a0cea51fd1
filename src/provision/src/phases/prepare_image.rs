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
        if seen.survey.image {
            return Vec::new();
        }
        vec![Step::new(NAME, context.desired.topology.name(), Action::Create, "no image of this content is cached")]
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
