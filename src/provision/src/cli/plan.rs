//! `provision plan FILE`.

pub(super) mod kept;
mod tree;

use anyhow::Result;
use serde::Serialize;

use self::kept::KeptPlan;
use super::{note, open, print, print_json};
use crate::config::{Config, PlanArgs};
use crate::exit::Exit;
use crate::inventory::observe;
use crate::lifecycle::{UP, checked_plan};
use crate::plan::{Plan, Step};
use crate::progress::Format;
use ::topology::Topology;

pub(super) use self::tree::{counts, tree};

/// A plan as programs read it.
#[derive(Serialize)]
struct Shown<'a> {
    cluster: &'a str,
    /// How many steps there are of each kind.
    counts: std::collections::BTreeMap<String, usize>,
    steps: &'a [Step],
    /// What will go for good and cannot be planned yet.
    #[serde(skip_serializing_if = "<[Step]>::is_empty")]
    later: &'a [Step],
}

pub(super) async fn run(args: &PlanArgs, config: &Config) -> Result<Exit> {
    let topology = open::read_wish(&args.file, config)?;
    show(topology, config, args.out.as_deref()).await
}

/// Shows what it takes to bring a cluster to `topology`, and keeps it in `out`.
pub(super) async fn show(topology: Topology, config: &Config, out: Option<&std::path::Path>) -> Result<Exit> {
    let context = open::for_plan(topology, config).await?;
    let seen = observe(&context).await?;
    let plan = checked_plan(UP, &context, &seen)?;
    let cluster = context.desired.topology.name();
    match config.output {
        Format::Json => print_json(&shown(cluster, &plan))?,
        Format::Text => print(&tree(cluster, &plan)),
    }
    if let Some(file) = out {
        KeptPlan::new(&context.desired, &seen, &plan)?.write(file)?;
        note(&format!("the plan is kept: provision apply --plan {}", file.display()));
    }
    Ok(if plan.is_empty() { Exit::Done } else { Exit::Changes })
}

fn shown<'a>(cluster: &'a str, plan: &'a Plan) -> Shown<'a> {
    Shown { cluster, counts: counts(plan), steps: &plan.steps, later: &plan.later }
}

#[cfg(test)]
mod tests;
