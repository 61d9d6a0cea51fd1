//! `provision plan FILE`.

use anyhow::Result;

use super::{open, print, print_json};
use crate::config::{Config, TopologyFile};
use crate::exit::Exit;
use crate::inventory::observe;
use crate::lifecycle::{UP, plan};
use crate::progress::Format;

pub(super) async fn run(args: &TopologyFile, config: &Config) -> Result<Exit> {
    let topology = open::read_topology(&args.file)?;
    let context = open::for_plan(topology, config).await?;
    let plan = plan(UP, &context, &observe(&context).await?);
    match config.output {
        Format::Json => print_json(&plan)?,
        Format::Text => print(&plan.to_string()),
    }
    Ok(if plan.is_empty() { Exit::Done } else { Exit::Changes })
}
