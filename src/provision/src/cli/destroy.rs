//! `provision destroy CLUSTER`.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::plan::tree;
use super::{consent, hold, note, open, print, print_json};
use crate::config::{Config, DestroyArgs};
use crate::exit::Exit;
use crate::inventory::Inventory;
use crate::lifecycle::{DOWN, converge, plan};
use crate::progress::{Format, for_output};
use crate::software;
use crate::state::StateDir;

pub(super) async fn run(args: &DestroyArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = StateDir::new(&config.state_dir, &name);
    if !state.root().exists() {
        tell(config, &name, false, &format!("There is no cluster {name}: nothing to destroy."))?;
        return Ok(Exit::Done);
    }
    let lock = hold(&state, &format!("destroy {name}"), args.waiting, token).await?;
    if state.exists() {
        let context = open::for_removal(&name, config, &for_output(config.output))?;
        let lost = if args.abandon { context.infrastructure.abandon().await? } else { Vec::new() };
        for machine in &lost {
            note(&format!("{machine} is let go as it is; `sh {}` there takes everything back", software::WAY_BACK));
        }
        let survey = context.infrastructure.survey().await?;
        let what = plan(DOWN, &context, &Inventory { survey, ..Inventory::default() });
        if !args.yes {
            let state = state.root().display();
            consent::confirm(
                &name,
                &format!("{}\nThe directory {state} goes too, with all keys.", tree(&name, &what)),
            )?;
        }
        let outcome = converge(DOWN, &context, token).await;
        context.progress.close();
        outcome?;
        context.infrastructure.remove_network().await?;
        context.infrastructure.remove_store().await?;
    } else {
        note(&format!("{name} was given no machines: only its directory is removed"));
    }
    state.remove()?;
    drop(lock);
    tell(config, &name, true, &format!("Cluster {name} is gone."))?;
    Ok(Exit::Done)
}

fn tell(config: &Config, name: &str, changed: bool, text: &str) -> Result<()> {
    match config.output {
        Format::Json => print_json(&serde_json::json!({ "cluster": name, "changed": changed })),
        Format::Text => {
            print(text);
            Ok(())
        }
    }
}
