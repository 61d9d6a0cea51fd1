//! `provision stop CLUSTER` and `provision start CLUSTER`.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::{hold, open, print, print_json};
use crate::config::{Config, PowerArgs};
use crate::exit::Exit;
use crate::lifecycle::power;
use crate::plan::Plan;
use crate::progress::{Format, for_output};

pub(super) async fn stop(args: &PowerArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let _lock = hold(&state, &format!("stop {name}"), args.waiting, token).await?;
    let context = open::existing(&name, config, for_output(config.output))?;
    let outcome = power::stop(&context, token).await;
    context.progress.close();
    let done = outcome?;
    let word = if done.is_empty() { "was stopped already" } else { "is stopped" };
    tell(config, &name, &done, &format!("Cluster {name} {word}. `provision start {name}` brings it back."))
}

pub(super) async fn start(args: &PowerArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let _lock = hold(&state, &format!("start {name}"), args.waiting, token).await?;
    let context = open::existing(&name, config, for_output(config.output))?;
    context.infrastructure.preflight().await?;
    let outcome = power::start(&context, token).await;
    context.progress.close();
    let done = outcome?;
    let word = if done.is_empty() { "runs" } else { "runs again" };
    tell(config, &name, &done, &format!("Cluster {name} {word}: every Node is Ready."))
}

fn tell(config: &Config, name: &str, done: &Plan, text: &str) -> Result<Exit> {
    match config.output {
        Format::Json => print_json(&said(name, done))?,
        Format::Text => print(text),
    }
    Ok(Exit::Done)
}

/// What a program hears: every step that was done, in an order in which they could have been.
fn said(name: &str, done: &Plan) -> serde_json::Value {
    serde_json::json!({ "cluster": name, "changed": !done.is_empty(), "steps": done.steps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Step};

    #[test]
    fn a_program_hears_what_was_switched() {
        let done = Plan::new(vec![Step::new("stop-machine", "lab-w-1", Action::Stop, "the cluster is powered off")]);
        let heard = said("lab", &done);
        assert_eq!((&heard["changed"], &heard["steps"][0]["action"]), (&true.into(), &"stop".into()));
        assert_eq!((&heard["cluster"], &heard["steps"][0]["subject"]), (&"lab".into(), &"lab-w-1".into()));
        let nothing = serde_json::json!({ "cluster": "lab", "changed": false, "steps": [] });
        assert_eq!(said("lab", &Plan::default()), nothing);
    }
}
