//! `provision stop CLUSTER` and `provision start CLUSTER`.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::{hold, open, print, print_json};
use crate::config::{Config, PowerArgs};
use crate::exit::Exit;
use crate::lifecycle::power;
use crate::progress::{Format, for_output};

pub(super) async fn stop(args: &PowerArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let _lock = hold(&state, &format!("stop {name}"), args.waiting, token).await?;
    let context = open::existing(&name, config, for_output(config.output))?;
    let outcome = power::stop(&context, token).await;
    context.progress.close();
    let changed = !outcome?.is_empty();
    let word = if changed { "is stopped" } else { "was stopped already" };
    tell(config, &name, changed, &format!("Cluster {name} {word}. `provision start {name}` brings it back."))
}

pub(super) async fn start(args: &PowerArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let _lock = hold(&state, &format!("start {name}"), args.waiting, token).await?;
    let context = open::existing(&name, config, for_output(config.output))?;
    context.infrastructure.preflight().await?;
    let outcome = power::start(&context, token).await;
    context.progress.close();
    let changed = !outcome?.is_empty();
    let word = if changed { "runs again" } else { "runs" };
    tell(config, &name, changed, &format!("Cluster {name} {word}: every Node is Ready."))
}

fn tell(config: &Config, name: &str, changed: bool, text: &str) -> Result<Exit> {
    match config.output {
        Format::Json => print_json(&serde_json::json!({ "cluster": name, "changed": changed }))?,
        Format::Text => print(text),
    }
    Ok(Exit::Done)
}
