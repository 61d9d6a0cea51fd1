//! `provision destroy CLUSTER`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::{open, print};
use crate::config::{Config, DestroyArgs};
use crate::exit::{Exit, Refusal};
use crate::inventory::Inventory;
use crate::lifecycle::{DOWN, converge, plan};
use crate::lock::Lock;
use crate::progress::for_output;
use crate::state::StateDir;

pub(super) async fn run(args: &DestroyArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = StateDir::new(&config.state_dir, &name);
    if !state.root().exists() {
        print(&format!("There is no cluster {name}: nothing to destroy."));
        return Ok(Exit::Done);
    }
    let lock = Lock::take(&state, &format!("destroy {name}"))?;
    if state.exists() {
        let context = open::existing(&name, config, for_output(config.output))?;
        let survey = context.infrastructure.survey().await?;
        let what = plan(DOWN, &context, &Inventory { survey, ..Inventory::default() });
        if !args.yes {
            confirm(&name, &what.to_string())?;
        }
        let outcome = converge(DOWN, &context, token).await;
        context.progress.close();
        outcome?;
        context.infrastructure.remove_network().await?;
    }
    state.remove()?;
    drop(lock);
    print(&format!("Cluster {name} is gone."));
    Ok(Exit::Done)
}

fn confirm(name: &str, plan: &str) -> Result<()> {
    let refuse =
        |why: &str| Refusal::new(Exit::Usage, why.to_owned()).hint("type the cluster's name when asked, or give --yes");
    if !std::io::stdin().is_terminal() {
        return Err(refuse("destroy asks before it removes a cluster, and there is nobody to answer").into());
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{plan}\nType the name of the cluster to remove all of this: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == name {
        Ok(())
    } else {
        Err(refuse("that is not the cluster's name; nothing was removed").into())
    }
}
